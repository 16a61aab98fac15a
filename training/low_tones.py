"""Whether low tones are where they ought to be: played sound beside the truth below 300 Hz.

A model is asked for the very hits of the truth, so a kick that holds its tone lies on the truth's,
period for period; rumble of the same level does not. Pure functions; any thread.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

AUDIO = npt.NDArray[np.float32]

HIGHEST_HZ = 300.0


def low_products(truth: AUDIO, generated: AUDIO, samplerate: int) -> tuple[float, float, float]:
    """Return the sums, below 300 Hz, of truth times generated, of truth² and of generated²."""
    size = 2 * len(truth)  # with silence behind, that the end does not follow on the beginning
    below = round(HIGHEST_HZ / samplerate * size)
    wanted, found = (np.fft.rfft(one, size)[1:below] for one in (truth, generated))
    both = float((wanted * found.conj()).real.sum())
    return both, float(np.square(np.abs(wanted)).sum()), float(np.square(np.abs(found)).sum())


def correlation(products: list[tuple[float, float, float]]) -> float | None:
    """Return the correlation, -1 to 1, of all pieces' products together; None for silence."""
    both, wanted, found = np.sum(products, axis=0) if products else (0.0, 0.0, 0.0)
    if not min(wanted, found) > 0.0:
        return None
    return float(both / np.sqrt(wanted * found))
