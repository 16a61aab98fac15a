"""The tile kernel: a program plays a tile of streams, sample after sample, in one launch.

The loop over samples lies inside; all products are `tl.dot` on tensor cores; the weights are read
once a tile and sample, the compiler's pipeline of asynchronous loads running ahead of the layers. Its
pieces are in `gpu_layers.py`. State in and out in device memory: any count, chunked equals whole.
One stream is a tile of which 15 rows are wasted, which costs no latency.

Launch from one thread at a time per state.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .gpu_layers import (
    draw,
    embed,
    head,
    keep_level,
    layers,
    level_at,
    sample_of,
    uniforms,
)

_PLAIN = ["index", "count", "hop", "streams"]  # of any value by the same code


@triton.jit(do_not_specialize=_PLAIN)
def play(
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
    FORCED: tl.constexpr,
    TOP_K: tl.constexpr,
) -> None:
    """Advance `lanes` streams (whole tiles) by `count` samples from sample `index` on.

    `chance` int64 [3, lanes] holds seed, stream number and offset of the index; `bias` the gates'
    biases, and `temperatures` [hops, lanes] those, of hop after hop of `hop` samples, the first of
    which begins with this launch. Writes
    samples float32 [streams, count] to `out`, or with FORCED feeds levels int32 [streams, count] and
    writes the outputs float32 [streams, count, O]. Without TOP_K `top_ks` is not looked at.
    """
    lane = tl.program_id(0) * s.tile + tl.arange(0, s.tile)
    there = lane < streams
    seed, stream = tl.load(chance + lane), tl.load(chance + lanes + lane)
    offset = tl.load(chance + 2 * lanes + lane)
    top_k = tl.load(top_ks + lane)
    newest = level_at(history, index - 1, lane, lanes)
    for i in range(count):
        tl.debug_barrier()  # what the last sample stored is read by other threads
        now = index + i
        x = embed(newest, history, now, lane, lanes, floats, s)
        row = bias + (i // hop) * bias_hop
        skip = layers(
            x, rings, now, lane, lanes, places, matrices, floats, row, bias_layer, bias_lane, s
        )
        first, second, third = head(skip, matrices, floats, s)
        at = lane.to(tl.int64) * count + i
        if FORCED:
            newest = tl.load(forced + at, mask=there, other=0)
            q = tl.arange(0, s.out)[None, :]
            row = outputs + at[:, None] * (s.groups * s.outputs) + q
            inside = there[:, None] & (q < s.outputs)
            tl.store(row, first, mask=inside)
            if s.groups == 3:
                tl.store(row + s.outputs, second, mask=inside)
                tl.store(row + 2 * s.outputs, third, mask=inside)
        else:
            u, v = uniforms(seed, stream, now + offset)
            temperature = tl.load(temperatures + (i // hop) * lanes + lane)
            newest = draw(first, second, third, temperature, top_k, u, v, s, TOP_K)
            tl.store(out + at, sample_of(newest, floats, s), mask=there)
        keep_level(history, now, newest, lane, lanes)
