"""Drawing a level from given logits: as the reference does, and never outside the levels."""

import threading

import numpy as np
import pytest

from ghostnote.kernels import cpu
from ghostnote.kernels import packing as p
from ghostnote.kernels.reference import choose, cumulative, margin
from ghostnote.kernels.state import State
from tests.kernels.models import FLOATS, model

JUST_BELOW_ONE = 1.0 - 2.0**-24
STATE = model("odd, width 3, out of order").state()
LEVELS = STATE.packed.spec.levels


def draw(state: State, logits: FLOATS, u: float) -> int:
    """Returns the level that the kernel draws for logits [Q] and a uniform number."""
    at = state.packed.header[p.S_LOGITS]
    state.floats[at : at + LEVELS] = logits
    return int(cpu.draw_level(state.packed.header, state.ints, state.floats, np.float32(u)))


@pytest.mark.parametrize("top_k", [0, 1, 2, 7, LEVELS - 1, LEVELS, 10 * LEVELS])
@pytest.mark.parametrize("temperature", [0.01, 0.5, 1.0, 10.0])
def test_as_the_reference_draws(temperature: float, top_k: int) -> None:
    random = np.random.default_rng(top_k)
    STATE.set_sampling(temperature, top_k)
    drawn = set()
    for _ in range(300):
        logits = (3.0 * random.standard_normal(LEVELS)).astype(np.float32)
        logits[random.integers(0, LEVELS, 30)] = random.choice(logits, 30)  # ties, also at the top
        u = float(random.choice([0.0, JUST_BELOW_ONE, random.integers(0, 2**24) / 2**24]))
        cdf = cumulative(logits.astype(np.float64), temperature, top_k)
        level = draw(STATE, logits, u)
        drawn.add(level)
        if level != choose(cdf, u):
            assert margin(cdf, u) < 1e-6
    assert len(drawn) > 20


def test_a_level_without_weight_is_never_drawn() -> None:
    logits = np.full(LEVELS, -1000.0, np.float32)
    logits[[3, 60]] = 0.0
    for top_k in (0, 2):
        STATE.set_sampling(1.0, top_k)
        assert draw(STATE, logits, 0.25) == 3
        assert draw(STATE, logits, 0.75) == 60
        assert draw(STATE, logits, JUST_BELOW_ONE) == 60


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("top_k", [0, 5])
@pytest.mark.parametrize("share", [1, LEVELS // 2, LEVELS])
def test_logits_that_are_no_numbers_give_some_level_in_finite_time(
    value: float, top_k: int, share: int
) -> None:
    """Weights that are finite can still overflow; the audio thread must not hang on that."""
    logits = np.zeros(LEVELS, np.float32)
    logits[:share] = value
    found: list[int] = []

    def run() -> None:
        state = model("odd, width 3, out of order").state()
        state.set_sampling(1.0, top_k)
        found.append(draw(state, logits, 0.5))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert found and 0 <= found[0] < LEVELS
