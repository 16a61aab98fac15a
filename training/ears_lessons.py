"""What the ears of `ghostnote eval` learn from: mixtures of real one-shots, every hit known.

Grooves and drills, rendered with the kits of the corpus's train split, half of them with every
sound at another pitch, level and tilt; and with kits thrown together out of all one-shots of the
train split. Some are dirtied with noise and mu-law, as models play: the ears must tell roles, not
cleanness. Single-threaded; the same seed gives the same lessons.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from ghostnote.inference.midi import ROLE_OF_NOTE, Hit
from ghostnote.kernels.errors import GhostnoteError

from .audibility import audible, beginning, surroundings
from .grooves import drill
from .kits import Kit, Layer, load_kit, load_layer, read_table
from .pieces import Piece, choose_pieces

FLOATS = npt.NDArray[np.float32]
AUDIO = npt.NDArray[np.float32]

TRAIN, ANY = "train", "any"
SECONDS = 15.0
GROOVES = 200
HOP_SECONDS = 0.001
CHOKES = (("hat", "open"),)
CLASSES = {"kick": "kick", "snare": "snare", "clap": "clap", "tom": "tom", "hihat": "hat"}
"""Role of the corpus's classes; cymbals and open hats are told by their articulation."""

STEPS = 20  # of velocity, whose levels are told apart
TAUGHT_SHARE = 0.3  # of its bands that a hit must hold: less than the judges ask for
SEMITONES = 2.5
GAIN_DB = 4.0


@dataclass(frozen=True)
class Lesson:
    """A rendered piece: audio float32 [samples], its audible hits (s, role, velocity), the others."""

    audio: AUDIO
    hits: tuple[Hit, ...]
    masked: tuple[Hit, ...]


@dataclass(frozen=True)
class Teachers:
    """The real drums that lessons are made of.

    Attributes
    ----------
    source : Path
        The corpus.
    kits : tuple of Kit
        Of the train split, at the hearing rate.
    loose : dict of role to layers
        All usable one-shots of the train split.
    grooves : tuple of Piece
        Of the train split; may be empty.
    split : str
        "train", or "any" where no corpus has kits of the train split.
    """

    source: Path
    kits: tuple[Kit, ...]
    loose: dict[str, tuple[Layer, ...]]
    grooves: tuple[Piece, ...]
    split: str = TRAIN


def kit_splits(corpus: Path) -> dict[str, str]:
    """Return the split of every kit of a corpus; "train" where it has no list of them."""
    listed = {}
    try:
        with (corpus / "kits" / "index.csv").open(newline="") as file:
            listed = {row["kit"]: row["split"] for row in csv.DictReader(file)}
    except (OSError, KeyError, csv.Error, UnicodeDecodeError):
        pass
    stems = sorted(path.stem for path in (corpus / "kits").glob("*.csv") if path.stem != "index")
    return {stem: listed.get(stem, "train") for stem in stems}


def load_kits(corpus: Path, split: str, rate: int, roles: Sequence[str]) -> list[Kit]:
    """Return the usable kits of a split, or of any; a sound of two roles stands for the first."""
    kits = []
    for name, of in kit_splits(corpus).items():
        if split in (of, ANY):
            try:
                kits.append(_one_role_each(load_kit(corpus, name, rate, roles)))
            except GhostnoteError:
                continue  # the kits that are judged tell their own reasons
    return kits


def find_teachers(corpora: Sequence[Path], rate: int, roles: Sequence[str], seed: int) -> Teachers:
    """Return what can be learnt from the first of the corpora that has kits to train on.

    Where none has kits of the train split, those of any split teach: the ears then know what they
    are to judge, which their `told` says.

    Raises
    ------
    GhostnoteError
        If none has a kit.
    """
    for split in (TRAIN, ANY):
        for corpus in corpora:
            kits = load_kits(corpus, split, rate, roles)
            if kits:
                try:
                    grooves, _ = choose_pieces(corpus, TRAIN, GROOVES, SECONDS, seed)
                except GhostnoteError:
                    grooves = []  # drills alone will do
                loose = _loose(corpus, rate, kits, split)
                return Teachers(corpus, tuple(kits), loose, tuple(grooves), split)
    raise GhostnoteError(
        f"eval: no kit in {' or '.join(str(c) for c in corpora)} that the ears could learn from"
    )


def _one_role_each(kit: Kit) -> Kit:
    taken: set[str] = set()
    layers = {}
    for role, found in kit.layers.items():
        own = tuple(layer for layer in found if layer.file not in taken)
        taken |= {layer.file for layer in found}
        if own:
            layers[role] = own
    return replace(kit, layers=layers)


def _loose(
    corpus: Path, rate: int, kits: Sequence[Kit], split: str
) -> dict[str, tuple[Layer, ...]]:
    """Return all one-shots of a split by role, each as loud as its role is in kits."""
    files: dict[str, str] = {}
    for name, of in kit_splits(corpus).items():
        if split in (of, ANY):
            for row in read_table(corpus, name):
                notes = [int(note) for note in row["midi_notes"].split() if note.isdigit()]
                role = next((ROLE_OF_NOTE[note] for note in notes if note in ROLE_OF_NOTE), None)
                if role and row.get("fallback", "0") != "1":
                    files.setdefault(row["path"], role)
    for row in _manifest(corpus):
        role = _role_of(row["class"], row["articulation"])
        if role and split in (row["split"], ANY):
            files.setdefault(row["path"], role)
    loose: dict[str, list[Layer]] = {role: [] for kit in kits for role in kit.layers}
    peaks = {role: _usual_peak(kits, role) for role in loose}
    for path, role in sorted(files.items()):
        row = dict.fromkeys(("vel_lo", "round_robin", "vel_track"), "1")
        row |= {"path": path, "vel_hi": "127", "gain_db": "0", "ref_vel": "110"}
        if role in loose:
            try:
                layer = load_layer(corpus, row, rate)
            except GhostnoteError:
                continue
            gain = np.float32(peaks[role] / np.abs(layer.audio).max())
            loose[role].append(replace(layer, audio=layer.audio * gain))
    return {role: tuple(layers) for role, layers in loose.items() if layers}


