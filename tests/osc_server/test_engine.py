"""The engine offline: what it plays, when, and that nothing clicks, is lost or allocated."""

import itertools
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from numba.core.runtime import _nrt_python
from numpy.typing import NDArray

from ghostnote.inference.generator import Generator, Hit
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.spec import ROLES, ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import random_weights
from ghostnote.osc_server.commands import MAX_STEPS, Command, Op
from ghostnote.osc_server.desk import MAX_VOICES
from ghostnote.osc_server.engine import Engine, EngineOptions
from ghostnote.osc_server.ring import DRAINING, IDLE, RUNNING, STATE, ring_read
from tests.osc_server.noisy_model import NOISY
from tests.osc_server.steady_model import SHORT, steady_model, value
from tests.osc_server.waiting import until

Frames = NDArray[np.float32]

RATE, HOP = 24000, 24
KICK, SNARE, HAT = (ROLES.index(role) for role in ("kick", "snare", "hat"))
FADE, SWAP, TAIL = 10 * HOP, 30 * HOP, 5 * HOP  # samples, as core.py has them in hops


@pytest.fixture(scope="module")
def noisy() -> Packed:
    return pack(NOISY, random_weights(NOISY, 3))


def engine(packed: Packed, voices: int = 1, samplerate: int = RATE, seed: int = 5) -> Engine:
    player = Engine(packed, EngineOptions(samplerate, voices, seed))
    player.submit([Command(Op.LIMITER, value=0.0)])
    player.render(0)
    player.log.pop_all()
    return player


def trig(role: int = KICK, velocity: float = 0.8, voice: int = 0) -> Command:
    return Command(Op.TRIG, voice, role, velocity)


def left(frames: Frames) -> Frames:
    return frames[:, 0]


def largest_step(sound: Frames) -> float:
    return float(np.abs(np.diff(sound.astype(np.float64), axis=0)).max())


def busy(player: Engine) -> None:
    """Commands of every kind, at odd frames over a quarter of a second."""
    player.submit([Command(Op.TEMPO, value=171.0), Command(Op.PLAY)], 100)
    steps = [Command(Op.PATTERN_STEP, 0, HAT * MAX_STEPS + k, 0.2 + 0.2 * k) for k in range(3)]
    player.submit([Command(Op.PATTERN_LENGTH, 0, HAT, 3.0), *steps], 30)
    for k, role in enumerate(itertools.islice(itertools.cycle((KICK, HAT, SNARE)), 20)):
        player.submit([trig(role, 0.1 + k / 30)], 37 + 271 * k)
    player.submit([Command(Op.GLIDE, value=0.05), Command(Op.WEIGHT, 0, 1, 0.7)], 700)
    player.submit([Command(Op.PAN, value=-0.5), Command(Op.GAIN, value=0.3)], 1500)
    player.submit([Command(Op.SEED, 0, 99), Command(Op.TOPK, 0, 7)], 2000)
    player.submit([Command(Op.VOICE_STOP)], 3000)
    player.submit([Command(Op.VOICE_PLAY), Command(Op.TEMPERATURE, value=0.6)], 4000)
    player.submit([Command(Op.VOICE_RESET), Command(Op.MASTER_GAIN, value=0.5)], 5000)


@pytest.mark.parametrize("samplerate", [24000, 44100, 48000])
def test_in_pieces_and_whole_are_the_same_bits(noisy: Packed, samplerate: int) -> None:
    whole, pieces = (engine(noisy, samplerate=samplerate) for _ in range(2))
    busy(whole)
    busy(pieces)
    expected = whole.render(6000)
    ends = [*itertools.accumulate(itertools.islice(itertools.cycle((1, 24, 7, 311, 48)), 75)), 6000]
    found = np.concatenate([pieces.render(end) for end in ends])
    assert len(expected) == -(-6000 * samplerate // RATE)
    assert expected.std() > 0.01
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("voices", "precision"), [(1, "fp32"), (2, "bf16"), (8, "int8")])
def test_the_voices_are_generators_of_one_seed_and_a_stream_each(
    voices: int, precision: str
) -> None:
    noisy = pack(NOISY, random_weights(NOISY, 3), precision)
    player = engine(noisy, voices, seed=77)
    hits = [(50 + 501 * k, (KICK, HAT)[k % 2], 0.3 + k / 20, k % voices) for k in range(12)]
    for frame, role, velocity, voice in hits:
        player.submit([trig(role, velocity, voice)], frame)
    expected = np.zeros(6000, np.float32)
    for voice in range(voices):
        generator = Generator(noisy, seed=77, stream=voice)
        generator.add([Hit(f, ROLES[role], v) for f, role, v, of in hits if of == voice])
        expected += generator.play(6000)
    found = player.render(6000)
    np.testing.assert_array_equal(left(found), expected)
    np.testing.assert_array_equal(found[:, 1], expected)
    assert player.active == voices
    assert player.frame == 6000


