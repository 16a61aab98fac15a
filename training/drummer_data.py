"""What the drummer learns from: the corpus's grooves in 4/4 as sixteenths with what is asked of them.

Density of a bar: the share of the train split's bars that have fewer strokes than the nine bars
around it have on average, so that 0.5 is as busy as people usually are. Fills are the takes that
are labelled so, each spliced into the groove that its drummer played with it; in the grooves
themselves a bar counts as a fill if its snare and toms are much busier than they are elsewhere.
Pure functions but for the reading of files; any thread.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.inference.drummer_steps import BAR_STEPS, FEATURES, Stroke, features, to_steps
from ghostnote.inference.loops import BEATS_PER_BAR
from ghostnote.inference.midi import read_groove
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES

FLOATS = npt.NDArray[np.float32]

METRE = "4-4"
LEAST_BARS = 20
"""A style of which people played less is not learnt as a style of its own."""
AROUND = 4
"""Bars before and after that density counts with."""
FILL_STROKES = 4.0
"""So many strokes of snare and toms more than the groove's median bar make a fill."""
LEAD_BARS, REST_BARS = 4, 2
"""Bars of groove before and after a fill that was recorded by itself."""
_FILL_ROLES = (ROLES.index("snare"), ROLES.index("tom"))


@dataclass
class Take:
    """A take in whole bars.

    Attributes
    ----------
    name, style, bpm
        Of the file, its style as the corpus labels it, beats a minute.
    strokes : list of lists
        Of each sixteenth.
    fills : bool [bars]
        Which bars are fills.
    counts : bool [bars]
        Which bars are learnt; those around a spliced fill are another take's.
    """

    name: str
    style: str
    bpm: float
    strokes: list[list[Stroke]]
    fills: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.bool_]

    @property
    def bars(self) -> int:
        """Whole bars."""
        return len(self.strokes) // BAR_STEPS

    def bar(self, number: int) -> list[list[Stroke]]:
        """Return the sixteenths of a bar."""
        return self.strokes[number * BAR_STEPS : (number + 1) * BAR_STEPS]

    def strokes_per_bar(self) -> npt.NDArray[np.float64]:
        """Return the number of strokes of each bar, float64 [bars]."""
        counts = np.array([len(step) for step in self.strokes], np.float64)
        bars: npt.NDArray[np.float64] = counts.reshape(-1, BAR_STEPS).sum(axis=1)
        return bars


def read_takes(corpus: Path, split: str) -> list[Take]:
    """Return the takes in 4/4 of a split, grooves first; fills are spliced into grooves.

    Raises
    ------
    GhostnoteError
        If the corpus has no list of grooves, or a file of it cannot be read.
    """
    listed = corpus / "grooves" / "info.csv"
    try:
        with listed.open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if r["split"] == split]
    except (OSError, KeyError) as error:
        raise GhostnoteError(f"{listed}: no list of grooves ({error})") from None
    rows = [row for row in rows if row["time_signature"] == METRE]
    grooves = [_groove(corpus, row) for row in rows if row["beat_type"] == "beat"]
    partners: dict[tuple[str, ...], list[Take]] = defaultdict(list)
    for row, take in zip((r for r in rows if r["beat_type"] == "beat"), grooves, strict=True):
        for key in _keys(row):
            partners[key].append(take)
    fills = []
    for number, row in enumerate(r for r in rows if r["beat_type"] == "fill"):
        near = next((partners[key] for key in _keys(row) if key in partners), [])
        usable = [take for take in near if take.bars > LEAD_BARS + REST_BARS]
        fills.append(_splice(_groove(corpus, row), usable, number))
    return [take for take in grooves + fills if take.bars]


def sources_of(corpus: Path) -> list[dict[str, str]]:
    """Return source and licence of the grooves, as the corpus's manifest tells; none without one."""
    listed = corpus / "manifest.csv"
    if not listed.is_file():
        return []
    with listed.open(newline="") as file:
        told = {
            (row["source"], row["licence"])
            for row in csv.DictReader(file)
            if row["path"].startswith("grooves/")
        }
    return [{"source": source, "licence": licence} for source, licence in sorted(told)]


