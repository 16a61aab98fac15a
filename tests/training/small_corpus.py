"""A corpus in the form that `ghostnote data prepare --corpus` reads, small enough for tests.

Kit "dry" has samples at the rate of the dataset, which begin with their loudest sample, three
velocity layers of its snare and two hats in turn. Kit "wet" has them at 44.1 kHz, beginning within
2 ms, as in the real corpus, and no open hat.
"""

import csv
from pathlib import Path
from typing import Any

import mido
import numpy as np
import numpy.typing as npt
import soundfile

from ghostnote.kernels.spec import ROLES
from ghostnote.training.config import TrainConfig
from ghostnote.training.dataset import Clip, Dataset
from ghostnote.training.grooves import drill
from ghostnote.training.kits import load_kit
from ghostnote.training.prepare import GrooveOptions

RATE, HOP = 8000, 8
PRE_ROLL = 88  # samples at 44.1 kHz, 2 ms
NOTES = {"kick": 36, "snare": 38, "hat": 42, "open": 46}
LICENCES = {"dry": "CC0-1.0", "wet": "CC-BY-4.0"}

# (kit, role, MIDI notes, low, high, round robin, velocity tracks, reference, amplitude, seconds)
_SAMPLES: list[tuple[str, str, str, int, int, int, int, int, float, float]] = [
    ("dry", "kick", "35 36", 1, 127, 1, 1, 120, 0.9, 0.20),
    ("dry", "snare_soft", "38", 1, 60, 1, 0, 50, 0.2, 0.10),
    ("dry", "snare_mid", "38", 61, 100, 1, 0, 90, 0.5, 0.10),
    ("dry", "snare_hard", "38", 101, 127, 1, 0, 120, 0.8, 0.10),
    ("dry", "hat_b", "22 42", 1, 127, 2, 1, 120, 0.30, 0.03),
    ("dry", "hat_a", "22 42", 1, 127, 1, 1, 120, 0.31, 0.03),
    ("dry", "open", "26 46", 1, 127, 1, 1, 120, 0.4, 0.60),
    ("dry", "side", "37", 1, 127, 1, 1, 120, 0.5, 0.02),
    ("wet", "kick", "35 36", 1, 127, 1, 1, 120, 0.4, 0.20),
    ("wet", "snare", "38", 1, 127, 1, 1, 120, 0.3, 0.10),
    ("wet", "hat", "42", 1, 127, 1, 1, 120, 0.1, 0.03),
]


def sound(amplitude: float, seconds: float, rate: int, seed: int) -> npt.NDArray[np.float64]:
    """A burst of noise that begins at its loudest, as high as `amplitude`."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).uniform(-0.7, 0.7, len(t)) * np.exp(-4.0 * t / seconds)
    noise[0] = 1.0
    return np.asarray(amplitude * noise)


def write_corpus(root: Path) -> Path:
    """Writes the whole corpus and returns its root."""
    tables: dict[str, list[dict[str, Any]]] = {"dry": [], "wet": []}
    manifest = []
    for seed, (kit, name, notes, low, high, turn, track, ref, peak, seconds) in enumerate(_SAMPLES):
        path = f"oneshots/{name.split('_')[0]}/{kit}__{name}.flac"
        manifest.append(_entry(path, "oneshot", kit, f"author of {kit}'s {name}"))
        if kit == "dry":
            _write_sound(root / path, sound(peak, seconds, RATE, seed), RATE)
        else:
            begun = sound(peak, seconds, 44100, seed)
            _write_sound(root / path, np.concatenate([np.zeros(PRE_ROLL), begun]), 44100)
        numbers = {"vel_lo": low, "vel_hi": high, "round_robin": turn, "gain_db": "0.0"}
        numbers |= {"vel_track": track, "ref_vel": ref, "fallback": 0}
        tables[kit].append({"role": name, "midi_notes": notes, "path": path, **numbers})
    clap = "oneshots/clap/wet__clap.flac"  # in no table: found by the name of its kit
    _write_sound(root / clap, sound(0.5, 0.05, 44100, 99), 44100)
    manifest.append(_entry(clap, "oneshot", "wet", "author of wet's clap"))
    for kit, rows in tables.items():
        write_table(root / "kits" / f"{kit}.csv", rows)
    grooves = []
    for split, name, seconds in (
        ("train", "long", 30.0),
        ("train", "short", 6.0),
        ("train", "fill", 2.0),
        ("validation", "other", 8.0),
    ):
        path = f"grooves/{name}.mid"
        write_groove(root / path, seconds)
        grooves.append({"path": path, "split": split, "seconds": seconds})
        manifest.append(_entry(path, "groove", "", f"drummer of {name}", split))
    write_table(root / "grooves" / "info.csv", grooves)
    write_table(root / "manifest.csv", manifest)
    return root


def write_groove(path: Path, seconds: float) -> None:
    """A beat with open hats that closed ones choke, at 120 beats a minute."""
    path.parent.mkdir(parents=True, exist_ok=True)
    track = mido.MidiTrack()
    step, last = 240, 0  # an eighth; 480 ticks are a beat, half a second
    for i in range(int(seconds / 0.25) + 1):
        roles = ["kick" if i % 4 == 0 else "snare" if i % 4 == 2 else "", "hat"]
        if i % 8 == 5:
            roles[1] = "open"
        for role in filter(None, roles):
            note, velocity = NOTES[role], 40 + 37 * i % 80
            time, last = i * step - last, i * step
            track.append(
                mido.Message("note_on", channel=9, note=note, velocity=velocity, time=time)
            )
    file = mido.MidiFile(ticks_per_beat=480)
    file.tracks.append(track)
    file.save(path)


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """A CSV table with the keys of its first row as the columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def options(**changes: Any) -> GrooveOptions:
    """One clip of grooves and one of drills for each kit, and the same held back."""
    minutes = {
        "groove_minutes": 0.1,
        "drill_minutes": 0.1,
        "validation_minutes": 0.1,
        "blend_minutes": 0.0,
    }
    values = {"kits": ("dry", "wet"), "samplerate": RATE, "hop": HOP, **minutes, **changes}
    return GrooveOptions(**values)


