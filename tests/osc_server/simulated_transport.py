"""The engine's transport on simulated time: what `sync.Transport` asks for, and what is heard."""

from __future__ import annotations

from collections.abc import Sequence

from ghostnote.osc_server.commands import FRAME_NOW, Command, Op
from ghostnote.osc_server.sync import Place

HOP = 24
RATE = 24000
JUMP_BEATS, CATCH_UP = 0.1, 0.1  # as in transport.py


class SimulatedTransport:
    """Frame f leaves the sink at f / RATE; frames are made in bursts, up to `ring` seconds ahead.

    `history` holds (seconds, beat, rolling) of each hop as it leaves the sink.
    """

    samplerate = float(RATE)
    output_seconds = 0.0

    def __init__(self, ring: float = 0.012, burst: float = 0.00533) -> None:
        self.ring, self.burst = ring, burst
        self.lead_frames = round((0.01 + burst) * RATE)
        self.time = 0.0
        self.frame = 0
        self.beat, self.slew, self.tempo, self.rolling = 0.0, 0.0, 120.0, False
        self.signature = 4.0
        self.late = 0
        self.jumps = 0
        self.submitted: list[Command] = []
        self.history: list[tuple[float, float, bool]] = []
        self._queue: list[tuple[int, int, Command]] = []
        self._count = 0

    def now(self) -> Place:
        """The place of the next hop."""
        return Place(self.frame, self.frame / RATE, self.beat, self.tempo, self.rolling)

    def monotonic(self) -> float:
        """The present."""
        return self.time

    def monotonic_at(self, unix: float) -> float:
        """Both clocks are one here."""
        return unix

    def submit(self, commands: Sequence[Command], frame: int) -> bool:
        """Takes all."""
        self.submitted += commands
        for command in commands:
            self._count += 1
            due = self.frame if frame == FRAME_NOW else frame
            self._queue.append((due, self._count, command))
        self._queue.sort(key=lambda entry: entry[:2])
        return True

    def run_to(self, seconds: float) -> None:
        """Lets time pass, and the engine fill its ring."""
        self.time = max(self.time, seconds)
        bursts = int(self.time / self.burst) + 1
        while self.frame < (bursts * self.burst + self.ring) * RATE:
            self._hop()

    def _hop(self) -> None:
        while self._queue and self._queue[0][0] <= self.frame:
            due, _, command = self._queue.pop(0)
            self.late += due <= self.frame - HOP
            self._obey(command)
        self.history.append((self.frame / RATE, self.beat, self.rolling))
        if self.rolling:
            beats = self.tempo / 60 * HOP / RATE
            caught = min(CATCH_UP * beats, max(-CATCH_UP * beats, self.slew))
            self.slew -= caught
            self.beat += beats + caught
        self.frame += HOP

    def _obey(self, command: Command) -> None:
        if command.op == Op.TEMPO:
            self.tempo = command.value
        elif command.op == Op.ROLL:
            self.rolling = True
        elif command.op == Op.STOP:
            self.rolling = False
        elif command.op == Op.SIGNATURE:
            self.signature = command.value
        elif command.op == Op.BEAT:
            error = command.value - self.beat
            if not self.rolling or abs(error) > JUMP_BEATS:
                self.jumps += self.rolling
                self.beat, self.slew = command.value, 0.0
            else:
                self.slew = error
