"""Recording what the engine plays, to a WAV file that is valid at every moment.

Threads: the engine writes to the TapRing and never waits. `Recorder.start`, `stop` and `wait` are
for one thread at a time. A worker thread per recording copies from the tap to the disk; the
callbacks `on_done` and `on_error` are called on it. The tap remembers many seconds, so a disk or a
GIL that stalls costs nothing; were it overrun all the same, silence takes the place of what is
lost, so that all later frames keep their place, and `missing` counts it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .paths import resolve_inside
from .ring import TapRing
from .wav import WavWriter

_BLOCK = 8192
_PERIOD_SECONDS = 0.1  # how often the worker looks; the header is told each time, 10 Hz


class RecordingError(Exception):
    """A recording cannot be started or stopped; the message is one line."""


@dataclass(frozen=True)
class Recording:
    """A recording that has ended: frames `first_frame` and on of the tap, `frames` of them.

    `missing` of them are silence because they came too late. `error` is None, or one line that
    says why it ended early; the file holds what came before and is valid.
    """

    path: Path
    first_frame: int
    frames: int
    missing: int
    error: str | None


class Recorder:
    """Records from `tap` (frames at `samplerate` Hz) into files below the folder `root`.

    `subtype` is "FLOAT" or "PCM_24". `on_done` gets every recording that has ended, those that
    failed included.
    """

    def __init__(
        self,
        tap: TapRing,
        samplerate: int,
        root: Path,
        *,
        subtype: str = "FLOAT",
        on_done: Callable[[Recording], None] | None = None,
    ) -> None:
        self._tap, self._samplerate, self._root, self._subtype = tap, samplerate, root, subtype
        self._on_done = on_done
        self._worker: _Worker | None = None

    @property
    def active(self) -> bool:
        """Whether a recording is being written."""
        return self._worker is not None and self._worker.is_alive()

    def start(self, name: str, first_frame: int | None = None) -> Path:
        """Begin a recording at tap frame `first_frame` (None: now); returns the file's path.

        It may lie in the future, or in the past as far as the tap remembers. `.wav` is added where
        it is missing, folders are made, and no file is ever overwritten. Raises RecordingError, and
        PathError for a name that is not allowed.
        """
        if self.active and self._worker is not None:
            raise RecordingError(f"{self._worker.file.path} is being recorded; stop it first")
        if name.strip() and not name.lower().endswith(".wav"):
            name += ".wav"
        path = resolve_inside(self._root, name)
        first = self._tap.written if first_frame is None else first_frame
        if first < self._tap.oldest:
            raise RecordingError(
                f"frame {first} is forgotten; the oldest that can be recorded is {self._tap.oldest}"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}; choose another place") from error
        try:
            file = WavWriter(
                path, self._samplerate, self._tap.data.shape[1], self._subtype, exclusive=True
            )
        except FileExistsError as error:
            raise RecordingError(f"{path} exists; choose another name") from error
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}; choose another place") from error
        self._worker = _Worker(self._tap, file, first, self._on_done)
        self._worker.start()
        return path

    def stop(self, end_frame: int | None = None) -> None:
        """End the recording before tap frame `end_frame` (None: now); returns at once.

        `on_done` tells when the file is whole, or `wait`. Raises RecordingError when there is none.
        """
        if not self.active or self._worker is None:
            raise RecordingError("nothing is being recorded")
        self._worker.end = self._tap.written if end_frame is None else end_frame
        self._worker.hurry.set()

    def wait(self, timeout: float | None = None) -> Recording | None:
        """Wait for the end of the last recording; None: not yet, or there was none."""
        if self._worker is None:
            return None
        self._worker.join(timeout)
        return self._worker.result

    def close(self) -> None:
        """End what is being recorded and finish its file."""
        if self.active:
            self.stop()
        self.wait()


class _Worker(threading.Thread):
    """Copies one range of the tap to one file."""

    def __init__(
        self,
        tap: TapRing,
        file: WavWriter,
        first: int,
        on_done: Callable[[Recording], None] | None,
    ) -> None:
        super().__init__(name="ghostnote-recorder", daemon=True)
        self.tap, self.file, self.first, self.on_done = tap, file, first, on_done
        self.end: int | None = None
        self.hurry = threading.Event()
        self.result: Recording | None = None
        self._missing = 0
        self._block = np.zeros((_BLOCK, tap.data.shape[1]), np.float32)

    def run(self) -> None:
        error = None
        try:
            while not self._copy_what_is_there():
                self.file.sync()
                self.hurry.wait(_PERIOD_SECONDS)
                self.hurry.clear()
        except OSError as problem:
            error = (
                f"{self.file.path}: {problem.strerror} after {self.file.frames} frames, which are "
                "kept; free some space and record again"
            )
        self.file.close()
        result = Recording(self.file.path, self.first, self.file.frames, self._missing, error)
        self.result = result
        if self.on_done is not None:
            self.on_done(result)

    def _copy_what_is_there(self) -> bool:
        """Write all frames that the tap has by now; returns whether the recording is whole."""
        while True:
            place = self.first + self.file.frames
            left = _BLOCK if self.end is None else min(_BLOCK, self.end - place)
            if left <= 0:
                self.file.cut(self.file.frames + left)
                return True
            block = self._block[:left]
            n = self.tap.read(place, block)
            if n == 0:
                return False
            if n < 0:  # overrun: silence up to the oldest frame that is left
                n = min(left, self.tap.oldest - place)
                block[:n] = 0.0
                self._missing += n
            self.file.write(block[:n])
