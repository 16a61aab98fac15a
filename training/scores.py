"""Scores: what was asked, what the rendered truth does with it, what a model does with it.

A `Tally` gathers the counts of any number of pieces; `Tally.score` turns them into the keys of
`ghostnote eval`. Each piece is judged by itself, so pieces may be judged in any thread and their
tallies added up afterwards.

- A hit is *heard* if the ears hear its role begin within 20 ms of where it is due. It is *masked*,
  and left out of recall for the truth and for the model alike, unless in half of the bands that
  are its own it holds half of what sounds in the truth and is louder than what sounded in the
  50 ms before; or if it is under -60 dBFS, or the same role struck less than 20 ms before: then
  nobody could tell.
- What the ears hear of a role is *right* if a hit of that role, masked or not, was asked within
  20 ms, or its one-shot strikes again just then. Precision is right / (right + wrong). *False onsets* are those where nothing at all was
  asked, those within 20 ms being one.
- Timing is measured where a hit is audible, heard, and alone for 30 ms (`timing.py`), from when it
  was asked; so the truth's own figure is the error of the measuring.
- Velocity: the level, in the bands where the hit is audible, against that of the hit alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.inference.midi import Hit

from . import low_tones, timing
from .audibility import audible, beginning, surroundings
from .ears import TOLERANCE_SECONDS, matches
from .hearing import KitHearing
from .noise import decibels

AUDIO = npt.NDArray[np.float32]

SILENT_DB = -60.0
QUANTILE = 0.95


@dataclass
class RoleCount:
    """Counts of one role: audible hits asked and heard; what was heard, by right or wrongly."""

    asked: int = 0
    masked: int = 0
    heard: int = 0
    truth_heard: int = 0
    right: int = 0
    wrong: int = 0
    truth_right: int = 0
    truth_wrong: int = 0

    def add(self, other: RoleCount) -> None:
        """Add another's counts to these."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def score(self) -> dict[str, Any]:
        """Return recall and precision, None where nothing was there to be counted."""
        return {
            "precision": _share(self.right, self.right + self.wrong),
            "recall": _share(self.heard, self.asked),
            "truth_precision": _share(self.truth_right, self.truth_right + self.truth_wrong),
            "truth_recall": _share(self.truth_heard, self.asked),
            "asked": self.asked,
            "masked": self.masked,
        }


@dataclass
class Tally:
    """What is counted and measured over pieces; lists hold one value per hit or place.

    `timing_ms` and `truth_timing_ms` are signed, late above 0; `levels` (alone, played) and
    `truth_levels` (alone, truth) are in dBFS by kit and role; `quiet` and `tails` are pairs
    (truth, generated) as `noise.py` gives them, `low` products as `low_tones.py` does;
    `kits_right`, `truth_kits_right` and `kits_asked` count hits whose kit was named.
    """

    seconds: float = 0.0
    roles: dict[str, RoleCount] = field(default_factory=lambda: defaultdict(RoleCount))
    unasked: int = 0
    truth_unasked: int = 0
    timing_ms: list[float] = field(default_factory=list)
    truth_timing_ms: list[float] = field(default_factory=list)
    levels: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    truth_levels: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    quiet: list[tuple[float, float]] = field(default_factory=list)
    tails: list[tuple[float, float]] = field(default_factory=list)
    low: list[tuple[float, float, float]] = field(default_factory=list)
    bits: float = 0.0
    bits_samples: int = 0
    kits_asked: int = 0
    kits_right: int = 0
    truth_kits_right: int = 0

    def add(self, other: Tally) -> None:
        """Add the counts of another to these."""
        for one in fields(self):
            mine, more = getattr(self, one.name), getattr(other, one.name)
            if one.name == "roles":
                for role, count in more.items():
                    mine[role].add(count)
            elif isinstance(mine, dict):
                for group, pairs in more.items():
                    mine[group] += pairs
            else:
                setattr(self, one.name, mine + more)

    def score(self) -> dict[str, Any]:
        """Return the keys of `ghostnote eval` that these counts give; None where unknown."""
        quiet = np.array(self.quiet, np.float64).reshape(-1, 2)
        silent = quiet[quiet[:, 0] < 10.0 ** (SILENT_DB / 10.0)]
        tails = np.array(self.tails, np.float64).reshape(-1, 2)
        minutes = self.seconds / 60.0
        return {
            "bits_per_sample": _share(self.bits, self.bits_samples),
            "roles": {role: count.score() for role, count in self.roles.items()},
            "false_onsets_per_minute": _share(self.unasked, minutes),
            "truth_false_onsets_per_minute": _share(self.truth_unasked, minutes),
            "timing_ms_p95": _quantile(np.abs(self.timing_ms), QUANTILE),
            "truth_timing_ms_p95": _quantile(np.abs(self.truth_timing_ms), QUANTILE),
            "timing_ms_median": _quantile(np.array(self.timing_ms), 0.5),
            "truth_timing_ms_median": _quantile(np.array(self.truth_timing_ms), 0.5),
            "timing_hits": len(self.timing_ms),
            "velocity_correlation": correlation_within(self.levels),
            "truth_velocity_correlation": correlation_within(self.truth_levels),
            "floor_db": _mean_db(quiet[:, 1]),
            "truth_floor_db": _mean_db(quiet[:, 0]),
            "hiss_db": _mean_db(silent[:, 1]),
            "tail_flatness_db": float(tails[:, 1].mean()) if len(tails) else None,
            "truth_tail_flatness_db": float(tails[:, 0].mean()) if len(tails) else None,
            "low_correlation": low_tones.correlation(self.low),
            "kit_accuracy": _share(self.kits_right, self.kits_asked),
            "truth_kit_accuracy": _share(self.truth_kits_right, self.kits_asked),
            "seconds": round(self.seconds, 3),
        }


