"""Stand-ins for what lies outside the OSC side: an engine that notes, a client that keeps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.commands import Command
from ghostnote.osc_server.control import ModelInfo, Recording, StatusReply, VersionReply
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import Value, encode
from ghostnote.osc_server.osc import OscMessage, by_time, parse_packet

RATE = 24000
ROLES = ("kick", "snare", "hat")
KITS = ("dusty", "vinyl", "tape")


class RecordingControl:
    """The engine's and the server's side of the OSC interface: notes what it is told.

    Its time is `now`, unix seconds, and moves only when a test moves it.
    """

    def __init__(self, voices: int = 2) -> None:
        self.voices = voices
        self.roles: tuple[str, ...] = ROLES
        self.now = 1_800_000_000.0
        self.full = False
        self.batches: list[tuple[int, list[Command]]] = []
        self.states = ["idle"] * voices
        self.kit_names: list[tuple[str, ...]] = [KITS] * voices
        self.loading = threading.Event()
        self.loading.set()
        self.recording_failed: Callable[[str], None] | None = None
        self.has_quit = False

    @property
    def commands(self) -> list[Command]:
        return [command for _, batch in self.batches for command in batch]

    def kits(self, voice: int) -> tuple[str, ...]:
        return self.kit_names[voice]

    def submit(self, commands: Sequence[Command], frame: int) -> bool:
        if not self.full:
            self.batches.append((frame, list(commands)))
        return not self.full

    def frame_at(self, unix_seconds: float) -> int:
        return round((unix_seconds - 1_800_000_000.0) * RATE)

    def earliest(self) -> float:
        return self.now

    def status(self) -> StatusReply:
        return StatusReply(self.voices, 1, 12.5, 50.0, 3, 4, 5, 48000.0, 48000.25, 8.5, 0.75)

    def version(self) -> VersionReply:
        return VersionReply("ghostnote", 0, 1, 0, 1, "abc1234")

    def voice_state(self, voice: int) -> str:
        return self.states[voice]

    def models(self) -> tuple[str, ...]:
        return ("default", "other")

    def model_info(self, name: str) -> ModelInfo:
        if name not in self.models():
            raise GhostnoteError(f"no model {name!r}")
        return ModelInfo(name, RATE, 2047, ROLES, KITS)

    def load_model(self, name: str, voice: int | None) -> ModelInfo:
        assert self.loading.wait(10)
        info = self.model_info(name)
        kits = ("tape", "new") if name == "other" else KITS
        for one in range(self.voices) if voice is None else (voice,):
            self.kit_names[one] = kits
        return ModelInfo(name, RATE, info.receptive, ROLES, kits)

    def start_recording(self, path: str, failed: Callable[[str], None]) -> str:
        self.recording_failed = failed
        return f"/recordings/{path}"

    def stop_recording(self) -> Recording:
        return Recording("/recordings/take1.wav", 3_000_000_000)

    def quit(self) -> None:
        self.has_quit = True


class Client:
    """One OSC client: sends through the dispatcher, keeps what comes back as messages."""

    def __init__(self, dispatcher: Dispatcher, name: str = "client a", local: bool = True) -> None:
        self.dispatcher = dispatcher
        self.name = name
        self.is_local = local
        self.datagrams: list[bytes] = []

    def send(self, datagram: bytes) -> None:
        """Take an answer (this is the Peer's side)."""
        self.datagrams.append(datagram)

    def say(self, address: str, *values: Value, tags: str = "") -> list[tuple[Value, ...]]:
        """Send a message; return the answers that came at once, as (address, arguments...)."""
        self.take()
        self.dispatcher.receive(encode(address, *values, tags=tags), self)
        return self.take()

    def take(self) -> list[tuple[Value, ...]]:
        """Return what has come since the last call."""
        datagrams, self.datagrams = self.datagrams, []
        packets = map(parse_packet, datagrams)
        return [flat(message) for p in packets for _, group in by_time(p) for message in group]


def flat(message: OscMessage) -> tuple[Value, ...]:
    """Return a message's address and arguments in one tuple."""
    values = [arg for arg in message.args if isinstance(arg, int | float | str)]
    assert len(values) == len(message.args)
    return (message.address, *values)
