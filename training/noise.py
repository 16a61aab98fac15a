"""What is left between the hits: how loud, and whether it hums or hisses.

*Between hits* begins 300 ms after the last one, in pieces of 50 ms. *Tails* are what follows a hit
until the next: the flatness of their spectra (the geometric by the arithmetic mean of the power,
Johnston 1988) is 0 dB for a click, some -2.5 dB for white noise, and far below for a tone: a model
whose tails hiss where the truth rings shows here. Pure functions; any thread.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ghostnote.inference.midi import Hit

AUDIO = npt.NDArray[np.float32]

QUIET_SECONDS = 0.3  # "between hits" begins so long after one
PIECE_SECONDS = 0.05  # ... and is measured in pieces of this length
TAIL_FROM, TAIL_TO = 0.06, 0.4  # s after a hit
LOWEST_HZ, HIGHEST_HZ = 60.0, 11_000.0
SILENT = 1e-6  # mean square under which nothing is called tail: -60 dBFS


def decibels(energy: float) -> float:
    """Return a mean square in dBFS, at least -120."""
    return 10.0 * math.log10(max(energy, 1e-12))


def quiet_places(
    hits: Sequence[Hit], truth: AUDIO, generated: AUDIO, samplerate: int
) -> list[tuple[float, float]]:
    """Return (truth, generated) mean squares of 50 ms pieces over 300 ms after the last hit."""
    size = round(PIECE_SECONDS * samplerate)
    times = [*(round(t * samplerate) for t, _, _ in hits), len(truth)]
    places = []
    for now, then in itertools.pairwise(times):
        start = now + round(QUIET_SECONDS * samplerate)
        for at in range(start, then - size + 1, size):
            places.append((_energy(truth[at : at + size]), _energy(generated[at : at + size])))
    return places


def tails(
    hits: Sequence[Hit], truth: AUDIO, generated: AUDIO, samplerate: int
) -> list[tuple[float, float]]:
    """Return (truth, generated) flatness in dB of 50 ms pieces of tails that sound in both."""
    size = round(PIECE_SECONDS * samplerate)
    times = [*(t for t, _, _ in hits), len(truth) / samplerate]
    found = []
    for now, then in itertools.pairwise(times):
        first, last = now + TAIL_FROM, min(then, now + TAIL_TO)
        for at in range(round(first * samplerate), round(last * samplerate) - size + 1, size):
            both = (truth[at : at + size], generated[at : at + size])
            if min(_energy(part) for part in both) >= SILENT:
                found.append((flatness_db(both[0], samplerate), flatness_db(both[1], samplerate)))
    return found


def flatness_db(audio: AUDIO, samplerate: int) -> float:
    """Return the spectral flatness of a piece of sound in dB, up to 11 kHz."""
    power = np.square(np.abs(np.fft.rfft(audio * np.hanning(len(audio))))) + 1e-12
    hertz = np.fft.rfftfreq(len(audio), 1.0 / samplerate)
    power = power[(hertz >= LOWEST_HZ) & (hertz <= min(HIGHEST_HZ, 0.46 * samplerate))]
    return float(10.0 * (np.log10(power).mean() - np.log10(power.mean())))


def _energy(piece: AUDIO) -> float:
    return float(np.mean(np.square(piece, dtype=np.float64)))
