"""Small models that between them use every feature, and hits to play on them, for all tests here.

The compiled functions take every shape as data, so that all of these share one compilation.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicHermiteSpline
from scipy.signal import butter, lfilter

from ghostnote.kernels.levels import of_sound, to_sound
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.reference import Reference
from ghostnote.kernels.spec import LEVELS_16, ROLES, ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import random_weights

FLOATS = npt.NDArray[np.float32]
DOUBLES = npt.NDArray[np.float64]
INTS = npt.NDArray[np.int64]
Hit = tuple[int, int, float]  # hop, role number, velocity

# Channel counts that no vector width divides.
_ODD: dict[str, Any] = {"residual": 9, "gate": 7, "skip": 11, "head": 13}
_THREE_ROLES: dict[str, Any] = {
    "roles": ("kick", "hat", "open"),
    "chokes": (("hat", "open"), ("open", "kick")),
    "ages": 20,
    "age_features": 5,
}

SPECS: dict[str, ModelSpec] = {
    "dilation 512": ModelSpec(
        24000, 24, tuple(2**i for i in range(10)), residual=8, gate=8, skip=8, head=16
    ),
    "odd, width 3, out of order": ModelSpec(
        22050,
        7,
        (1, 40, 3, 32, 31),
        filter_width=3,
        levels=100,
        emphasis=0.9,
        input_taps=3,
        kits=("one", "two"),
        cond_hidden=(7, 5, 3),
        body=3,
        body_knots=7,
        body_ages=12,
        transient=2,
        transient_ages=5,
        **_ODD,
        **_THREE_ROLES,
    ),
    "one layer, roles only": ModelSpec(
        24000, 24, (3,), input_taps=1, cond_hidden=(4,), **_ODD, **_THREE_ROLES
    ),
    "sixty layers, kits only": ModelSpec(
        16000,
        16,
        (1, 2, 3, 4, 5, 4) * 10,
        residual=5,
        gate=5,
        skip=6,
        head=6,
        levels=64,
        kits=("one", "two", "three"),
        cond_hidden=(4, 9),
    ),
    "1024 levels": ModelSpec(
        24000, 10, (4, 2, 1), residual=12, gate=20, skip=24, head=40, levels=1024
    ),
    # Matrices of every number of vectors in their last tile.
    "wide": ModelSpec(
        24000,
        24,
        (2, 1),
        filter_width=3,
        residual=40,
        gate=33,
        skip=100,
        head=130,
        levels=256,
        kits=("one",),
        cond_hidden=(70,),
        **_THREE_ROLES,
    ),
    "as bundled": ModelSpec(
        24000,
        24,
        (1, 2, 4, 8, 16),
        roles=ROLES,
        kits=("a", "b", "c"),
        ages=500,
        age_features=15,
        cond_hidden=(32, 16),
        chokes=(("hat", "open"),),
        body=17,
        body_knots=4,
        body_ages=300,
    ),
    "smallest": ModelSpec(
        1000, 1, (1,), residual=1, gate=1, skip=1, head=1, levels=2, input_taps=1
    ),
    "500 channels": ModelSpec(
        8000, 16, (2, 9), residual=500, gate=500, skip=300, head=500, levels=512, kits=("one",),
        cond_hidden=(3,),
    ),
    "mixture of 10": ModelSpec(
        24000, 9, (7, 40, 5, 31), filter_width=3, residual=24, gate=18, skip=30, head=20,
        levels=LEVELS_16, mixtures=10, emphasis=0.5, input_taps=3, kits=("one", "two"), cond_hidden=(6,),
        **_THREE_ROLES,
    ),
    "mixture of 1": ModelSpec(
        16000, 5, (3, 1), residual=1, gate=1, skip=3, head=5, levels=LEVELS_16, mixtures=1,
        input_taps=1,
    ),
    "mixture of 32": ModelSpec(
        16000, 16, (8, 2, 9), residual=33, gate=49, skip=65, head=70, levels=LEVELS_16,
        mixtures=32,
    ),
}  # fmt: skip


# Deep networks of random weights amplify rounding as they amplify the signal; these stay calm.
_GAINS = {"dilation 512": 1.0, "sixty layers, kits only": 0.8}
# Where any other would leave single channels silent.
_SEEDS = {"mixture of 1": 24}


class Model(NamedTuple):
    """A model of random weights in all forms, the hits and the kit of its tests."""

    spec: ModelSpec
    weights: dict[str, FLOATS]
    packed: Packed
    hits: list[Hit]
    kit: list[float]

    def state(self, seed: int = 0, stream: int = 0, streams: int = 1) -> State:
        """Returns new lanes, all under the model's kit."""
        state = State(self.packed, seed, stream, streams)
        if self.kit:
            state.set_kit(self.kit)
            state.reset()
        return state


