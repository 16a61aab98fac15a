"""Who says where the beat is: the transport follows JACK, MIDI clock, Link or beats over OSC.

Threads: `heard` is called by the sources' own threads, the other methods by the dispatcher's or the
worker's; one lock guards the state. `select` and `close` may take long (a server is asked, a thread
is joined). `bars_changed` is called with no lock held, from the source's thread.

A source hands over readings: at this time its beat was so much. What leaves the sink is some
milliseconds ahead of what is heard now, so a reading is carried on, at its tempo, to a frame that
the engine has not made yet, and the engine is told what its beat must be there. The engine makes up
for small differences by playing faster or slower and jumps over large ones. A start is different:
it comes as a surprise, so the transport begins where the source began, some milliseconds late, and
catches up; were it to begin where the source is by then, the first drum would be lost.

All times are seconds of the monotonic clock, and all of them come from outside.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ghostnote.kernels.errors import GhostnoteError

from .beat_filter import BeatFilter
from .commands import FRAME_NOW, Command, Op

SOURCES: Final = ("internal", "osc", "jack", "midi", "link")

_BITE_BEATS = 0.09  # what the engine catches up with smoothly: it jumps over more than 0.1
_LATEST_START = 0.15  # s; a source that has gone on for longer was not just started
SLOWEST, FASTEST = 10.0, 1000.0  # bpm, as /ghost/tempo takes
MAX_BAR: Final = 16  # beats, as /ghost/signature takes
_SOON_BEATS = 0.05  # what is so far off is put right at once
_SOON_SECONDS = 0.05  # a source may tell of its start so much ahead
_SAME_SECONDS = 2e-4  # what is nearer than that is left alone
_SAME_TEMPO = 5e-5  # relative
_PAUSE_SECONDS = 0.1  # between corrections
_TAKEN_SECONDS = 0.005  # of frames made, after which a command that was due at once has acted
_OLD_SECONDS = 10.0  # no error is told against a reading older than that


@dataclass(frozen=True)
class Reading:
    """Where a source was at one moment.

    Attributes
    ----------
    seconds : float
        Of the monotonic clock.
    beat : float or None
        None where the source counts no beats: then `position`, in seconds, is taken at the
        transport's tempo.
    bpm : float or None
        None where the source does not tell: the transport's stays.
    rolling : bool or None
        None where the source does not tell: clients start and stop.
    beats_per_bar : float or None
    """

    seconds: float
    beat: float | None
    bpm: float | None = None
    rolling: bool | None = None
    beats_per_bar: float | None = None
    position: float = 0.0


Heard = Callable[[Reading], None]


class Source(Protocol):
    """Something that knows the beat."""

    @property
    def at_loudspeaker(self) -> bool:
        """Whether its beat is when sound is heard, and not when it leaves the sink."""

    def start(self, heard: Heard) -> None:
        """Begin to hand over readings, from any thread. Raises GhostnoteError."""

    def stop(self) -> None:
        """End; when it returns, `heard` is not called any more."""


@dataclass(frozen=True)
class Place:
    """Where the transport is: at the next frame that the engine makes."""

    frame: int
    seconds: float
    """When that frame leaves the sink."""
    beat: float
    tempo: float
    rolling: bool


class Transport(Protocol):
    """The engine, as far as time goes."""

    @property
    def samplerate(self) -> float:
        """Of the engine's frames."""

    @property
    def lead_frames(self) -> int:
        """So far ahead a command must be due to come in time."""

    @property
    def output_seconds(self) -> float:
        """From the sink to the loudspeaker."""

    def now(self) -> Place:
        """Return where the transport is."""

    def monotonic(self) -> float:
        """Return the present time."""

    def monotonic_at(self, unix: float) -> float:
        """Return the monotonic time of a time of day."""

    def submit(self, commands: Sequence[Command], frame: int) -> bool:
        """Hand commands to the engine; False where there is no room."""


