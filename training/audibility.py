"""Which hits of a mixture can be heard at all: by the bands that they hold, whoever listens.

A hit that lies under a louder one is there in the notes but not in the sound; to ask a listener
for it would be to ask for guessing. NumPy only; pure functions, any thread.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .ears import HIGHEST_HZ, PER_OCTAVE
from .mel import band_edges, powers

FLOATS = npt.NDArray[np.float32]
AUDIO = npt.NDArray[np.float32]
BANDS = npt.NDArray[np.bool_]

PEAK_SECONDS = 0.04  # a hit's level is that of this time
STEP_SECONDS = 0.01
WINDOW_SECONDS = 0.02
STRONG = 1e-3  # of the strongest band: 30 dB under it a band still counts as a hit's own
SOFTEST = 1e-7  # mean square in a band: -70 dBFS
SILENT = 1e-6  # mean square of a hit's strongest band: -60 dBFS
AUDIBLE_SHARE = 0.5


def beginning(audio: AUDIO, seconds: float, rate: int) -> FLOATS:
    """Return the mean squares of bands [B] in the `PEAK_SECONDS` from a time on."""
    first, length = round(seconds * rate), round((PEAK_SECONDS + WINDOW_SECONDS) * rate)
    piece = np.zeros(length, np.float32)
    found = audio[max(first, 0) : max(first + length, 0)]
    piece[max(-first, 0) : max(-first, 0) + len(found)] = found
    edges = band_edges(rate, PER_OCTAVE, HIGHEST_HZ)
    frames = powers(piece, rate, edges, STEP_SECONDS, WINDOW_SECONDS)
    return np.asarray(frames[1 : 1 + round(PEAK_SECONDS / STEP_SECONDS)].mean(axis=0))


def surroundings(audio: AUDIO, seconds: float, rate: int) -> FLOATS:
    """Return what a hit must stand out from, mean squares of bands [B].

    That is half of all that sounds at its time, or what sounded in the 50 ms before, if that was
    louder: the ear needs longer to get over a loud sound (forward masking).
    """
    now = beginning(audio, seconds, rate)
    before = beginning(audio, seconds - PEAK_SECONDS - WINDOW_SECONDS, rate)
    return np.asarray(np.maximum(0.5 * now, before))


def audible(solo: FLOATS, around: FLOATS, share: float = AUDIBLE_SHARE) -> BANDS | None:
    """Return in which bands a hit stands out, or None if it is masked.

    Parameters
    ----------
    solo, around : float32 [B]
        The `beginning` of the hit alone, and its `surroundings` in the mixture.
    share : float
        It is masked unless it stands out in this share of the bands that are its own, or where
        its strongest band is under -60 dBFS.
    """
    own = (solo >= STRONG * solo.max()) & (solo >= SOFTEST)
    heard = own & (solo >= around)
    return heard if solo.max() >= SILENT and heard.sum() >= share * own.sum() else None
