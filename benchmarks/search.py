"""Tries models: trains each for the same time, measures all alike, prints a table for docs/sound.md.

    .venv/bin/python -m benchmarks.search --corpus CORPUS --data DATA --out FOLDER --minutes 20 \
        [--jobs 2] [--grooves 6] "mu-law 256=" "mixture=--mixtures 10" "24 kHz=--data DATA24" ...

Each try is NAME=OPTIONS of `ghostnote train`; a try whose run is there goes on, and one that is done is
only measured. With --jobs 2 two train at once, each with one thread: so they share the machine alike.
Bits of different heads and sample rates cannot be compared; what is heard can.
"""

import argparse
import json
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.live_latency import header
from ghostnote.inference.model_file import load_model

GHOSTNOTE = [
    sys.executable,
    "-c",
    "import sys; from ghostnote.cli.main import main; sys.exit(main())",
]
HEADS = (
    "tried", "MAC/sample", "x real time, int8", "steps", "minutes heard", "bits/sample",
    "kick", "snare", "hat", "timing p95, ms", "velocity", "between hits, dB over truth",
)  # fmt: skip


def main() -> None:
    """Tries all and prints."""
    parser = argparse.ArgumentParser(description="Trains models for the same time and compares.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--grooves", type=int, default=6)
    parser.add_argument("tries", nargs="+", metavar="NAME=OPTIONS")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    tries = dict(text.partition("=")[::2] for text in chosen.tries)
    with ThreadPoolExecutor(chosen.jobs) as pool:
        models = dict(
            zip(tries, pool.map(lambda t: _train(chosen, *t), tries.items()), strict=True)
        )
    print(header("benchmarks.search"), "\n")
    print("| " + " | ".join(HEADS) + " |\n|" + " --- |" * len(HEADS))
    for name, model in models.items():
        print("| " + " | ".join(_row(chosen, name, model)) + " |", flush=True)


def _train(chosen: argparse.Namespace, name: str, options: str) -> Path:
    """Train a try, or let it go on, and return its model file."""
    out: Path = chosen.out
    run, model = out / _file(name), out / f"{_file(name)}.onnx"
    if not model.exists():
        given = ["--data", str(chosen.data), *shlex.split(options)]
        if (run / "checkpoint.safetensors").exists():
            given.append("--resume")
        with (out / f"{_file(name)}.log").open("a") as log:
            asked = ["train", "--run", str(run), "--minutes", f"{chosen.minutes:g}"]
            subprocess.run([*GHOSTNOTE, *asked, "--threads", "1", *given], stderr=log, check=True)
            export = ["export", "--run", str(run), "--out", str(model)]
            subprocess.run([*GHOSTNOTE, *export], stdout=log, stderr=log, check=True)
    return model


def _row(chosen: argparse.Namespace, name: str, model: Path) -> list[str]:
    loaded = load_model(model)
    training, spec = loaded.provenance["training"], loaded.spec
    speed = _json("bench", "--model", model, "--config", "", "--precision", "int8", "--json")
    heard = _json(
        "eval", "--model", model, "--corpus", chosen.corpus, "--grooves", chosen.grooves, "--json"
    )
    times = speed["results"][0]["samples_per_s"] / spec.samplerate
    roles = (heard["roles"][role] for role in ("kick", "snare", "hat"))
    return [
        name,
        f"{spec.macs_per_sample:,}",
        f"{times:.1f}",
        str(training["steps"]),
        f"{training['minutes_heard']:.0f}",
        f"{heard['bits_per_sample']:.2f}",
        *(f"{role['precision']:.2f} / {role['recall']:.2f}" for role in roles),
        f"{heard['timing_ms_p95']:.1f}",
        f"{heard['velocity_correlation']:.2f}",
        f"{heard['floor_db'] - heard['truth_floor_db']:+.1f}",
    ]


def _json(*arguments: object) -> Any:
    asked = [*GHOSTNOTE, *map(str, arguments)]
    return json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)


def _file(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


if __name__ == "__main__":
    main()
