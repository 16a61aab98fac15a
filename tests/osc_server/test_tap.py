"""Tapped tempi."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.osc_server import tap
from ghostnote.osc_server.tap import TIMEOUT_SECONDS, TapTempo


def test_the_example() -> None:
    assert doctest.testmod(tap).failed == 0


@given(
    bpm=st.floats(35, 240),
    errors=st.lists(st.floats(-0.05, 0.05), min_size=4, max_size=40),
)
def test_the_tempo_is_within_the_hand(bpm: float, errors: list[float]) -> None:
    taps, found = TapTempo(), None
    period = 60 / bpm
    for number, error in enumerate(errors):
        found = taps.tap(number * period + error * period)
    assert found is not None
    assert 0.9 * bpm <= found <= 1.12 * bpm


def test_a_missed_and_a_doubled_tap_do_no_harm() -> None:
    taps, found = TapTempo(), None
    for seconds in (0.0, 0.5, 1.0, 2.0, 2.5, 2.51, 3.0, 3.5):
        found = taps.tap(seconds)
    assert found == pytest.approx(120.0, rel=0.01)


def test_after_a_pause_it_counts_anew() -> None:
    taps = TapTempo()
    taps.tap(0.0)
    assert taps.tap(0.5) == 120.0
    assert taps.tap(0.6 + TIMEOUT_SECONDS) is None
    assert taps.tap(1.6 + TIMEOUT_SECONDS) == pytest.approx(60.0)
    assert taps.tap(1.6 + TIMEOUT_SECONDS) is None  # at the same moment: of no tempo