def test_a_kick_sounds_from_its_hop_on() -> None:
    player = engine(steady_model(128, 240, SHORT))
    player.submit([trig()], 1000)
    sound = left(player.render(2000))
    assert np.flatnonzero(np.abs(sound) > 0.1)[0] == 42 * HOP


# What a steady sound of level 1 may change by in one sample: a fade's slope, or the smoothing's.
SLOWEST = 1.01 * max(1 / FADE, 0.2 / HOP)


@pytest.mark.parametrize(
    "command",
    [
        Command(Op.GAIN, value=0.0),
        Command(Op.GAIN, value=2.0),
        Command(Op.MUTE, value=1.0),
        Command(Op.PAN, value=1.0),
        Command(Op.PAN, value=-1.0),
        Command(Op.MASTER_GAIN, value=0.0),
        Command(Op.VOICE_STOP),
    ],
    ids=lambda command: f"{command.op.name} {command.value:g}",
)
def test_no_change_clicks(command: Command) -> None:
    player = engine(steady_model(240))
    level = value(240)
    before = player.render(1200)
    np.testing.assert_array_equal(before, np.float32(level))
    player.submit([command])
    after = player.render(4800)
    sound = np.concatenate([before, after])
    assert largest_step(sound) <= SLOWEST * level
    assert abs(after[-1] - level).max() > 0.3 * level  # it did something


def test_stop_fades_to_silence_and_the_voice_is_idle() -> None:
    player = engine(steady_model(240))
    player.render(1200)
    player.submit([Command(Op.VOICE_STOP)])
    sound = left(player.render(2400))
    assert largest_step(sound) <= SLOWEST * value(240)
    assert not sound[FADE:].any()
    assert player.voice_idle(0)
    assert player.active == 0
    player.submit([trig()])  # nobody is there to hear it
    assert not player.render(3600).any()
    player.submit([Command(Op.VOICE_PLAY)])
    np.testing.assert_array_equal(left(player.render(4800)), np.float32(value(240)))
    assert not player.voice_idle(0)


def test_play_during_the_fade_comes_back_without_a_click() -> None:
    player = engine(steady_model(240))
    sound = [player.render(1200)]
    for frame in (1200, 1320, 1400, 1480):
        player.submit([Command(Op.VOICE_STOP if frame != 1320 else Op.VOICE_PLAY)], frame)
    player.submit([Command(Op.VOICE_PLAY)], 1530)
    sound.append(player.render(3600))
    whole = left(np.concatenate(sound))
    assert largest_step(whole) <= SLOWEST * value(240)
    assert whole.min() < 0.6 * value(240)
    assert whole[-1] == np.float32(value(240))


def test_a_reset_is_silence_at_once_without_a_click() -> None:
    player = engine(steady_model(128, 240))
    player.submit([trig()])
    sound = [player.render(1200)]
    assert sound[0][-1, 0] == np.float32(value(240))
    player.submit([Command(Op.VOICE_RESET)])
    sound.append(player.render(1200 + 7))  # and again while it is still being levelled out
    player.submit([Command(Op.VOICE_RESET)])
    sound.append(player.render(3600))
    whole = left(np.concatenate(sound)[1:])
    assert largest_step(whole[HOP:]) <= 1.01 * value(240) / TAIL
    assert (whole[1200 + TAIL + HOP :] == np.float32(value(128))).all()


def test_a_reset_returns_the_voice_to_its_seed(noisy: Packed) -> None:
    player = engine(noisy)
    player.submit([trig()], 480)
    first = left(player.render(2400))
    player.submit([Command(Op.VOICE_RESET), trig(HAT)])
    player.render(2400 + TAIL)
    player.submit([Command(Op.VOICE_RESET)], 4800)
    player.submit([trig()], 4800 + 480)
    player.render(4800)
    again = left(player.render(7200))
    np.testing.assert_array_equal(again[TAIL:], first[TAIL:])


def test_a_hit_with_the_reset_is_heard(noisy: Packed) -> None:
    """As in one bundle: return to silence, then strike."""
    player, fresh = engine(noisy), Generator(noisy, seed=5)
    player.render(2400)
    player.submit([Command(Op.VOICE_RESET), trig()])
    fresh.add([Hit(0, "kick", 0.8)])
    np.testing.assert_array_equal(left(player.render(4800))[TAIL:], fresh.play(2400)[TAIL:])


def test_another_model_fades_in_without_a_click() -> None:
    player = engine(steady_model(240))
    sound = [player.render(1200)]
    player.load(steady_model(16), 0)
    sound.append(player.render(2400))
    whole = left(np.concatenate(sound))
    assert largest_step(whole) <= 1.02 * abs(value(240) - value(16)) / SWAP
    assert (whole[1200 + SWAP :] == np.float32(value(16))).all()
    assert whole[1200 + SWAP - 2] != np.float32(value(16))


