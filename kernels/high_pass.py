"""The filter between a body and the WaveNet that plays above it (`body.py`). Any thread."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .spec import ModelSpec

TOP = 0.4
"""Where a body ends and the WaveNet begins, by the rate of the knots: 1.6 kHz by 4 in 1 ms. Knots with
slopes carry a little more."""


def high_pass(spec: ModelSpec) -> npt.NDArray[np.float32]:
    """Return the filter as b0, b1, b2, a1, a2, float32 [5].

    Butterworth of the second order, -3 dB at `TOP`, by the bilinear transform.
    """
    k = np.tan(np.pi * TOP / spec.body_span)
    scale = 1.0 / (1.0 + np.sqrt(2.0) * k + k * k)
    b0, a1, a2 = scale, 2.0 * (k * k - 1.0) * scale, (1.0 - np.sqrt(2.0) * k + k * k) * scale
    return np.array([b0, -2.0 * b0, b0, a1, a2], np.float32)
