"""What is played for training: stretches of drummers' grooves, and drills (made-up exercises).

A hit is (seconds, role, velocity 0 to 1). Pure functions; no audio here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ghostnote.inference.midi import Hit


def level_velocities(hits: Sequence[Hit], loud: float = 0.8) -> list[Hit]:
    """Return the hits with velocities scaled so that the loudest tenth starts at `loud`.

    Drummers differ in how hard they hit the pads; a quiet groove would leave most of the mu-law
    range unused. Scaling the *velocities*, not the sound, keeps what a velocity means.
    """
    scale = loud / max(float(np.quantile([v for _, _, v in hits], 0.9)), 0.05)
    return [(t, role, min(v * scale, 1.0)) for t, role, v in hits]


def drill(rng: np.random.Generator, seconds: float, roles: Sequence[str]) -> list[Hit]:
    """Return an exercise: every role alone and in pairs, soft and loud, near and far apart.

    Grooves hold few claps, crashes and lone hits, and a player may ask for any of them at any
    time, out of silence as well.
    """
    hits: list[Hit] = []
    now = float(rng.uniform(0.0, 0.2))
    while now < seconds:
        count = min(2 if rng.random() < 0.25 else 1, len(roles))
        for role in rng.choice(len(roles), size=count, replace=False):
            hits.append((now, roles[int(role)], float(rng.uniform(0.2, 1.0))))
        far = rng.random() < 0.3
        now += float(rng.uniform(0.6, 1.8)) if far else float(rng.uniform(0.06, 0.5))
    return hits


def crop(hits: Sequence[Hit], start: float, seconds: float) -> list[Hit]:
    """Return the hits of a stretch, with times counted from its start."""
    return [(t - start, role, v) for t, role, v in hits if start <= t < start + seconds]
