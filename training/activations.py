"""exp, tanh and sigmoid for the gate of the training, the same float32 bits on every processor.

A mathematics library may round differently from one machine to the next; these are written out
in fused multiply-adds of a fixed order, which IEEE 754 defines to the last bit, so that a run can
be repeated elsewhere. They have no branches: LLVM turns loops over them into vector code of
whatever width there is. (The kernel has its own, of base 2, whose factors lie in its weights.)
Callable from compiled code in any thread.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

ONE = np.float32(1.0)
TWO = np.float32(2.0)
LOG2_E = np.float32(1.44269504088896341)
# ln 2 in two parts, so that n * ln 2 loses nothing (Cephes library, expf.c, S. Moshier).
LN2_HIGH = np.float32(0.693359375)
LN2_LOW = np.float32(-2.12194440e-4)
EXP_LIMIT = np.float32(87.0)
# Adding and taking away 1.5 * 2^23 rounds a float32 to the nearest whole number.
ROUNDER = np.float32(12582912.0)
P0 = np.float32(1.9875691500e-4)
P1 = np.float32(1.3981999507e-3)
P2 = np.float32(8.3334519073e-3)
P3 = np.float32(4.1665795894e-2)
P4 = np.float32(1.6666665459e-1)
P5 = np.float32(5.0000001201e-1)


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c in float32, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(args[0], args[1], args[2])

    return types.float32(types.float32, types.float32, types.float32), generate


@intrinsic
def float_of_bits(typingctx: Any, bits: Any) -> Any:
    """The float32 whose bits are the given int32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


@nb.njit(cache=True, nogil=True, inline="always", error_model="numpy")
def exp(x):  # type: ignore[no-untyped-def]
    """e^x for float32, x clamped to [-87, 87]; relative error under 2e-7."""
    x = min(max(x, -EXP_LIMIT), EXP_LIMIT)
    n = (x * LOG2_E + ROUNDER) - ROUNDER
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    p = fma(fma(fma(fma(fma(P0, r, P1), r, P2), r, P3), r, P4), r, P5)
    p = fma(p, r * r, r) + ONE
    return p * float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))


@nb.njit(cache=True, nogil=True, inline="always", error_model="numpy")
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + e^-x) for float32; absolute error under 2e-7."""
    return ONE / (ONE + exp(-x))


@nb.njit(cache=True, nogil=True, inline="always", error_model="numpy")
def tanh(x):  # type: ignore[no-untyped-def]
    """The hyperbolic tangent for float32; absolute error under 3e-7."""
    return TWO / (ONE + exp(-TWO * x)) - ONE
