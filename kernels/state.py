"""State: everything that changes while streams of one model play, as one named object.

A state holds one lane or many: streams that advance together, each with its own random numbers,
sampling, kit and hits. Allocate once, reset in place, take out and put back. One thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import cpu
from . import packing as p
from .asked import (
    check_beginning,
    check_drawn,
    check_hit,
    check_kit,
    check_sampling,
    check_seed,
    check_streams,
    count_of,
    rows_of,
)
from .errors import GhostnoteError
from .moving import copy_lane
from .spec import ModelSpec

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

MAX_LANES = 1024
MAX_FLOATS = 1024 * 1024 * 1024  # 4 GB


@dataclass(frozen=True)
class Snapshot:
    """A state's contents, taken out; `State.restore` puts them back."""

    spec: ModelSpec
    precision: str
    ints: INTS
    floats: FLOATS


class State:
    """Lanes of a packed model: their past, their hits, their random numbers.

    The compiled code believes what it is given; every method here refuses, by a GhostnoteError,
    what would lead it beyond its arrays. Where a method has a `lane`, None means all.

    Parameters
    ----------
    packed : Packed
    seed, stream : int
        Choose the random numbers; lane i draws those of stream `stream` + i.
    streams : int
        Number of lanes.

    Attributes
    ----------
    ints, floats : arrays
        What the kernel works on (`packing.py` names the slots).
    """

    def __init__(self, packed: p.Packed, seed: int = 0, stream: int = 0, streams: int = 1) -> None:
        check_streams(streams, MAX_LANES, stream)
        self.packed = packed
        self.lanes = streams
        header = packed.header
        floats = streams * int(header[p.S_FLOATS])
        if floats > MAX_FLOATS:
            raise GhostnoteError(
                f"{streams} streams of this model would hold {floats} numbers, at most "
                f"{MAX_FLOATS} are supported; take fewer at once"
            )
        self.ints = np.zeros(int(header[p.I_LANES] + streams * header[p.LANE_INTS]), np.int64)
        self.floats = p.aligned_zeros(floats)
        self.ints[p.I_COUNT] = streams
        self._enter()
        self._places = (packed.header.ctypes.data, packed.weights.ctypes.data,
                        self.ints.ctypes.data, self.floats.ctypes.data)  # fmt: skip
        at = int(header[p.I_LANES])
        lane_ints = self.ints[at:].reshape(streams, -1)
        lane_ints[:, p.L_STREAM] = stream + np.arange(streams)
        self._lane_ints = lane_ints
        at = streams * int(header[p.S_SETTINGS])
        size = int(header[p.SETTINGS])
        self._settings = self.floats[at : at + streams * size].reshape(streams, size)
        self._settings[:, [p.T_TEMPERATURE, p.T_ATTACK]] = 1.0
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
        self._lane_ints[:, p.L_OFFSET] = 0
        cpu.prewarm(*self._places)

    def begin_at(self, index: int) -> None:
        """Count the next sample as number `index`, a hop boundary; its chances are that sample's."""
        check_beginning(self.packed.spec, index)
        self.ints[p.I_INDEX] = index

    def seed(self, seed: int, lane: int | None = None, stream: int | None = None) -> None:
        """Choose the random numbers (0 to 2^63 - 1), and of these another stream if one is given.

        All lanes that are given one stream and one seed play the same.
        """
        check_seed(seed, stream)
        self._lane_ints[rows_of(lane, self.lanes), p.L_SEED] = seed
        if stream is not None:
            self._lane_ints[rows_of(lane, self.lanes), p.L_STREAM] = stream

    def set_sampling(
        self,
        temperature: float = 1.0,
        top_k: int = 0,
        lane: int | None = None,
        attack: float | None = None,
    ) -> None:
        """Choose how levels are drawn: temperature 0.01 to 10, `top_k` levels (0: all).

        `attack` is the temperature for 10 ms after every hit; None: it is the same.
        """
        check_sampling(temperature, top_k, attack)
        rows = rows_of(lane, self.lanes)
        self._settings[rows, p.T_TEMPERATURE] = temperature
        self._settings[rows, p.T_ATTACK] = temperature if attack is None else attack
        self._lane_ints[rows, p.L_TOP_K] = top_k

    def set_kit(self, weights: Sequence[float], lane: int | None = None) -> None:
        """Set the kit weights [kits] from the next hop boundary on; all zero plays texture."""
        spec = self.packed.spec
        check_kit(spec, weights)
        at, kits = p.T_VELOCITIES + len(spec.roles), len(spec.kits)
        self._settings[rows_of(lane, self.lanes), at : at + kits] = weights

    def hit(self, role: int, velocity: float, lane: int | None = None) -> None:
        """Strike a role (number) with a velocity (0 to 1) at the next hop boundary."""
        check_hit(self.packed.spec, role, velocity)
        header, _, ints, floats = self._places
        for one in range(self.lanes)[rows_of(lane, self.lanes)]:
            cpu.hit(header, ints, floats, one, role, velocity)

    def generate(self, out: FLOATS, drawn: INTS | None = None) -> None:
        """Write the next samples into `out` float32 [n], or [lanes, n] of several lanes.

        And their levels into `drawn`, of the same shape, if it is given.
        """
        if out.dtype != np.float32 or not out.flags.c_contiguous:
            raise GhostnoteError("generate: the output must be contiguous float32")
        count = count_of(out.shape, self.lanes)
        levels = 0
        if drawn is not None:
            check_drawn(drawn, out)
            drawn.fill(-1)
            levels = drawn.ctypes.data
        cpu.run(*self._places, count, out.ctypes.data, levels, 0)

    def teacher_force(self, levels: INTS) -> FLOATS:
        """Feed `levels` int64 [n] (or [lanes, n]) as if they had been drawn.

        Returns what the network puts out for each, [n, O] (or [lanes, n, O]), O as `spec.outputs`.
        """
        known = self.packed.spec.levels
        fed = np.ascontiguousarray(levels, np.int64)
        count = count_of(fed.shape, self.lanes)
        if fed.size and not (fed.min() >= 0 and fed.max() < known):
            raise GhostnoteError(f"teacher forcing: levels must be 0 to {known - 1}")
        outputs = np.full((*fed.shape, self.packed.spec.outputs), np.nan, np.float32)
        cpu.run(*self._places, count, 0, fed.ctypes.data, outputs.ctypes.data)
        return outputs

    def save(self) -> Snapshot:
        """Take out a copy of the state."""
        packed = self.packed
        return Snapshot(packed.spec, packed.precision, self.ints.copy(), self.floats.copy())

    def restore(self, snapshot: Snapshot) -> None:
        """Put a state back that `save` took from one of the same model shape and lanes."""
        ours = (self.packed.spec, self.packed.precision, self.ints.shape)
        if (snapshot.spec, snapshot.precision, snapshot.ints.shape) != ours:
            raise GhostnoteError("state: the snapshot is of a model of another shape")
        self.ints[:] = snapshot.ints
        self._enter()  # the snapshot's process had its own code
        self.floats[:] = snapshot.floats

    def copy_lane(self, lane: int, source: State, other: int = 0) -> None:
        """Let a lane go on as lane `other` of a state of the same model would, with its chances.

        Both states must be at a hop boundary, whichever.
        """
        hop, ours = self.packed.spec.hop, (self.packed.spec, self.packed.precision)
        if (source.packed.spec, source.packed.precision) != ours:
            raise GhostnoteError("copy_lane: the other state is of a model of another shape")
        for state, number in ((self, lane), (source, other)):
            rows_of(number, state.lanes)
            if state.index % hop:
                raise GhostnoteError(
                    f"copy_lane: a state at sample {state.index} is within a hop of {hop}"
                )
        header, _, ints, floats = self._places
        copy_lane(header, ints, floats, lane, *source._places[2:], other)
        self._lane_ints[lane, p.L_OFFSET] += source.index - self.index

    def _enter(self) -> None:
        """Note where the code is that the kernel's entries call."""
        entries = cpu.entry_points()
        self.ints[p.I_PRODUCT], self.ints[p.I_STEP] = entries.product, entries.step
