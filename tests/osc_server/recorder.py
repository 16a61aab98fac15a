"""Stand-ins for what lies outside the OSC side: an engine that notes, a client that keeps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.commands import FRAME_NOW, Command, Op
from ghostnote.osc_server.control import (
    Ended,
    Meters,
    ModelInfo,
    Progress,
    Recording,
    StatusReply,
    Transport,
    VersionReply,
)
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import Value, encode, encode_bundle
from ghostnote.osc_server.osc import OscMessage, by_time, ntp_from_unix, parse_packet

RATE = 24000
ROLES = ("kick", "snare", "hat")
KITS = ("dusty", "vinyl", "tape")


class Clock:
    """The dispatcher's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class RecordingControl:
    """The engine's and the server's side of the OSC interface: notes what it is told.

    Its time is `now`, unix seconds, and moves only when a test moves it.
    """

    max_voices = 4
    outputs = 2

    def __init__(self, voices: int = 2) -> None:
        self.there = set(range(voices))
        self.leaving: set[int] = set()  # freed, and not yet silent
        self.roles: tuple[str, ...] = ROLES
        self.now = 1_800_000_000.0
        self.full = False
        self.batches: list[tuple[int, list[Command]]] = []
        self.states = ["idle"] * self.max_voices
        self.kit_names: list[tuple[str, ...]] = [KITS] * self.max_voices
        self.model_names = ["default"] * self.max_voices
        self.loading = threading.Event()
        self.loading.set()
        self.recording_failed: Callable[[str], None] | None = None
        self.recorded: list[tuple[object, ...]] = []
        self.voices_recorded: set[int] = set()
        self.primed: list[tuple[int, str, tuple[float, ...]]] = []
        self.followed: list[str] = []
        self.beats: list[tuple[float, float | None]] = []
        self.offset = 0.0
        self.rolling, self.beat, self.tempo = False, 0.0, 120.0
        self.error_ms: float | None = None
        self.levels = [(0.5, 0.25)] * self.max_voices
        self.reprime_counts = [(0, "")] * self.max_voices
        self.rendering: tuple[str, Progress, Ended] | None = None
        self.cancelled: list[int] = []
        self.has_quit = False

    @property
    def voices(self) -> int:
        return len(self.there)

    def exists(self, voice: int) -> bool:
        return voice in self.there or voice in self.leaving

    @property
    def commands(self) -> list[Command]:
        return [command for _, batch in self.batches for command in batch]

    def kits(self, voice: int) -> tuple[str, ...]:
        return self.kit_names[voice]

    def submit(self, commands: Sequence[Command], frame: int) -> bool:
        if not self.full:
            self.batches.append((frame, list(commands)))
            for command in commands:
                if command.op is Op.VOICE_FREE and command.voice in self.there:
                    self.there.remove(command.voice)
                    self.leaving.add(command.voice)
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
        if name not in (*self.models(), "kit"):
            raise GhostnoteError(f"no model {name!r}")
        return ModelInfo(name, RATE, 2047, ROLES, ("tape", "new") if name == "other" else KITS)

    def load_model(self, name: str, voices: Sequence[int]) -> ModelInfo:
        assert self.loading.wait(10)
        info = self.model_info(name)
        for voice in voices:
            self.kit_names[voice], self.model_names[voice] = info.kits, name
        return info

    def new_voice(self, model: str, voice: int) -> None:
        if self.exists(voice):  # it was told to go at a time that has not come
            raise GhostnoteError(f"voice {voice + 1} exists")
        info = self.model_info(model or "default")
        self.kit_names[voice], self.model_names[voice] = info.kits, info.name
        self.there.add(voice)
        self.batches.append((FRAME_NOW, [Command(Op.VOICE_NEW, voice)]))

    def voice_model(self, voice: int) -> str:
        return self.model_names[voice]

    def transport(self) -> Transport:
        return Transport(self.rolling, self.beat, self.tempo, self.error_ms)

    def meters(self) -> Meters:
        return Meters(self.levels, (0.75, 0.5, 0.25, 0.125), 3)

    def reprimes(self, voice: int) -> tuple[int, str]:
        return self.reprime_counts[voice]

    def follow(self, source: str) -> None:
        if source == "link":
            raise GhostnoteError("Ableton Link is not installed: pip install ghostnote[link]")
        if source != self.following():
            self.followed.append(source)

    def following(self) -> str:
        return self.followed[-1] if self.followed else "internal"

    def follow_later(self, milliseconds: float) -> None:
        self.offset = milliseconds

    def owns_tempo(self) -> bool:
        return self.followed[-1:] in (["jack"], ["midi"])

    def owns_rolling(self) -> bool:
        return self.owns_tempo()

    def follow_beat(self, beat: float, unix_seconds: float | None) -> None:
        self.beats.append((beat, unix_seconds))

    def prime(self, voice: int, path: str, weights: Sequence[float]) -> None:
        if ".." in path:
            raise GhostnoteError("file name: '..' is not allowed")
        self.primed.append((voice, path, tuple(weights)))

    def start_recording(
        self, path: str, voice: int | None, form: str, failed: Callable[[str], None]
    ) -> str:
        self.recording_failed = failed
        self.recorded.append((path, voice, form))
        return f"/recordings/{path}"

    def is_recording(self, voice: int) -> bool:
        return voice in self.voices_recorded

    def stop_recording(self, voice: int | None) -> Recording:
        self.recorded.append(("stop", voice))
        return Recording("/recordings/take1.wav", 3_000_000_000)

    def grab(self, bars: float, path: str, voice: int | None, form: str) -> Recording:
        self.recorded.append((bars, path, voice, form))
        return Recording(f"/recordings/{path or 'grab-1'}.wav", 96000)

    def render(self, request: str, progress: Progress, ended: Ended) -> int:
        self.rendering = (request, progress, ended)
        progress(7, 0.0)
        ended(7, "/renders/manifest.json", "")
        return 7

    def cancel_render(self, job: int) -> None:
        self.cancelled.append(job)

    def quit(self) -> None:
        self.has_quit = True


def bundle(control: RecordingControl, ahead: float, *messages: bytes) -> bytes:
    """Return a bundle that is due so many seconds ahead of the engine."""
    return encode_bundle(messages, ntp_from_unix(control.now + ahead))


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

    def slow(self, address: str, *values: Value) -> list[tuple[Value, ...]]:
        """Send a message; return the answers that came until all slow work was done."""
        answers = self.say(address, *values)
        done = threading.Event()
        assert self.dispatcher.session.worker.submit(done.set)
        assert done.wait(30)
        return answers + self.take()

    def value(self, address: str) -> tuple[Value, ...]:
        """Return what an address reads as."""
        ((told, *values),) = self.say("/ghost/get", address)
        assert told == address
        return tuple(values)

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


def weights(control: RecordingControl, voice: int = 0) -> list[float]:
    """Return the kit weights that the engine was told last."""
    last = {c.index: c.value for c in control.commands if c.op is Op.WEIGHT and c.voice == voice}
    return [last[kit] for kit in sorted(last)]
