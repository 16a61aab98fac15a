"""What every audio sink is: the settings, the promise, the error.

A sink takes frames out of a FrameRing at its own pace. It is opened by its constructor, so that its
sample rate is known before the engine and the ring are made, and plays from `start` to `stop`.
Threads: all methods are for the thread that made the sink; the frames are taken by a thread or
callback of the sink's own, which runs no Python (but for the `file` sink, which has no deadline).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .ring import FrameRing

SINKS = ("auto", "jack", "portaudio", "null", "file:PATH")


class SinkError(Exception):
    """A sink cannot be had; the message is one line: what, where, what to do."""


@dataclass(frozen=True)
class SinkOptions:
    """Which sink, and how; None and 0 leave the choice to the device.

    `sink` is one of SINKS. `device`: for portaudio an index or part of a name; for jack a regular
    expression of the ports to connect to, or "none". `samplerate` in Hz, `blocksize` in frames.
    `frames`: the file sink ends after so many.
    """

    sink: str = "auto"
    device: str | None = None
    samplerate: int | None = None
    blocksize: int = 0
    channels: int = 2
    client_name: str = "ghostnote"
    frames: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in {name.partition(":")[0] for name in SINKS}:
            raise SinkError(f"--sink {self.sink}: unknown; use one of {', '.join(SINKS)}")
        if (self.kind == "file") != bool(self.path):
            raise SinkError(f"--sink {self.sink}: use file:PATH, with a path")
        if self.samplerate is not None and not 8000 <= self.samplerate <= 384_000:
            raise SinkError(f"--samplerate {self.samplerate}: must be 8000 to 384000 Hz")
        if not 0 <= self.blocksize <= 8192:
            raise SinkError(f"--blocksize {self.blocksize}: must be 0 (any) to 8192 frames")
        if not 1 <= self.channels <= 64:
            raise SinkError(f"channels {self.channels}: must be 1 to 64")
        if self.frames is not None and self.frames < 0:
            raise SinkError(f"frames {self.frames}: must not be negative")

    @property
    def kind(self) -> str:
        """The sink's name without its path."""
        return self.sink.partition(":")[0]

    @property
    def path(self) -> str:
        """What stands after the colon, in `file:PATH`; elsewhere empty."""
        return self.sink.partition(":")[2]


class AudioSink(Protocol):
    """Takes frames from a ring and plays, writes or drops them."""

    @property
    def name(self) -> str:
        """`jack`, `portaudio`, `null` or `file`."""

    @property
    def samplerate(self) -> int:
        """Frames per second that it takes."""

    @property
    def blocksize(self) -> int:
        """Frames that it takes at a time, or 0 when that varies."""

    @property
    def channels(self) -> int:
        """Samples in a frame."""

    @property
    def realtime(self) -> bool:
        """Whether it is paced by a clock; the file sink takes what it can get."""

    @property
    def steady(self) -> bool:
        """Whether it asks for `burst_frames` once in as much time, and never for more at once."""

    @property
    def burst_frames(self) -> int:
        """Frames it may ask for at once: fewer in the ring means underruns."""

    @property
    def latency_seconds(self) -> float:
        """From the sink to the loudspeaker, as far as the device tells."""

    def start(self, ring: FrameRing) -> None:
        """Begin to take frames; `ring` must have this sink's channels. Raises SinkError."""

    def stop(self) -> None:
        """Stop taking frames; when it returns, the ring is not touched any more."""

    def close(self) -> None:
        """Give the device back; it stops first. May be called twice."""

    def xruns(self) -> int:
        """Times the device was not served in time, by its own count."""

    def failure(self) -> str | None:
        """Why the sink plays no more (server gone, disk full), in one line; None while it does."""

    def describe(self) -> str:
        """One line for people: what, where, rate, block."""


def check_channels(ring: FrameRing, channels: int) -> None:
    """Refuse a ring that a sink cannot play."""
    if ring.channels != channels:
        raise ValueError(f"the ring has {ring.channels} channels, the sink {channels}")


def write_path(text: str) -> Path:
    """The path of `file:PATH`; its folder must exist. Raises SinkError."""
    path = Path(text).expanduser()
    if path.is_dir():
        raise SinkError(f"--sink file:{text}: is a folder; name a .wav file in it")
    if not path.parent.is_dir():
        raise SinkError(f"--sink file:{text}: no folder {path.parent}; make it first")
    return path
