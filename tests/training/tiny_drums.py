"""A drum kit of three clear sounds, a corpus of such kits and a few grooves, a model for them."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mido
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from ghostnote.inference.midi import Hit
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import random_weights
from ghostnote.training import ears_training
from ghostnote.training.ears import Ears
from ghostnote.training.ears_training import get_ears
from ghostnote.training.kits import COLUMNS, Kit, Layer

AUDIO = npt.NDArray[np.float32]
RATE = 8000
NOTES = {"kick": 36, "snare": 38, "hat": 42}
KITS = ("first", "second")


def shot(role: str, rate: int = RATE) -> AUDIO:
    """A kick of 70 Hz, a snare of noise about 700 Hz or a hat of noise over 2.5 kHz, 0.15 s."""
    t = np.arange(int(0.15 * rate)) / rate
    noise = np.random.default_rng(1).standard_normal(len(t))
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(len(t), 1.0 / rate)
    low, high = {"kick": (0.0, 0.0), "snare": (500.0, 1000.0), "hat": (2500.0, 4000.0)}[role]
    if role == "kick":
        sound = np.sin(2.0 * np.pi * 70.0 * t) * np.exp(-t / 0.05)
    else:
        sound = np.fft.irfft(np.where((hertz > low) & (hertz < high), spectrum, 0.0), len(t))
        sound = sound / np.abs(sound).max() * np.exp(-t / 0.03)
    return (0.5 * sound).astype(np.float32)


def kit(name: str = "first") -> Kit:
    """The three sounds as a kit in memory."""
    layers: dict[str, tuple[Layer, ...]] = {
        role: (Layer(f"{role}.wav", shot(role), 1, 127, 1, True, 110.0),) for role in NOTES
    }
    return Kit(name, RATE, layers)


def beat(seconds: float = 4.0, every: float = 0.25, velocity: float = 0.8) -> list[Hit]:
    """Kick, hat, snare, hat, ... one role at a time."""
    roles = ("kick", "hat", "snare", "hat")
    times = np.arange(0.1, seconds - 0.2, every)
    return [(float(t), roles[i % 4], velocity) for i, t in enumerate(times)]


def render(hits: list[Hit], seconds: float) -> AUDIO:
    """What the kit makes of hits in seconds."""
    frames = [(round(t * RATE), role, v) for t, role, v in hits]
    return kit().render(frames, int(seconds * RATE))


def write_groove(path: Path, hits: list[Hit]) -> None:
    """A MIDI file of hits in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    track, last = mido.MidiTrack(), 0
    for t, role, velocity in hits:
        tick = round(t * 960)  # 480 ticks a beat at 120 beats a minute
        track.append(
            mido.Message(
                "note_on",
                channel=9,
                note=NOTES[role],
                velocity=round(velocity * 127),
                time=tick - last,
            )
        )
        last = tick
    file = mido.MidiFile(ticks_per_beat=480)
    file.tracks.append(track)
    file.save(path)


def write_corpus(root: Path, grooves: int = 4, seconds: float = 6.0) -> Path:
    """A corpus with both kits and that many grooves in the validation split."""
    shots = root / "oneshots"
    shots.mkdir(parents=True)
    (root / "kits").mkdir()
    for name in KITS:
        rows = []
        for role, note in NOTES.items():
            path = f"oneshots/{name}__{role}.wav"
            soundfile.write(root / path, shot(role), RATE)
            row = dict.fromkeys(sorted(COLUMNS), "1")
            row |= {"midi_notes": str(note), "path": path, "vel_hi": "127", "gain_db": "0"}
            rows.append(row | {"ref_vel": "110"})
        _write_table(root / "kits" / f"{name}.csv", rows)
    rows = []
    for i in range(grooves):
        path = f"grooves/groove{i}.mid"
        write_groove(root / path, beat(seconds))
        rows.append({"path": path, "split": "validation", "seconds": str(seconds)})
    _write_table(root / "grooves" / "info.csv", rows)
    return root


def spec(kits: tuple[str, ...] = KITS, roles: tuple[str, ...] = tuple(NOTES)) -> ModelSpec:
    """A network that is small enough to run in a test."""
    return ModelSpec(
        samplerate=RATE,
        hop=8,
        dilations=(1, 2),
        residual=8,
        gate=8,
        skip=8,
        head=8,
        roles=roles,
        kits=kits,
        ages=100 if roles else 0,
        age_features=4 if roles else 0,
        cond_hidden=(8,) if roles or kits else (),
    )


def weights(of: ModelSpec) -> dict[str, npt.NDArray[np.float32]]:
    """Random weights, but for a last layer that finds every level equally likely."""
    made = random_weights(of, seed=3)
    made["head1_weight"][:] = 0.0
    made["head1_bias"][:] = 0.0
    return made


def _write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def tiny_ears(folder: Path) -> Ears:
    """Ears that know the three sounds, trained on a few lessons and kept in a folder."""
    corpus = folder / "for-the-ears"
    if not corpus.exists():
        write_corpus(corpus)
    return get_ears([corpus], RATE, tuple(NOTES), KITS, [], folder)


@contextmanager
def few_lessons() -> Iterator[None]:
    """Let ears learn from little while the body runs: the three sounds are easily told apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ears_training, "PAIRS_PER_KIT", 3)
        yield
