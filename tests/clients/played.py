"""A real server for a client to play on, and what it heard: each hit at its sample."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ghostnote.inference.model_file import find_model, load_model
from ghostnote.osc_server.commands import Command, Op
from ghostnote.osc_server.session_log import LogCommand, read_log
from tests.osc_server.live import Client, client_of, serving
from tests.parts import stolen

CLIENTS = Path(__file__).parents[2] / "clients"


@dataclass(frozen=True)
class Hit:
    """A hit as the engine took it."""

    seconds: float
    role: str
    velocity: float


@dataclass
class Played:
    """A server while it runs, and after that what was played on it.

    `commands` are the engine's, with the second of the session at which each acted.
    """

    port: int
    client: Client
    commands: list[tuple[float, Command]] = field(default_factory=list)
    late: int = 0
    lost: float = 0.0  # processors that the machine's host kept for others meanwhile

    def status(self) -> tuple[object, ...]:
        """The arguments of /ghost/status.reply now."""
        self.client.send("/ghost/status")
        return self.client.expect("/ghost/status.reply")[1:]

    def hits(self) -> list[Hit]:
        """All hits in the order of their samples."""
        roles = load_model(find_model(None)).spec.roles
        return [
            Hit(seconds, roles[command.index], command.value)
            for seconds, command in self.commands
            if command.op is Op.TRIG
        ]

    def of(self, op: Op) -> list[float]:
        """The values of all commands of a kind."""
        return [command.value for _, command in self.commands if command.op is op]


@contextmanager
def server(folder: Path, *arguments: str) -> Iterator[Played]:
    """Runs `ghostnote serve` on the null sink; what was played is there after leaving."""
    before, began = stolen(), time.monotonic()
    log = folder / "session.log"
    # Files that a client asks for go nowhere else.
    extra = ["--sink", "null", "--log", str(log), "--recordings", str(folder), *arguments]
    with serving(*extra) as process, client_of(process.port) as client:
        played = Played(process.port, client)
        yield played
        played.lost = (stolen() - before) / (time.monotonic() - began)
        late = played.status()[5]
        assert isinstance(late, int)
        played.late = late
        assert process.end() == 0
        assert "Traceback" not in process.log
    rate = load_model(find_model(None)).spec.samplerate
    _, entries = read_log(log)
    for entry in entries:
        if isinstance(entry, LogCommand):
            played.commands.append((entry.frame / rate, entry.command))
