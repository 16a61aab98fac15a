"""Drawing a level from given outputs: as the reference does, and never outside the levels."""

import threading

import numpy as np
import numpy.typing as npt
import pytest
from numba import njit, types

from ghostnote.kernels import packing as p
from ghostnote.kernels.draw import draw_level, keep_greatest
from ghostnote.kernels.lanes import LANES
from ghostnote.kernels.packing import Packed, aligned_zeros
from ghostnote.kernels.reference import choose, cumulative, levels_off, margin
from tests.kernels.models import FLOATS, model

JUST_BELOW_ONE = 1.0 - 2.0**-24
JUST_ABOVE_ZERO = 2.0**-25  # the least that there is, see rng.py
NEAR_LEVEL = 0.05  # levels of 16 bit


@njit(
    types.int64(types.int64[::1], *[types.int64] * 3, types.float32, types.int64,
                types.float32, types.float32),
    error_model="numpy",
)  # fmt: skip
def _draw(h, outputs, weights, sums, temperature, top_k, first, second):  # type: ignore[no-untyped-def]
    return draw_level(h, outputs, weights, sums, temperature, top_k, first, second)


@njit(types.void(*[types.int64] * 5), error_model="numpy")
def _keep(outputs, vectors, k, weights, sums):  # type: ignore[no-untyped-def]
    keep_greatest(outputs, vectors, k, weights, sums)


class Drawer:
    """Draws from outputs that no network made, with scratch memory full of NaN."""

    def __init__(self, packed: Packed) -> None:
        self.header, self.spec = packed.header, packed.spec
        self.temperature, self.top_k = 1.0, 0

    def __call__(self, outputs: FLOATS, first: float, second: float = 0.5) -> int:
        h = self.header
        wide, at = int(h[p.OUT]), int(h[p.AT_PLACE])
        laid, weights, sums = aligned_zeros(wide), aligned_zeros(wide), aligned_zeros(LANES)
        laid[:] = -1e30  # as the bias of padding is
        laid[h[at : at + self.spec.outputs]] = outputs
        weights[:] = sums[:] = np.nan
        places = (laid.ctypes.data, weights.ctypes.data, sums.ctypes.data)
        temperature = np.float32(self.temperature)
        return int(
            _draw(h, *places, temperature, self.top_k, np.float32(first), np.float32(second))
        )


SOFTMAX = ["odd, width 3, out of order", "1024 levels", "smallest", "dilation 512"]
MIXTURES = ["mixture of 1", "mixture of 10", "mixture of 32"]


def any_uniform(random: np.random.Generator) -> float:
    """Returns a uniform number, the least and the greatest more often than they would come."""
    choices = [JUST_ABOVE_ZERO, JUST_BELOW_ONE, random.integers(1, 2**24) / 2**24]
    return float(random.choice(choices, p=[0.1, 0.1, 0.8]))


