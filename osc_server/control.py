"""What the OSC side needs from the rest of the server: one interface, for `EngineControl`.

Threads: the dispatcher calls the methods up to `quit` from any thread, with its lock held: they must
return at once and must not call the dispatcher. The worker thread calls the others, one at a time
and without the lock: they may take long. Any of them may raise GhostnoteError, whose text then goes
to the client in `/fail`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

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


@dataclass(frozen=True)
class Transport:
    """Where the music is."""

    rolling: bool
    beat: float
    tempo: float
    """Beats a minute."""
    error_ms: float | None = None
    """How far the beat is from what its source says; None: it has no other source."""


@dataclass(frozen=True)
class Meters:
    """Levels of the last moment, linear, 1 being full scale."""

    voices: Sequence[tuple[float, float]]
    """Peak and rms of every voice, by its number."""
    master: tuple[float, float, float, float]
    """Peaks of left and right, rms of left and right."""
    clips: int
    """Samples that were too loud since the start."""


Progress: TypeAlias = Callable[[int, float], None]
"""Called with a job's number and how much of it is done, 0 to 1."""
Ended: TypeAlias = Callable[[int, str, str], None]
"""Called once with a job's number, its manifest's path, and why it failed (empty: it has not)."""


class Control(Protocol):
    """The engine and the server, as the OSC side sees them. Voices count from 0 here."""

    @property
    def max_voices(self) -> int:
        """How many voices there may be; constant."""

    @property
    def outputs(self) -> int:
        """How many pairs of outputs there are; constant."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the drum roles, in the order of the engine's role numbers; constant."""

    def exists(self, voice: int) -> bool:
        """Tell whether the engine has a voice of this number, a freed one that fades out too."""

    def kits(self, voice: int) -> tuple[str, ...]:
        """Return the kit names of the model that `voice` plays (empty: it has none)."""

    def submit(self, commands: Sequence[Command], frame: int) -> bool:
        """Hand `commands` to the engine as one batch due at `frame` (or FRAME_NOW).

        All or none; False where the queue has no room for all.
        """

    def frame_at(self, unix_seconds: float) -> int:
        """Return the frame, at the model's rate, for what is to sound at `unix_seconds`."""

    def earliest(self) -> float:
        """Return the earliest unix time in seconds that a command given now can still meet."""

    def status(self) -> StatusReply:
        """Return the engine's figures; the dispatcher adds its own late and dropped ones."""

    def version(self) -> VersionReply:
        """Return what this server is."""

    def voice_state(self, voice: int) -> str:
        """Return idle, playing, holding or starved."""

    def voice_model(self, voice: int) -> str:
        """Return the name of the model that `voice` plays, as `load_model` takes it."""

    def transport(self) -> Transport:
        """Return where the music is."""

    def meters(self) -> Meters:
        """Return the levels."""

    def reprimes(self, voice: int) -> tuple[int, str]:
        """Return how often the watchdog has begun `voice` anew, and why the last time."""

    def owns_tempo(self) -> bool:
        """Tell whether the tempo comes from the source of time, so that a client's is refused."""

    def owns_rolling(self) -> bool:
        """Tell whether the source of time starts and stops, so that clients cannot."""

    def following(self) -> str:
        """Return the source of time."""

    def follow_later(self, milliseconds: float) -> None:
        """Play so much later than the source of time says."""

    def follow_beat(self, beat: float, unix_seconds: float | None) -> None:
        """Take the beat at a time (None: now), as the source osc tells it."""

    def quit(self) -> None:
        """Ask the server to end; returns at once."""

    def models(self) -> tuple[str, ...]:
        """Return the names that `load_model` knows. May take long."""

    def model_info(self, name: str) -> ModelInfo:
        """Return what the model `name` is. May take long."""

    def load_model(self, name: str, voices: Sequence[int]) -> ModelInfo:
        """Load a model and have it played by `voices`. May take long.

        When it returns, `kits` tells the new kits and the engine's MODEL commands are submitted.
        """

    def new_voice(self, model: str, voice: int) -> None:
        """Make `voice` exist, playing a model (empty: the server's own). May take long.

        It waits a moment for an earlier voice of the number to fade out. When it returns, `kits`
        tells its kits and the engine's VOICE_NEW command is submitted.
        """

    def prime(self, voice: int, path: str, weights: Sequence[float]) -> None:
        """Let `voice` go on from the end of a sound file below the primes' root. May take long.

        `weights` are those of its kits, with which the file is heard.
        """

    def follow(self, source: str) -> None:
        """Take the time from internal, osc, jack, midi or link. May take long."""

    def start_recording(
        self, path: str, voice: int | None, form: str, failed: Callable[[str], None]
    ) -> str:
        """Begin to record a voice (None: the master) below the recordings' root. May take long.

        `form` is float or 24. `failed(reason)` may be called later, once, from any thread, if
        writing fails. Returns the path as written.
        """

    def is_recording(self, voice: int) -> bool:
        """Tell whether a voice is being recorded."""

    def stop_recording(self, voice: int | None) -> Recording:
        """Close a voice's recording (None: the master's). May take long."""

    def grab(self, bars: float, path: str, voice: int | None, form: str) -> Recording:
        """Write the last bars of a voice (None: the master) to a file. May take long.

        An empty path lets one be found below the recordings' root.
        """

    def render(self, request: str, progress: Progress, ended: Ended) -> int:
        """Begin to render what a JSON text asks for; return the number of the job.

        `progress` and `ended` are called later, from any thread.
        """

    def cancel_render(self, job: int) -> None:
        """End a job of rendering."""
