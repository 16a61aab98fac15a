"""A hop of a bank that a GPU plays: posted, awaited for so long and no longer, else the CPU's.

Threads: `run_posted` is compiled and runs in the engine's thread; it holds no GIL and allocates
nothing. A `Box` is Python's until READY, and then the loop's, but for FAILED, DEADLINE and the words
that count, which anyone may read.
"""

from __future__ import annotations

import functools
from typing import Any

from numba import njit, types

from ghostnote.kernels import mailbox as m
from ghostnote.kernels import packing as p
from ghostnote.kernels.activations import copy_vectors
from ghostnote.kernels.cpu import give_out, temperature_of, update_control
from ghostnote.kernels.lanes import LANES, address_of, call_at, load_float, load_int, store_float
from ghostnote.kernels.memory import inner, ints_at, lane_at, settings_at

from .native import load_acquire_at, monotonic_ns, sleep_us, store_int, store_release_at

# Words of a box. READY is set when the addresses are there; FAILED when the GPU is given up, by
# either side. RUN is the CPU's entry; AGES room for the ages of all lanes as before the hop.
# MISSES are the hops that did not come in time, HOPS those that the GPU has played.
(
    READY,
    FAILED,
    DEADLINE,
    RUN,
    POST,
    FLOATS,
    JOURNAL,
    LEVELS,
    DONE,
    AGES,
    SLOTS,
    GATE,
    PROGRAMS,
    MISSES,
    HOPS,
    BOX,
) = range(16)

MOST_MISSES = 3
"""After so many hops that did not come in time the GPU is left alone: each was a pause in the sound."""
POLL_US = 10

_RUN = types.void(*[types.int64] * 8)
_call_run = call_at(8)


@njit(cache=True, nogil=True, error_model="numpy")
def run_posted(
    header: int, w: int, ints: int, f: int, count: int, out: int, box: int, outputs: int
) -> None:
    """Do what the kernel's `run` does for a whole hop, by a GPU where that is there and in time.

    The arguments are those of `run`, but for the address of a box in place of given levels. What
    sounds is the same either way but at near ties. After a hop that did not come, the lanes are as
    they were before it.
    """
    h, si, b = ints_at(header), ints_at(ints), ints_at(box)
    if _is_there(b, box):
        _keep_ages(h, si, b[AGES])
        update_control(h, w, si, f)
        sequence = _post(h, si, f, b)
        if _await(b, box, sequence):
            _take(h, w, si, f, b, out)
            b[HOPS] += 1
            return
        b[MISSES] += 1
        if b[MISSES] >= MOST_MISSES:
            b[FAILED] = 1
        _give_back_ages(h, si, b[AGES])
    if load_acquire_at(box + 8 * READY) == 1:
        _settle(h, si, f, b)
    _call_run(b[RUN], header, w, ints, f, count, out, 0, outputs)


@inner
def _is_there(b: Any, box: int) -> bool:
    """Return whether the GPU waits for a hop: it has answered the last one, or the empty first."""
    if load_acquire_at(box + 8 * READY) == 0 or load_acquire_at(box + 8 * FAILED) == 1:
        return False
    return bool(_answered(b, load_int(b[POST] + 8 * m.SEQ)))


@inner
def _answered(b: Any, sequence: int) -> bool:
    """Return whether all programs have said that they are done with a hop."""
    waiting = 0
    for program in range(b[PROGRAMS]):
        waiting += load_acquire_at(b[DONE] + 8 * program) != sequence
    return waiting == 0


@inner
def _await(b: Any, box: int, sequence: int) -> bool:
    """Wait until a hop has come (True), the deadline is over or the GPU is given up."""
    end = monotonic_ns() + b[DEADLINE]
    while not _answered(b, sequence):
        if load_acquire_at(box + 8 * FAILED) == 1 or monotonic_ns() >= end:
            return bool(_answered(b, sequence))
        sleep_us(POLL_US)
    return True


@inner
def _keep_ages(h: Any, si: Any, room: int) -> None:
    roles = h[p.ROLES]
    for lane in range(si[p.I_COUNT]):
        ages = lane_at(h, lane) + p.L_HISTORY + h[p.TAPS]
        for role in range(roles):
            store_int(room + 8 * (lane * roles + role), si[ages + role])


@inner
def _give_back_ages(h: Any, si: Any, room: int) -> None:
    """Take back what `update_control` let the hits grow older, for the CPU's `run` does it too."""
    roles = h[p.ROLES]
    for lane in range(si[p.I_COUNT]):
        ages = lane_at(h, lane) + p.L_HISTORY + h[p.TAPS]
        for role in range(roles):
            si[ages + role] = load_int(room + 8 * (lane * roles + role))


