"""When exactly a hit begins: its attack, known from the one-shot, is slid along what was played.

The ears' candidates are good to some 5 ms, which is enough to say *what* began. Here the rises of
the level in four broad bands, half a millisecond by half a millisecond, are correlated with those
of the one-shot itself (a matched filter), so that a slow attack is not taken for lateness. The
one-shot is laid over the level that was there before the hit, as a tail hides the beginning of an
attack. How well it measures is told by the rendered truth, whose times are known to the sample.

Pure functions; any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .mel import powers

FLOATS = npt.NDArray[np.float32]
AUDIO = npt.NDArray[np.float32]

EDGES_HZ = (40.0, 150.0, 600.0, 2400.0, 11_000.0)
WINDOWS = (0.010, 0.005, 0.003, 0.002)  # s: as short as a band can be measured in
STEP_SECONDS = 0.0005
RISE_STEPS = 4  # a rise is over 2 ms
BEFORE, AFTER = 16, 40  # steps of the attack before and after the trigger
REACH = 44  # steps that a hit is looked for on either side
QUIET = 1e-4  # of the attack's highest power: what is softer is no part of it
ALONE_SECONDS = 0.03  # no other hit within it, or nobody could tell whose attack it is
APART_SECONDS = 0.0005  # ... but those of one moment are one attack
LEAST_LIKENESS = 0.3


@dataclass(frozen=True)
class Attack:
    """The powers of a hit alone, float32 [4, BEFORE + AFTER] around its trigger."""

    power: FLOATS


def band_powers(audio: AUDIO, rate: int) -> FLOATS:
    """Return the mean squares of the four bands, float32 [4, steps]."""
    top = 0.48 * rate
    found = []
    for low, high, window in zip(EDGES_HZ, EDGES_HZ[1:], WINDOWS, strict=False):
        edges = np.array([min(low, 0.9 * top), min(high, top)], np.float32)
        found.append(powers(audio, rate, edges, STEP_SECONDS, window)[:, 0])
    return np.stack(found)


def attack_of(shot: AUDIO, rate: int) -> Attack:
    """Return the attack of a one-shot that is triggered at its first sample."""
    return Attack(_around(shot, 0.0, rate, BEFORE, AFTER))


def lateness(attack: Attack, audio: AUDIO, seconds: float, rate: int) -> float | None:
    """Return by how much (s) a hit comes after its time in audio, or None if none is alike.

    Parameters
    ----------
    attack : Attack
        Of that hit alone, or the sum of those of one moment.
    audio : float32 [samples]
        At `rate`.
    seconds : float
        When it was asked.
    """
    played = _around(audio, seconds, rate, BEFORE + REACH, AFTER + REACH)
    floor = QUIET * attack.power.max(axis=1, keepdims=True) + 1e-9
    rest = played[:, BEFORE // 2 : REACH].mean(axis=1, keepdims=True)
    wanted = _rises(attack.power + rest + floor)  # [4, n]
    heard = _rises(played + floor)  # [4, n + 2 * REACH]
    windows = np.lib.stride_tricks.sliding_window_view(heard, wanted.shape[1], axis=1)
    likeness = np.einsum("blt,bt->l", windows, wanted)
    norms = np.sqrt(np.square(windows).sum(axis=(0, 2)) * np.square(wanted).sum())
    likeness = likeness / np.maximum(norms, 1e-9)
    best = int(np.argmax(likeness))
    if likeness[best] < LEAST_LIKENESS:
        return None
    return float(best - REACH + _vertex(likeness, best)) * round(STEP_SECONDS * rate) / rate


def _around(audio: AUDIO, seconds: float, rate: int, before: int, after: int) -> FLOATS:
    """Return the powers of so many steps before and after a time."""
    step = round(STEP_SECONDS * rate)
    # Whole windows on either side, so that the edges of the piece are not heard.
    margin = round(max(WINDOWS) / STEP_SECONDS)
    first = round(seconds * rate) - (before + margin) * step
    piece = np.zeros((before + after + 2 * margin) * step, np.float32)
    found = audio[max(first, 0) : max(first + len(piece), 0)]
    piece[max(-first, 0) : max(-first, 0) + len(found)] = found
    return band_powers(piece, rate)[:, margin : margin + before + after]


def _rises(power: FLOATS) -> FLOATS:
    level = 10.0 * np.log10(power)
    return np.asarray(np.maximum(level[:, RISE_STEPS:] - level[:, :-RISE_STEPS], 0.0))


def _vertex(values: npt.NDArray[np.floating], at: int) -> float:
    """Return where between steps the highest value lies, by a parabola through three, -0.5 to 0.5."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, mid, right = (float(values[at + i]) for i in (-1, 0, 1))
    bend = left - 2.0 * mid + right
    return 0.0 if bend >= 0.0 else float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))
