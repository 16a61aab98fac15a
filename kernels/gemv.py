"""y += W x with the partial sums held in vector registers: the inner loop of the CPU kernel.

Bits: each output is one chain of fused multiply-adds over the inputs in order, so the result does
not depend on the vector width for which LLVM compiles. Vectors run across outputs, never across
a sum. Callable from compiled code in any thread; allocates nothing.

Packed matrix: the outputs are padded to a multiple of 16 and cut into tiles of 64 (the last
tile holds the remaining 16, 32 or 48); a tile is stored as [inputs][tile], one contiguous read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FLOATS = npt.NDArray[np.float32]

LANES = 16
"""Floats in one IR vector: one AVX-512 register, two of AVX, four of NEON; LLVM splits it."""

TILE_VECTORS = 4
TILE = LANES * TILE_VECTORS


def padded(channels: int) -> int:
    """Return the number of channels rounded up to whole vectors.

    >>> padded(32), padded(33)
    (32, 48)
    """
    return -(-channels // LANES) * LANES


def pack_matrix(matrix: FLOATS, inputs: int | None = None) -> FLOATS:
    """Return a matrix [outputs, inputs] in tiles, flat, with zeros for the padding.

    `inputs` pads the inputs too, for input vectors that are themselves padded.
    """
    outputs, columns = matrix.shape
    full = np.zeros((padded(outputs), inputs or columns), np.float32)
    full[:outputs, :columns] = matrix
    tiles = [full[i : i + TILE].T.ravel() for i in range(0, len(full), TILE)]
    return np.concatenate(tiles)


def _tile(vectors: int) -> Callable[..., Any]:
    """Make the intrinsic that adds one tile of 16 * `vectors` outputs."""

    @intrinsic
    def add_tile(
        typingctx: Any, w: Any, w_at: Any, x: Any, x_at: Any, count: Any, y: Any, y_at: Any
    ) -> Any:
        signature = types.void(w, types.intp, x, types.intp, types.intp, y, types.intp)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = ir.VectorType(ir.FloatType(), LANES)
            index = ir.IntType(64)
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
            )

            def start(array: int, offset: int) -> Any:
                data = context.make_array(signature.args[array])(context, builder, args[array]).data
                return builder.gep(data, [args[offset]])

            w_data, x_data, y_data = start(0, 1), start(2, 3), start(5, 6)
            count = args[4]
            lanes = [ir.Constant(index, LANES * i) for i in range(vectors)]
            outputs = [
                builder.bitcast(builder.gep(y_data, [lane]), vector.as_pointer()) for lane in lanes
            ]
            sums = [builder.load(pointer, align=4) for pointer in outputs]
            before = builder.block
            loop = builder.append_basic_block("tile.loop")
            after = builder.append_basic_block("tile.end")
            builder.cbranch(builder.icmp_signed(">", count, ir.Constant(index, 0)), loop, after)
            builder.position_at_end(loop)
            k = builder.phi(index)
            k.add_incoming(ir.Constant(index, 0), before)
            running = [builder.phi(vector) for _ in sums]
            for phi, first in zip(running, sums, strict=True):
                phi.add_incoming(first, before)
            value = builder.load(builder.gep(x_data, [k]), align=4)
            spread = builder.shuffle_vector(
                builder.insert_element(
                    ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
                ),
                ir.Constant(vector, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES),
            )
            row = builder.gep(w_data, [builder.mul(k, ir.Constant(index, LANES * vectors))])
            added = []
            for lane, phi in zip(lanes, running, strict=True):
                pointer = builder.bitcast(builder.gep(row, [lane]), vector.as_pointer())
                added.append(builder.call(fma, [builder.load(pointer, align=4), spread, phi]))
            onward = builder.add(k, ir.Constant(index, 1))
            k.add_incoming(onward, loop)
            for phi, total in zip(running, added, strict=True):
                phi.add_incoming(total, loop)
            builder.cbranch(builder.icmp_signed("<", onward, count), loop, after)
            builder.position_at_end(after)
            finals = [builder.phi(vector) for _ in sums]
            for final, first, total in zip(finals, sums, added, strict=True):
                final.add_incoming(first, before)
                final.add_incoming(total, loop)
            for pointer, final in zip(outputs, finals, strict=True):
                builder.store(final, pointer, align=4)
            return context.get_dummy_value()

        return signature, generate

    return add_tile  # type: ignore[no-any-return]


_tile1, _tile2, _tile3, _tile4 = _tile(1), _tile(2), _tile(3), _tile(4)


@nb.njit(cache=True, nogil=True)
def gemv_add(
    w: FLOATS, w_at: int, outputs: int, x: FLOATS, x_at: int, inputs: int, y: FLOATS, y_at: int
) -> None:
    """Add W x to y: y[y_at + j] += sum over k of W[j, k] * x[x_at + k].

    `w` from `w_at` on is a packed matrix; `outputs` is its padded number of outputs.
    """
    done = 0
    while outputs - done >= 64:
        _tile4(w, w_at, x, x_at, inputs, y, y_at + done)
        done += 64
        w_at += 64 * inputs
    rest = outputs - done
    if rest == 48:
        _tile3(w, w_at, x, x_at, inputs, y, y_at + done)
    elif rest == 32:
        _tile2(w, w_at, x, x_at, inputs, y, y_at + done)
    elif rest == 16:
        _tile1(w, w_at, x, x_at, inputs, y, y_at + done)
