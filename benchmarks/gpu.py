"""Every GPU figure that is aimed at, measured on this machine's card and written into docs/benchmarks.md.

    make gpu [NVWAVENET=FOLDER] [PYTHON=PYTHON] [ARGS="--only training,live --live-seconds 60"]

`make gpu` runs the tests that need a GPU first, unless ARGS choose some rows by --only. It downloads
nothing: PYTHON holds torch for CUDA and Triton. One part after another is measured, in a process of its
own, and written at once: what one of them does to the card or to its memory leaves the others alone, and
what a stopped run had done stands. One thread.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

from ghostnote.cli import gpu_bench
from ghostnote.kernels import backends
from ghostnote.kernels.configs import CONFIGS, SAMPLERATE
from ghostnote.kernels.errors import GhostnoteError

from . import gpu_rows, nv_wavenet
from .gpu_table import Row, write

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
LIVE_SECONDS = 300.0
PARTS = ("one", "ibab", "many", "peak", "training", "nv-wavenet", "live")
PART_SECONDS = 660.0
"""After which a part is ended; what plays live has its time on top."""

TRAINING_WINDOWS = (32, 128)

Found = dict[str, str]
"""What was measured, for a reader, by the name of its row."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, and write it."""
    words = sys.argv[1:] if arguments is None else [*arguments]
    parser = _parser()
    chosen = parser.parse_args(words)
    if chosen.only is None:
        chosen.only = [name for name in PARTS if name != "nv-wavenet" or chosen.nvwavenet]
    elif "nv-wavenet" in chosen.only and not chosen.nvwavenet:
        parser.error("nv-wavenet: name the folder with its source by --nvwavenet")
    if lacks := backends.missing("gpu"):
        sys.exit(f"benchmarks.gpu: {lacks}")
    if backends.interpreted():
        sys.exit("benchmarks.gpu: Triton's interpreter is no GPU: unset TRITON_INTERPRET")
    if len(chosen.only) > 1:
        failed = apart(chosen.only, words, PART_SECONDS + chosen.live_seconds)
    else:
        failed = here(chosen)
    if failed:
        sys.exit(f"benchmarks.gpu: without figures: {', '.join(failed)}")


