"""`ghostnote data prepare --corpus`: kits x MIDI grooves, rendered, so every hit is known exactly.

The corpus is a folder with kits/*.csv, grooves/info.csv, the files that these name, and
manifest.csv, which holds source, licence and author of each file. Single-threaded. Grooves and
samples that cannot be used are listed with the reason and skipped.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.inference.midi import Hit, read_groove
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES

from .config import TrainConfig
from .dataset import SPLITS, Clip, Dataset
from .grooves import crop, drill, level_velocities
from .kits import Kit, load_kit, soft_clip

CHOKES = (("hat", "open"),)
CLIP_SECONDS = 20.0
SHORTEST_GROOVE = 4.0
SPARSE, DENSE = 4.0, 14.0
"""Hits per second of textures that count as wholly sparse and wholly dense; nine in ten grooves of
the Groove MIDI Dataset lie between."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done and how many there are."""


@dataclass(frozen=True)
class GrooveOptions:
    """What to render from kits and grooves; minutes are per kit.

    In a blend two kits play each hit together, with weights that add up to 1: a model that has
    heard them plays a mixture of kits as one drum between the two.

    With `labels`, (kit, label) of each kit, textures are rendered: grooves of which no hit is told.
    The model knows two kits of each label instead, "LABEL sparse" and "LABEL dense", and each clip
    lies between the two by its hits per second. There are no drills and blends then.
    """

    kits: tuple[str, ...]
    samplerate: int = 24000
    hop: int = 24
    groove_minutes: float = 8.0
    drill_minutes: float = 6.0
    blend_minutes: float = 2.0
    validation_minutes: float = 1.0
    seed: int = 1
    labels: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.labels and {kit for kit, _ in self.labels} != set(self.kits):
            raise GhostnoteError("data prepare: give each kit one label, or none any")
        if not self.kits:
            raise GhostnoteError("data prepare: name at least one kit")
        if len(set(self.kits)) != len(self.kits):
            raise GhostnoteError("data prepare: a kit is named twice")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_minutes") and not 0.0 <= value <= 10_000.0:
                raise GhostnoteError(f"data prepare: {field.name} must be 0 to 10000, is {value}")
        drills = 0.0 if self.labels else self.drill_minutes
        if self.groove_minutes + drills <= 0:
            raise GhostnoteError("data prepare: ask for some minutes of grooves or drills")
        if self.seed < 0:
            raise GhostnoteError(f"data prepare: seed must be 0 or more, is {self.seed}")


def prepare_grooves(
    corpus: Path, out: Path, options: GrooveOptions, progress: Progress | None = None
) -> Dataset:
    """Render grooves and drills with each kit into a dataset at `out`.

    Raises
    ------
    GhostnoteError
        If `out` is in use, no groove or no kit is left that could be used, a kit is unknown, or no
        model can have such a sample rate, hop or kits.
    """
    labels = dict(options.labels)
    dataset = Dataset(out, options.samplerate, options.hop)
    if labels:
        dataset.kits = _textures(labels.values())
    else:
        dataset.roles, dataset.kits, dataset.chokes = ROLES, options.kits, CHOKES
    TrainConfig().spec(dataset)  # refuses what no model could be trained on, before any work
    sources = _read_manifest(corpus)
    kits = _load_kits(corpus, options, dataset)
    grooves: dict[str, list[list[Hit]]] = {split: [] for split in SPLITS}
    if options.groove_minutes:
        grooves = {split: _read_grooves(corpus, split, dataset, progress) for split in SPLITS}
    if options.groove_minutes and not grooves["train"]:
        reason = f"; first reason: {dataset.skipped[0]['reason']}" if dataset.skipped else ""
        raise GhostnoteError(f"corpus {corpus}: no groove of the train split is usable{reason}")
    dataset.begin()
    names = tuple(kit.name for kit in kits.values())
    dataset.kits = _textures(labels[name] for name in names) if labels else names
    plans = {number: _plan(options, grooves, len(kits)) for number in kits}
    total, done = sum(count for plan in plans.values() for *_, count in plan), 0
    for number, kit in kits.items():
        rng = np.random.default_rng([options.seed, number])
        for split, kind, count in plans[number]:
            for i in range(count):
                parts = [(kit, 1.0)]
                if kind == "blend":
                    parts = _blend(rng, kit, [other for other in kits.values() if other is not kit])
                if kind == "groove" or (kind == "blend" and i % 2 and grooves[split]):
                    hits = _pick_stretch(rng, grooves[split])
                else:
                    hits = drill(rng, CLIP_SECONDS, tuple(kit.layers))
                name = f"{kit.name}-{split}-{kind}-{i:03d}.flac"
                _render_clip(dataset, parts, name, split, hits, labels.get(kit.name))
                done += 1
                if progress:
                    progress(f"{kit.name}: {split} {kind}s", done, total)
    used = set().union(*(kit.files for kit in kits.values()))
    dataset.sources = _sources(sources, used, with_grooves=options.groove_minutes > 0)
    dataset.save()
    return dataset