@pytest.mark.parametrize("name", SOFTMAX)
@pytest.mark.parametrize("temperature", [0.01, 0.5, 1.0, 10.0])
def test_a_softmax_is_drawn_as_the_reference_draws(name: str, temperature: float) -> None:
    draw = Drawer(model(name).packed)
    levels = draw.spec.levels
    draw.temperature = temperature
    for top_k in (0, 1, 2, 7, levels - 1, levels, 10 * levels):
        random = np.random.default_rng(top_k)
        draw.top_k = top_k
        drawn, count = set(), 20 if top_k > 500 else 100
        for _ in range(count):
            logits = (3.0 * random.standard_normal(levels)).astype(np.float32)
            # Ties, also at the top.
            logits[random.integers(0, levels, levels // 3)] = random.choice(logits, levels // 3)
            u = any_uniform(random)
            cdf = cumulative(logits.astype(np.float64), temperature, top_k)
            level = draw(logits, u)
            drawn.add(level)
            if level != choose(cdf, u):
                assert margin(cdf, u) < 1e-6
        assert len(drawn) > min(10, levels - 1)


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("temperature", [0.01, 0.5, 1.0, 10.0])
def test_a_mixture_is_drawn_as_the_reference_draws(name: str, temperature: float) -> None:
    draw = Drawer(model(name).packed)
    count = draw.spec.mixtures
    draw.temperature = temperature
    others = 0
    for top_k in (0, 1, 2, max(count - 1, 1), count, 100):
        random = np.random.default_rng(top_k)
        draw.top_k = top_k
        drawn = set()
        for _ in range(200):
            logits = 3.0 * random.standard_normal(count)
            logits[random.integers(0, count, count // 3)] = random.choice(logits, count // 3)
            means, scales = random.uniform(-1.1, 1.1, count), random.uniform(-20.0, -1.0, count)
            outputs = np.concatenate([logits, means, scales]).astype(np.float32)
            us = (any_uniform(random), any_uniform(random))
            level = draw(outputs, *us)
            assert 0 <= level <= 65535
            drawn.add(level)
            off = levels_off(outputs.astype(np.float64), level, us, 1e-6, temperature, top_k)
            assert off < NEAR_LEVEL
            others += off > 0.0
        assert len(drawn) > 50
    assert others < 24  # of 1200


def test_a_level_without_weight_is_never_drawn() -> None:
    draw = Drawer(model("odd, width 3, out of order").packed)
    logits = np.full(100, -1000.0, np.float32)
    logits[[3, 60]] = 0.0
    for top_k in (0, 2):
        draw.top_k = top_k
        assert draw(logits, JUST_ABOVE_ZERO) == 3
        assert draw(logits, 0.25) == 3
        assert draw(logits, 0.75) == 60
        assert draw(logits, JUST_BELOW_ONE) == 60


def test_a_component_without_weight_is_never_drawn() -> None:
    draw = Drawer(model("mixture of 10").packed)
    outputs = np.zeros(30, np.float32)
    outputs[:10] = -1000.0
    outputs[[3, 6]] = 0.0
    outputs[10:20] = np.arange(10) / 16
    outputs[20:] = -30.0
    for top_k in (0, 2):
        draw.top_k = top_k
        for u, component in ((JUST_ABOVE_ZERO, 3), (0.4, 3), (0.6, 6), (JUST_BELOW_ONE, 6)):
            assert draw(outputs, u) == 32768 + component * 2048


@pytest.mark.parametrize("level", [0, 1, 15, 16, 31, 50, 98, 99])
def test_every_level_has_the_share_that_its_weight_gives_it(level: int) -> None:
    """One level of weight 3 among levels of weight 1, drawn at the ends of its part."""
    draw = Drawer(model("odd, width 3, out of order").packed)
    logits = np.zeros(100, np.float32)
    logits[level] = np.log(3.0)
    assert draw(logits, (level + 0.01) / 102) == level
    assert draw(logits, (level + 2.99) / 102) == level
    if level:
        assert draw(logits, (level - 0.01) / 102) == level - 1
    if level < 99:
        assert draw(logits, (level + 3.01) / 102) == level + 1


def plainly_kept(outputs: FLOATS, k: int) -> npt.NDArray[np.bool_]:
    """Tells which outputs are among the k greatest or equal to the least of these; or no number."""
    numbers = np.sort(outputs[~np.isnan(outputs)])
    least = numbers[-k] if k <= len(numbers) else -np.inf
    return ~(outputs < least)


def awkward(random: np.random.Generator, count: int) -> dict[str, FLOATS]:
    """Returns outputs that are hard to choose from, each [count]."""
    logits = (3.0 * random.standard_normal(count)).astype(np.float32)
    tied, holes, mixed, padded = (logits.copy() for _ in range(4))
    tied[random.integers(0, count, count // 2)] = random.choice(logits, count // 2)
    holes[random.integers(0, count, count // 4)] = np.nan
    holes[random.integers(0, count, count // 4)] = -np.inf
    mixed[:] = random.choice([0.0, -0.0, 1e-42, -1e-42, 3e38, -3e38, -np.inf, np.inf, 1.0], count)
    padded[-count // 3 :] = -1e30
    bits = random.integers(0, 2**32, count, np.uint32).view(np.float32)
    near = (1.0 + 2.0**-23 * random.integers(-9, 9, count)).astype(np.float32)
    return {
        "logits": logits,
        "ties": tied,
        "NaN and -infinity": holes,
        "extremes": mixed,
        "padded": padded,
        "any bits": bits,
        "neighbours": near,
        "equal": np.full(count, -2.5, np.float32),
        "all -infinity": np.full(count, -np.inf, np.float32),
        "all NaN": np.full(count, np.nan, np.float32),
    }


@pytest.mark.parametrize("count", [16, 32, 112, 256, 1024])
def test_the_k_greatest_are_kept_and_what_equals_the_least_of_them(count: int) -> None:
    random = np.random.default_rng(count)
    for outputs in awkward(random, count).values():
        x, weights, sums = aligned_zeros(count), aligned_zeros(count), aligned_zeros(LANES)
        x[:] = outputs
        before = random.random(count).astype(np.float32)
        places = (weights.ctypes.data, sums.ctypes.data)
        for k in {
            1,
            2,
            3,
            7,
            count // 2,
            count - 2,
            count - 1,
            count,
            *random.integers(1, count, 9),
        }:
            weights[:], sums[:] = before, np.nan
            _keep(x.ctypes.data, count // LANES, k, *places)
            expected = np.where(plainly_kept(outputs, int(k)), before, np.float32(0.0))
            np.testing.assert_array_equal(weights, expected)
            total = np.zeros(LANES, np.float32)
            for row in expected.reshape(-1, LANES):
                total += row
            np.testing.assert_array_equal(sums, total)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("top_k", [0, 5])
@pytest.mark.parametrize("name", [*SOFTMAX[:2], *MIXTURES])
def test_outputs_that_are_no_numbers_give_some_level_in_finite_time(
    value: float, top_k: int, name: str
) -> None:
    """Weights that are finite can still overflow; the audio thread must not hang on that."""
    draw = Drawer(model(name).packed)
    draw.top_k = top_k
    found: list[int] = []

    def run() -> None:
        for share in (1, draw.spec.outputs // 2, draw.spec.outputs):
            outputs = np.zeros(draw.spec.outputs, np.float32)
            outputs[:share] = value
            found.append(draw(outputs, 0.5))
            outputs[-share:] = value
            found.append(draw(outputs, 0.5))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert len(found) == 6
    assert min(found) >= 0 and max(found) < draw.spec.levels