@pytest.mark.parametrize("hops", [1, 5, 14, 16, 29])
def test_a_third_model_in_the_midst_of_a_fade_does_not_click(hops: int) -> None:
    player = engine(steady_model(240))
    sound = [player.render(1200)]
    player.load(steady_model(16), 0)
    sound.append(player.render(1200 + hops * HOP))
    player.load(steady_model(128), 0)
    sound.append(player.render(4800))
    whole = left(np.concatenate(sound))
    span = abs(value(240) - value(16))
    assert largest_step(whole) <= 1.02 * (span / SWAP + span / 2 / TAIL)
    assert whole[-1] == np.float32(value(128))


def test_both_models_of_a_fade_hear_a_hit() -> None:
    player = engine(steady_model(128))
    player.load(steady_model(128, 240), 0)
    player.render(HOP)
    player.submit([trig()])
    assert left(player.render(2400))[-1] == np.float32(value(240))


def test_a_stopped_voice_takes_a_model_at_once() -> None:
    player = engine(steady_model(240), voices=2)
    player.submit([Command(Op.VOICE_STOP, voice) for voice in range(2)])
    player.render(2400)
    player.load(steady_model(16), 0)
    player.submit([Command(Op.VOICE_PLAY)])
    np.testing.assert_array_equal(left(player.render(4800)), np.float32(value(16)))


