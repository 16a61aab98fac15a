"""The detector: it finds what begins, when it begins, and nothing else."""

import numpy as np
import pytest

from ghostnote.training.onsets import (
    Band,
    band_levels,
    decibels,
    find_onsets,
    novelty,
    role_bands,
    third_octaves,
)
from tests.training.tiny_drums import AUDIO, NOTES, RATE, render, shot

HIGH = Band(1750.0, 3500.0)
LOW = Band(48.0, 96.0)


def noise(seconds: float, level_db: float, seed: int = 0) -> AUDIO:
    drawn = np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    return np.asarray(drawn * 10.0 ** (level_db / 20.0), np.float32)


@pytest.mark.parametrize(("role", "band"), [("hat", HIGH), ("kick", LOW)])
@pytest.mark.parametrize("velocity", [0.2, 0.8])
def test_every_hit_is_found_at_its_time(role: str, band: Band, velocity: float) -> None:
    times = [0.1, 0.35, 0.48, 0.9, 1.4]
    audio = render([(t, role, velocity) for t in times], 2.0)
    found = [onset.seconds for onset in find_onsets(band_levels(audio, RATE, band), -60.0)]
    assert found == pytest.approx(times, abs=0.008 if role == "kick" else 0.003)


def test_a_shift_of_two_milliseconds_is_heard_as_such() -> None:
    times = []
    for delay in (0.0, 0.002):
        audio = render([(0.3 + delay, "hat", 0.8)], 1.0)
        times.append(find_onsets(band_levels(audio, RATE, HIGH), -60.0)[0].seconds)
    assert times[1] - times[0] == pytest.approx(0.002, abs=2e-4)


def test_the_other_band_hears_nothing() -> None:
    kick = render([(0.3, "kick", 0.8)], 1.0)
    assert find_onsets(band_levels(kick, RATE, HIGH), -50.0) == []


def test_steady_noise_is_no_onset() -> None:
    # The first onset is the noise itself beginning.
    for seed in range(3):
        found = find_onsets(band_levels(noise(4.0, -30.0, seed), RATE, HIGH), -60.0)
        assert [onset for onset in found if onset.seconds > 0.05] == []


def test_what_stays_under_the_least_level_is_no_onset() -> None:
    audio = render([(0.3, "hat", 0.05)], 1.0)
    levels = band_levels(audio, RATE, HIGH)
    assert find_onsets(levels, levels.peak_db(0.0, 1.0) - 3.0)
    assert not find_onsets(levels, levels.peak_db(0.0, 1.0) + 3.0)


def test_a_sine_has_the_level_of_its_root_mean_square() -> None:
    t = np.arange(RATE) / RATE
    for hertz, band in ((70.0, LOW), (3000.0, HIGH)):
        sine = (0.1 * np.sqrt(2.0) * np.sin(2 * np.pi * hertz * t)).astype(np.float32)
        # The window of 24 ms spreads a low sine beyond the edges of its band.
        assert band_levels(sine, RATE, band).peak_db(0.4, 0.6) == pytest.approx(-20.0, abs=3.0)


def test_novelty_is_nothing_in_silence_and_where_a_sound_decays() -> None:
    levels = band_levels(render([(0.3, "hat", 0.8)], 1.0), RATE, HIGH)
    rise = novelty(levels)
    assert rise[:280].max() == 0.0
    assert rise[340:].max() < 3.0


def test_decibels_have_a_floor() -> None:
    assert decibels(1.0) == 0.0
    assert decibels(0.0) == -120.0


def test_each_role_has_a_band_of_its_own() -> None:
    bands = role_bands({role: shot(role) for role in NOTES}, RATE, tuple(NOTES))
    assert bands["kick"].low < 70.0 < bands["kick"].high < 500.0
    assert bands["snare"].low < 1000.0 and bands["snare"].high > 500.0
    assert bands["snare"].high < 2500.0 and bands["hat"].low > 1000.0
    edges = third_octaves(RATE)
    assert edges[0] == 30.0 and 0.25 * RATE < edges[-1] < 0.5 * RATE
