"""Recording what the engine plays, to WAV files that are valid at every moment.

Threads: the engine writes to the TapRing and never waits. `Recorder` and `Recordings` are for one
thread at a time, but `mark`, which any may call. A worker thread per recording copies from the tap
to the disk; the callbacks `on_done` and `failed` are called on it. The tap remembers many seconds,
so a disk or a GIL that stalls costs nothing; were it overrun all the same, silence takes the place
of what is lost, so that all later frames keep their place, and `missing` counts it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .music import Music, Source
from .paths import resolve_inside
from .wav import MAX_MARKERS, Marker, Tempo, WavWriter

MAX_NOTES = MAX_MARKERS // 2
"""How many markers of a recording may be other than bar lines."""

MASTER = -1
"""The master's place among the voices, which count from 0."""

_BLOCK = 8192
_PERIOD_SECONDS = 0.1  # how often the worker looks; the header is told each time, 10 Hz
_MAX_BARS = 1 << 16
_TEMPO_STEP = 0.05  # beats a minute; what follows another clock is never quite still


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
    """Records a source into files below the folder `root`, one at a time.

    `music` tells tempo and bar lines, for the tempo chunk and the markers; None writes neither.
    `on_done` gets every recording that has ended, those that failed included.
    """

    def __init__(
        self,
        source: Source,
        root: Path,
        *,
        music: Callable[[], Music] | None = None,
        on_done: Callable[[Recording], None] | None = None,
    ) -> None:
        self._source, self._root, self._music, self._on_done = source, root, music, on_done
        self._worker: _Worker | None = None

    @property
    def active(self) -> bool:
        """Whether a recording is being written."""
        return self._worker is not None and self._worker.is_alive()

    def refuse_if_active(self) -> None:
        """Raise a RecordingError that names what is being recorded, if anything is."""
        worker = self._worker
        if worker is not None and worker.is_alive():
            raise RecordingError(f"{worker.file.path} is being recorded; stop it first")

    def start(self, name: str, first_frame: int | None = None, subtype: str = "FLOAT") -> Path:
        """Begin a recording at tap frame `first_frame` (None: now); returns the file's path.

        It may lie in the future, or in the past as far as the tap remembers. `.wav` is added where
        it is missing, folders are made, and no file is ever overwritten. `subtype` is "FLOAT" or
        "PCM_24". Raises RecordingError, and PathError for a name that is not allowed.
        """
        self.refuse_if_active()
        tap = self._source.tap
        first = tap.written if first_frame is None else first_frame
        if first < tap.oldest:
            raise RecordingError(
                f"frame {first} is forgotten; the oldest that can be recorded is {tap.oldest}"
            )
        path = wav_path(self._root, name)
        now = self._music() if self._music else None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}; choose another place") from error
        try:
            file = WavWriter(
                path,
                self._source.samplerate,
                tap.data.shape[1],
                subtype,
                exclusive=True,
                tempo=Tempo(now.tempo, now.beats_per_bar) if now else None,
            )
        except FileExistsError as error:
            raise RecordingError(f"{path} exists; choose another name") from error
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}; choose another place") from error
        self._worker = _Worker(self._source, file, first, self._music, self._on_done)
        self._worker.start()
        return path

    def mark(self, label: str) -> None:
        """Put a marker at the present frame of what is being recorded, if anything is."""
        if self.active and self._worker is not None:
            self._worker.note(label)

    def stop(self, end_frame: int | None = None) -> None:
        """End the recording before tap frame `end_frame` (None: now); returns at once.

        `on_done` tells when the file is whole, or `wait`. Raises RecordingError when there is none.
        """
        if not self.active or self._worker is None:
            raise RecordingError("nothing is being recorded")
        self._worker.finish(self._source.tap.written if end_frame is None else end_frame)

    def wait(self, timeout: float | None = None) -> Recording | None:
        """Wait for the end of the last recording; None: not yet, or there was none."""
        if self._worker is None:
            return None
        self._worker.join(timeout)
        return self._worker.result

    def close(self) -> None:
        """End what is being recorded and finish its file."""
        if self.active and self._worker is not None:
            self._worker.finish(self._source.tap.written)
        self.wait()


class Recordings:
    """Recordings of the master and of any voices at the same time, one of each.

    `source` gives what a voice (from 0, or MASTER) plays; it may raise for one that is not there.
    """

    def __init__(
        self, source: Callable[[int], Source], root: Path, music: Callable[[], Music]
    ) -> None:
        self._source, self._root, self._music = source, root, music
        self._recorders: dict[int, Recorder] = {}

    def start(
        self,
        name: str,
        voice: int = MASTER,
        subtype: str = "FLOAT",
        failed: Callable[[str], None] | None = None,
        first_frame: int | None = None,
    ) -> Path:
        """Begin to record a voice or the master, as `Recorder.start` does.

        `failed(reason)` is called later, once, from the recording's thread, if it ends early.
        """
        before = self._recorders.get(voice)
        if before:
            before.refuse_if_active()

        def done(recording: Recording) -> None:
            if recording.error and failed:
                failed(recording.error)

        recorder = Recorder(self._source(voice), self._root, music=self._music, on_done=done)
        path = recorder.start(name, first_frame, subtype)
        self._recorders[voice] = recorder
        return path

    def stop(self, voice: int = MASTER) -> Recording:
        """End the recording of a voice or of the master; returns it when its file is whole.

        One that ended early is told with its error. Raises RecordingError when there is none.
        """
        recorder = self._recorders.get(voice)
        if recorder is None:
            raise RecordingError("nothing is being recorded")
        recorder.stop()
        recording = recorder.wait()
        assert recording is not None
        return recording

    def active(self) -> tuple[int, ...]:
        """Return the voices that are being recorded; the master is MASTER."""
        return tuple(sorted(voice for voice, one in [*self._recorders.items()] if one.active))

    def mark(self, label: str, voice: int = MASTER) -> None:
        """Put a marker into the recordings of the master and of a voice, if there are any."""
        for number in {MASTER, voice}:
            recorder = self._recorders.get(number)
            if recorder:
                recorder.mark(label)

    def close(self) -> None:
        """End all recordings and finish their files."""
        for recorder in self._recorders.values():
            recorder.close()


