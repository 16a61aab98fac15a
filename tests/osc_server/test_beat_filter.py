"""The steady beat behind scattered times: bounds for jitter, changes of tempo, ramps."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ghostnote.osc_server.beat_filter import BeatFilter


def follow(
    tempo: Callable[[float], float],
    late: Callable[[float], float],
    seconds: float = 20.0,
    ticks: int = 24,
    grain: float = 0.0,
) -> NDArray[np.float64]:
    """Rows of (time, error of the phase in seconds, error of the tempo told in bpm)."""
    beats, now, count, rows = BeatFilter(grain), 0.0, 0, []
    while now < seconds:
        beats.update(count / ticks, 100 + now + late(now))
        told = beats.bpm
        rows.append((now, beats.seconds - 100 - now, np.nan if told is None else told - tempo(now)))
        now += 60 / tempo(now) / ticks
        count += 1
    return np.array(rows)


def after(rows: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    return rows[rows[:, 0] >= seconds]


@settings(max_examples=30)
@given(
    bpm=st.floats(40, 300),
    block=st.sampled_from([64, 256, 512, 1024]),
    seed=st.integers(0, 2**32),
)
@example(bpm=118.0, block=256, seed=0)  # ticks of nearly four blocks: late by more and more
def test_clock_through_jack_blocks(bpm: float, block: int, seed: int) -> None:
    """A tick that waits for the next block: late by up to one, in a pattern that repeats slowly."""
    grain = block / 48000
    start = random.Random(seed).uniform(0, grain)
    rows = follow(lambda t: bpm, lambda t: (start - t) % grain, grain=grain)
    settled = after(rows, 4.0)
    assert np.ptp(settled[:, 1]) < 1.1 * grain + 1e-4
    assert np.abs(settled[:, 2]).max() < 0.006 * bpm
    assert -1e-4 < settled[:, 1].mean() < 1.1 * grain


@settings(max_examples=30)
@given(bpm=st.floats(40, 300), jitter=st.floats(0, 0.005), seed=st.integers(0, 2**32))
def test_random_jitter_is_smoothed(bpm: float, jitter: float, seed: int) -> None:
    chance = random.Random(seed)
    settled = after(follow(lambda t: bpm, lambda t: chance.uniform(0, jitter)), 4.0)
    assert np.ptp(settled[:, 1]) < 0.45 * jitter + 1e-4
    assert np.abs(settled[:, 2]).max() < 2e-3 * bpm


@settings(max_examples=30)
@given(old=st.floats(60, 200), new=st.floats(60, 200), seed=st.integers(0, 2**32))
def test_a_new_tempo_is_known_within_a_second(old: float, new: float, seed: int) -> None:
    chance = random.Random(seed)
    rows = follow(lambda t: old if t < 8 else new, lambda t: chance.uniform(0, 3e-3), 14.0)
    changed = after(rows, 8.0 + 1.0)
    # Small changes take longer to tell from jitter, and are off by little until then.
    assert np.abs(changed[:, 1]).max() < 0.02
    assert np.abs(after(rows, 11.0)[:, 2]).max() < 5e-3 * new


def test_a_song_that_slows_down() -> None:
    chance = random.Random(2)
    rows = follow(
        lambda t: 140 - 5 * min(max(t - 5, 0), 8), lambda t: chance.uniform(0, 3e-3), 20.0
    )
    assert np.abs(after(rows, 1.0)[:, 1]).max() < 0.02
    assert np.abs(after(rows, 16.5)[:, 2]).max() < 0.5


def test_one_late_message_is_forgiven() -> None:
    rows = follow(lambda t: 120.0, lambda t: 0.03 if 10 < t < 10.02 else 0.0)
    assert np.abs(after(rows, 5.0)[:, 1]).max() < 1e-3
    assert np.abs(after(rows, 5.0)[:, 2]).max() < 0.1


def test_another_song_is_a_jump() -> None:
    beats = BeatFilter()
    for count in range(100):
        beats.update(count / 24, count / 48)
    assert beats.bpm == pytest.approx(120)
    assert beats.update(1.0, 100 / 48)  # back
    assert beats.update(64.0, 101 / 48)  # ahead
    assert not beats.update(64 + 1 / 24, 102 / 48)
    assert beats.bpm == pytest.approx(120)


def test_a_told_tempo_is_kept_until_the_beats_say_otherwise() -> None:
    beats = BeatFilter()
    beats.set_tempo(97.5)
    for count in range(20):
        beats.update(float(count), count * 60 / 97.5 + 0.002 * (-1) ** count)
    assert beats.bpm == 97.5