def config(**changes: Any) -> TrainConfig:
    """A network and windows that take some milliseconds per step."""
    network = {"residual": 8, "gate": 8, "skip": 8, "head": 16, "cycles": 1, "cycle": 5}
    values = {**network, "cond_hidden": (8,), "window_hops": 60, "warmup": 2, "seed": 5, **changes}
    return TrainConfig(**values)


def tone_dataset(root: Path, seconds: float = 2.0, clips: int = 2) -> Dataset:
    """A dataset with no roles and no kits: a tone, that a small network soon learns."""
    dataset = Dataset(root, RATE, HOP)
    dataset.begin()
    frames = int(seconds * RATE)
    for i in range(clips):
        # At 203.7 Hz no two periods fall on the same samples: what is learnt of one clip holds
        # for the other.
        tone = 0.5 * np.sin(2 * np.pi * 203.7 * np.arange(frames) / RATE + i).astype(np.float32)
        split = "validation" if i == 1 else "train"
        dataset.add(tone, Clip(f"{i}.flac", frames, split, {}, []))
    dataset.save()
    return dataset


def hit_dataset(root: Path, corpus: Path) -> Dataset:
    """A dataset of short drills with both kits: the form of a real one, in a fraction of its size.

    As prepared clips are 20 s long, these are made here.
    """
    dataset = Dataset(root, RATE, HOP, ROLES, ("dry", "wet"), (("hat", "open"),))
    dataset.begin()
    dataset.sources = [{"source": "tests", "licence": "MIT", "authors": ["us"]}]
    rng = np.random.default_rng(4)
    for i, split in enumerate(("train", "train", "train", "validation")):
        kit = load_kit(corpus, dataset.kits[i % 2], RATE, ROLES)
        frames = RATE // 2 * (i + 1)
        asked = drill(rng, frames / RATE, tuple(kit.layers))
        hits = [(round(t * RATE / HOP), role, v) for t, role, v in asked]
        hits = [hit for hit in hits if hit[0] * HOP < frames]
        audio = kit.render([(h * HOP, role, v) for h, role, v in hits], frames, dataset.chokes)
        listed = [(h, ROLES.index(role), v) for h, role, v in hits]
        dataset.add(audio, Clip(f"{i}.flac", frames, split, {kit.name: 1.0}, listed))
    dataset.save()
    return dataset


def _entry(path: str, kind: str, kit: str, author: str, split: str = "train") -> dict[str, str]:
    source, licence = (f"kit {kit}", LICENCES[kit]) if kit else ("grooves", "CC-BY-4.0")
    return {
        "path": path,
        "class": kind,
        "source": source,
        "licence": licence,
        "split": split,
        "author": author,
    }


def _write_sound(path: Path, audio: npt.NDArray[np.float64], rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype="PCM_24")
