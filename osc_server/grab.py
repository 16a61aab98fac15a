"""Grabbing the last bars: a WAV file of what has just been played, cut at the bar lines.

The tap runs at all times, so that nothing has to be started beforehand. Threads: `grab` is for the
worker, one at a time; it reads what it needs from the tap first and writes then, so that a slow
disk costs nothing but time.
"""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ghostnote.inference.manifest import part_of
from ghostnote.kernels.errors import GhostnoteError

from .music import Music, Source
from .paths import PathError
from .recorder import wav_path
from .wav import Marker, Tempo, WavWriter

FLOATS = npt.NDArray[np.float32]

MAX_BARS = 1024.0
SAME_SECONDS = 0.002  # bar lines lie at hops of the model: so far may they be off the tempo
_LONGEST = 3.0  # a bar is at most so much longer than one at the present tempo
_BLOCK = 1 << 16


class Grabbed(NamedTuple):
    """A file that was grabbed."""

    path: Path
    frames: int


class Cut(NamedTuple):
    """Frames `first` up to `end` of a tap, and the tempo at which they are just so many beats."""

    first: int
    end: int
    bpm: float


def grab(
    source: Source,
    music: Music,
    bars: float,
    root: Path,
    name: str | None = None,
    subtype: str = "FLOAT",
    now: datetime | None = None,
) -> Grabbed:
    """Write the last `bars` bars of `source` to a WAV file below `root`.

    While the transport rolls they end at the last bar line, and the file loops; else they are as
    long as so many bars would last, and end now. Without a name the file is called after the time
    `now`. No file is ever overwritten, and none is seen before it is whole.

    Raises
    ------
    GhostnoteError
        If `bars` is impossible or more than the tap holds, the name is not allowed or taken, or
        the file cannot be written.
    """
    if not 0.0 < bars <= MAX_BARS:
        raise GhostnoteError(f"bars: must be above 0, up to {MAX_BARS:g}, found {bars:g}")
    try:
        path = wav_path(root, name) if name else _free(root, now or datetime.now())
    except PathError as error:
        raise GhostnoteError(str(error)) from None
    if path.exists():
        raise GhostnoteError(f"{path} exists; choose another name")
    cut = choose_cut(source, music, bars)
    sound = _sound(source, cut, bars)
    tempo = Tempo(cut.bpm, music.beats_per_bar, loop=True)
    places = ((source.frame_of(frame) - cut.first, number + 1) for frame, number in music.bars)
    markers = [Marker(place, f"bar {number}") for place, number in places]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, source.samplerate, sound, subtype, tempo, markers)
    except FileExistsError:
        raise GhostnoteError(f"{path} exists; choose another name") from None
    except OSError as error:
        raise GhostnoteError(f"{path}: {error.strerror}; choose another place") from None
    return Grabbed(path, len(sound))


def choose_cut(source: Source, music: Music, bars: float) -> Cut:
    """Return which frames are the last `bars` bars."""
    beats = bars * music.beats_per_bar
    frames = max(1, round(beats * 60.0 / music.tempo * source.samplerate))
    lines = _lines(source, music)
    if not lines:
        return Cut(source.tap.written - frames, source.tap.written, music.tempo)
    if len(lines) <= math.ceil(bars):  # the transport has not rolled for so long
        return Cut(lines[-1] - frames, lines[-1], music.tempo)
    whole = math.floor(bars)
    line = float(lines[-1 - whole])
    if bars > whole:
        line -= (bars - whole) * (lines[-1 - whole] - lines[-2 - whole])
    between = lines[-1] - round(line)
    if abs(between - frames) <= SAME_SECONDS * source.samplerate:
        # Of the tempo's own length, so that it does not drift as a loop; begun so early that the
        # strokes on the first line are whole, and those on the last one outside.
        first = min(round(line), lines[-1] - frames)
        return Cut(first, first + frames, music.tempo)
    return Cut(round(line), lines[-1], beats * 60.0 * source.samplerate / max(1, between))


def _lines(source: Source, music: Music) -> list[int]:
    """Return the tap frames of the last bar lines that follow one another without a break."""
    if not music.rolling:
        return []
    longest = _LONGEST * music.beats_per_bar * 60.0 / music.tempo * source.samplerate
    run: list[int] = []
    place, following = source.tap.written, None
    for frame, number in reversed(music.bars):
        line = source.frame_of(frame)
        if line > place:  # not in the tap yet
            continue
        # Stopped, or led elsewhere, in between.
        if place - line > longest or following not in (None, number + 1):
            break
        run.insert(0, line)
        place, following = line, number
    return run


def _sound(source: Source, cut: Cut, bars: float) -> FLOATS:
    tap, frames = source.tap, cut.end - cut.first
    held = (cut.end - tap.oldest) / source.samplerate
    refusal = GhostnoteError(
        f"{bars:g} bars last {frames / source.samplerate:.1f} s, but only the last {held:.1f} s "
        "are held; grab fewer bars"
    )
    if cut.first < tap.oldest:
        raise refusal
    sound = np.empty((frames, tap.data.shape[1]), np.float32)
    if tap.read(cut.first, sound) < frames:
        raise refusal
    sound[: max(0, source.born - cut.first)] = 0.0  # an earlier voice of the same number
    return sound


def _free(root: Path, now: datetime) -> Path:
    """Return a path that is free, named after the time."""
    base, number = f"grab-{now:%Y%m%d-%H%M%S}", 1
    path = wav_path(root, base)
    while path.exists():
        number += 1
        path = wav_path(root, f"{base}-{number}")
    return path


def _write(
    path: Path,
    samplerate: int,
    sound: FLOATS,
    subtype: str,
    tempo: Tempo,
    markers: list[Marker],
) -> None:
    """Write a file beside its place, then give it its name; raises OSError, and leaves nothing."""
    part = part_of(path)
    try:
        with WavWriter(
            part, samplerate, sound.shape[1], subtype, exclusive=True, tempo=tempo
        ) as file:
            for at in range(0, len(sound), _BLOCK):
                file.write(sound[at : at + _BLOCK])
            file.sync()  # tells of a full disk, as closing does not
            file.close(markers)
        _name(part, path)
    finally:
        part.unlink(missing_ok=True)


def _name(part: Path, path: Path) -> None:
    """Rename, but never over another file."""
    try:
        path.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        part.rename(path)
