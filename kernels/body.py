"""The body of a drum's sound: what hits alone determine of it, told by a small dense network.

The last few samples tell nearly all that the next one needs, so that bits hardly reward a WaveNet
for keeping the course of a low tone; playing freely, it loses the tone (docs/sound.md, "Low tones").
So a model may have a body (`ModelSpec.body`): dense layers tell, from a hop's control features, the
value and the slope of the sound's low end where the hop ends. Between these knots lies a cubic, so
that the curve and its slope have no steps. The WaveNet speaks of the sound less this curve, which is
added to what it plays: a deterministic part and a stochastic one (Serra & Smith 1990, Computer Music
Journal 14(4)), both learnt. Of what the WaveNet plays only what lies above the body is heard: below,
where it loses its way, it would be rumble.

Compiled functions allocate nothing; any thread.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from . import control
from .memory import inner
from .packing import KNOT
from .spec import ModelSpec
from .weights import Weights

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

SOFTEST = np.float32(1e-3)
"""A body of this amplitude is halved, a softer one fades quickly: in a tail it would be hum."""

LEAST = np.float32(2.0**-40)
"""What is kept of a filter's past is silence below: else it would ring in ever smaller numbers."""

ROWS = 4096  # hops whose features are made at once

_ZERO, _HALF, _ONE, _TWO, _THREE = (np.float32(x) for x in (0.0, 0.5, 1.0, 2.0, 3.0))


@inner
def softened(value: np.float32, slope: np.float32) -> np.float32:
    """Return what a knot is multiplied with, so that next to nothing becomes nothing."""
    half = _HALF * slope
    power = value * value + half * half
    return np.float32(power / (power + SOFTEST * SOFTEST))


@inner
def curve(
    before: np.float32, rising: np.float32, after: np.float32, falling: np.float32, t: np.float32
) -> np.float32:
    """Return the cubic between two knots (value, slope) at a share t of the hop, 0 to below 1."""
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
    sound: FLOATS, high: FLOATS, kept: FLOATS, knots: FLOATS, hop: int, phase: int
) -> None:
    """Turn what a WaveNet plays into the whole sound [n], in place; it begins `phase` into a hop.

    `high` is that of `high_pass`, `kept` [2] is and becomes its filter's past, `knots` as of
    `add_curves`.
    """
    for i in range(sound.shape[0]):
        sound[i], kept[0], kept[1] = above(
            sound[i], kept[0], kept[1], high[0], high[1], high[2], high[3], high[4]
        )
    add_curves(sound, knots, hop, phase)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def soften(knots: FLOATS, forgotten: npt.NDArray[np.bool_]) -> None:
    """Soften knots [n, 2] in place; where every hit is forgotten [n] there is none."""
    for i in range(knots.shape[0]):
        by = softened(knots[i, 0], knots[i, 1])
        for j in range(KNOT):
            knots[i, j] = _ZERO if forgotten[i] else knots[i, j] * by


@nb.njit(cache=True, nogil=True, error_model="numpy")
def add_curves(sound: FLOATS, knots: FLOATS, hop: int, phase: int) -> None:
    """Add the body to sound [n] that begins `phase` samples into a hop.

    `knots` [hops + 1, 2]: where that hop began, then where it and all that follow end.
    """
    at = 0
    for i in range(sound.shape[0]):
        t = np.float32(phase) / np.float32(hop)
        sound[i] += curve(knots[at, 0], knots[at, 1], knots[at + 1, 0], knots[at + 1, 1], t)
        phase += 1
        if phase == hop:
            phase, at = 0, at + 1


def knots_of(
    spec: ModelSpec, weights: Weights, ages: INTS, velocities: FLOATS, kits: FLOATS
) -> FLOATS:
    """Return the knots [hops + 1, 2] of hops that begin in silence.

    Parameters
    ----------
    weights : mapping
        Of them those of the body and the age table are read.
    ages : int64 [hops, roles]
        Hops since each role's last hit.
    velocities : float32 [hops, roles]
    kits : float32 [hops, kits]
    """
    knots = np.zeros((len(ages) + 1, KNOT), np.float32)
    for first in range(0, len(ages), ROWS):
        some = slice(first, first + ROWS)
        x = control.control_rows(ages[some], velocities[some], kits[some], weights["age_table"])
        for i in range(len(spec.body)):
            x = np.maximum(x @ weights[f"body_weight.{i}"].T + weights[f"body_bias.{i}"], 0.0)
        told = x @ weights["body_out_weight"].T + weights["body_out_bias"]
        knots[1 + first : 1 + first + len(told)] = told
    soften(knots[1:], (ages >= spec.ages - 1).all(axis=1))
    return knots


def sound_of(
    spec: ModelSpec, weights: Weights, ages: INTS, velocities: FLOATS, kits: FLOATS
) -> FLOATS:
    """Return the body, float32 [hops * hop], of hops that begin in silence; see `knots_of`."""
    sound = np.zeros(len(ages) * spec.hop, np.float32)
    add_curves(sound, knots_of(spec, weights, ages, velocities, kits), spec.hop, 0)
    return sound
