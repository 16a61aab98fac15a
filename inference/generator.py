"""Generators: models that play hits, offline: as many samples as are asked for.

The audio engine does the same inside its own loop with the same kernel; a test compares them.
One thread at a time; several generators may share one packed model, and one device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from operator import methodcaller
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ghostnote.kernels.backends import Streams, is_loss
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed
from ghostnote.kernels.spec import LEAST_ATTACK, ModelSpec
from ghostnote.kernels.state import State

from .device import Device
from .spread import Spread

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

CARRIED_NUMBERS = 4_000_000
"""Outputs of the network, of all lanes, that are held while a state is fed with its past: 16 MB."""


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

    Parameters
    ----------
    packed : Packed
    takes : sequence of Take
    device : Device, optional
        What to play on in place of the CPU. If it is lost, the CPU goes on from there: fed with
        what was played since, as far back as the model hears.
    """

    def __init__(self, packed: Packed, takes: Sequence[Take], device: Device | None = None) -> None:
        self.spec, self.packed, self.takes = packed.spec, packed, takes
        self._index = 0
        self._hits: deque[tuple[Hit, int]] = deque()  # and their lanes; soonest first
        self._added: list[tuple[Hit, int]] = []  # since `play` was last called, as they came
        self._past = _Past(packed.spec)
        self._device = device if device and not device.lost else None
        self.state: Streams
        if self._device is None:
            count = len(takes)
            self.state = self._begun(
                Spread(packed, count) if device else State(packed, streams=count)
            )
            return
        try:
            self.state = self._begun(self._device.open(len(takes)))
        except Exception as error:
            if not self._lost_by(error):
                raise

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
            self._added.append((Hit(sample, role, velocity), lane))

    def play(self, frames: int) -> FLOATS:
        """Return the next samples, float32 [lanes, frames]; chunked equals whole."""
        if self._added:  # sorted here, once for all lanes
            # First come, first struck among hits of one sample: the later of them chokes the earlier.
            hits = sorted([*self._hits, *self._added], key=lambda item: item[0].sample)
            self._hits, self._added = deque(hits), []
        hop = self.spec.hop
        out = np.empty((len(self.takes), frames), np.float32)
        done = 0
        while done < frames:
            if self._index % hop == 0:
                self._strike()
            piece = min(frames - done, self._until_next())
            part = np.empty((len(self.takes), piece), np.float32)
            drawn = np.empty(part.shape, np.int64) if self._device else None
            self._do(methodcaller("generate", part, drawn))
            out[:, done : done + piece] = part
            done += piece
            self._index += piece
            if self._device and drawn is not None:
                self._past.heard(drawn, self._index)
        return out

    def _strike(self) -> None:
        """Strike all hits whose time has come."""
        while self._hits and self._hits[0][0].sample <= self._index:
            (_, role, velocity), lane = self._hits.popleft()
            struck = _Struck(self._index, self.spec.roles.index(role), velocity, lane)
            self._do(methodcaller("hit", *struck[1:]))
            if self._device:
                self._past.struck.append(struck)

    def _until_next(self) -> int:
        """Return the samples up to the hop boundary at which the next hit starts."""
        index, hop = self._index, self.spec.hop
        soonest = self._hits[0][0].sample if self._hits else index + self.spec.samplerate
        return -(-max(soonest, index + 1) // hop) * hop - index

    def _begun(self, state: Streams) -> Streams:
        """Return a new state with what the takes ask for."""
        for lane, take in enumerate(self.takes):
            state.seed(take.seed, lane, take.stream)
            state.set_sampling(
                take.temperature, take.top_k, lane, max(take.temperature, LEAST_ATTACK)
            )
            if take.kit is not None:
                state.set_kit(take.kit, lane)
        state.reset()
        return state

    def _do(self, work: Callable[[Streams], object]) -> None:
        """Do a piece of work on the device, or, should that be lost in it, on the CPU."""
        try:
            work(self.state)
        except Exception as error:
            if not self._lost_by(error):
                raise
            work(self.state)

    def _lost_by(self, error: Exception) -> bool:
        """Tell whether an error means that the device is lost; if so the CPU has gone on from there."""
        if self._device is None or not is_loss(error):
            return False
        self._device.lose(error)
        self._device = None
        state = Spread(self.packed, len(self.takes))
        self._begun(state)
        self._past.feed(state, self._index)
        self.state, self._past = state, _Past(self.spec)
        return True


class _Struck(NamedTuple):
    at: int  # the sample that begins with it
    role: int
    velocity: float
    lane: int


class _Past:
    """The levels drawn and what was struck, as far back as it bears on what comes.

    A sample depends on those of one receptive field before it; what the layers made of these, on the
    hits that sounded then. So a state that is fed with that much plays on to the same bits,
    and nothing need be read from a device that may not answer any more.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.reach = spec.receptive_field + (spec.ages + 1) * spec.hop
        self.struck: deque[_Struck] = deque()
        self._parts: deque[INTS] = deque()
        self._first = 0  # index of the first sample of these

    def heard(self, levels: INTS, index: int) -> None:
        """Take in the levels drawn [lanes, n] up to `index`; forget what is out of reach."""
        self._parts.append(levels)
        while self._first + self._parts[0].shape[1] <= index - self.reach:
            self._first += self._parts.popleft().shape[1]
        while self.struck and self.struck[0].at < self._first:
            self.struck.popleft()

    def feed(self, state: Spread, index: int) -> None:
        """Bring fresh lanes to where the past ends, at `index`."""
        first = -(-self._first // self.spec.hop) * self.spec.hop
        state.begin_at(first)
        if self._parts:
            levels = np.concatenate(self._parts, axis=1)[:, first - self._first :]
        most = max(1, CARRIED_NUMBERS // (state.lanes * self.spec.outputs))
        struck = deque(self.struck)
        while True:
            while struck and struck[0].at <= state.index:
                _, role, velocity, lane = struck.popleft()
                state.hit(role, velocity, lane)
            if state.index == index:
                return
            end = min(index, state.index + most, struck[0].at if struck else index)
            state.teacher_force(levels[:, state.index - first : end - first])


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
        self.spec = packed.spec
        assert isinstance(self._lanes.state, State)
        self.state = self._lanes.state

    def add(self, hits: Sequence[Hit]) -> None:
        """Take in hits, as `Lanes.add` does."""
        self._lanes.add(hits)

    def play(self, frames: int) -> FLOATS:
        """Return the next `frames` samples, float32 [frames]; chunked equals whole."""
        samples: FLOATS = self._lanes.play(frames)[0]
        return samples
