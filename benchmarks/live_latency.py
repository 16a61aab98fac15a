"""How soon a hit is heard: prints the tables for docs/benchmarks.md, and the same as JSON.

    .venv/bin/python -m benchmarks.live_latency [--ring FRAMES ...] [--hits N] [--bundles N]

jackd (dummy driver, real-time, blocks of 256 at 48 kHz), liblo's `oscsend` and `ghostnote serve`
run as processes of their own; the onsets are looked for in what JACK carried. For each ring once
with a model set by hand whose hits begin at the very first sample, so that all scatter is the
server's, and, with fewer hits, with the bundled model, whose kicks begin as drawn. Bundles are sent
50 ms ahead of their timetags. Takes 8 minutes. Linux, with jackd2 and liblo-tools.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from ghostnote.inference.model_file import find_model, save_model
from tests.osc_server.latency import HEADER, figures, measure, table
from tests.osc_server.steady_model import SHORT, SPEC, steady_weights
from tests.parts import jack_server

HOP = 1e-3
SAMPLE = 1 / 24000
SOON = 0.06


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="How soon a hit is heard through JACK.")
    parser.add_argument("--ring", type=int, nargs="+", default=[256, 0], help="0: the default")
    parser.add_argument("--hits", type=int, default=500)
    parser.add_argument("--bundles", type=int, default=1000)
    parser.add_argument("--bundled-model", type=int, default=100, help="hits of the bundled model")
    chosen = parser.parse_args()
    print(header("benchmarks.live_latency"))
    print("jackd -R dummy, 256 frames at 48 kHz; load while measuring in the JSON\n")
    print(HEADER, flush=True)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        step = Path(folder) / "step.onnx"
        save_model(step, SPEC, steady_weights(128, 240, SHORT), {"name": "step"}, {})
        for ring in chosen.ring:
            said = f"ring {ring or 'default'}"
            options = ["--ring", str(ring)]
            found.append(
                _measured(
                    f"sharp model, {said}", ["--model", str(step), *options],
                    chosen.hits, chosen.bundles, 0.1, 0.25,
                )
            )  # fmt: skip
            if count := chosen.bundled_model:
                bundled = ["--model", str(find_model(None)), *options]
                found.append(_measured(f"bundled model, {said}", bundled, count, count, 0.4, 0.05))
    print("\n" + "\n".join(json.dumps(one) for one in found))


def _measured(
    name: str, arguments: Sequence[str], hits: int, bundles: int, spacing: float, floor: float
) -> dict[str, Any]:
    with jack_server(realtime=True) as server:
        os.environ["JACK_DEFAULT_SERVER"] = server.name
        measured = measure(arguments, hits, bundles, spacing, floor)
    latency = measured.onsets_after(measured.datagrams, SOON) - measured.datagrams
    timing = measured.onsets_after(measured.tags, SOON) - measured.tags
    # Time that the dummy driver leaves out delays what is scheduled, whoever plays it.
    steady = timing[measured.steady]
    print(table(f"{name}: datagram to onset", latency))
    print(table(f"{name}: timetag to onset", timing))
    if len(steady):
        print(table(f"{name}: the same while JACK kept its time", steady))
    sys.stdout.flush()
    status = dict(zip(("xruns", "late", "dropped"), measured.status[4:7], strict=True))
    return {
        "what": name,
        "datagram_to_onset_ms": figures(latency),
        "timetag_to_onset_ms": figures(timing),
        "timetag_while_jack_kept_time_ms": figures(steady),
        "unheard": int(np.isnan(np.concatenate([latency, timing])).sum()),
        "off_by_more_than_a_hop_and_a_sample": _off(timing),
        "of_these_while_jack_kept_time": _off(steady),
        "least_ahead_ms": round(float(measured.ahead.min()) * 1e3, 2),
        **status,
        "latency_told_ms": round(float(str(measured.status[9])), 2),
        "load": [round(n, 2) for n in os.getloadavg()],
    }


def _off(timing: Any) -> int:
    """Return how many onsets are more than one hop and one sample from their timetag."""
    return int((np.abs(timing) > HOP + SAMPLE).sum())


def header(module: str) -> str:
    """Return a line that tells date, machine and commit."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"{date.today()}, {_processor()}, {os.cpu_count()} cores, commit {commit}, "
        f"`python -m {module} {' '.join(sys.argv[1:])}`"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if "model name" in line), "unknown")


if __name__ == "__main__":
    main()
