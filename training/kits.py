"""Drum kits as CSV tables of one-shots, and the rendering of hits with them.

The tables are those of the corpus: one row per sample with its role, MIDI notes, velocity range,
round robin, gain and velocity tracking. A ghostnote role is *one* sound of a kit: a trigger says
nothing that would tell a side articulation from the main one, so a network trained on both could
only guess. Runs in the training process; single-threaded.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ghostnote.kernels.errors import GhostnoteError

FLOATS = npt.NDArray[np.float32]

ROLE_OF_NOTE = {
    **dict.fromkeys((35, 36), "kick"),
    **dict.fromkeys((38, 40), "snare"),
    37: "rim",
    39: "clap",
    **dict.fromkeys((41, 43, 45, 47, 48, 50, 58), "tom"),
    **dict.fromkeys((22, 42, 44), "hat"),
    **dict.fromkeys((26, 46), "open"),
    **dict.fromkeys((49, 52, 55, 57), "crash"),
    **dict.fromkeys((51, 53, 59), "ride"),
}
"""Role of each MIDI note (General MIDI percussion and the Roland TD-11's additions)."""

MAIN_NOTES = {
    "kick": 36,
    "snare": 38,
    "rim": 37,
    "clap": 39,
    "tom": 45,
    "hat": 42,
    "open": 46,
    "crash": 49,
    "ride": 51,
}
"""The note whose sound stands for the whole role."""

VELOCITY_EXPONENT = 1.6  # the corpus's own rule for samples that have one layer
LOUD_VELOCITY = 110.0
LOUD_PEAK = 0.6  # what kick and snare reach at LOUD_VELOCITY: leaves room for their sum


@dataclass(frozen=True)
class Layer:
    """One sample of a kit: audio [frames] at the kit's rate and when to play it."""

    audio: FLOATS
    velocity_low: int
    velocity_high: int
    round_robin: int
    velocity_tracks: bool
    reference_velocity: float

    def gain(self, velocity: float) -> float:
        """Return the amplitude factor for a MIDI velocity (0 to 127)."""
        if not self.velocity_tracks:
            return 1.0
        return float((velocity / self.reference_velocity) ** VELOCITY_EXPONENT)


@dataclass(frozen=True)
class Kit:
    """A kit at one sample rate: the layers of each role; roles it lacks are absent."""

    name: str
    samplerate: int
    layers: dict[str, tuple[Layer, ...]]

    def pick(self, role: str, velocity: float, turn: int) -> Layer:
        """Return the layer for a MIDI velocity; `turn` counts up for round robins."""
        layers = self.layers[role]
        fitting = [y for y in layers if y.velocity_low <= velocity <= y.velocity_high]
        if not fitting:
            fitting = [min(layers, key=lambda y: abs(y.reference_velocity - velocity))]
        return fitting[turn % len(fitting)]

    def render(
        self,
        hits: Sequence[tuple[int, str, float]],
        frames: int,
        chokes: Sequence[tuple[str, str]] = (),
    ) -> FLOATS:
        """Return the sound of `hits`, float32 [frames].

        Parameters
        ----------
        hits : sequence of (frame, role, velocity)
            In order of time; velocity 0 to 1. Roles that the kit lacks are left out.
        frames : int
        chokes : sequence of (by, what)
            A hit of role `by` cuts off sounding hits of role `what` within 5 ms.
        """
        out = np.zeros(frames, np.float64)
        turns: dict[str, int] = {}
        choked_by: dict[str, set[str]] = {}
        for by, what in chokes:
            choked_by.setdefault(what, set()).add(by)
        fade = np.linspace(1.0, 0.0, max(2, self.samplerate // 200))
        for i, (start, role, velocity) in enumerate(hits):
            if role not in self.layers or start >= frames:
                continue
            midi_velocity = min(max(velocity * 127.0, 1.0), 127.0)
            layer = self.pick(role, midi_velocity, turns.get(role, 0))
            turns[role] = turns.get(role, 0) + 1
            audio = layer.audio[: frames - start] * layer.gain(midi_velocity)
            stop = next(
                (f - start for f, other, _ in hits[i + 1 :] if other in choked_by.get(role, ())),
                len(audio),
            )
            if stop < len(audio):
                audio = audio[: stop + len(fade)].copy()
                audio[stop:] *= fade[: len(audio) - stop]
            out[start : start + len(audio)] += audio
        return soft_clip(out).astype(np.float32)


def soft_clip(audio: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return audio unchanged below 0.7, bent smoothly towards 1 above: no hard clipping."""
    over = np.abs(audio) - 0.7
    return np.where(over > 0, np.sign(audio) * (0.7 + 0.3 * np.tanh(over / 0.3)), audio)


def load_kit(corpus: Path, name: str, samplerate: int, roles: Sequence[str]) -> Kit:
    """Read a kit's table `corpus/kits/<name>.csv` and its samples.

    Raises
    ------
    GhostnoteError
        If the table or a sample cannot be read, or the kit has no kick, snare or hat.
    """
    table = corpus / "kits" / f"{name}.csv"
    try:
        with open(table, newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise GhostnoteError(f"kit {name!r}: cannot read {table}: {error.strerror}") from None
    found: dict[str, list[dict[str, str]]] = {}
    for role in roles:
        note = str(MAIN_NOTES[role])
        found[role] = [row for row in rows if note in row["midi_notes"].split()]
    if not found.get("clap") and "clap" in roles:
        found["clap"] = _clap_rows(corpus, name, rows)
    layers = {
        role: tuple(_load_layer(corpus, row, samplerate) for row in matching)
        for role, matching in found.items()
        if matching
    }
    loudest = [
        np.abs(y.audio).max() * y.gain(LOUD_VELOCITY)
        for role in ("kick", "snare")
        for y in layers.get(role, ())
        if y.velocity_low <= LOUD_VELOCITY <= y.velocity_high
    ]
    if not loudest:
        raise GhostnoteError(f"kit {name!r}: {table} has no kick and no snare (notes 36, 38)")
    level = LOUD_PEAK / max(loudest)
    scaled = {
        role: tuple(
            Layer(
                y.audio * np.float32(level),
                y.velocity_low,
                y.velocity_high,
                y.round_robin,
                y.velocity_tracks,
                y.reference_velocity,
            )
            for y in sorted(found_layers, key=lambda y: y.round_robin)
        )
        for role, found_layers in layers.items()
    }
    return Kit(name, samplerate, scaled)


def _clap_rows(corpus: Path, name: str, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return rows for a clap: the kits' notes have none, but most kits own a clap sample."""
    own = [row for row in rows if "/clap/" in row["path"]]
    if own:
        return own
    family = name.split("-")[0]
    files = sorted((corpus / "oneshots" / "clap").glob(f"{name}__*")) or sorted(
        (corpus / "oneshots" / "clap").glob(f"{family}*__*")
    )
    template = next((row for row in rows if "38" in row["midi_notes"].split()), None)
    if not files or template is None:
        return []
    path = files[-1].relative_to(corpus).as_posix()
    return [{**template, "path": path, "vel_lo": "1", "vel_hi": "127", "ref_vel": "120"}]


def _load_layer(corpus: Path, row: dict[str, str], samplerate: int) -> Layer:
    path = corpus / row["path"]
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise GhostnoteError(f"kit sample {path}: cannot be read: {error}") from None
    mono = audio.mean(axis=1)
    if rate != samplerate:
        mono = soxr.resample(mono, rate, samplerate, quality="VHQ")
    mono = mono * np.float32(10.0 ** (float(row["gain_db"]) / 20.0))
    return Layer(
        mono.astype(np.float32),
        int(row["vel_lo"]),
        int(row["vel_hi"]),
        int(row["round_robin"]),
        row["vel_track"] == "1",
        float(row["ref_vel"]),
    )
