"""The kernel that stays on the GPU and plays hops as the host posts them (`mailbox.py`), live.

It is the tile kernel of `gpu.py` with the host in its loop: a program looks at the mailbox, plays the
hop that it finds there, writes its levels and the layers' new rows back, says so, and looks again. A
launch ends by itself after so many looks, and the next one goes on from the device's rings.

Threads: a `LiveKernel` belongs to one. The memory of its mailbox is the host's and the GPU's by turns.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import torch
import triton
import triton.language as tl

from . import mailbox as m
from .gpu_layers import (
    draw,
    embed,
    head,
    keep_level,
    layers,
    level_at,
    ring_rows,
    uniforms,
)
from .gpu_model import HISTORY as KEPT
from .gpu_model import card_of, options_of, pack_gpu, shape_of
from .gpu_state import interpreted
from .packing import Packed

SEQ: tl.constexpr = tl.constexpr(m.SEQ)
END: tl.constexpr = tl.constexpr(m.END)
LANES: tl.constexpr = tl.constexpr(m.LANES)
NOW: tl.constexpr = tl.constexpr(m.NOW)
LANE: tl.constexpr = tl.constexpr(m.LANE)
SLOT: tl.constexpr = tl.constexpr(m.SLOT)
TAKE: tl.constexpr = tl.constexpr(m.TAKE)
SEED: tl.constexpr = tl.constexpr(m.SEED)
STREAM: tl.constexpr = tl.constexpr(m.STREAM)
INDEX: tl.constexpr = tl.constexpr(m.INDEX)
TOP_K: tl.constexpr = tl.constexpr(m.TOP_K)
LAST: tl.constexpr = tl.constexpr(m.HISTORY)
ROWS: tl.constexpr = tl.constexpr(8)  # of a ring that are copied at once
CHUNK: tl.constexpr = tl.constexpr(128)  # numbers of a lane's biases that are copied at once

LOOKS: Final = 400_000
"""Looks at the mailbox after which a launch ends. One is a read over the bus, a microsecond or two."""
LOOKS_A_HOP: Final = 800
"""A hop counts as so many: it takes as long where a hop is a millisecond."""


@triton.jit
def all_see(everyone: tl.tensor, GPU: tl.constexpr) -> None:
    """Order each thread's reads and writes before this line and after it, for the host too."""
    if GPU:
        tl.inline_asm_elementwise(
            "fence.acq_rel.sys; mov.b32 $0, $1;",
            "=r,r,~{memory}",
            [everyone],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )


@triton.jit
def move_rows(
    journal: tl.tensor, rings: tl.tensor, places: tl.tensor, tracks: tl.tensor, words: tl.tensor, lanes: tl.tensor, first_lane: tl.tensor,
    end: tl.tensor, slots: tl.tensor, padded: tl.tensor, hop: tl.tensor, lane_words: tl.tensor, row: tl.tensor, TAKING: tl.constexpr, s: tl.constexpr,
) -> None:  # fmt: skip
    """Copy rows between rings and journal for a tile's lanes: of each layer those before sample `end`.

    TAKING: to the rings, of the lanes that are to be taken in, all as far as the layer reaches back;
    else to the journal, of all lanes, a hop's at most.
    """
    e = tl.arange(0, ROWS * s.tile)
    lane = first_lane + e % s.tile
    there = lane < lanes
    mine = words + lane * lane_words
    slot = tl.load(mine + SLOT, mask=there, other=0, volatile=True)
    if TAKING:
        there = there & (tl.load(mine + TAKE, mask=there, other=0, volatile=True) != 0)
    r = tl.arange(0, s.residual)[None, :]
    for layer in range(s.layers):
        reach = (s.width - 1) * tl.load(places + layer)
        mask = tl.load(places + s.layers + layer)
        first = tl.load(places + 2 * s.layers + layer)
        track = tl.load(tracks + layer)
        count = reach
        if not TAKING:
            count = tl.minimum(reach, hop)
        for begun in range(0, count, ROWS):
            n = begun + e // s.tile
            at = end - count + n
            inside = (there & (n < count))[:, None] & (r < row)
            here = ring_rows(rings, first + (at & mask).to(tl.int32), slot, padded, s)
            theirs = journal + ((track + at % (reach + hop)) * slots + slot)[:, None] * row + r
            if TAKING:
                found = tl.load(theirs, mask=inside, other=0.0, volatile=True)
                tl.store(here, found.to(rings.dtype.element_ty), mask=inside)
            else:
                tl.store(theirs, tl.load(here, mask=inside, other=0.0).to(tl.float32), mask=inside)


