"""JACK's transport as a source of the beat: what Ardour, Hydrogen, seq24 and others share.

Threads: `start` and `stop` are for one thread; a thread of its own asks JACK fifty times a second
and hands over readings. It runs no callback: nothing of Python is on JACK's real-time threads. What
JACK tells holds for the beginning of its present cycle, whose time it tells too, so that it does not
matter when we ask, nor for how long Python was held up.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections import deque
from typing import Any

from ghostnote.kernels.errors import GhostnoteError

from .native import monotonic_ns
from .sink import SinkError
from .sink_jack import load_jack
from .sync import Heard, Reading

POLL_SECONDS = 0.02
RETRY_SECONDS = 1.0
GONE_SECONDS = 1.0  # JACK's time stands still for so long: its server is gone
_HELD_UP_SECONDS = 2e-4  # between two looks at clocks: then they are not compared
_TEMPO_SECONDS = 0.25  # over which the tempo of unusual beats is measured

log = logging.getLogger("ghostnote.sync")


class JackTransport:
    """The transport of the JACK server that runs, through a client of our own."""

    at_loudspeaker = False

    def __init__(self, client_name: str = "ghostnote-sync") -> None:
        self._client_name = client_name
        self._client: Any = None
        self._thread: threading.Thread | None = None
        self._end = threading.Event()
        self._tempo = _MeterTempo()

    def start(self, heard: Heard) -> None:
        """Begin to hand over readings.

        Raises
        ------
        GhostnoteError
            If JACK-Client or libjack is not installed, or no server answers.
        """
        try:
            self._jack = load_jack()
            self._jack_time = ctypes.CDLL(self._jack._libname).jack_get_time
            self._jack_time.restype = ctypes.c_uint64
            self._open()
        except SinkError as error:
            raise GhostnoteError(f"sync source jack: {error}") from None
        self._thread = threading.Thread(
            target=self._run, args=(heard,), name="ghostnote-sync-jack", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Leave the server."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._close()

    def _open(self) -> None:
        try:
            self._client = self._jack.Client(self._client_name, no_start_server=True)
        except self._jack.JackError:
            raise SinkError(
                "no JACK server answers: start jackd (or QjackCtl, or PipeWire's JACK)"
            ) from None
        self._used, self._changed = -1, _seconds()

    def _close(self) -> None:
        if self._client is not None:
            self._client.close(ignore_errors=True)
            self._client = None

    def _run(self, heard: Heard) -> None:
        while not self._end.wait(POLL_SECONDS):
            reading = self._read()
            if reading is not None:
                heard(reading)
            elif self._client is None and not self._end.wait(RETRY_SECONDS):
                self._return()

    def _return(self) -> None:
        try:
            self._open()
        except SinkError:
            return
        log.info("sync: the JACK server is back; its transport is followed again")

    def _read(self) -> Reading | None:
        """Return what JACK tells; None if that is old, or nothing is told any more."""
        if self._client is None:
            return None
        state, position = self._client.transport_query_struct()
        # JACK's clock is another than ours: on Linux the raw one, which NTP does not set right and
        # which is a quarter of a second off after some hours.
        before = _seconds()
        ours = before - self._jack_time() * 1e-6
        now = _seconds()
        if position.usecs == self._used:
            if now - self._changed > GONE_SECONDS:
                log.warning("sync: the JACK server is gone; the transport goes on by itself")
                self._close()
            return None
        if now - before > _HELD_UP_SECONDS:
            return None
        self._used, self._changed = position.usecs, now
        rolling = state == self._jack._lib.JackTransportRolling
        return self._reading(position.usecs * 1e-6 + ours, rolling, position)

    def _reading(self, seconds: float, rolling: bool, position: Any) -> Reading:
        lib, rate = self._jack._lib, position.frame_rate
        sane = position.ticks_per_beat > 0.0 and 0.0 < position.beats_per_minute < 1e6
        if not (position.valid & lib.JackPositionBBT and sane):
            return Reading(seconds, None, None, rolling, None, position.frame / rate)
        told = position.beats_per_minute
        beats = (position.bar - 1) * position.beats_per_bar + position.beat - 1
        beats += position.tick / position.ticks_per_beat
        # A beat of JACK's is the bar's unit; ours is a quarter.
        quarters = 4.0 / position.beat_type if position.beat_type > 0 else 1.0
        bpm = told
        if quarters != 1.0:
            bpm = self._tempo.of(beats * quarters, seconds if rolling else None, told, quarters)
        beat = beats * quarters
        if position.valid & lib.JackBBTFrameOffset:
            beat += position.bbt_offset / rate * bpm / 60.0
        return Reading(seconds, beat, bpm, rolling, position.beats_per_bar * quarters)


class _MeterTempo:
    """Finds out what a host calls a beat when bars are not counted in quarters.

    JACK does not say whether its beats per minute are quarters or the bar's units, and hosts differ.
    Which of the two it is shows in how fast the beat moves.
    """

    def __init__(self) -> None:
        self._past: deque[tuple[float, float]] = deque()
        self._units = False

    def of(self, beat: float, seconds: float | None, told: float, quarters: float) -> float:
        """Return quarters per minute; `seconds` is None while the transport stands."""
        past = self._past
        if seconds is None or (past and beat < past[-1][0]):
            past.clear()
        if seconds is not None:
            past.append((beat, seconds))
            while past[-1][1] - past[0][1] > 2 * _TEMPO_SECONDS:
                past.popleft()
            took = past[-1][1] - past[0][1]
            if took >= _TEMPO_SECONDS:
                moves = (past[-1][0] - past[0][0]) / took * 60.0
                self._units = abs(moves - told * quarters) < abs(moves - told)
        return told * quarters if self._units else told


def _seconds() -> float:
    return float(monotonic_ns() * 1e-9)
