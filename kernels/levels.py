"""Samples in [-1, 1] as the levels that a model speaks, mu-law or 16 bit, and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from . import mulaw
from .emphasis import deemphasise, emphasised
from .spec import LEVELS_16, ModelSpec

HALF = LEVELS_16 // 2


def of_sound(
    spec: ModelSpec, sound: npt.ArrayLike, before: npt.ArrayLike = 0.0
) -> npt.NDArray[np.int64]:
    """Return the levels of sound [..., n] that follows a sample [...]: of what is pre-emphasised."""
    return encode(spec, emphasised(spec, sound, before))


def to_sound(spec: ModelSpec, levels: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return the sound, float32 [n], of levels [n] that begin at silence."""
    rows = decode(spec, levels)[None]
    deemphasise(spec, rows, np.zeros(1, np.float32))
    sound: npt.NDArray[np.float32] = rows[0]
    return sound


def encode(spec: ModelSpec, samples: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the nearest level of each sample; values outside [-1, 1] are clipped."""
    if not spec.mixtures:
        return mulaw.encode(samples, spec.levels).astype(np.int64)
    x = np.clip(np.asarray(samples, np.float64), -1.0, 1.0)
    return np.asarray(np.clip(np.floor(x * HALF + HALF + 0.5), 0, LEVELS_16 - 1), np.int64)


def decode(spec: ModelSpec, levels: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return the amplitude of each level."""
    at = np.asarray(levels, np.int64)
    if not spec.mixtures:
        return mulaw.decode_table(spec.levels)[at]
    return np.asarray((at - HALF) / HALF, np.float32)  # exact: 16 bit fit in a float32
