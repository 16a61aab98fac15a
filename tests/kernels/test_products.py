"""Products of a matrix and vectors: every tile width, every bit as `products.py` defines it."""

import types
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numba import njit

from ghostnote.kernels import products
from ghostnote.kernels.lanes import LANES
from ghostnote.kernels.packing import aligned_bytes
from ghostnote.kernels.products import (
    BF16,
    FP32,
    INT8,
    PRECISIONS,
    SEGMENT,
    SIGNED,
    TILE,
    add_product,
    bfloat16,
    pack_matrix,
    padded,
    quantised,
)
from tests.kernels.emulation import to_bf16, to_int8
from tests.kernels.models import FLOATS, same_bits

BYTES = npt.NDArray[np.uint8]
GAP = 2  # vectors of memory between the streams' vectors, and around them, that are not ours


def chain(matrix: FLOATS, x: FLOATS, y: FLOATS) -> FLOATS:
    """Returns y + matrix @ x as one chain of fused multiply-adds over the inputs in order.

    float64 holds each product whole and each sum to far more digits than are kept.
    """
    for k in range(len(x)):
        y = (matrix[:, k].astype(np.float64) * np.float64(x[k]) + y).astype(np.float32)
    return y


def float_product(matrix: FLOATS, x: FLOATS, y: FLOATS) -> FLOATS:
    """Returns y + matrix @ x as `products.py` says that floats are summed."""
    y = y.copy()
    for first in range(0, len(y), TILE):
        tile = slice(first, min(first + TILE, len(y)))
        wide = tile.stop - tile.start
        chains = {16: 4, 32: 2}.get(wide, 1)
        for at in range(0, len(x), SEGMENT):
            count = min(SEGMENT, len(x) - at)
            for part in np.split(np.arange(at, at + count), chains):
                y[tile] += chain(matrix[tile, part], x[part], np.zeros(wide, np.float32))
    return y


def int8_product(
    whole: npt.NDArray[np.int64], row_scale: FLOATS, x: npt.NDArray[np.int64], scale: np.float32,
    y: FLOATS,
) -> FLOATS:  # fmt: skip
    """Returns y + (whole @ x) * scales: whole numbers, summed exactly, and one fused multiply-add."""
    both = (row_scale * scale).astype(np.float64)
    return np.asarray((whole @ x).astype(np.float32).astype(np.float64) * both + y, np.float32)


def call(
    packed: BYTES, x: list[BYTES], y: FLOATS, shift: int = 0, add: Any = add_product
) -> FLOATS:
    """Returns `y` [streams, outputs] after `add`, whose neighbours in memory must stay.

    The addresses lie `shift` bytes beside those that vectors are aligned to.
    """
    streams, outputs = y.shape
    w = aligned_bytes(len(packed) + shift)[shift:]
    w[:] = packed
    gap = 4 * GAP * LANES
    x_stride, y_stride = len(x[0]) + gap, 4 * outputs + gap
    xs = aligned_bytes(streams * x_stride + shift)[shift:].reshape(streams, x_stride)
    xs[:] = 0xFF  # NaN, and no number for int8
    ys = aligned_bytes(gap + streams * y_stride + shift)[shift:]
    ys[:] = 0xA5
    rows = ys[gap:].reshape(streams, y_stride)
    for stream in range(streams):
        xs[stream, : len(x[0])] = x[stream]
        rows[stream, : 4 * outputs] = y[stream].view(np.uint8)
    add(w.ctypes.data, xs.ctypes.data, x_stride, rows.ctypes.data, y_stride, streams)
    assert (ys[:gap] == 0xA5).all()
    assert (rows[:, 4 * outputs :] == 0xA5).all()
    return rows[:, : 4 * outputs].copy().view(np.float32)


SHAPES = [(16, 16), (32, 80), (48, 64), (64, 48), (80, 144), (96, 16), (112, 208), (192, 32)]
STREAMS = [1, 2, 3, 4, 5, 8, 11]


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
@pytest.mark.parametrize("precision", [FP32, BF16])
def test_floats_are_summed_in_the_order_of_the_source(
    precision: int, outputs: int, inputs: int, streams: int
) -> None:
    draw = np.random.default_rng(outputs + inputs)
    matrix = draw.standard_normal((outputs, inputs)).astype(np.float32)
    x = draw.standard_normal((streams, inputs)).astype(np.float32)
    y = draw.standard_normal((streams, outputs)).astype(np.float32)
    packed = pack_matrix(matrix, precision)
    if precision == BF16:
        matrix = to_bf16(matrix.astype(np.float64)).astype(np.float32)
    expected = np.stack([float_product(matrix, x[s], y[s]) for s in range(streams)])
    for shift in (0, 4):
        found = call(packed, [row.view(np.uint8) for row in x], y, shift)
        assert same_bits(found, expected)


@pytest.mark.parametrize("known_scale", [None, 0.0125])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
def test_bytes_are_summed_exactly(
    outputs: int, inputs: int, streams: int, signed: bool, known_scale: float | None
) -> None:
    draw = np.random.default_rng(outputs + inputs)
    matrix = draw.standard_normal((outputs, inputs)).astype(np.float32)
    matrix[3] = 0.0  # a row of zeros has a scale too
    whole, row_scale = quantised(matrix)
    kept = draw.integers(1 if signed else 0, 128, (streams, inputs))
    scale = draw.uniform(0.01, 0.02, streams).astype(np.float32)
    if known_scale is not None:
        scale[:] = known_scale
    y = draw.standard_normal((streams, outputs)).astype(np.float32)
    packed = pack_matrix(matrix, int(INT8), signed=signed, scale=known_scale)
    rows = [
        np.concatenate([kept[s].astype(np.uint8), scale[s : s + 1].view(np.uint8)])
        for s in range(streams)
    ]
    meant = kept - SIGNED if signed else kept
    expected = np.stack(
        [int8_product(whole.astype(np.int64), row_scale, meant[s], scale[s], y[s])
         for s in range(streams)]
    )  # fmt: skip
    for shift in (0, 4):
        assert same_bits(call(packed, rows, y, shift), expected)


