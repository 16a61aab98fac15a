"""A model as the GPU kernels read it: matrices, floats and places on the device, and its tiling.

Channels are padded to powers of two (16 at least), which is what `tl.dot` takes; padding is zeros
and comes out of every product as zeros. A layer's past lies in a ring of a power of two of slots,
more than it reaches back, so that a slot is the sample's index under a mask. Immutable once made;
may be shared between threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from .activations import GATE_FACTORS
from .errors import GhostnoteError
from .spec import ModelSpec
from .weights import Weights, check_weights

FLOATS = npt.NDArray[np.float32]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
HISTORY = 8  # levels kept of each stream: a power of two, no fewer than a model's input taps

SHARED = 224 * 1024
"""Bytes of shared memory that a program's operands take at most: an SM of an H100 has 227 KB for it."""

BESIDE = 3 * 1024
"""Bytes of it that are left for other things."""

WGMMA = 64
"""Rows of a tile from which on Triton multiplies with Hopper's `wgmma`, by warpgroups of four warps."""

ROW = 16 * 1024
"""Numbers of one tile's logits or skips: 64 registers of each thread of eight warps."""

HELD = 168 * 1024
"""Bytes of weights that a program of the spread kernel keeps at most: they lie in shared memory, for the
most part, beside what it hands from warp to warp (HANDED)."""

HANDED = 56 * 1024

UNROLLED = 8
"""Layers that a program of the spread kernel plays at most; each is code of its own."""

PADDED_LOGIT = -1e30  # is never drawn


class Shape(NamedTuple):
    """What a kernel is compiled for: padded sizes, where the blocks lie, and the tiling.

    `tile` streams are one program's; of a layer's gates `part` are computed at a time, of the
    head's hidden channels `slice`. `wide` multiplies in full float32 whatever the weights are; with
    `one_bias` all streams share the gates' biases.
    """

    layers: int
    width: int
    taps: int
    levels: int  # as in the spec
    outputs: int  # for each of `groups`, as in the spec
    groups: int  # 1: a softmax; 3: logits, means and log-scales of a mixture
    residual: int
    gate: int
    skip: int
    head: int
    out: int  # `outputs` padded
    # offsets of matrices; the filters [L, taps, R, D, 2] are at 0
    residual_at: int  # [L, D, R]
    skip_at: int  # [L, D, S]
    head0_at: int  # [S, H]
    head1_at: int  # [groups, H, Q]
    # offsets of floats; the input's [taps, levels, R] (of a mixture [taps, R]) are at 0
    input_bias_at: int  # [R]
    residual_bias_at: int  # [L, R]
    skip_bias_at: int  # [S]
    head0_bias_at: int  # [H]
    head1_bias_at: int  # [groups, Q]
    mulaw_at: int  # [levels]
    tile: int
    part: int
    slice: int
    wide: bool
    shared: int  # bytes of it that operands may take
    one_bias: bool = False


class Options(NamedTuple):
    """How a kernel is compiled: warps of a program, stages of the pipeline that loads its weights."""

    num_warps: int
    num_stages: int


class Spread(NamedTuple):
    """How a model is shared out: `group` layers to a program, `programs` in all, `words` handed over."""

    shape: Shape
    group: int
    programs: int
    words: int


@dataclass(frozen=True)
class GpuPacked:
    """A model on a device. `filter_bias` and `cond` serve what is computed once a hop.

    `places` int32 [3, L] holds each layer's dilation, its ring's slots less one, and its first slot;
    `slots` is their number in all.
    """

    spec: ModelSpec
    precision: str
    weights: Weights
    matrices: torch.Tensor
    floats: torch.Tensor
    places: torch.Tensor
    slots: int
    filter_bias: torch.Tensor  # [L, 2, D], times GATE_FACTORS as the filters are
    cond: dict[str, torch.Tensor]  # cond_*, age_table, body_*, transient_*

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.matrices.device

    @property
    def gate(self) -> int:
        """Padded channels of one half of a gate."""
        return int(self.filter_bias.shape[-1])

    @property
    def residual(self) -> int:
        """Padded residual channels."""
        return width(self.spec.residual)


