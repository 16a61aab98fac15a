"""A device that lanes are played on while it lasts: one model on the GPU.

Any thread may open lanes and lose the device; what has lost it is told once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ghostnote.kernels.backends import Streams, open_gpu, why_lost
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import Weights


class Device:
    """The GPU, for one model in one precision.

    Parameters
    ----------
    spec, weights, precision
        Of the model.
    tell : callable
        Told in one line, once, when the device is lost: the CPU goes on.

    Attributes
    ----------
    lost : bool
        From then on nothing more is opened on it.
    """

    def __init__(
        self, spec: ModelSpec, weights: Weights, precision: str, tell: Callable[[str], None]
    ) -> None:
        self.spec, self.weights, self.precision = spec, weights, precision
        self.lost = False
        self._tell = tell
        self._lock = threading.Lock()

    def open(self, streams: int) -> Streams:
        """Return fresh lanes on the device; raises what its libraries raise."""
        return open_gpu(self.spec, self.weights, self.precision, streams)

    def lose(self, error: Exception) -> None:
        """Note that the device failed, and tell it."""
        with self._lock:
            if self.lost:
                return
            self.lost = True
        self._tell(f"the GPU is lost ({why_lost(error)}); the CPU goes on from the same sample")
