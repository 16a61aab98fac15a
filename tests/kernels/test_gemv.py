"""The matrix-vector product: every tile width, every bit as the docstring defines it."""

import numpy as np
import pytest

from ghostnote.kernels.gemv import LANES, TILE, gemv_add, pack_matrix, padded
from tests.kernels.models import FLOATS, same_bits


def chain(matrix: FLOATS, x: FLOATS, y: FLOATS) -> FLOATS:
    """Returns y + matrix @ x as one chain of fused multiply-adds over the inputs in order.

    float64 holds each product whole and each sum to far more digits than are kept.
    """
    for k in range(len(x)):
        y = (matrix[:, k].astype(np.float64) * np.float64(x[k]) + y).astype(np.float32)
    return y


@pytest.mark.parametrize("inputs", [0, 1, 2, 7, 33])
@pytest.mark.parametrize("outputs", [1, 15, 16, 17, 32, 48, 63, 64, 65, 100, 120, 128, 200, 320])
def test_each_output_is_one_chain_of_fused_multiply_adds(outputs: int, inputs: int) -> None:
    draw = np.random.default_rng(outputs * 100 + inputs)
    matrix = draw.standard_normal((outputs, inputs)).astype(np.float32)
    before, w_at, x_at, y_at = 5, 3, 2, 4  # offsets that no vector is aligned to
    wide = padded(outputs)
    w = np.concatenate([np.full(w_at, np.nan, np.float32), pack_matrix(matrix)])
    x = draw.standard_normal(x_at + inputs + before).astype(np.float32)
    y = draw.standard_normal(y_at + wide + before).astype(np.float32)
    expected = y.copy()
    full = np.zeros((wide, inputs), np.float32)
    full[:outputs] = matrix
    expected[y_at : y_at + wide] = chain(full, x[x_at : x_at + inputs], y[y_at : y_at + wide])
    gemv_add(w, w_at, wide, x, x_at, inputs, y, y_at)
    assert same_bits(y, expected)  # also before and after the outputs


def test_inputs_can_be_padded() -> None:
    draw = np.random.default_rng(1)
    matrix = draw.standard_normal((20, 5)).astype(np.float32)
    x = np.zeros(16, np.float32)
    x[:5] = draw.standard_normal(5)
    plain, wide = np.zeros(32, np.float32), np.zeros(32, np.float32)
    gemv_add(pack_matrix(matrix), 0, 32, x, 0, 5, plain, 0)
    gemv_add(pack_matrix(matrix, 16), 0, 32, x, 0, 16, wide, 0)
    assert same_bits(wide, plain)
    assert plain[:20].any()


def test_a_packed_matrix_holds_each_weight_once() -> None:
    matrix = np.arange(1, 1 + 70 * 3, dtype=np.float32).reshape(70, 3)
    packed = pack_matrix(matrix)
    assert len(packed) == padded(70) * 3
    assert sorted(packed[packed != 0]) == sorted(matrix.ravel())
    assert packed[:TILE].tolist() == matrix[:TILE, 0].tolist()  # [inputs][tile]


@pytest.mark.parametrize(("channels", "wide"), [(1, LANES), (16, 16), (17, 32), (64, 64)])
def test_padded(channels: int, wide: int) -> None:
    assert padded(channels) == wide
