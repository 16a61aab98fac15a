"""The kernel's elementwise functions: gates, exponentials, ReLU, and the bytes of int8 activations.

Every function works on whole vectors of 16 floats at addresses and gives the same bits on every
processor: a mathematics library may round differently from one machine to the next, so exp and log
are written out in fused multiply-adds of a fixed order, which IEEE 754 defines to the last bit.
Callable from compiled code in any thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types

from .lanes import BYTES, F32, FLOATS, I32, I64, INTS, LANES, ROUNDER, Lanes, vector_code
from .products import SIGNED, TOP

LOG2_E = math.log2(math.e)
GATE_FACTORS = (-2.0 * LOG2_E, -LOG2_E)
"""What `gate` wants its tanh and its sigmoid half multiplied by; packing does it to the weights."""

# 2^r for |r| <= 1/2, of least relative error (9.2e-8) with 2^0 = 1.
_EXP2 = (1.0, 0.693147003, 0.240222424, 0.0555073358, 0.00967151299, 0.00132647296)
_EXP2_LIMIT = 125.0  # beyond it the result would leave the normal floats

RANK_OF_INFINITY = 0x7F800000
"""Rank of infinity among all float32 (`count_from`); -RANK_OF_INFINITY - 1 is that of -infinity."""

# log(1 + f) / f as in the Cephes library (logf.c, S. Moshier), highest power first.
_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # ln 2 in two parts: n * ln 2 loses nothing


def exp2(code: Lanes, x: Any) -> Any:
    """Write 2^x for -125 <= x <= 125; relative error under 2e-7."""
    builder = code.builder
    shifted = builder.fadd(x, code.floats(ROUNDER))  # its lowest bits are the nearest whole number
    r = builder.fsub(x, builder.fsub(shifted, code.floats(ROUNDER)))
    c = [code.floats(value) for value in _EXP2]
    square = builder.fmul(r, r)
    low, middle, high = (code.fma(c[i + 1], r, c[i]) for i in (0, 2, 4))
    p = code.fma(code.fma(high, square, middle), square, low)
    exponent = builder.shl(builder.bitcast(shifted, INTS), code.ints(23))
    return builder.bitcast(builder.add(builder.bitcast(p, INTS), exponent), FLOATS)


def clamp(code: Lanes, x: Any, limit: float) -> Any:
    """Write x limited to -limit and limit; what is not a number becomes limit."""
    return code.maximum(code.minimum(x, code.floats(limit)), code.floats(-limit))


def gated(code: Lanes, a: Any, b: Any) -> Any:
    """Write tanh(a') * sigmoid(b') for a, b = a', b' times GATE_FACTORS; absolute error under 2.5e-7.

    With E = e^(-2 a') and F = e^(-b') it is (1 - E) / ((1 + E) (1 + F)): one division for both.
    """
    builder, one = code.builder, code.floats(1.0)
    e, f = exp2(code, clamp(code, a, 40.0)), exp2(code, clamp(code, b, 80.0))
    below = builder.fadd(one, e)
    return builder.fdiv(builder.fsub(one, e), code.fma(below, f, below))


def whole_bytes(code: Lanes, x: Any, scale: Any, shift: float) -> Any:
    """Write round(x * scale) + shift as bytes."""
    rounded = code.fma(x, scale, code.floats(ROUNDER + shift))
    return code.builder.trunc(code.builder.bitcast(rounded, INTS), BYTES)


def _at(code: Lanes, address: Any, i: Any) -> Any:
    return code.offset(address, i, 4 * LANES)


def _each(
    code: Lanes, y: Any, vectors: Any, found: Callable[..., Any], *sources: Any, wide: int = 4
) -> None:
    """Store at y what `found` writes of each vector of some sources, `wide` bytes a number."""

    def body(i: Any, _: list[Any]) -> list[Any]:
        values = [code.load(_at(code, source, i)) for source in sources]
        code.store(code.offset(y, i, wide * LANES), found(*values))
        return []

    code.loop(vectors, [], body)


@vector_code("iiii")
def add_vectors(code: Lanes, y: Any, a: Any, b: Any, vectors: Any) -> None:
    """y = a + b."""
    _each(code, y, vectors, code.builder.fadd, a, b)


@vector_code("iiif")
def add_scaled(code: Lanes, y: Any, x: Any, vectors: Any, factor: Any) -> None:
    """y += x * factor."""
    spread = code.spread(factor)
    _each(code, y, vectors, lambda a, b: code.fma(a, spread, b), x, y)


@vector_code("iii")
def copy_vectors(code: Lanes, y: Any, x: Any, vectors: Any) -> None:
    """y = x."""
    _each(code, y, vectors, lambda a: a, x)


@vector_code("ii")
def zero_vectors(code: Lanes, y: Any, vectors: Any) -> None:
    """y = 0."""
    _each(code, y, vectors, lambda: code.floats(0.0))


@vector_code("ii")
def relu(code: Lanes, y: Any, vectors: Any) -> None:
    """y = max(y, 0)."""
    _each(code, y, vectors, lambda a: code.maximum(a, code.floats(0.0)), y)


@vector_code("iiii")
def gate_floats(code: Lanes, z: Any, a: Any, b: Any, vectors: Any) -> None:
    """z = gated(a, b)."""
    _each(code, z, vectors, partial(gated, code), a, b)


@vector_code("iiii")
def gate_bytes(code: Lanes, z: Any, a: Any, b: Any, vectors: Any) -> None:
    """z = gated(a, b) as signed activations of scale 1 / TOP, one byte each."""

    def found(a: Any, b: Any) -> Any:
        return whole_bytes(code, gated(code, a, b), code.floats(TOP), SIGNED)

    _each(code, z, vectors, found, a, b, wide=1)


def _quantise(code: Lanes, y: Any, scale_at: Any, x: Any, vectors: Any, signed: bool) -> None:
    builder = code.builder
    zero, top = code.floats(0.0), TOP if signed else 2 * TOP + 1.0

    def size(value: Any) -> Any:
        return code.maximum(value, builder.fneg(value) if signed else zero)

    def largest(i: Any, carried: list[Any]) -> list[Any]:
        return [code.maximum(carried[0], size(code.load(_at(code, x, i))))]

    # Not 0, so that a vector of zeros has a scale too.
    most = code.greatest(code.loop(vectors, [code.floats(1e-30)], largest)[0])
    scale = code.spread(builder.fdiv(ir.Constant(F32, top), most))
    code.store(scale_at, builder.fmul(most, ir.Constant(F32, 1.0 / top)))

    def found(value: Any) -> Any:
        value = value if signed else code.maximum(value, zero)
        return whole_bytes(code, value, scale, SIGNED if signed else 0)

    _each(code, y, vectors, found, x, wide=1)


@vector_code("iiii")
def quantise(code: Lanes, y: Any, scale_at: Any, x: Any, vectors: Any) -> None:
    """Store x as signed activations: bytes at y, and their scale, max |x| / TOP."""
    _quantise(code, y, scale_at, x, vectors, True)


@vector_code("iiii")
def quantise_relu(code: Lanes, y: Any, scale_at: Any, x: Any, vectors: Any) -> None:
    """Store max(x, 0) as activations of 0 to 127: bytes at y, and their scale, max / 127."""
    _quantise(code, y, scale_at, x, vectors, False)


@vector_code("ii", types.float32)
def largest(code: Lanes, x: Any, vectors: Any) -> Any:
    """Return the greatest number of x."""

    def body(i: Any, carried: list[Any]) -> list[Any]:
        return [code.maximum(carried[0], code.load(_at(code, x, i)))]

    return code.greatest(code.loop(vectors, [code.floats(-3.4e38)], body)[0])


@vector_code("iiiiff")
def weigh(code: Lanes, y: Any, sums: Any, x: Any, vectors: Any, top: Any, scale: Any) -> None:
    """y = e^((x - top) * scale), and `sums` [16] the sum of each lane; 0 where it is under 2^-125.

    Relative error under 1e-5, where it is least; under 2e-7 near the greatest.
    """
    builder = code.builder
    factor, most = code.spread(scale), code.spread(top)
    least = code.floats(-_EXP2_LIMIT)

    def body(i: Any, carried: list[Any]) -> list[Any]:
        power = builder.fmul(builder.fsub(code.load(_at(code, x, i)), most), factor)
        power = builder.fmul(power, code.floats(LOG2_E))
        found = exp2(code, clamp(code, power, _EXP2_LIMIT))
        there = builder.fcmp_ordered(">", power, least)
        found = builder.select(there, found, code.floats(0.0))
        code.store(_at(code, y, i), found)
        return [builder.fadd(carried[0], found)]

    code.store(sums, code.loop(vectors, [code.floats(0.0)], body)[0])


def _of_rank(code: Lanes, rank: Any) -> Any:
    """Write a vector of the float32 that has a rank among all: its bits where it is positive.

    The ranks of negative ones go down from -1, that of -0; those of their neighbours differ by 1.
    """
    builder = code.builder
    bits = builder.trunc(rank, I32)
    turned = builder.xor(bits, ir.Constant(I32, 0x7FFFFFFF))
    negative = builder.icmp_signed("<", bits, ir.Constant(I32, 0))
    return code.spread(builder.bitcast(builder.select(negative, turned, bits), F32))


@vector_code("iii", types.int64)
def count_from(code: Lanes, x: Any, vectors: Any, rank: Any) -> Any:
    """Return how many numbers of x are not less than the float32 of a rank."""
    builder, least = code.builder, _of_rank(code, rank)

    def body(i: Any, carried: list[Any]) -> list[Any]:
        there = builder.fcmp_ordered(">=", code.load(_at(code, x, i)), least)
        return [builder.add(carried[0], code.count(there))]

    return code.loop(vectors, [ir.Constant(I64, 0)], body)[0]


@vector_code("iiiii")
def keep_from(code: Lanes, y: Any, sums: Any, x: Any, vectors: Any, rank: Any) -> None:
    """y = 0 where x is less than the float32 of a rank; `sums` [16] the sum of each lane of y."""
    builder, least = code.builder, _of_rank(code, rank)

    def body(i: Any, carried: list[Any]) -> list[Any]:
        below = builder.fcmp_ordered("<", code.load(_at(code, x, i)), least)
        left = builder.select(below, code.floats(0.0), code.load(_at(code, y, i)))
        code.store(_at(code, y, i), left)
        return [builder.fadd(carried[0], left)]

    code.store(sums, code.loop(vectors, [code.floats(0.0)], body)[0])


@vector_code("f", types.float32)
def exponential(code: Lanes, x: Any) -> Any:
    """Return e^x, x limited to -86 and 86; relative error under 4e-6."""
    power = code.builder.fmul(code.spread(x), code.floats(LOG2_E))
    found = exp2(code, clamp(code, power, _EXP2_LIMIT))
    return code.builder.extract_element(found, ir.Constant(I32, 0))


@vector_code("f", types.float32)
def logarithm(code: Lanes, x: Any) -> Any:
    """Return ln x of a normal x > 0; relative error under 1e-7."""
    builder = code.builder
    bits = builder.bitcast(code.spread(x), INTS)
    # x = 2^n * m with m from sqrt(1/2) to sqrt(2): the bits above those of sqrt(1/2) count n.
    above = builder.sub(bits, code.ints(0x3F3504F3))
    n = builder.ashr(above, code.ints(23))
    m = builder.bitcast(builder.sub(bits, builder.shl(n, code.ints(23))), FLOATS)
    n = builder.sitofp(n, FLOATS)
    f = builder.fsub(m, code.floats(1.0))
    p = code.floats(_LOG[0])
    for value in _LOG[1:]:
        p = code.fma(p, f, code.floats(value))
    square = builder.fmul(f, f)
    y = builder.fmul(builder.fmul(p, f), square)
    y = code.fma(n, code.floats(_LN2_LOW), y)
    y = code.fma(square, code.floats(-0.5), y)
    found = code.fma(n, code.floats(_LN2_HIGH), builder.fadd(f, y))
    return builder.extract_element(found, ir.Constant(I32, 0))
