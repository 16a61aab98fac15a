"""What a drummer plays, as the drummer's network sees it: sixteenth by sixteenth, stroke by stroke.

A stroke is (role, velocity bin, offset bin) within a sixteenth. The strokes of a sixteenth come in
the order of their roles, those of one role (flams, rolls) in the order of time, so that a sixteenth
is one row of strokes and nothing that was played is lost. Pure functions; any thread.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ghostnote.kernels.spec import ROLES

from .midi import Hit

FLOATS = npt.NDArray[np.float32]
Stroke = tuple[int, int, int]
"""Role, velocity bin, offset bin."""

STEPS_PER_BEAT = 4
BAR_STEPS = 16
VELOCITIES = 32
"""Bins of velocity, four MIDI velocities each; the last means full, which is often played."""
OFFSETS = 32
"""Bins of the time from the sixteenth, from half a sixteenth before to half after."""
MAX_STROKES = 10
"""In one sixteenth; of the 260 000 of the corpus three have more."""
NO_ROLE = len(ROLES)
"""In place of a role: the sixteenth has no further stroke."""
FEATURES = 3 * len(ROLES)
SUMMARY = FEATURES + NO_ROLE + 1


def to_steps(hits: Sequence[Hit], steps: int) -> list[list[Stroke]]:
    """Return the strokes of each of `steps` sixteenths of hits (beat, role, velocity).

    Two strokes of a role that fall into one offset bin are one, the louder.
    """
    found: list[dict[tuple[int, int], int]] = [{} for _ in range(steps)]
    for beat, role, velocity in hits:
        at = beat * STEPS_PER_BEAT
        step = int(np.floor(at + 0.5))
        if not 0 <= step < steps:
            continue
        place = (ROLES.index(role), _bin(at - step + 0.5, OFFSETS))
        loud = min(VELOCITIES - 1, round(velocity * 127) // 4)
        found[step][place] = max(loud, found[step].get(place, 0))
    return [
        [(role, loud, late) for (role, late), loud in sorted(strokes.items())][:MAX_STROKES]
        for strokes in found
    ]


def velocity_of(loud: int, within: float = 0.5) -> float:
    """Return the velocity, above 0 up to 1, of a bin; `within`, 0 to 1, is where in the bin."""
    return 1.0 if loud == VELOCITIES - 1 else max(1.0, 4.0 * (loud + within)) / 127.0


def offset_of(late: int, within: float = 0.5) -> float:
    """Return the offset in sixteenths, -0.5 to 0.5, of a bin."""
    return (late + within) / OFFSETS - 0.5


def features(strokes: Sequence[Stroke]) -> FLOATS:
    """Return what later sixteenths know of one: float32 [FEATURES].

    Of each role how many strokes there were, and velocity and offset of the last, -1 to 1.
    """
    return summary(strokes)[:FEATURES]


def summary(strokes: Sequence[Stroke]) -> FLOATS:
    """Return what the next stroke knows of those before it in its sixteenth: float32 [SUMMARY].

    The features so far, then the role of the last stroke (NO_ROLE: there is none) as one of ten.
    """
    row = np.zeros(SUMMARY, np.float32)
    for role, loud, late in strokes:
        row[3 * role] += 1.0
        row[3 * role + 1] = (loud + 1) / VELOCITIES
        row[3 * role + 2] = 2.0 * offset_of(late)
    row[FEATURES + (strokes[-1][0] if strokes else NO_ROLE)] = 1.0
    return row


def _bin(share: float, bins: int) -> int:
    return min(bins - 1, max(0, int(share * bins)))
