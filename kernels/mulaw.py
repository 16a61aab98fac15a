"""Mu-law companding between samples in [-1, 1] and levels (ITU-T G.711; WaveNet paper, 2.2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def encode(samples: npt.ArrayLike, levels: int = 256) -> npt.NDArray[np.int16]:
    """Return the nearest mu-law level of each sample.

    Parameters
    ----------
    samples : array, any shape
        Amplitudes; values outside [-1, 1] are clipped.
    levels : int
        Number of levels; mu = levels - 1.

    >>> encode([-1.0, 0.0, 1.0]).tolist()
    [0, 128, 255]
    """
    mu = levels - 1
    x = np.clip(np.asarray(samples, np.float64), -1.0, 1.0)
    companded = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
    # Round to levels with silence on a level of its own (levels // 2), not between two:
    # a model that is silent then emits exact zeros.
    rounded = np.floor(companded * (levels / 2) + levels // 2 + 0.5)
    return np.asarray(np.clip(rounded, 0, mu), np.int16)


def decode_table(levels: int = 256) -> npt.NDArray[np.float32]:
    """Return the amplitude of each level, shape [levels].

    >>> float(decode_table()[128])
    0.0
    """
    mu = levels - 1
    companded = np.clip((np.arange(levels) - levels // 2) / (levels / 2), -1.0, 1.0)
    amplitude = np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(mu)) / mu
    return np.asarray(amplitude, np.float32)