def wav_path(root: Path, name: str) -> Path:
    """Return where a WAV file called `name` lies below `root`; raises PathError."""
    if name.strip() and not name.lower().endswith(".wav"):
        name += ".wav"
    return resolve_inside(root, name)


class _Worker(threading.Thread):
    """Copies one range of a tap to one file."""

    def __init__(
        self,
        source: Source,
        file: WavWriter,
        first: int,
        music: Callable[[], Music] | None,
        on_done: Callable[[Recording], None] | None,
    ) -> None:
        super().__init__(name="ghostnote-recorder", daemon=True)
        self.tap, self.file, self.first, self.on_done = source.tap, file, first, on_done
        self._end: int | None = None
        self._hurry = threading.Event()
        self.result: Recording | None = None
        self._missing = 0
        self._block = np.zeros((_BLOCK, source.tap.data.shape[1]), np.float32)
        self._music, self._frame_of, self._ended = music, source.frame_of, source.ended
        self._bars: list[Marker] = []
        self._notes: list[Marker] = []
        self._last_bar = -1  # engine frame
        self._tempo = file.tempo.bpm if file.tempo else 0.0

    def finish(self, end: int) -> None:
        """End before tap frame `end`; any thread."""
        self._end = end
        self._hurry.set()

    def note(self, label: str) -> None:
        """Put a marker at the present frame; any thread."""
        if len(self._notes) < MAX_NOTES:
            self._notes.append(Marker(max(0, self.tap.written - self.first), label))

    def run(self) -> None:
        error = None
        try:
            while not self._copy_what_is_there():
                self.file.sync()
                self._look_for_bars()
                error = self._reason_to_end()
                if error:
                    break
                self._hurry.wait(_PERIOD_SECONDS)
                self._hurry.clear()
        except OSError as problem:
            error = (
                f"{self.file.path}: {problem.strerror} after {self.file.frames} frames, which are "
                "kept; free some space and record again"
            )
        self._look_for_bars()
        self.file.close(self._markers())
        result = Recording(self.file.path, self.first, self.file.frames, self._missing, error)
        self.result = result
        if self.on_done is not None:
            self.on_done(result)

    def _reason_to_end(self) -> str | None:
        if not self.file.path.exists():
            return f"{self.file.path}: was taken away while it was recorded; record again"
        if self._ended() is not None:
            self._copy_what_is_there()  # to its very end
            return f"{self.file.path}: ended after {self.file.frames} frames: its voice was freed"
        return None

    def _copy_what_is_there(self) -> bool:
        """Write all frames that the tap has by now; returns whether the recording is whole."""
        while True:
            place = self.first + self.file.frames
            left = _BLOCK if self._end is None else min(_BLOCK, self._end - place)
            if left <= 0:
                self.file.cut(self.file.frames + left)
                return True
            block = self._block[:left]
            n = self.tap.read(place, block)
            overrun = n < 0  # silence then, up to the oldest frame that is left
            if overrun:
                n = min(left, self.tap.oldest - place)
            ended = self._ended()
            if ended is not None:  # what follows may be a later voice's
                n = min(n, ended - place)
            if n <= 0:
                return False
            if overrun:
                block[:n] = 0.0
                self._missing += n
            self.file.write(block[:n])

    def _look_for_bars(self) -> None:
        """Note the bar lines since the last time; the first under a new tempo tells it too."""
        if self._music is None:
            return
        music = self._music()
        for frame, number in music.bars:
            place = self._frame_of(frame) - self.first
            if frame <= self._last_bar or place < 0 or len(self._bars) >= _MAX_BARS:
                continue
            label = f"bar {number + 1}"  # the engine counts from 0
            if abs(music.tempo - self._tempo) > _TEMPO_STEP:
                self._tempo = music.tempo
                label += f", {music.tempo:.4g} bpm"
            self._last_bar = frame
            self._bars.append(Marker(place, label))

    def _markers(self) -> list[Marker]:
        """Return all notes, and so many bar lines as there is room for, evenly chosen."""
        every = 1
        while len(self._bars) // every + 1 + len(self._notes) > MAX_MARKERS:
            every *= 2
        return [*self._bars[::every], *self._notes]
