"""Generators: models that play hits, offline: as many samples as are asked for.

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


class Take(NamedTuple):
    """How one stream is drawn: its random numbers, its kit weights (None: the first kit)."""

    seed: int = 0
    stream: int = 0
    kit: Sequence[float] | None = None
    temperature: float = 1.0
    top_k: int = 0


class Lanes:
    """Takes of one model side by side, each with hits still to come.

    Each gives the samples that it would give alone, but weights are read once for all.
    """

    def __init__(self, packed: Packed, takes: Sequence[Take]) -> None:
        self.spec = packed.spec
        self.state = State(packed, streams=len(takes))
        for lane, take in enumerate(takes):
            self.state.seed(take.seed, lane, take.stream)
            self.state.set_sampling(take.temperature, take.top_k, lane)
            if take.kit is not None:
                self.state.set_kit(take.kit, lane)
        self.state.reset()
        self._hits: deque[tuple[Hit, int]] = deque()  # and their lanes; soonest first

    def add(self, hits: Sequence[Hit], lane: int = 0) -> None:
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
            self._hits.append((Hit(sample, role, velocity), lane))
        # First come, first struck among hits of one sample: the later of them chokes the earlier.
        self._hits = deque(sorted(self._hits, key=lambda item: item[0].sample))

    def play(self, frames: int) -> FLOATS:
        """Return the next samples, float32 [lanes, frames]; chunked equals whole."""
        state, hop = self.state, self.spec.hop
        out = np.empty((state.lanes, frames), np.float32)
        done = 0
        while done < frames:
            if state.index % hop == 0:
                self._strike()
            piece = min(frames - done, self._until_next())
            part = np.empty((state.lanes, piece), np.float32)
            state.generate(part)
            out[:, done : done + piece] = part
            done += piece
        return out

    def _strike(self) -> None:
        """Strike all hits whose time has come."""
        while self._hits and self._hits[0][0].sample <= self.state.index:
            (_, role, velocity), lane = self._hits.popleft()
            self.state.hit(self.spec.roles.index(role), velocity, lane)

    def _until_next(self) -> int:
        """Return the samples up to the hop boundary at which the next hit starts."""
        index, hop = self.state.index, self.spec.hop
        soonest = self._hits[0][0].sample if self._hits else index + self.spec.samplerate
        return -(-max(soonest, index + 1) // hop) * hop - index


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
        self._lanes = Lanes(packed, [Take(seed, stream, kit, temperature, top_k)])
        self.spec, self.state = packed.spec, self._lanes.state

    def add(self, hits: Sequence[Hit]) -> None:
        """Take in hits, as `Lanes.add` does."""
        self._lanes.add(hits)

    def play(self, frames: int) -> FLOATS:
        """Return the next `frames` samples, float32 [frames]; chunked equals whole."""
        samples: FLOATS = self._lanes.play(frames)[0]
        return samples
