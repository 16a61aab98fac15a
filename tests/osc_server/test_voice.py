"""Voices among others: each keeps its own sound, its tap holds what was heard, its moves do not click."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostnote.inference.generator import Generator
from ghostnote.kernels import packing
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import random_weights
from ghostnote.osc_server.commands import Command, Op
from ghostnote.osc_server.engine import Engine, EngineOptions
from tests.osc_server.noisy_model import NOISY
from tests.osc_server.steady_model import steady_model, value

RATE, HOP = 24000, 24
FADE, SWAP, TAIL = 10 * HOP, 30 * HOP, 5 * HOP
SLOWEST = 1.01 / FADE  # what a fade may change by in one sample, at level 1


def engine(packed: Packed, voices: int = 1, outputs: int = 1) -> Engine:
    player = Engine(packed, EngineOptions(RATE, voices, 5, outputs=outputs))
    player.submit([Command(Op.LIMITER, value=0.0)])
    player.render(0)
    return player


@pytest.fixture(scope="module")
def noisy() -> Packed:
    return pack(NOISY, random_weights(NOISY, 3))


def tapped(player: Engine, voice: int) -> NDArray[np.float32]:
    heard = np.zeros((player.frame, 1), np.float32)
    assert player.voice_tap(voice).read(0, heard) == player.frame
    return heard[:, 0]


@pytest.mark.parametrize("op", [Op.VOICE_STOP, Op.VOICE_FREE, Op.MODEL])
def test_a_lane_that_is_given_up_changes_no_other_voice_in_any_hop(op: Op, noisy: Packed) -> None:
    player, frames = engine(noisy, 3), 4800
    if op is Op.MODEL:
        player.load(pack(NOISY, random_weights(NOISY, 9)), 0, 2400)
    else:
        player.submit([Command(op, 0)], 2400)
    sound = player.render(frames)
    alone = [Generator(noisy, seed=5, stream=voice).play(frames) for voice in (1, 2)]
    for voice in (1, 2):
        np.testing.assert_array_equal(tapped(player, voice), alone[voice - 1])
    if op is not Op.MODEL:
        np.testing.assert_array_equal(sound[2400 + FADE :, 0], (alone[0] + alone[1])[2400 + FADE :])


def test_a_voices_tap_holds_its_fade() -> None:
    player = engine(steady_model(240))
    player.submit([Command(Op.VOICE_STOP)], 1200)
    player.submit([Command(Op.VOICE_PLAY)], 1200 + 3 * HOP)
    player.submit([Command(Op.VOICE_STOP)], 1200 + 8 * HOP)
    sound = player.render(2400)[:, 0]
    heard = tapped(player, 0)
    np.testing.assert_array_equal(heard, sound)
    assert np.abs(np.diff(heard)).max() <= SLOWEST * value(240)
    assert not heard[-1]


def test_a_tap_holds_neither_gain_nor_mute() -> None:
    player = engine(steady_model(240))
    player.submit([Command(Op.GAIN, value=0.5), Command(Op.MUTE, value=1.0)], 480)
    player.render(2400)
    np.testing.assert_array_equal(tapped(player, 0), np.float32(value(240)))


def test_moves_that_follow_one_another_closely_do_not_click() -> None:
    player = engine(steady_model(240), outputs=3)
    for hops, pair in ((0, 1), (3, 2), (5, 0), (6, 2)):
        player.submit([Command(Op.OUT, 0, pair)], 2400 + hops * HOP)
    sound = player.render(4800).astype(np.float64)
    assert np.abs(np.diff(sound, axis=0)).max() <= SLOWEST * value(240)
    np.testing.assert_allclose(sound[:, ::2].sum(axis=1), value(240), rtol=1e-6)
    level = value(240)
    np.testing.assert_allclose(sound[-1], [0, 0, 0, 0, level, level], rtol=1e-6)


def test_a_voice_that_stops_while_it_moves_plays_on_where_it_was_led() -> None:
    player = engine(steady_model(240), outputs=3)
    player.submit([Command(Op.OUT, 0, 1), Command(Op.VOICE_STOP)], 2400)
    player.submit([Command(Op.OUT, 0, 2)], 2400 + HOP)
    player.submit([Command(Op.VOICE_PLAY)], 4800)
    level = np.float32(value(240))
    np.testing.assert_array_equal(player.render(7200)[4800], [0, 0, 0, 0, level, level])


def test_a_model_that_is_fading_in_can_be_primed() -> None:
    first, other = (pack(NOISY, random_weights(NOISY, seed)) for seed in (3, 9))
    heard = State(other, 5)
    heard.teacher_force(np.arange(480, dtype=np.int64)[None, :] * 7 % 256)
    expected = State(other, 5)
    expected.copy_lane(0, heard, 0)
    expected.ints[int(other.header[packing.I_LANES]) + packing.L_OFFSET] = 0  # from its seed on
    player = engine(first)
    player.render(2400)
    player.load(other, 0)
    player.render(2400 + 10 * HOP)
    player.prime(0, heard)
    sound = player.render(7200)[:, 0]
    again = np.zeros(len(sound), np.float32)
    expected.generate(again)
    np.testing.assert_array_equal(sound[TAIL:], again[TAIL:])


def test_an_idle_voice_has_nothing_to_hold() -> None:
    player = engine(steady_model(200))
    player.submit([Command(Op.VOICE_STOP)])
    player.render(2400)
    player.submit([Command(Op.HOLD, value=1.0)])
    player.render(4800)
    assert not player.voice_holding(0)
    player.submit([Command(Op.VOICE_PLAY)])
    np.testing.assert_array_equal(player.render(9600)[:, 0], np.float32(value(200)))
