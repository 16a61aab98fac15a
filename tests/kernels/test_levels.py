"""Levels of both kinds: the nearest one, and the same sample back."""

import numpy as np
import pytest

from ghostnote.kernels import levels, mulaw
from ghostnote.kernels.spec import ModelSpec

SIXTEEN = ModelSpec(8000, 8, (1,), levels=65536, mixtures=1)


def test_sixteen_bits_come_back() -> None:
    every = np.arange(65536)
    samples = levels.decode(SIXTEEN, every)
    assert samples.dtype == np.float32
    assert (samples.astype(np.float64) * 32768 == every - 32768).all()
    assert (levels.encode(SIXTEEN, samples) == every).all()
    assert samples[SIXTEEN.silence] == 0.0


def test_the_nearest_level_and_no_other() -> None:
    step = 1.0 / 32768
    near = np.array([0.0, 0.49, 0.51, -0.49, -0.51]) * step
    assert (levels.encode(SIXTEEN, near) - 32768).tolist() == [0, 0, 1, 0, -1]
    far = np.array([1.0, -1.0, 7.0, -7.0, np.inf, -np.inf])
    assert levels.encode(SIXTEEN, far).tolist() == [65535, 0, 65535, 0, 65535, 0]


@pytest.mark.parametrize("count", [64, 256, 1024])
def test_a_softmax_speaks_mu_law(count: int) -> None:
    spec = ModelSpec(8000, 8, (1,), levels=count)
    samples = np.linspace(-1.0, 1.0, 999)
    assert (levels.encode(spec, samples) == mulaw.encode(samples, count)).all()
    assert (levels.decode(spec, np.arange(count)) == mulaw.decode_table(count)).all()
