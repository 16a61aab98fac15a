"""Windows led astray: as loud for any head, in stretches, and every kind of wrong."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ghostnote.kernels import levels
from ghostnote.kernels.spec import LEVELS_16, ModelSpec
from ghostnote.training.astray import MULAW_STEP, noisy, strayed

HEADS: list[dict[str, Any]] = [{}, {"levels": 1024}, {"levels": LEVELS_16, "mixtures": 3}]
RATE = 8000


@pytest.mark.parametrize("head", HEADS)
def test_noise_is_as_loud_for_any_head(head: dict[str, Any]) -> None:
    """In amplitude: a step of mu-law 256, small near silence and large where it is loud."""
    spec = ModelSpec(RATE, 8, (1,), **head)
    for amplitude in (0.0, 0.01, -0.3):
        level = int(levels.encode(spec, amplitude))
        noise = np.random.default_rng(1).standard_normal(4000) * 2.0
        found = noisy(spec, np.full(4000, level), noise)
        off = levels.decode(spec, found) - levels.decode(spec, level)
        step = MULAW_STEP * (1.0 + 255.0 * abs(amplitude)) / 255.0
        assert np.sqrt(np.mean(np.square(off))) == pytest.approx(2.0 * step, rel=0.15)
    loud = noisy(spec, np.array([0, spec.levels - 1] * 50), noise[:100] * 50.0)
    assert loud.min() >= 0 and loud.max() < spec.levels


@pytest.mark.parametrize("head", HEADS)
def test_stretches_are_replaced_and_nothing_else(head: dict[str, Any]) -> None:
    spec = ModelSpec(RATE, 8, (1,), **head)
    inputs = np.full(RATE, spec.silence)
    foreign = spec.levels - 7
    kinds = set()
    for seed in range(60):
        asked: list[int] = []

        def other(count: int, asked: list[int] = asked) -> npt.NDArray[np.int64]:
            asked.append(count)
            return np.full(count, foreign)

        found = strayed(spec, inputs, np.random.default_rng(seed), other)
        assert found.shape == inputs.shape and found.min() >= 0 and found.max() < spec.levels
        changed = np.nonzero(found != inputs)[0]
        assert 0 < len(changed) <= 4 * 0.3 * RATE + 4
        assert (inputs == spec.silence).all()  # the window's own are left
        kinds.add("other" if asked else "made up")
        if asked:
            assert (found == foreign).sum() >= max(asked) // 8  # others may have come over it
    assert kinds == {"other", "made up"}


def test_some_stretches_are_cycles() -> None:
    """As a stream plays that is caught in one: the same few samples over and over."""
    spec = ModelSpec(RATE, 8, (1,))
    inputs, cycles = np.full(RATE, spec.silence), 0
    for seed in range(200):
        found = strayed(spec, inputs, np.random.default_rng(seed), lambda n: np.zeros(n, int))
        loud = np.nonzero(found != spec.silence)[0]
        if len(loud) < 600 or loud[-1] - loud[0] > 2400:
            continue
        part = found[loud[0] : loud[-1] + 1]
        cycles += any((part[n:] == part[:-n]).mean() > 0.9 for n in range(1, 129))
    assert cycles >= 5


def test_a_window_shorter_than_a_stretch() -> None:
    spec = ModelSpec(RATE, 8, (1,))
    found = strayed(spec, np.full(5, 128), np.random.default_rng(1), lambda n: np.full(n, 9))
    assert found.shape == (5,)
