"""The spread kernel: the layers of a few streams shared out among programs, for the least latency.

A tile's program must read every weight for every sample. Here each program loads its share once and
keeps it in registers and shared memory: a group of layers, or a slice of the head's hidden channels. x goes from group
to group, skips from all groups to all slices, the slices' shares of the outputs to the first program,
which draws and begins the next sample. What past inputs add is computed while the others are at work.

Handing over: a number is stored with the sample's number (1, 2, ... in a launch) above it in one word of
64 bits, which no reader can see half of. So the reader polls the words themselves: no flag, no fence, one
way through the L2 cache. A word may be overwritten for the next sample as every program has read what it
waits for before the first draws the level from which that sample begins.

All programs must run at once: no more than the device has SMs, in a cooperative launch. Launch from
one thread at a time per state.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .gpu_layers import (
    draw,
    embed,
    filters,
    gate_halves,
    keep_level,
    level_at,
    place_of,
    product,
    ring_rows,
    sample_of,
    uniforms,
)


@triton.jit
def post(words: tl.tensor, x: tl.tensor, number: tl.tensor, there: tl.tensor) -> None:
    """Store x [B, N] under a sample's number at words [B, N], where `there` says so."""
    bits = x.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
    tl.store(words, bits | (number.to(tl.int64) << 32), mask=there)


@triton.jit
def await_words(words: tl.tensor, number: tl.tensor, there: tl.tensor) -> tl.tensor:
    """Return what was posted at words [B, N] under a sample's number, once it is; 0 elsewhere."""
    other = number.to(tl.int64) << 32
    found = tl.load(words, mask=there, other=other, volatile=True)
    while tl.min(tl.min(found >> 32, axis=1), axis=0) < number:
        found = tl.load(words, mask=there, other=other, volatile=True)
    return (found & 0xFFFFFFFF).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def with_one(items: tl.tensor, one: tl.tensor) -> tl.tensor:
    """Return a tuple with one item more."""
    return items + (one,)  # noqa: RUF005 - Triton's compiler does not unpack


