"""y += W x for one vector or many: the inner loop of the CPU kernel, in three precisions.

Bits: an output's sum is one chain of fused multiply-adds over the inputs in order (two or four
chains, added in order, in narrow tiles), the same for one vector and for many; int8 sums whole
numbers, exactly. So neither the vector width nor the number of streams changes a result. Vectors run
across outputs, never across a sum. Callable from compiled code in any thread; allocates nothing.

Packed matrix: a head of 64 bytes, then inputs and outputs padded to multiples of 16, the outputs cut
into tiles of 64 (the last holds the remaining 16, 32 or 48), one contiguous read each:

- fp32: [inputs][tile] floats;
- bf16: [inputs][tile] bfloat16, where two vectors of 16 lie as the low and high halves of 16 words;
- int8: a scale (float32) and an offset (int32) for each output, then [inputs / 4][tile][4] bytes.

An activation vector for int8 holds bytes of 0 to 127, and its scale (float32) right behind the padded
inputs. Signed ones have 64 added, which the offsets take away again. Where the scale is always the
same, it is a part of the matrix (`pack_matrix`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba.core import cgutils

from . import target
from .lanes import (
    F32,
    FLOATS,
    I8,
    I16,
    I32,
    I64,
    INTS,
    LANES,
    Lanes,
    load_int,
    vector_code,
)

FP32, BF16, INT8 = range(3)
PRECISIONS = ("fp32", "bf16", "int8")
"""Names of the precisions in which weights may be held, by number."""

TILE = 64
SIGNED = 64
"""What is added to a signed activation to make it a byte of 0 to 127."""

TOP = 63.0
"""Greatest magnitude of a signed activation in int8; 7 bits, for which no sum of two overflows."""

WIDE_REGISTERS = target.vector_bits() == 512

AHEAD = 4096
"""How many bytes ahead weights are fetched into the cache; a step reads most of them in a row.

