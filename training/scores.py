"""Scores: what was asked, what the rendered truth does with it, what a model does with it.

A `Tally` gathers the counts of any number of pieces; `Tally.score` turns them into the keys of
`ghostnote eval`. Each piece is judged by itself, so pieces may be judged in any thread and their
tallies added up afterwards.

- A hit is *heard* if an onset lies within 20 ms of where it is due in the band of its role, no
  more than 18 dB softer than the truth. It is *masked*, and left out for the truth and for the
  model alike, if it alone is not within 3 dB of what the truth holds there, is not 3 dB over the
  30 ms before, or is over 30 dB softer than a typical hit: then nobody could tell.
- An onset in the band of a role is *unasked* if no hit of any role accounts for it: none within
  20 ms (or whose one-shot strikes again just then) that alone is no more than 12 dB softer in
  that band. It is the role's *own* if a hit of that role accounts for it and is no more than
  18 dB louder either. Precision is own / (own + unasked); false onsets are the unasked ones in
  the bands of kick, snare and hat, those within 20 ms being one.
- Timing is the time of the model's onset less that of the truth's.
- Levels are the highest of the band in the 40 ms from the trigger on.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.inference.midi import Hit

from .hearing import (
    CORE_ROLES,
    PEAK_SECONDS,
    SHOT_SECONDS,
    SOFTER_DB,
    TOLERANCE_SECONDS,
    KitHearing,
)
from .onsets import BandLevels, Onset, decibels, find_onsets

AUDIO = npt.NDArray[np.float32]

LOOK_BEFORE_SECONDS = 0.03
MASKED_DB = 3.0
QUIET_SECONDS = 0.3  # "between hits" begins so long after one
PIECE_SECONDS = 0.05  # ... and is measured in pieces of this length
SILENT_DB = -60.0


@dataclass
class RoleCount:
    """Counts of one role: audible hits asked, heard; onsets in its band, its own and unasked."""

    asked: int = 0
    masked: int = 0
    heard: int = 0
    truth_heard: int = 0
    own: int = 0
    unasked: int = 0
    truth_own: int = 0
    truth_unasked: int = 0

    def add(self, other: RoleCount) -> None:
        """Add another's counts to these."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def score(self) -> dict[str, Any]:
        """Return recall and precision, None where nothing was there to be counted."""
        return {
            "precision": _share(self.own, self.own + self.unasked),
            "recall": _share(self.heard, self.asked),
            "truth_precision": _share(self.truth_own, self.truth_own + self.truth_unasked),
            "truth_recall": _share(self.truth_heard, self.asked),
            "asked": self.asked,
            "masked": self.masked,
        }


