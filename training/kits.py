"""Drum kits as CSV tables of one-shots, and the rendering of hits with them.

The tables are those of the corpus: one row per sample with its role, MIDI notes, velocity range,
round robin, gain and velocity tracking. A ghostnote role is *one* sound of a kit: a trigger says
nothing that would tell a side articulation from the main one, so a network trained on both could
only guess. Runs in the training process; single-threaded.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ghostnote.kernels.errors import GhostnoteError

from .dataset import SILENCE_PEAK

FLOATS = npt.NDArray[np.float32]
Row = dict[str, str]

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

COLUMNS = {
    "midi_notes",
    "path",
    "vel_lo",
    "vel_hi",
    "round_robin",
    "gain_db",
    "vel_track",
    "ref_vel",
}
VELOCITY_EXPONENT = 1.6  # the corpus's own rule for samples that have one layer
LOUD_VELOCITY = 110.0
LOUD_PEAK = 0.6  # what kick and snare reach at LOUD_VELOCITY: leaves room for their sum
CHOKE_SECONDS = 0.005
LONGEST_SECONDS = 60.0


@dataclass(frozen=True)
class Layer:
    """One sample of a kit: audio [frames] at the kit's rate and when to play it."""

    file: str
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
    """A kit at one sample rate: the layers of each role; roles it lacks are absent.

    `skipped` lists the samples of its table that could not be used, {"file", "reason"}.
    """

    name: str
    samplerate: int
    layers: dict[str, tuple[Layer, ...]]
    skipped: tuple[dict[str, str], ...] = ()

    @property
    def files(self) -> set[str]:
        """The samples that it plays, as paths in the corpus."""
        return {layer.file for layers in self.layers.values() for layer in layers}

    def pick(self, role: str, velocity: float, turn: int) -> Layer:
        """Return the layer for a MIDI velocity; `turn` counts up for round robins."""
        layers = self.layers[role]
        fitting = [y for y in layers if y.velocity_low <= velocity <= y.velocity_high]
        if not fitting:
            fitting = [min(layers, key=lambda y: abs(y.reference_velocity - velocity))]
        return fitting[turn % len(fitting)]

    def mix(
        self,
        hits: Sequence[tuple[int, str, float]],
        frames: int,
        chokes: Sequence[tuple[str, str]] = (),
    ) -> npt.NDArray[np.float64]:
        """Return the sum of the sounds of `hits`, float64 [frames], as loud as it gets.

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
        fade = np.linspace(1.0, 0.0, max(2, round(self.samplerate * CHOKE_SECONDS)))
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
        return out

    def render(
        self,
        hits: Sequence[tuple[int, str, float]],
        frames: int,
        chokes: Sequence[tuple[str, str]] = (),
    ) -> FLOATS:
        """Return `mix` bent softly into [-1, 1], float32 [frames]."""
        return soft_clip(self.mix(hits, frames, chokes)).astype(np.float32)


def soft_clip(audio: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return audio unchanged below 0.7, bent smoothly towards 1 above: no hard clipping."""
    over = np.abs(audio) - 0.7
    return np.where(over > 0, np.sign(audio) * (0.7 + 0.3 * np.tanh(over / 0.3)), audio)


def load_kit(corpus: Path, name: str, samplerate: int, roles: Sequence[str]) -> Kit:
    """Read a kit's table `corpus/kits/<name>.csv` and its samples.

    Samples that cannot be used are left out and listed in `Kit.skipped`.

    Raises
    ------
    GhostnoteError
        If the table cannot be read, or the kit has neither a kick nor a snare to set its level by.
    """
    rows = read_table(corpus, name)
    skipped: list[dict[str, str]] = []
    layers: dict[str, tuple[Layer, ...]] = {}
    for role in roles:
        note = str(MAIN_NOTES[role])
        matching = [row for row in rows if note in row["midi_notes"].split()]
        if role == "clap" and not matching:
            matching = _clap_rows(corpus, name, rows)
        found = []
        for row in matching:
            try:
                found.append(load_layer(corpus, row, samplerate))
            except GhostnoteError as error:
                skipped.append({"file": row["path"], "reason": str(error)})
        if found:
            layers[role] = tuple(sorted(found, key=lambda layer: layer.round_robin))
    loudest = [
        np.abs(layer.audio).max() * layer.gain(LOUD_VELOCITY)
        for role in ("kick", "snare")
        for layer in layers.get(role, ())
        if layer.velocity_low <= LOUD_VELOCITY <= layer.velocity_high
    ]
    if not loudest:
        reason = f": {skipped[0]['file']} {skipped[0]['reason']}" if skipped else ""
        raise GhostnoteError(f"kit {name!r}: no usable kick or snare (notes 36, 38){reason}")
    level = np.float32(LOUD_PEAK / max(loudest))
    scaled = {
        role: tuple(replace(layer, audio=layer.audio * level) for layer in found)
        for role, found in layers.items()
    }
    return Kit(name, samplerate, scaled, tuple(skipped))


def read_table(corpus: Path, name: str) -> list[Row]:
    """Return the rows of a kit's table; raises GhostnoteError if it cannot be read."""
    table = corpus / "kits" / f"{name}.csv"
    try:
        with table.open(newline="") as file:
            reader = csv.DictReader(file)
            missing = COLUMNS - set(reader.fieldnames or ())
            rows = list(reader)
    except OSError as error:
        raise GhostnoteError(f"kit {name!r}: cannot read {table}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise GhostnoteError(f"kit {name!r}: {table} is no CSV table ({error})") from None
    if missing:
        raise GhostnoteError(f"kit {name!r}: {table} lacks the column {min(missing)!r}")
    return rows


def _clap_rows(corpus: Path, name: str, rows: list[Row]) -> list[Row]:
    """Return rows for a clap: the kits' notes have none, but most kits own a clap sample.

    Else a kit of the same family (the name up to the first dash) lends its own.
    """
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


def load_layer(corpus: Path, row: Row, samplerate: int) -> Layer:
    """Return the sample of a row of a kit's table; raises GhostnoteError if it cannot be used."""
    try:
        low, high, turn = (int(row[name]) for name in ("vel_lo", "vel_hi", "round_robin"))
        gain, reference = 10.0 ** (float(row["gain_db"]) / 20.0), float(row["ref_vel"])
        if not (0.0 < gain < 1e3 and 0.0 < reference <= 127.0):
            raise ValueError(f"gain_db {row['gain_db']}, ref_vel {row['ref_vel']}")
    except (ValueError, TypeError, OverflowError) as error:
        raise GhostnoteError(f"has an impossible number in the kit's table ({error})") from None
    try:
        with soundfile.SoundFile(corpus / row["path"]) as file:
            if file.frames > LONGEST_SECONDS * file.samplerate:
                raise GhostnoteError(f"is longer than {LONGEST_SECONDS:g} s, so no one-shot")
            audio, rate = file.read(dtype="float32", always_2d=True), file.samplerate
    except (OSError, soundfile.LibsndfileError) as error:
        raise GhostnoteError(f"cannot be read ({error})") from None
    mono = audio.mean(axis=1)
    if not np.isfinite(mono).all():
        raise GhostnoteError("holds values that are not numbers")
    if np.abs(mono).max(initial=0.0) < SILENCE_PEAK:
        raise GhostnoteError("is silent (peak under -60 dBFS)")
    if rate != samplerate:
        mono = soxr.resample(mono, rate, samplerate, quality="VHQ")
    mono = (mono * np.float32(gain)).astype(np.float32)
    return Layer(row["path"], mono, low, high, turn, row["vel_track"] == "1", reference)