@cache
def model(name: str, precision: str = "fp32") -> Model:
    """Returns a model by its name in SPECS, packed in a precision."""
    if precision != "fp32":
        plain = model(name)
        return plain._replace(packed=pack(plain.spec, plain.weights, precision))
    spec = SPECS[name]
    seed = _SEEDS.get(name, len(name))
    weights = random_weights(spec, seed, _GAINS.get(name, 1.5))
    kit = [0.7, -0.2, 0.5][: len(spec.kits)]
    return Model(spec, weights, pack(spec, weights), scatter(spec), kit)


def scatter(spec: ModelSpec, hops: int = 2000) -> list[Hit]:
    """Returns hits by hop: several in one hop, chokes among them, and gaps to be forgotten in."""
    if not spec.roles:
        return []
    rng = np.random.default_rng(len(spec.roles))
    times = np.cumsum(rng.choice([0, 1, 2, 5, spec.ages + 3], hops, p=[0.3, 0.3, 0.2, 0.15, 0.05]))
    roles = rng.integers(0, len(spec.roles), hops)
    velocities = rng.uniform(0.1, 1.0, hops)
    return [
        (int(time), int(role), float(velocity))
        for time, role, velocity in zip(times, roles, velocities, strict=True)
        if time < hops
    ]


def plain_rows(model: Model, hops: int) -> DOUBLES:
    """Returns the control features [hops, C], each hop by itself from the whole list of hits."""
    spec = model.spec
    rows = np.zeros((hops, spec.conditioning))
    for hop in range(hops):
        features: list[float] = []
        for role, name in enumerate(spec.roles):
            row = np.zeros(spec.age_features)
            velocity = 0.0
            for time, struck, loudness in model.hits:
                if time > hop:
                    break
                if struck == role:
                    age = min(hop - time, spec.ages - 1)
                    row, velocity = model.weights["age_table"][age], float(np.float32(loudness))
                elif (spec.roles[struck], name) in spec.chokes:
                    row = np.zeros(spec.age_features)
            features += [*row, *(row * velocity)]
        rows[hop] = [*features, *model.kit]
    return rows


