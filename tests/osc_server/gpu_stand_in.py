"""A GPU played by the CPU's kernel, with a stream of launches that never needs Python's lock.

It keeps to the mailbox's rules as `gpu_live.py` does, from rings of its own: what it is not sent it does
not know. It can be told to hang in the middle of a hop, for a while or for good.
"""

from __future__ import annotations

import threading
import time

import numpy as np
from numba import njit

from ghostnote.kernels import cpu
from ghostnote.kernels import mailbox as m
from ghostnote.kernels import packing as p
from ghostnote.kernels.activations import copy_vectors
from ghostnote.kernels.lanes import LANES, call_at, load_float, load_int, store_float
from ghostnote.kernels.mailbox import Layout
from ghostnote.kernels.memory import ints_at, lane_at
from ghostnote.kernels.packing import Packed
from ghostnote.kernels.state import State
from ghostnote.osc_server.native import load_acquire_at, sleep_us, store_release_at

POLLS, HOPS = 400, 200  # of a launch
HEADER, WEIGHTS, RUN, POST, FLOATS, JOURNAL, LEVELS, DONE, SLOTS, GATE = range(10)
QUEUED, RAN, CLOSED, PLAYED, HANG_AT, HANG_MS, ASTRAY, WORDS = range(10, 18)
"""Words of a stand-in: addresses and sizes; launches; the hop in which it hangs, and for how long;
what it adds to the levels that it hands over.
"""

_call_run = call_at(8)


@njit(cache=True, nogil=True)
def _stream(c, ints, floats):  # type: ignore[no-untyped-def]
    """Run what is queued, launch after launch, as a GPU does without asking Python."""
    at = np.int64(c.ctypes.data)  # which would else be unsigned, and any sum with it a float
    while c[CLOSED] == 0:
        if load_acquire_at(at + 8 * QUEUED) == c[RAN]:
            sleep_us(50)
            continue
        polls = hops = 0
        while polls < POLLS and hops < HOPS and load_acquire_at(c[POST] + 8 * m.END) == 0:
            sequence = load_acquire_at(c[POST])
            if sequence == load_int(c[DONE]):
                polls += 1
                sleep_us(20)
                continue
            if load_int(c[POST] + 8 * m.LANES) > 0:
                if c[PLAYED] == c[HANG_AT]:
                    _hop(c, ints, floats, 5)
                    # Of what it has made in a part of a hop some is written, and it is all wrong.
                    waited = 0
                    while waited < load_acquire_at(at + 8 * HANG_MS):
                        waited += 1
                        sleep_us(1000)
                c[PLAYED] += 1
            _hop(c, ints, floats, ints_at(c[HEADER])[p.HOP])
            hops += 1
            store_release_at(c[DONE], sequence)
        store_release_at(at + 8 * RAN, c[RAN] + 1)