@dataclass
class Tally:
    """What is counted and measured over pieces; lists hold one value per hit or place."""

    seconds: float = 0.0
    roles: dict[str, RoleCount] = field(default_factory=lambda: defaultdict(RoleCount))
    unasked: int = 0
    truth_unasked: int = 0
    timing_ms: list[float] = field(default_factory=list)
    levels: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    quiet: list[tuple[float, float]] = field(default_factory=list)
    bits: float = 0.0
    bits_samples: int = 0

    def add(self, other: Tally) -> None:
        """Add the counts of another to these."""
        for name in ("seconds", "unasked", "truth_unasked", "bits", "bits_samples"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for role, count in other.roles.items():
            self.roles[role].add(count)
        for group, pairs in other.levels.items():
            self.levels[group] += pairs
        self.timing_ms += other.timing_ms
        self.quiet += other.quiet

    def score(self) -> dict[str, Any]:
        """Return the keys of `ghostnote eval` that these counts give; None where unknown."""
        quiet = np.array(self.quiet, np.float64).reshape(-1, 2)
        silent = quiet[quiet[:, 0] < 10.0 ** (SILENT_DB / 10.0)]
        minutes = self.seconds / 60.0
        return {
            "bits_per_sample": _share(self.bits, self.bits_samples),
            "roles": {role: count.score() for role, count in self.roles.items()},
            "false_onsets_per_minute": _share(self.unasked, minutes),
            "truth_false_onsets_per_minute": _share(self.truth_unasked, minutes),
            "timing_ms_p95": float(np.quantile(self.timing_ms, 0.95)) if self.timing_ms else None,
            "velocity_correlation": correlation_within(self.levels),
            "floor_db": _mean_db(quiet[:, 1]),
            "truth_floor_db": _mean_db(quiet[:, 0]),
            "hiss_db": _mean_db(silent[:, 1]),
            "seconds": round(self.seconds, 3),
        }


def judge(hits: Sequence[Hit], truth: AUDIO, generated: AUDIO, hearing: KitHearing) -> Tally:
    """Return the tally of one piece.

    Parameters
    ----------
    hits : sequence of (seconds, role, velocity)
        What was asked, in order of time, of roles that the kit has.
    truth, generated : float32 [frames]
        The same stretch, rendered from the kit and played by the model.
    hearing : KitHearing
    """
    tally = Tally(seconds=len(truth) / hearing.kit.samplerate)
    heard = {"truth": hearing.hear(truth), "model": hearing.hear(generated)}
    unasked: dict[str, list[float]] = {"truth": [], "model": []}
    for role, band in hearing.bands.items():
        levels = {who: heard[who][band] for who in heard}
        onsets = {who: find_onsets(levels[who], hearing.least_db(role)) for who in levels}
        count = tally.roles[role]
        for seconds, velocity in ((t, v) for t, r, v in hits if r == role):
            solo = hearing.solo_db(role, velocity, role)
            if solo < hearing.least_db(role) or not _audible(solo, levels["truth"], seconds):
                count.masked += 1
                continue
            due, stop = seconds + hearing.late[role], seconds + PEAK_SECONDS
            peaks = {who: levels[who].peak_db(seconds, stop) for who in levels}
            least = peaks["truth"] - SOFTER_DB
            nearest = {who: _nearest(onsets[who], due, least) for who in onsets}
            count.asked += 1
            count.truth_heard += nearest["truth"] is not None
            count.heard += nearest["model"] is not None
            if nearest["truth"] and nearest["model"]:
                error = nearest["model"].seconds - nearest["truth"].seconds
                tally.timing_ms.append(1000.0 * abs(error))
            tally.levels[f"{hearing.kit.name} {role}"].append((peaks["truth"], peaks["model"]))
        lost = {}
        for who, found in onsets.items():
            own, lost[who] = _sort_out(found, hits, role, hearing)
            if who == "truth":
                count.truth_own, count.truth_unasked = own, len(lost[who])
            else:
                count.own, count.unasked = own, len(lost[who])
        if role in CORE_ROLES:  # together they cover the spectrum
            for who in unasked:
                unasked[who] += lost[who]
    tally.unasked = _apart(unasked["model"])
    tally.truth_unasked = _apart(unasked["truth"])
    tally.quiet = quiet_places(hits, truth, generated, hearing.kit.samplerate)
    return tally


def _audible(solo_db: float, truth: BandLevels, seconds: float) -> bool:
    """Tell whether a hit shows in the truth: over what sounded before it, and not drowned."""
    before = truth.peak_db(
        seconds - LOOK_BEFORE_SECONDS - truth.reach / 1000.0, seconds - truth.reach / 1000.0
    )
    after = truth.peak_db(seconds, seconds + PEAK_SECONDS)
    return solo_db >= before + MASKED_DB and solo_db >= after - MASKED_DB


def _nearest(onsets: Sequence[Onset], seconds: float, least_db: float) -> Onset | None:
    near = [
        onset
        for onset in onsets
        if abs(onset.seconds - seconds) <= TOLERANCE_SECONDS and onset.level >= least_db
    ]
    return min(near, key=lambda onset: abs(onset.seconds - seconds)) if near else None


def _sort_out(
    onsets: Sequence[Onset], hits: Sequence[Hit], role: str, hearing: KitHearing
) -> tuple[int, list[float]]:
    """Return how many onsets in a role's band are its own, and the times of those of no hit."""
    own, lost = 0, []
    for onset in onsets:
        near = (h for h in hits if -SHOT_SECONDS <= h[0] - onset.seconds <= TOLERANCE_SECONDS)
        causes = [hit for hit in near if hearing.accounts_for(hit, onset, role)]
        own += any(
            cause == role and onset.level >= hearing.solo_db(cause, velocity, role) - SOFTER_DB
            for _, cause, velocity in causes
        )
        if not causes:
            lost.append(onset.seconds)
    return own, lost


def _apart(seconds: Sequence[float]) -> int:
    """Return how many events these are, those nearer than the tolerance being one."""
    count, last = 0, -1.0
    for now in sorted(seconds):
        if count == 0 or now - last > TOLERANCE_SECONDS:
            count += 1
        last = now
    return count


def quiet_places(
    hits: Sequence[Hit], truth: AUDIO, generated: AUDIO, samplerate: int
) -> list[tuple[float, float]]:
    """Return (truth, generated) mean squares of 50 ms pieces over 300 ms after the last hit."""
    size = round(PIECE_SECONDS * samplerate)
    times = [*(round(t * samplerate) for t, _, _ in hits), len(truth)]
    places = []
    for now, then in itertools.pairwise(times):
        start = now + round(QUIET_SECONDS * samplerate)
        for at in range(start, then - size + 1, size):
            pair = (truth[at : at + size], generated[at : at + size])
            places.append(
                (
                    float(np.mean(np.square(pair[0], dtype=np.float64))),
                    float(np.mean(np.square(pair[1], dtype=np.float64))),
                )
            )
    return places


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


def _mean_db(energy: npt.NDArray[np.float64]) -> float | None:
    return decibels(float(energy.mean())) if len(energy) else None