@triton.jit
def there_is(layer: tl.tensor, rows: tl.tensor, columns: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return for each of rows [N, 1] and columns [1, M] whether the model has a layer of this number."""
    return (rows * 0 + columns * 0 + layer) < s.layers


@triton.jit
def past_of(
    rings: tl.tensor, now: tl.tensor, layer: tl.tensor, held: tl.tensor, bias: tl.tensor,
    bias_lane: tl.tensor, lane: tl.tensor, lanes: tl.tensor, places: tl.tensor, s: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return what bias and past add to a held layer's gates, [B, 2D] (`gpu_layers.gates_before`).

    Of a layer beyond the last (which makes the last group full) it is 0.
    """
    c = tl.arange(0, s.gate)
    inside = there_is(layer, lane[:, None], c[None, :], s)
    at = bias + lane.to(tl.int64)[:, None] * bias_lane + c[None, :]
    a = tl.load(at, mask=inside, other=0.0)
    b = tl.load(at + s.gate, mask=inside, other=0.0)
    gates = tl.join(a, b).reshape(s.tile, 2 * s.gate)
    dilation, mask, start = place_of(places, tl.minimum(layer, s.layers - 1), s)
    taps: tl.constexpr = s.width - 1
    for tap in tl.static_range(taps):
        slot = start + ((now - (s.width - 1 - tap) * dilation) & mask).to(tl.int32)
        row = tl.load(ring_rows(rings, slot, lane, lanes, s))
        gates = product(row, held[3 + tap], gates, s)
    return gates


@triton.jit
def hold(matrices: tl.tensor, layer: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Load a layer's weights: present, residual, skip, past taps; zeros beyond the last layer."""
    d, r, k = tl.arange(0, s.gate), tl.arange(0, s.residual), tl.arange(0, s.skip)
    c = tl.arange(0, 2 * s.gate)
    wide = there_is(layer, r[:, None], c[None, :], s)
    to_residual = there_is(layer, d[:, None], r[None, :], s)
    to_skip = there_is(layer, d[:, None], k[None, :], s)
    layer = tl.minimum(layer, s.layers - 1)
    row = layer * s.gate + d[:, None]
    now = tl.load(filters(matrices, layer, s.width - 1, 0, s), mask=wide, other=0.0)
    at = matrices + s.residual_at + row * s.residual + r[None, :]
    residual = tl.load(at, mask=to_residual, other=0.0)
    at = matrices + s.skip_at + row * s.skip + k[None, :]
    skip = tl.load(at, mask=to_skip, other=0.0)
    first = tl.load(filters(matrices, layer, 0, 0, s), mask=wide, other=0.0)
    second = first
    if s.width == 3:
        second = tl.load(filters(matrices, layer, 1, 0, s), mask=wide, other=0.0)
    return now, residual, skip, first, second


@triton.jit
def play_group(
    group: tl.tensor, words: tl.tensor, matrices: tl.tensor, floats: tl.tensor, places: tl.tensor,
    rings: tl.tensor, history: tl.tensor, chance: tl.tensor, top_ks: tl.tensor,
    temperatures: tl.tensor, bias: tl.tensor, out: tl.tensor, forced: tl.tensor,
    outputs: tl.tensor, index: tl.tensor, count: tl.tensor, hop: tl.tensor, bias_hop: tl.tensor,
    bias_layer: tl.tensor, bias_lane: tl.tensor, streams: tl.tensor, lanes: tl.tensor,
    s: tl.constexpr, G: tl.constexpr, FORCED: tl.constexpr, TOP_K: tl.constexpr,
) -> None:  # fmt: skip
    """Play a group of G layers, and as the first also the input and the draw."""
    groups: tl.constexpr = (s.layers + G - 1) // G
    slices: tl.constexpr = s.head // s.slice
    lane = tl.arange(0, s.tile)
    r, k, q = tl.arange(0, s.residual), tl.arange(0, s.skip), tl.arange(0, s.out)
    row = lane[:, None]
    in_x, in_skip = (row < streams) & (r[None, :] >= 0), (row < streams) & (k[None, :] >= 0)
    in_out = (row < streams) & (q[None, :] >= 0)
    xs = words + row * s.residual + r[None, :]
    skips = words + groups * s.tile * s.residual + row * s.skip + k[None, :]
    sums = words + groups * s.tile * (s.residual + s.skip) + row * s.out + q[None, :]
    seed, stream = tl.load(chance + lane), tl.load(chance + lanes + lane)
    offset = tl.load(chance + 2 * lanes + lane)
    top_k = tl.load(top_ks + lane)
    newest = level_at(history, index - 1, lane, lanes)
    x = tl.full((s.tile, s.residual), 0.0, tl.float32)
    first = group * G
    held = ()
    before = ()
    for g in tl.static_range(G):
        held = with_one(held, hold(matrices, first + g, s))
        own = bias + (first + g) * bias_layer
        mine = past_of(rings, index, first + g, held[g], own, bias_lane, lane, lanes, places, s)
        before = with_one(before, mine)
    for i in range(count):
        now = index + i
        number = now - index + 1
        if group == 0:
            x = embed(newest, history, now, lane, lanes, floats, s)
        else:
            x = await_words(xs + (group - 1) * s.tile * s.residual, number, in_x)
        skip = tl.full((s.tile, s.skip), 0.0, tl.float32)
        coming = bias + (tl.minimum(number, count - 1) // hop) * bias_hop  # the last is not used
        after = ()
        heard = ()
        for g in tl.static_range(G):
            heard = with_one(heard, x)
            z = gate_halves(product(x, held[g][0], before[g], s), s)
            layer = tl.minimum(first + g, s.layers - 1)
            b = tl.load(floats + s.residual_bias_at + layer * s.residual + r)[None, :]
            x = product(z, held[g][1], x, s) + tl.where(first + g < s.layers, b, 0.0)
            if g + 1 == G:
                post(xs + group * s.tile * s.residual, x, number, in_x)
            skip = product(z, held[g][2], skip, s)
        post(skips + group * s.tile * s.skip, skip, number, in_skip)
        for g in tl.static_range(G):
            _, mask, start = place_of(places, tl.minimum(first + g, s.layers - 1), s)
            rows = ring_rows(rings, start + (now & mask).to(tl.int32), lane, lanes, s)
            inside = there_is(first + g, row, r[None, :], s)
            tl.store(rows, heard[g].to(rings.dtype.element_ty), mask=inside)
        tl.debug_barrier()  # what was stored now is read by other threads
        for g in tl.static_range(G):
            own = coming + (first + g) * bias_layer
            mine = past_of(
                rings, now + 1, first + g, held[g], own, bias_lane, lane, lanes, places, s
            )
            after = with_one(after, mine)
        before = after
        if group == 0:
            zeros = tl.full((s.tile, s.out), 0.0, tl.float32)
            biases = floats + s.head1_bias_at + q
            one = zeros + tl.load(biases)[None, :]
            two, three = one, one
            if s.groups == 3:
                two = zeros + tl.load(biases + s.out)[None, :]
                three = zeros + tl.load(biases + 2 * s.out)[None, :]
            for j in range(slices):
                share = sums + j * s.groups * s.tile * s.out
                one += await_words(share, number, in_out)
                if s.groups == 3:
                    two += await_words(share + s.tile * s.out, number, in_out)
                    three += await_words(share + 2 * s.tile * s.out, number, in_out)
            to = lane.to(tl.int64) * count + i
            there = lane < streams
            if FORCED:
                newest = tl.load(forced + to, mask=there, other=0)
                into = outputs + to[:, None] * (s.groups * s.outputs) + q[None, :]
                known = in_out & (q[None, :] < s.outputs)
                tl.store(into, one, mask=known)
                if s.groups == 3:
                    tl.store(into + s.outputs, two, mask=known)
                    tl.store(into + 2 * s.outputs, three, mask=known)
            else:
                u, v = uniforms(seed, stream, now + offset)
                temperature = tl.load(temperatures + (i // hop) * lanes + lane)
                newest = draw(one, two, three, temperature, top_k, u, v, s, TOP_K)
                tl.store(out + to, sample_of(newest, floats, s), mask=there)
            keep_level(history, now, newest, lane, lanes)
            tl.debug_barrier()


@triton.jit
def play_slice(
    part: tl.tensor, words: tl.tensor, matrices: tl.tensor, floats: tl.tensor, count: tl.tensor,
    streams: tl.tensor, s: tl.constexpr, G: tl.constexpr,
) -> None:  # fmt: skip
    """Play a slice of the head's hidden channels: wait for all skips, post its share of the outputs."""
    groups: tl.constexpr = (s.layers + G - 1) // G
    row = tl.arange(0, s.tile)[:, None]
    k, q = tl.arange(0, s.skip), tl.arange(0, s.out)
    c = part * s.slice + tl.arange(0, s.slice)
    in_skip, in_out = (row < streams) & (k[None, :] >= 0), (row < streams) & (q[None, :] >= 0)
    skips = words + groups * s.tile * s.residual + row * s.skip + k[None, :]
    at = words + groups * s.tile * (s.residual + s.skip) + row * s.out + q[None, :]
    sums = at + part * s.groups * s.tile * s.out
    w0 = tl.load(matrices + s.head0_at + k[:, None] * s.head + c[None, :])
    b0 = tl.load(floats + s.head0_bias_at + c)[None, :]
    w = matrices + s.head1_at + c[:, None] * s.out + q[None, :]
    w1 = tl.load(w)
    w2, w3 = w1, w1
    if s.groups == 3:
        w2, w3 = tl.load(w + s.head * s.out), tl.load(w + 2 * s.head * s.out)
    bias = tl.load(floats + s.skip_bias_at + k)[None, :]
    zeros = tl.full((s.tile, s.out), 0.0, tl.float32)
    one = tl.program_id(0) * 0 + 1  # a tensor in the interpreter too, where i is none
    for i in range(count):
        number = one + i
        skip = tl.full((s.tile, s.skip), 0.0, tl.float32) + bias
        for group in range(groups):
            skip += await_words(skips + group * s.tile * s.skip, number, in_skip)
        hidden = tl.full((s.tile, s.slice), 0.0, tl.float32) + b0
        hidden = tl.maximum(product(tl.maximum(skip, 0.0), w0, hidden, s), 0.0)
        post(sums, product(hidden, w1, zeros, s), number, in_out)
        if s.groups == 3:
            post(sums + s.tile * s.out, product(hidden, w2, zeros, s), number, in_out)
            post(sums + 2 * s.tile * s.out, product(hidden, w3, zeros, s), number, in_out)


@triton.jit(do_not_specialize=["program", "index", "count", "hop", "streams"])
def play_spread(
    program: tl.tensor,
    words: tl.tensor,
    matrices: tl.tensor,
    floats: tl.tensor,
    places: tl.tensor,
    rings: tl.tensor,
    history: tl.tensor,
    chance: tl.tensor,
    top_ks: tl.tensor,
    temperatures: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    forced: tl.tensor,
    outputs: tl.tensor,
    index: tl.int64,
    count: tl.tensor,
    hop: tl.tensor,
    bias_hop: tl.int64,
    bias_layer: tl.int64,
    bias_lane: tl.int64,
    streams: tl.tensor,
    lanes: tl.tensor,
    s: tl.constexpr,
    G: tl.constexpr,
    FORCED: tl.constexpr,
    TOP_K: tl.constexpr,
) -> None:
    """Advance up to s.tile streams by `count` samples; arguments as of `gpu.play`, and two more.

    `words` int64 is what the programs hand over, zeros at the start of a launch (`gpu_model.Spread`
    tells how many). `program` is added to the number of each program: where they do not run side by
    side (in the interpreter) each is launched by itself, in a process of its own.
    """
    me = tl.program_id(0) + program
    groups: tl.constexpr = (s.layers + G - 1) // G
    if me < groups:
        play_group(
            me, words, matrices, floats, places, rings, history, chance, top_ks, temperatures, bias,
            out, forced, outputs, index, count, hop, bias_hop, bias_layer, bias_lane, streams,
            lanes, s, G, FORCED, TOP_K,
        )  # fmt: skip
    else:
        play_slice(me - groups, words, matrices, floats, count, streams, s, G)
