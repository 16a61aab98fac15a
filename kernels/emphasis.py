"""Pre-emphasis: what levels speak of, and the sound that it stands for (LPCNet, arXiv 1810.11846).

e[n] = x[n] - a * x[n - 1] goes in, x[n] = e[n] + a * x[n - 1] comes out, a the model's `emphasis`.
In the network's own loop all is e; the CPU's kernel gives x out, after the GPU's and onnxruntime's
comes `deemphasise`. Rounded to float32 after each operation, so that all give the same bits.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from .memory import inner
from .spec import ModelSpec

FLOATS = npt.NDArray[np.float32]

LEAST = np.float32(2.0**-24)
"""Softer sound is silence, -144 dBFS: else the filter would ring in ever smaller numbers."""


def emphasised(
    spec: ModelSpec, samples: npt.ArrayLike, before: npt.ArrayLike = 0.0
) -> npt.NDArray[np.float64]:
    """Return what a model's levels speak of in sound [..., n] that follows a sample [...]."""
    x = np.asarray(samples, np.float64)
    first = np.broadcast_to(np.asarray(before, np.float64), x.shape[:-1])[..., None]
    return np.asarray(x - spec.emphasis * np.concatenate([first, x[..., :-1]], axis=-1))


@inner
def sounding(sample: np.float32, before: np.float32, emphasis: np.float32) -> np.float32:
    """Return the sound x[n] of e[n] after x[n - 1], all float32."""
    x = sample + emphasis * before
    return x if abs(x) >= LEAST else np.float32(0.0)


def deemphasise(spec: ModelSpec, rows: FLOATS, before: FLOATS) -> None:
    """Turn e [streams, n] into the sound, in place; `before` [streams] is and becomes its last.

    Without emphasis e is the sound, and `before` is left, as it counts for nothing.
    """
    if spec.emphasis:
        _deemphasise(rows, before, np.float32(spec.emphasis))


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _deemphasise(rows: FLOATS, before: FLOATS, emphasis: np.float32) -> None:
    for stream in range(rows.shape[0]):
        x = before[stream]
        for i in range(rows.shape[1]):
            x = sounding(rows[stream, i], x, emphasis)
            rows[stream, i] = x
        before[stream] = x
