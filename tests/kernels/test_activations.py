"""Gates, exponentials, logarithms: errors over all magnitudes. int8 activations: every bit."""

import numpy as np
import pytest
from numba import njit, types

from ghostnote.kernels import activations
from ghostnote.kernels.activations import GATE_FACTORS
from ghostnote.kernels.lanes import LANES, load_float, store_float, vector_code
from ghostnote.kernels.packing import aligned_zeros
from tests.kernels.models import DOUBLES, FLOATS, same_bits


@vector_code("iii")
def _exp2(code, y, x, vectors):  # type: ignore[no-untyped-def]
    def body(i, _):  # type: ignore[no-untyped-def]
        found = activations.exp2(code, code.load(code.offset(x, i, 4 * LANES)))
        code.store(code.offset(y, i, 4 * LANES), found)
        return []

    code.loop(vectors, [], body)


EXP2, GATE, GATE_BYTES, QUANTISE, QUANTISE_RELU, RELU, EXPONENTIAL, LOGARITHM, WEIGH, LARGEST = (
    range(10)
)


@njit(types.void(*[types.int64] * 5, types.float32, types.float32), error_model="numpy")
def _call(kind, y, x, other, vectors, top, scale):  # type: ignore[no-untyped-def]
    """Calls one function: `other` is a second vector's address, or where a scale or sums go."""
    if kind == EXP2:
        _exp2(y, x, vectors)
    elif kind == GATE:
        activations.gate_floats(y, x, other, vectors)
    elif kind == GATE_BYTES:
        activations.gate_bytes(y, x, other, vectors)
    elif kind == QUANTISE:
        activations.quantise(y, other, x, vectors)
    elif kind == QUANTISE_RELU:
        activations.quantise_relu(y, other, x, vectors)
    elif kind == RELU:
        activations.relu(x, vectors)
    elif kind == EXPONENTIAL:
        for i in range(LANES * vectors):
            store_float(y + 4 * i, activations.exponential(load_float(x + 4 * i)))
    elif kind == LOGARITHM:
        for i in range(LANES * vectors):
            store_float(y + 4 * i, activations.logarithm(load_float(x + 4 * i)))
    elif kind == WEIGH:
        activations.weigh(y, other, x, vectors, top, scale)
    else:
        store_float(y, activations.largest(x, vectors))


def call(
    kind: int, x: FLOATS, other: FLOATS | None = None, top: float = 0.0, scale: float = 0.0
) -> FLOATS:
    """Returns what a function makes of x, whose length need not be whole vectors."""
    count = -(-len(x) // LANES)
    given, out = aligned_zeros(count * LANES), aligned_zeros(count * LANES + LANES)
    given[: len(x)] = x
    out[:] = np.nan
    second = np.zeros(LANES, np.float32) if other is None else other
    assert second.flags.c_contiguous
    padded = np.zeros(max(count * LANES, LANES), np.float32)
    if other is not None and len(other) == len(x):
        padded[: len(other)] = other
        second = padded
    _call(kind, out.ctypes.data, given.ctypes.data, second.ctypes.data, count, top, scale)
    assert np.isnan(out[count * LANES :]).all()  # it wrote where it should, and not beyond
    return given[: len(x)] if kind == RELU else out[: len(x)]


def magnitudes() -> FLOATS:
    """Returns floats of every exponent and both signs, infinities included, and many near zero."""
    bits = np.arange(0, 2**32, 4093, dtype=np.uint64).astype(np.uint32)
    grid = np.linspace(-130.0, 130.0, 400_001).astype(np.float32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, 87.0, -87.0, 88.0, 1e-38], np.float32)
    x = np.concatenate([bits.view(np.float32), grid, special])
    return np.asarray(x[~np.isnan(x)])


def test_relative_error_of_exp2() -> None:
    x = magnitudes()
    x = x[np.abs(x) <= 125.0]
    error = np.abs(call(EXP2, x) / np.exp2(x.astype(np.float64)) - 1.0).max()
    assert error < 2e-7