def apart(names: Sequence[str], words: Sequence[str], limit: float) -> list[str]:
    """Measure each part in a process of its own; return those that failed or took over `limit` s."""
    failed = []
    environment = {**os.environ, "COMMIT": _commit()}  # before the page is changed
    for name in names:
        command = [sys.executable, "-m", "benchmarks.gpu", *words, "--only", name]
        try:
            done = subprocess.run(command, env=environment, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            print(f"{name}: no figure: not done within {limit:g} s", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        if done.returncode:
            failed.append(name)
    return failed


def here(chosen: argparse.Namespace) -> list[str]:
    """Measure the one part that is chosen; return its name if it failed."""
    peaks = gpu_bench.peaks()
    where = f"{peaks['name']}, {date.today()}, {_commit()}"
    print(
        f"{where}: a bf16 matrix product of 8192 makes {peaks['bf16_gmac_per_s'] / 500:.0f} TFLOP/s, "
        f"memory copies {peaks['bandwidth_gb_per_s']:,.0f} GB/s; {_software()}",
        flush=True,
    )
    parts = _parts(chosen, peaks["bf16_gmac_per_s"] * 1e9)
    return run({name: parts[name] for name in chosen.only}, where, chosen.page)


def run(parts: Mapping[str, Callable[[], Found]], where: str, page: Path) -> list[str]:
    """Measure parts and write the rows of each at once; return those that failed, having told why."""
    failed = []
    for name, part in parts.items():
        began = time.monotonic()
        try:
            found = part()
            write(page, {what: Row(told, where) for what, told in found.items()})
        except Exception as error:  # noqa: BLE001  (a card, a compiler, a server: the others go on)
            failed.append(name)
            why = str(error) if isinstance(error, GhostnoteError) else f"{error!r}"
            print(f"{name}: no figure: {why}", file=sys.stderr, flush=True)
            continue
        for what, told in found.items():
            print(f"{what}: {told}  ({time.monotonic() - began:.0f} s)", flush=True)
    return failed


def _parts(chosen: argparse.Namespace, peak: float) -> dict[str, Callable[[], Found]]:
    """Return what measures each part, the most wanted first; `peak` in multiply-adds a second."""
    return {
        "one": lambda: {"one stream of NV-M, samples/s": one_stream("NV-M")},
        "ibab": lambda: {"one stream of IBAB, samples/s": one_stream("IBAB")},
        "many": lambda: {"streams of NV-M in real time at 16 kHz": streams()},
        "peak": lambda: {
            "share of the bf16 matrix peak, R9-mulaw, many streams": share_of_peak(peak)
        },
        "training": training,
        "nv-wavenet": lambda: {"nv-wavenet, NV-M, samples/s": other(chosen.nvwavenet)},
        "live": lambda: {
            "a live voice of the bundled model, ring 256": live(chosen.live_seconds, chosen.sink)
        },
    }


def one_stream(config: str) -> str:
    """Return the rates of one stream in each precision, by each kernel; what fails tells why."""
    told, troubles = [], []
    for precision in gpu_rows.PRECISIONS:
        for spread in (True, False):
            kernel = f"{precision}, {'spread' if spread else 'tile'}"
            try:
                found = gpu_rows.one_alone(config, precision, spread)
                told.append((found.samples_per_s, kernel))
            except GhostnoteError as error:
                troubles.append(f"{kernel}: {error}")
    for trouble in troubles:
        print(f"{config}, {trouble}", file=sys.stderr, flush=True)
    if not told:
        raise GhostnoteError("; ".join(troubles))
    return ", ".join(f"{fast:,.0f} ({kernel})" for fast, kernel in sorted(told, reverse=True))


def streams() -> str:
    """Return the largest number of streams in real time."""
    found = gpu_rows.real_time_streams("NV-M", "bf16")
    if found is None:
        return "none (bf16)"
    times = found.samples_per_s / (found.streams * SAMPLERATE)
    return (
        f"{found.streams:,} (bf16: {found.samples_per_s / 1e6:.2f} M samples/s, "
        f"{times:.2f} x real time)"
    )


def share_of_peak(peak: float) -> str:
    """Return the best share of the matrix peak, and with how many streams."""
    best = gpu_rows.best_of_many("R9-mulaw", "bf16")
    share = best.samples_per_s * CONFIGS["R9-mulaw"].macs_per_sample / peak
    return f"{100 * share:.1f} % ({best.streams:,} streams, {best.samples_per_s / 1e6:.2f} M samples/s)"


def training() -> Found:
    """Return the speed of training for both sizes, the best of some numbers of windows."""
    sizes = {
        "training, 20 layers x 32 channels, samples/s": (32, 24000),
        "training, 20 layers x 64 channels at 48 kHz, samples/s": (64, 48000),
    }
    told = {}
    for what, (channels, samplerate) in sizes.items():
        spec = gpu_rows.training_spec(channels, samplerate)
        best = max(
            (gpu_rows.training(spec, windows) for windows in TRAINING_WINDOWS),
            key=lambda one: one.samples_per_s,
        )
        how = "compiled" if best.compiled else "not compiled"
        pieces = f" in {best.pieces} pieces" if best.pieces > 1 else ""
        told[what] = (
            f"{best.samples_per_s:,.0f}, {100 * best.peak_share:.1f} % of the bf16 peak "
            f"({best.windows} windows a step{pieces}, {how})"
        )
    return told


def other(source: Path) -> str:
    """Return nv-wavenet's rates on this card, or why there are none."""
    import torch

    if not (source / "nv_wavenet_perf.cu").is_file():
        raise GhostnoteError(f"{source} holds no nv_wavenet_perf.cu")

    major, minor = torch.cuda.get_device_capability()
    rates = nv_wavenet.measure(source, "NV-M", f"sm_{major}{minor}")
    if troubles := {one.trouble for one in rates if one.trouble}:
        return "; ".join(sorted(troubles)).replace("|", "/")
    many = ", ".join(
        f"{one.samples_per_s:,.0f} ({one.streams} stream{'s' * (one.streams > 1)})" for one in rates
    )
    return f"{many}, persistent, fp16"


def live(seconds: float, sink: str) -> str:
    """Return how often the ring of a live voice on the GPU ran empty."""
    found = gpu_rows.live_voice(seconds, sink)
    told = f"{found.underruns} underruns in {found.seconds / 60:g} minutes, load {found.load:.0f} %"
    given_up = [note for note in found.notes if "CPU" in note]
    if given_up:
        told += f"; {given_up[0].strip()}"
    return f"{told} (sink {sink})".replace("|", "/")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description="GPU figures for the docs.")
    parser.add_argument("--nvwavenet", type=Path, help="folder with nv-wavenet's source")
    parser.add_argument("--only", type=_names, help=f"parts, with commas, of {', '.join(PARTS)}")
    parser.add_argument("--live-seconds", type=float, default=LIVE_SECONDS)
    parser.add_argument("--sink", default="null", help="of the live voice: null or jack")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(unknown)}")
    return names


def _commit() -> str:
    told = os.environ.get("COMMIT", "")
    with contextlib.suppress(OSError):  # a machine without git
        told = (
            told
            or subprocess.run(
                ["git", "describe", "--always", "--dirty"],
                capture_output=True,
                text=True,
                check=False,
            ).stdout.strip()
        )
    return told or "unknown commit"


def _software() -> str:
    import torch
    import triton

    return f"torch {torch.__version__}, triton {triton.__version__}"


if __name__ == "__main__":
    main()