def _plan(
    options: GrooveOptions, grooves: dict[str, list[list[Hit]]], kits: int
) -> list[tuple[str, str, int]]:
    """Return (split, kind, number of clips) of what is rendered with each kit, in this order."""
    held_back = options.validation_minutes
    minutes = [
        ("train", "groove", options.groove_minutes),
        ("train", "drill", options.drill_minutes),
        ("train", "blend", options.blend_minutes if kits > 1 else 0.0),
        ("validation", "groove", held_back if grooves["validation"] else 0.0),
        ("validation", "drill", held_back / 2),
    ]
    if options.labels:
        minutes = [one for one in minutes if one[1] == "groove"]
    return [(split, kind, math.ceil(m * 60.0 / CLIP_SECONDS)) for split, kind, m in minutes]


def _load_kits(corpus: Path, options: GrooveOptions, dataset: Dataset) -> dict[int, Kit]:
    """Return the usable kits by their place in `options.kits`; the others go to `skipped`."""
    kits = {}
    for number, name in enumerate(options.kits):
        if not (corpus / "kits" / f"{name}.csv").is_file():
            known = sorted(path.stem for path in (corpus / "kits").glob("*.csv"))
            known = [stem for stem in known if stem != "index"]
            raise GhostnoteError(
                f"corpus {corpus}: has no kit {name!r}; it has {', '.join(known) or 'none'}"
            )
        try:
            kits[number] = load_kit(corpus, name, options.samplerate, ROLES)
        except GhostnoteError as error:
            dataset.skipped.append({"file": f"kits/{name}.csv", "reason": str(error)})
        else:
            dataset.skipped += kits[number].skipped
    if not kits:
        raise GhostnoteError(dataset.skipped[0]["reason"])
    return kits


def _read_grooves(
    corpus: Path, split: str, dataset: Dataset, progress: Progress | None
) -> list[list[Hit]]:
    table = corpus / "grooves" / "info.csv"
    try:
        with table.open(newline="") as file:
            paths = [row["path"] for row in csv.DictReader(file) if row["split"] == split]
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise GhostnoteError(f"corpus {corpus}: cannot read grooves/info.csv ({error})") from None
    grooves = []
    for done, path in enumerate(paths):
        if progress:
            progress(f"reading {split} grooves", done, len(paths))
        try:
            hits = read_groove(corpus / path).in_seconds
        except GhostnoteError as error:
            reason = str(error).removeprefix(f"groove {corpus / path}: ")
            dataset.skipped.append({"file": path, "reason": reason})
            continue
        if hits[-1][0] < SHORTEST_GROOVE:
            reason = f"too short to cut from (under {SHORTEST_GROOVE:g} s)"
            dataset.skipped.append({"file": path, "reason": reason})
            continue
        grooves.append(level_velocities(hits))
    return grooves


def _pick_stretch(rng: np.random.Generator, grooves: Sequence[list[Hit]]) -> list[Hit]:
    """Return a random stretch of CLIP_SECONDS, every groove weighed by its length."""
    lengths = np.array([hits[-1][0] for hits in grooves])
    hits = grooves[int(rng.choice(len(grooves), p=lengths / lengths.sum()))]
    start = float(rng.uniform(0.0, max(hits[-1][0] - CLIP_SECONDS, 0.0)))
    return crop(hits, start, CLIP_SECONDS)