def width(channels: int) -> int:
    """Return the power of two, 16 at least, to which channels are padded."""
    return max(16, 1 << (channels - 1).bit_length())


def ring_slots(spec: ModelSpec) -> list[int]:
    """Return the slots of each layer's ring: a power of two above what it reaches back.

    One more than the reach, so that nothing is read and written in one sample: a program needs a
    barrier a sample, not one a layer.
    """
    return [1 << ((spec.filter_width - 1) * d).bit_length() for d in spec.dilations]


def pack_gpu(
    spec: ModelSpec, weights: Weights, precision: str = "fp32", device: str = "cuda"
) -> GpuPacked:
    """Lay out checked weights on a device, the matrices in a precision of PRECISIONS.

    Raises
    ------
    GhostnoteError
        As `check_weights` does, or if there is no such precision.
    """
    if precision not in PRECISIONS:
        raise GhostnoteError(f"GPU: precision {precision!r} is none of {', '.join(PRECISIONS)}")
    check_weights(spec, weights)
    slots = ring_slots(spec)
    first = np.concatenate([[0], np.cumsum(slots)[:-1]])
    places = np.stack([np.array(spec.dilations), np.array(slots) - 1, first]).astype(np.int32)
    factors = np.array(GATE_FACTORS)[:, None]
    bias = weights["filter_bias"].reshape(spec.layers, 2, spec.gate) * factors
    cond = {
        name: torch.from_numpy(weights[name].copy()).to(device)
        for name in weights
        if name.startswith(("cond_weight", "cond_bias", "body", "transient")) or name == "age_table"
    }
    if spec.conditioning:
        out = weights["cond_out_weight"].reshape(spec.layers, 2, spec.gate, -1) * factors[..., None]
        out = _pad(np.moveaxis(out, 2, 3), width(spec.gate))  # [L, 2, E, D]
        cond["cond_out_weight"] = torch.from_numpy(np.moveaxis(out, 2, 0).copy()).to(device)
    matrices = torch.from_numpy(np.concatenate([b.ravel() for b in _matrices(spec, weights)]))
    floats = torch.from_numpy(np.concatenate([b.ravel() for b in _floats(spec, weights)]))
    return GpuPacked(
        spec,
        precision,
        weights,
        matrices.to(device, PRECISIONS[precision]),
        floats.to(device),
        torch.from_numpy(places).to(device),
        int(sum(slots)),
        torch.from_numpy(_pad(bias, width(spec.gate))).to(device),
        cond,
    )


class Card(NamedTuple):
    """What a device has: multiprocessors, bytes of shared memory that a program may take of one."""

    programs: int
    shared: int


def card_of(device: torch.device) -> Card:
    """Return what a device has; of the CPU, where kernels are interpreted, what an H100 has."""
    if device.type != "cuda":
        return Card(132, SHARED + BESIDE)
    found = torch.cuda.get_device_properties(device)
    shared = getattr(found, "shared_memory_per_block_optin", found.shared_memory_per_block)
    return Card(int(found.multi_processor_count), int(shared))


