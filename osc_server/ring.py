"""Rings between threads: frames of audio to the sink, records to and from the engine.

Threads: every ring has ONE producer thread and ONE consumer thread; a second thread on either
side needs a lock of its own around the calls. No call waits, and none but those marked "Python"
allocates or takes the GIL. An index is published by a release store and read by an acquire load,
so the other side never sees a frame or record before its content.

- `FrameRing`: engine -> sink. Producer: `ring_space`, `ring_write`, `ring_set_state`.
  Consumer (a native callback, or the file sink): `consume` / `consume_at` or `ring_read`.
  Any thread: the properties and `stamps_since`.
- `TapRing`: engine -> recorder, with a memory: the producer never waits and overwrites the oldest
  frames, so a reader asks by absolute frame index and is told when it came too late.
- `RecordRing`: commands in and events out. A batch becomes visible whole or not at all.

Compiled callers that use `cache=True` keep a copy of these functions; `cli/compile_cache.py` sees
to it that an edit here compiles them anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import carray, njit, types
from numpy.typing import NDArray

from ghostnote.kernels.lanes import address_of, as_pointer, call_at, load_int

from .native import (
    fence_acquire,
    load_acquire,
    store_release,
)

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]

# Header words. What the producer writes and what the consumer writes lie 128 bytes apart: the
# largest cache line in use (Apple's), so neither side slows the other.
WRITE, STATE = 0, 1  # written by the producer
# Written by the consumer; LARGEST is the most frames that it ever asked for at once.
READ, POSITION, CALLBACKS, UNDERRUNS, MISSING, STARVING, XRUNS, LOST, LARGEST = range(16, 25)
STAMP_COUNT = 32
CAPACITY, CHANNELS, DATA, FADE, STAMPS, CONSUME = range(48, 54)  # constants: sizes, addresses
HEADER_WORDS = 64

# States, set by the producer.
IDLE = 0  # the consumer plays silence and takes nothing: the ring may be filled ahead
RUNNING = 1  # an empty ring is an underrun
DRAINING = 2  # what is left is played; after it silence is no underrun

FADE_FRAMES = 128  # 2.7 ms at 48 kHz; a power of two, so that the gains end exactly at 0 and 1
_FADE_STEP = np.float32(1.0 / FADE_FRAMES)
_call_consume = call_at(4)
_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
# The fade array: gain of what is fading out, gain of what is fading in, then per channel the
# level it fades from, then per channel the last sample played.
TAIL, ENTRY, LEVELS = 0, 1, 2

STAMP_SLOTS = 1024  # 5 s of callbacks of 256 frames
STAMP_POSITION, STAMP_NS, STAMP_OFFSET = 0, 1, 2


class Stamp(NamedTuple):
    """One callback as the clock sees it."""

    position: int  # frames the device had taken when the callback began, silence included
    ns: int  # monotonic_ns() when it began
    offset: int  # position - ring frame, after it: how much silence has been played so far


def _aligned(words: int, dtype: Any) -> Any:
    """Zeros that begin at a 128-byte boundary."""
    size = np.dtype(dtype).itemsize * words
    raw = np.zeros(size + 128, np.uint8)
    start = -raw.ctypes.data % 128
    return raw[start : start + size].view(dtype)


def _check_capacity(capacity: int) -> None:
    if capacity < 2 or capacity & (capacity - 1):
        raise ValueError(f"ring capacity {capacity}: must be a power of two, at least 2")


class FrameRing:
    """Frames from the engine to the sink, `capacity` of them, `channels` wide, float32.

    `header` int64[HEADER_WORDS], `data` float32[capacity, channels], `fade` and `stamps` are given
    to the compiled functions below; the object must live as long as anything that uses them.
    """

    def __init__(self, capacity: int, channels: int = 2) -> None:
        _check_capacity(capacity)
        if channels < 1:
            raise ValueError(f"ring channels {channels}: must be at least 1")
        self.header: IntArray = _aligned(HEADER_WORDS, np.int64)
        self.data: FloatArray = _aligned(capacity * channels, np.float32).reshape(
            capacity, channels
        )
        self.fade: FloatArray = _aligned(LEVELS + 2 * channels, np.float32)
        self.stamps: IntArray = _aligned(STAMP_SLOTS * 3, np.int64).reshape(STAMP_SLOTS, 3)
        self.fade[ENTRY] = 1.0
        self.header[CAPACITY], self.header[CHANNELS] = capacity, channels
        self.header[DATA] = self.data.ctypes.data
        self.header[FADE] = self.fade.ctypes.data
        self.header[STAMPS] = self.stamps.ctypes.data
        self.header[CONSUME] = address_of(consume, types.void(*[types.int64] * 4))

    @property
    def address(self) -> int:
        """Where the header lies: the user data of a native callback."""
        return int(self.header.ctypes.data)

    @property
    def capacity(self) -> int:
        """Frames the ring can hold."""
        return int(self.data.shape[0])

    @property
    def channels(self) -> int:
        """Samples in a frame."""
        return int(self.data.shape[1])

    @property
    def fill(self) -> int:
        """Frames written and not yet consumed."""
        return int(ring_fill(self.header))

    @property
    def consumed(self) -> int:
        """Frames consumed since the start."""
        return int(self.header[READ])

    @property
    def callbacks(self) -> int:
        """Calls of `consume` so far."""
        return int(self.header[CALLBACKS])

    @property
    def underruns(self) -> int:
        """Times the ring ran dry while the engine was running."""
        return int(self.header[UNDERRUNS])

    @property
    def missing(self) -> int:
        """Frames of silence played for want of frames while the engine was running."""
        return int(self.header[MISSING])

    @property
    def xruns(self) -> int:
        """Times the device itself told that it had not been served in time."""
        return int(self.header[XRUNS])

    @property
    def largest_block(self) -> int:
        """The most frames that this sink asked for at once; some servers change it while playing."""
        return int(self.header[LARGEST])

    @property
    def lost(self) -> bool:
        """Whether the device has gone away (server shut down, card pulled)."""
        return bool(self.header[LOST])

    def stamps_since(self, count: int) -> tuple[list[Stamp], int]:
        """Stamps written since an earlier `count` (0 at first), oldest first, and the new count.

        Those already overwritten are left out. Python, any thread.
        """
        rows = np.empty((STAMP_SLOTS, 3), np.int64)
        taken, newest = read_stamps(self.header, self.stamps, count, rows)
        return [Stamp(*row) for row in rows[:taken].tolist()], int(newest)


@njit(cache=True, nogil=True)
def ring_fill(header: IntArray) -> int:
    """Frames written and not yet consumed."""
    return int(load_acquire(header, WRITE) - load_acquire(header, READ))


@njit(cache=True, nogil=True)
def ring_space(header: IntArray) -> int:
    """Frames that can be written now. Producer."""
    return int(header[CAPACITY] - header[WRITE] + load_acquire(header, READ))


@njit(cache=True, nogil=True)
def ring_write(header: IntArray, data: FloatArray, block: FloatArray, n: int) -> int:
    """Write the first `n` frames of `block` [>= n, channels], or as many as fit; returns how many.

    Producer.
    """
    write = header[WRITE]
    mask = data.shape[0] - 1
    room = data.shape[0] - write + load_acquire(header, READ)
    count = min(n, room)
    for k in range(count):
        row = (write + k) & mask
        for c in range(data.shape[1]):
            data[row, c] = block[k, c]
    store_release(header, WRITE, write + count)
    return int(count)


@njit(cache=True, nogil=True)
def ring_set_state(header: IntArray, state: int) -> None:
    """Set IDLE, RUNNING or DRAINING, after the frames written so far. Producer."""
    store_release(header, STATE, state)


@njit(cache=True, nogil=True)
def ring_read(header: IntArray, data: FloatArray, out: FloatArray, n: int) -> int:
    """Move up to `n` frames to `out` as they are; returns how many. Consumer that is not paced."""
    read = header[READ]
    mask = data.shape[0] - 1
    count = min(n, load_acquire(header, WRITE) - read)
    for k in range(count):
        row = (read + k) & mask
        for c in range(data.shape[1]):
            out[k, c] = data[row, c]
    store_release(header, READ, read + count)
    return int(count)


@njit(cache=True, nogil=True)
def write_stamp(header: IntArray, stamps: IntArray, position: int, ns: int, offset: int) -> None:
    """Publish one stamp (positions in device frames, time in ns). Consumer."""
    count = header[STAMP_COUNT]
    row = count & (STAMP_SLOTS - 1)
    stamps[row, STAMP_POSITION] = position
    stamps[row, STAMP_NS] = ns
    stamps[row, STAMP_OFFSET] = offset
    store_release(header, STAMP_COUNT, count + 1)


@njit(cache=True, nogil=True)
def read_stamps(header: IntArray, stamps: IntArray, since: int, out: IntArray) -> tuple[int, int]:
    """Copy the stamps after the first `since` into `out` [STAMP_SLOTS, 3]: (how many, new count).

    Any thread.
    """
    newest = load_acquire(header, STAMP_COUNT)
    first = max(since, newest - STAMP_SLOTS)
    for k in range(newest - first):
        for c in range(3):
            out[k, c] = stamps[(first + k) & (STAMP_SLOTS - 1), c]
    fence_acquire()
    # The writer may have come round meanwhile, and may be writing one slot more than it has told.
    spoilt = load_acquire(header, STAMP_COUNT) + 1 - STAMP_SLOTS - first
    if spoilt > 0:
        for k in range(spoilt, newest - first):
            for c in range(3):
                out[k - spoilt, c] = out[k, c]
        first += spoilt
    return max(newest - first, 0), newest


@njit(cache=True, nogil=True, error_model="numpy")
def consume(address: int, target: int, n: int, now_ns: int) -> None:
    """Fill a block with the next `n` frames. The paced consumer, once per callback.

    `address` is that of a FrameRing's header, `target` that of the block, float32 [>= n, channels].
    What is not there is played as silence without a click: the last frame fades out over
    FADE_FRAMES, and what comes later fades in over as many, so that one step is never larger than
    the signal's own plus 2/FADE_FRAMES of the level. Otherwise frames pass bit for bit. `now_ns`
    is the time at which the callback began.
    """
    header = carray(as_pointer(address), (HEADER_WORDS,), np.int64)
    capacity, channels = header[CAPACITY], header[CHANNELS]
    data = carray(as_pointer(header[DATA]), (capacity, channels), np.float32)
    fade = carray(as_pointer(header[FADE]), (LEVELS + 2 * channels,), np.float32)
    out = carray(as_pointer(target), (n, channels), np.float32)
    mask = capacity - 1
    last = LEVELS + channels
    state = load_acquire(header, STATE)
    read = header[READ]
    have = 0
    if state != IDLE:
        have = min(n, load_acquire(header, WRITE) - read)

    for k in range(have):
        row = (read + k) & mask
        if fade[ENTRY] == _ONE and fade[TAIL] == _ZERO:
            for c in range(channels):
                out[k, c] = data[row, c]
        else:
            fade[ENTRY] = min(_ONE, fade[ENTRY] + _FADE_STEP)
            fade[TAIL] = max(_ZERO, fade[TAIL] - _FADE_STEP)
            for c in range(channels):
                out[k, c] = data[row, c] * fade[ENTRY] + fade[LEVELS + c] * fade[TAIL]
    if have > 0:
        for c in range(channels):
            fade[last + c] = out[have - 1, c]

    if have < n:
        played = read + have > 0
        if played and fade[ENTRY] > _ZERO:  # something was sounding: fade out from there
            fade[ENTRY], fade[TAIL] = _ZERO, _ONE
            for c in range(channels):
                fade[LEVELS + c] = fade[last + c]
        for k in range(have, n):
            fade[TAIL] = max(_ZERO, fade[TAIL] - _FADE_STEP)
            for c in range(channels):
                out[k, c] = fade[LEVELS + c] * fade[TAIL]
        if played and state == RUNNING:
            header[MISSING] += n - have
            if have > 0 or header[STARVING] == 0:
                header[UNDERRUNS] += 1
            header[STARVING] = 1
        for c in range(channels):
            fade[last + c] = out[n - 1, c]
    else:
        header[STARVING] = 0

    position = header[POSITION]
    header[POSITION] = position + n
    header[CALLBACKS] += 1
    header[LARGEST] = max(header[LARGEST], n)
    store_release(header, READ, read + have)
    stamps = carray(as_pointer(header[STAMPS]), (STAMP_SLOTS, 3), np.int64)
    write_stamp(header, stamps, position, now_ns, position + n - read - have)


@njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def consume_at(address: int, target: int, n: int, now_ns: int) -> None:
    """`consume` for compiled callbacks, which then are not compiled with all that it is made of."""
    _call_consume(load_int(address + 8 * CONSUME), address, target, n, now_ns)


class TapRing:
    """The last `capacity` frames that the engine made, for recording; float32, `channels` wide.

    Frame f of the tap is the f-th frame ever written to it.
    """

    MARGIN = 8192  # frames the producer may be writing while a reader copies: its largest block

    def __init__(self, capacity: int, channels: int = 2) -> None:
        _check_capacity(capacity)
        if capacity <= self.MARGIN:
            raise ValueError(f"tap capacity {capacity}: must be more than {self.MARGIN}")
        self.header: IntArray = _aligned(HEADER_WORDS, np.int64)
        self.data: FloatArray = np.zeros((capacity, channels), np.float32)

    @classmethod
    def over(cls, header: IntArray, frames: FloatArray) -> TapRing:
        """Return a view of a mono tap that compiled code writes: `frames` float32 [capacity]."""
        tap = cls.__new__(cls)
        tap.header, tap.data = header, frames.reshape(-1, 1)
        return tap

    @property
    def written(self) -> int:
        """Frames written since the start."""
        return int(tap_written(self.header))

    def read(self, first: int, out: FloatArray) -> int:
        """Copy frames from `first` on into `out` [n, channels]; returns how many exist by now.

        Returns -1 when `first` is already overwritten (`oldest` says from where one can go on).
        Python, any thread.
        """
        return int(tap_read(self.header, self.data, first, out, self.MARGIN))

    @property
    def oldest(self) -> int:
        """The first frame that can still be read with some time to spare."""
        return int(max(0, self.written - self.data.shape[0] + 2 * self.MARGIN))


@njit(cache=True, nogil=True)
def tap_written(header: IntArray) -> int:
    """Frames written to a tap since the start."""
    return int(load_acquire(header, WRITE))


@njit(cache=True, nogil=True)
def tap_write(header: IntArray, data: FloatArray, block: FloatArray, n: int) -> None:
    """Append the first `n` <= TapRing.MARGIN frames of `block` over the oldest. Producer."""
    write = header[WRITE]
    mask = data.shape[0] - 1
    for k in range(n):
        row = (write + k) & mask
        for c in range(data.shape[1]):
            data[row, c] = block[k, c]
    store_release(header, WRITE, write + n)


@njit(cache=True, nogil=True)
def tap_read(header: IntArray, data: FloatArray, first: int, out: FloatArray, margin: int) -> int:
    """See `TapRing.read`; `margin` frames before the write index count as overwritten."""
    mask = data.shape[0] - 1
    count = max(0, min(out.shape[0], load_acquire(header, WRITE) - first))
    for k in range(count):
        row = (first + k) & mask
        for c in range(data.shape[1]):
            out[k, c] = data[row, c]
    fence_acquire()
    if first < load_acquire(header, WRITE) - data.shape[0] + margin:
        return -1
    return int(count)


class RecordRing:
    """Records of one numpy dtype between two threads; `capacity` a power of two.

    For commands Python is the producer (`push_many`) and compiled code the consumer
    (`records_pop(ring.header, ring.records, out)`); for events the other way round
    (`records_push`, `pop_all`).
    """

    def __init__(self, dtype: np.dtype[Any], capacity: int) -> None:
        _check_capacity(capacity)
        self.header: IntArray = _aligned(HEADER_WORDS, np.int64)
        self.records: NDArray[Any] = np.zeros(capacity, dtype)
        # Compiled here, so that no thread meets the compiler later.
        records_push(self.header, self.records, self.records[:0], 0)
        records_pop(self.header, self.records, self.records[:0])

    @property
    def fill(self) -> int:
        """Records pushed and not yet popped."""
        return int(ring_fill(self.header))

    def push_many(self, batch: NDArray[Any]) -> bool:
        """Push all records of `batch` (this ring's dtype) at once, or none; False: no room.

        Python, producer.
        """
        if batch.dtype != self.records.dtype:
            raise ValueError(f"records are {self.records.dtype}, not {batch.dtype}")
        return bool(
            records_push(self.header, self.records, np.ascontiguousarray(batch), len(batch))
        )

    def pop_all(self) -> NDArray[Any]:
        """Take what is there, in order, as a new array (often empty). Python, consumer."""
        out = np.empty(self.fill, self.records.dtype)
        return out[: records_pop(self.header, self.records, out)]


@njit(cache=True, nogil=True)
def records_push(header: IntArray, records: NDArray[Any], batch: NDArray[Any], n: int) -> bool:
    """Push the first `n` records of `batch`, or none of them when they do not fit. Producer."""
    write = header[WRITE]
    if n > records.shape[0] - write + load_acquire(header, READ):
        return False
    for k in range(n):
        records[(write + k) & (records.shape[0] - 1)] = batch[k]
    store_release(header, WRITE, write + n)
    return True


@njit(cache=True, nogil=True)
def records_pop(header: IntArray, records: NDArray[Any], out: NDArray[Any]) -> int:
    """Move the oldest records, at most len(out), to `out`; returns how many. Consumer."""
    read = header[READ]
    count = min(out.shape[0], load_acquire(header, WRITE) - read)
    for k in range(count):
        out[k] = records[(read + k) & (records.shape[0] - 1)]
    store_release(header, READ, read + count)
    return int(count)