@triton.jit
def play_hop(
    matrices: tl.tensor, floats: tl.tensor, places: tl.tensor, rings: tl.tensor, history: tl.tensor, bias: tl.tensor, tracks: tl.tensor,
    post: tl.tensor, sent: tl.tensor, journal: tl.tensor, levels: tl.tensor, slots: tl.tensor, padded: tl.tensor, hop: tl.tensor,
    lane_words: tl.tensor, row: tl.tensor, s: tl.constexpr,
) -> None:  # fmt: skip
    """Play the hop that is posted for the lanes of this program's tile."""
    lanes = tl.load(post + LANES, volatile=True).to(tl.int32)
    now = tl.load(post + NOW, volatile=True)
    first_lane = tl.program_id(0) * s.tile
    if first_lane < lanes:
        lane = first_lane + tl.arange(0, s.tile)
        there = lane < lanes
        words = post + LANE
        mine = words + lane * lane_words
        # Rows of the tile that are no lane play to themselves, behind all slots.
        spare = padded - tl.num_programs(0) * s.tile
        slot = tl.load(mine + SLOT, mask=there, other=0, volatile=True).to(tl.int32)
        slot = tl.where(there, slot, spare + lane)
        seed = tl.load(mine + SEED, mask=there, other=0, volatile=True)
        stream = tl.load(mine + STREAM, mask=there, other=0, volatile=True)
        index = tl.load(mine + INDEX, mask=there, other=0, volatile=True)
        top_k = tl.load(mine + TOP_K, mask=there, other=0, volatile=True)
        temperature = tl.load(sent + lane, mask=there, other=1.0, volatile=True)
        take = tl.load(mine + TAKE, mask=there, other=0, volatile=True)
        taps: tl.constexpr = s.taps  # a name, for Triton 3.6
        for tap in tl.static_range(taps):
            level = tl.load(mine + LAST + tap, mask=there, other=0, volatile=True).to(tl.int32)
            keep_level(history, now - s.taps + tap, level, slot, padded)
        size: tl.constexpr = s.layers * 2 * s.gate
        for begun in range(0, size, CHUNK):
            c = begun + tl.arange(0, CHUNK)[None, :]
            inside = there[:, None] & (c < size)
            theirs = sent + slots + lane[:, None] * size + c
            found = tl.load(theirs, mask=inside, other=0.0, volatile=True)
            tl.store(bias + slot[:, None] * size + c, found, mask=c < size)
        if tl.max(take, axis=0) != 0:
            move_rows(
                journal, rings, places, tracks, words, lanes, first_lane, now, slots, padded, hop,
                lane_words, row, True, s,
            )  # fmt: skip
        tl.debug_barrier()
        newest = level_at(history, now - 1, slot, padded)
        for i in range(hop):
            tl.debug_barrier()  # what the last sample stored is read by other threads
            x = embed(newest, history, now + i, slot, padded, floats, s)
            skip = layers(
                x, rings, now + i, slot, padded, places, matrices, floats, bias, 2 * s.gate, size, s
            )
            first, second, third = head(skip, matrices, floats, s)
            u, v = uniforms(seed, stream, index + i)
            newest = draw(first, second, third, temperature, top_k, u, v, s, True)
            keep_level(history, now + i, newest, slot, padded)
            tl.store(levels + lane * hop + i, newest.to(tl.int64), mask=there)
        tl.debug_barrier()
        move_rows(
            journal, rings, places, tracks, words, lanes, first_lane, now + hop, slots, padded, hop,
            lane_words, row, False, s,
        )  # fmt: skip


