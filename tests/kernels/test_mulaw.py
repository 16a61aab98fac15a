"""Mu-law levels: silence on one, the nearest one chosen, the same number back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.kernels.mulaw import decode_table, encode

LEVELS = [2, 3, 33, 100, 255, 256, 1024]


@pytest.mark.parametrize("levels", LEVELS)
def test_every_level_comes_back(levels: int) -> None:
    table = decode_table(levels)
    assert table.dtype == np.float32
    assert encode(table, levels).tolist() == list(range(levels))
    assert (np.diff(table) > 0).all()
    assert np.abs(table).max() <= 1.0


@pytest.mark.parametrize("levels", LEVELS)
def test_silence_is_exactly_a_level(levels: int) -> None:
    assert decode_table(levels)[levels // 2] == 0.0
    assert encode(np.zeros(3), levels).tolist() == [levels // 2] * 3
    assert encode(np.array([-1e-9, 1e-9]), levels).tolist() == [levels // 2] * 2


def companded(x: float, levels: int) -> float:
    """The curve of the paper, section 2.2."""
    mu = levels - 1
    return float(np.sign(x) * np.log(1.0 + mu * abs(x)) / np.log(1.0 + mu))


@given(st.floats(-1.0, 1.0), st.sampled_from(LEVELS))
def test_the_chosen_level_is_the_nearest_on_the_companded_scale(x: float, levels: int) -> None:
    table = decode_table(levels).astype(np.float64)
    distances = [abs(companded(float(value), levels) - companded(x, levels)) for value in table]
    chosen = int(encode(x, levels))
    assert distances[chosen] <= min(distances) + 1e-6


@given(st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=20))
def test_louder_is_never_a_lower_level(samples: list[float]) -> None:
    assert (np.diff(encode(sorted(samples))) >= 0).all()


def test_samples_out_of_range_are_clipped() -> None:
    assert encode(np.array([[-5.0, 5.0], [-np.inf, np.inf]])).tolist() == [[0, 255], [0, 255]]
