"""Pasts that are led astray: by how much, and where in the spectrum."""

from dataclasses import replace

import numpy as np
import pytest

from ghostnote.kernels import levels as amplitudes
from ghostnote.kernels.spec import LEVELS_16, ModelSpec
from ghostnote.training import astray

PLAIN = ModelSpec(24000, 24, (1, 2))
HEADS = {
    "mu-law 256": PLAIN,
    "mu-law 1024": replace(PLAIN, levels=1024),
    "mixture": replace(PLAIN, levels=LEVELS_16, mixtures=3),
    "pre-emphasis": replace(PLAIN, levels=LEVELS_16, mixtures=3, emphasis=0.85),
}
TONE = 0.3 * np.sin(2 * np.pi * 150.0 * np.arange(24000) / 24000.0)


def moved(spec: ModelSpec, seed: int) -> float:
    """Return by how much silence drifts (RMS)."""
    silence = amplitudes.of_sound(spec, np.zeros(24000))
    there, _ = astray.drifted(spec, silence, 0.2, np.random.default_rng(seed))
    return float(amplitudes.to_sound(spec, there).astype(float).std())


@pytest.mark.parametrize("head", HEADS)
def test_drift_is_slow_and_as_loud_as_told_and_the_targets_lead_back(head: str) -> None:
    spec = HEADS[head]
    levels = amplitudes.of_sound(spec, TONE)
    found, returned = [], []
    for seed in [seed for seed in range(16) if not moved(spec, seed)]:
        there, back = astray.drifted(spec, levels, 0.2, np.random.default_rng(seed))
        off = np.float64(amplitudes.to_sound(spec, there)) - amplitudes.to_sound(spec, levels)
        power = np.abs(np.fft.rfft(off)) ** 2
        # Of 12000 bins of 1 Hz; the rest is what the levels round.
        assert power[:6000].sum() > 0.98 * power.sum()
        found.append(off.std() / TONE.std())
        left = np.float64(amplitudes.to_sound(spec, back)) - amplitudes.to_sound(spec, levels)
        returned.append((left * off).sum() / (off * off).sum())
    assert np.mean(found) == pytest.approx(0.2, rel=0.1)
    # In a tenth of a millisecond, 2.4 samples, to 1/e.
    assert np.mean(returned) == pytest.approx(np.exp(-1.0 / 2.4), abs=0.01)


def test_any_sound_and_silence_may_drift_far() -> None:
    off = np.array([moved(HEADS["mixture"], seed) for seed in range(40)])
    assert 10 < np.count_nonzero(off) < 30
    loud = 20.0 * np.log10(off[off > 0])
    assert -61.0 < loud.min() < -45.0 and -35.0 < loud.max() < -15.0


def test_else_silence_does_not_drift() -> None:
    sound = np.concatenate([np.zeros(4000), TONE[:4000], np.zeros(16000)])
    levels = amplitudes.of_sound(PLAIN, sound)
    seed = next(seed for seed in range(20) if not moved(PLAIN, seed))
    for there in astray.drifted(PLAIN, levels, 0.5, np.random.default_rng(seed)):
        assert (there[:4000] == levels[:4000]).all()
        assert (there[4000:8000] != levels[4000:8000]).mean() > 0.5
        assert (there[8240:] == levels[8240:]).all()  # 10 ms after the tone


@pytest.mark.parametrize("head", ["mu-law 256", "mu-law 1024", "mixture"])
def test_noise_is_as_loud_for_any_head(head: str) -> None:
    """In amplitude: a step of mu-law 256, small near silence and large where it is loud."""
    spec = HEADS[head]
    for amplitude in (0.0, 0.01, -0.3):
        level = int(amplitudes.encode(spec, amplitude))
        there = astray.noised(spec, np.full(4000, level), 2.0, np.random.default_rng(1))
        off = amplitudes.decode(spec, there) - amplitudes.decode(spec, level)
        step = np.log1p(255.0) / 128.0 * (1.0 + 255.0 * abs(amplitude)) / 255.0
        assert np.sqrt(np.mean(np.square(off))) == pytest.approx(2.0 * step, rel=0.15)
        assert abs(np.corrcoef(off[1:], off[:-1])[0, 1]) < 0.05
    ends = np.array([0, spec.levels - 1] * 50)
    loud = astray.noised(spec, ends, 100.0, np.random.default_rng(2))
    assert loud.min() >= 0 and loud.max() < spec.levels
