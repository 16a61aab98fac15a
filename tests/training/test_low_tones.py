"""Low tones beside the truth's: the same, another, and rumble."""

import numpy as np
import pytest

from ghostnote.training.low_tones import AUDIO, correlation, low_products

RATE = 8000
T = np.arange(2 * RATE) / RATE
RNG = np.random.default_rng(1)


def tone(hertz: float, phase: float = 0.0) -> AUDIO:
    return (0.3 * np.sin(2 * np.pi * hertz * T + phase) * np.exp(-T)).astype(np.float32)


@pytest.mark.parametrize(
    ("generated", "found"),
    [
        (tone(60.0), 1.0),
        (np.float32(0.1) * tone(60.0), 1.0),  # the level is for others to judge
        (-tone(60.0), -1.0),
        (tone(60.0, np.pi / 3.0), 0.5),
        (tone(80.0), 0.0),
        (tone(60.0) + 3.0 * tone(1000.0), 1.0),
        (0.5 * tone(60.0) + 0.5 * tone(80.0), 0.7),
        (RNG.standard_normal(len(T)).astype(np.float32), 0.0),
    ],
)
def test_correlation_below_300_hz(generated: AUDIO, found: float) -> None:
    assert correlation([low_products(tone(60.0), generated, RATE)]) == pytest.approx(found, abs=0.1)


def test_pieces_count_by_their_power_and_silence_not_at_all() -> None:
    silence = np.zeros(len(T), np.float32)
    assert correlation([]) is None
    assert correlation([low_products(tone(60.0), silence, RATE)]) is None
    loud = tone(60.0)
    soft = np.float32(0.01) * loud
    pieces = [low_products(loud, loud, RATE), low_products(soft, -soft, RATE)]
    assert correlation(pieces) == pytest.approx(1.0, abs=0.01)
