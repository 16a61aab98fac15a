"""What a network's outputs say of levels, in nats, in NumPy float64; `losses.py` is it in torch.

The slow and obvious form, by which `ghostnote eval` measures too. Pure functions; any thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.kernels.spec import LEAST_LOG_SCALE, LEVELS_16, ModelSpec

DOUBLES = npt.NDArray[np.float64]


def nats(
    spec: ModelSpec, outputs: npt.NDArray[np.floating[Any]], levels: npt.NDArray[np.int64]
) -> DOUBLES:
    """Return the surprise [n], in nats, of levels [n] under the outputs [n, O] before them."""
    doubles = np.asarray(outputs, np.float64)
    if not spec.mixtures:
        return np.asarray(-_log_softmax(doubles)[np.arange(len(levels)), levels])
    logits, means, log_scales = np.split(doubles, 3, axis=1)  # [n, K] each
    scales = np.exp(np.maximum(log_scales, LEAST_LOG_SCALE))
    half = LEVELS_16 // 2
    above = ((levels[:, None] - half + 0.5) / half - means) / scales
    below = ((levels[:, None] - half - 0.5) / half - means) / scales
    # The end bins are open: all that would be clipped is theirs.
    above[levels == LEVELS_16 - 1] = np.inf
    below[levels == 0] = -np.inf
    found = np.logaddexp.reduce(_log_softmax(logits) + _log_between(below, above), axis=1)
    return np.asarray(-found)


def _log_softmax(logits: DOUBLES) -> DOUBLES:
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def _log_between(below: DOUBLES, above: DOUBLES) -> DOUBLES:
    """Return log(sigmoid(above) - sigmoid(below)), exact where both are nearly 0 or nearly 1.

    The difference is sigmoid(above) * sigmoid(-below) * (1 - exp(below - above)).
    """
    sides = -np.logaddexp(0.0, -above) - np.logaddexp(0.0, below)
    return np.asarray(sides + np.log(-np.expm1(below - above)))
