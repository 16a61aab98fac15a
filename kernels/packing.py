"""How a model and its streams lie in memory for the CPU kernel: one header, flat memory.

Every shape is data, not type: one compiled kernel serves all models in all precisions, and the
audio engine can switch models by switching addresses. Header slots and state slots are the
constants below. Immutable once made (`Packed`); may be shared between threads.

Offsets in the weights are bytes. A state holds N lanes (streams in lockstep); offsets in its floats
are for one lane and grow N times: an array of `count` floats a lane begins at N * offset and holds
lane after lane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .activations import GATE_FACTORS
from .errors import GhostnoteError
from .high_pass import high_pass
from .lanes import LANES
from .products import BF16, FP32, INT8, PRECISIONS, TOP, pack_matrix, padded
from .spec import ModelSpec
from .weights import GAINS, Weights, check_weights

FLOATS = npt.NDArray[np.float32]
BYTES = npt.NDArray[np.uint8]
INTS = npt.NDArray[np.int64]

# Header: sizes (channel counts are padded to whole vectors), offsets.
(
    PRECISION,
    LAYERS,
    WIDTH,
    RESIDUAL,
    GATE,
    SKIP,
    HEAD,
    OUT,  # outputs of the head, padded
    LEVELS,
    MIXTURES,
    OUTPUTS,
    TAPS,
    HOP,
    SILENCE,
    ROLES,
    KITS,
    AGES,
    AGE_FEATURES,
    CONTROL,
    DENSE,
    KNOTS,  # of the body in a hop; 0: there is no body
    TRANSIENT,  # 1: there are transients
    CHOKES,
    ATTACK,  # hops that a hit is fresh for
    ROW,  # bytes of one layer input in a ring, with its scale
    Z,  # bytes of the gates of one layer
    # offsets in the weights
    AT_MULAW,
    AT_EMPHASIS,
    AT_INPUT,
    AT_INPUT_BIAS,
    AT_FILTER_BIAS,
    AT_SKIP,
    AT_SKIP_BIAS,
    AT_HEAD0,
    AT_HEAD0_BIAS,
    AT_HEAD1,
    AT_HEAD1_BIAS,
    AT_COND_OUT,
    AT_AGE_TABLE,
    AT_HIGH_PASS,
    # offsets in the header itself, of lists
    AT_DILATION,
    AT_AHEAD,
    AT_FILTER,
    AT_PAST_FILTER,
    AT_RESIDUAL,
    AT_RESIDUAL_BIAS,
    AT_RING,
    AT_PAST,
    AT_DENSE_WIDTH,
    AT_DENSE_WEIGHT,
    AT_DENSE_BIAS,
    AT_CHOKE,
    AT_PLACE,
    AT_BODY,
    AT_TRANSIENTS,
    # offsets in a lane's floats
    S_SETTINGS,
    S_HOP_BIAS,
    S_X,
    S_GATES,
    S_Z,
    S_SKIP,
    S_HEAD,
    S_OPERAND,
    S_OUT,
    S_WEIGHTS,
    S_SUMS,
    S_CONTROL,
    S_DENSE_A,
    S_DENSE_B,
    S_KNOTS,
    S_TRANSIENTS,
    S_GAINS,
    S_PAST,
    S_FLOATS,
    # offsets in a state's ints
    I_LANES,
    LANE_INTS,
    SETTINGS,
    HEADER,
) = range(78)

# Behind AT_BODY and AT_TRANSIENTS lie, of their waves: how many there are of each role, at how many
# points of a hop they are given, how many hops they last, and four offsets in the weights.
W_COUNT, W_POINTS, W_AGES, W_WAVE, W_GAIN0, W_GAIN0_BIAS, W_GAIN1 = range(7)

# A state's ints begin with these; then come the ring positions, then LANE_INTS for each lane.
# PRODUCT and STEP are the addresses of the compiled `add_product` and `step`.
I_PRODUCT, I_STEP, I_COUNT, I_INDEX, I_PHASE, I_RING_POS = range(6)
# A lane's ints: these, its level history, its ages. OFFSET is added to INDEX where chance is drawn.
# HELD is 0 but where a GPU has the lane's past (`mailbox.py`): then it is the GPU's slot + 1. FRESH is 1
# in a hop in which a hit is fresh.
L_SEED, L_STREAM, L_TOP_K, L_OFFSET, L_HELD, L_FRESH, L_HISTORY = range(7)
# A lane's settings: the temperature, that of fresh hits, the WaveNet's own last sample; the body's value
# and slope at its last knot, and the past of the filter beside it; the roles' velocities, the
# kits' weights. Where the body is at the knots of the hop lies in its floats (S_KNOTS), and its
# transients (S_TRANSIENTS).
T_TEMPERATURE, T_ATTACK, T_SOUND, T_BEGIN, T_HIGH, T_VELOCITIES = 0, 1, 2, 3, 5, 7

KNOT = 2
"""Numbers of a knot of the body (`body.py`): the curve's value, and its slope in values a span."""

