"""One stream by the spread kernel, in a process of its own: checked against the reference, then timed.

    python -m benchmarks.gpu_spread CONFIG

prints the samples a second in bf16. `benchmarks.gpu` starts it so, with a limit of time: programs that
wait for each other could wait for ever.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from ghostnote.cli.gpu_bench import LOOSE
from ghostnote.kernels import parity
from ghostnote.kernels.backends import Checkable, streams_work
from ghostnote.kernels.bench import measure
from ghostnote.kernels.configs import CONFIGS
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import Weights, random_weights

ROOT = Path(__file__).parent.parent
LIMIT = 120.0  # s


def spread_stream(config: str, limit: float = LIMIT) -> str:
    """Return the rate of one stream for a reader.

    Raises
    ------
    GhostnoteError
        If it plays something else than the reference, fails, or does not end in time.
    """
    command = [sys.executable, "-m", "benchmarks.gpu_spread", config]
    try:
        found = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired:
        raise GhostnoteError(f"the spread kernel did not end within {limit:g} s") from None
    if found.returncode:
        lines = found.stderr.strip().splitlines() or ["no reason told"]
        raise GhostnoteError(f"the spread kernel failed: {lines[-1]}")
    return f"{float(found.stdout):,.0f} (bf16)"


def check_spread(state: Checkable, spec: ModelSpec, weights: Weights) -> None:
    """Compare what a fresh stream puts out over more than a receptive field with the reference.

    Raises
    ------
    GhostnoteError
        If it is further off than bf16 makes it.
    """
    levels = parity.given_levels(spec, 3)
    expected = parity.outputs_of(spec, weights, levels)
    error = (state.teacher_force(levels) - expected) / float(expected.std())
    off = float(np.sqrt(np.mean(np.square(error))))
    if not off <= LOOSE:  # so that NaN counts as wrong
        raise GhostnoteError(f"parity: outputs differ by {off:.2g} of their spread")


def main() -> None:
    from ghostnote.kernels.gpu_state import GpuState

    spec = CONFIGS[sys.argv[1]]
    weights = random_weights(spec, seed=1)
    check_spread(GpuState(spec, weights, "bf16", spread=True), spec, weights)
    play = streams_work(GpuState(spec, weights, "bf16", spread=True), spec, 1)
    print(measure({"gpu": play}, 1.0)["gpu"])


if __name__ == "__main__":
    main()
