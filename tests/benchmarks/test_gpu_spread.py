"""The row of the spread kernel: no figure without parity, nor of a process that fails or hangs."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import random_weights

sys.path.insert(0, str(Path(__file__).parents[2]))  # as `python -m benchmarks.gpu` finds it
from benchmarks.gpu_spread import check_spread, spread_stream

SPEC = ModelSpec(16000, 16, (1, 2), residual=8, gate=8, skip=8, head=16, levels=64)


def test_a_kernel_that_plays_something_else_has_no_figure() -> None:
    weights = random_weights(SPEC, 1)
    other = {**weights, "head1_weight": np.float32(0.5) * weights["head1_weight"]}
    check_spread(State(pack(SPEC, weights)), SPEC, weights)
    with pytest.raises(GhostnoteError, match="parity: outputs differ by"):
        check_spread(State(pack(SPEC, other)), SPEC, weights)


def test_why_there_is_no_figure_is_told() -> None:
    with pytest.raises(GhostnoteError, match="failed: KeyError: 'none'"):
        spread_stream("none")
    with pytest.raises(GhostnoteError, match="did not end within"):
        spread_stream("none", 0.01)
