"""`ghostnote data prepare --recordings`: a folder of sound files, cut into clips.

No hits are known here; the names of sub-folders become kits. Each file is read twice in blocks,
once to judge it and once to convert it, so that its length does not matter for memory.
Single-threaded. Files that cannot be used are listed with the reason and skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ghostnote.kernels.errors import GhostnoteError

from .config import TrainConfig
from .dataset import SILENCE_PEAK, Clip, Dataset
from .prepare import CLIP_SECONDS, Progress

FLOATS = npt.NDArray[np.float32]

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")
SHORTEST_SECONDS = 0.5
PEAK = 0.9
LOWEST_RATE, HIGHEST_RATE = 4000, 768000
HOLD_BACK_EVERY = 10
BLOCK = 1 << 18  # samples of all channels together that are in memory at a time


@dataclass(frozen=True)
class Recording:
    """A sound file that is fit for training: its sample rate (Hz) and peak after mixing to mono."""

    path: Path
    samplerate: int
    peak: float


def prepare_recordings(
    folder: Path,
    out: Path,
    samplerate: int = 24000,
    hop: int = 24,
    licence: str = "unknown",
    authors: Sequence[str] = (),
    progress: Progress | None = None,
) -> Dataset:
    """Cut the recordings under `folder` into a dataset at `out`.

    Each is mixed to mono, resampled, brought to the same peak and cut into clips of 20 s. One clip
    in ten, from the fifth on, is held back for validation. Recordings in sub-folders get the
    sub-folder's name as their kit; the others have none.

    Raises
    ------
    GhostnoteError
        If `out` is in use, or no file could be used; the message tells the first reason.
    """
    if not folder.is_dir():
        raise GhostnoteError(f"recordings {folder}: is not a folder")
    dataset = Dataset(out, samplerate, hop)
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    labels = {p: p.relative_to(folder).parts[0] if p.parent != folder else "" for p in files}
    dataset.kits = tuple(sorted({label for label in labels.values() if label}))
    TrainConfig().spec(dataset)  # refuses what no model could be trained on, before any work
    dataset.begin()
    for done, path in enumerate(files):
        relative = path.relative_to(folder).as_posix()
        try:
            recording = judge(path)
        except GhostnoteError as error:
            dataset.skipped.append({"file": relative, "reason": str(error)})
        else:
            _cut(dataset, recording, labels[path])
        if progress:
            progress(relative, done + 1, len(files))
    if not dataset.split("train"):
        reason = (
            f"first reason: {dataset.skipped[0]['file']} {dataset.skipped[0]['reason']}"
            if dataset.skipped
            else f"no file ends in {' '.join(SUFFIXES)}"
        )
        raise GhostnoteError(f"recordings {folder}: nothing to train on; {reason}")
    dataset.kits = tuple(sorted({kit for clip in dataset.clips for kit in clip.kits}))
    dataset.sources = [{"source": folder.name, "licence": licence, "authors": list(authors)}]
    dataset.save()
    return dataset


def judge(path: Path) -> Recording:
    """Return what is needed to convert a recording, having read it once.

    Raises
    ------
    GhostnoteError
        If it cannot be read, is silent (peak under -60 dBFS), shorter than half a
        second, of an unusual sample rate, or holds NaN.
    """
    frames, peak = 0, 0.0
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            for block in _blocks(file):
                frames += len(block)
                peak = max(peak, float(np.abs(block).max(initial=0.0)))
                if not np.isfinite(block).all():
                    raise GhostnoteError("holds values that are not numbers")
    except (OSError, soundfile.LibsndfileError) as error:
        raise GhostnoteError(f"cannot be read ({_short(error)})") from None
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise GhostnoteError(f"has a sample rate of {rate} Hz ({LOWEST_RATE} to {HIGHEST_RATE})")
    if frames < SHORTEST_SECONDS * rate:
        raise GhostnoteError(f"is too short ({frames / rate:.2f} s, at least {SHORTEST_SECONDS} s)")
    if peak < SILENCE_PEAK:
        raise GhostnoteError("is silent (peak under -60 dBFS)")
    return Recording(path, rate, peak)


def convert(recording: Recording, samplerate: int) -> Iterator[FLOATS]:
    """Yield a recording in pieces of any length: mono, at `samplerate`, its peak at 0.9."""
    gain = np.float32(PEAK / recording.peak)
    with soundfile.SoundFile(recording.path) as file:
        if file.samplerate == samplerate:
            for block in _blocks(file):
                yield block * gain
            return
        stream = soxr.ResampleStream(file.samplerate, samplerate, 1, "float32", "VHQ")
        for block in _blocks(file):
            yield stream.resample_chunk(block * gain)
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _blocks(file: soundfile.SoundFile) -> Iterator[FLOATS]:
    size = max(1, BLOCK // file.channels)
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        yield np.asarray(block.mean(axis=1), np.float32)


def _cut(dataset: Dataset, recording: Recording, label: str) -> None:
    """Add a recording's clips; a rest shorter than half a second is dropped."""
    length = int(CLIP_SECONDS * dataset.samplerate) // dataset.hop * dataset.hop
    rest = np.zeros(0, np.float32)
    for piece in convert(recording, dataset.samplerate):
        rest = np.concatenate([rest, piece])
        while len(rest) >= length:
            _add(dataset, rest[:length], label)
            rest = rest[length:]
    rest = rest[: len(rest) // dataset.hop * dataset.hop]
    if len(rest) >= SHORTEST_SECONDS * dataset.samplerate - dataset.hop:
        _add(dataset, rest, label)


def _add(dataset: Dataset, audio: FLOATS, label: str) -> None:
    number = len(dataset.clips) + 1
    held_back = number % HOLD_BACK_EVERY == HOLD_BACK_EVERY // 2
    split = "validation" if held_back else "train"
    kits = {label: 1.0} if label else {}
    dataset.add(audio, Clip(f"{number:05d}.flac", len(audio), split, kits, []))


def _short(error: Exception) -> str:
    """Return libsndfile's reason without the path, which is told anyway."""
    return getattr(error, "error_string", "") or str(getattr(error, "strerror", "")) or str(error)
