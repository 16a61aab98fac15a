"""`ghostnote data prepare`: from drums to a dataset, in two forms.

(a) kits x MIDI grooves (the form of the drum corpus): rendered, so every hit is known exactly.
(b) a folder of recordings: cut into clips; sub-folders are the kits (labels), no hits are known.

Single-threaded. Files that cannot be used are listed with the reason and skipped.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES

from .dataset import Clip, Dataset
from .grooves import Hit, crop, drill, level_velocities, read_groove
from .kits import Kit, load_kit

CHOKES = (("hat", "open"),)
CLIP_SECONDS = 20.0
SHORTEST_SECONDS = 0.5
SILENCE_PEAK = 10.0 ** (-60.0 / 20.0)
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class GrooveOptions:
    """What to render from kits and grooves; minutes are per kit."""

    kits: tuple[str, ...]
    samplerate: int = 24000
    hop: int = 24
    groove_minutes: float = 8.0
    drill_minutes: float = 6.0
    validation_minutes: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.kits:
            raise GhostnoteError("data prepare: name at least one kit")
        if self.groove_minutes + self.drill_minutes <= 0:
            raise GhostnoteError("data prepare: ask for some minutes of grooves or drills")


def prepare_grooves(
    corpus: Path, out: Path, options: GrooveOptions, progress: Progress | None = None
) -> Dataset:
    """Render grooves and drills with each kit into a dataset at `out`.

    Raises
    ------
    GhostnoteError
        If the corpus has no grooves that can be read or a kit is missing.
    """
    dataset = Dataset(out, options.samplerate, options.hop, ROLES, options.kits, CHOKES)
    grooves = {split: _read_grooves(corpus, split, dataset) for split in ("train", "validation")}
    if not grooves["train"]:
        raise GhostnoteError(f"corpus {corpus}: no groove of the train split could be read")
    for number, name in enumerate(options.kits):
        kit = load_kit(corpus, name, options.samplerate, ROLES)
        rng = np.random.default_rng([options.seed, number])
        plan = [
            ("train", "groove", options.groove_minutes),
            ("train", "drill", options.drill_minutes),
            ("validation", "groove", options.validation_minutes if grooves["validation"] else 0),
            ("validation", "drill", options.validation_minutes / 2),
        ]
        for split, kind, minutes in plan:
            count = math.ceil(minutes * 60.0 / CLIP_SECONDS)
            for i in range(count):
                if kind == "groove":
                    hits = _pick_stretch(rng, grooves[split])
                else:
                    hits = drill(rng, CLIP_SECONDS, tuple(kit.layers))
                _render_clip(dataset, kit, f"{name}-{split}-{kind}-{i:03d}.flac", split, hits)
                if progress:
                    progress(f"{name} {split} {kind}", i + 1, count)
    dataset.sources = _corpus_sources(corpus, options.kits)
    dataset.save()
    return dataset


def _read_grooves(corpus: Path, split: str, dataset: Dataset) -> list[list[Hit]]:
    table = corpus / "grooves" / "info.csv"
    try:
        with open(table, newline="") as file:
            paths = [row["path"] for row in csv.DictReader(file) if row["split"] == split]
    except (OSError, KeyError) as error:
        raise GhostnoteError(f"corpus {corpus}: cannot read grooves/info.csv ({error})") from None
    grooves = []
    for path in paths:
        try:
            hits = read_groove(corpus / path)
        except GhostnoteError as error:
            dataset.skipped.append({"file": path, "reason": str(error)})
            continue
        if hits[-1][0] >= 4.0:
            grooves.append(level_velocities(hits))
    return grooves


def _pick_stretch(rng: np.random.Generator, grooves: Sequence[list[Hit]]) -> list[Hit]:
    """Return a random stretch of CLIP_SECONDS, every groove weighed by its length."""
    lengths = np.array([hits[-1][0] for hits in grooves])
    hits = grooves[int(rng.choice(len(grooves), p=lengths / lengths.sum()))]
    start = float(rng.uniform(0.0, max(hits[-1][0] - CLIP_SECONDS, 0.0)))
    return crop(hits, start, CLIP_SECONDS)


def _render_clip(dataset: Dataset, kit: Kit, name: str, split: str, hits: list[Hit]) -> None:
    """Render hits at the hop boundary after each, where a trigger would start when played."""
    hop = dataset.hop
    on_grid = [(math.ceil(t * dataset.samplerate / hop), role, v) for t, role, v in hits]
    on_grid = [hit for hit in on_grid if hit[1] in kit.layers]
    frames = int(CLIP_SECONDS * dataset.samplerate) // hop * hop
    audio = kit.render([(h * hop, role, v) for h, role, v in on_grid], frames, dataset.chokes)
    listed = [
        (h, dataset.roles.index(role), round(v, 4)) for h, role, v in on_grid if h * hop < frames
    ]
    dataset.add(name, audio, Clip(name, frames, split, kit.name, listed))


def _corpus_sources(corpus: Path, kits: Sequence[str]) -> list[dict[str, object]]:
    """Return name, licence and authors of every source that the kits and grooves draw on."""
    used = set()
    for kit in kits:
        with open(corpus / "kits" / f"{kit}.csv", newline="") as file:
            used |= {row["path"] for row in csv.DictReader(file)}
    found: dict[tuple[str, str], set[str]] = {}
    with open(corpus / "manifest.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["path"] in used or (row["class"] == "groove" and row["split"] == "train"):
                found.setdefault((row["source"], row["licence"]), set()).add(row["author"])
    return [
        {"source": source, "licence": licence, "authors": sorted(a for a in authors if a)}
        for (source, licence), authors in sorted(found.items())
    ]


def prepare_recordings(
    folder: Path,
    out: Path,
    samplerate: int = 24000,
    hop: int = 24,
    validation_share: float = 0.1,
    licence: str = "unknown",
    progress: Progress | None = None,
) -> Dataset:
    """Cut the recordings under `folder` into a dataset at `out`.

    Every tenth clip (by `validation_share`) is kept back for validation. Recordings in
    sub-folders get the sub-folder's name as their kit; with no sub-folders there are no kits.

    Raises
    ------
    GhostnoteError
        If no file could be used; the message tells the first reason.
    """
    if not folder.is_dir():
        raise GhostnoteError(f"recordings: {folder} is not a folder")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    labels = {p: p.relative_to(folder).parts[0] if p.parent != folder else "" for p in files}
    kits = tuple(sorted({label for label in labels.values() if label}))
    dataset = Dataset(out, samplerate, hop, (), kits, ())
    every = max(2, round(1.0 / validation_share)) if validation_share > 0 else 0
    number = 0
    for done, path in enumerate(files):
        relative = path.relative_to(folder).as_posix()
        try:
            audio = read_recording(path, samplerate)
        except GhostnoteError as error:
            dataset.skipped.append({"file": relative, "reason": str(error)})
            continue
        step = int(CLIP_SECONDS * samplerate) // hop * hop
        for start in range(0, len(audio) - int(SHORTEST_SECONDS * samplerate) + 1, step):
            piece = audio[start : start + step]
            piece = piece[: len(piece) // hop * hop]
            number += 1
            split = "validation" if every and number % every == 0 else "train"
            name = f"{number:05d}.flac"
            dataset.add(name, piece, Clip(name, len(piece), split, labels[path], []))
        if progress:
            progress(relative, done + 1, len(files))
    if not dataset.split("train"):
        reason = dataset.skipped[0]["reason"] if dataset.skipped else "no audio files in it"
        raise GhostnoteError(f"recordings {folder}: nothing to train on; first reason: {reason}")
    dataset.sources = [{"source": folder.name, "licence": licence, "authors": []}]
    dataset.save()
    return dataset


def read_recording(path: Path, samplerate: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return a recording as mono float32 at `samplerate`, its peak brought to 0.9.

    Raises
    ------
    GhostnoteError
        If it cannot be read, is silent (peak under -60 dBFS) or shorter than half a second.
    """
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise GhostnoteError(f"{path.name}: cannot be read ({error})") from None
    mono = audio.mean(axis=1)
    if not np.isfinite(mono).all():
        raise GhostnoteError(f"{path.name}: holds values that are not numbers")
    if len(mono) < SHORTEST_SECONDS * rate:
        raise GhostnoteError(f"{path.name}: too short ({len(mono) / rate:.2f} s of 0.5 s)")
    peak = float(np.abs(mono).max())
    if peak < SILENCE_PEAK:
        raise GhostnoteError(f"{path.name}: silent (peak under -60 dBFS)")
    if rate != samplerate:
        mono = soxr.resample(mono, rate, samplerate, quality="VHQ")
    return np.asarray(mono * np.float32(0.9 / peak), np.float32)