@njit(cache=True, nogil=True)
def _hop(c, ints, floats, count):  # type: ignore[no-untyped-def]
    """Play so many samples of the posted hop in the slots' states of one lane each."""
    h = ints_at(c[HEADER])
    hop, taps, now = h[p.HOP], h[p.TAPS], load_int(c[POST] + 8 * m.NOW)
    lane_floats = h[p.LAYERS] * 2 * c[GATE]
    for lane in range(load_int(c[POST] + 8 * m.LANES)):
        post = c[POST] + 8 * (m.LANE + lane * (m.HISTORY + taps))
        slot = load_int(post + 8 * m.SLOT)
        si, f = ints[slot], np.int64(floats[slot].ctypes.data)
        if load_int(post + 8 * m.TAKE):
            _rows(c, h, si, f, slot, now, True)
        si[p.I_INDEX] = 1 + hop  # within a hop: the biases stay as they are given
        si[p.I_PHASE] = 0
        mine = si[lane_at(h, 0) :]
        mine[p.L_SEED] = load_int(post + 8 * m.SEED)
        mine[p.L_STREAM] = load_int(post + 8 * m.STREAM)
        mine[p.L_TOP_K] = load_int(post + 8 * m.TOP_K)
        for tap in range(taps):
            mine[p.L_HISTORY + tap] = load_int(post + 8 * (m.HISTORY + tap))
        store_float(f + 4 * h[p.S_SETTINGS], load_float(c[FLOATS] + 4 * lane))
        for half in range(2 * h[p.LAYERS]):
            source = c[FLOATS] + 4 * (c[SLOTS] + lane * lane_floats + half * c[GATE])
            to = f + 4 * (h[p.S_HOP_BIAS] + half * h[p.GATE])
            copy_vectors(to, source, h[p.GATE] // LANES)
        for i in range(count):
            si[p.I_INDEX] = 1
            mine[p.L_OFFSET] = load_int(post + 8 * m.INDEX) + i - 1
            _call_run(c[RUN], c[HEADER], c[WEIGHTS], np.int64(si.ctypes.data), f, 1, 0, 0, 0)
            level = mine[p.L_HISTORY + taps - 1]
            ints_at(c[LEVELS])[lane * hop + i] = level + c[ASTRAY]
            _rows(c, h, si, f, slot, now + i, False)


@njit(cache=True, nogil=True)
def _rows(c, h, si, f, slot, now, take):  # type: ignore[no-untyped-def]
    """Take a slot's past in from the journal, or write the newest row of each layer to it."""
    base, row = c[JOURNAL], h[p.ROW]
    for layer in range(h[p.LAYERS]):
        reach = (h[p.WIDTH] - 1) * h[h[p.AT_DILATION] + layer]
        size = reach + h[p.HOP]
        ring = f + 4 * h[h[p.AT_RING] + layer]
        if take:
            si[p.I_RING_POS + layer] = 0
            for n in range(reach):
                at = (now - reach + n) % size
                copy_vectors(ring + n * row, base + (at * c[SLOTS] + slot) * row, row // 64)
        else:
            last = (si[p.I_RING_POS + layer] - 1) % reach
            at = now % size
            copy_vectors(base + (at * c[SLOTS] + slot) * row, ring + last * row, row // 64)
        base += size * c[SLOTS] * row


class StandIn:
    """The kernel of one model on a GPU that is none; `hang` is (hop, milliseconds)."""

    def __init__(self, packed: Packed, layout: Layout, hang: tuple[int, int] = (-1, 0)) -> None:
        self.mailbox = layout.make(lambda count, kind: np.zeros(count, kind))
        self._packed = packed
        states = [State(packed) for _ in range(layout.slots)]
        self._ints = np.stack([state.ints for state in states])
        self._floats = np.stack([state.floats for state in states])
        self._floats[:, int(packed.header[p.S_FLOATS]) :] = np.nan
        self.words = np.zeros(WORDS, np.int64)
        addresses = (packed.header, packed.weights)
        self.words[[HEADER, WEIGHTS]] = [array.ctypes.data for array in addresses]
        self.words[RUN] = cpu.entry_points().run
        for word, name in (
            (POST, "post"),
            (FLOATS, "floats"),
            (JOURNAL, "journal"),
            (LEVELS, "levels"),
            (DONE, "done"),
        ):
            self.words[word] = getattr(self.mailbox, name).ctypes.data
        self.words[[SLOTS, GATE]] = layout.slots, layout.gate
        self.words[[HANG_AT, HANG_MS]] = hang
        self._waited = 0
        self.fail_after: float | None = None
        arguments = (self.words, self._ints, self._floats)
        self._thread = threading.Thread(target=_stream, args=arguments, daemon=True)
        self._thread.start()

    def hang(self, hop: int, milliseconds: int) -> None:
        """Lets it hang in a later hop."""
        self.words[HANG_MS] = milliseconds
        self.words[HANG_AT] = hop

    @property
    def played(self) -> int:
        """Hops that it has begun."""
        return int(self.words[PLAYED])

    @property
    def idle(self) -> bool:
        """Whether it has answered all that was posted."""
        return bool((self.mailbox.done == self.mailbox.post[m.SEQ]).all())

    @property
    def ended(self) -> bool:
        """Whether no launch runs or waits any more, for the end was posted."""
        return bool(self.mailbox.post[m.END] and self.words[RAN] == self.words[QUEUED])

    def launch(self) -> None:
        """Queues a launch."""
        self.words[QUEUED] += 1

    def wait(self) -> None:
        """Waits for the oldest launch."""
        self._waited += 1
        began = time.monotonic()
        while self.words[RAN] < self._waited and not self.words[CLOSED]:
            time.sleep(0.001)
            if self.fail_after is not None and time.monotonic() > began + self.fail_after:
                raise RuntimeError("CUDA error: unspecified launch failure")

    def release(self) -> None:
        """Lets it hang no longer."""
        self.words[HANG_MS] = 0

    def close(self) -> None:
        """Ends the stream's thread, after the engine's end."""
        self.words[CLOSED] = 1
        self._thread.join(10.0)