def test_models_come_and_go_for_ever() -> None:
    """Whatever state a voice is in: the memory of a model that is left is given back."""
    player = engine(steady_model(240), voices=2)
    for k in range(60):
        player.load(steady_model(40 + k), k % 2)
        if k % 7 == 0:
            player.submit([Command((Op.VOICE_STOP, Op.VOICE_PLAY)[k // 7 % 2], k % 2)])
        if k % 11 == 0:
            player.submit([Command(Op.VOICE_RESET, k % 2)])
        player.render(player.frame + HOP * (k % 5 + 1))
    with pytest.raises(GhostnoteError, match="too many models"):
        for k in range(100):
            player.load(steady_model(20 + k), 0)
    player.render(player.frame + HOP)
    player.load(steady_model(61), 0)
    player.submit([Command(Op.VOICE_PLAY, voice) for voice in range(2)])
    player.submit([Command(Op.MUTE, 1, value=1.0)])
    assert left(player.render(player.frame + 4800))[-1] == np.float32(value(61))


def test_a_model_of_another_rate_is_refused(noisy: Packed) -> None:
    other = ModelSpec(16000, 16, (1,), residual=1, gate=1, skip=1, head=1)
    with pytest.raises(GhostnoteError, match="16000 Hz") as refusal:
        engine(noisy).load(pack(other, random_weights(other, 0)), 0)
    assert "\n" not in str(refusal.value)


def test_a_kit_glides_in_the_time_given(noisy: Packed) -> None:
    player = engine(noisy)
    player.submit([Command(Op.GLIDE, value=0.1), trig()])
    player.submit([Command(Op.WEIGHT, 0, 0, 0.0), Command(Op.WEIGHT, 0, 1, 1.0)], 480)
    state, expected = State(noisy, seed=5), np.empty(6000, np.float32)
    state.hit(NOISY.roles.index("kick"), 0.8)
    kit = [1.0, 0.0]
    for hop in range(6000 // HOP):
        left_hops = 100 - (hop - 20)
        if 0 < left_hops <= 100:
            kit = [kit[0] + (0.0 - kit[0]) / left_hops, kit[1] + (1.0 - kit[1]) / left_hops]
        state.set_kit(kit)
        state.generate(expected[hop * HOP : (hop + 1) * HOP])
    np.testing.assert_array_equal(left(player.render(6000)), expected)
    assert kit == pytest.approx([0.0, 1.0], abs=1e-12)


OF_ALL = (Op.CLEAR_SCHED, Op.PLAY, Op.ROLL, Op.STOP, Op.TEMPO, Op.BEAT, Op.QUANTUM, Op.SIGNATURE,
          Op.MASTER_GAIN, Op.LIMITER, Op.MODEL, Op.VOICE_NEW)  # fmt: skip


def test_nonsense_does_nothing(noisy: Packed) -> None:
    """What a damaged log could hold reaches no memory that is not its own."""
    player, plain = engine(noisy), engine(noisy)
    for op in Op:
        if op not in OF_ALL:
            for voice in (-1, 1, MAX_VOICES, 2**31 - 1):
                player.submit([Command(op, voice, 1, 1.0)])
    for index in (-1, 64, len(ROLES) * MAX_STEPS, 2**62, -(2**62)):
        for op in (Op.TRIG, Op.PATTERN_LENGTH, Op.PATTERN_STEP, Op.WEIGHT, Op.MODEL):
            if op is not Op.PATTERN_STEP or index != MAX_STEPS:
                player.submit([Command(op, 0, index, 1.0)])
    player.submit([Command(Op.PATTERN_LENGTH, 0, KICK, 1e300), Command(Op.TEMPO, value=1e300)])
    np.testing.assert_array_equal(player.render(2400), plain.render(2400))
    player.submit([Command(Op.PLAY)])
    player.render(4800)


def run_live(player: Engine, act: Callable[[], None]) -> None:
    """Runs the engine live while a thread takes its frames and `act` acts."""
    done = threading.Event()
    out = np.zeros((256, 2), np.float32)

    def take() -> None:
        while not done.is_set():
            ring_read(player.ring.header, player.ring.data, out, 256)
            time.sleep(0.001)

    taker = threading.Thread(target=take)
    player.start()
    taker.start()
    try:
        act()
    finally:
        done.set()
        taker.join()
        player.stop()


def test_a_batch_acts_in_one_hop_live(noisy: Packed) -> None:
    player = engine(noisy, voices=4)
    records: list[tuple[int, ...]] = []

    def act() -> None:
        for k in range(200):
            batch = [Command(Op.TOPK, voice % 4, k) for voice in range(30)]
            until(lambda batch=batch: player.submit(batch), "room for a batch")  # type: ignore[misc]
            time.sleep(0.0005)
        deadline = time.monotonic() + 20
        while len(records) < 6000 and time.monotonic() < deadline:
            records.extend(player.log.pop_all().tolist())
            time.sleep(0.01)

    run_live(player, act)
    assert len(records) == 6000
    frames = [{frame for frame, _, _, index, _ in records if index == k} for k in range(200)]
    assert all(len(one) == 1 for one in frames)
    assert len(set.union(*frames)) > 1
    assert player.unlogged == player.late == player.dropped == 0


def test_live_fills_the_ring_to_its_target_and_no_further(noisy: Packed) -> None:
    player = Engine(noisy, EngineOptions(48000, ring=600))
    assert player.ring.header[STATE] == IDLE
    player.start()
    deadline = time.monotonic() + 20
    while player.ring.header[STATE] != RUNNING and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert 600 - 2 * HOP <= player.ring.fill <= 600
    with pytest.raises(GhostnoteError, match="live"):
        player.render(10**6)
    with pytest.raises(GhostnoteError, match="already"):
        player.start()
    player.stop()
    assert player.ring.header[STATE] == DRAINING


def test_live_and_offline_are_the_same_bits(noisy: Packed) -> None:
    live, offline = engine(noisy, voices=2), engine(noisy, voices=2)
    busy(live)
    busy(offline)
    run_live(live, lambda: time.sleep(0.3))
    written = live.tap.written
    assert written >= 6000
    out = np.zeros((written, 2), np.float32)
    assert live.tap.read(0, out) == written
    np.testing.assert_array_equal(out, offline.render(live.frame))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"samplerate": 100}, "samplerate"),
        ({"samplerate": 48000, "voices": 0}, "voices"),
        ({"samplerate": 48000, "voices": MAX_VOICES + 1}, "voices"),
        ({"samplerate": 48000, "seed": -1}, "seed"),
        ({"samplerate": 48000, "ring": 3}, "ring"),
    ],
)
def test_options_refuse_nonsense(options: dict[str, int], word: str) -> None:
    with pytest.raises(GhostnoteError, match=word):
        EngineOptions(**options)


def test_a_rate_that_cannot_be_made_is_refused(noisy: Packed) -> None:
    with pytest.raises(GhostnoteError, match="44101"):
        engine(noisy, samplerate=44101)


def allocations(player: Engine, hops: int) -> int:
    before = _nrt_python.memsys_get_stats_alloc()
    player.render(player.frame + hops * HOP)
    return int(_nrt_python.memsys_get_stats_alloc() - before)


def test_the_loop_allocates_nothing(noisy: Packed) -> None:
    """Whatever it is told: only entering and leaving the compiled code counts."""
    was_on = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    try:
        idle = engine(noisy, samplerate=44100)
        idle.render(HOP)
        expected = allocations(idle, 1)
        player = engine(noisy, samplerate=44100)
        player.render(HOP)
        busy(player)
        player.load(noisy, 0)
        player.submit([Command(Op.CLEAR_SCHED)], 5500)
        assert allocations(player, 250) == expected
    finally:
        if not was_on:
            _nrt_python.memsys_disable_stats()


def test_sixty_four_voices_can_be_made() -> None:
    player = engine(steady_model(129), voices=MAX_VOICES)
    assert player.render(HOP)[-1, 0] == pytest.approx(MAX_VOICES * value(129), rel=1e-5)
    assert player.active == MAX_VOICES
