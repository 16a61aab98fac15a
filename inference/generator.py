"""Generator: a model that plays hits, offline: as many samples as are asked for.

The audio engine does the same inside its own loop with the same kernel; a test compares them.
One thread at a time; several generators may share one packed model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed
from ghostnote.kernels.state import State

FLOATS = npt.NDArray[np.float32]


class Hit(NamedTuple):
    """A trigger: a role struck with a velocity (above 0, up to 1) at a time in samples."""

    sample: int
    role: str
    velocity: float


class Generator:
    """One stream of a model with a list of hits still to come.

    >>> generator = Generator(packed, seed=1)                       # doctest: +SKIP
    >>> generator.add([Hit(0, "kick", 0.9), Hit(12000, "snare", 0.7)])  # doctest: +SKIP
    >>> audio = generator.play(24000)                               # doctest: +SKIP
    """

    def __init__(
        self,
        packed: Packed,
        seed: int = 0,
        stream: int = 0,
        kit: Sequence[float] | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
    ) -> None:
        self.spec = packed.spec
        self.state = State(packed, seed, stream)
        self.state.set_sampling(temperature, top_k)
        if kit is not None:
            self.state.set_kit(kit)
            self.state.reset()
        self._hits: deque[Hit] = deque()  # soonest first

    def add(self, hits: Sequence[Hit]) -> None:
        """Take in hits; each starts at the first hop boundary at or after its sample.

        Raises
        ------
        GhostnoteError
            If the model has no such role or a velocity is not in (0, 1].
        """
        for sample, role, velocity in hits:
            if role not in self.spec.roles:
                raise GhostnoteError(
                    f"hit: the model has no role {role!r}; it has {', '.join(self.spec.roles)}"
                )
            if not 0.0 < velocity <= 1.0:
                raise GhostnoteError(f"hit: velocity must be above 0, up to 1, found {velocity}")
            self._hits.append(Hit(sample, role, velocity))
        # First come, first struck among hits of one sample: the later of them chokes the earlier.
        self._hits = deque(sorted(self._hits, key=lambda hit: hit.sample))

    def play(self, frames: int) -> FLOATS:
        """Return the next `frames` samples, float32 [frames]; chunked equals whole."""
        out = np.empty(frames, np.float32)
        done = 0
        while done < frames:
            inside = self.state.index % self.spec.hop
            while inside == 0 and self._hits and self._hits[0].sample <= self.state.index:
                _, role, velocity = self._hits.popleft()
                self.state.hit(self.spec.roles.index(role), velocity)
            step = min(frames - done, self.spec.hop - inside)
            self.state.generate(out[done : done + step])
            done += step
        return out