def labels_of(takes: Sequence[Take]) -> tuple[str, ...]:
    """Return the styles, and their kinds as style/kind, of which enough bars were played."""
    bars: Counter[str] = Counter()
    for take in takes:
        for label in style_labels(take.style):
            bars[label] += int(take.counts.sum())
    return tuple(sorted(label for label, count in bars.items() if count >= LEAST_BARS))


def style_labels(style: str) -> tuple[str, ...]:
    """Return the labels of a style: itself and, of a kind, what it is a kind of.

    >>> style_labels("jazz/swing"), style_labels("rock")
    (('jazz', 'jazz/swing'), ('rock',))
    """
    top = style.partition("/")[0]
    return (top,) if top == style else (top, style)


def densities(take: Take, measure: FLOATS) -> FLOATS:
    """Return the density of each bar, float32 [bars], by the sorted strokes a bar `measure`."""
    strokes = take.strokes_per_bar()
    around = [
        strokes[max(0, bar - AROUND) : bar + AROUND + 1].mean() for bar in range(len(strokes))
    ]
    return (np.searchsorted(measure, around) / len(measure)).astype(np.float32)


def density_measure(takes: Sequence[Take]) -> FLOATS:
    """Return the strokes of all bars that are no fills, sorted, float32."""
    bars = [take.strokes_per_bar()[take.counts & ~take.fills] for take in takes]
    return np.sort(np.concatenate(bars)).astype(np.float32)


def rows_of(take: Take) -> FLOATS:
    """Return the features of each sixteenth, float32 [steps, FEATURES]."""
    rows = np.zeros((len(take.strokes), FEATURES), np.float32)
    for at, strokes in enumerate(take.strokes):
        if strokes:
            rows[at] = features(strokes)
    return rows


def _groove(corpus: Path, row: dict[str, Any]) -> Take:
    groove = read_groove(corpus / row["path"])
    hits = [hit for hit in groove.in_beats if hit[1] in ROLES]
    # The last stroke of a take is often the downbeat after its last bar.
    bars = max(1, int((hits[-1][0] + 0.5) / BEATS_PER_BAR))
    strokes = to_steps(hits, bars * BAR_STEPS)
    take = Take(
        Path(row["path"]).stem,
        row["style"],
        float(row["bpm"]),
        strokes,
        np.full(bars, row["beat_type"] == "fill"),
        np.ones(bars, np.bool_),
    )
    if row["beat_type"] == "beat":
        busy = np.array(
            [sum(s[0] in _FILL_ROLES for step in take.bar(n) for s in step) for n in range(bars)]
        )
        take.fills = busy >= np.median(busy) + FILL_STROKES
    return take


def _keys(row: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return by what a fill finds its groove, the best first."""
    by = row["drummer"], row["session"], row["style"], row["bpm"]
    return [by, (row["drummer"], row["style"].partition("/")[0]), (row["style"].partition("/")[0],)]


def _splice(fill: Take, grooves: Sequence[Take], number: int) -> Take:
    """Return a fill with bars of a groove around it; which of them goes by its number."""
    if not grooves:
        return fill
    groove = grooves[number % len(grooves)]
    at = LEAD_BARS + (number * 7) % (groove.bars - LEAD_BARS - REST_BARS + 1)
    before = groove.strokes[(at - LEAD_BARS) * BAR_STEPS : at * BAR_STEPS]
    after = groove.strokes[at * BAR_STEPS : (at + REST_BARS) * BAR_STEPS]
    around = [np.zeros(len(part) // BAR_STEPS, np.bool_) for part in (before, after)]
    return Take(
        fill.name,
        fill.style,
        fill.bpm,
        before + fill.strokes + after,
        np.concatenate([around[0], fill.fills, around[1]]),
        np.concatenate([around[0], fill.counts, around[1]]),
    )
