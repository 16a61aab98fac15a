"""The Numba kernel against the float64 reference: the same outputs, the same levels.

In low precision it is compared with what that precision means (`emulation.py`), as closely as fp32
is, and with the plain reference within the errors that such roundings make.
"""

import numpy as np
import pytest

from ghostnote.kernels import rng
from ghostnote.kernels.reference import choose, cumulative, levels_off, margin
from tests.kernels.emulation import CLOSE, FloatPlayer, Int8Player
from tests.kernels.models import (
    DOUBLES,
    INTS,
    SPECS,
    Model,
    ReferencePlayer,
    by_hops,
    force,
    model,
    played,
    sounding,
)

NEAR_TIE = 1e-5
"""Share of the total by which a float32 draw may miss the edge of its level."""

NEAR_LEVEL = 0.02
"""Levels of 16 bit by which a float32 draw may lie beyond the edge of its level: 6e-7 of full scale."""

RMS_ERROR = {"bf16": 0.008, "int8": 0.04}
"""Bounds for what low precision does to the outputs of random networks, in their deviations."""


def forced_levels(name: str, fields: int = 3) -> INTS:
    """Levels over some receptive fields: half of them anywhere, half close to silence."""
    spec = SPECS[name]
    count = fields * spec.receptive_field + 5 * spec.hop + 3
    draw = np.random.default_rng(7)
    wild = draw.integers(0, spec.levels, count)
    near = max(3, spec.levels // 64)
    calm = np.clip(spec.silence + draw.integers(-near, near + 1, count), 0, spec.levels - 1)
    return np.where(np.arange(count) // 50 % 2 == 0, wild, calm)


def expected_outputs(player: ReferencePlayer, levels: INTS) -> DOUBLES:
    """Returns what a player puts out while it is fed levels, [n, O]."""
    history = [player.spec.silence, *levels[:-1]]
    return np.stack([player.step(int(level)) for level in history])


def lively(outputs: DOUBLES) -> bool:
    """Tells whether outputs move by a thousand times the error allowed."""
    return float(outputs.std(axis=0).max()) > 0.01


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", SPECS)
def test_teacher_forced_outputs_are_those_of_the_reference(name: str, precision: str) -> None:
    it = model(name, precision)
    levels = forced_levels(name)
    expected = expected_outputs(FloatPlayer(it, len(levels)), levels)
    found = force(it, it.state(), levels)
    assert found.shape == expected.shape
    assert lively(expected)
    np.testing.assert_allclose(found, expected, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("name", SPECS)
def test_teacher_forced_outputs_in_int8_are_those_of_the_emulation(name: str) -> None:
    it = model(name, "int8")
    levels = forced_levels(name, 1)
    state = it.state()
    player = Int8Player(it, state, len(levels))
    history = [it.spec.silence, *levels[:-1]]
    outputs: list[DOUBLES] = []

    def work(first: int, last: int) -> None:
        for i in range(first, last):
            found = state.teacher_force(levels[i : i + 1])[0]
            outputs.append(player.step(int(history[i])))
            np.testing.assert_allclose(
                found, outputs[-1], rtol=CLOSE, atol=CLOSE, err_msg=f"sample {i}"
            )

    by_hops(it, state, len(levels), work)
    assert lively(np.stack(outputs))


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_low_precision_is_close_to_the_reference(name: str, precision: str) -> None:
    it = model(name, precision)
    levels = forced_levels(name)
    expected = expected_outputs(ReferencePlayer(it, len(levels)), levels)
    found = force(it, it.state(), levels)
    error = (found - expected) / expected.std()
    rms, most = float(np.sqrt((error**2).mean())), float(np.abs(error).max())
    # The least error too: what is as good as fp32 was not held in low precision at all.
    assert 0.1 * RMS_ERROR[precision] < rms < RMS_ERROR[precision]
    assert most < 10.0 * RMS_ERROR[precision]


# Temperature and top_k of each model's free run.
SAMPLING = {
    "dilation 512": (1.0, 0),
    "odd, width 3, out of order": (0.6, 0),
    "one layer, roles only": (1.0, 5),
    "sixty layers, kits only": (1.7, 0),
    "1024 levels": (0.9, 40),
    "wide": (0.3, 0),
    "as bundled": (1.0, 0),
    "smallest": (1.0, 1),
    "500 channels": (0.8, 100),
    "mixture of 10": (1.0, 0),
    "mixture of 1": (0.7, 0),
    "mixture of 32": (1.2, 5),
}


@pytest.mark.parametrize("name", SPECS)
def test_levels_drawn_freely_are_those_of_the_reference(name: str) -> None:
    it = model(name)
    temperature, top_k = SAMPLING[name]
    seed, stream, count = 2**40 + 3, 5, 100 if name == "500 channels" else 1200
    state = it.state(seed, stream)
    state.set_sampling(temperature, top_k)
    heard, levels = played(it, state, count)
    np.testing.assert_allclose(heard, sounding(it, levels), 0.0, 1e-5 if it.spec.body else 0.0)
    uniforms = rng.uniforms_of(it.spec, seed, stream, 0, count)
    player = ReferencePlayer(it, count)
    level, ties = it.spec.silence, 0
    for at in range(count):
        outputs = player.step(level)
        level = int(levels[at])  # the reference goes on from what was played
        ties += off_by_a_tie(it, outputs, level, uniforms[at], temperature, top_k)
    assert ties <= (12 if it.spec.mixtures else 3)
    if top_k != 1:
        assert len(np.unique(levels)) > min(10, it.spec.levels - 1)


def off_by_a_tie(
    it: Model, outputs: DOUBLES, level: int, uniforms: np.ndarray, temperature: float, top_k: int
) -> bool:
    """Tells whether `level` is not what the reference draws; fails if it is not a near tie."""
    if it.spec.mixtures:
        off = levels_off(outputs, level, uniforms, NEAR_TIE, temperature, top_k)
        assert off < NEAR_LEVEL
        return off > 0.0
    running = cumulative(outputs, temperature, top_k)
    if level == choose(running, float(uniforms)):
        return False
    assert margin(running, float(uniforms)) < NEAR_TIE
    return True
