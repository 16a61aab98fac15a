"""The estimate of when a hit began: a tenth of a millisecond, also over tails and slow attacks."""

import numpy as np
import pytest

from ghostnote.training.timing import attack_of, lateness
from tests.training.tiny_drums import NOTES, RATE, render, shot


@pytest.mark.parametrize("role", list(NOTES))
@pytest.mark.parametrize("late", [-0.012, -0.002, 0.0, 0.00075, 0.005, 0.015])
def test_lateness_is_found(role: str, late: float) -> None:
    attack = attack_of(render([(0.0, role, 0.8)], 0.2), RATE)
    played = render([(0.5 + late, role, 0.4)], 1.0)
    found = lateness(attack, played, 0.5, RATE)
    assert found == pytest.approx(late, abs=0.0003)


def test_over_a_tail_and_in_hiss() -> None:
    attack = attack_of(render([(0.0, "hat", 0.8)], 0.2), RATE)
    hiss = 0.003 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    played = render([(0.44, "snare", 0.9), (0.503, "hat", 0.8)], 1.0) + hiss
    assert lateness(attack, played, 0.5, RATE) == pytest.approx(0.003, abs=0.001)


def test_a_slow_attack_is_not_late() -> None:
    slow = shot("snare") * np.minimum(np.arange(len(shot("snare"))) / (0.02 * RATE), 1.0)
    slow = slow.astype(np.float32)
    played = np.zeros(RATE, np.float32)
    played[4000 : 4000 + len(slow)] += slow
    assert lateness(attack_of(slow, RATE), played, 0.5, RATE) == pytest.approx(0.0, abs=0.0003)


def test_nothing_alike_is_none() -> None:
    attack = attack_of(render([(0.0, "hat", 0.8)], 0.2), RATE)
    assert lateness(attack, np.zeros(RATE, np.float32), 0.5, RATE) is None
