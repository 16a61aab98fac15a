"""Drummers over OSC: bars ahead of the beat, changes from the next bar on, the transport followed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ghostnote.inference.drummer import Drummer, DrummerSettings
from ghostnote.inference.drummer_file import DrummerFile, load_drummer, save_drummer
from ghostnote.inference.drummer_spec import DrummerSpec, weight_shapes
from ghostnote.kernels.spec import ROLES
from ghostnote.osc_server.commands import MAX_ROLES, TICKS, Command, Op
from ghostnote.osc_server.control import Transport
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.drummer import AHEAD, EARLY, Drummers
from ghostnote.osc_server.scene import capture, put
from tests.osc_server.recorder import Client

SPEC = DrummerSpec(("jazz", "rock"), channels=8, width=16, dilations=(1, 16))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> DrummerFile:
    chance, path = np.random.default_rng(1), tmp_path_factory.mktemp("drummer") / "d.onnx"
    weights = {
        name: chance.normal(0, 0.5, shape).astype(np.float32)
        for name, shape in weight_shapes(SPEC).items()
    }
    save_drummer(path, SPEC, weights, {})
    return load_drummer(path)


class Band:
    """A control with a transport that stands where it is put, and what the engine would hold."""

    def __init__(self) -> None:
        self.at = Transport(False, 0.0, 120.0)
        self.beats = 4.0
        self.room = True
        self.strikes: list[tuple[float, str, float]] = []

    def transport(self) -> Transport:
        return self.at

    def roll(self, beat: float) -> None:
        self.at = Transport(True, beat, 120.0)
        self.strikes = [strike for strike in self.strikes if strike[0] >= beat]

    def submit(self, commands: list[Command], frame: int) -> bool:
        if not self.room:
            return False
        for command in commands:
            if command.op is Op.STRIKE_CLEAR:
                self.strikes = [strike for strike in self.strikes if strike[0] < command.value]
            else:
                beat = (command.index // MAX_ROLES) / TICKS
                self.strikes.append((beat, ROLES[command.index % MAX_ROLES], command.value))
        return True


Made = tuple[Band, Drummers, Callable[..., list[tuple[float, str, float]]]]


@pytest.fixture
def made(file: DrummerFile) -> Made:
    band = Band()
    drummers = Drummers(band, lambda: band.beats, lambda: file, alone=False)  # type: ignore[arg-type]

    def bars(first: int, last: int, **settings: object) -> list[tuple[float, str, float]]:
        """What a drummer of its own plays from bar 0 on, of bars `first` to before `last`."""
        alone = Drummer(file, DrummerSettings(**settings))  # type: ignore[arg-type]
        found = []
        for bar in range(last):
            hits = alone.bar(bar, 120.0)
            if bar >= first:
                found += [(max(0.0, 4 * bar + beat), role, loud) for beat, role, loud in hits]
        return found

    return band, drummers, bars


def same(found: list[tuple[float, str, float]], wanted: list[tuple[float, str, float]]) -> bool:
    a, b = sorted(found), sorted((round(t * TICKS) / TICKS, role, v) for t, role, v in wanted)
    return a == b and len(a) > 0


def test_bars_wait_before_the_transport_runs_and_are_thought_of_ahead(made: Made) -> None:
    band, drummers, bars = made
    drummers.start(0)
    drummers.tick()
    assert same(band.strikes, bars(0, AHEAD + 1))
    band.roll(4.5)
    drummers.tick()
    wanted = [hit for hit in bars(0, AHEAD + 2) if hit[0] >= 4.5]
    assert same(band.strikes, wanted)


def test_a_change_acts_from_the_next_bar_on(made: Made, file: DrummerFile) -> None:
    band, drummers, bars = made
    drummers.start(0)
    drummers.tick()
    band.roll(1.0)
    drummers.set(0, "style", "jazz")
    drummers.set(0, "density", 0.9)
    drummers.tick()
    alone = Drummer(file, DrummerSettings())
    alone.bar(0, 120.0)
    alone.settings = DrummerSettings(style="jazz", density=0.9)
    after = [(4 * bar + t, r, v) for bar in (1, 2) for t, r, v in alone.bar(bar, 120.0)]
    assert same(band.strikes, [hit for hit in bars(0, 1) if hit[0] >= 1.0] + after)


def test_what_is_changed_stays_until_something_else_has_been_thought_of(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the thinking is, there is no gap."""
    band, drummers, _ = made
    drummers.start(0)
    drummers.tick()
    band.roll(1.0)
    waiting = [strike for strike in band.strikes if strike[0] < 8.0 - EARLY]
    think = Drummer.bar

    def slowly(self: Drummer, number: int, *given: object) -> object:
        if number == 1:
            assert [strike for strike in band.strikes if strike[0] < 8.0 - EARLY] == waiting
        return think(self, number, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Drummer, "bar", slowly)
    drummers.set(0, "density", 0.9)
    drummers.tick()
    assert [strike for strike in band.strikes if strike[0] < 8.0 - EARLY] != waiting
    assert drummers.plays(0)
    monkeypatch.undo()
    then = list(band.strikes)
    drummers.set(0, "density", 0.1)
    band.room = False
    drummers.tick()
    assert band.strikes == then
    band.room = True
    drummers.tick()
    assert band.strikes != then and max(beat for beat, _, _ in band.strikes) > 8.0


