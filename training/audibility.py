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
AUDIBLE_SHARE = 0.5


def beginning(audio: AUDIO, seconds: float, rate: int) -> FLOATS:
    """Return the mean squares of bands [B] in the `PEAK_SECONDS` from a time on."""
    first, length = round(seconds * rate), round((PEAK_SECONDS + WINDOW_SECONDS) * rate)
    piece = np.zeros(length, np.float32)
    found = audio[first : first + length]
    piece[: len(found)] = found
    edges = band_edges(rate, PER_OCTAVE, HIGHEST_HZ)
    frames = powers(piece, rate, edges, STEP_SECONDS, WINDOW_SECONDS)
    return np.asarray(frames[1 : 1 + round(PEAK_SECONDS / STEP_SECONDS)].mean(axis=0))


def audible(solo: FLOATS, mixture: FLOATS, share: float = AUDIBLE_SHARE) -> BANDS | None:
    """Return in which bands a hit holds half of all that sounds, or None if it is masked.

    Parameters
    ----------
    solo, mixture : float32 [B]
        The `beginning` of the hit alone, and of all that sounds at its time.
    share : float
        It is masked unless it holds this share of the bands that are its own.
    """
    own = (solo >= STRONG * solo.max()) & (solo >= SOFTEST)
    heard = own & (solo >= 0.5 * mixture)
    return heard if own.any() and heard.sum() >= share * own.sum() else None