def test_code_for_wide_registers_adds_the_same_bits_here() -> None:
    """What is compiled for AVX-512 only, with the registers that there are."""
    draw = np.random.default_rng(0)
    matrix = draw.standard_normal((144, 80)).astype(np.float32)
    wide = {**vars(products), "WIDE_REGISTERS": True}
    for name in ("_add_to_many", "add_product"):
        plain = getattr(products, name).py_func
        inline = "always" if name == "_add_to_many" else "never"
        again = types.FunctionType(plain.__code__, wide, name)
        wide[name] = njit(inline=inline, error_model="numpy")(again)
    for precision in range(3):
        packed = pack_matrix(matrix, precision, scale=0.25)
        kind = np.uint8 if precision == INT8 else np.float32
        for streams in (3, 4, 5, 9):
            y = draw.standard_normal((streams, 144)).astype(np.float32)
            x = draw.integers(1, 128, (streams, 80)).astype(kind)
            rows = [row.view(np.uint8) for row in x]
            assert same_bits(call(packed, rows, y, 0, wide["add_product"]), call(packed, rows, y))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_greatest_bytes_of_the_greatest_model_do_not_overflow(sign: int) -> None:
    """128 layers of 1024 gates, every weight and every activation as great as can be."""
    inputs = 128 * 1024
    packed = pack_matrix(
        np.full((16, inputs), sign, np.float32), int(INT8), signed=False, scale=1.0
    )
    y = call(packed, [np.full(inputs, 127, np.uint8)], np.zeros((1, 16), np.float32))
    np.testing.assert_allclose(y, sign * 127.0 * inputs, rtol=1e-6)
    packed = pack_matrix(np.full((16, inputs), sign, np.float32), int(INT8), scale=1.0)
    y = call(packed, [np.full(inputs, 127, np.uint8)], np.zeros((1, 16), np.float32))
    np.testing.assert_allclose(y, sign * 63.0 * inputs, rtol=1e-6)


@pytest.mark.parametrize("precision", range(3))
def test_padding_adds_nothing(precision: int) -> None:
    draw = np.random.default_rng(1)
    matrix = draw.standard_normal((20, 5)).astype(np.float32)
    kept = draw.integers(1, 128, 5) if precision == INT8 else draw.standard_normal(5)
    x = np.zeros(16, np.uint8 if precision == INT8 else np.float32)
    x[:5] = kept
    for padding in (1, 100):
        x[5:] = padding  # finite numbers, whatever they are
        packed = pack_matrix(matrix, precision, scale=0.5)
        y = call(packed, [x.view(np.uint8)], np.zeros((1, 32), np.float32))[0]
        if precision == INT8:
            whole, scale = quantised(matrix)
            expected = (whole * scale[:, None]).astype(np.float64) @ (kept - SIGNED) * 0.5
        else:
            expected = matrix.astype(np.float64) @ kept
        np.testing.assert_allclose(y[:20], expected, rtol=0.02 if precision == BF16 else 1e-5)
        assert not y[20:].any()


def test_a_matrix_of_floats_is_packed_with_each_weight_once() -> None:
    matrix = np.arange(1, 1 + 70 * 3, dtype=np.float32).reshape(70, 3)
    head, *_ = pack_matrix(matrix, int(FP32))[:64].view(np.int64).reshape(1, 8)
    assert head[:3].tolist() == [FP32, 80, 16]
    packed = pack_matrix(matrix, int(FP32))[64:].view(np.float32)
    assert len(packed) == 80 * 16
    assert sorted(packed[packed != 0]) == sorted(matrix.ravel())
    assert packed[:TILE].tolist() == matrix[:TILE, 0].tolist()  # [inputs][tile]


def test_low_precision_takes_less_memory() -> None:
    matrix = np.ones((128, 64), np.float32)
    size = [len(pack_matrix(matrix, precision)) - 64 for precision in range(len(PRECISIONS))]
    assert size == [4 * 128 * 64, 2 * 128 * 64, 128 * 64 + 8 * 128]


def test_bfloat16_is_rounded_to_the_nearest_ties_to_even() -> None:
    draw = np.random.default_rng(0)
    values = np.concatenate([
        draw.standard_normal(10000) * 10.0 ** draw.integers(-30, 30, 10000),
        [0.0, -0.0, 1.0 + 2.0**-8, 1.0 + 3 * 2.0**-8, 1.0 + 2.0**-8 + 2.0**-20, 1.99999],
    ]).astype(np.float32)  # fmt: skip
    found = (bfloat16(values).astype(np.uint32) << 16).view(np.float32)
    assert same_bits(found, to_bf16(values.astype(np.float64)).astype(np.float32))


def test_int8_weights_reach_127_and_err_by_half_a_step() -> None:
    matrix = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32)
    matrix[7] = 0.0
    whole, scale = quantised(matrix)
    assert (np.abs(np.delete(whole, 7, 0)).max(axis=1) == 127).all()
    meant = (whole * scale[:, None]).astype(np.float64)
    assert (np.abs(meant - matrix).max(axis=1) <= 0.50001 * scale).all()
    np.testing.assert_allclose(meant, to_int8(matrix.astype(np.float64), 1), rtol=1e-6)


@pytest.mark.parametrize(("channels", "wide"), [(1, LANES), (16, 16), (17, 32), (64, 64)])
def test_padded(channels: int, wide: int) -> None:
    assert padded(channels) == wide