class ReferencePlayer:
    """The reference under a model's hits and kit, one sample at a time from silence on."""

    def __init__(self, model: Model, samples: int) -> None:
        self.spec = model.spec
        self.reference = self.network(model)
        self.rows = plain_rows(model, samples // model.spec.hop + 1)
        silent = model._replace(hits=[])
        self.state = self.reference.start(plain_rows(silent, 1)[0])
        self.index = 0

    def network(self, model: Model) -> Reference:
        """Returns the reference that plays."""
        return Reference(model.spec, model.weights)

    def step(self, level: int) -> DOUBLES:
        """Takes in the last level and returns what the network puts out for the next, [O]."""
        if self.index % self.spec.hop == 0:
            self.reference.set_control(self.state, self.rows[self.index // self.spec.hop])
        self.index += 1
        return self.reference.step(self.state, level)


def by_hops(model: Model, state: State, samples: int, work: Callable[[int, int], None]) -> None:
    """Calls work(first, last) for each hop of fresh lanes after striking the hop's hits."""
    hop = model.spec.hop
    for first in range(0, samples, hop):
        for time, role, velocity in model.hits:
            if time * hop == first:
                state.hit(role, velocity)
        work(first, min(first + hop, samples))


def play(model: Model, state: State, samples: int) -> FLOATS:
    """Returns the first samples of a fresh stream under the model's hits."""
    return played(model, state, samples)[0]


def played(model: Model, state: State, samples: int) -> tuple[FLOATS, INTS]:
    """Returns the first samples of a fresh stream under the model's hits, and their levels."""
    out, levels = np.full(samples, np.nan, np.float32), np.full(samples, -1, np.int64)

    def work(first: int, last: int) -> None:
        state.generate(out[first:last], levels[first:last])

    by_hops(model, state, samples, work)
    return out, levels


def force(model: Model, state: State, levels: INTS) -> FLOATS:
    """Returns what a fresh stream puts out, [n, O], fed levels [n] under the model's hits."""
    parts: list[FLOATS] = []
    by_hops(
        model,
        state,
        len(levels),
        lambda first, last: parts.append(state.teacher_force(levels[first:last])),
    )
    return np.concatenate(parts)


def levels_of(model: Model, samples: Sequence[float] | FLOATS) -> INTS:
    """Returns the level that each sample of a stream from its start came from, without a body."""
    found = of_sound(model.spec, samples)
    assert (to_sound(model.spec, found) == samples).all()
    return found


def sounding(model: Model, levels: INTS) -> DOUBLES:
    """Returns what a stream from its start sounds like, by its levels [n] and the model's hits."""
    plain = to_sound(model.spec, levels).astype(np.float64)
    if not model.spec.body:
        return plain
    wanted = butter(2, 0.4 * model.spec.body_knots / model.spec.hop, "high", fs=1.0)
    values, slopes = (
        np.concatenate([np.zeros(2), waves_of(model, "body", len(levels))]).reshape(-1, 2).T
    )
    # Slopes are by the span between two knots, which is the spline's unit.
    spline = CubicHermiteSpline(np.arange(len(values)), values, slopes)
    sound = lfilter(*wanted, plain) + spline(np.arange(len(levels)) / model.spec.body_span)
    if model.spec.transient:
        sound += waves_of(model, "transient", len(levels))[: len(levels)]
    return np.asarray(sound)


def waves_of(model: Model, name: str, samples: int) -> DOUBLES:
    """Returns what waves tell of a stream from its start, worked out otherwise than by the kernel."""
    spec = model.spec
    w = {part: array.astype(float) for part, array in model.weights.items()}
    wave = w[f"{name}_wave"]
    hops = samples // spec.hop + 1
    told = np.zeros((hops, *wave.shape[3:]))
    kit = np.array(model.kit)
    for hop in range(hops):
        for role, this in enumerate(spec.roles):
            age, velocity = spec.ages, 0.0
            for time, struck, loudness in model.hits:
                if time <= hop and struck == role:
                    age, velocity = hop - time, float(np.float32(loudness))
                elif time <= hop and (spec.roles[struck], this) in spec.chokes:
                    age = spec.ages
            if age < wave.shape[1]:
                asked = np.concatenate([kit, [velocity], velocity * kit])
                hidden = w[f"{name}_gain0_weight"][role] @ asked + w[f"{name}_gain0_bias"][role]
                gains = w[f"{name}_gain1_weight"][role] @ np.maximum(hidden, 0.0) * velocity
                told[hop] += np.tensordot(gains, wave[role, age], 1)
    return told.ravel()


def same_bits(a: FLOATS, b: FLOATS) -> bool:
    """Returns whether two float32 arrays of one shape hold the same bits."""
    assert a.shape == b.shape
    return bool((a.view(np.uint32) == b.view(np.uint32)).all())
