"""The ears of `ghostnote eval`: which roles begin when, in any mixture, by a trained classifier.

Two steps. *Candidates*: wherever some part of the spectrum rises over the 15 ms before; there are
far too many of them. *Roles*: a small multi-label network looks at the levels from 80 ms before to
140 ms after a candidate and says of each role whether it begins there. `ears_training.py` trains
it on real one-shots. The same ears hear the rendered truth and the generated sound.

All listening is done at 24 kHz (or the model's rate, if lower): so models of 24, 32 and 48 kHz are
judged by the same ears. NumPy only; an `Ears` is never changed, any thread.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from .mel import band_edges, levels

FLOATS = npt.NDArray[np.float32]
AUDIO = npt.NDArray[np.float32]

HEARING_RATE = 24_000
STEP_SECONDS = 0.005
WINDOW_SECONDS = 0.024
PER_OCTAVE = 3.5
HIGHEST_HZ = 11_000.0
PARTS = 4  # of the spectrum; a rise in one of them makes a candidate
RISE_DB = 2.0
LOOKS = (-16, -10, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 28)
"""The frames around a candidate that are looked at."""

TOLERANCE_SECONDS = 0.02  # of issue and literature: an onset within it is that hit's


def hearing_rate(samplerate: int) -> int:
    """Return the rate in Hz at which a sound of this rate is listened to."""
    return min(samplerate, HEARING_RATE)


def to_hearing_rate(audio: AUDIO, samplerate: int) -> AUDIO:
    """Return audio at the rate of the ears; the filter is linear in phase: nothing is delayed."""
    rate = hearing_rate(samplerate)
    if rate == samplerate:
        return audio
    return np.asarray(soxr.resample(audio, samplerate, rate, quality="HQ"), np.float32)


def candidates(found: FLOATS, rise_db: float = RISE_DB) -> npt.NDArray[np.int64]:
    """Return the frames at which something may begin, given levels [frames, bands].

    That is where some part of the spectrum rises by `rise_db` in the mean of its bands.
    """
    count = len(found)
    padded = np.pad(found, ((4, 2), (0, 0)), mode="edge")
    before = np.max([padded[i : i + count] for i in range(3)], axis=0)  # 20 to 10 ms ago
    after = np.maximum(padded[4 : 4 + count], padded[5 : 5 + count])
    rise = np.maximum(after - before, 0.0)
    split = np.array_split(rise, min(PARTS, rise.shape[1]), axis=1)
    parts = np.stack([part.mean(axis=1) for part in split], axis=1)
    peaks = (parts == _highest(parts, 3)) & (parts >= rise_db)
    strength = np.where(peaks, parts, 0.0).max(axis=1)
    # Of two parts that rise one after the other, the one that rises more tells the time.
    strength += 1e-3 * parts.sum(axis=1) * peaks.any(axis=1)
    return np.flatnonzero((strength > 0.0) & (strength == _highest(strength[:, None], 2)[:, 0]))


def _highest(values: FLOATS, reach: int) -> FLOATS:
    """Return the highest value within `reach` frames, [frames, columns]."""
    padded = np.pad(values, ((reach, reach), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    return np.asarray(windows.max(axis=-1))


def look(audio: AUDIO, rate: int) -> tuple[npt.NDArray[np.float64], FLOATS]:
    """Return times of the candidates in s [n] and what is seen around each, float32 [n, D].

    Parameters
    ----------
    audio : float32 [samples]
        At the hearing rate.
    rate : int
        That rate in Hz.
    """
    edges = band_edges(rate, PER_OCTAVE, HIGHEST_HZ)
    found = levels(audio, rate, edges, STEP_SECONDS, WINDOW_SECONDS)
    at = candidates(found)
    first, last = -LOOKS[0], LOOKS[-1]
    padded = np.pad((found + 60.0) / 30.0, ((first, last), (0, 0)), mode="edge")
    seen = np.concatenate([padded[first + offset + at] for offset in LOOKS], axis=1)
    # At 22,050 Hz and the like a step is no whole number of samples: it is what was taken for one.
    times = at * (round(STEP_SECONDS * rate) / rate)
    return np.asarray(times, np.float64), np.asarray(seen, np.float32)


def candidates_of(audio: AUDIO, rate: int) -> list[float]:
    """Return the times of the candidates in s."""
    return [float(t) for t in look(audio, rate)[0]]


@dataclass(frozen=True)
class Ears:
    """A trained classifier of roles.

    Attributes
    ----------
    rate : int
        Hearing rate in Hz.
    roles : tuple of str
    mean : float32 [D]
        Taken off what is seen.
    layers : tuple of (weight [in, out], bias [out])
        Dense layers with ReLU between them; the first also scales and projects.
    thresholds : float32 [roles]
        From which likelihood on a role counts as heard.
    told : dict
        How well it hears real drums, as `ghostnote eval` prints it.
    """

    rate: int
    roles: tuple[str, ...]
    mean: FLOATS
    layers: tuple[tuple[FLOATS, FLOATS], ...]
    thresholds: FLOATS
    told: dict[str, Any]

    def likelihoods(self, seen: FLOATS) -> FLOATS:
        """Return how likely each role begins, float32 [n, roles], given what was seen [n, D]."""
        value = seen - self.mean
        for weight, bias in self.layers[:-1]:
            value = np.maximum(value @ weight + bias, 0.0)
        weight, bias = self.layers[-1]
        score = np.clip(value @ weight + bias, -30.0, 30.0)  # beyond, exp overflows
        return np.asarray(1.0 / (1.0 + np.exp(-score)), np.float32)

    def hear(self, audio: AUDIO) -> dict[str, list[float]]:
        """Return when (s) each role begins in audio at the hearing rate, in order of time."""
        times, seen = look(audio, self.rate)
        likely = self.likelihoods(seen)
        return {
            role: [float(t) for t in times[likely[:, i] >= self.thresholds[i]]]
            for i, role in enumerate(self.roles)
        }

    def save(self, path: Path) -> None:
        """Write all of it as an .npz file without pickled objects."""
        arrays = {f"weight{i}": weight for i, (weight, _) in enumerate(self.layers)}
        arrays |= {f"bias{i}": bias for i, (_, bias) in enumerate(self.layers)}
        told = json.dumps({"rate": self.rate, "roles": self.roles, "told": self.told})
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
        np.savez(
            part,
            mean=self.mean,
            thresholds=self.thresholds,
            json=np.frombuffer(told.encode(), np.uint8),
            allow_pickle=False,
            **arrays,
        )
        part.replace(path)


def load_ears(path: Path) -> Ears | None:
    """Return ears as saved, or None where there are none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["json"].tobytes())
            count = sum(name.startswith("weight") for name in file.files)
            return Ears(
                about["rate"],
                tuple(about["roles"]),
                file["mean"],
                tuple((file[f"weight{i}"], file[f"bias{i}"]) for i in range(count)),
                file["thresholds"],
                about["told"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def matches(events: Sequence[float], seconds: float) -> bool:
    """Tell whether one of the events (s) lies within the tolerance of a time."""
    return any(abs(event - seconds) <= TOLERANCE_SECONDS for event in events)
