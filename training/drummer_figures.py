"""Figures of how far a drummer plays as people do: distributions, copies, repetition.

Everything is counted over takes: lists of bars, a bar being its sixteenths' strokes. Pure
functions; any thread.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.inference.drummer_steps import BAR_STEPS, Stroke, offset_of, velocity_of
from ghostnote.kernels.spec import ROLES

Bar = Sequence[Sequence[Stroke]]
FLOATS = npt.NDArray[np.float64]

LAGS = (1, 2, 4, 8)
"""Bars apart at which repetition is measured."""
FEWEST = 200
"""Strokes of a role below which its distributions are left out."""
PHRASE = 4
"""Bars of a phrase, for copies of more than a bar."""


def wasserstein(a: Iterable[float], b: Iterable[float]) -> float:
    """Return the first Wasserstein distance of two samples: the mean way to carry one to the other.

    >>> wasserstein([0, 1, 2], [1, 2, 3])
    1.0
    """
    x, y = np.sort(np.fromiter(a, np.float64)), np.sort(np.fromiter(b, np.float64))
    places = np.concatenate([x, y])
    places.sort()
    widths = np.diff(places)
    below = [np.searchsorted(one, places[:-1], "right") / len(one) for one in (x, y)]
    return float((np.abs(below[0] - below[1]) * widths).sum())


def pattern(bar: Bar) -> frozenset[tuple[int, int]]:
    """Return which roles are struck on which sixteenths of a bar."""
    return frozenset((at, role) for at, strokes in enumerate(bar) for role, _, _ in strokes)


def velocities(takes: Sequence[Sequence[Bar]], role: int) -> list[float]:
    """Return the velocities, 1 to 127, of a role's strokes."""
    return [
        127 * velocity_of(loud)
        for take in takes
        for bar in take
        for strokes in bar
        for struck, loud, _ in strokes
        if struck == role
    ]


def offsets(takes: Sequence[Sequence[Bar]], role: int) -> list[float]:
    """Return how late a role's strokes are, in sixteenths."""
    return [
        offset_of(late)
        for take in takes
        for bar in take
        for strokes in bar
        for struck, _, late in strokes
        if struck == role
    ]


def strokes_per_bar(takes: Sequence[Sequence[Bar]], role: int | None = None) -> list[float]:
    """Return the number of strokes, of one role or all, of every bar."""
    return [
        float(sum(role is None or stroke[0] == role for strokes in bar for stroke in strokes))
        for take in takes
        for bar in take
    ]


def distances(found: Sequence[Sequence[Bar]], wanted: Sequence[Sequence[Bar]]) -> dict[str, Any]:
    """Return how far the distributions of `found` are from those of `wanted`.

    "velocity" in MIDI steps, "offset" in sixteenths, "strokes_per_bar", "role_per_bar" in strokes
    are Wasserstein distances; those of roles are means, weighted by their strokes in `wanted`.
    "places_kl" is the Kullback-Leibler divergence, in bits, of where in the bar which role is
    struck. "roles" has the same of each role.
    """
    roles: dict[str, dict[str, float]] = {}
    weights: dict[str, int] = {}
    for number, role in enumerate(ROLES):
        there, here = velocities(wanted, number), velocities(found, number)
        if min(len(there), len(here)) < FEWEST:
            continue
        weights[role] = len(there)
        roles[role] = {
            "velocity": wasserstein(here, there),
            "offset": wasserstein(offsets(found, number), offsets(wanted, number)),
            "per_bar": wasserstein(strokes_per_bar(found, number), strokes_per_bar(wanted, number)),
        }

    def mean(what: str) -> float:
        total = sum(weights.values())
        if not total:
            return math.nan
        return sum(weights[role] * roles[role][what] for role in roles) / total

    return {
        "velocity": mean("velocity"),
        "offset": mean("offset"),
        "strokes_per_bar": wasserstein(strokes_per_bar(found), strokes_per_bar(wanted)),
        "role_per_bar": mean("per_bar"),
        "places_kl": _kl(_places(found), _places(wanted)),
        "roles": roles,
    }


