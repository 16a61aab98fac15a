"""MIDI clock as a source of the beat: 24 ticks a quarter, start, stop, continue, song position.

Threads: `MidiClock` is pure, for one thread at a time. `MidiSource.start` and `stop` are for one
thread; messages come on the MIDI input's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from .beat_filter import BeatFilter
from .midi_in import Message, MidiInput
from .sync import Heard, Reading

TICKS = 24  # a quarter
_TICKS_A_SIXTEENTH = 6
_GAP_SECONDS = 0.5
_GAP_TICKS = 4.0

_SONG_POSITION, _TICK, _START, _CONTINUE, _STOP = 0xF2, 0xF8, 0xFA, 0xFB, 0xFC

log = logging.getLogger("ghostnote.sync")


class MidiClock:
    """Makes readings of MIDI's real-time messages.

    After a start the first tick is beat 0; after a continue it is where the song stands. Ticks give
    the tempo while the song stands, too. A clock that was gone for half a second and is back (a
    cable) is taken to have gone on meanwhile. `grain`: messages arrive in steps of so many seconds.
    """

    def __init__(self, grain: float = 0.0) -> None:
        self._filter = BeatFilter(grain)
        self._ticks = 0  # since the first one
        self._song = 0  # the song's tick that the next one is
        self._rolling = False
        self._came = 0.0

    def take(self, message: Message, seconds: float) -> Reading | None:
        """Take a message's bytes and arrival in seconds; return a reading if it makes one."""
        status = message[0] if message else 0
        if status == _TICK:
            return self._tick(seconds)
        if status == _SONG_POSITION and len(message) == 3:
            if not self._rolling:
                self._song = _TICKS_A_SIXTEENTH * (message[1] + 128 * message[2])
        elif status == _START:
            self._song, self._rolling = 0, False
            reading = self._standing(seconds)
            self._rolling = True
            return reading
        elif status == _CONTINUE:
            self._rolling = True
            return None
        elif status == _STOP:
            self._rolling = False
        else:
            return None
        return self._standing(seconds)

    def _standing(self, seconds: float) -> Reading:
        return Reading(seconds, self._song / TICKS, self._filter.bpm, False)

    def _tick(self, seconds: float) -> Reading:
        gap, self._came = seconds - self._came, seconds
        if self._ticks:
            period = self._filter.period / TICKS
            if gap > max(_GAP_SECONDS, _GAP_TICKS * period):
                lost = round(gap / period) - 1
                self._ticks += lost
                self._song += lost if self._rolling else 0
        self._ticks += 1
        self._filter.update(self._ticks / TICKS, seconds)
        if not self._rolling:
            return self._standing(seconds)
        reading = Reading(self._filter.seconds, self._song / TICKS, self._filter.bpm, True)
        self._song += 1
        return reading


class MidiSource:
    """The clock that comes in at a MIDI input; `open_input` gives the one to listen to."""

    at_loudspeaker = True

    def __init__(self, open_input: Callable[[], MidiInput]) -> None:
        self._open_input = open_input
        self._input: MidiInput | None = None
        self._clock: MidiClock | None = None
        self._heard: Heard | None = None

    def start(self, heard: Heard) -> None:
        """Begin to listen. Raises GhostnoteError where there is no such port, or no MIDI."""
        self._heard = heard
        self._input = self._open_input()
        self._clock = MidiClock(self._input.grain)
        self._input.listeners.append(self._take)
        log.info("sync: MIDI clock from %s", self._input.port_name)

    def stop(self) -> None:
        """Listen no more; the input stays open, for its notes."""
        if self._input is not None:
            self._input.listeners.remove(self._take)

    def _take(self, message: Message, seconds: float) -> None:
        assert self._clock and self._heard  # as long as it listens
        reading = self._clock.take(message, seconds)
        if reading is not None:
            self._heard(reading)
