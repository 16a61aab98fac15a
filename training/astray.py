"""Windows led astray: what a network hears is spoilt, what it is to say is not.

A network that is trained on real pasts alone never hears its own mistakes, and one mistake leads to the
next until it hums or hisses for good. So it is shown pasts that are wrong, a little (`noisy`) or
altogether (`strayed`), and learns to come back to the drums that are asked for. Pure functions of a random
generator and their arguments; any thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ghostnote.kernels import levels
from ghostnote.kernels.spec import ModelSpec

INTS = npt.NDArray[np.int64]

MULAW_STEP = np.log1p(255.0) / 128.0
"""A step of mu-law 256 on the scale of log(1 + 255 |x|)."""

MOST_STRETCHES = 4
SHORTEST, LONGEST = 0.002, 0.3  # s
QUIETEST = 0.003  # amplitude of foreign noise and cycles, up to full scale
LONGEST_CYCLE = 128  # samples


def noisy(spec: ModelSpec, inputs: INTS, noise: npt.NDArray[np.float64]) -> INTS:
    """Return levels [n] moved by noise [n] in steps of mu-law 256."""
    if spec.levels == 256:
        return np.clip(inputs + np.rint(noise).astype(np.int64), 0, 255)
    samples = levels.decode(spec, inputs).astype(np.float64)
    loud = np.sign(samples) * np.log1p(255.0 * np.abs(samples)) + noise * MULAW_STEP
    return levels.encode(spec, np.sign(loud) * np.expm1(np.abs(loud)) / 255.0)


def strayed(
    spec: ModelSpec,
    inputs: INTS,
    rng: np.random.Generator,
    other: Callable[[int], npt.NDArray[np.integer]],
) -> INTS:
    """Return levels [n] of which 1 to 4 stretches of 2 to 300 ms are replaced by something else.

    By other drums, by noise, or by a short cycle over and over, as a stream that is caught in one plays:
    what a model that goes astray may fall into.

    Parameters
    ----------
    other : callable
        Returns so many levels of any other place.
    """
    found = inputs.copy()
    for _ in range(int(rng.integers(1, MOST_STRETCHES + 1))):
        seconds = math.exp(rng.uniform(math.log(SHORTEST), math.log(LONGEST)))
        length = min(max(round(seconds * spec.samplerate), 1), len(found))
        start = int(rng.integers(0, len(found) - length + 1))
        kind = rng.integers(0, 3)
        if kind == 0:
            found[start : start + length] = other(length)
            continue
        period = length if kind == 1 else int(rng.integers(1, LONGEST_CYCLE + 1))
        loud = math.exp(rng.uniform(math.log(QUIETEST), 0.0))
        sound = np.resize(rng.standard_normal(min(period, length)) * loud, length)
        found[start : start + length] = levels.encode(spec, sound)
    return found
