"""How a model and a stream lie in memory for the CPU kernel: one header, flat arrays.

Every shape is data, not type: one compiled kernel serves all models, and the audio engine can
switch models by switching arrays. Header slots and state slots are the constants below.
Immutable once made (`Packed`); may be shared between threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .gemv import pack_matrix, padded
from .spec import ModelSpec
from .weights import Weights, check_weights

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

# Header: sizes (channel counts padded to whole vectors have a name in _PAD) and offsets.
(
    LAYERS,
    WIDTH,
    RESIDUAL,
    RESIDUAL_PAD,
    GATE_PAD,
    SKIP,
    SKIP_PAD,
    HEAD,
    HEAD_PAD,
    LEVELS,
    LEVELS_PAD,
    TAPS,
    HOP,
    SILENCE,
    ROLES,
    KITS,
    AGES,
    AGE_FEATURES,
    CONTROL,
    DENSE,
    CHOKES,
    # offsets in the weights
    AT_MULAW,
    AT_INPUT,
    AT_FILTER_BIAS,
    AT_SKIP,
    AT_SKIP_BIAS,
    AT_HEAD0,
    AT_HEAD0_BIAS,
    AT_HEAD1,
    AT_HEAD1_BIAS,
    AT_COND_OUT,
    AT_AGE_TABLE,
    # offsets in the header itself, of lists
    AT_DILATION,
    AT_FILTER,
    AT_RESIDUAL,
    AT_RESIDUAL_BIAS,
    AT_RING,
    AT_DENSE_WIDTH,
    AT_DENSE_WEIGHT,
    AT_DENSE_BIAS,
    AT_CHOKE,
    # offsets in a stream's floats
    S_TEMPERATURE,
    S_HOP_BIAS,
    S_X,
    S_GATES,
    S_Z,
    S_SKIP,
    S_HEAD,
    S_LOGITS,
    S_CONTROL,
    S_DENSE_A,
    S_DENSE_B,
    S_VELOCITIES,
    S_KIT,
    S_FLOATS,
    # offsets in a stream's ints
    I_HISTORY,
    I_RING_POS,
    I_AGES,
    I_INTS,
    HEADER,
) = range(60)

# A stream's ints begin with these.
I_INDEX, I_SEED, I_STREAM, I_TOP_K = range(4)


@dataclass(frozen=True)
class Packed:
    """A model as the kernel reads it: `header` int64, `weights` float32, both flat."""

    spec: ModelSpec
    header: INTS
    weights: FLOATS


def aligned_zeros(count: int) -> FLOATS:
    """Return float32 zeros [count] that begin on a cache line."""
    raw = np.zeros(count + 16, np.float32)
    shift = (-raw.ctypes.data % 64) // 4
    return raw[shift : shift + count]


def pack(spec: ModelSpec, weights: Weights) -> Packed:
    """Lay out checked weights for the CPU kernel.

    Raises
    ------
    GhostnoteError
        As `check_weights` does.
    """
    check_weights(spec, weights)
    layers, r, d = spec.layers, spec.residual, spec.gate
    rp, dp = padded(r), padded(d)
    blocks: list[FLOATS] = []
    size = 0

    def put(block: FLOATS) -> int:
        nonlocal size
        at = size
        flat = np.ascontiguousarray(block, np.float32).ravel()
        blocks.append(np.concatenate([flat, np.zeros(-len(flat) % 16, np.float32)]))
        size += len(blocks[-1])
        return at

    head = [0] * HEADER
    lists: list[int] = []

    def put_list(values: list[int]) -> int:
        at = HEADER + len(lists)
        lists.extend(values)
        return at

    halves = _pad_halves(weights["filter_weight"], d, dp, axis=2)  # [L, k, 2Dp, R]
    residual_bias = _pad(weights["residual_bias"], rp)
    filters, residuals, residual_biases = [], [], []
    for layer in range(layers):  # the order in which a step reads them
        taps = [pack_matrix(halves[layer, tap]) for tap in range(spec.filter_width)]
        filters.append(put(np.concatenate(taps)))
        if layer + 1 < layers:
            residuals.append(put(pack_matrix(weights["residual_weight"][layer], dp)))
            residual_biases.append(put(residual_bias[layer]))
        else:
            residuals.append(0)
            residual_biases.append(0)
    # All skips are one product over the gates of all layers: [S, L * Dp].
    skip = np.zeros((spec.skip, layers, dp), np.float32)
    skip[:, :, :d] = weights["skip_weight"].transpose(1, 0, 2)
    head[AT_SKIP] = put(pack_matrix(skip.reshape(spec.skip, layers * dp)))
    head[AT_SKIP_BIAS] = put(_pad(weights["skip_bias"], padded(spec.skip)))
    head[AT_HEAD0] = put(pack_matrix(weights["head0_weight"], padded(spec.skip)))
    head[AT_HEAD0_BIAS] = put(_pad(weights["head0_bias"], padded(spec.head)))
    head[AT_HEAD1] = put(pack_matrix(weights["head1_weight"], padded(spec.head)))
    head[AT_HEAD1_BIAS] = put(_pad(weights["head1_bias"], padded(spec.levels)))
    head[AT_INPUT] = put(_pad(weights["input_weight"], rp))
    head[AT_MULAW] = put(weights["mulaw_table"])
    head[AT_FILTER_BIAS] = put(_pad_halves(weights["filter_bias"], d, dp, axis=1))
    dense_weights, dense_biases = [], []
    fan = spec.conditioning
    for i, width in enumerate(spec.cond_hidden):
        dense_weights.append(put(pack_matrix(weights[f"cond_weight.{i}"], fan)))
        dense_biases.append(put(_pad(weights[f"cond_bias.{i}"], padded(width))))
        fan = padded(width)
    if spec.conditioning:
        out = _pad_halves(weights["cond_out_weight"], d, dp, axis=1)
        head[AT_COND_OUT] = put(pack_matrix(out.reshape(layers * 2 * dp, -1), fan))
    if spec.roles:
        head[AT_AGE_TABLE] = put(weights["age_table"])

    _fill_sizes(head, spec)
    reaches = [(spec.filter_width - 1) * dilation for dilation in spec.dilations]
    rings = _fill_state(head, spec, [reach * rp for reach in reaches])
    head[AT_DILATION] = put_list(list(spec.dilations))
    head[AT_FILTER] = put_list(filters)
    head[AT_RESIDUAL] = put_list(residuals)
    head[AT_RESIDUAL_BIAS] = put_list(residual_biases)
    head[AT_RING] = put_list(rings)
    head[AT_DENSE_WIDTH] = put_list([padded(width) for width in spec.cond_hidden])
    head[AT_DENSE_WEIGHT] = put_list(dense_weights)
    head[AT_DENSE_BIAS] = put_list(dense_biases)
    head[AT_CHOKE] = put_list([role for pair in spec.choke_pairs for role in pair])
    data = aligned_zeros(size)
    data[:] = np.concatenate(blocks)
    return Packed(spec, np.array(head + lists, np.int64), data)


def _fill_sizes(head: list[int], spec: ModelSpec) -> None:
    for slot, value in (
        (LAYERS, spec.layers),
        (WIDTH, spec.filter_width),
        (RESIDUAL, spec.residual),
        (RESIDUAL_PAD, padded(spec.residual)),
        (GATE_PAD, padded(spec.gate)),
        (SKIP, spec.skip),
        (SKIP_PAD, padded(spec.skip)),
        (HEAD, spec.head),
        (HEAD_PAD, padded(spec.head)),
        (LEVELS, spec.levels),
        (LEVELS_PAD, padded(spec.levels)),
        (TAPS, spec.input_taps),
        (HOP, spec.hop),
        (SILENCE, spec.silence),
        (ROLES, len(spec.roles)),
        (KITS, len(spec.kits)),
        (AGES, spec.ages),
        (AGE_FEATURES, spec.age_features),
        (CONTROL, spec.conditioning),
        (DENSE, len(spec.cond_hidden)),
        (CHOKES, len(spec.chokes)),
    ):
        head[slot] = value


def _fill_state(head: list[int], spec: ModelSpec, rings: list[int]) -> list[int]:
    """Lay out a stream's arrays; return the offset of each layer's ring in the floats."""
    layers, dp = spec.layers, padded(spec.gate)
    dense = max((padded(width) for width in spec.cond_hidden), default=0)
    at = 0
    for slot, count in (
        (S_TEMPERATURE, 1),
        (S_HOP_BIAS, layers * 2 * dp),
        (S_X, padded(spec.residual)),
        (S_GATES, 2 * dp),
        (S_Z, layers * dp),
        (S_SKIP, padded(spec.skip)),
        (S_HEAD, padded(spec.head)),
        (S_LOGITS, 2 * padded(spec.levels)),
        (S_CONTROL, spec.conditioning),
        (S_DENSE_A, dense),
        (S_DENSE_B, dense),
        (S_VELOCITIES, len(spec.roles)),
        (S_KIT, len(spec.kits)),
    ):
        head[slot] = at
        at += padded(count)
    offsets = []
    for count in rings:
        offsets.append(at)
        at += count
    head[S_FLOATS] = at
    head[I_HISTORY] = 4
    head[I_RING_POS] = head[I_HISTORY] + spec.input_taps
    head[I_AGES] = head[I_RING_POS] + layers
    head[I_INTS] = head[I_AGES] + len(spec.roles)
    return offsets


def _pad(array: FLOATS, width: int) -> FLOATS:
    """Return `array` with its last axis padded with zeros to `width`."""
    out = np.zeros((*array.shape[:-1], width), np.float32)
    out[..., : array.shape[-1]] = array
    return out


def _pad_halves(array: FLOATS, half: int, width: int, axis: int) -> FLOATS:
    """Return `array` with each half (tanh rows, sigmoid rows) of an axis padded to `width`."""
    moved = np.moveaxis(array, axis, -1)
    halves = [_pad(moved[..., :half], width), _pad(moved[..., half:], width)]
    return np.moveaxis(np.concatenate(halves, axis=-1), -1, axis)
