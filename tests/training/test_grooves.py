"""Stretches and drills: what is asked for in training."""

import itertools

import numpy as np
import pytest

from ghostnote.training.grooves import crop, drill, level_velocities

ROLES = ("kick", "snare", "hat", "open")


def test_a_quiet_groove_is_levelled_and_keeps_its_dynamics() -> None:
    quiet = [(i * 0.1, "kick", 0.1 + 0.002 * i) for i in range(100)]
    levelled = level_velocities(quiet)
    velocities = [v for _, _, v in levelled]
    assert np.quantile(velocities, 0.9) == pytest.approx(0.8)
    assert velocities[50] / velocities[10] == pytest.approx(0.2 / 0.12)
    assert [hit[:2] for hit in levelled] == [hit[:2] for hit in quiet]


def test_no_velocity_passes_one() -> None:
    wild = [(i * 0.1, "kick", 1.0 if i == 7 else 0.2) for i in range(100)]
    levelled = level_velocities(wild)
    assert max(v for _, _, v in levelled) == 1.0
    assert min(v for _, _, v in levelled) == pytest.approx(0.8)


def test_a_stretch_counts_from_its_start() -> None:
    hits = [(0.0, "kick", 1.0), (1.0, "snare", 0.5), (1.75, "hat", 0.25), (2.0, "kick", 1.0)]
    assert crop(hits, 1.0, 1.0) == [(0.0, "snare", 0.5), (0.75, "hat", 0.25)]


def test_a_drill_holds_everything_a_player_may_ask_for() -> None:
    hits = drill(np.random.default_rng(0), 300.0, ROLES)
    times = np.array([t for t, _, _ in hits])
    gaps = np.diff(times)
    velocities = [v for _, _, v in hits]
    assert (gaps >= 0).all() and times[-1] < 300.0
    assert {role for _, role, _ in hits} == set(ROLES)
    assert (gaps == 0).any() and (gaps > 1.0).any() and ((gaps > 0) & (gaps < 0.1)).any()
    assert min(velocities) < 0.25 and max(velocities) > 0.95
    pairs = [(a[1], b[1]) for a, b in itertools.pairwise(hits) if a[0] == b[0]]
    assert all(a != b for a, b in pairs)


def test_a_drill_of_a_lone_role_is_possible() -> None:
    assert {role for _, role, _ in drill(np.random.default_rng(1), 20.0, ("kick",))} == {"kick"}
