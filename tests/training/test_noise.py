"""Noise between the hits: how loud it is, and how flat its spectrum."""

import numpy as np
import pytest

from ghostnote.training.noise import decibels, flatness_db, quiet_places, tails
from ghostnote.training.scores import Tally
from tests.training.tiny_drums import RATE, render

WHITE = np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32)


def test_hiss_between_hits_is_told() -> None:
    hits = [(0.1, "hat", 0.8), (2.0, "hat", 0.8)]
    truth = render(hits, 4.0)
    generated = truth + np.float32(10.0 ** (-50.0 / 20.0)) * WHITE
    found = Tally(quiet=quiet_places(hits, truth, generated, RATE)).score()
    assert found["floor_db"] == pytest.approx(-50.0, abs=0.5)
    assert found["hiss_db"] == pytest.approx(-50.0, abs=0.5)
    assert found["truth_floor_db"] < -80.0


def test_places_between_hits_begin_late_and_are_whole() -> None:
    silence, loud = np.zeros(RATE, np.float32), np.ones(RATE, np.float32)
    found = quiet_places([(0.0, "hat", 1.0), (0.34, "hat", 1.0)], silence, loud, RATE)
    assert found == [(0.0, 1.0)] * 7  # from 0.64 s to 1 s; the 40 ms before 0.34 s are too short


def test_a_tail_that_hisses_is_flatter_than_one_that_rings() -> None:
    t = np.arange(RATE) / RATE
    rings = (0.3 * np.sin(2 * np.pi * 300.0 * t) * np.exp(-t / 0.3)).astype(np.float32)
    hisses = (0.3 * WHITE[:RATE] * np.exp(-t / 0.3)).astype(np.float32)
    found = tails([(0.0, "tom", 0.8)], rings, hisses, RATE)
    assert len(found) == 6  # from 60 to 400 ms, 50 ms each
    score = Tally(tails=found).score()
    assert score["tail_flatness_db"] == pytest.approx(-2.5, abs=1.0)
    assert score["truth_tail_flatness_db"] < -25.0
    assert tails([(0.0, "tom", 0.8)], rings, np.zeros(RATE, np.float32), RATE) == []


def test_white_noise_has_minus_two_and_a_half_decibels() -> None:
    assert flatness_db(WHITE, RATE) == pytest.approx(-2.5, abs=0.3)


def test_decibels_have_a_floor() -> None:
    assert decibels(1.0) == 0.0
    assert decibels(0.0) == -120.0