def _textures(labels: Iterable[str]) -> tuple[str, ...]:
    """Return what a model calls the textures of some labels."""
    return tuple(name for label in sorted(set(labels)) for name in _ends(label))


def _ends(label: str) -> tuple[str, str]:
    """Return the names of the two kits between which a label's textures lie."""
    return f"{label} sparse", f"{label} dense"


def _blend(rng: np.random.Generator, kit: Kit, others: Sequence[Kit]) -> list[tuple[Kit, float]]:
    """Return a kit and another one with random weights that add up to 1."""
    weight = round(float(rng.uniform(0.15, 0.85)), 2)
    return [(kit, weight), (others[int(rng.integers(len(others)))], round(1.0 - weight, 2))]


def render_together(
    parts: Sequence[tuple[Kit, float]], hits: Sequence[tuple[int, str, float]], frames: int
) -> npt.NDArray[np.float32]:
    """Return hits (frame, role, velocity) as kits with weights play them together [frames]."""
    mixed = [weight * kit.mix(hits, frames, CHOKES) for kit, weight in parts]
    return soft_clip(np.sum(mixed, axis=0)).astype(np.float32)


def _render_clip(
    dataset: Dataset,
    parts: Sequence[tuple[Kit, float]],
    name: str,
    split: str,
    hits: list[Hit],
    label: str | None,
) -> None:
    """Render hits at the hop boundary after each, where a trigger would start when played.

    `parts` are the kits that play them together, and the weight of each; with a label, the clip is
    texture.
    """
    hop = dataset.hop
    on_grid = [(math.ceil(t * dataset.samplerate / hop), role, v) for t, role, v in hits]
    known = set().union(*(kit.layers for kit, _ in parts))
    on_grid = [hit for hit in on_grid if hit[1] in known]
    frames = int(CLIP_SECONDS * dataset.samplerate) // hop * hop
    at_frames = [(h * hop, role, v) for h, role, v in on_grid]
    audio = render_together(parts, at_frames, frames)
    listed = [(h, ROLES.index(role), round(v, 4)) for h, role, v in on_grid if h * hop < frames]
    kits = {kit.name: weight for kit, weight in parts}
    if label is not None:
        dense = (len(listed) / CLIP_SECONDS - SPARSE) / (DENSE - SPARSE)
        dense = round(min(max(dense, 0.0), 1.0), 2)
        weights = zip(_ends(label), (round(1.0 - dense, 2), dense), strict=True)
        kits, listed = {name: weight for name, weight in weights if weight}, []
    dataset.add(audio, Clip(name, frames, split, kits, listed))


def _read_manifest(corpus: Path) -> list[dict[str, str]]:
    columns = {"path", "class", "source", "licence", "split", "author"}
    try:
        with (corpus / "manifest.csv").open(newline="") as file:
            reader = csv.DictReader(file)
            missing = columns - set(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise GhostnoteError(f"corpus {corpus}: cannot read manifest.csv ({error})") from None
    if missing:
        raise GhostnoteError(f"corpus {corpus}: manifest.csv lacks the column {min(missing)!r}")
    return rows


def _sources(
    manifest: Sequence[dict[str, str]], samples: set[str], with_grooves: bool
) -> list[dict[str, Any]]:
    """Return source, licence and authors of all that a training on the clips draws on."""
    found: dict[tuple[str, str], set[str]] = {}
    unknown = set(samples)
    for row in manifest:
        groove = with_grooves and row["class"] == "groove" and row["split"] == "train"
        if groove or row["path"] in samples:
            found.setdefault((row["source"], row["licence"]), set()).add(row["author"])
            unknown.discard(row["path"])
    if unknown:
        found[("not in the corpus's manifest.csv", "unknown")] = unknown
    return [
        {"source": source, "licence": licence, "authors": sorted(a for a in authors if a)}
        for (source, licence), authors in sorted(found.items())
    ]
