"""The body and the transients of a drum's sound: what hits determine of it, mixed of learnt waves.

The last few samples tell nearly all that the next one needs, so that bits hardly reward a WaveNet
for keeping the course of a tone; playing freely, it loses it (docs/sound.md, "Low tones"). But struck
alike, a drum sounds alike. So a model may have a body (`ModelSpec.body`): each role has some waves,
which begin with a hit; a small network finds from the kits' weights and the hit's velocity how much
of each is heard. They are given by value and slope at knots, with a cubic between two, so that there
are no steps. A hit's first tenths of a second are determined too, up to the highest frequencies:
for these a model may have transients (`ModelSpec.transient`), shorter waves, given at every sample.

The WaveNet speaks of the sound less both: what is determined and what is not (sinusoids and noise,
Serra & Smith 1990, Computer Music Journal 14(4); transients, Verma & Meng 2000, ibid. 24(2)), all
learnt. Of what it plays only what lies above the body is heard: below, where it loses its way, it
would be rumble.

Compiled functions allocate nothing; any thread.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from .memory import inner
from .packing import KNOT
from .spec import ModelSpec
from .weights import GAINS, Weights

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

LEAST = np.float32(2.0**-40)
"""What is kept of a filter's past is silence below: else it would ring in ever smaller numbers."""

_ZERO, _ONE, _TWO, _THREE = (np.float32(x) for x in (0.0, 1.0, 2.0, 3.0))


@inner
def find_gains(
    gains: FLOATS, velocity: np.float32, kits: FLOATS, first: FLOATS, bias: FLOATS, second: FLOATS
) -> None:
    """Write how much of each of a role's waves [K] is heard in a hit: a layer with ReLU, and one without.

    `first` [48, 2 * kits + 1] reads the kits' weights, the velocity, and these weights times it.
    """
    count = kits.shape[0]
    for wave in range(gains.shape[0]):
        gains[wave] = _ZERO
    for unit in range(bias.shape[0]):
        x = bias[unit] + first[unit, count] * velocity
        for kit in range(count):
            x += kits[kit] * (first[unit, kit] + velocity * first[unit, count + 1 + kit])
        if x > _ZERO:
            for wave in range(gains.shape[0]):
                gains[wave] += second[wave, unit] * x
    for wave in range(gains.shape[0]):
        gains[wave] *= velocity


@inner
def add_waves(told: FLOATS, gains: FLOATS, wave: FLOATS) -> None:
    """Add a role's waves of one hop [K, P], each times its gain [K], to what is told of it [P]."""
    for i in range(gains.shape[0]):
        gain = gains[i]
        for point in range(told.shape[0]):
            told[point] += gain * wave[i, point]


@inner
def curve(
    before: np.float32, rising: np.float32, after: np.float32, falling: np.float32, t: np.float32
) -> np.float32:
    """Return the cubic between two knots (value, slope) at a share t of the way, 0 to below 1."""
    u = _ONE - t
    start = u * u * ((_ONE + _TWO * t) * before + t * rising)
    end = t * t * ((_THREE - _TWO * t) * after - u * falling)
    return np.float32(start + end)


@inner
def above(
    sample: np.float32,
    first: np.float32,
    second: np.float32,
    b0: np.float32,
    b1: np.float32,
    b2: np.float32,
    a1: np.float32,
    a2: np.float32,
) -> tuple[np.float32, np.float32, np.float32]:
    """Return a sample after the filter, and the two numbers of its past (transposed direct form 2)."""
    y = b0 * sample + first
    first = b1 * sample - a1 * y + second
    second = b2 * sample - a2 * y
    first = first if abs(first) >= LEAST else _ZERO
    second = second if abs(second) >= LEAST else _ZERO
    return y, first, second


@nb.njit(cache=True, nogil=True, error_model="numpy")
def with_body(
    sound: FLOATS, high: FLOATS, kept: FLOATS, knots: FLOATS, span: int, phase: int
) -> None:
    """Turn what a WaveNet plays into the whole sound [n], in place; it begins `phase` into a span.

    `high` is that of `high_pass`, `kept` [2] is and becomes its filter's past, `knots` as of
    `add_curves`.
    """
    for i in range(sound.shape[0]):
        sound[i], kept[0], kept[1] = above(
            sound[i], kept[0], kept[1], high[0], high[1], high[2], high[3], high[4]
        )
    add_curves(sound, knots, span, phase)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def add_curves(sound: FLOATS, knots: FLOATS, span: int, phase: int) -> None:
    """Add the body to sound [n] that begins `phase` samples into a span between two knots.

    `knots` [1 + spans, 2]: where that span began, then where it and all that follow end.
    """
    at = 0
    for i in range(sound.shape[0]):
        t = np.float32(phase) / np.float32(span)
        sound[i] += curve(knots[at, 0], knots[at, 1], knots[at + 1, 0], knots[at + 1, 1], t)
        phase += 1
        if phase == span:
            phase, at = 0, at + 1


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _tell(
    told: FLOATS,
    ages: INTS,
    velocities: FLOATS,
    kits: FLOATS,
    wave: FLOATS,
    first: FLOATS,
    bias: FLOATS,
    second: FLOATS,
) -> None:
    hops, roles = ages.shape
    gains = np.zeros((roles, wave.shape[2]), np.float32)
    for hop in range(hops):
        known = hop > 0
        for kit in range(kits.shape[1]):
            known = known and kits[hop, kit] == kits[hop - 1, kit]
        for role in range(roles):
            velocity = velocities[hop, role]
            if not known or velocity != velocities[hop - 1, role]:
                find_gains(gains[role], velocity, kits[hop], first[role], bias[role], second[role])
            age = ages[hop, role]
            if age < wave.shape[1]:
                add_waves(told[hop], gains[role], wave[role, age])


def knots_of(
    spec: ModelSpec, weights: Weights, ages: INTS, velocities: FLOATS, kits: FLOATS
) -> FLOATS:
    """Return the body's knots [1 + hops * knots, 2] in hops that begin in silence.

    Parameters
    ----------
    weights : mapping
        Of them those of the body are read.
    ages : int64 [hops, roles]
        Hops since each role's last hit.
    velocities : float32 [hops, roles]
    kits : float32 [hops, kits]
    """
    told = _told(weights, "body", ages, velocities, kits)
    return np.concatenate([np.zeros((1, KNOT), np.float32), told.reshape(-1, KNOT)])


def transients_of(weights: Weights, ages: INTS, velocities: FLOATS, kits: FLOATS) -> FLOATS:
    """Return the transients, float32 [hops * hop]; see `knots_of`."""
    return _told(weights, "transient", ages, velocities, kits).ravel()


def sound_of(
    spec: ModelSpec, weights: Weights, ages: INTS, velocities: FLOATS, kits: FLOATS
) -> FLOATS:
    """Return all that hits determine, float32 [hops * hop], in hops that begin in silence."""
    sound = np.zeros(len(ages) * spec.hop, np.float32)
    add_curves(sound, knots_of(spec, weights, ages, velocities, kits), spec.body_span, 0)
    if spec.transient:
        sound += transients_of(weights, ages, velocities, kits)
    return sound


def _told(weights: Weights, name: str, ages: INTS, velocities: FLOATS, kits: FLOATS) -> FLOATS:
    """Return what the waves of a name tell at the points of each hop, [hops, P]."""
    wave = weights[f"{name}_wave"]
    flat = wave.reshape(*wave.shape[:3], -1)
    told = np.zeros((len(ages), flat.shape[3]), np.float32)
    _tell(told, ages, velocities, kits, flat, *(weights[f"{name}_{part}"] for part in GAINS))
    return told
