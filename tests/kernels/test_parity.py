"""The Numba kernel against the float64 reference: the same logits, the same levels."""

import numpy as np
import pytest

from ghostnote.kernels import rng
from ghostnote.kernels.reference import choose, cumulative, margin
from tests.kernels.models import SPECS, ReferencePlayer, force, levels_of, model, play

NEAR_TIE = 1e-5
"""Share of the total by which a float32 draw may miss the edge of its level."""


def forced_levels(name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Levels over three receptive fields: half of them anywhere, half close to silence."""
    spec = SPECS[name]
    count = 3 * spec.receptive_field + 5 * spec.hop + 3
    draw = np.random.default_rng(7)
    wild = draw.integers(0, spec.levels, count)
    calm = np.clip(spec.silence + draw.integers(-3, 4, count), 0, spec.levels - 1)
    return np.where(np.arange(count) // 50 % 2 == 0, wild, calm)


@pytest.mark.parametrize("name", SPECS)
def test_teacher_forced_logits_are_those_of_the_reference(name: str) -> None:
    it = model(name)
    levels = forced_levels(name)
    player = ReferencePlayer(it, len(levels))
    history = [it.spec.silence, *levels[:-1]]
    expected = np.stack([player.step(int(level)) for level in history])
    found = force(it, it.state(), levels)
    assert found.shape == expected.shape
    # What is compared moves by a thousand times the error allowed.
    assert expected.std(axis=0).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


SAMPLING = {
    "dilation 512": (1.0, 0),
    "odd, width 3, out of order": (0.6, 0),
    "one layer, roles only": (1.0, 5),
    "sixty layers, kits only": (1.7, 0),
    "1024 levels": (0.9, 40),
    "wide": (0.3, 0),
    "as bundled": (1.0, 0),
    "smallest": (1.0, 1),
}


@pytest.mark.parametrize("name", SPECS)
def test_levels_drawn_freely_are_those_of_the_reference(name: str) -> None:
    it = model(name)
    temperature, top_k = SAMPLING[name]
    seed, stream, count = 2**40 + 3, 5, 1200
    state = it.state(seed, stream)
    state.set_sampling(temperature, top_k)
    played = levels_of(it, play(it, state, count))
    uniforms = rng.uniforms(seed, stream, 0, count)
    player = ReferencePlayer(it, count)
    level, ties = it.spec.silence, 0
    for at in range(count):
        running = cumulative(player.step(level), temperature, top_k)
        expected = choose(running, float(uniforms[at]))
        level = int(played[at])  # the reference goes on from what was played
        if level != expected:
            missed = margin(running, float(uniforms[at]))
            print(f"{name}, sample {at}: level {level} for {expected}, CDF margin {missed:.2g}")
            assert missed < NEAR_TIE
            ties += 1
    assert ties <= 3
    if top_k != 1:
        assert len(np.unique(played)) > min(10, it.spec.levels - 1)