def judge(hits: Sequence[Hit], truth: AUDIO, generated: AUDIO, hearing: KitHearing) -> Tally:
    """Return the tally of one piece: roles, timing and velocities.

    Parameters
    ----------
    hits : sequence of (seconds, role, velocity)
        What was asked, in order of time, of roles that the kit has.
    truth, generated : float32 [samples]
        The same stretch, rendered from the kit and played by the model, at the hearing rate.
    hearing : KitHearing
    """
    rate = hearing.ears.rate
    tally = Tally(seconds=len(truth) / rate)
    heard_truth, heard = hearing.ears.hear(truth), hearing.ears.hear(generated)
    for role in hearing.kit.layers:
        _ = tally.roles[role]  # all roles, in the kit's order
    last: dict[str, float] = {}
    for seconds, role, velocity in hits:
        count = tally.roles[role]
        solo = hearing.solo(role, velocity)
        bands = audible(solo.power, surroundings(truth, seconds, rate))
        again = seconds - last.get(role, -1.0) <= TOLERANCE_SECONDS
        last[role] = seconds
        if bands is None or again:
            count.masked += 1
            continue
        due = seconds + hearing.late[role]
        found = _heard_as(heard, hearing.twins[role], due)
        found_truth = _heard_as(heard_truth, hearing.twins[role], due)
        count.asked += 1
        count.heard += found
        count.truth_heard += found_truth
        group = f"{hearing.kit.name} {role}"
        alone = decibels(float(solo.power[bands].sum()))
        attack = _attack(hits, seconds, hearing)
        for was_heard, sound, levels, times in (
            (found, generated, tally.levels, tally.timing_ms),
            (found_truth, truth, tally.truth_levels, tally.truth_timing_ms),
        ):
            if not was_heard:
                continue
            played = beginning(sound, seconds, rate)[bands].sum()
            levels[group].append((alone, decibels(float(played))))
            late = timing.lateness(attack, sound, seconds, rate) if attack else None
            if late is not None:
                times.append(1000.0 * late)
    for role in hearing.kit.layers:
        count = tally.roles[role]
        asked = [due for t, r, _ in hits if r in hearing.twins[role] for due in hearing.due(r, t)]
        count.right = sum(matches(asked, event) for event in heard[role])
        count.wrong = len(heard[role]) - count.right
        count.truth_right = sum(matches(asked, event) for event in heard_truth[role])
        count.truth_wrong = len(heard_truth[role]) - count.truth_right
    times = [when for t, r, _ in hits for when in (t, *hearing.due(r, t))]
    tally.unasked = _apart([e for all_ in heard.values() for e in all_ if not matches(times, e)])
    tally.truth_unasked = _apart(
        [e for all_ in heard_truth.values() for e in all_ if not matches(times, e)]
    )
    return tally


def _heard_as(heard: Mapping[str, Sequence[float]], roles: set[str], due: float) -> bool:
    return any(matches(heard[role], due) for role in roles)


def _attack(hits: Sequence[Hit], seconds: float, hearing: KitHearing) -> timing.Attack | None:
    """Return the attack of all hits of a moment, or None if others are near."""
    near = [hit for hit in hits if abs(hit[0] - seconds) <= timing.ALONE_SECONDS]
    if any(abs(t - seconds) > timing.APART_SECONDS for t, _, _ in near):
        return None
    attacks = [hearing.solo(role, velocity).attack.power for _, role, velocity in near]
    return timing.Attack(np.sum(attacks, axis=0))


def _apart(seconds: Sequence[float]) -> int:
    """Return how many events these are, those nearer than the tolerance being one."""
    count, last = 0, -1.0
    for now in sorted(seconds):
        if count == 0 or now - last > TOLERANCE_SECONDS:
            count += 1
        last = now
    return count


def correlation_within(groups: Mapping[str, Sequence[tuple[float, float]]]) -> float | None:
    """Return the correlation of pairs, each group's own means taken off first.

    Without that, the level of a kick against a hat would count as obedience to velocity.
    """
    centred = [np.array(pairs) - np.mean(pairs, axis=0) for pairs in groups.values() if pairs]
    if not centred:
        return None
    both = np.concatenate(centred)
    spread = np.sqrt((both**2).sum(axis=0))
    if spread.min() <= 1e-9:
        return None
    return float((both[:, 0] * both[:, 1]).sum() / (spread[0] * spread[1]))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _quantile(values: npt.NDArray[np.floating[Any]], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None


def _mean_db(energy: npt.NDArray[np.float64]) -> float | None:
    return decibels(float(energy.mean())) if len(energy) else None
