"""State: everything that changes while one stream plays, as one named object.

Allocate once, reset in place, take out and put back. One thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import cpu
from . import packing as p
from .errors import GhostnoteError
from .spec import ModelSpec

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

MAX_KIT_WEIGHT = 10.0


@dataclass(frozen=True)
class Snapshot:
    """A stream's state, taken out; `State.restore` puts it back."""

    spec: ModelSpec
    ints: INTS
    floats: FLOATS


class State:
    """One stream of a packed model: its past, its hits, its random numbers.

    The compiled code believes what it is given; every method here refuses, by a GhostnoteError,
    what would lead it beyond its arrays.

    Attributes
    ----------
    ints, floats : arrays
        What the kernel works on (`packing.py` names the slots).
    """

    def __init__(self, packed: p.Packed, seed: int = 0, stream: int = 0) -> None:
        if not 0 <= stream < 2**63:
            raise GhostnoteError(f"stream must be 0 to 2^63 - 1, found {stream}")
        self.packed = packed
        header = packed.header
        self.ints = np.zeros(int(header[p.I_INTS]), np.int64)
        self.floats = p.aligned_zeros(int(header[p.S_FLOATS]))
        self.ints[p.I_STREAM] = stream
        self.floats[header[p.S_TEMPERATURE]] = 1.0
        self.seed(seed)
        if packed.spec.kits:
            self.set_kit([1.0] + [0.0] * (len(packed.spec.kits) - 1))
        self.reset()

    @property
    def index(self) -> int:
        """Number of samples generated since the last reset."""
        return int(self.ints[p.I_INDEX])

    def reset(self) -> None:
        """Start again from silence under the present kit, with the same random numbers."""
        cpu.prewarm(self.packed.header, self.packed.weights, self.ints, self.floats)

    def seed(self, seed: int) -> None:
        """Choose the random numbers (0 to 2^63 - 1)."""
        if not 0 <= seed < 2**63:
            raise GhostnoteError(f"seed must be 0 to 2^63 - 1, found {seed}")
        self.ints[p.I_SEED] = seed

    def set_sampling(self, temperature: float = 1.0, top_k: int = 0) -> None:
        """Choose how levels are drawn: temperature 0.01 to 10, `top_k` levels (0: all)."""
        if not 0.01 <= temperature <= 10.0:
            raise GhostnoteError(f"temperature must be 0.01 to 10, found {temperature}")
        if top_k < 0:
            raise GhostnoteError(f"top_k must be 0 (all) or more, found {top_k}")
        self.floats[self.packed.header[p.S_TEMPERATURE]] = temperature
        self.ints[p.I_TOP_K] = top_k

    def set_kit(self, weights: Sequence[float]) -> None:
        """Set the kit weights [kits] from the next hop boundary on; all zero plays texture."""
        at, kits = int(self.packed.header[p.S_KIT]), len(self.packed.spec.kits)
        if len(weights) != kits:
            raise GhostnoteError(f"kit weights: expected {kits}, found {len(weights)}")
        if not all(-MAX_KIT_WEIGHT <= weight <= MAX_KIT_WEIGHT for weight in weights):
            raise GhostnoteError(
                f"kit weights: must be -{MAX_KIT_WEIGHT:g} to {MAX_KIT_WEIGHT:g}, found {[*weights]}"
            )
        self.floats[at : at + kits] = weights

    def hit(self, role: int, velocity: float) -> None:
        """Strike a role (number) with a velocity (0 to 1) at the next hop boundary."""
        roles = len(self.packed.spec.roles)
        if not 0 <= role < roles:
            raise GhostnoteError(f"hit: role {role} of a model with {roles} roles; count from 0")
        if not 0.0 <= velocity <= 1.0:
            raise GhostnoteError(f"hit: velocity must be 0 to 1, found {velocity}")
        cpu.hit(self.packed.header, self.ints, self.floats, role, velocity)

    def generate(self, out: FLOATS) -> None:
        """Write the next samples into `out` float32 [n]."""
        cpu.generate(self.packed.header, self.packed.weights, self.ints, self.floats, out)

    def teacher_force(self, levels: INTS) -> FLOATS:
        """Feed `levels` int64 [n] as if they had been drawn; return their logits [n, Q]."""
        count = self.packed.spec.levels
        if len(levels) and not (levels.min() >= 0 and levels.max() < count):
            raise GhostnoteError(f"teacher forcing: levels must be 0 to {count - 1}")
        logits = np.full((len(levels), count), np.nan, np.float32)
        cpu.teacher_force(
            self.packed.header, self.packed.weights, self.ints, self.floats, levels, logits
        )
        return logits

    def save(self) -> Snapshot:
        """Take out a copy of the state."""
        return Snapshot(self.packed.spec, self.ints.copy(), self.floats.copy())

    def restore(self, snapshot: Snapshot) -> None:
        """Put a state back that `save` took from a stream of a model of the same shape."""
        if snapshot.spec != self.packed.spec:
            raise GhostnoteError("state: the snapshot is of a model of another shape")
        self.ints[:] = snapshot.ints
        self.floats[:] = snapshot.floats
