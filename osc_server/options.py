"""ServerOptions: all that a server is started with, visible and checked."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from ghostnote.kernels.backends import PLAYING
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import DEFAULT_PRECISION

from .sink import SinkOptions
from .table_time import SYNC_SOURCES
from .table_voice import MAX_PAIRS


@dataclass(frozen=True)
class ServerOptions:
    """Settings of `ghostnote serve`.

    Parameters
    ----------
    model : str or None
        Bundled name or path; None is the bundled default.
    sink : SinkOptions
    ring : int
        Frames kept ahead of the device; 0 takes what the sink needs and half a block more.
    voices : int
    seed : int
    bind, port : str, int
        Where OSC is received over UDP; port 0 takes a free one.
    seconds : float or None
        Ends by itself after so much sound.
    record : Path or None
        A WAV file that takes the master from the first frame on.
    log : Path or None
        A session log, for `ghostnote replay`.
    models, recordings, presets, primes : Path
        Folders that clients may load models from, record and render into, keep presets in, and
        take sounds to prime with and MIDI grooves to render from.
    demo : bool
        Plays a built-in pattern at once.
    precision : str
        In which the weights of all models are held, one of `PRECISIONS`.
    outputs : int
        Pairs of output channels, 1 to 32.
    state : Path or None
        The file in which the server's state is kept; None: it is not kept.
    resume : bool
        Begins as `state` tells.
    sync : str
        Who says where the beat is, one of `SYNC_SOURCES`.
    midi : str or None
        Part of the name of a MIDI input, for notes and clock; "virtual" makes one.
    http : bool
        Serves OSCQuery, the panel and WebSocket at the TCP port of the same number.
    backend : str
        On what the voices' samples are made: one of `PLAYING`, "cpu" or "gpu".
    """

    model: str | None = None
    sink: SinkOptions = field(default_factory=SinkOptions)
    ring: int = 0
    voices: int = 1
    seed: int = 0
    bind: str = "127.0.0.1"
    port: int = 9770
    seconds: float | None = None
    record: Path | None = None
    log: Path | None = None
    models: Path = Path("models")
    recordings: Path = Path("recordings")
    presets: Path = Path("presets")
    primes: Path = Path("primes")
    demo: bool = False
    precision: str = DEFAULT_PRECISION
    outputs: int = 1
    state: Path | None = None
    resume: bool = False
    sync: str = "internal"
    midi: str | None = None
    http: bool = True
    backend: str = "cpu"

    def __post_init__(self) -> None:
        if not 0 <= self.ring <= 65536:
            raise GhostnoteError(f"--ring {self.ring}: must be 0 (automatic) to 65536 frames")
        if not 0 <= self.port <= 65534:
            raise GhostnoteError(f"--port {self.port}: must be 0 (any free one) to 65534")
        if self.seconds is not None and not 0.0 < self.seconds <= 1e7:
            raise GhostnoteError(f"--seconds {self.seconds}: must be above 0")
        if self.sink.kind == "file" and self.seconds is None:
            raise GhostnoteError("--sink file: say how long with --seconds; a file has no clock")
        if not 1 <= self.outputs <= MAX_PAIRS:
            raise GhostnoteError(f"--outputs {self.outputs}: must be 1 to {MAX_PAIRS} pairs")
        if self.resume and self.state is None:
            raise GhostnoteError("--resume with --port 0: say from which file with --state")
        if self.sync not in SYNC_SOURCES:
            raise GhostnoteError(f"--sync {self.sync}: must be one of {', '.join(SYNC_SOURCES)}")
        if self.midi is not None and not self.midi.strip():
            raise GhostnoteError("--midi: must be part of the name of a MIDI input")
        if self.backend not in PLAYING:
            raise GhostnoteError(f"--backend {self.backend}: must be one of {', '.join(PLAYING)}")
        try:
            ipaddress.IPv4Address(self.bind)
        except ValueError:
            raise GhostnoteError(f"--bind {self.bind}: must be an IPv4 address") from None

    @property
    def open_to_network(self) -> bool:
        """Whether other machines can reach the server."""
        return not ipaddress.IPv4Address(self.bind).is_loopback