def copies(
    takes: Sequence[Sequence[Bar]], known: Sequence[Sequence[Bar]], length: int = 1
) -> float:
    """Return the share of stretches of `length` bars that are, on the grid, one of `known`.

    Stretches in which nothing is struck are not counted.
    """
    patterns = _stretches(known, length)
    found = [stretch for take in takes for stretch in _of_take(take, length)]
    return float(np.mean([stretch in patterns for stretch in found])) if found else 0.0


def repetition(takes: Sequence[Sequence[Bar]]) -> dict[str, Any]:
    """Return how alike bars are that lie some bars apart, and how many differ from all before.

    "alike" is the mean share that two bars' patterns have in common (Jaccard), by lag; "same" the
    share of equal ones; "samples" all shares by lag; "new" the share of bars that are the first of
    their pattern in their take.
    """
    alike: dict[int, list[float]] = {lag: [] for lag in LAGS}
    new, bars = 0, 0
    for take in takes:
        patterns = [pattern(bar) for bar in take]
        new, bars = new + len(set(patterns)), bars + len(patterns)
        for lag in LAGS:
            for one, other in zip(patterns, patterns[lag:], strict=False):
                if one or other:
                    alike[lag].append(len(one & other) / len(one | other))
    return {
        "alike": {lag: _mean(shares) for lag, shares in alike.items()},
        "same": {lag: _mean([s == 1.0 for s in shares]) for lag, shares in alike.items()},
        "new": new / bars,
        "samples": alike,
    }


class StyleJudge:
    """Tells the style of a take by where which role is struck: naive Bayes, trained on real takes."""

    def __init__(self, takes: Sequence[tuple[str, Sequence[Bar]]]) -> None:
        sums: dict[str, FLOATS] = {}
        for style, take in takes:
            sums[style] = sums.get(style, np.zeros(BAR_STEPS * len(ROLES))) + _places([take])
        self.styles = sorted(sums)
        self._logs = np.array(
            [np.log((sums[s] + 1.0) / (sums[s] + 1.0).sum()) for s in self.styles]
        )

    def style(self, take: Sequence[Bar]) -> str:
        """Return the likeliest style of a take."""
        return self.styles[int(np.argmax(self._logs @ _places([take])))]


def endurance(bar: Callable[[int], Bar], bars: int, block: int) -> Mapping[str, Sequence[float]]:
    """Return the strokes a bar, and the share of empty bars, of each block of a long performance."""
    means, empty = [], []
    for first in range(0, bars, block):
        counts = [sum(map(len, bar(number))) for number in range(first, first + block)]
        means.append(float(np.mean(counts)))
        empty.append(float(np.mean([count == 0 for count in counts])))
    return {"strokes_per_bar": means, "empty": empty}


def _mean(numbers: Sequence[float]) -> float:
    return float(np.mean(numbers)) if len(numbers) else math.nan


def _of_take(take: Sequence[Bar], length: int) -> list[tuple[frozenset[tuple[int, int]], ...]]:
    patterns = [pattern(bar) for bar in take]
    stretches = (tuple(patterns[at : at + length]) for at in range(len(patterns) - length + 1))
    return [stretch for stretch in stretches if any(stretch)]


def _stretches(takes: Sequence[Sequence[Bar]], length: int) -> set[Any]:
    return {stretch for take in takes for stretch in _of_take(take, length)}


def _places(takes: Sequence[Sequence[Bar]]) -> FLOATS:
    counts: Counter[int] = Counter(
        at * len(ROLES) + role
        for take in takes
        for bar in take
        for at, strokes in enumerate(bar)
        for role, _, _ in strokes
    )
    places = np.zeros(BAR_STEPS * len(ROLES))
    for place, count in counts.items():
        places[place] = count
    return places


def _kl(found: FLOATS, wanted: FLOATS) -> float:
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (wanted, found))
    return float((p * np.log2(p / q)).sum())
