"""A device that plays as the CPU does, until it breaks."""

import pytest

from ghostnote.inference.device import Device
from ghostnote.kernels.packing import Packed
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import FLOATS, INTS, State
from ghostnote.kernels.weights import Weights
from tests.kernels.models import Model

BROKEN = RuntimeError("CUDA error: no more\nSearch for `cudaError' in ...")


class Breaking(State):
    """A state that plays as the CPU does for so many calls of `hit` and `generate`, then fails."""

    def __init__(self, packed: Packed, streams: int, calls: int, error: Exception = BROKEN) -> None:
        super().__init__(packed, streams=streams)
        self.calls, self.error = calls, error

    def _count_call(self) -> None:
        self.calls -= 1
        if self.calls < 0:
            self.floats[:] = float("nan")  # nothing of it can be read any more
            raise self.error

    def hit(self, role: int, velocity: float, lane: int | None = None) -> None:
        """Strike, or fail."""
        self._count_call()
        super().hit(role, velocity, lane)

    def generate(self, out: FLOATS, drawn: INTS | None = None) -> None:
        """Play, or fail with garbage in `out`."""
        out[:] = 9.0
        self._count_call()
        super().generate(out, drawn)


def breaking_device(
    it: Model, calls: int, monkeypatch: pytest.MonkeyPatch, error: Exception = BROKEN
) -> tuple[Device, list[str]]:
    """Returns a device that breaks after so many calls (0: when it is opened), and what it tells."""

    def opened(spec: ModelSpec, weights: Weights, precision: str, streams: int) -> Breaking:
        if calls == 0:
            raise error
        return Breaking(it.packed, streams, calls, error)

    monkeypatch.setattr("ghostnote.inference.device.open_gpu", opened)
    told: list[str] = []
    return Device(it.spec, it.weights, it.packed.precision, told.append), told