@inner
def _post(h: Any, si: Any, f: int, b: Any) -> int:
    """Write what the GPU needs for the hop, give new lanes a slot; return the hop's number."""
    lanes, slots, taps = si[p.I_COUNT], b[SLOTS], h[p.TAPS]
    post, floats = b[POST], b[FLOATS]
    used = 0
    for lane in range(lanes):
        held = si[lane_at(h, lane) + p.L_HELD]
        if held > 0:
            used |= 1 << (held - 1)
    halves, mine_wide, theirs_wide = 2 * h[p.LAYERS], 4 * h[p.GATE], 4 * b[GATE]
    biases, sent = f + 4 * lanes * h[p.S_HOP_BIAS], floats + 4 * slots
    for lane in range(lanes):
        mine = lane_at(h, lane)
        to = post + 8 * (m.LANE + lane * (m.HISTORY + taps))
        take = 0
        if si[mine + p.L_HELD] == 0:
            slot, take = 0, 1
            while used >> slot & 1:
                slot += 1
            used |= 1 << slot
            si[mine + p.L_HELD] = slot + 1
            _move_rows(h, si, f, b, lane, True)
        store_int(to + 8 * m.SLOT, si[mine + p.L_HELD] - 1)
        store_int(to + 8 * m.TAKE, take)
        store_int(to + 8 * m.SEED, si[mine + p.L_SEED])
        store_int(to + 8 * m.STREAM, si[mine + p.L_STREAM])
        store_int(to + 8 * m.INDEX, si[p.I_INDEX] + si[mine + p.L_OFFSET])
        store_int(to + 8 * m.TOP_K, si[mine + p.L_TOP_K])
        for tap in range(taps):
            store_int(to + 8 * (m.HISTORY + tap), si[mine + p.L_HISTORY + tap])
        drawn = 4 * temperature_of(si[mine + p.L_FRESH])
        store_float(floats + 4 * lane, load_float(settings_at(h, si, f, lane) + drawn))
        for half in range(lane * halves, (lane + 1) * halves):
            copy_vectors(sent + half * theirs_wide, biases + half * mine_wide, h[p.GATE] // LANES)
    store_int(post + 8 * m.LANES, lanes)
    sequence = load_int(post + 8 * m.SEQ) + 1
    store_release_at(post + 8 * m.SEQ, sequence)
    return int(sequence)


@inner
def _take(h: Any, w: int, si: Any, f: int, b: Any, out: int) -> None:
    """Take a hop's levels in as samples [lanes, hop] and as the lanes' last levels."""
    hop, taps, last = h[p.HOP], h[p.TAPS], h[p.LEVELS] - 1
    for lane in range(si[p.I_COUNT]):
        history = lane_at(h, lane) + p.L_HISTORY
        for i in range(hop):
            level = load_int(b[LEVELS] + 8 * (lane * hop + i))
            level = min(max(level, 0), last)  # it becomes an address: nobody else's word is taken
            for tap in range(taps - 1):
                si[history + tap] = si[history + tap + 1]
            si[history + taps - 1] = level
            store_float(out + 4 * (lane * hop + i), give_out(h, w, si, f, lane, level, i))
    si[p.I_INDEX] += hop
    store_int(b[POST] + 8 * m.NOW, load_int(b[POST] + 8 * m.NOW) + hop)


@inner
def _settle(h: Any, si: Any, f: int, b: Any) -> None:
    """Bring all lanes home that the GPU holds: the host's state is then all there is."""
    for lane in range(si[p.I_COUNT]):
        held = lane_at(h, lane) + p.L_HELD
        if si[held] > 0:
            _move_rows(h, si, f, b, lane, False)
            si[held] = 0
            si[p.I_PHASE] = 0  # the products with the past are made anew


@inner
def _move_rows(h: Any, si: Any, f: int, b: Any, lane: int, to_journal: bool) -> None:
    """Copy a lane's past, oldest row first, from its rings to its slot of the journal, or back."""
    slots, slot, row = b[SLOTS], si[lane_at(h, lane) + p.L_HELD] - 1, h[p.ROW]
    wide, base = si[p.I_COUNT] * row, b[JOURNAL]
    for layer in range(h[p.LAYERS]):
        reach = (h[p.WIDTH] - 1) * h[h[p.AT_DILATION] + layer]
        size = reach + h[p.HOP]
        ring = f + 4 * si[p.I_COUNT] * h[h[p.AT_RING] + layer] + lane * row
        at = si[p.I_RING_POS + layer]
        position = (load_int(b[POST] + 8 * m.NOW) - reach) % size
        for _ in range(reach):
            mine, theirs = ring + at * wide, base + (position * slots + slot) * row
            if to_journal:
                copy_vectors(theirs, mine, row // (4 * LANES))
            else:
                copy_vectors(mine, theirs, row // (4 * LANES))
            at = at + 1 if at + 1 < reach else 0
            position = position + 1 if position + 1 < size else 0
        base += size * slots * row


@functools.cache
def run_posted_address() -> int:
    """Compile `run_posted`, or read it from the cache, and return its address."""
    return address_of(run_posted, _RUN)