@triton.jit(do_not_specialize=["slots", "padded", "hop", "lane_words", "row", "looks", "a_hop"])
def stay(
    matrices: tl.tensor, floats: tl.tensor, places: tl.tensor, rings: tl.tensor, history: tl.tensor, bias: tl.tensor, tracks: tl.tensor,
    post: tl.tensor, sent: tl.tensor, journal: tl.tensor, levels: tl.tensor, done: tl.tensor, slots: tl.tensor, padded: tl.tensor, hop: tl.tensor,
    lane_words: tl.tensor, row: tl.tensor, looks: tl.tensor, a_hop: tl.tensor, s: tl.constexpr, THREADS: tl.constexpr,
    GPU: tl.constexpr,
) -> None:  # fmt: skip
    """Play hops as they are posted, until END is, or for `looks` at the mailbox.

    All threads look, and what they do next is decided together: one that saw the new word alone
    would leave the others behind.
    """
    everyone = tl.arange(0, THREADS)
    odd = everyone % 2
    last = tl.load(done + tl.program_id(0), volatile=True)
    left = looks
    while left > 0:
        words = tl.load(post + tl.where(odd == 0, SEQ, END), volatile=True)
        sequence = tl.max(tl.where(odd == 0, words, 0), axis=0)
        end = tl.max(tl.where(odd == 1, words, 0), axis=0)
        left -= 1
        if end != 0:
            left = 0
        elif sequence != last:
            all_see(everyone, GPU)
            play_hop(
                matrices, floats, places, rings, history, bias, tracks, post, sent, journal,
                levels, slots, padded, hop, lane_words, row, s,
            )  # fmt: skip
            all_see(everyone, GPU)
            tl.debug_barrier()
            tl.store(done + tl.program_id(0), sequence)
            last = sequence
            left -= a_hop


class LiveKernel:
    """A model on the GPU, ready to play what is posted in its `mailbox`.

    Parameters
    ----------
    packed : Packed
        In fp32, or in bf16; the GPU's weights are held in the same.
    layout : mailbox.Layout
    device : str
        As torch names it; under TRITON_INTERPRET=1 always "cpu".
    looks : int
        At the mailbox after which a launch ends; a hop counts as `a_hop`.

    Raises
    ------
    Exception
        Of torch's or Triton's, by every method: where there is no memory, or the GPU is lost.
    """

    def __init__(
        self,
        packed: Packed,
        layout: m.Layout,
        device: str = "cuda",
        looks: int = LOOKS,
        a_hop: int = LOOKS_A_HOP,
    ) -> None:
        gpu = not interpreted()
        device = device if gpu else "cpu"
        model = pack_gpu(packed.spec, packed.source, packed.precision, device)
        wide = not gpu or packed.precision == "fp32"
        card = card_of(model.device)._replace(programs=1)
        shape = shape_of(packed.spec, packed.precision, m.TILE, wide=wide, **card._asdict())
        options = options_of(shape, packed.precision)
        shared: list[torch.Tensor] = []

        def zeros(count: int, kind: Any) -> Any:
            made = torch.zeros(count, dtype=getattr(torch, kind.__name__), pin_memory=gpu)
            shared.append(made)
            return made.numpy()

        self.mailbox = layout.make(zeros)
        post, sent, journal, levels, done = shared
        padded = layout.slots + layout.programs * m.TILE
        tracks = [sum(layout.sizes[:layer]) for layer in range(packed.spec.layers)]
        at: dict[str, Any] = {"device": device}
        rings = torch.zeros((model.slots, padded, model.residual), dtype=model.matrices.dtype, **at)
        history = torch.zeros((KEPT, padded), dtype=torch.int32, **at)
        bias = torch.zeros((padded, packed.spec.layers * 2 * shape.gate), **at)
        self._grid = (layout.programs,)
        self._arguments = (
            model.matrices, model.floats, model.places, rings, history, bias,
            torch.tensor(tracks, dtype=torch.int64, **at), post, sent, journal, levels, done,
            layout.slots, padded, layout.hop, layout.lane_words, layout.residual, looks, a_hop,
            shape, 32 * options.num_warps, gpu,
        )  # fmt: skip
        self._options = options._asdict()
        self._stream = torch.cuda.Stream() if gpu else None  # type: ignore[no-untyped-call]
        if gpu:  # its stream does not wait for the one that has just filled all these
            torch.cuda.current_stream().synchronize()
        self._ends: deque[torch.cuda.Event] = deque()

    def launch(self) -> None:
        """Let the kernel run once more after all launches before; interpreted, do it now."""
        if self._stream is None:
            stay[self._grid](*self._arguments, **self._options)
            return
        with torch.cuda.stream(self._stream):
            stay[self._grid](*self._arguments, **self._options)
            end = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            end.record()
        self._ends.append(end)

    def wait(self) -> None:
        """Return when the oldest launch that was not waited for has ended; others may run meanwhile."""
        if self._ends:
            self._ends.popleft().synchronize()
