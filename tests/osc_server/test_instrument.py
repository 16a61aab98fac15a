"""The engine as an instrument: voices that come and go, bars, loops, outputs, meters, the watch."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostnote.inference.generator import Generator, Hit
from ghostnote.kernels import packing
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.spec import ROLES
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import random_weights
from ghostnote.osc_server.commands import MAX_STEPS, Command, Op
from ghostnote.osc_server.engine import Engine, EngineOptions
from tests.osc_server.noisy_model import NOISY
from tests.osc_server.steady_model import SHORT, steady_model, value

RATE, HOP = 24000, 24
KICK = ROLES.index("kick")
BAR = 2 * RATE  # frames of four beats at 120
SLOWEST = 1.01 / (10 * HOP)  # what a fade may change by in one sample, at level 1


def engine(packed: Packed, voices: int = 1, outputs: int = 1, limiter: bool = False) -> Engine:
    player = Engine(packed, EngineOptions(RATE, voices, 5, outputs=outputs))
    player.submit([Command(Op.LIMITER, value=float(limiter))])
    player.render(0)
    return player


@pytest.fixture(scope="module")
def noisy() -> Packed:
    return pack(NOISY, random_weights(NOISY, 3))


def left(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    return frames[:, 0]


def largest_step(sound: NDArray[np.float32]) -> float:
    return float(np.abs(np.diff(sound.astype(np.float64), axis=0)).max())


def trig(velocity: float = 0.8, voice: int = 0) -> Command:
    return Command(Op.TRIG, voice, KICK, velocity)


def onsets(sound: NDArray[np.float32]) -> list[int]:
    """Where a SHORT kick begins; where it ends, some 900 samples later, chance lets it flicker."""
    high = np.flatnonzero(np.abs(sound) > 0.5 * value(240))
    return [int(i) for i, gap in zip(high, np.diff(high, prepend=-1000), strict=True) if gap > 800]


def pattern(steps: list[float], voice: int = 0) -> list[Command]:
    rows = [Command(Op.PATTERN_STEP, voice, KICK * MAX_STEPS + k, v) for k, v in enumerate(steps)]
    return [Command(Op.PATTERN_LENGTH, voice, KICK, float(len(steps))), *rows]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_voices_that_come_and_go_leave_the_others_as_they_are(precision: str) -> None:
    packed = pack(NOISY, random_weights(NOISY, 3), precision)
    player, generator = engine(packed, outputs=2), Generator(packed, seed=5)
    for frame in range(0, 9600, 1000):
        generator.add([Hit(frame, "kick", 0.7)])
        player.submit([trig(0.7)], frame)
    born = [1200 * number for number in (1, 2, 3)]
    for number, frame in enumerate(born, start=1):
        player.new_voice(packed, number, frame)
        player.submit([Command(Op.OUT, number, 1)], frame)
    player.submit([Command(Op.VOICE_FREE, 2)], 4000)
    player.submit([Command(Op.VOICE_STOP, 1)], 5000)
    player.submit([Command(Op.VOICE_PLAY, 1)], 7000)
    player.submit([Command(Op.VOICE_FREE, 3)], 8000)
    sound, expected = player.render(9600), generator.play(9600)
    alone = np.ones(9600, bool)
    for frame in born:  # the new ones leave the first outputs
        alone[frame : frame + 10 * HOP] = False
    np.testing.assert_array_equal(sound[alone, 0], expected[alone])
    assert np.abs(sound[8000 + 12 * HOP :, 2]).max() > 0.1  # voice 2 of them all
    assert [player.exists(number) for number in range(4)] == [True, True, False, False]


def test_a_new_voice_plays_its_own_stream_of_the_seed(noisy: Packed) -> None:
    player = engine(noisy)
    player.submit([Command(Op.VOICE_STOP, 0)])
    player.render(2400)
    player.new_voice(noisy, 3)
    np.testing.assert_array_equal(
        left(player.render(4800)), Generator(noisy, seed=5, stream=3).play(2400)
    )


def test_a_voice_goes_on_in_its_chance_after_a_rest(noisy: Packed) -> None:
    """What it drew before it was stopped is not drawn again."""
    player = engine(noisy)
    player.render(4800)
    player.submit([Command(Op.VOICE_STOP)])
    player.render(7200)
    player.submit([Command(Op.VOICE_PLAY)])
    expected, found = State(noisy, 5), np.zeros(2400, np.float32)
    expected.ints[int(noisy.header[packing.I_LANES]) + packing.L_OFFSET] = 4800 + 10 * HOP
    expected.generate(found)
    np.testing.assert_array_equal(left(player.render(9600)), found)


def test_what_cannot_be_made_is_refused(noisy: Packed) -> None:
    player = engine(noisy)
    for number, said in ((0, "exists"), (16, "room for voices 1 to 16"), (-1, "room")):
        with pytest.raises(GhostnoteError, match=said):
            player.new_voice(noisy, number)


def test_voices_are_made_and_freed_for_ever() -> None:
    player, packed = engine(steady_model(240)), steady_model(100)
    for k in range(100):
        player.new_voice(packed, 1 + k % 5)
        player.render(player.frame + HOP)
        player.submit([Command(Op.VOICE_FREE, 1 + k % 5)])
        player.render(player.frame + 12 * HOP)
    assert player.active == 1
    assert left(player.render(player.frame + 2400))[-1] == np.float32(value(240))


def test_freeing_and_making_does_not_click() -> None:
    player = engine(steady_model(240))
    player.render(2400)
    player.submit([Command(Op.VOICE_FREE)])
    assert largest_step(player.render(4800)) <= SLOWEST
    assert not player.exists(0)


def test_solo_silences_the_others() -> None:
    player = engine(steady_model(240), 2)
    player.load(steady_model(200), 1)
    player.render(4800)
    player.submit([Command(Op.SOLO, 1, value=1.0)])
    faded = left(player.render(9600))
    assert largest_step(faded) <= 0.2 / HOP * 1.01
    assert faded[-1] == pytest.approx(value(200), abs=1e-6)


def test_a_voice_moves_between_outputs_without_a_click() -> None:
    player = engine(steady_model(240), outputs=2)
    first = player.render(2400)
    assert first.shape == (2400, 4)
    player.submit([Command(Op.OUT, 0, 1)])
    moved = player.render(4800)
    assert largest_step(np.concatenate([first, moved])) <= SLOWEST
    level = np.float32(value(240))
    np.testing.assert_array_equal(moved[-1], [0, 0, level, level])
    player.submit([Command(Op.OUT, 0, 2)])  # there is none
    np.testing.assert_array_equal(player.render(7200)[-1], [0, 0, level, level])


def test_a_beat_is_caught_up_with_and_no_step_is_lost_or_doubled() -> None:
    player = engine(steady_model(128, 240, SHORT))
    player.submit([*pattern([1.0]), Command(Op.TEMPO, value=120.0), Command(Op.PLAY)])
    player.submit([Command(Op.BEAT, value=2.05)], RATE)  # it stands at 2.0
    player.submit([Command(Op.BEAT, value=8.0)], 3 * RATE)  # at 6.05: a jump
    found = onsets(left(player.render(4 * RATE)))
    steps = np.diff(found)
    step = RATE // 8
    assert (steps[: 3 * 8 - 1] > 0.85 * step).all()
    assert (steps[: 3 * 8 - 1] <= step + HOP).all()
    at_end = 8.0 + 2.0 * (4 * RATE - 3 * RATE) / RATE
    assert player.beat == pytest.approx(at_end, abs=1e-6)
    before = next(frame for frame in reversed(found) if frame < 3 * RATE - HOP)
    assert 2.0 * before / RATE + 0.05 == pytest.approx(6.0, abs=0.01)


def test_commands_wait_for_the_quantum() -> None:
    player = engine(steady_model(128, 240, SHORT))
    player.submit([Command(Op.TEMPO, value=120.0), Command(Op.QUANTUM, value=4.0)])
    player.submit([Command(Op.PLAY)])
    player.render(RATE // 2)
    player.submit(pattern([1.0, 0.0, 0.0, 0.0]))
    found = onsets(left(player.render(2 * BAR)))
    assert 0 <= found[0] + RATE // 2 - BAR <= HOP
    player.render(2 * BAR + RATE)
    player.submit([Command(Op.VOICE_STOP)])
    player.render(3 * BAR - HOP)
    assert not player.voice_idle(0)
    player.render(3 * BAR + 12 * HOP)
    assert player.voice_idle(0)
    player.submit([Command(Op.VOICE_PLAY)], 3 * BAR + RATE)  # one with a time of its own
    player.render(3 * BAR + RATE + HOP)
    assert not player.voice_idle(0)


def test_nothing_waits_while_the_transport_stands() -> None:
    player = engine(steady_model(240))
    player.submit([Command(Op.QUANTUM, value=4.0), Command(Op.VOICE_STOP)])
    player.render(12 * HOP)
    assert player.voice_idle(0)


def test_what_waits_is_let_go_when_the_transport_stops() -> None:
    player = engine(steady_model(240))
    player.submit([Command(Op.QUANTUM, value=4.0), Command(Op.PLAY)])
    player.render(2400)
    player.submit([Command(Op.VOICE_STOP)])
    player.render(7200)
    assert not player.voice_idle(0)
    player.submit([Command(Op.STOP)])
    player.render(7200 + 12 * HOP)
    assert player.voice_idle(0)


def test_hold_repeats_the_last_bar_without_a_seam(noisy: Packed) -> None:
    player = engine(noisy)
    player.submit([*pattern([0.9, 0.0, 0.3]), Command(Op.TEMPO, value=120.0), Command(Op.PLAY)])
    player.render(BAR + RATE)
    player.submit([Command(Op.HOLD, value=1.0)])  # in mid-bar: it waits for the line
    sound = left(player.render(5 * BAR))
    at = 2 * BAR - (BAR + RATE)
    fade = 10 * HOP
    loop = sound[at + fade : at + fade + BAR - fade]
    played = sound[at : at + BAR]
    np.testing.assert_array_equal(sound[at + BAR : at + 2 * BAR], played)
    assert player.voice_holding(0)
    plain = engine(noisy)
    plain.submit([*pattern([0.9, 0.0, 0.3]), Command(Op.TEMPO, value=120.0), Command(Op.PLAY)])
    unheld = left(plain.render(5 * BAR))
    np.testing.assert_array_equal(unheld[BAR + fade : 2 * BAR], loop)
    player.submit([Command(Op.HOLD, value=0.0)], 5 * BAR)
    after = left(player.render(6 * BAR))
    np.testing.assert_array_equal(after[fade:], left(plain.render(6 * BAR))[fade:])


def test_hold_does_not_click() -> None:
    quiet = steady_model(128, 160)  # too quiet a level for the watch to object
    player = engine(quiet)
    player.submit([Command(Op.PLAY)])
    player.submit([trig()], RATE)
    player.render(2 * RATE)
    player.submit([Command(Op.HOLD, value=1.0)])
    player.submit([Command(Op.HOLD, value=0.0)], 5 * RATE)
    sound = left(player.render(8 * RATE))
    steps = np.abs(np.diff(sound.astype(np.float64)))
    own = steps > 0.9 * value(160)  # the stream's and its loop's, at the hit and at its end
    assert 1 <= np.count_nonzero(own) <= 40
    assert steps[~own].max() <= SLOWEST * value(160)


def test_rewind_begins_the_take_again_on_the_line(noisy: Packed) -> None:
    player = engine(noisy)
    player.submit([Command(Op.TEMPO, value=120.0), Command(Op.QUANTUM, value=4.0)])
    player.submit([Command(Op.PLAY)])
    player.render(RATE)
    player.submit([Command(Op.VOICE_REWIND)])
    sound = left(player.render(2 * BAR))[BAR - RATE :]
    tail = 5 * HOP
    np.testing.assert_array_equal(sound[tail:], Generator(noisy, seed=5).play(BAR)[tail:])


def test_swing_delays_every_other_step() -> None:
    player = engine(steady_model(128, 240, SHORT))
    player.submit([*pattern([1.0]), Command(Op.PATTERN_SWING, 0, KICK, 1.0)])
    player.submit([Command(Op.TEMPO, value=60.0), Command(Op.PLAY)])
    found = onsets(left(player.render(4 * RATE)))
    step = RATE // 4
    expected = [n * step + (step // 2 if n % 2 else 0) for n in range(16)]
    assert all(0 <= f - e <= HOP for f, e in zip(found, expected, strict=True))


def test_probability_is_the_share_of_steps_that_sound_and_is_the_seeds() -> None:
    def play(chance: float) -> list[int]:
        player = engine(steady_model(128, 240, SHORT))
        player.submit([*pattern([1.0]), Command(Op.PATTERN_PROBABILITY, 0, KICK, chance)])
        player.submit([Command(Op.TEMPO, value=120.0), Command(Op.PLAY)])
        return onsets(left(player.render(20 * RATE)))

    half = play(0.5)
    assert play(0.0) == []
    assert half == play(0.5)
    assert 55 <= len(half) <= 105  # of 160


def test_bar_lines_are_told() -> None:
    player = engine(steady_model(128))
    player.submit([Command(Op.TEMPO, value=240.0), Command(Op.SIGNATURE, value=3.0)])
    player.submit([Command(Op.PLAY)], 2400)
    player.render(2400 + 3 * RATE)
    bar = 3 * RATE // 4
    assert player.bars() == [(2400 + k * bar, k) for k in range(4)]
    player.submit([Command(Op.STOP)])
    player.render(6 * RATE)
    assert len(player.bars()) == 4


@pytest.mark.parametrize("gain", [1.0, 2.0, 100.0])
def test_the_limiter_lets_nothing_pass_1_and_leaves_what_is_below_its_knee(gain: float) -> None:
    limited, plain = engine(steady_model(200), limiter=True), engine(steady_model(200))
    for player in (limited, plain):
        player.submit([Command(Op.MASTER_GAIN, value=gain)])
    heard, raw = limited.render(4800), plain.render(4800)
    assert np.abs(heard).max() <= 1.0
    quiet = np.abs(raw) <= 0.9
    np.testing.assert_array_equal(heard[quiet], raw[quiet])
    order = np.argsort(raw[:, 0])
    assert (np.diff(heard[order, 0]) > -1e-6).all()  # louder stays louder
    assert limited.clips == np.count_nonzero(np.abs(raw) > 1)


def test_meters_tell_peak_and_rms() -> None:
    player = engine(steady_model(200), 2)
    player.submit([Command(Op.MUTE, 1, value=1.0), Command(Op.GAIN, 0, value=0.5)])
    player.render(RATE // 2)
    level = 0.5 * value(200)
    rows = player.meters()
    np.testing.assert_allclose(rows[0, :2], level, rtol=1e-3)
    np.testing.assert_allclose(rows[1, :2], 0.0, atol=1e-6)
    np.testing.assert_allclose(rows[-1], level, rtol=1e-3)
    player.submit([Command(Op.VOICE_STOP, 0)])
    player.render(RATE)
    np.testing.assert_array_equal(player.meters()[0], 0.0)


def test_a_standing_level_is_led_back_to_silence_and_told() -> None:
    player = engine(steady_model(240))
    sound = left(player.render(2 * RATE))
    assert player.reprimes(0) == (1, "dc") or player.reprimes(0)[0] >= 1
    assert player.reprimes(0)[1] == "dc"
    assert largest_step(sound[RATE // 10 :]) <= 2 * value(240)


def test_a_voice_that_hears_no_hits_is_told_as_silent() -> None:
    player = engine(steady_model(128, 128))
    for k in range(8):
        player.submit([trig()], k * RATE // 2)
    player.render(4 * RATE)
    assert player.reprimes(0) == (2, "silence")


def test_noise_without_a_hit_is_ended(noisy: Packed) -> None:
    player = engine(noisy)
    player.render(6 * RATE)
    assert player.reprimes(0) == (1, "noise")
    texture = engine(noisy)
    texture.submit([Command(Op.WEIGHT, 0, kit, 0.0) for kit in range(2)])
    texture.render(6 * RATE)
    assert texture.reprimes(0)[0] == 0


def test_a_primed_voice_goes_on_from_what_it_heard(noisy: Packed) -> None:
    heard = State(noisy, 5)
    heard.teacher_force(np.arange(480, dtype=np.int64)[None, :] * 7 % 256)
    expected = State(noisy, 5)
    expected.copy_lane(0, heard, 0)
    expected.ints[int(noisy.header[packing.I_LANES]) + packing.L_OFFSET] = 0  # from its seed on
    player = engine(noisy)
    player.render(2400)
    player.prime(0, heard)
    sound = left(player.render(7200))
    again = np.zeros(4800, np.float32)
    expected.generate(again)
    tail = 5 * HOP
    np.testing.assert_array_equal(sound[tail:], again[tail:])


def test_taps_hold_what_each_voice_and_the_master_played(noisy: Packed) -> None:
    player = engine(noisy, 2)
    player.submit([Command(Op.GAIN, 0, value=0.25)])
    sound = player.render(4800)
    tap = player.voice_tap(1)
    alone = np.zeros((4800, 1), np.float32)
    assert tap.read(0, alone) == 4800
    np.testing.assert_array_equal(alone[:, 0], Generator(noisy, seed=5, stream=1).play(4800))
    master = np.zeros((4800, 2), np.float32)
    assert player.tap.read(0, master) == 4800
    np.testing.assert_array_equal(master, sound)


def test_a_pattern_plays_from_its_first_step_while_the_transport_runs() -> None:
    player = engine(steady_model(128, 240, SHORT))
    player.submit(pattern([1.0, 0.0, 0.5, 0.0, 0.0]))
    assert onsets(left(player.render(RATE))) == []
    player.submit([Command(Op.TEMPO, value=120.0), Command(Op.PLAY)], RATE)
    step = RATE // 8  # a sixteenth at 120
    found = onsets(left(player.render(RATE + 12 * step)))
    expected = [k * step for k in (0, 2, 5, 7, 10)]
    assert len(found) == len(expected)
    assert all(0 <= f - e <= HOP for f, e in zip(found, expected, strict=True))
    player.submit([Command(Op.STOP)])
    assert onsets(left(player.render(player.frame + RATE))) == []
    player.submit([Command(Op.PLAY)])  # from the first step again
    assert onsets(left(player.render(player.frame + step)))[0] <= HOP
    player.submit([Command(Op.PATTERN_LENGTH, 0, KICK, 0.0)])
    player.render(player.frame + step)
    assert onsets(left(player.render(player.frame + RATE))) == []


def test_a_change_of_tempo_goes_on_from_the_beat() -> None:
    player = engine(steady_model(128, 240, SHORT))
    player.submit([*pattern([1.0]), Command(Op.TEMPO, value=100.0), Command(Op.PLAY)])
    player.submit([Command(Op.TEMPO, value=150.0)], RATE)
    found = onsets(left(player.render(3 * RATE)))
    at_change = 100 / 60
    expected = []
    for k in range(100):
        beat = k / 4
        slow, fast = RATE * 60 / 100, RATE * 60 / 150
        frame = beat * slow if beat <= at_change else RATE + (beat - at_change) * fast
        if frame < 3 * RATE - HOP:
            expected.append(frame)
    assert len(found) == len(expected)
    assert all(-1 <= f - e <= HOP + 1 for f, e in zip(found, expected, strict=True))


def test_voices_have_their_own_patterns() -> None:
    player = engine(steady_model(128, 240, SHORT), voices=2)
    player.submit([*pattern([1.0, 0.0], 0), *pattern([0.0, 1.0], 1)])
    player.submit([Command(Op.PAN, 0, value=-1.0), Command(Op.PAN, 1, value=1.0)])
    player.render(RATE)
    player.submit([Command(Op.PLAY)])
    sound = player.render(2 * RATE)
    step = RATE // 8
    for channel, first in ((0, 0), (1, step)):
        found = onsets(sound[:, channel])
        assert len(found) == 4
        assert all(0 <= f - first - 2 * k * step <= HOP for k, f in enumerate(found))
