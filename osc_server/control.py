"""What the OSC side needs from the rest of the server: one interface, implemented in server.py.

Threads: the dispatcher calls `submit`, `frame_at`, `earliest`, `status`, `version`, `kits`,
`voice_state` and `quit` from a receiving thread, with its lock held: they must return at once and
must not call the dispatcher. The worker thread calls `models`, `model_info`, `load_model`,
`start_recording` and `stop_recording`, one at a time: they may take long. Any of them may raise
GhostnoteError, whose text then goes to the client in `/fail`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .commands import Command


@dataclass(frozen=True)
class StatusReply:
    """The arguments of /ghost/status.reply, in their order."""

    voices: int
    active: int
    cpu_avg: float
    """Percent of one core."""
    cpu_peak: float
    xruns: int
    late: int
    """Commands and bundles that came too late for their timetag."""
    dropped: int
    """Packets, bundles and commands thrown away: malformed, or a full queue."""
    sr_nominal: float
    """Hz."""
    sr_actual: float
    latency_ms: float
    """From a command's arrival to the device."""
    fill: float
    """Frames in the ring, as a share of its target."""


@dataclass(frozen=True)
class VersionReply:
    """The arguments of /ghost/version.reply, in their order."""

    name: str
    major: int
    minor: int
    patch: int
    protocol: int
    commit: str


@dataclass(frozen=True)
class ModelInfo:
    """What a client may know of a model."""

    name: str
    samplerate: int
    receptive: int
    """Receptive field in samples."""
    roles: tuple[str, ...]
    kits: tuple[str, ...]


@dataclass(frozen=True)
class Recording:
    """A recording that has been closed."""

    path: str
    frames: int


class Control(Protocol):
    """The engine and the server, as the OSC side sees them. Voices count from 0 here."""

    @property
    def voices(self) -> int:
        """How many voices there are; constant."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the drum roles, in the order of the engine's role numbers; constant."""

    def kits(self, voice: int) -> tuple[str, ...]:
        """Return the kit names of the model that `voice` plays (empty: it has none)."""

    def submit(self, commands: Sequence[Command], frame: int) -> bool:
        """Hand `commands` to the engine as one batch due at `frame` (or FRAME_NOW).

        All or none; False where the queue has no room for all.
        """

    def frame_at(self, unix_seconds: float) -> int:
        """Return the frame, at the model's rate, that sounds at `unix_seconds`."""

    def earliest(self) -> float:
        """Return the earliest unix time in seconds that a command given now can still meet."""

    def status(self) -> StatusReply:
        """Return the engine's figures; the dispatcher adds its own late and dropped ones."""

    def version(self) -> VersionReply:
        """Return what this server is."""

    def voice_state(self, voice: int) -> str:
        """Return idle, priming, playing or starved."""

    def models(self) -> tuple[str, ...]:
        """Return the names that `load_model` knows. May take long."""

    def model_info(self, name: str) -> ModelInfo:
        """Return what the model `name` is. May take long."""

    def load_model(self, name: str, voice: int | None) -> ModelInfo:
        """Load a model and have it played by `voice` (None: by all). May take long.

        When it returns, `kits` tells the new kits and the engine's MODEL command is submitted.
        """

    def start_recording(self, path: str, failed: Callable[[str], None]) -> str:
        """Begin to record the master to `path`, below the recordings' root. May take long.

        `failed(reason)` may be called later, once, from any thread, if writing fails. Returns the
        path as written.
        """

    def stop_recording(self) -> Recording:
        """Close the recording. May take long."""

    def quit(self) -> None:
        """Ask the server to end; returns at once."""