Not with wide registers: the one such processor that was measured (Zen 4) is better at it by itself.
"""

WORDS = ir.VectorType(I8, 4 * LANES)


def padded(channels: int) -> int:
    """Return the number of channels rounded up to whole vectors.

    >>> padded(32), padded(33)
    (32, 48)
    """
    return -(-channels // LANES) * LANES


def pack_matrix(
    matrix: npt.NDArray[np.float32],
    precision: int,
    *,
    signed: bool = True,
    scale: float | None = None,
) -> npt.NDArray[np.uint8]:
    """Return a matrix [outputs, inputs] in tiles behind a head, as bytes, with zeros for padding.

    For int8, `signed` tells whether its inputs will be signed (64 is added to their bytes), and
    `scale` is that of the inputs where it is known; None: it stands behind them.
    """
    outputs, inputs = matrix.shape
    full = np.zeros((padded(outputs), padded(inputs)), np.float32)
    full[:outputs, :inputs] = matrix
    head = np.zeros(8, np.int64)
    head[:4] = precision, *full.shape, scale is None
    head[4:].view(np.float32)[0] = 1.0 if scale is None else scale
    pack_tile = (_tile_fp32, _tile_bf16, _tile_int8)[precision]
    tiles = [pack_tile(full[i : i + TILE], signed) for i in range(0, len(full), TILE)]
    return np.concatenate([head.view(np.uint8), *tiles])


def _tile_fp32(tile: npt.NDArray[np.float32], signed: bool) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(tile.T).view(np.uint8).ravel()


def bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Return the upper half of each float32, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def _tile_bf16(tile: npt.NDArray[np.float32], signed: bool) -> npt.NDArray[np.uint8]:
    rows = bfloat16(tile.T)  # [inputs, outputs]
    paired = rows.shape[1] // (2 * LANES) * 2 * LANES
    halves = rows[:, :paired].reshape(len(rows), -1, 2, LANES).swapaxes(2, 3)
    flat = np.concatenate([halves.reshape(len(rows), paired), rows[:, paired:]], axis=1)
    return np.ascontiguousarray(flat).view(np.uint8).ravel()


def quantised(
    tile: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return int8 weights [outputs, inputs] of -127 to 127 and each output's scale [outputs]."""
    scale = np.abs(tile).max(axis=1) / np.float32(127.0)
    scale[scale == 0.0] = 1.0
    return np.rint(tile / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def _tile_int8(tile: npt.NDArray[np.float32], signed: bool) -> npt.NDArray[np.uint8]:
    whole, scale = quantised(tile)
    offset = np.zeros(len(tile), np.int32)
    if signed:
        offset -= SIGNED * whole.sum(axis=1, dtype=np.int32)
    rows = whole.reshape(len(tile), -1, 4).swapaxes(0, 1)  # [inputs / 4, outputs, 4]
    parts = (scale, offset, np.ascontiguousarray(rows))
    return np.concatenate([part.view(np.uint8).ravel() for part in parts])


class _Fp32:
    """How a tile of float32 weights is multiplied."""

    row_bytes = 4 * LANES  # of one vector of outputs

    def start(self, code: Lanes, at: Any, first: bool) -> Any:
        return code.floats(0.0)

    def weights(self, code: Lanes, row: Any, vectors: int) -> Iterable[Any]:
        # Each is loaded where it is used: NEON has no registers for all of them at once.
        return (code.load(code.offset(row, v, 4 * LANES)) for v in range(vectors))

    def activation(self, code: Lanes, x: Any, k: Any) -> Any:
        return code.spread(code.load(code.offset(x, k, 4), F32))

    def add(self, code: Lanes, total: Any, x: Any, w: Any) -> Any:
        return code.fma(w, x, total)

    def factor(self, code: Lanes, at: Any) -> Any:
        return None

    def finish(self, code: Lanes, y: Any, totals: list[Any], at: Any, factor: Any) -> Any:
        for total in totals:
            y = code.builder.fadd(y, total)
        return y


class _Bf16(_Fp32):
    """bfloat16 weights: the upper halves of float32, widened on the way."""

    row_bytes = 2 * LANES

    def weights(self, code: Lanes, row: Any, vectors: int) -> Iterable[Any]:
        builder, found = code.builder, []
        for v in range(0, vectors - 1, 2):
            both = code.load(code.offset(row, v, 2 * LANES), INTS)
            found.append(builder.bitcast(builder.shl(both, code.ints(16)), FLOATS))
            found.append(builder.bitcast(builder.and_(both, code.ints(-65536)), FLOATS))
        if vectors % 2:
            kind = ir.VectorType(I16, LANES)
            last = code.load(code.offset(row, vectors - 1, 2 * LANES), kind)
            wide = builder.shl(builder.zext(last, INTS), code.ints(16))
            found.append(builder.bitcast(wide, FLOATS))
        return found


class _Int8:
    """int8 weights and 7-bit activations: whole numbers are summed, four products at a time."""

    row_bytes = 4 * LANES

    def start(self, code: Lanes, at: Any, first: bool) -> Any:
        return code.load(at, INTS) if first else code.ints(0)

    def weights(self, code: Lanes, row: Any, vectors: int) -> Iterable[Any]:
        return (code.load(code.offset(row, v, 4 * LANES), WORDS) for v in range(vectors))

    def activation(self, code: Lanes, x: Any, k: Any) -> Any:
        word = code.spread(code.load(code.offset(x, k, 4), I32))
        return code.builder.bitcast(word, WORDS)

    def add(self, code: Lanes, total: Any, x: Any, w: Any) -> Any:
        return dot_bytes(code, total, x, w)

    def factor(self, code: Lanes, at: Any) -> Any:
        return code.spread(code.load(at, F32))

    def finish(self, code: Lanes, y: Any, totals: list[Any], at: Any, factor: Any) -> Any:
        builder, total = code.builder, totals[0]
        for other in totals[1:]:
            total = builder.add(total, other)
        both = builder.fmul(code.load(at), factor)
        return code.fma(builder.sitofp(total, FLOATS), both, y)


def dot_bytes(code: Lanes, total: Any, x: Any, w: Any) -> Any:
    """Add to each lane of `total` its four products of bytes: `x` of 0 to 127, `w` of -127 to 127.

    Every instruction used gives the same whole numbers: a sum of two products fits 16 bits.
    """
    how = target.dot_product()
    if how.endswith(".512"):
        return _dot_x86(code, total, x, w, 1, how)
    if how.endswith(".256"):
        return _dot_x86(code, total, x, w, 2, how)
    if how == "sdot":
        return _dot_arm(code, total, x, w)
    builder = code.builder
    wide = ir.VectorType(I32, LANES)
    for byte in range(4):
        order = ir.Constant(INTS, [4 * lane + byte for lane in range(LANES)])
        one = builder.zext(builder.shuffle_vector(x, x, order), wide)
        other = builder.sext(builder.shuffle_vector(w, w, order), wide)
        total = builder.add(total, builder.mul(one, other))
    return total


def _dot_x86(code: Lanes, total: Any, x: Any, w: Any, parts: int, how: str) -> Any:
    builder = code.builder
    width = LANES // parts
    bits = 32 * width
    sums = ir.VectorType(I32, width)
    pairs = ir.VectorType(I16, 2 * width)

    def call(name: str, result: Any, arguments: list[Any]) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    def part(vector: Any, i: int, size: int) -> Any:
        if parts == 1:
            return vector
        kind = ir.VectorType(I32, size)
        order = ir.Constant(kind, list(range(i * size, (i + 1) * size)))
        return builder.shuffle_vector(vector, vector, order)

    found = []
    for i in range(parts):
        t, a, b = part(total, i, width), part(x, i, 4 * width), part(w, i, 4 * width)
        if how.startswith("vpdpbusd"):
            if binding.llvm_version_info < (21,):
                a, b = builder.bitcast(a, sums), builder.bitcast(b, sums)
            found.append(call(f"llvm.x86.avx512.vpdpbusd.{bits}", sums, [t, a, b]))
        else:
            names = {
                256: ("avx2.pmadd.ub.sw", "avx2.pmadd.wd"),
                512: ("avx512.pmaddubs.w.512", "avx512.pmaddw.d.512"),
            }[bits]
            two = call(f"llvm.x86.{names[0]}", pairs, [a, b])
            ones = ir.Constant(pairs, [1] * (2 * width))
            four = call(f"llvm.x86.{names[1]}", sums, [two, ones])
            found.append(builder.add(t, four))
    if parts == 1:
        return found[0]
    return builder.shuffle_vector(found[0], found[1], ir.Constant(INTS, list(range(LANES))))


def _dot_arm(code: Lanes, total: Any, x: Any, w: Any) -> Any:
    builder = code.builder
    sums, words = ir.VectorType(I32, 4), ir.VectorType(I8, 16)
    kind = ir.FunctionType(sums, [sums, words, words])
    sdot = cgutils.get_or_insert_function(
        builder.module, kind, "llvm.aarch64.neon.sdot.v4i32.v16i8"
    )

    def part(vector: Any, i: int, size: int) -> Any:
        order = ir.Constant(ir.VectorType(I32, size), list(range(i * size, (i + 1) * size)))
        return builder.shuffle_vector(vector, vector, order)

    found = [
        builder.call(sdot, [part(total, i, 4), part(x, i, 16), part(w, i, 16)]) for i in range(4)
    ]
    eight = ir.Constant(ir.VectorType(I32, 8), list(range(8)))
    low = builder.shuffle_vector(found[0], found[1], eight)
    high = builder.shuffle_vector(found[2], found[3], eight)
    return builder.shuffle_vector(low, high, ir.Constant(INTS, list(range(LANES))))


_KINDS = (_Fp32(), _Bf16(), _Int8())  # by precision


def _tile(vectors: int, streams: int, chains: int, precisions: tuple[int, ...]) -> Any:
    """Make the code that adds a piece of a product for some outputs and streams.

    Its arguments: the precision; addresses of the scales and offsets of these outputs (int8); the
    address of the first row, the bytes from row to row, and the rows of one chain; then address and
    stride (bytes) of the streams' x, of their scales (int8), and of their y. The chains lie one
    behind the other; their sums are added to y in order.
    """

    def write(kind: Any, code: Lanes, arguments: list[Any]) -> None:
        scales, offsets, row, row_bytes, count, x, x_stride, scale, scale_stride, y, y_stride = (
            arguments
        )
        builder = code.builder
        ahead = builder.mul(count, row_bytes)
        rows = [builder.add(row, builder.mul(ahead, _i64(c))) for c in range(chains)]
        sources = [
            [
                builder.add(
                    builder.add(x, builder.mul(x_stride, _i64(s))), builder.mul(count, _i64(4 * c))
                )
                for s in range(streams)
            ]
            for c in range(chains)
        ]
        sums = [
            kind.start(code, code.offset(offsets, v, 4 * LANES), c == 0)
            for c in range(chains)
            for _ in range(streams)
            for v in range(vectors)
        ]

        def body(k: Any, carried: list[Any]) -> list[Any]:
            places, totals, found = carried[:chains], iter(carried[chains:]), []
            for place, starts in zip(places, sources, strict=True):
                # Next to nothing is done with each weight: have it at hand.
                if streams == 1 and not WIDE_REGISTERS:
                    for line in range(0, vectors * kind.row_bytes, 64):
                        code.prefetch(code.offset(place, AHEAD + line))
                weights = kind.weights(code, place, vectors)
                if streams > 1:
                    weights = list(weights)
                for start in starts:
                    value = kind.activation(code, start, k)
                    found += [kind.add(code, next(totals), value, weight) for weight in weights]
            return [builder.add(place, row_bytes) for place in places] + found

        totals = code.loop(count, rows + sums, body)[chains:]
        for s in range(streams):
            target_row = builder.add(y, builder.mul(y_stride, _i64(s)))
            factor = kind.factor(code, builder.add(scale, builder.mul(scale_stride, _i64(s))))
            for v in range(vectors):
                at = code.offset(target_row, v, 4 * LANES)
                mine = totals[s * vectors + v :: streams * vectors]
                weight_scale = code.offset(scales, v, 4 * LANES)
                code.store(at, kind.finish(code, code.load(at), mine, weight_scale, factor))

    @vector_code("i" * 12)
    def add_tile(code: Lanes, precision: Any, *arguments: Any) -> None:
        builder = code.builder
        after = builder.append_basic_block("tile.after")
        other = builder.append_basic_block("tile.unknown")
        switch = builder.switch(precision, other)
        for number in precisions:
            block = builder.append_basic_block("tile.precision")
            switch.add_case(_i64(number), block)
            builder.position_at_end(block)
            write(_KINDS[number], code, list(arguments))
            builder.branch(after)
        builder.position_at_end(other)
        builder.unreachable()
        builder.position_at_end(after)

    return add_tile


def _i64(value: int) -> Any:
    return ir.Constant(I64, value)


_ALL = (FP32, BF16, INT8)
# One stream: as many sums at once as hide the latency of an addition without spilling registers.
_one_64, _one_48 = _tile(4, 1, 1, _ALL), _tile(3, 1, 1, _ALL)
_one_32, _one_16 = _tile(2, 1, 2, _ALL), _tile(1, 1, 4, _ALL)
# Several streams: the weights are loaded once for all of them. bfloat16 is widened by pairs.
_four_16, _two_32 = _tile(1, 4, 1, (FP32, INT8)), _tile(2, 2, 1, (BF16,))
# A register that holds a whole vector leaves room for a whole tile's sums of four streams.
_four_64 = _tile(4, 4, 1, _ALL)

_merged = nb.njit(cache=True, nogil=True, inline="always", error_model="numpy")

SEGMENT = 64
"""Inputs that a float sum runs over before it is added to y: what keeps a tile in the L1 cache."""


@nb.njit(cache=True, nogil=True, error_model="numpy")
def add_product(w: int, x: int, x_stride: int, y: int, y_stride: int, streams: int) -> None:
    """Add W x to y for each of `streams` vectors: y_s[j] += sum over k of W[j, k] * x_s[k].

    `w` is the address of a packed matrix, `x` and `y` those of the first stream's vectors, the
    strides bytes to the next one's. Few enough arguments to be passed in registers.
    """
    precision, outputs, inputs = load_int(w), load_int(w + 8), load_int(w + 16)
    scale, scale_stride = w + 32, 0
    if load_int(w + 24):
        scale, scale_stride = x + inputs, x_stride
    w += 64
    done = 0
    while done < outputs:
        wide = min(TILE, outputs - done)
        scales, offsets, rows, segment = w, w, inputs, SEGMENT
        row = wide * (2 if precision == BF16 else 4)
        if precision == INT8:
            offsets = w + 4 * wide
            w += 8 * wide
            rows = segment = inputs // 4
        at = 0
        while at < rows:
            count = min(segment, rows - at)
            if streams > 1:
                _add_to_many(
                    precision, wide, scales, offsets, w, row, count,
                    x + 4 * at, x_stride, scale, scale_stride, y + 4 * done, y_stride, streams,
                )  # fmt: skip
            else:
                _add_to_one(
                    precision, wide, scales, offsets, w, row, count,
                    x + 4 * at, scale, y + 4 * done,
                )  # fmt: skip
            w += count * row
            at += count
        done += wide


@_merged
def _add_to_one(
    precision: int, wide: int, scales: int, offsets: int, w: int, row: int, count: int,
    x: int, scale: int, y: int,
) -> None:  # fmt: skip
    """Add what `count` rows of a tile of `wide` outputs give for one stream."""
    if wide == 64:
        _one_64(precision, scales, offsets, w, row, count, x, 0, scale, 0, y, 0)
    elif wide == 32:
        _one_32(precision, scales, offsets, w, row, count // 2, x, 0, scale, 0, y, 0)
    elif wide == 48:
        _one_48(precision, scales, offsets, w, row, count, x, 0, scale, 0, y, 0)
    else:
        _one_16(precision, scales, offsets, w, row, count // 4, x, 0, scale, 0, y, 0)


@_merged
def _add_to_many(
    precision: int, wide: int, scales: int, offsets: int, w: int, row: int, count: int,
    x: int, x_stride: int, scale: int, scale_stride: int, y: int, y_stride: int, streams: int,
) -> None:  # fmt: skip
    """Add what `count` rows of a tile of `wide` outputs give for several streams."""
    done = 0
    if WIDE_REGISTERS and wide == TILE:
        while streams - done >= 4:
            _four_64(
                precision, scales, offsets, w, row, count, x + done * x_stride, x_stride,
                scale + done * scale_stride, scale_stride, y + done * y_stride, y_stride,
            )  # fmt: skip
            done += 4
    elif precision != BF16:
        # A chain at a time, as many as in the code for one stream; whole numbers need one only.
        chains = 1 if precision == INT8 or wide > 32 else 64 // wide
        part = count // chains
        while streams - done >= 4:
            for chain in range(chains):
                for j in range(0, wide, LANES):
                    _four_16(
                        precision, scales + 4 * j, offsets + 4 * j,
                        w + chain * part * row + 4 * j, row, part,
                        x + done * x_stride + 4 * chain * part, x_stride,
                        scale + done * scale_stride, scale_stride,
                        y + done * y_stride + 4 * j, y_stride,
                    )  # fmt: skip
            done += 4
    elif wide % 32 == 0:
        chains = 1 if wide > 32 else 2
        part = count // chains
        while streams - done >= 2:
            for chain in range(chains):
                for j in range(0, wide, 2 * LANES):
                    _two_32(
                        precision, scales, offsets,
                        w + chain * part * row + 2 * j, row, part,
                        x + done * x_stride + 4 * chain * part, x_stride,
                        scale, scale_stride,
                        y + done * y_stride + 4 * j, y_stride,
                    )  # fmt: skip
            done += 2
    while done < streams:
        _add_to_one(
            precision, wide, scales, offsets, w, row, count,
            x + done * x_stride, scale + done * scale_stride, y + done * y_stride,
        )  # fmt: skip
        done += 1