DEFAULT_PRECISION = "int8"
"""The fastest that costs next to nothing in quality: 0.003 bits a sample on the bundled model."""

AHEAD = 8
"""Samples for which a layer's products with its past are made at once, where its dilation allows.

They are off the critical chain, and their weights are read once for all of them.
"""


@dataclass(frozen=True)
class Packed:
    """A model as the kernel reads it: `header` int64, `weights` bytes that begin on a page.

    `source` is what was packed, for a GPU, which packs it otherwise.
    """

    spec: ModelSpec
    precision: str
    header: INTS
    weights: BYTES
    source: Weights


def aligned_bytes(count: int) -> BYTES:
    """Return zero bytes [count] that begin on a page, so at a cache line too."""
    page = 4096
    raw = np.zeros(count + page, np.uint8)
    shift = -raw.ctypes.data % page
    return raw[shift : shift + count]


def aligned_zeros(count: int) -> FLOATS:
    """Return float32 zeros [count] that begin on a page."""
    return aligned_bytes(4 * count).view(np.float32)


def pack(spec: ModelSpec, weights: Weights, precision: str = "fp32") -> Packed:
    """Lay out checked weights for the CPU kernel, the matrices in a precision of PRECISIONS.

    Raises
    ------
    GhostnoteError
        As `check_weights` does, or if there is no such precision.
    """
    if precision not in PRECISIONS:
        raise GhostnoteError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    check_weights(spec, weights)
    return _Packer(spec, weights, PRECISIONS.index(precision)).packed()