def test_swing_moves_what_was_already_thought_of_and_nothing_else(made: Made) -> None:
    band, drummers, bars = made
    drummers.start(0)
    drummers.tick()
    drummers.set(0, "swing", 0.5)
    drummers.tick()
    assert same(band.strikes, bars(0, AHEAD + 1, swing=0.5))
    assert not same(band.strikes, bars(0, AHEAD + 1))


def test_to_stop_takes_what_waits_and_to_play_again_plays_the_same(made: Made) -> None:
    band, drummers, bars = made
    drummers.start(0)
    drummers.tick()
    band.roll(9.0)
    drummers.tick()
    band.at = Transport(False, 9.0, 120.0)
    drummers.tick()
    assert same(band.strikes, bars(0, AHEAD + 1))
    drummers.stop(0)
    drummers.tick()
    assert band.strikes == []


def test_who_goes_back_to_the_start_hears_it_again(made: Made) -> None:
    band, drummers, bars = made
    drummers.start(0)
    drummers.tick()
    band.roll(9.0)
    drummers.tick()
    band.roll(0.0)
    drummers.tick()
    assert same(band.strikes, bars(0, AHEAD + 1))


def test_a_jump_beyond_what_was_thought_of_is_followed(made: Made) -> None:
    band, drummers, _ = made
    drummers.start(0)
    drummers.tick()
    band.roll(100.0)
    drummers.tick()
    beats = [beat for beat, _, _ in band.strikes]
    assert min(beats) >= 100.0
    assert max(beats) > 104.0


def test_started_while_the_transport_runs_it_begins_with_the_next_bar(made: Made) -> None:
    band, drummers, _ = made
    band.roll(5.0)
    drummers.start(0)
    drummers.tick()
    assert 8.0 - 0.125 <= min(beat for beat, _, _ in band.strikes) < 9.5


def test_what_finds_no_room_in_the_engine_is_sent_later(made: Made) -> None:
    band, drummers, bars = made
    band.room = False
    drummers.start(0)
    drummers.tick()
    assert band.strikes == []
    band.room = True
    drummers.tick()
    assert same(band.strikes, bars(0, AHEAD + 1))