def gate_of(a: DOUBLES, b: DOUBLES) -> DOUBLES:
    return np.tanh(a) * np.exp(-np.logaddexp(0.0, -b))


def test_absolute_error_of_the_gate() -> None:
    draw = np.random.default_rng(0)
    wide = magnitudes()
    grid = np.tile(np.linspace(-12, 12, 700), (700, 1))
    pairs: list[tuple[DOUBLES, DOUBLES]] = [
        (wide.astype(np.float64), draw.permutation(wide).astype(np.float64)),
        *[(draw.uniform(-s, s, 300_000), draw.uniform(-s, s, 300_000)) for s in (0.1, 1, 5, 30)],
        (grid, grid.T),
    ]
    for one, other in pairs:
        a, b = one.ravel().astype(np.float32), other.ravel().astype(np.float32)
        with np.errstate(over="ignore"):
            wanted = gate_of(a / np.float64(GATE_FACTORS[0]), b / np.float64(GATE_FACTORS[1]))
        found = call(GATE, a, b)
        assert np.abs(found - wanted).max() < 2.5e-7
        assert np.abs(found).max() <= 1.0


def test_a_gate_of_zero_is_exactly_zero() -> None:
    """So that padded channels stay so."""
    zero = np.zeros(40, np.float32)
    assert call(GATE, zero, zero).tolist() == [0.0] * 40
    assert (bytes_of(GATE_BYTES, zero, zero) == 64).all()


def bytes_of(
    kind: int, x: FLOATS, other: FLOATS | None = None
) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Returns the bytes that a function stores, without what lies behind them."""
    return call(kind, x, other).view(np.uint8)[: len(x)].copy()


def test_gates_as_bytes_are_gates_rounded_to_63rds() -> None:
    draw = np.random.default_rng(1)
    a, b = (draw.uniform(-9, 9, 100_000).astype(np.float32) for _ in range(2))
    rounded = np.rint(call(GATE, a, b).astype(np.float64) * 63.0) + 64
    assert (bytes_of(GATE_BYTES, a, b) == rounded).all()
    assert set(rounded) == set(range(1, 128))


def vectors_to_quantise() -> list[FLOATS]:
    draw = np.random.default_rng(2)
    ties = np.arange(-126, 127).astype(np.float32) * np.float32(
        0.5
    )  # halves, when 63 is the greatest
    ties[0] = 63.0
    random = [
        (draw.standard_normal(n) * 10.0 ** draw.integers(-20, 20)).astype(np.float32)
        for n in (1, 15, 16, 17, 64, 500, 1024)
        for _ in range(20)
    ]
    last = np.zeros(48, np.float32)
    last[-1] = -5.0  # the greatest is negative, in the last lane of all
    return [*random, ties, last, np.zeros(32, np.float32), np.full(16, 1e-38, np.float32)]


@pytest.mark.parametrize("top", [63, 127])
def test_activations_are_whole_multiples_of_their_scale(top: int) -> None:
    """Of the greatest / `top`, to the nearest, ties to even: what the lanes' order cannot change."""
    for x in vectors_to_quantise():
        kept = x if top == 63 else np.maximum(x, 0.0)
        scale = np.zeros(1, np.float32)
        found = call_with_scale(QUANTISE if top == 63 else QUANTISE_RELU, x, scale)
        most = max(np.abs(kept).max(), np.float32(1e-30))
        factor = np.float64(np.float32(top) / most)
        rounded = np.rint(kept.astype(np.float64) * factor)
        assert (found == rounded + (64 if top == 63 else 0)).all()
        assert np.abs(rounded).max() == (top if most > 1e-30 else 0)
        assert scale[0] == pytest.approx(most / top, rel=2e-7)


