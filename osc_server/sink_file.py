"""The file sink: takes frames as fast as the engine makes them and writes a WAV file.

Threads: a Python thread moves frames from the ring to the file. It has no deadline, so the engine is
pulled: what is written depends on the frames alone, never on the pace.
"""

from __future__ import annotations

import atexit
import threading

import numpy as np

from .native import sleep_us
from .ring import DRAINING, LOST, STATE, FrameRing, ring_read
from .sink import SinkError, SinkOptions, check_channels, write_path
from .wav import WavWriter

DEFAULT_RATE = 48000
_BLOCK = 4096
_SYNC_FRAMES = 1 << 18  # the header is told this often


class FileSink:
    """A WAV file (32-bit float, or 24-bit with subtype="PCM_24"), overwritten if it exists.

    It ends by itself after `options.frames`, or when the engine says DRAINING and the ring is
    empty; `wait` waits for that.
    """

    name = "file"
    realtime = False
    steady = False
    latency_seconds = 0.0
    blocksize = 0
    burst_frames = 0

    def __init__(self, options: SinkOptions, subtype: str = "FLOAT") -> None:
        self.samplerate = options.samplerate or DEFAULT_RATE
        self.channels = options.channels
        self.path = write_path(options.path)
        self._left = options.frames
        self._finished = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: str | None = None
        try:
            self._file = WavWriter(self.path, self.samplerate, self.channels, subtype)
        except OSError as error:
            raise SinkError(
                f"--sink file:{self.path}: {error.strerror}; choose another path"
            ) from error

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return self._file.frames

    def start(self, ring: FrameRing) -> None:
        """Begin to take frames."""
        check_channels(ring, self.channels)
        self.stop()
        self._stopping.clear()
        self._finished.clear()
        self._thread = threading.Thread(
            target=self._run, args=(ring,), name="ghostnote-file", daemon=True
        )
        atexit.register(self.close)  # a daemon, so that a crash elsewhere does not wait for it
        self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the file; returns whether it has come."""
        return self._finished.wait(timeout)

    def stop(self) -> None:
        """Stop taking frames; what was taken is in the file."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None
        atexit.unregister(self.close)

    def close(self) -> None:
        """Finish the file."""
        self.stop()
        self._file.close()

    def xruns(self) -> int:
        """A file waits."""
        return 0

    def failure(self) -> str | None:
        """Why no more is written, in one line."""
        return self._failure

    def describe(self) -> str:
        """One line for people."""
        return (
            f"file {self.path}: {self.samplerate} Hz, {self.channels} channels, "
            f"{self._file.subtype}, as fast as possible"
        )

    def _run(self, ring: FrameRing) -> None:
        try:
            self._copy(ring)
            self._file.sync()
        except OSError as error:
            self._failure = (
                f"file {self.path}: {error.strerror} after {self._file.frames} frames; "
                "free some space and start again"
            )
            ring.header[LOST] = 1
        finally:
            self._finished.set()

    def _copy(self, ring: FrameRing) -> None:
        block = np.zeros((_BLOCK, self.channels), np.float32)
        since_sync = 0
        while not self._stopping.is_set():
            want = _BLOCK if self._left is None else min(_BLOCK, self._left)
            if want == 0:
                return
            # Read before the fill: what was written before DRAINING is then surely seen.
            draining = ring.header[STATE] == DRAINING
            n = int(ring_read(ring.header, ring.data, block, want))
            if n == 0:
                if draining:
                    return
                sleep_us(100)
                continue
            self._file.write(block[:n])
            if self._left is not None:
                self._left -= n
            since_sync += n
            if since_sync >= _SYNC_FRAMES:
                self._file.sync()
                since_sync = 0
