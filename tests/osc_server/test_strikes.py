"""Strikes wait for their beat: whatever the tempo does, before the transport runs, and are replayed."""

import numpy as np
import pytest

from ghostnote.kernels.packing import Packed
from ghostnote.kernels.spec import ROLES
from ghostnote.osc_server.commands import ROOM_STRIKES, WAITING, Command, Op, strike_index
from ghostnote.osc_server.engine import INBOX, Engine, EngineOptions
from tests.osc_server.steady_model import SHORT, steady_model

RATE, HOP = 24000, 24
KICK, HAT = ROLES.index("kick"), ROLES.index("hat")
BEAT = RATE // 2  # frames at 120


@pytest.fixture(scope="module")
def model() -> Packed:
    return steady_model(128, 240, SHORT)


def engine(model: Packed) -> Engine:
    player = Engine(model, EngineOptions(RATE, 1, 5))
    player.log.pop_all()
    return player


def strike(beat: float, role: int = KICK, velocity: float = 0.8) -> Command:
    return Command(Op.STRIKE, 0, strike_index(role, beat), velocity)


def hits(player: Engine) -> list[tuple[int, int, float]]:
    """Frame, role and velocity of what was hit."""
    return [
        (int(row["frame"]), int(row["index"]), float(row["value"]))
        for row in player.log.pop_all()
        if row["op"] == Op.TRIG
    ]


def first_hop(frame: float) -> int:
    return -int(-frame // HOP) * HOP


def test_a_strike_waits_for_the_transport_and_falls_into_the_hop_of_its_beat(model: Packed) -> None:
    player = engine(model)
    beats = (0.0, 0.013, 1.0, 1.501)
    assert player.submit([strike(beat, velocity=0.5 + beat / 10) for beat in beats])
    player.render(BEAT)
    assert hits(player) == []
    began = player.frame
    assert player.submit([Command(Op.PLAY)])
    player.render(began + 2 * BEAT)
    assert hits(player) == [
        (first_hop(began + beat * BEAT), KICK, 0.5 + beat / 10) for beat in beats
    ]


def test_a_change_of_tempo_takes_waiting_strikes_along(model: Packed) -> None:
    player = engine(model)
    player.submit([strike(2.0), Command(Op.PLAY)])
    player.render(BEAT)
    player.submit([Command(Op.TEMPO, value=240.0)])
    player.render(3 * BEAT)
    ((frame, _, _),) = hits(player)
    assert abs(frame - 1.5 * BEAT) <= HOP


def test_strikes_are_forgotten_from_a_beat_on_and_old_ones_are_not_struck(model: Packed) -> None:
    player = engine(model)
    player.submit([strike(1.0), strike(2.0, HAT), Command(Op.STRIKE_CLEAR, 0, 0, 2.0)])
    player.submit([strike(3.0), Command(Op.PLAY)])
    player.render(2 * BEAT)
    player.submit([Command(Op.BEAT, value=8.0), strike(7.95, HAT), strike(7.0)])
    player.render(3 * BEAT)
    assert [role for _, role, _ in hits(player)] == [KICK, HAT]


def test_what_was_struck_is_played_again_from_the_log_to_the_bit(model: Packed) -> None:
    player = engine(model)
    player.submit([strike(n / 7, (KICK, HAT)[n % 2]) for n in range(12)])
    player.submit([Command(Op.TEMPO, value=133.0), Command(Op.PLAY)])
    played = player.render(2 * BEAT)
    log = player.log.pop_all()
    assert {int(row["op"]) for row in log} == {Op.TRIG, Op.TEMPO, Op.PLAY}
    again = engine(model)
    for row in log:
        command = Command(Op(row["op"]), int(row["voice"]), int(row["index"]), float(row["value"]))
        assert again.submit([command], int(row["frame"]))
    assert np.array_equal(again.render(2 * BEAT), played)
    assert np.abs(played).max() > 0


def test_a_freed_voice_takes_its_strikes_with_it(model: Packed) -> None:
    player = engine(model)
    player.submit([strike(1.0), Command(Op.PLAY), Command(Op.VOICE_FREE)])
    player.render(BEAT // 2)
    player.new_voice(model, 0)
    player.render(2 * BEAT)
    assert hits(player) == []


def test_strikes_leave_room_for_what_waits_for_its_line(model: Packed) -> None:
    player = engine(model)
    for _ in range(ROOM_STRIKES // 512):
        assert player.submit([strike(64.0)] * 512)
        player.render(player.frame + HOP)
    assert not player.submit([strike(64.0)])
    assert player.submit([Command(Op.STRIKE_CLEAR, 0, 0, 99.0), strike(64.0)])
    assert player.submit([Command(Op.TRIG, 0, HAT, 0.5)])
    assert ROOM_STRIKES + WAITING // 4 + INBOX < WAITING
    assert player.submit([Command(Op.STRIKE_CLEAR, 0)])
    player.render(player.frame + HOP)
    assert player.submit([strike(64.0)])
    assert player.dropped == 0
