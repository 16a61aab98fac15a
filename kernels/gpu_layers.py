"""The WaveNet step in Triton, in pieces: what a kernel of any form puts together.

`gpu.py` is the plainest: a loop over samples around embed, layers, head, draw. A kernel that waits
for its host between samples, or shares the layers among programs, calls the same pieces. Each works
on a tile of B = s.tile streams: x [B, R], skip [B, S] and outputs [B, Q] stay in registers, `lane`
int32 [B] numbers the streams among `lanes`, `s` is a `gpu_model.Shape`, and the pointers are those of a
`GpuPacked` (matrices, floats, places) and of a `GpuState` (rings, history). `now` is the index of the
sample that is made.

Between two samples a kernel must pass a barrier of its program (`tl.debug_barrier`): what a layer
stores of one sample, other threads read for a later one. Within a sample nothing that is stored is
read, so loads may run ahead as far as the compiler likes.

Parameters are annotated as `tl.tensor`, pointers too: Triton's compiler looks at annotations, and
knows nothing of `typing`. Triton 3.6 takes a number of a tuple for no constant: so `tl.full` stands where
`tl.zeros` would, and what `tl.static_range` counts to is given a name as `tl.constexpr` first.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .gpu_model import HISTORY as _HISTORY
from .spec import LEAST_LOG_SCALE as _LEAST
from .spec import LEVELS_16

HISTORY: tl.constexpr = tl.constexpr(_HISTORY)
LEAST_LOG_SCALE: tl.constexpr = tl.constexpr(_LEAST)
HALF_RANGE: tl.constexpr = tl.constexpr(LEVELS_16 // 2)
SAMPLE_STEP: tl.constexpr = tl.constexpr(2.0 / LEVELS_16)
LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
UNIT: tl.constexpr = tl.constexpr(1.0 / 16777216.0)
RANK_OF_INFINITY: tl.constexpr = tl.constexpr(0x7F800000)


@triton.jit
def product(a: tl.tensor, w: tl.tensor, total: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return total [B, N] + a [B, K] times w [K, N], summed in float32."""
    if s.wide:
        return tl.dot(a.to(tl.float32), w.to(tl.float32), total, input_precision="ieee")
    return tl.dot(a.to(w.dtype), w, total)