def shape_of(
    spec: ModelSpec,
    precision: str,
    streams: int,
    *,
    wide: bool,
    programs: int,
    shared: int = SHARED + BESIDE,
) -> Shape:
    """Return the shape that a kernel for `streams` streams on `programs` SMs is compiled for.

    A tile is as small as the SMs allow, since its samples wait for each other: 16 streams (the least
    that tensor cores multiply), 64 at most, and no more than its logits have registers for; 16 too where
    float32 is multiplied without tensor cores. `shared` is what a `Card` has.
    """
    groups = 3 if spec.mixtures else 1
    sizes: dict[str, Any] = {
        "residual": width(spec.residual),
        "gate": width(spec.gate),
        "skip": width(spec.skip),
        "head": width(spec.head),
        "out": width(spec.outputs // groups),
    }
    places: dict[str, Any] = {**_offsets(spec)}
    most = ROW // max(groups * sizes["out"], sizes["skip"], sizes["residual"])
    tile = 16 if wide else min(width(-(-streams // programs)), 64, max(16, most))
    size = PRECISIONS[precision].itemsize
    shape = Shape(
        spec.layers,
        spec.filter_width,
        spec.input_taps,
        spec.levels,
        spec.outputs // groups,
        groups,
        **sizes,
        **places,
        tile=tile,
        part=sizes["gate"],
        slice=sizes["head"],
        wide=wide,
        shared=min(SHARED, shared - BESIDE),
    )
    while shape.part > 16 and _room(shape, size) < 2:
        shape = shape._replace(part=shape.part // 2)
    buffers = max(2, min(3, _room(shape, size)))
    while shape.slice > 16 and not _head_fits(shape, size, buffers):
        shape = shape._replace(slice=shape.slice // 2)
    return shape


def spread_of(shape: Shape, precision: str, programs: int) -> Spread | None:
    """Return how the spread kernel shares a model out among at most so many programs, None if it cannot.

    `shape` is that of the tile kernel for as many streams.
    """
    size = PRECISIONS[precision].itemsize
    layer = ((shape.width * 2 + 1) * shape.residual + shape.skip) * shape.gate * size
    hidden = (shape.skip + shape.groups * shape.out) * size
    held = min(HELD, shape.shared - HANDED)
    group = min(held // layer, shape.layers, UNROLLED)
    if group < 1 or 16 * hidden > held:
        return None
    part = 16
    while 2 * part <= shape.head and 2 * part * hidden <= held:
        part *= 2
    shape = shape._replace(tile=16, part=shape.gate, slice=part)
    groups, slices = -(-shape.layers // group), shape.head // part
    if groups + slices > programs:
        return None
    words = groups * (shape.residual + shape.skip) + slices * shape.groups * shape.out
    return Spread(shape, group, groups + slices, words * shape.tile)


def options_of(shape: Shape, precision: str) -> Options:
    """Return warps and stages for a shape.

    Eight warps where four would hold more sums than registers, or each of them many columns. Stages
    let the loads of weights run two or three parts ahead; `wgmma` reads what it multiplies from shared
    memory while the next is loaded, which takes a stage more. Where shared memory has no room for two
    parts there is one stage: nothing is loaded ahead, and each operand lies there by itself.
    """
    buffers = _buffers(shape, PRECISIONS[precision].itemsize)
    wide = max(2 * shape.gate, shape.skip // 2, shape.groups * shape.out // 2) > 64
    eight = shape.tile > 16 or wide
    more = int(buffers > 1 and shape.tile < WGMMA)
    return Options(8 if eight else 4, buffers + more)


def _buffers(shape: Shape, size: int) -> int:
    """Return how many parts' operands lie in shared memory: one in use, one or two on their way.

    1 where not even two fit.
    """
    room = _room(shape, size)
    return next((n for n in (3, 2) if n <= room and _head_fits(shape, size, n)), 1)


def _head_fits(shape: Shape, size: int, buffers: int) -> bool:
    """Tell whether shared memory holds what so many slices of the head are multiplied with."""
    row = (shape.skip + shape.groups * shape.out) * size  # of weights for each hidden channel
    fixed = size * shape.skip + 4 * shape.groups * shape.out
    return buffers * row * shape.slice <= shape.shared - shape.tile * fixed


def _room(shape: Shape, size: int) -> int:
    """Return how many times shared memory holds what a part of a layer is multiplied with.

    Beside it lie the operands of the layer's products and the outputs on their way to another layout.
    """
    weights = ((shape.width * 2 + 1) * shape.residual + shape.skip) * shape.part
    rows = (shape.width - 1) * shape.tile * shape.residual
    fixed = size * (shape.residual + shape.part) + 4 * max(shape.residual, shape.skip)
    return (shape.shared - shape.tile * fixed) // (size * (weights + rows))


def _matrices(spec: ModelSpec, w: Weights) -> list[FLOATS]:
    """Return the padded matrices, each [.., inputs, outputs] (Shape tells the order)."""
    layers, groups = spec.layers, 3 if spec.mixtures else 1
    r, d, s, h = (width(n) for n in (spec.residual, spec.gate, spec.skip, spec.head))
    factors = np.array(GATE_FACTORS)[:, None, None]
    filters = w["filter_weight"].reshape(layers, spec.filter_width, 2, spec.gate, spec.residual)
    filters = _turned(filters * factors, r, d)  # [L, taps, 2, R, D]
    residuals = np.zeros((layers, spec.residual, spec.gate), np.float32)
    residuals[:-1] = w["residual_weight"]  # the last layer's goes nowhere
    head1 = w["head1_weight"].reshape(groups, -1, spec.head)
    return [
        np.moveaxis(filters, 2, -1),
        _turned(residuals, d, r),
        _turned(w["skip_weight"], d, s),
        _turned(w["head0_weight"], s, h),
        _turned(head1, h, width(head1.shape[1])),
    ]


def _floats(spec: ModelSpec, w: Weights) -> list[FLOATS]:
    """Return the padded biases and tables."""
    groups, r = 3 if spec.mixtures else 1, width(spec.residual)
    head1 = w["head1_bias"].reshape(groups, -1)
    last = np.zeros((groups, width(head1.shape[1])), np.float32)
    last[0] = PADDED_LOGIT
    last[:, : head1.shape[1]] = head1
    residual = np.zeros((spec.layers, r), np.float32)
    residual[:-1, : spec.residual] = w["residual_bias"]
    return [
        _pad(w["input_weight"], r),
        _pad(w["input_bias"], r) if spec.mixtures else np.zeros(r, np.float32),
        residual,
        _pad(w["skip_bias"], width(spec.skip)),
        _pad(w["head0_bias"], width(spec.head)),
        last,
        np.zeros(1, np.float32) if spec.mixtures else w["mulaw_table"],
    ]


def _offsets(spec: ModelSpec) -> dict[str, int]:
    """Return where each block of `_matrices` and `_floats` but the first of each lies."""
    layers, groups = spec.layers, 3 if spec.mixtures else 1
    r, d, s, h = (width(n) for n in (spec.residual, spec.gate, spec.skip, spec.head))
    q = width(spec.outputs // groups)
    inputs = spec.input_taps * (1 if spec.mixtures else spec.levels)
    matrices = [layers * spec.filter_width * 2 * r * d, layers * d * r, layers * d * s, s * h]
    floats = [inputs * r, r, layers * r, s, h, groups * q]
    names = ("residual", "skip", "head0", "head1")
    biases = ("input_bias", "residual_bias", "skip_bias", "head0_bias", "head1_bias", "mulaw")
    ends = [
        *zip(names, np.cumsum(matrices), strict=True),
        *zip(biases, np.cumsum(floats), strict=True),
    ]
    return {f"{name}_at": int(end) for name, end in ends}


def _turned(matrices: npt.NDArray[Any], inputs: int, outputs: int) -> FLOATS:
    """Return [.., outputs, inputs] as [.., inputs, outputs], padded with zeros."""
    turned = np.swapaxes(np.asarray(matrices, np.float32), -1, -2)
    out = np.zeros((*turned.shape[:-2], inputs, outputs), np.float32)
    out[..., : turned.shape[-2], : turned.shape[-1]] = turned
    return out


def _pad(array: npt.NDArray[Any], wide: int) -> FLOATS:
    """Return `array` as float32 with its last axis padded with zeros."""
    out = np.zeros((*array.shape[:-1], wide), np.float32)
    out[..., : array.shape[-1]] = array
    return out
