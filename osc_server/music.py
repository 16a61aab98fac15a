"""What a recording knows of the music: where its frames come from, its tempo, its bar lines.

Plain values; any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .ring import TapRing


class Music(NamedTuple):
    """The engine's time at one moment.

    `bars` are (engine frame, number) of bar lines since the transport began to roll, oldest first.
    """

    tempo: float  # beats a minute
    beats_per_bar: int
    rolling: bool
    bars: tuple[tuple[int, int], ...]


class Source(NamedTuple):
    """Something that can be recorded: the master, or one voice.

    `frame_of` tells the tap's frame at which an engine frame sounds. The tap is its own from the
    frame `born` on, and before the frame that `ended` tells once it is there no more.
    """

    tap: TapRing
    samplerate: int
    frame_of: Callable[[int], int]
    born: int = 0
    ended: Callable[[], int | None] = lambda: None
