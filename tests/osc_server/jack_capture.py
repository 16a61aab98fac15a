"""A JACK client that keeps what it hears, and when, by a callback without Python.

A recorder in Python would miss cycles on a busy machine, and `jack_rec` tells no times. Threads:
JACK calls `_process` on its real-time thread; the rest is for the thread that made the capture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import carray, cfunc, types
from numpy.typing import NDArray

from ghostnote.kernels.lanes import as_pointer
from ghostnote.osc_server.native import call_pointer_i32, monotonic_ns
from ghostnote.osc_server.sink_jack import load_jack

# Words of the callback's user data.
_GET_BUFFER, _PORT, _FRAME_TIME, _CLIENT, _DATA, _CAPACITY, _STAMPS, _CYCLES, _FIRST = range(9)
_WORDS = 16

AROUND = 10  # cycles on either side that tell the time of one


def _process(frames, user):  # type: ignore[no-untyped-def]
    now = monotonic_ns()
    link = carray(user, (_WORDS,), np.int64)
    data = carray(as_pointer(link[_DATA]), (link[_CAPACITY],), np.float32)
    # jack_last_frame_time takes the client alone; one argument more does no harm in C.
    time = call_pointer_i32(link[_FRAME_TIME], link[_CLIENT], frames) & 0xFFFFFFFF
    if link[_CYCLES] == 0:
        link[_FIRST] = time
    begin = time - link[_FIRST]
    address = call_pointer_i32(link[_GET_BUFFER], link[_PORT], frames)
    block = carray(as_pointer(address), (np.int64(frames),), np.float32)
    # At its own frame, so that a cycle that JACK leaves out leaves a gap and moves nothing.
    if begin >= 0 and begin + frames <= link[_CAPACITY]:
        for k in range(frames):
            data[begin + k] = block[k]
        stamps = carray(as_pointer(link[_STAMPS]), (link[_CAPACITY], 2), np.int64)
        stamps[link[_CYCLES], 0] = begin
        stamps[link[_CYCLES], 1] = now
        link[_CYCLES] += 1
    return 0


class Capture:
    """What one port plays: `sound` by JACK frame, and the time of each frame."""

    def __init__(self, client: Any, seconds: float) -> None:
        self.samplerate = int(client.samplerate)
        capacity = int(seconds * self.samplerate)
        self._data = np.zeros(capacity, np.float32)
        self._stamps = np.zeros((capacity, 2), np.int64)  # far more than cycles
        self._link = np.zeros(_WORDS, np.int64)

    @property
    def cycles(self) -> NDArray[np.int64]:
        """Rows of (frame, monotonic ns when the callback began), one a cycle."""
        return self._stamps[: self._link[_CYCLES]].copy()

    @property
    def sound(self) -> NDArray[np.float32]:
        """What was heard so far, frame by frame from the first cycle on."""
        cycles = self.cycles
        return self._data[: cycles[-1, 0]].copy() if len(cycles) else self._data[:0]

    def seconds_at(self, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """Monotonic time of frames: of a sample, that at which its place in the cycle comes.

        Callbacks come late and never early, so the earliest of those around tell when a cycle
        really begins; of those few around only, since JACK's frames may leave the clock: when its
        dummy driver has not been served in time, it leaves time out.
        """
        cycles = self.cycles
        lag = cycles[:, 1] * 1e-9 - cycles[:, 0] / self.samplerate
        found = []
        for frame in frames:
            place = int(np.searchsorted(cycles[:, 0], frame))
            near = lag[max(0, place - AROUND) : place + AROUND]
            found.append(frame / self.samplerate + np.percentile(near, 20))
        return np.array(found)

    def wander(self, since: NDArray[np.float64], until: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how many seconds JACK's frames left the clock within each of these spans of time."""
        cycles = self.cycles
        lag = self.seconds_at(cycles[:, 0]) - cycles[:, 0] / self.samplerate
        times = cycles[:, 1] * 1e-9
        spans = [lag[(times >= a) & (times <= b)] for a, b in zip(since, until, strict=True)]
        return np.array([np.ptp(span) if len(span) else np.inf for span in spans])


@contextmanager
def capture(port: str | None, seconds: float) -> Iterator[Capture]:
    """Keeps what `port`, or what others connect to capture:ear, plays for so many seconds."""
    jack = load_jack()
    lib, ffi = jack._lib, jack._ffi
    client = jack.Client("capture", no_start_server=True)
    try:
        kept = Capture(client, seconds)
        ear = client.inports.register("ear")
        link, callback = kept._link, cfunc(types.int32(types.uint32, types.voidptr))(_process)
        for word, function in (
            (_GET_BUFFER, "jack_port_get_buffer"),
            (_FRAME_TIME, "jack_last_frame_time"),
        ):
            link[word] = int(ffi.cast("uintptr_t", ffi.addressof(lib, function)))
        link[_PORT] = int(ffi.cast("uintptr_t", ear._ptr))
        link[_CLIENT] = int(ffi.cast("uintptr_t", client._ptr))
        link[_DATA], link[_CAPACITY] = kept._data.ctypes.data, len(kept._data)
        link[_STAMPS] = kept._stamps.ctypes.data
        process = ffi.cast("JackProcessCallback", callback.address)
        user = ffi.cast("void *", link.ctypes.data)
        jack._check(lib.jack_set_process_callback(client._ptr, process, user), "callback")
        client.activate()
        if port is not None:
            client.connect(port, ear)
        yield kept
        client.deactivate()
    finally:
        client.close()