def test_what_waits_for_room_is_not_thought_of_again(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    band, drummers, bars = made
    thought: list[int] = []
    think = Drummer.bar

    def count(self: Drummer, number: int, *given: object) -> object:
        thought.append(number)
        return think(self, number, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Drummer, "bar", count)
    band.room = False
    drummers.start(0)
    for _ in range(5):
        drummers.tick()
    assert thought == [0]
    drummers.set(0, "density", 0.9)
    drummers.tick()
    band.room = True
    drummers.tick()
    assert thought == [0, 0, 1, 2]
    monkeypatch.undo()
    assert same(band.strikes, bars(0, AHEAD + 1, density=0.9))


def test_one_that_stumbles_is_off_and_the_others_play(
    made: Made, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    band, drummers, _ = made
    think = Drummer.bar

    def stumble(self: Drummer, *given: object) -> object:
        if self.stream == 0:
            raise RuntimeError("no sticks")
        return think(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Drummer, "bar", stumble)
    drummers.start(0)
    drummers.start(1)
    for _ in range(3):
        drummers.tick()
    assert [drummers.plays(0), drummers.plays(1)] == [False, True]
    assert band.strikes
    assert caplog.text.count("the drummer of voice 1 is off") == 1


def test_strikes_that_were_thought_of_while_a_voice_was_freed_are_taken_back(made: Made) -> None:
    band, drummers, _ = made
    drummers.start(0)
    drummers.forget(0)
    band.strikes = [(8.0, "kick", 0.5)]  # sent after the engine had forgotten the voice
    drummers.tick()
    assert band.strikes == []


def test_drummers_of_two_voices_play_differently(made: Made) -> None:
    band, drummers, _ = made
    drummers.start(0)
    drummers.tick()
    one = list(band.strikes)
    drummers.start(1)
    drummers.tick()
    assert not same(one, band.strikes[len(one) :])
    drummers.forget(1)
    drummers.tick()


def test_a_drummer_that_cannot_be_read_is_off_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    band = Band()
    drummers = Drummers(
        band,  # type: ignore[arg-type]
        lambda: 4.0,
        lambda: load_drummer(tmp_path / "none.onnx"),
        alone=False,
    )
    drummers.start(0)
    drummers.tick()
    assert "No such file" in caplog.text
    assert band.strikes == []


def test_addresses_set_ask_and_tell(dispatcher: Dispatcher, client: Client) -> None:
    told = dispatcher.session.drummers
    client.say("/ghost/voice/1/drummer/style", "jazz:1,funk:2")
    client.say("/ghost/voice/1/drummer/fill", 4)
    client.say("/ghost/voice/1/drummer/start")
    told.tick()
    assert told.plays(0)
    assert not told.plays(1)
    assert client.value("/ghost/voice/1/drummer/style") == ("jazz:1,funk:2",)
    assert client.value("/ghost/voice/1/drummer/playing") == (True,)
    (fail,) = client.say("/ghost/voice/1/drummer/style", "polka")
    assert "unknown style 'polka'; there are" in str(fail)
    (fail,) = client.say("/ghost/voice/1/drummer/style", ",".join(["funk"] * 99))
    assert "style of over 200 characters" in str(fail)
    client.say("/ghost/voice/*/drummer/playing", 0)
    told.tick()
    assert not told.plays(0)
    assert client.value("/ghost/voice/1/drummer/playing") == (False,)
    (done,) = client.slow("/ghost/drummer/styles")
    assert "jazz/swing" in done


def test_a_freed_voice_leaves_no_drummer(dispatcher: Dispatcher, client: Client) -> None:
    client.say("/ghost/voice/2/drummer/density", 0.9)
    client.say("/ghost/voice/2/drummer/start")
    client.say("/ghost/voice/2/free")
    dispatcher.session.drummers.tick()
    assert not dispatcher.session.drummers.plays(1)


def test_the_state_tells_that_a_drummer_plays_and_a_preset_does_not(
    dispatcher: Dispatcher, client: Client
) -> None:
    client.say("/ghost/voice/1/drummer/start")
    client.say("/ghost/voice/1/drummer/density", 0.75)
    preset, state = capture(dispatcher.session, ()), capture(dispatcher.session, (), playing=True)
    assert preset.voices[0].settings["drummer/density"] == (0.75,)
    assert "drummer/playing" not in preset.voices[0].settings
    client.say("/ghost/voice/1/drummer/stop")
    put(dispatcher.session, preset)
    assert client.value("/ghost/voice/1/drummer/playing") == (False,)
    put(dispatcher.session, state)
    assert client.value("/ghost/voice/1/drummer/playing") == (True,)
