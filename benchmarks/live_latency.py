"""How soon a hit is heard: prints the tables for docs/benchmarks.md.

    .venv/bin/python -m benchmarks.live_latency [HITS]

jackd (dummy driver, real-time, blocks of 256 at 48 kHz), liblo's `oscsend` and `ghostnote serve`
run as processes of their own; the onsets are looked for in what JACK carried. Once with the bundled
model, whose kicks begin as drawn, and once with a model set by hand whose hits begin at the very
first sample, so that all scatter is the server's. Linux, with jackd2 and liblo-tools.
"""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from ghostnote.inference.model_file import find_model, save_model
from tests.osc_server.latency import HEADER, measure, table
from tests.osc_server.steady_model import SHORT, SPEC, steady_weights
from tests.parts import jack_server


def main(hits: int = 50) -> None:
    """Measures and prints."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(f"{date.today()}, {_processor()}, {os.cpu_count()} cores, commit {commit}")
    print("`python -m benchmarks.live_latency`: jackd -R dummy, 256 frames at 48 kHz\n")
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        step = Path(folder) / "step.onnx"
        save_model(step, SPEC, steady_weights(128, 240, SHORT), {"name": "step"}, {})
        told = [
            _measured("bundled model", ["--model", str(find_model(None))], hits, 0.4, 0.05),
            _measured("sharp model", ["--model", str(step)], hits, 0.1, 0.25),
        ]
    print("", *told, sep="\n")


def _measured(name: str, arguments: Sequence[str], hits: int, spacing: float, floor: float) -> str:
    with jack_server(realtime=True) as server:
        os.environ["JACK_DEFAULT_SERVER"] = server.name
        measured = measure(arguments, hits, spacing, floor)
    latency = measured.onsets_after(measured.datagrams, 0.06) - measured.datagrams
    timing = measured.onsets_after(measured.tags, 0.06) - measured.tags
    print(table(f"{name}: datagram to onset", latency))
    print(table(f"{name}: timetag to onset", timing))
    # Time that the dummy driver leaves out delays what is scheduled, whoever plays it.
    print(table(f"{name}: the same while JACK kept its time", timing[measured.steady]))
    heard = int(np.isfinite(np.concatenate([latency, timing])).sum())
    status = dict(zip(("xruns", "late", "dropped"), measured.status[4:7], strict=True))
    return (
        f"{name}: of {2 * hits} hits {heard} heard; "
        f"{status}; latency told by the server {measured.status[9]:.1f} ms"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if "model name" in line), "unknown")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
