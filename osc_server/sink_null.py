"""The null sink: takes frames at the pace of the clock and drops them.

Threads: a Python thread that runs one compiled loop without the GIL from start to stop, so that no
Python elsewhere can disturb its pace. Its callbacks, counters and stamps are those of a device.
"""

from __future__ import annotations

import atexit
import threading

import numpy as np
from numba import njit

from .native import load_acquire, monotonic_ns, sleep_us, store_release
from .ring import XRUNS, FrameRing, IntArray, consume_at
from .sink import SinkOptions, check_channels

DEFAULT_RATE, DEFAULT_BLOCK = 48000, 256
_LONGEST_SLEEP_US = 20_000  # how soon `stop` is obeyed


class NullSink:
    """A sound card that nobody hears."""

    name = "null"
    realtime = True
    steady = True
    latency_seconds = 0.0

    def __init__(self, options: SinkOptions) -> None:
        self.samplerate = options.samplerate or DEFAULT_RATE
        self.blocksize = options.blocksize or DEFAULT_BLOCK
        self.channels = options.channels
        self.burst_frames = self.blocksize
        self._stop = np.zeros(1, np.int64)
        self._thread: threading.Thread | None = None
        self._ring: FrameRing | None = None

    def start(self, ring: FrameRing) -> None:
        """Begin to take frames."""
        check_channels(ring, self.channels)
        self.stop()
        self._ring = ring
        out = np.zeros((self.blocksize, self.channels), np.float32)
        self._out = out
        # A first call with the flag up compiles the loop before anything is timed.
        self._stop[0] = 1
        arguments = (self._stop, ring.header, out.ctypes.data, self.blocksize, self.samplerate)
        _run(*arguments)
        self._stop[0] = 0
        self._thread = threading.Thread(
            target=_run,
            args=arguments,
            name="ghostnote-null",
            daemon=True,
        )
        atexit.register(self.close)  # a daemon, so that a crash elsewhere does not wait for it
        self._thread.start()

    def stop(self) -> None:
        """Stop the loop and wait for its end."""
        if self._thread is not None:
            self._stop[0] = 1  # one aligned word: the loop sees it whole
            self._thread.join()
            self._thread = None
        atexit.unregister(self.close)

    def close(self) -> None:
        """Nothing is held but the loop."""
        self.stop()

    def xruns(self) -> int:
        """Times the loop came a whole block late."""
        return self._ring.xruns if self._ring else 0

    def failure(self) -> str | None:
        """It cannot fail."""
        return None

    def describe(self) -> str:
        """One line for people."""
        return f"null (silent): {self.samplerate} Hz, {self.channels} channels"


@njit(cache=True, nogil=True, error_model="numpy")
def _run(stop: IntArray, header: IntArray, out: int, blocksize: int, rate: int) -> None:
    """Consume a block each blocksize/rate seconds until `stop`[0] is set."""
    second_began = monotonic_ns()
    block_ns = blocksize * 1_000_000_000 // rate
    frames = 0  # since the second began: small, so the product below stays exact
    while load_acquire(stop, 0) == 0:
        due = second_began + frames * 1_000_000_000 // rate
        now = monotonic_ns()
        if now < due:
            sleep_us(min((due - now) // 1000 + 1, _LONGEST_SLEEP_US))
            continue
        if now - due > block_ns:
            # As in a sound card that was not served: this time is gone, not caught up with.
            store_release(header, XRUNS, header[XRUNS] + 1)
            second_began += now - due
        consume_at(np.int64(header.ctypes.data), out, blocksize, now)
        frames += blocksize
        while frames >= rate:
            frames -= rate
            second_began += 1_000_000_000