class _Packer:
    """Puts one model together: blocks of weights, the header, and lists behind it."""

    def __init__(self, spec: ModelSpec, weights: Weights, precision: int) -> None:
        self.spec, self.weights, self.precision = spec, weights, precision
        self.blocks: list[BYTES] = []
        self.size = 0
        self.head = [0] * HEADER
        self.lists: list[int] = []

    def packed(self) -> Packed:
        self._sizes()
        self._matrices()
        self._tables()
        self._conditioning()
        self._state()
        data = aligned_bytes(self.size)
        data[:] = np.concatenate(self.blocks)
        header = np.array(self.head + self.lists, np.int64)
        return Packed(self.spec, PRECISIONS[self.precision], header, data, self.weights)

    def _put(self, block: npt.NDArray[np.generic]) -> int:
        """Append a block and return its offset; every block begins at a cache line."""
        at = self.size
        flat = np.ascontiguousarray(block).view(np.uint8).ravel()
        self.blocks.append(np.concatenate([flat, np.zeros(-len(flat) % 64, np.uint8)]))
        self.size += len(self.blocks[-1])
        return at

    def _put_matrix(
        self, matrix: FLOATS, *, signed: bool = True, scale: float | None = None
    ) -> int:
        return self._put(pack_matrix(matrix, self.precision, signed=signed, scale=scale))

    def _put_gated(self, matrix: FLOATS) -> int:
        """Append a matrix whose inputs come out of the gates, between -1 and 1."""
        return self._put_matrix(matrix, scale=1.0 / TOP)

    def _put_list(self, values: list[int]) -> int:
        at = HEADER + len(self.lists)
        self.lists.extend(values)
        return at

    def _sizes(self) -> None:
        spec, wide = self.spec, self.precision != INT8
        r, d = padded(spec.residual), padded(spec.gate)
        for slot, value in (
            (PRECISION, self.precision),
            (LAYERS, spec.layers),
            (WIDTH, spec.filter_width),
            (RESIDUAL, r),
            (GATE, d),
            (SKIP, padded(spec.skip)),
            (HEAD, padded(spec.head)),
            (OUT, _padded_outputs(spec)),
            (LEVELS, spec.levels),
            (MIXTURES, spec.mixtures),
            (OUTPUTS, spec.outputs),
            (TAPS, spec.input_taps),
            (HOP, spec.hop),
            (SILENCE, spec.silence),
            (ROLES, len(spec.roles)),
            (KITS, len(spec.kits)),
            (AGES, spec.ages),
            (AGE_FEATURES, spec.age_features),
            (CONTROL, padded(spec.conditioning)),
            (DENSE, len(spec.cond_hidden)),
            (KNOTS, spec.body_knots),
            (TRANSIENT, min(spec.transient, 1)),
            (CHOKES, len(spec.chokes)),
            (ATTACK, spec.attack),
            (ROW, 4 * r if wide else -(-(r + 4) // 64) * 64),  # whole vectors, also for copying
            (Z, 4 * d if wide else d),
        ):
            self.head[slot] = value

    def _matrices(self) -> None:
        """Put what every sample is multiplied with, in the order in which a step reads it."""
        spec, w, head = self.spec, self.weights, self.head
        layers, d = spec.layers, padded(spec.gate)
        # [L, k, 2Dp, R], scaled as the gate wants it
        halves = _gate_rows(w["filter_weight"], spec.gate, axis=2)
        residual_bias = _pad(w["residual_bias"], padded(spec.residual))
        lists: dict[int, list[int]] = {
            slot: [] for slot in (AT_FILTER, AT_PAST_FILTER, AT_RESIDUAL, AT_RESIDUAL_BIAS)
        }
        for layer in range(layers):
            lists[AT_FILTER].append(self._put_matrix(halves[layer, -1]))
            last = layer + 1 == layers  # its residual would go nowhere
            lists[AT_RESIDUAL].append(0 if last else self._put_gated(w["residual_weight"][layer]))
            lists[AT_RESIDUAL_BIAS].append(0 if last else self._put(residual_bias[layer]))
        # All skips are one product over the gates of all layers: [S, L * Dp].
        skip = np.zeros((spec.skip, layers, d), np.float32)
        skip[:, :, : spec.gate] = w["skip_weight"].transpose(1, 0, 2)
        head[AT_SKIP] = self._put_gated(skip.reshape(spec.skip, layers * d))
        head[AT_HEAD0] = self._put_matrix(w["head0_weight"], signed=False)
        rows = np.zeros((head[OUT], spec.head), np.float32)
        rows[_places(spec)] = w["head1_weight"]
        head[AT_HEAD1] = self._put_matrix(rows, signed=False)
        for layer in range(layers):
            for tap in range(spec.filter_width - 1):
                lists[AT_PAST_FILTER].append(self._put_matrix(halves[layer, tap]))
        for slot, values in lists.items():
            head[slot] = self._put_list(values)

    def _tables(self) -> None:
        """Put the biases and what the input is looked up in."""
        spec, w, head = self.spec, self.weights, self.head
        head[AT_FILTER_BIAS] = self._put(_gate_rows(w["filter_bias"], spec.gate, axis=1))
        head[AT_SKIP_BIAS] = self._put(_pad(w["skip_bias"], padded(spec.skip)))
        head[AT_HEAD0_BIAS] = self._put(_pad(w["head0_bias"], padded(spec.head)))
        bias = np.full(head[OUT], -1e30, np.float32)  # padding is never drawn
        bias[_places(spec)] = w["head1_bias"]
        head[AT_HEAD1_BIAS] = self._put(bias)
        head[AT_INPUT] = self._put(_pad(w["input_weight"], padded(spec.residual)))
        if spec.mixtures:
            head[AT_INPUT_BIAS] = self._put(_pad(w["input_bias"], padded(spec.residual)))
        else:
            head[AT_MULAW] = self._put(w["mulaw_table"])
        head[AT_EMPHASIS] = self._put(np.array([spec.emphasis], np.float32))
        head[AT_PLACE] = self._put_list(_places(spec).tolist())

    def _conditioning(self) -> None:
        """Put what is computed once a hop, whose activations stay float32."""
        spec, w, head = self.spec, self.weights, self.head
        precision = FP32 if self.precision == FP32 else BF16
        dense_weights, dense_biases = [], []
        for i, width in enumerate(spec.cond_hidden):
            dense_weights.append(self._put(pack_matrix(w[f"cond_weight.{i}"], precision)))
            dense_biases.append(self._put(_pad(w[f"cond_bias.{i}"], padded(width))))
        head[AT_DENSE_WIDTH] = self._put_list([padded(width) for width in spec.cond_hidden])
        head[AT_DENSE_WEIGHT] = self._put_list(dense_weights)
        head[AT_DENSE_BIAS] = self._put_list(dense_biases)
        if spec.body:
            head[AT_BODY] = self._put_waves("body")
            head[AT_HIGH_PASS] = self._put(high_pass(spec))
        if spec.transient:
            head[AT_TRANSIENTS] = self._put_waves("transient")
        if spec.conditioning:
            out = _gate_rows(w["cond_out_weight"], spec.gate, axis=1)
            flat = out.reshape(-1, out.shape[-1])
            head[AT_COND_OUT] = self._put(pack_matrix(flat, precision))
        if spec.roles:
            head[AT_AGE_TABLE] = self._put(w["age_table"])
        head[AT_CHOKE] = self._put_list([role for pair in spec.choke_pairs for role in pair])

    def _put_waves(self, name: str) -> int:
        wave = self.weights[f"{name}_wave"]  # [roles, ages, K, ...]
        ages, count = wave.shape[1:3]
        blocks = [wave, *(self.weights[f"{name}_{part}"] for part in GAINS)]
        points = int(np.prod(wave.shape[3:]))
        return self._put_list([count, points, ages, *(self._put(block) for block in blocks)])

    def _state(self) -> None:
        """Lay out a lane's floats and ints."""
        spec, head = self.spec, self.head
        layers, d = spec.layers, head[GATE]
        dense = max((padded(width) for width in spec.cond_hidden), default=0)
        aheads = [min(AHEAD, 1 << (dilation.bit_length() - 1)) for dilation in spec.dilations]
        head[SETTINGS] = padded(T_VELOCITIES + len(spec.roles) + len(spec.kits))
        at = 0
        for slot, count in (
            (S_SETTINGS, head[SETTINGS]),
            (S_HOP_BIAS, layers * 2 * d),
            (S_X, head[RESIDUAL]),
            (S_GATES, 2 * d),
            (S_Z, layers * head[Z] // 4),
            (S_SKIP, head[SKIP]),
            (S_HEAD, head[HEAD]),
            (S_OPERAND, max(head[SKIP], head[HEAD]) // 4 + LANES),
            (S_OUT, head[OUT]),
            (S_WEIGHTS, head[OUT]),
            (S_SUMS, LANES),
            (S_CONTROL, head[CONTROL]),
            (S_DENSE_A, dense),
            (S_DENSE_B, dense),
            (S_KNOTS, KNOT * spec.body_knots),
            (S_TRANSIENTS, spec.hop * head[TRANSIENT]),
            (S_GAINS, max(spec.body, spec.transient)),
            (S_PAST, sum(aheads) * 2 * d),
        ):
            head[slot] = at
            at += padded(count)
        rings, pasts, past = [], [], 0
        for dilation, ahead in zip(spec.dilations, aheads, strict=True):
            rings.append(at)
            at += (spec.filter_width - 1) * dilation * head[ROW] // 4
            pasts.append(past)
            past += ahead * 2 * d
        head[S_FLOATS] = at
        head[AT_DILATION] = self._put_list(list(spec.dilations))
        head[AT_AHEAD] = self._put_list(aheads)
        head[AT_RING] = self._put_list(rings)
        head[AT_PAST] = self._put_list(pasts)
        head[I_LANES] = I_RING_POS + layers
        head[LANE_INTS] = L_HISTORY + spec.input_taps + len(spec.roles)


def _padded_outputs(spec: ModelSpec) -> int:
    return 3 * padded(spec.mixtures) if spec.mixtures else padded(spec.levels)


def _places(spec: ModelSpec) -> INTS:
    """Return where each output lies in the padded outputs, [outputs].

    Level l of a softmax lies in lane l // G of vector l % G, G levels to a lane: then the sums of
    the lanes are those of sixteen runs of levels, and the draw looks into one of them only. Of a
    mixture, logits, means and log-scales begin at whole vectors.
    """
    if spec.mixtures:
        return np.add.outer(np.arange(3) * padded(spec.mixtures), np.arange(spec.mixtures)).ravel()
    run = padded(spec.levels) // LANES
    level = np.arange(spec.levels)
    return np.asarray(level % run * LANES + level // run, np.int64)


def _pad(array: FLOATS, width: int) -> FLOATS:
    """Return `array` with its last axis padded with zeros to `width`."""
    out = np.zeros((*array.shape[:-1], width), np.float32)
    out[..., : array.shape[-1]] = array
    return out


def _gate_rows(array: FLOATS, half: int, axis: int) -> FLOATS:
    """Return `array` with the tanh and the sigmoid half of an axis each padded to whole vectors,
    and multiplied by GATE_FACTORS.
    """
    moved = np.moveaxis(array.astype(np.float64), axis, -1)
    halves = [
        _pad(np.asarray(part * factor, np.float32), padded(half))
        for part, factor in zip((moved[..., :half], moved[..., half:]), GATE_FACTORS, strict=True)
    ]
    return np.moveaxis(np.concatenate(halves, axis=-1), -1, axis)
