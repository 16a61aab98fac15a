"""Priming: a stream that goes on from a sound file as if it had played it.

The end of the file, as much as the model can remember, is fed to a fresh stream; the engine then
lets a voice take that stream's past. Threads: pure functions, any thread; they take time and belong
on the worker. A replay calls the same functions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ghostnote.kernels import levels as amplitudes
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State

from .paths import PathError, resolve_inside

LEVELS = npt.NDArray[np.int64]

MAX_BYTES = 100 * 1024 * 1024
MAX_SECONDS = 60.0
MAX_FED_SECONDS = 2.0
MAX_CHANNELS = 64
MAX_NAME = 255
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG")
EDGE_SECONDS = 0.05  # more is read in front, for the resampler to see


class Primed(NamedTuple):
    """A stream of one lane that stands at a hop boundary, and the hash of the file it has heard.

    The file's name, this hash and the kit weights are what a session log must tell, to prime again.
    """

    state: State
    sha256: str


class Sound(NamedTuple):
    """The end of a sound file: mono, float32 [n], at `samplerate` Hz; `sha256` is the file's."""

    samples: npt.NDArray[np.float32]
    samplerate: int
    sha256: str


def prime(packed: Packed, root: Path, name: str, kit: Sequence[float]) -> Primed:
    """Make a stream that has just played the end of the sound file `name` below `root`.

    Raises
    ------
    GhostnoteError
        If the name is not allowed, or the file is missing, too large or not a sound file.
    """
    try:
        if len(name) > MAX_NAME:
            raise PathError(f"file name {name[:80]!r}...: is too long (at most {MAX_NAME})")
        path = resolve_inside(root, name)
    except PathError as error:
        raise GhostnoteError(str(error)) from None
    return _primed(packed, path, kit)


def primed_state(packed: Packed, path: Path, kit: Sequence[float]) -> State:
    """Return a stream that has just played the end of a sound file under kit weights.

    Raises GhostnoteError as `prime` does.
    """
    return _primed(packed, path, kit).state


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a sound file in hexadecimal; raises GhostnoteError as `prime` does."""
    return read_end(path, 0.0).sha256


def _primed(packed: Packed, path: Path, kit: Sequence[float]) -> Primed:
    spec = packed.spec
    sound = read_end(path, fed_samples(spec) / spec.samplerate + EDGE_SECONDS)
    state = State(packed)
    if spec.kits:
        state.set_kit(kit)
        state.reset()  # silence under this kit
    state.teacher_force(to_levels(spec, sound))
    return Primed(state, sound.sha256)


def read_end(path: Path, seconds: float) -> Sound:
    """Return the last `seconds` of a sound file, or all of a shorter one; NaN becomes silence.

    Nothing is decoded before the header has been checked, and never more than was asked for.

    Raises
    ------
    GhostnoteError
        If it is missing, empty, too large, or no WAV, FLAC or OGG file.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise GhostnoteError(f"{path}: is no file")
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size > MAX_BYTES:
                raise GhostnoteError(f"{path}: {size} bytes; at most {MAX_BYTES} are taken")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            samples, samplerate = _decode(path, file, seconds)
    except OSError as error:
        raise GhostnoteError(f"{path}: cannot be read: {error.strerror}") from None
    return Sound(samples, samplerate, digest)


def _decode(path: Path, file: BinaryIO, seconds: float) -> tuple[npt.NDArray[np.float32], int]:
    try:
        with soundfile.SoundFile(file) as sound:
            rate, channels, frames = sound.samplerate, sound.channels, sound.frames
            if sound.format not in FORMATS:
                raise GhostnoteError(f"{path}: is {sound.format}; WAV, FLAC and OGG are taken")
            if not LOWEST_RATE <= rate <= HIGHEST_RATE or not 1 <= channels <= MAX_CHANNELS:
                raise GhostnoteError(f"{path}: {rate} Hz, {channels} channels: is not taken")
            if not 0 < frames <= MAX_SECONDS * rate:
                raise GhostnoteError(
                    f"{path}: {frames / rate:.1f} s; must be above 0, up to {MAX_SECONDS:g} s"
                )
            wanted = min(frames, math.ceil(seconds * rate))
            sound.seek(frames - wanted)
            heard = sound.read(wanted, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        reason = str(error).rpartition(": ")[2].strip().rstrip(".")
        raise GhostnoteError(f"{path}: is no sound file that can be read: {reason}") from None
    mono = np.nan_to_num(heard.astype(np.float64), posinf=1.0, neginf=-1.0).mean(axis=1)
    return mono.astype(np.float32), rate


def to_levels(spec: ModelSpec, sound: Sound) -> LEVELS:
    """Return the end of a sound as levels of a model, whole hops, at most MAX_FED_SECONDS.

    Where the sound is shorter than the model remembers, silence comes first.
    """
    samples = sound.samples
    if sound.samplerate != spec.samplerate:
        samples = soxr.resample(samples, sound.samplerate, spec.samplerate, quality="VHQ")
    count = fed_samples(spec)
    fed = np.zeros(count, np.float32)
    end = samples[-count:]
    fed[count - len(end) :] = end
    return amplitudes.of_sound(spec, fed)


def fed_samples(spec: ModelSpec) -> int:
    """Return how many samples a stream is fed: twice the receptive field, in whole hops."""
    most = max(1, int(MAX_FED_SECONDS * spec.samplerate) // spec.hop)
    return min(math.ceil(2 * spec.receptive_field / spec.hop), most) * spec.hop