def _manifest(corpus: Path) -> list[dict[str, str]]:
    try:
        with (corpus / "manifest.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error, UnicodeDecodeError):
        return []
    return [row for row in rows if {"path", "class", "articulation", "split"} <= row.keys()]


def _role_of(kind: str, articulation: str) -> str | None:
    if kind == "cymbal":
        return "ride" if articulation.startswith("ride") else "crash"
    if kind == "hihat" and "open" in articulation:
        return "open"
    return CLASSES.get(kind)


def _usual_peak(kits: Sequence[Kit], role: str) -> float:
    peaks = [np.abs(y.audio).max() for kit in kits for y in kit.layers.get(role, ())]
    return float(np.median(peaks))


def lessons(
    teachers: Teachers, favoured: Sequence[str], pairs: int, rng: np.random.Generator
) -> Iterator[Lesson]:
    """Yield `pairs` times a groove and a drill; favoured kits play twice as often as others."""
    turns = [k for k in teachers.kits for _ in range(2 if k.name in favoured else 1)]
    for number in range(pairs):
        if number % 4 == 3:  # a fourth of them with no kit at all
            kit = _shifted(_thrown_together(teachers, rng), rng)
        else:
            kit = turns[(number - number // 4) % len(turns)]
            kit = _shifted(kit, rng) if rng.random() < 0.35 else kit
        if teachers.grooves:
            groove = teachers.grooves[int(rng.integers(len(teachers.grooves)))]
            yield _render(kit, groove.hits, rng)
        yield _render(kit, drill(rng, SECONDS, tuple(kit.layers)), rng)


def _thrown_together(teachers: Teachers, rng: np.random.Generator) -> Kit:
    layers: dict[str, tuple[Layer, ...]] = {
        role: (found[int(rng.integers(len(found)))],) for role, found in teachers.loose.items()
    }
    return Kit("thrown together", teachers.kits[0].samplerate, layers)


def _shifted(kit: Kit, rng: np.random.Generator) -> Kit:
    """Return a kit with every role at a pitch, level and tilt of its own."""
    layers = {}
    for role, found in kit.layers.items():
        factor = 2.0 ** (rng.uniform(-SEMITONES, SEMITONES) / 12.0)
        gain = 10.0 ** (rng.uniform(-GAIN_DB, GAIN_DB) / 20.0)
        tilt = rng.uniform(-0.4, 0.4)
        layers[role] = tuple(
            replace(y, audio=_tilted(_resampled(y.audio, factor), tilt, gain)) for y in found
        )
    return replace(kit, layers=layers)


def _resampled(audio: AUDIO, factor: float) -> AUDIO:
    return np.asarray(soxr.resample(audio, 10_000, round(10_000 * factor), quality="QQ"))


def _tilted(audio: AUDIO, tilt: float, gain: float) -> AUDIO:
    """Return audio with its highs lifted (below 0) or dulled (above 0), and made louder."""
    out = audio.copy()
    out[1:] += np.float32(tilt) * audio[:-1]
    return np.asarray(out * np.float32(gain / (1.0 + abs(tilt))), np.float32)


def _render(kit: Kit, hits: Sequence[Hit], rng: np.random.Generator) -> Lesson:
    rate = kit.samplerate
    frames = round(SECONDS * rate)
    hop = HOP_SECONDS * rate
    struck = [(int(math.ceil(t / HOP_SECONDS) * hop), r, v) for t, r, v in hits]
    struck = [hit for hit in struck if hit[1] in kit.layers and hit[0] < frames]
    audio = kit.render(struck, frames, CHOKES)
    hits, masked = _sort_out(kit, struck, audio)
    if rng.random() < 0.3:
        audio = _companded(audio)
    if rng.random() < 0.6:
        noise = rng.standard_normal(frames, np.float32)
        audio = audio + noise * np.float32(10.0 ** (rng.uniform(-90.0, -45.0) / 20.0))
    audio = audio * np.float32(10.0 ** (rng.uniform(-5.0, 5.0) / 20.0))
    return Lesson(audio.astype(np.float32), hits, masked)


def _sort_out(
    kit: Kit, struck: Sequence[tuple[int, str, float]], audio: AUDIO
) -> tuple[tuple[Hit, ...], tuple[Hit, ...]]:
    """Return the hits (s) that can be heard, and the others: to teach those is to teach guessing."""
    rate = kit.samplerate
    solos: dict[tuple[str, int], FLOATS] = {}
    heard: list[Hit] = []
    masked: list[Hit] = []
    for frame, role, velocity in struck:
        key = (role, max(round(velocity * STEPS), 1))
        if key not in solos:
            shot = kit.render([(0, role, key[1] / STEPS)], round(0.1 * rate))
            solos[key] = beginning(shot, 0.0, rate)
        around = surroundings(audio, frame / rate, rate)
        shows = audible(solos[key], around, TAUGHT_SHARE) is not None
        (heard if shows else masked).append((frame / rate, role, velocity))
    return tuple(heard), tuple(masked)


def _companded(audio: AUDIO) -> AUDIO:
    """Return audio as 256 levels of mu-law hold it."""
    steps = np.round(127.5 * np.sign(audio) * np.log1p(255.0 * np.abs(audio)) / np.log(256.0))
    return np.asarray(np.sign(steps) * np.expm1(np.abs(steps) / 127.5 * np.log(256.0)) / 255.0)
