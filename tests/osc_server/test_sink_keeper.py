"""A device that goes and comes back: the sound goes on, the state stays, and it is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from ghostnote.inference.model_file import save_model
from ghostnote.osc_server import sink_keeper
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.ring import XRUNS, FrameRing
from ghostnote.osc_server.sink import SinkError, SinkOptions
from ghostnote.osc_server.sink_keeper import SinkKeeper
from ghostnote.osc_server.sink_null import NullSink
from tests.osc_server.live import client_of, running, serving
from tests.osc_server.steady_model import SHORT, SPEC, steady_weights
from tests.osc_server.waiting import until
from tests.parts import JackServer, jack_server, need_module

jack = need_module("jack")


class Card(NullSink):
    """A device that can be pulled, and that may open and yet not start."""

    name = "jack"

    def __init__(self, starts: bool = True) -> None:
        super().__init__(SinkOptions("null", blocksize=64))
        self.starts, self.pulled, self.closed = starts, False, False

    def start(self, ring: FrameRing) -> None:
        if not self.starts:
            raise SinkError("its ports are not there")
        super().start(ring)

    def close(self) -> None:
        super().close()
        self.closed = True

    def failure(self) -> str | None:
        return "the card is gone" if self.pulled else None


@contextmanager
def kept(
    ring: FrameRing, told: list[str], monkeypatch: pytest.MonkeyPatch, *later: Card
) -> Iterator[tuple[SinkKeeper, Card]]:
    """A card that plays, and its keeper, who will find those of `later`."""
    cards = iter(later)
    monkeypatch.setattr(sink_keeper, "choose_sink", lambda options: (next(cards), ""))
    card = Card()
    keeper = SinkKeeper(card, SinkOptions(), told.append, knock_seconds=0.01)
    card.start(ring)
    try:
        yield keeper, card
    finally:
        keeper.close()


def test_what_opens_and_does_not_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, told, later = FrameRing(64), list[str](), (Card(False), Card(False), Card())
    gone = "the card is gone; playing on to the null sink"
    refused = "jack is back, but its ports are not there; playing on to the null sink"

    def go_on() -> None:
        before = ring.callbacks
        until(lambda: ring.callbacks > before + 10, "frames that are taken")

    with kept(ring, told, monkeypatch, *later) as (keeper, card):
        card.pulled = True
        for one in later:
            go_on()

            def tried(one: Card = one) -> bool:
                return keeper.tick(ring) is None and (one.closed or keeper.sink is one)

            until(tried, "another try")
        assert told == [gone, refused, f"jack is back: {later[-1].describe()}"]
        assert keeper.sink is later[-1] and card.closed
        go_on()


def test_xruns_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, later = FrameRing(64), (Card(), Card())
    with kept(ring, [], monkeypatch, *later) as (keeper, card):
        ring.header[XRUNS] = 5
        for one in later:
            card.pulled = True

            def back(one: Card = one) -> bool:
                return keeper.tick(ring) is None and keeper.sink is one

            until(back, "the next card")
            card = one
    assert keeper.xruns() == ring.xruns >= 5


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_jack_goes_and_comes_back(killed: bool, jackd: JackServer, tmp_path: Path) -> None:
    model, take = tmp_path / "step.onnx", tmp_path / "take.wav"
    save_model(model, SPEC, steady_weights(128, 240, SHORT), {"name": "step"}, {})
    arguments = ["--model", str(model), "--sink", "jack", "--record", str(take), "--demo"]
    with serving(*arguments) as process, client_of(process.port) as client:
        client.ask("/ghost/notify", 1)
        client.send("/ghost/tempo", 97.0)
        if killed:
            jackd.process.kill()
        else:
            jackd.process.terminate()
        jackd.process.wait(20)
        until(lambda: "null sink" in process.log, "a word about it")
        assert "gone away" in str(client.expect("/ghost/sink")[1])
        frames = soundfile.info(take).frames
        until(lambda: soundfile.info(take).frames > frames + 48000, "more sound")
        with jack_server(False, name=jackd.name):
            assert "jack is back" in str(client.expect("/ghost/sink")[1])
            frames = soundfile.info(take).frames
            until(lambda: soundfile.info(take).frames > frames + 48000, "sound in JACK")
            client.send("/ghost/get", "/ghost/tempo")
            assert client.expect("/ghost/tempo") == ("/ghost/tempo", 97.0)
            assert process.end() == 0
        assert "Traceback" not in process.log


def test_a_server_of_another_rate_is_not_taken(jackd: JackServer, tmp_path: Path) -> None:
    arguments = ["--sink", "jack", "--demo"]
    with serving(*arguments) as process:
        jackd.process.terminate()
        jackd.process.wait(20)
        until(lambda: "null sink" in process.log, "a word about it")
        with jack_server(False, samplerate=44100, name=jackd.name):
            until(lambda: "44100 Hz" in process.log, "why JACK is not taken")
            assert process.end() == 0


@contextmanager
def inputs(client_name: str) -> Iterator[None]:
    """A JACK client of that name with two inputs, as a DAW has them."""
    client = jack.Client(client_name, no_start_server=True)
    try:
        client.inports.register("left")
        client.inports.register("right")
        client.activate()
        yield
    finally:
        client.close(ignore_errors=True)


def test_ports_that_come_later_are_waited_for(jackd: JackServer, tmp_path: Path) -> None:
    take = tmp_path / "take.wav"
    arguments = ["--sink", "jack", "--device", "daw:.*", "--record", str(take), "--demo"]
    with inputs("daw"):
        started = serving(*arguments)
        process = started.__enter__()
        jackd.process.terminate()
        jackd.process.wait(20)
    try:
        until(lambda: "null sink" in process.log, "a word about it")
        with jack_server(False, name=jackd.name):
            until(lambda: "back, but" in process.log, "why JACK is not taken yet")
            assert "no input port" in process.log
            frames = soundfile.info(take).frames
            until(lambda: soundfile.info(take).frames > frames + 96000, "sound all the same")
            assert "is back: " not in process.log and process.log.count("back, but") == 1
            with inputs("daw"):
                until(lambda: "is back: " in process.log, "JACK")
                probe = jack.Client("probe", no_start_server=True)
                (source,) = probe.get_all_connections("daw:left")
                probe.close()
                assert source.name == "ghostnote:out_1"
            assert process.end() == 0
        assert "Traceback" not in process.log
    finally:
        started.__exit__(None, None, None)


def test_a_larger_block_of_jack_is_met_by_a_longer_ring(jackd: JackServer, tmp_path: Path) -> None:
    model = tmp_path / "step.onnx"
    save_model(model, SPEC, steady_weights(128, 240, SHORT), {"name": "step"}, {})
    options = ServerOptions(model=str(model), sink=SinkOptions("jack"), port=0, http=False)
    with running(replace(options, demo=True)) as server, client_of(server.udp.port) as client:
        client.ask("/ghost/notify", 1)
        ring, before = server.engine.ring, server.latency_seconds
        until(lambda: ring.callbacks > 100, "sound")
        probe = jack.Client("probe", no_start_server=True)
        probe.blocksize = 1024
        probe.close()
        line = str(client.expect("/ghost/sink")[1])
        assert "1024 frames at once" in line and "\n" not in line
        assert server.engine.target > 1024
        until(lambda: ring.fill > 1024, "a fuller ring")
        underruns, callbacks = ring.underruns, ring.callbacks
        time.sleep(2.0)
        assert ring.callbacks > callbacks + 50
        assert ring.underruns - underruns < 5  # a machine may be late; each of 94 was
        assert server.latency_seconds > before + 2 * 768 / 48000
        client.send("/ghost/status")
        latency = client.expect("/ghost/status.reply")[10]
        assert latency == pytest.approx(1e3 * server.latency_seconds)
