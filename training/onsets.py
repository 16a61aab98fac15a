"""Hearing hits: in which band each role of a kit shows, and the onsets in a band.

The same detector hears the rendered truth and the generated sound, so the score of the truth is
the ceiling. NumPy only; pure functions, any thread.

Bands: `role_bands` measures the one-shots of a kit. For each role it takes the stretch of 1 to
2.7 octaves, out of a grid of thirds of an octave from 30 Hz up, that holds at least a fifth of
the energy of the role's first 40 ms and in which the role stands out most against kick, snare
and hat of the same kit.

Onsets: spectral flux of log energies with a maximum filter in time (after SuperFlux, Boeck &
Widmer 2013). For each millisecond and third of an octave: the level less the highest level of
the `LOOKBACK_SECONDS` before, nothing where it falls; the mean over the band is the novelty in
dB. An onset is a novelty that is the highest within `APART_SECONDS`, at least `RISE_DB`, and as
much above the mean of the `MEAN_SECONDS` around it. Its time is where the energy of the band has
risen half way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FLOATS = npt.NDArray[np.float64]
AUDIO = npt.NDArray[np.float32]

FRAME_SECONDS = 0.001
LOW_WINDOW_SECONDS = 0.024  # for bands that begin under LOW_HZ: a kick needs the resolution
HIGH_WINDOW_SECONDS = 0.010
LOW_HZ = 300.0
LOOKBACK_SECONDS = 0.03
APART_SECONDS = 0.02
MEAN_SECONDS = 0.3
RISE_DB = 3.5
FLOOR_DB = -80.0  # less than this in a third of an octave counts as silence
SHOT_SECONDS = 0.04


@dataclass(frozen=True)
class Band:
    """A stretch of the spectrum in Hz."""

    low: float
    high: float


@dataclass(frozen=True)
class Onset:
    """Something that began: when (s), by how much it rose (dB) and how loud it got (dBFS)."""

    seconds: float
    rise: float
    level: float


def third_octaves(samplerate: int) -> FLOATS:
    """Return the edges of the grid of bands in Hz, from 30 Hz to nearly half the rate."""
    count = int(3 * math.log2(0.46 * samplerate / 30.0))
    return np.asarray(30.0 * 2.0 ** (np.arange(count + 1) / 3.0), np.float64)


def role_bands(
    shots: Mapping[str, AUDIO], samplerate: int, against: Sequence[str]
) -> dict[str, Band]:
    """Return the band in which each role shows most clearly.

    Parameters
    ----------
    shots : dict of float [frames]
        One-shot of each role, all at the level at which they sound together.
    samplerate : int
        Hz.
    against : sequence of str
        The roles that each must stand out from (itself excepted).
    """
    edges = third_octaves(samplerate)
    energy = {role: _onset_energy(shot, samplerate, edges) for role, shot in shots.items()}
    return {role: _clearest(role, energy, edges, against) for role in shots}


def _onset_energy(shot: AUDIO, samplerate: int, edges: FLOATS) -> FLOATS:
    frames = int(SHOT_SECONDS * samplerate)
    begun = np.zeros(4 * frames)
    head = np.asarray(shot[:frames], np.float64)
    begun[: len(head)] = head * np.hanning(2 * frames)[frames : frames + len(head)]
    power = np.abs(np.fft.rfft(begun)) ** 2
    hertz = np.fft.rfftfreq(len(begun), 1.0 / samplerate)
    sums = [power[(hertz >= a) & (hertz < b)].sum() for a, b in itertools.pairwise(edges)]
    return np.asarray(sums) + 1e-9


def _clearest(
    role: str, energy: Mapping[str, FLOATS], edges: FLOATS, against: Sequence[str]
) -> Band:
    own = energy[role]
    others = [energy[other] for other in against if other != role and other in energy]
    best, band = -math.inf, Band(float(edges[0]), float(edges[-1]))
    for first in range(len(own)):
        for last in range(first + 3, min(first + 8, len(own)) + 1):
            share = own[first:last].sum() / own.sum()
            if share < 0.2:
                continue
            rest = sum(other[first:last].sum() for other in others)
            score = 10.0 * math.log10(own[first:last].sum() / (rest + 1e-9))
            score += 5.0 * math.log10(share)
            if score > best:
                best, band = score, Band(float(edges[first]), float(edges[last]))
    return band


@dataclass(frozen=True)
class BandLevels:
    """What a band held, frame by frame (1 ms each, centred on its time).

    Attributes
    ----------
    thirds : float [frames, thirds]
        Level of each third of an octave in dBFS (of the RMS), at least `FLOOR_DB`.
    energy : float [frames]
        Mean square of the whole band.
    reach : int
        Half the length of the analysis window in frames.
    """

    thirds: FLOATS
    energy: FLOATS
    reach: int

    def peak_db(self, start: float, stop: float) -> float:
        """Return the highest level in dBFS from `start` to `stop` seconds."""
        first = max(round(start / FRAME_SECONDS), 0)
        energy = self.energy[first : max(round(stop / FRAME_SECONDS), first + 1)]
        return decibels(float(energy.max())) if len(energy) else FLOOR_DB


def decibels(energy: float) -> float:
    """Return a mean square in dBFS, at least -120."""
    return 10.0 * math.log10(max(energy, 1e-12))


def band_levels(audio: AUDIO, samplerate: int, band: Band) -> BandLevels:
    """Return the levels of a band over time."""
    low = band.low < LOW_HZ
    window_seconds = LOW_WINDOW_SECONDS if low else HIGH_WINDOW_SECONDS
    step = round(FRAME_SECONDS * samplerate)
    size = round(window_seconds * samplerate)
    window = np.hanning(size + 2)[1:-1]
    padded = np.concatenate([np.zeros(size // 2), audio, np.zeros(size)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(audio) : step]
    points = size * (4 if low else 1)  # zero-padded, so that each third has bins of its own
    hertz = np.fft.rfftfreq(points, 1.0 / samplerate)
    first, last = np.searchsorted(hertz, (band.low, band.high))
    # In pieces: eight seconds at 1 ms and 24 ms would be some 100 MB of spectra.
    power = np.concatenate(
        [
            np.abs(np.fft.rfft(frames[i : i + 512] * window, points)[:, first:last]) ** 2
            for i in range(0, len(frames), 512)
        ]
    )
    power *= 2.0 / (points * float(np.sum(window**2)))
    count = max(1, round(3.0 * math.log2(band.high / band.low)))
    edges = band.low * (band.high / band.low) ** (np.arange(count) / count)
    starts = np.searchsorted(hertz[first:last], edges)
    thirds = np.add.reduceat(power, starts, axis=1)
    floor = 10.0 ** (FLOOR_DB / 10.0)
    return BandLevels(
        10.0 * np.log10(np.maximum(thirds, floor)), power.sum(axis=1), size // 2 // step
    )


def novelty(levels: BandLevels) -> FLOATS:
    """Return by how much each frame rises over the frames before it, dB [frames]."""
    lookback = round(LOOKBACK_SECONDS / FRAME_SECONDS)
    lead = np.full((lookback + levels.reach, levels.thirds.shape[1]), FLOOR_DB)
    past = np.concatenate([lead, levels.thirds])[: len(levels.thirds) + lookback]
    highest = np.lib.stride_tricks.sliding_window_view(past, lookback, axis=0).max(axis=-1)
    rise = levels.thirds - highest[: len(levels.thirds)]
    return np.asarray(np.maximum(rise, 0.0).mean(axis=1), np.float64)


def find_onsets(levels: BandLevels, least_db: float) -> list[Onset]:
    """Return the onsets in a band that get as loud as `least_db` (dBFS), in order of time."""
    rise = novelty(levels)
    apart = round(APART_SECONDS / FRAME_SECONDS)
    around = round(MEAN_SECONDS / FRAME_SECONDS)
    mean = np.convolve(rise, np.full(around, 1.0 / around), "same")
    padded = np.pad(rise, apart, constant_values=-1.0)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * apart + 1).max(axis=1)
    peaks = np.nonzero((rise == highest) & (rise >= RISE_DB) & (rise >= mean + RISE_DB))[0]
    onsets: list[Onset] = []
    for peak in peaks:
        seconds, energy = _half_way(levels, int(peak))
        level = decibels(energy)
        if level >= least_db and (not onsets or seconds - onsets[-1].seconds >= APART_SECONDS):
            onsets.append(Onset(seconds, float(rise[peak]), level))
    return onsets


def _half_way(levels: BandLevels, peak: int) -> tuple[float, float]:
    """Return when (s) the energy around a peak had risen half way, and its highest value."""
    start = max(peak - 3 * levels.reach, 0)
    stretch = levels.energy[start : peak + levels.reach + 1]
    top = int(np.argmax(stretch[-(2 * levels.reach + 1) :])) + max(
        len(stretch) - (2 * levels.reach + 1), 0
    )
    bottom = float(stretch[: top + 1].min())
    half = bottom + 0.5 * (float(stretch[top]) - bottom)
    at = top
    while at > 0 and stretch[at - 1] >= half:
        at -= 1
    if at == 0:
        return start * FRAME_SECONDS, float(stretch[top])
    part = (half - stretch[at - 1]) / max(float(stretch[at] - stretch[at - 1]), 1e-30)
    return (start + at - 1 + float(part)) * FRAME_SECONDS, float(stretch[top])