def call_with_scale(
    kind: int, x: FLOATS, scale: FLOATS
) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    given = aligned_zeros(-(-len(x) // LANES) * LANES)
    given[: len(x)] = x
    out = np.full(len(given), 255, np.uint8)
    _call(kind, out.ctypes.data, given.ctypes.data, scale.ctypes.data, len(given) // LANES, 0, 0)
    assert (out <= 127).all()
    return out[: len(x)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_number_is_no_byte_out_of_range(value: float) -> None:
    """Finite weights can still overflow; the sums of products must stay defined."""
    x = np.linspace(-1, 1, 48).astype(np.float32)
    x[20] = value
    for kind in (QUANTISE, QUANTISE_RELU):
        call_with_scale(kind, x, np.zeros(1, np.float32))
    for a, b in ((x, x[::-1].copy()), (x[::-1].copy(), x)):
        assert (bytes_of(GATE_BYTES, a, b) <= 127).all()


def test_relu_and_largest() -> None:
    x = magnitudes()[::997]
    assert same_bits(call(RELU, x), np.where(x > 0.0, x, np.float32(0.0)))
    for at in range(0, 70, 3):
        some = np.full(80, -7.5, np.float32)
        some[at] = -2.25
        assert call(LARGEST, some)[0] == -2.25


def test_relative_error_of_the_exponential() -> None:
    x = np.linspace(-86.0, 86.0, 1_000_001).astype(np.float32)
    error = np.abs(call(EXPONENTIAL, x) / np.exp(x.astype(np.float64)) - 1.0)
    assert error.max() < 4e-6
    assert call(EXPONENTIAL, np.array([np.inf, 1000.0], np.float32)).max() < np.inf
    assert call(EXPONENTIAL, np.array([-np.inf, -1000.0], np.float32)).min() > 0.0


def test_relative_error_of_the_logarithm() -> None:
    """Also where a draw takes it: of every u and 1 - u that a uniform number can be."""
    small = np.arange(1, 2**24, 7).astype(np.float32) / np.float32(2**24)
    ends = np.array([0.5, 1.0, 2.0, 2**24 - 1, 2**24 - 2], np.float32) / np.float32(2**24)
    x = magnitudes()
    x = x[(x >= np.finfo(np.float32).tiny) & (x < np.inf)]
    near_one = np.float32(1.0) + np.arange(-5000, 5000).astype(np.float32) * np.float32(2.0**-23)
    x = np.concatenate([small, np.float32(1.0) - small, ends, x, near_one])
    x = x[(x > 0.0) & (x != 1.0)]
    error = np.abs(call(LOGARITHM, x) / np.log(x.astype(np.float64)) - 1.0)
    assert error.max() < 1e-7
    assert call(LOGARITHM, np.ones(1, np.float32))[0] == 0.0


def test_weights_of_a_softmax_and_their_sums_by_lane() -> None:
    draw = np.random.default_rng(4)
    x = (20.0 * draw.standard_normal(256)).astype(np.float32)
    sums = np.zeros(LANES, np.float32)
    for temperature in (0.01, 0.5, 1.0, 10.0):
        scale = np.float32(1.0) / np.float32(temperature)
        found = call(WEIGH, x, sums, float(x.max()), float(scale))
        power = (x.astype(np.float64) - x.max()) * np.float64(scale)
        wanted = np.exp(power)
        there = power / np.log(2.0) > -124.9
        assert found.max() == 1.0
        assert (found[power / np.log(2.0) < -125.1] == 0.0).all()
        assert np.abs(found[there] / wanted[there] - 1.0).max() < 1e-5
        # Of a lane's vectors in order.
        total = np.zeros(LANES, np.float32)
        for vector in found.reshape(-1, LANES):
            total += vector
        assert same_bits(sums, total)


def test_fma_rounds_once() -> None:
    @vector_code("fff", types.float32)
    def fma(code, a, b, c):  # type: ignore[no-untyped-def]
        return code.fma(a, b, c)

    @njit
    def fused(a, b, c):  # type: ignore[no-untyped-def]
        return fma(a, b, c)

    a = np.float32(1.0 + 2.0**-12)
    exact = 2.0**-11 + 2.0**-24  # (1 + 2^-12)^2 - 1
    assert float(fused(a, a, np.float32(-1.0))) == exact
    assert float(a * a - np.float32(1.0)) != exact