class Sync:
    """The present source of time, and the transport that follows it.

    `sources` makes those that are more than messages: jack, midi, link. `bars_changed` is told how
    many beats a bar has when a source changes that.
    """

    def __init__(
        self,
        transport: Transport,
        sources: Mapping[str, Callable[[], Source]],
        bars_changed: Callable[[int], None],
    ) -> None:
        self._transport, self._sources = transport, sources
        self._bars_changed = bars_changed
        self._lock = threading.Lock()
        self._selecting = threading.Lock()
        self._name = SOURCES[0]
        self._source: Source | None = None
        self._offset = 0.0  # seconds
        self._forget()

    def _forget(self) -> None:
        self._reading: Reading | None = None
        self._stood_at: float | None = None  # the beat of a source that has not started yet
        self._bar = 0  # beats, as told
        # Frames before which nothing of the kind is said again.
        self._wait = {Op.TEMPO: 0, Op.ROLL: 0, Op.BEAT: 0}
        self._calm = 0  # the same for small corrections
        self._catching = False  # up with a source that has started a moment before
        self._beats = BeatFilter()
        self._tempo = 0.0  # that the filter began with or has told

    @property
    def source(self) -> str:
        """Name of the present source."""
        return self._name

    @property
    def owns_tempo(self) -> bool:
        """Whether the tempo comes from the source, so that a client's is refused."""
        reading = self._reading
        if self._name in ("internal", "osc"):
            return False
        return reading is None or reading.beat is not None

    @property
    def owns_rolling(self) -> bool:
        """Whether the source starts and stops, so that clients cannot."""
        reading = self._reading
        return self._name in ("jack", "midi") or bool(reading and reading.rolling is not None)

    @property
    def error_ms(self) -> float | None:
        """By how much the transport is ahead of its source; None where it follows none now."""
        with self._lock:
            place, reading = self._transport.now(), self._reading
            if reading is None or not place.rolling or reading.rolling is False:
                return None
            if abs(place.seconds - reading.seconds) > _OLD_SECONDS:
                return None
            beats = place.beat - self._beat_at(reading, place.seconds, place.tempo)
            return beats * 60e3 / place.tempo

    def select(self, name: str) -> None:
        """Follow another source; the transport goes on as it was until that one speaks.

        Raises
        ------
        GhostnoteError
            If there is no such source, or something that it needs is missing: then the present
            one stays.
        """
        if name not in SOURCES:
            raise GhostnoteError(f"sync source {name}: unknown; use one of {', '.join(SOURCES)}")
        with self._selecting:
            if name == self._name:
                return
            make = self._sources.get(name)
            if make is None and name not in ("internal", "osc"):
                raise GhostnoteError(f"sync source {name}: this server has no clock to follow it")
            new = make() if make else None
            with self._lock:
                old, before = self._source, self._name
                self._source, self._name = new, name
                self._forget()
            try:
                if new:
                    new.start(lambda reading: self._heard(new, reading))
            except GhostnoteError:
                with self._lock:
                    self._source, self._name = old, before
                    self._forget()
                raise
            if old:
                old.stop()

    def set_offset(self, milliseconds: float) -> None:
        """Play so much later (below 0: earlier) than the source says."""
        with self._lock:
            self._offset = milliseconds * 1e-3

    def beat(self, value: float, unix: float | None = None) -> None:
        """Take a beat that a client tells, of now or of a time of day: what the source osc is.

        Raises
        ------
        GhostnoteError
            If another source says where the beat is.
        """
        with self._lock:
            if self._name != "osc":
                raise GhostnoteError(f"beat: the transport follows {self._name}")
            self._follow(self._smooth(value, unix))

    def _smooth(self, value: float, unix: float | None) -> Reading:
        """Take the jitter out of beats that came as messages; their tempo may be a client's."""
        transport = self._transport
        seconds = transport.monotonic() if unix is None else transport.monotonic_at(unix)
        tempo = transport.now().tempo
        if abs(tempo - self._tempo) > _SAME_TEMPO * tempo:
            self._beats.set_tempo(tempo)
        self._beats.update(value, seconds)
        bpm = self._beats.bpm
        self._tempo = tempo if bpm is None else bpm
        return Reading(self._beats.seconds, value, bpm)

    def close(self) -> None:
        """Leave the source alone; the transport goes on by itself."""
        self.select("internal")

    def _heard(self, source: Source, reading: Reading) -> None:
        with self._lock:
            if source is not self._source:
                return
            self._follow(reading)
            bar = round(reading.beats_per_bar or 0.0)
            news = bar if 1 <= bar <= MAX_BAR and bar != self._bar else 0
            if news and self._submit([Command(Op.SIGNATURE, value=news)], FRAME_NOW):
                self._bar = news
        if news:
            self._bars_changed(news)

    def _beat_at(self, reading: Reading, seconds: float, tempo: float) -> float:
        """Return the source's beat that belongs to the frame that leaves the sink at `seconds`."""
        beat = reading.position * tempo / 60.0 if reading.beat is None else reading.beat
        if reading.rolling is False:
            return beat
        bpm = tempo if reading.bpm is None else reading.bpm
        later = seconds - self._offset - reading.seconds
        if self._source is not None and self._source.at_loudspeaker:
            later += self._transport.output_seconds
        return beat + later * bpm / 60.0

    def _ahead(self, place: Place) -> tuple[int, float]:
        lead = self._transport.lead_frames
        return place.frame + lead, place.seconds + lead / self._transport.samplerate

    def _submit(self, commands: Sequence[Command], frame: int) -> bool:
        return self._transport.submit(commands, frame)

    def _say(self, kind: Op, place: Place, commands: list[Command], frame: int) -> None:
        """Hand commands over, and keep still until they must have acted."""
        if self._submit(commands, frame):
            taken = round(_TAKEN_SECONDS * self._transport.samplerate)
            self._wait[kind] = max(place.frame, frame) + taken

    def _follow(self, reading: Reading) -> None:
        """Tell the engine what a reading changes."""
        self._reading = reading
        place, wait = self._transport.now(), self._wait
        if reading.bpm is not None and place.frame >= wait[Op.TEMPO]:
            bpm = min(FASTEST, max(SLOWEST, reading.bpm))
            if abs(bpm - place.tempo) > _SAME_TEMPO * bpm:
                self._say(Op.TEMPO, place, [Command(Op.TEMPO, value=bpm)], FRAME_NOW)
        if reading.rolling not in (None, place.rolling) and place.frame >= wait[Op.ROLL]:
            self._roll_or_stop(reading, place)
        if reading.rolling is False:
            self._stood_at = self._beat_at(reading, 0.0, place.tempo)
        if place.frame >= max(wait[Op.BEAT], wait[Op.ROLL]):
            self._correct(reading, place)

    def _roll_or_stop(self, reading: Reading, place: Place) -> None:
        if not reading.rolling:
            self._say(Op.ROLL, place, [Command(Op.STOP)], FRAME_NOW)
            return
        frame, seconds = self._ahead(place)
        beat = self._beat_at(reading, seconds, place.tempo)
        begun = self._stood_at
        self._catching = False
        if begun is not None:
            late = self._beat_at(reading, place.seconds, place.tempo) - begun
            late *= 60.0 / (reading.bpm or place.tempo)
            if -max(0.0, self._offset) - _SOON_SECONDS <= late < _LATEST_START:
                beat, frame, self._catching = begun, FRAME_NOW, True
                if late < 0.0:
                    frame = place.frame - round(late * self._transport.samplerate)
        self._say(Op.ROLL, place, [Command(Op.BEAT, value=beat), Command(Op.ROLL)], frame)

    def _correct(self, reading: Reading, place: Place) -> None:
        """Bring the transport nearer to the source's beat, where they differ."""
        frame, seconds = self._ahead(place)
        if reading.rolling is False:
            beat = self._beat_at(reading, seconds, place.tempo)
            if not place.rolling and abs(beat - place.beat) > 1e-6:
                self._say(Op.BEAT, place, [Command(Op.BEAT, value=beat)], FRAME_NOW)
        elif place.rolling:
            error = self._beat_at(reading, place.seconds, place.tempo) - place.beat
            soon = abs(error) > _SOON_BEATS
            self._catching = self._catching and soon
            if not soon and (
                place.frame < self._calm or abs(error) < _SAME_SECONDS * place.tempo / 60
            ):
                return
            beat = self._beat_at(reading, seconds, place.tempo)
            if self._catching:
                beat += max(-_BITE_BEATS, min(_BITE_BEATS, error)) - error
            self._say(Op.BEAT, place, [Command(Op.BEAT, value=beat)], frame)
            self._calm = frame + round(_PAUSE_SECONDS * self._transport.samplerate)
