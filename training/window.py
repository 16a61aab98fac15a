"""Window: a stretch of sound to train on. Immutable; any thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Window:
    """Inputs and targets of one stretch.

    Attributes
    ----------
    inputs, targets : int64 [T]
        Levels; targets[t] follows inputs[t].
    rows : float32 [T / hop, C] or None
        Control features of the hops of the targets.
    weights : float32 [T]
        How much each target counts in the loss.
    context : int
        Number of leading targets that have no whole receptive field before them.
    """

    inputs: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    rows: npt.NDArray[np.float32] | None
    weights: npt.NDArray[np.float32]
    context: int
