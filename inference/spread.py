"""Many lanes of one model on all cores: states side by side, each played by a thread of its own.

One thread at a time calls it. Only where a device is lost does it serve: loops are otherwise rendered
in groups that share nothing (`render.py`).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from ghostnote.kernels.packing import Packed
from ghostnote.kernels.state import State

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]


class Spread:
    """Lanes as those of one `State`, shared out among the cores that this process may use."""

    def __init__(self, packed: Packed, streams: int) -> None:
        self.lanes = streams
        count = min(cores(), streams)
        self._edges = [streams * i // count for i in range(count + 1)]
        self._states = [
            State(packed, stream=first, streams=last - first)
            for first, last in itertools.pairwise(self._edges)
        ]
        self._pool = ThreadPoolExecutor(count, "ghostnote-lanes") if count > 1 else None

    @property
    def index(self) -> int:
        """Number of samples generated since the last reset."""
        return self._states[0].index

    def reset(self) -> None:
        """Start again from silence under the present kit."""
        for state in self._states:
            state.reset()

    def begin_at(self, index: int) -> None:
        """Count the next sample as number `index`, a hop boundary."""
        for state in self._states:
            state.begin_at(index)

    def seed(self, seed: int, lane: int | None = None, stream: int | None = None) -> None:
        """Choose the random numbers, as `State.seed` does."""
        for state, mine in self._of(lane):
            state.seed(seed, mine, stream)

    def set_sampling(
        self,
        temperature: float = 1.0,
        top_k: int = 0,
        lane: int | None = None,
        attack: float | None = None,
    ) -> None:
        """Choose how levels are drawn."""
        for state, mine in self._of(lane):
            state.set_sampling(temperature, top_k, mine, attack)

    def set_kit(self, weights: Sequence[float], lane: int | None = None) -> None:
        """Set the kit weights from the next hop boundary on."""
        for state, mine in self._of(lane):
            state.set_kit(weights, mine)

    def hit(self, role: int, velocity: float, lane: int | None = None) -> None:
        """Strike a role at the next hop boundary."""
        for state, mine in self._of(lane):
            state.hit(role, velocity, mine)

    def generate(self, out: FLOATS, drawn: INTS | None = None) -> None:
        """Write the next samples into `out` float32 [lanes, n], their levels into `drawn`."""

        def work(state: State, rows: slice) -> None:
            state.generate(out[rows], None if drawn is None else drawn[rows])

        self._each(work)

    def teacher_force(self, levels: INTS) -> None:
        """Feed `levels` int64 [lanes, n] as if they had been drawn."""
        self._each(lambda state, rows: state.teacher_force(levels[rows]))

    def _each(self, work: Callable[[State, slice], object]) -> None:
        rows = [slice(*edges) for edges in itertools.pairwise(self._edges)]
        if self._pool is None:
            work(self._states[0], rows[0])
        else:
            list(self._pool.map(work, self._states, rows))

    def _of(self, lane: int | None) -> Iterator[tuple[State, int | None]]:
        """Return the states that a lane, or all, lie in, and its number there."""
        for state, (first, last) in zip(self._states, itertools.pairwise(self._edges), strict=True):
            if lane is None:
                yield state, None
            elif first <= lane < last:
                yield state, lane - first


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