@triton.jit
def gated(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    """Return tanh(a') sigmoid(b') of a, b = a', b' times GATE_FACTORS (`activations.gated`)."""
    e = tl.exp2(tl.minimum(tl.maximum(a, -40.0), 40.0))
    f = tl.exp2(tl.minimum(tl.maximum(b, -80.0), 80.0))
    return (1.0 - e) / ((1.0 + e) * (1.0 + f))


@triton.jit
def level_at(history: tl.tensor, at: tl.tensor, lane: tl.tensor, lanes: tl.tensor) -> tl.tensor:
    """Return the level [B] that each stream had at a sample: one of the last HISTORY."""
    return tl.load(history + (at & (HISTORY - 1)).to(tl.int32) * lanes + lane)


@triton.jit
def keep_level(
    history: tl.tensor, at: tl.tensor, level: tl.tensor, lane: tl.tensor, lanes: tl.tensor
) -> None:
    """Note the level [B] of a sample."""
    tl.store(history + (at & (HISTORY - 1)).to(tl.int32) * lanes + lane, level)


@triton.jit
def embed(
    newest: tl.tensor,
    history: tl.tensor,
    now: tl.tensor,
    lane: tl.tensor,
    lanes: tl.tensor,
    floats: tl.tensor,
    s: tl.constexpr,
) -> tl.tensor:
    """Return x [B, R]: the sum of what the last levels mean, `newest` [B] the one before `now`."""
    r = tl.arange(0, s.residual)
    x = tl.full((s.tile, s.residual), 0.0, tl.float32)
    x += tl.load(floats + s.input_bias_at + r)[None, :]
    taps: tl.constexpr = s.taps
    for tap in tl.static_range(taps):
        level = newest
        if tap + 1 < s.taps:
            level = level_at(history, now - (s.taps - tap), lane, lanes)
        if s.groups == 3:
            weight = tl.load(floats + tap * s.residual + r)
            x += sample_of(level, floats, s)[:, None] * weight[None, :]
        else:
            row = (tap * s.levels + level) * s.residual
            x += tl.load(floats + row[:, None] + r[None, :])
    return x


@triton.jit
def ring_rows(
    rings: tl.tensor, slot: tl.tensor, lane: tl.tensor, lanes: tl.tensor, s: tl.constexpr
) -> tl.tensor:
    """Return pointers [B, R] to the streams' rows of a slot; rings are [slots, lanes, R]."""
    r = tl.arange(0, s.residual)
    row = slot.to(tl.int64) * lanes + lane
    return rings + row[:, None] * s.residual + r[None, :]


@triton.jit
def place_of(places: tl.tensor, layer: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return a layer's dilation, the slots of its ring less one, and its first slot."""
    at = places + layer
    return tl.load(at), tl.load(at + s.layers), tl.load(at + 2 * s.layers)


@triton.jit
def gates_before(
    rings: tl.tensor, now: tl.tensor, layer: tl.tensor, part: tl.tensor, dilation: tl.tensor,
    mask: tl.tensor, start: tl.tensor, lane: tl.tensor, lanes: tl.tensor, matrices: tl.tensor,
    bias: tl.tensor, bias_lane: tl.tensor, s: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return what bias and past add to a part of a layer's gates, [B, 2 * part].

    It does not wait for the layer before. tanh and sigmoid take turns in the columns, as each thread
    holds two neighbours of a product. `bias` points to the layer's [lanes, 2, D], of which neighbouring
    streams lie `bias_lane` apart.
    """
    c = part * s.part + tl.arange(0, s.part)
    if s.one_bias:
        both = tl.join(tl.load(bias + c), tl.load(bias + s.gate + c))
        gates = tl.full((s.tile, 2 * s.part), 0.0, tl.float32) + both.reshape(2 * s.part)[None, :]
    else:
        at = bias + lane.to(tl.int64)[:, None] * bias_lane + c[None, :]
        gates = tl.join(tl.load(at), tl.load(at + s.gate)).reshape(s.tile, 2 * s.part)
    taps: tl.constexpr = s.width - 1
    for tap in tl.static_range(taps):
        slot = start + ((now - (s.width - 1 - tap) * dilation) & mask).to(tl.int32)
        row = tl.load(ring_rows(rings, slot, lane, lanes, s))
        gates = product(row, tl.load(filters(matrices, layer, tap, part, s)), gates, s)
    return gates


@triton.jit
def filters(
    matrices: tl.tensor, layer: tl.tensor, tap: tl.tensor, part: tl.tensor, s: tl.constexpr
) -> tl.tensor:
    """Return pointers [R, 2 * part] to what a part of a layer's gates multiplies a tap with."""
    r, c = tl.arange(0, s.residual), part * 2 * s.part + tl.arange(0, 2 * s.part)
    first = (layer * s.width + tap) * s.residual * 2 * s.gate
    return matrices + first + r[:, None] * (2 * s.gate) + c[None, :]


@triton.jit
def take_in(
    rings: tl.tensor, x: tl.tensor, now: tl.tensor, layer: tl.tensor, lane: tl.tensor,
    lanes: tl.tensor, places: tl.tensor, s: tl.constexpr,
) -> None:  # fmt: skip
    """Store a layer's input x [B, R] in its ring."""
    _, mask, start = place_of(places, layer, s)
    slot = start + (now & mask).to(tl.int32)
    tl.store(ring_rows(rings, slot, lane, lanes, s), x.to(rings.dtype.element_ty))


@triton.jit
def gate_halves(gates: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return z [B, part] of the sums [B, 2 * part] of both halves of its gates."""
    a, b = tl.split(gates.reshape(s.tile, s.part, 2))
    return gated(a, b)


@triton.jit
def add_residual(
    y: tl.tensor,
    z: tl.tensor,
    layer: tl.tensor,
    part: tl.tensor,
    matrices: tl.tensor,
    s: tl.constexpr,
) -> tl.tensor:
    """Return y [B, R] and what a part of a layer's gates adds to the residual path."""
    c = part * s.part + tl.arange(0, s.part)
    r = tl.arange(0, s.residual)
    at = s.residual_at + (layer * s.gate + c) * s.residual
    return product(z, tl.load(matrices + at[:, None] + r[None, :]), y, s)


@triton.jit
def add_skip(
    skip: tl.tensor,
    z: tl.tensor,
    layer: tl.tensor,
    part: tl.tensor,
    matrices: tl.tensor,
    s: tl.constexpr,
) -> tl.tensor:
    """Return skip [B, S] and what a part of a layer's gates adds to it."""
    c = part * s.part + tl.arange(0, s.part)
    k = tl.arange(0, s.skip)
    at = s.skip_at + (layer * s.gate + c) * s.skip
    return product(z, tl.load(matrices + at[:, None] + k[None, :]), skip, s)


@triton.jit
def layers(
    x: tl.tensor, rings: tl.tensor, now: tl.tensor, lane: tl.tensor, lanes: tl.tensor, places: tl.tensor, matrices: tl.tensor, floats: tl.tensor,
    bias: tl.tensor, bias_layer: tl.tensor, bias_lane: tl.tensor, s: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return the skip sum [B, S] of all layers over x [B, R], and take their inputs into the rings.

    `bias` points to this hop's [L] biases, `bias_layer` numbers apart. One loop runs over the parts
    of all layers, so that the compiler's pipeline of weight loads runs through from layer to layer.
    What does not wait for the present part is computed a turn ahead, while its product is under way;
    where the part after next finds its past is looked up before that.
    """
    r, k = tl.arange(0, s.residual), tl.arange(0, s.skip)
    skip = (
        tl.full((s.tile, s.skip), 0.0, tl.float32) + tl.load(floats + s.skip_bias_at + k)[None, :]
    )
    y = x
    parts: tl.constexpr = s.gate // s.part
    last: tl.constexpr = s.layers * parts - 1
    dilation, mask, start = place_of(places, 0, s)
    gates = gates_before(
        rings, now, 0, 0, dilation, mask, start, lane, lanes, matrices, bias, bias_lane, s
    )
    ahead = tl.minimum(1, last)
    dilation, mask, start = place_of(places, ahead // parts, s)
    for i in range(s.layers * parts):
        layer, part = i // parts, i % parts
        gates = product(x, tl.load(filters(matrices, layer, s.width - 1, part, s)), gates, s)
        ahead = tl.minimum(i + 1, last)
        row = bias + (ahead // parts) * bias_layer
        before = gates_before(
            rings, now, ahead // parts, ahead % parts, dilation, mask, start, lane, lanes, matrices,
            row, bias_lane, s,
        )  # fmt: skip
        take_in(rings, x, now, layer, lane, lanes, places, s)
        dilation, mask, start = place_of(places, tl.minimum(i + 2, last) // parts, s)
        z = gate_halves(gates, s)
        gates = before
        y = add_residual(y, z, layer, part, matrices, s)
        skip = add_skip(skip, z, layer, part, matrices, s)
        bias_of_y = tl.load(floats + s.residual_bias_at + layer * s.residual + r)[None, :]
        if parts == 1:
            y += bias_of_y
            x = y
        else:
            y += tl.where(part + 1 == parts, bias_of_y, 0.0)
            x = tl.where(part + 1 == parts, y, x)
    return skip


@triton.jit
def head(skip: tl.tensor, matrices: tl.tensor, floats: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return the outputs of the next sample from the skip sum [B, S].

    Of a softmax the logits [B, Q], thrice; of a mixture its logits, means and log-scales, [B, Q] each.
    """
    k, q = tl.arange(0, s.skip), tl.arange(0, s.out)
    rectified = tl.maximum(skip, 0.0)
    zeros = tl.full((s.tile, s.out), 0.0, tl.float32)
    biases = floats + s.head1_bias_at
    first = zeros + tl.load(biases + q)[None, :]
    second, third = first, first
    if s.groups == 3:
        second = zeros + tl.load(biases + s.out + q)[None, :]
        third = zeros + tl.load(biases + 2 * s.out + q)[None, :]
    for i in range(s.head // s.slice):
        c = i * s.slice + tl.arange(0, s.slice)
        w = tl.load(matrices + s.head0_at + k[:, None] * s.head + c[None, :])
        hidden = tl.full((s.tile, s.slice), 0.0, tl.float32)
        hidden += tl.load(floats + s.head0_bias_at + c)[None, :]
        hidden = tl.maximum(product(rectified, w, hidden, s), 0.0)
        w = matrices + s.head1_at + c[:, None] * s.out + q[None, :]
        first = product(hidden, tl.load(w), first, s)
        if s.groups == 3:
            second = product(hidden, tl.load(w + s.head * s.out), second, s)
            third = product(hidden, tl.load(w + 2 * s.head * s.out), third, s)
    return first, second, third


@triton.jit
def uniforms(seed: tl.tensor, stream: tl.tensor, at: tl.tensor) -> tl.tensor:
    """Return the two uniform numbers [B] of a sample: `rng.uniform_pair` of int64 [B]."""
    low, high = (at & 0xFFFFFFFF).to(tl.uint32), (at >> 32).to(tl.uint32)
    stream_low, stream_high = (stream & 0xFFFFFFFF).to(tl.uint32), (stream >> 32).to(tl.uint32)
    first, second, _, _ = tl.philox(seed, low, high, stream_low, stream_high)
    u = tl.maximum((first >> 8).to(tl.float32), 0.5) * UNIT
    return u, tl.maximum((second >> 8).to(tl.float32), 0.5) * UNIT


@triton.jit
def rank_of(x: tl.tensor) -> tl.tensor:
    """Return where each float32 stands among all (`activations._of_rank`), int32."""
    bits = tl.where(x == 0.0, 0.0, x).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def keep_greatest(
    weights: tl.tensor, logits: tl.tensor, top_k: tl.tensor, s: tl.constexpr
) -> tl.tensor:
    """Return weights [B, Q] with 0 for all but each stream's `top_k` [B] greatest logits and equals.

    The k-th greatest is found by halving the range of float ranks, as `draw.keep_greatest` does.
    """
    ranks = rank_of(logits)
    low = tl.full((s.tile,), 0, tl.int64) - (RANK_OF_INFINITY + 1)
    high = tl.full((s.tile,), 0, tl.int64) + (RANK_OF_INFINITY + 1)
    wanted = (top_k > 0) & (top_k < s.outputs)
    low = tl.where(wanted, low, high - 1)
    while tl.max(high - low, axis=0) > 1:
        middle = (low + high) >> 1
        found = tl.sum((ranks >= middle.to(tl.int32)[:, None]).to(tl.int32), axis=1)
        high = tl.where(found < top_k, middle, high)
        low = tl.where(found >= top_k, middle, low)
        high = tl.where(found == top_k, low + 1, high)
    keep = (ranks >= low.to(tl.int32)[:, None]) | (wanted == 0)[:, None]
    return tl.where(keep, weights, 0.0)


@triton.jit
def choose(
    logits: tl.tensor,
    temperature: tl.tensor,
    top_k: tl.tensor,
    u: tl.tensor,
    s: tl.constexpr,
    TOP_K: tl.constexpr,
) -> tl.tensor:
    """Return what uniform numbers u [B] choose among logits [B, Q]: inverse CDF in index order.

    Where rounding lets no running sum exceed the threshold, it is the last that has weight.
    """
    q = tl.arange(0, s.out)[None, :]
    power = (logits - tl.max(logits, axis=1)[:, None]) * (1.0 / temperature)[:, None] * LOG2_E
    weights = tl.where(power > -125.0, tl.exp2(power), 0.0)
    if TOP_K:
        weights = keep_greatest(weights, logits, top_k, s)
    running = tl.cumsum(weights, axis=1)
    threshold = u * tl.sum(weights, axis=1)
    above = (running > threshold[:, None]) & (weights > 0.0)
    found = tl.min(tl.where(above, q, s.out), axis=1)
    last = tl.max(tl.where(weights > 0.0, q, 0), axis=1)
    return tl.minimum(tl.minimum(found, last), s.outputs - 1)


@triton.jit
def draw(
    first: tl.tensor, second: tl.tensor, third: tl.tensor, temperature: tl.tensor, top_k: tl.tensor, u: tl.tensor, v: tl.tensor,
    s: tl.constexpr, TOP_K: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return the level int32 [B] that two uniform numbers [B] draw from the head's outputs."""
    chosen = choose(first, temperature, top_k, u, s, TOP_K)
    if s.groups == 1:
        return chosen
    mine = tl.arange(0, s.out)[None, :] == chosen[:, None]
    mean = tl.sum(tl.where(mine, second, 0.0), axis=1)
    log_scale = tl.sum(tl.where(mine, third, 0.0), axis=1)
    scale = tl.exp(tl.minimum(tl.maximum(log_scale, LEAST_LOG_SCALE), 86.0)) * temperature
    x = mean + scale * (tl.log(v) - tl.log(1.0 - v))
    place = x * HALF_RANGE + (HALF_RANGE + 0.5)
    place = tl.where(place >= 0.0, place, 0.0)  # also what is not a number
    return tl.minimum(place, 2.0 * HALF_RANGE - 1.0).to(tl.int32)


@triton.jit
def sample_of(level: tl.tensor, floats: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return the sample, -1 to 1, that each level [B] means."""
    if s.groups == 3:
        return (level - HALF_RANGE).to(tl.float32) * SAMPLE_STEP  # exact; a division need not be
    return tl.load(floats + s.mulaw_at + level)
