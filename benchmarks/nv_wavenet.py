"""NVIDIA's nv-wavenet (github.com/NVIDIA/nv-wavenet, BSD) on the same card, where its source is given.

Its own perf tool, built by its own Makefile in a copy of the folder: persistent mode, fp16, random
weights, the chunk's copies within its time, conditioning and weights not. It tells kHz of one
stream of the batch. Only C++ standards are added where nvcc does not take C++11 any more.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

PERSISTENT = 3
# Its buffers of conditioning are counted in an int: 2^31 bytes are 16384 samples of six streams.
SAMPLES = {1: 16384, 64: 2048}
SHAPES = {"NV-S": (20, 32, 128), "NV-M": (20, 64, 128), "NV-L": (20, 64, 256)}
"""Layers, residual and skip channels, of those in `kernels.configs` that it can play."""

BUILD_SECONDS = 280.0
RUN_SECONDS = 60.0


@dataclass(frozen=True)
class Rate:
    """Samples a second of all streams together, or why there are none."""

    streams: int
    samples_per_s: float
    trouble: str = ""


def measure(source: Path, config: str, arch: str) -> list[Rate]:
    """Build the perf tool for an architecture ("sm_90") and return a rate for each of SAMPLES."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "nv-wavenet"
        shutil.copytree(source, built, ignore=shutil.ignore_patterns(".git"))
        if trouble := build(built, arch):
            return [Rate(streams, 0.0, trouble) for streams in SAMPLES]
        return [run(built / "nv_wavenet_perf", config, streams) for streams in SAMPLES]


def build(folder: Path, arch: str) -> str:
    """Build in place; return nothing, or the first line that says why it does not build."""
    (folder / "nv_wavenet_perf").unlink(missing_ok=True)  # of another machine, maybe
    said = ""
    for standard in ("c++11", "c++17"):
        flags = f"-arch={arch} -std={standard} --use_fast_math"
        make = ["make", "nv_wavenet_perf", f"ARCH={arch}", f"NVCC_FLAGS={flags}"]
        try:
            done = subprocess.run(
                make, cwd=folder, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"does not build: {error}"
        if done.returncode == 0:
            return ""
        said = said or _complaint(done.stdout + done.stderr)
    return f"does not build: {said}"


def run(program: Path, config: str, streams: int) -> Rate:
    """Run the perf tool with as many streams of a network."""
    layers, residual, skip = SHAPES[config]
    options = {"l": layers, "r": residual, "s": skip, "a": 256, "d": 512, "p": 16}
    options |= {"m": PERSISTENT, "b": streams, "n": SAMPLES[streams]}
    command = [str(program), *(word for k, v in options.items() for word in (f"-{k}", str(v)))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Rate(streams, 0.0, f"does not run: {error}")
    khz = parse(done.stdout)
    if done.returncode or not khz:
        return Rate(streams, 0.0, f"does not run: {_complaint(done.stdout + done.stderr)}")
    return Rate(streams, 1000.0 * khz * streams)


def parse(output: str) -> float:
    """Return the kHz of one stream that the perf tool told; 0 where it told none.

    >>> parse("precision: fp16\\nSample rate: 42.830000 kHz\\n")
    42.83
    """
    found = re.search(r"^Sample rate: ([0-9.]+) kHz$", output, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _complaint(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines[-1:] or ["it says nothing"])[0][:200]
