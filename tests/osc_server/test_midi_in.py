"""MIDI notes and clock over JACK's MIDI, from a program of its own, into a server."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.inference.model_file import save_model
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES
from ghostnote.osc_server.commands import Command, Op
from ghostnote.osc_server.midi_in import (
    LATEST_SECONDS,
    LOOK_SECONDS,
    ArrivalTimes,
    Message,
    MidiInput,
    MidiTriggers,
)
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.sink import SinkOptions
from ghostnote.osc_server.sync_midi import MidiClock
from tests.osc_server.live import running
from tests.osc_server.midi_host import midi_machine
from tests.osc_server.steady_model import SHORT, SPEC, steady_weights
from tests.osc_server.waiting import until
from tests.parts import JackServer, jack_server, need_module

jack = need_module("jack")
# There are Pythons without a ready-made one (see the Makefile), on CI too.
pytest.importorskip("rtmidi", exc_type=ImportError)


@given(
    steps=st.lists(st.tuples(st.floats(0.001, 0.1), st.floats(0, 0.02)), min_size=2, max_size=60)
)
def test_arrival_times_do_not_depend_on_when_we_looked(steps: list[tuple[float, float]]) -> None:
    times, arrived, taken = ArrivalTimes(), 100.0, 100.0
    times.of(0.0, arrived)  # this one was taken at once
    errors = []
    for since_last, late in steps:
        arrived += since_last
        taken = max(taken, arrived + late)
        errors.append(times.of(since_last, taken) - arrived)
        assert -1e-9 <= errors[-1] <= taken - arrived + 1e-9
    # All that is left is what it allows for clocks that drift.
    if max(late for _, late in steps) < LATEST_SECONDS / 2:
        drifted = 1e-4 * sum(step for step, _ in steps)
        assert max(errors) <= drifted + 1e-9 or taken - arrived > LATEST_SECONDS


def test_stamps_that_make_no_sense_are_not_believed() -> None:
    times = ArrivalTimes()
    assert times.of(5.0, 10.0) == 10.0
    assert times.of(3.0, 10.5) == 10.5  # it cannot come later than it was taken
    assert times.of(0.001, 12.0) == 12.0  # nor lie for a second
    assert times.of(float("nan"), 13.0) == 13.0
    assert times.of(-1.0, 14.0) == 14.0


def test_notes_are_drums_and_channels_are_voices() -> None:
    sent: list[Command] = []

    def submit(commands: list[Command], frame: int) -> bool:
        sent.extend(commands)
        return True

    triggers = MidiTriggers(submit, lambda: [0, 2])  # type: ignore[arg-type]
    for message in ([0x99, 36, 127], [0x91, 38, 64], [0x99, 42, 1], [0x9F, 51, 127]):
        triggers(message, 0.0)
    kick, snare, hat, ride = (ROLES.index(r) for r in ("kick", "snare", "hat", "ride"))
    assert sent == [
        Command(Op.TRIG, 0, kick, 1.0),
        Command(Op.TRIG, 2, kick, 1.0),
        Command(Op.TRIG, 1, snare, 64 / 127),
        Command(Op.TRIG, 0, hat, 1 / 127),
        Command(Op.TRIG, 2, hat, 1 / 127),
        Command(Op.TRIG, 15, ride, 1.0),
    ]
    sent.clear()
    others: list[Message] = [
        [0x99, 36, 0], [0x89, 36, 64], [0x99, 36], [0x99, 100, 90], [0xB9, 36, 90], [0xF8], [],
        [0x99, 36, 200], [0xF0, *range(100), 0xF7],
    ]  # fmt: skip
    for other in others:
        triggers(other, 0.0)
    assert sent == []


@given(st.lists(st.lists(st.integers(0, 255), max_size=4), max_size=50))
def test_no_bytes_harm_the_clock(messages: list[list[int]]) -> None:
    clock, seconds = MidiClock(), 0.0
    for message in messages:
        seconds += 0.01
        reading = clock.take(message, seconds)
        assert reading is None or reading.beat is None or reading.beat >= 0


def test_a_clock_of_which_half_a_second_is_lost_has_gone_on() -> None:
    clock = MidiClock()
    clock.take([0xFA], 0.0)
    for tick in [*range(100), *range(160, 200)]:
        reading = clock.take([0xF8], tick * 0.02)
    assert reading and reading.beat == pytest.approx(199 / 24)
    assert reading.bpm == pytest.approx(125, abs=0.01)


def connect(source: str, target: str) -> None:
    client = jack.Client("patchbay", no_start_server=True)
    try:
        until(lambda: bool(client.get_ports(target, is_midi=True)), target)
        (port,) = client.get_ports(target, is_midi=True)
        client.connect(source, port)
    finally:
        client.close()


def server_options(tmp_path: Path, midi: str, sync: str = "internal") -> ServerOptions:
    model = tmp_path / "step.onnx"
    save_model(model, SPEC, steady_weights(128, 240, SHORT), {"name": "step"}, {})
    return ServerOptions(
        model=str(model), sink=SinkOptions("null"), port=0, midi=midi, sync=sync, voices=2
    )


def test_notes_strike_drums(jackd: JackServer, tmp_path: Path) -> None:
    with midi_machine() as machine, running(server_options(tmp_path, "machine")) as server:
        taken: list[tuple[Message, float]] = []
        assert server._midi
        server._midi.listeners.append(lambda message, seconds: taken.append((message, seconds)))
        late = []
        for _ in range(20):
            sent = machine.say("note 10 36 100")
            until(lambda: bool(taken), "the note")
            message, arrived = taken.pop()
            assert list(message) == [0x99, 36, 100]
            late.append(arrived - sent)
            time.sleep(0.02)
        until(lambda: float(server.engine.meters()[0, 0]) > 0.25, "its sound")
        assert float(server.engine.meters()[1, 0]) > 0.25
        print(f"\nnote to arrival, ms: {np.round(np.sort(late) * 1e3, 1)}")
        assert min(late) >= 0
        assert np.median(late) < 0.05


def test_the_clock_is_followed(jackd_realtime: JackServer, tmp_path: Path) -> None:
    with running(server_options(tmp_path, "jack:virtual", "midi")) as server, midi_machine() as m:
        connect("machine:out", "ghostnote-midi:ghostnote")
        transport, bpm = server.sync._transport, 123.4
        m.say(f"tempo {bpm}")
        time.sleep(1.0)
        assert not server.engine.rolling
        began = m.say("start")
        until(lambda: server.engine.rolling, "the start")
        time.sleep(5.0)

        def errors(began: float, beat: float, bpm: float) -> np.ndarray:
            found = []
            for _ in range(100):
                place = transport.now()
                heard = place.seconds + transport.output_seconds
                true = beat + (heard - began) * bpm / 60
                found.append((place.beat - true) * 60e3 / bpm)
                time.sleep(0.02)
            return np.array(found)

        off = errors(began, 0.0, bpm)
        print(
            f"\nclock at {bpm}: followed at {server.engine.tempo:.3f}, beat off by median "
            f"{np.median(off):.2f} ms, spread {np.percentile(off, 95) - np.percentile(off, 5):.2f}"
        )
        assert server.engine.tempo == pytest.approx(bpm, abs=0.15)
        # What JACK's MIDI takes on the way, a block or two, is the clock's and cannot be known.
        assert -16 < np.median(off) < 4
        assert np.percentile(off, 95) - np.percentile(off, 5) < 4
        error = server.sync.error_ms
        assert error is not None and abs(error) < 4

        m.say("stop")
        until(lambda: not server.engine.rolling, "the stop")
        m.say("position 34")
        until(lambda: server.engine.beat == 34 / 4, "the song position")
        began = m.say("continue")
        until(lambda: server.engine.rolling, "the continuation")
        assert 8.5 <= server.engine.beat < 9.5
        time.sleep(1.5)
        m.say("tempo 150")
        time.sleep(3.0)
        assert server.engine.tempo == pytest.approx(150, abs=0.5)
        m.say("stop")
        until(lambda: not server.engine.rolling, "the stop")
        began = m.say("start")
        until(lambda: server.engine.rolling, "the start")
        time.sleep(1.5)
        off = errors(began, 0.0, 150.0)
        assert -16 < np.median(off) < 4


def test_a_port_that_goes_away_is_waited_for(
    jackd: JackServer, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[Message] = []
    with caplog.at_level("INFO", "ghostnote.midi"):
        with midi_machine():
            midi = MidiInput("MACHINE")
            midi.listeners.append(lambda message, seconds: taken.append(message))
            midi.start()
        try:
            until(lambda: "is gone" in caplog.text, "the news")
            with midi_machine() as machine:
                until(lambda: "is back" in caplog.text, "the port")
                machine.say("note 10 36 100")
                until(lambda: bool(taken), "a note")
        finally:
            midi.close()


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
@pytest.mark.parametrize("name", ["jack:virtual", "jack:machine"])
def test_a_jack_server_that_goes_away_is_waited_for(
    name: str, killed: bool, jackd: JackServer, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[Message] = []
    with caplog.at_level("INFO", "ghostnote.midi"):
        with midi_machine() as machine:
            midi = MidiInput(name)
            midi.listeners.append(lambda message, seconds: taken.append(message))
            midi.start()
            time.sleep(2.5 * LOOK_SECONDS)  # two looks at a server that is there
            assert not caplog.messages
            if killed:
                jackd.process.kill()
            else:
                jackd.process.terminate()
            jackd.process.wait(20)
            machine.kill()
        try:
            until(lambda: "is gone" in caplog.text, "the news")
            with jack_server(False, name=jackd.name), midi_machine() as machine:
                until(lambda: "is back" in caplog.text, "the port")
                if name == "jack:virtual":
                    connect("machine:out", "ghostnote-midi:ghostnote")
                machine.say("note 10 36 100")
                until(lambda: bool(taken), "a note")
                midi.close()
        finally:
            midi.close()


def test_what_is_missing_is_told_in_one_line(
    jackd: JackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with midi_machine(), pytest.raises(GhostnoteError, match=r"no input port.*machine:out"):
        MidiInput("jack:harmonium")
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "ghostnote-nowhere")
    with pytest.raises(GhostnoteError, match="neither ALSA's sequencer nor a JACK server"):
        MidiInput("jack:machine")
