"""The engine as the sync sees it: where the transport is, and when that is heard.

Threads: all of it may be called from any thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .clock import AudioClock, OfflineClock
from .commands import Command
from .engine import Engine
from .native import monotonic_ns
from .sync import Place

_LEAD_SECONDS = 0.01  # for a thread that is kept waiting between looking and telling


class EngineTransport:
    """An engine and its clock; offline it is now what the engine makes now.

    `output_seconds` is asked each time, as sinks come and go; and so is `burst_seconds`, how much
    of sound the sink may take at once.
    """

    def __init__(
        self,
        engine: Engine,
        clock: AudioClock | OfflineClock,
        burst_seconds: Callable[[], float],
        output_seconds: Callable[[], float],
    ) -> None:
        self._engine, self._clock = engine, clock
        self._burst, self._output = burst_seconds, output_seconds
        self.samplerate = float(engine.spec.samplerate)

    @property
    def lead_frames(self) -> int:
        """How far ahead of the present frame commands must be, so that they come in time."""
        return round((_LEAD_SECONDS + self._burst()) * self.samplerate)

    @property
    def output_seconds(self) -> float:
        """From the sink to the loudspeaker."""
        return self._output()

    def now(self) -> Place:
        """Return where the transport is; frame and beat belong together to a hop."""
        engine = self._engine
        self._clock.follow(engine.ring)
        frame = engine.frame
        while True:
            beat, tempo, rolling = engine.beat, engine.tempo, engine.rolling
            after = engine.frame
            if after == frame:
                return Place(frame, self._clock.monotonic_at(frame), beat, tempo, rolling)
            frame = after

    def monotonic(self) -> float:
        """Return the present time in seconds."""
        if isinstance(self._clock, OfflineClock):
            return self._clock.monotonic_at(self._engine.frame)
        return float(monotonic_ns() * 1e-9)

    def monotonic_at(self, unix: float) -> float:
        """Return the monotonic time of a time of day."""
        return self.monotonic() + unix - time.time()

    def submit(self, commands: Sequence[Command], frame: int) -> bool:
        """Hand commands to the engine, also where clients have scheduled all that they may."""
        return self._engine.submit(commands, frame, own=True)
