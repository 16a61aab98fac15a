"""Commands on their way: their order, the room that is kept for "now", whose they are when they act."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.spec import ROLES
from ghostnote.kernels.weights import random_weights
from ghostnote.osc_server.commands import FRAME_NOW, MAX_STEPS, Command, Op
from ghostnote.osc_server.engine import ROOM, ROOM_LATER, Engine, EngineOptions
from tests.osc_server.noisy_model import NOISY
from tests.osc_server.steady_model import SHORT, steady_model, value

RATE, HOP = 24000, 24
KICK, HAT = ROLES.index("kick"), ROLES.index("hat")
BAR = 2 * RATE  # frames of four beats at 120
FAR = 10**9


def engine(packed: Packed, voices: int = 1) -> Engine:
    player = Engine(packed, EngineOptions(RATE, voices, 5))
    player.log.pop_all()
    return player


@pytest.fixture(scope="module")
def kick() -> Packed:
    return steady_model(128, 240, SHORT)


@pytest.fixture(scope="module")
def noisy() -> Packed:
    return pack(NOISY, random_weights(NOISY, 3))


def trig(role: int = KICK, velocity: float = 0.8, voice: int = 0) -> Command:
    return Command(Op.TRIG, voice, role, velocity)


def pattern(voice: int) -> list[Command]:
    step = Command(Op.PATTERN_STEP, voice, KICK * MAX_STEPS, 1.0)
    return [Command(Op.PATTERN_LENGTH, voice, KICK, 1.0), step]


def test_what_is_scheduled_leaves_room_for_what_is_due_now(kick: Packed) -> None:
    player = engine(kick)
    assert player.submit([trig()] * ROOM_LATER, FAR)
    assert not player.submit([trig()], FAR)  # still in the ring
    player.render(HOP)
    assert not player.submit([trig()], FAR)  # in the queue
    assert player.submit([trig()] * (ROOM - ROOM_LATER - 1))
    assert player.submit([Command(Op.VOICE_STOP)], player.frame)
    assert not player.submit([trig()])
    player.render(20 * HOP)
    assert player.voice_idle(0)
    assert player.dropped == 0
    assert player.submit([Command(Op.CLEAR_SCHED)])
    player.render(21 * HOP)
    assert player.submit([trig()] * ROOM_LATER, FAR)


def test_a_load_that_finds_no_room_keeps_nothing(kick: Packed) -> None:
    player = engine(kick)
    assert player.submit([trig()] * ROOM_LATER, FAR)
    for _ in range(20):
        assert player.submit([trig()] * (ROOM - ROOM_LATER))
        with pytest.raises(GhostnoteError, match="queue is full"):
            player.load(steady_model(100), 0)
        player.render(player.frame + HOP)
        player.load(kick, 0)
        player.render(player.frame + HOP)
    assert player.dropped == 0


def test_commands_act_in_the_order_of_their_frames_and_then_of_their_arrival(kick: Packed) -> None:
    player, chance = engine(kick), np.random.default_rng(2)
    queue: list[tuple[int, int]] = []  # frame, mark
    expected: list[tuple[int, int]] = []
    mark = 0
    for _ in range(40):
        for _ in range(int(chance.integers(0, 100))):
            mark += 1
            if chance.random() < 0.01:
                player.submit([Command(Op.CLEAR_SCHED)])
                queue = [one for one in queue if one[0] <= player.frame]
                continue
            frame = int(chance.choice([FRAME_NOW, player.frame + int(chance.integers(-50, 300))]))
            frame = max(frame, FRAME_NOW)
            player.submit([Command(Op.TOPK, 0, mark)], frame)
            queue.append((player.frame if frame == FRAME_NOW else frame, mark))
        queue.sort(key=lambda one: one[0])
        expected += [(player.frame, one) for frame, one in queue if frame <= player.frame]
        queue = [one for one in queue if one[0] > player.frame]
        player.render(player.frame + HOP)
    log = player.log.pop_all().tolist()
    assert [(frame, index) for frame, op, _, index, _ in log if op == Op.TOPK] == expected
    assert len(expected) > 1000


def test_what_a_freed_voice_was_told_is_not_the_next_ones(kick: Packed) -> None:
    player = engine(kick, 2)
    player.submit([Command(Op.QUANTUM, value=4.0), Command(Op.PLAY)])
    player.render(RATE)
    player.submit(pattern(1))  # to begin on the line
    player.submit([trig(voice=1)], BAR + RATE)
    player.submit([Command(Op.VOICE_FREE, 1)])
    player.render(RATE + 12 * HOP)
    assert not player.exists(1)
    player.new_voice(kick, 1)
    player.render(2 * BAR)
    assert np.abs(tap(player, 1)).max() < 0.5 * value(240)
    told = [row for row in player.log.pop_all().tolist() if row[2] == 1]
    assert [op for _, op, *_ in told] == [Op.VOICE_FREE, Op.VOICE_NEW]
    player.submit([*pattern(1), trig(voice=1)])  # what it is told itself holds
    player.render(3 * BAR + RATE)
    assert np.abs(tap(player, 1)).max() > 0.5 * value(240)


def test_freeing_a_voice_forgets_nothing_of_others(kick: Packed) -> None:
    player = engine(kick, 2)
    player.submit([Command(Op.TEMPO, value=77.0), Command(Op.MASTER_GAIN, value=0.5)], 2400)
    player.submit([Command(Op.TOPK, 0, 3), Command(Op.TOPK, 1, 4)], 2400)
    player.new_voice(kick, 3, 2400)
    player.submit([Command(Op.TOPK, 3, 5)], 2400)
    player.submit([Command(Op.VOICE_STOP, 0)])
    player.render(20 * HOP)
    player.submit([Command(Op.VOICE_FREE, 0)])
    player.render(4800)
    assert not player.exists(0)
    assert player.tempo == 77.0
    log = player.log.pop_all().tolist()
    assert [index for _, op, _, index, _ in log if op == Op.TOPK] == [4, 5]
    assert [op for frame, op, *_ in log if frame == 2400] == [
        Op.TEMPO, Op.MASTER_GAIN, Op.TOPK, Op.VOICE_NEW, Op.TOPK,
    ]  # fmt: skip


def test_a_voice_that_is_made_anew_later_keeps_what_it_will_be_told(kick: Packed) -> None:
    player = engine(kick, 2)
    player.submit([Command(Op.TOPK, 1, 1)], 2000)
    player.new_voice(kick, 1, 2400)
    player.submit([Command(Op.TOPK, 1, 2)], 2500)
    player.submit([Command(Op.VOICE_FREE, 1)])
    player.render(4800)
    log = player.log.pop_all().tolist()
    assert [index for _, op, _, index, _ in log if op == Op.TOPK] == [2]
    assert player.exists(1)


def test_a_model_that_was_on_its_way_to_a_freed_voice_is_given_back(kick: Packed) -> None:
    player = engine(kick)
    for k in range(80):
        player.new_voice(kick, 1)
        player.load(steady_model(20 + k), 1, FAR)
        player.submit([Command(Op.VOICE_FREE, 1)])
        player.render(player.frame + 12 * HOP)


def test_a_session_with_freed_voices_plays_again_to_the_same_bits(kick: Packed) -> None:
    live, again = engine(kick, 2), engine(kick, 2)
    live.submit([Command(Op.QUANTUM, value=4.0), Command(Op.PLAY)])
    sound = [live.render(2400)]
    for k in range(12):
        live.submit(pattern(1))
        live.submit([trig(voice=1)], live.frame + 3000)
        live.submit([trig(voice=0), Command(Op.VOICE_FREE, 1)])
        sound.append(live.render(live.frame + (12 + k) * HOP))
        live.new_voice(kick, 1)
        live.submit(pattern(1)[: k % 3])
        sound.append(live.render(live.frame + 4800))
    played = []
    for frame, op, voice, index, amount in live.log.pop_all().tolist():
        played.append(again.render(frame))
        if op == Op.VOICE_NEW:
            again.new_voice(kick, voice, frame)
        else:
            again.submit([Command(Op(op), voice, index, amount)], frame)
    played.append(again.render(live.frame))
    np.testing.assert_array_equal(np.concatenate(played), np.concatenate(sound))


def left(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    return frames[:, 0]


def tap(player: Engine, voice: int) -> np.ndarray:
    """What a voice has played since it was born."""
    born = player.voice_born(voice)
    heard = np.zeros((player.frame - born, 1), np.float32)
    assert player.voice_tap(voice).read(born, heard) == len(heard)
    return heard


def test_an_event_acts_at_the_first_hop_boundary_from_its_frame_on(noisy: Packed) -> None:
    def with_hit_at(frame: int) -> NDArray[np.float32]:
        player = engine(noisy)
        player.submit([trig()], frame)
        return left(player.render(2400))

    at_hop = with_hit_at(10 * HOP)
    for frame in (9 * HOP + 1, 10 * HOP - 1):
        np.testing.assert_array_equal(with_hit_at(frame), at_hop)
    later = with_hit_at(10 * HOP + 1)
    np.testing.assert_array_equal(later[: 10 * HOP], at_hop[: 10 * HOP])
    assert (later[10 * HOP : 11 * HOP] != at_hop[10 * HOP : 11 * HOP]).any()


def test_late_is_after_its_hop(noisy: Packed) -> None:
    player = engine(noisy)
    player.render(10 * HOP)
    for frame in (FRAME_NOW, 9 * HOP + 1, 10 * HOP, 11 * HOP):
        player.submit([trig()], frame)
    player.render(20 * HOP)
    assert player.late == 0
    player.submit([trig(), trig()], 19 * HOP)
    player.render(30 * HOP)
    assert player.late == 2


def test_clear_sched_forgets_what_was_scheduled_before_it(noisy: Packed) -> None:
    player, plain = engine(noisy), engine(noisy)
    player.submit([trig(HAT)], 4800)
    player.submit([trig(HAT)], 1200)
    player.render(480)
    player.submit([trig(HAT)], 1500)  # the same hop takes in all of these
    player.submit([Command(Op.CLEAR_SCHED), trig(KICK)])
    player.submit([trig(KICK)], 2000)
    for frame in (480, 2000):
        plain.submit([trig(KICK)], frame)
    np.testing.assert_array_equal(left(player.render(7200)), left(plain.render(7200))[480:])


def test_a_scheduled_clear_keeps_what_is_due_with_it(noisy: Packed) -> None:
    player, plain = engine(noisy), engine(noisy)
    player.submit([Command(Op.CLEAR_SCHED), trig(KICK)], 1200)
    player.submit([trig(HAT)], 1300)
    plain.submit([trig(KICK)], 1200)
    np.testing.assert_array_equal(player.render(4800), plain.render(4800))


def test_the_log_tells_what_acted_and_when(noisy: Packed) -> None:
    player = engine(noisy)
    player.submit([trig(HAT, 0.25)], 1001)
    player.submit([Command(Op.SEED, 0, 2**62)])
    player.render(2400)
    assert player.log.pop_all().tolist() == [
        (0, Op.SEED, 0, 2**62, 0.0),
        (1008, Op.TRIG, 0, HAT, 0.25),
    ]
