"""JACK's transport as the source of the beat: a real jackd, a real host with its own process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ghostnote.inference.model_file import save_model
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.sync import Reading
from ghostnote.osc_server.sync_jack import JackTransport, _MeterTempo
from tests.osc_server.jack_capture import capture
from tests.osc_server.jack_host import Watch, jack_host
from tests.osc_server.latency import find_onsets
from tests.osc_server.live import client_of, serving
from tests.osc_server.steady_model import SHORT, SPEC, steady_weights
from tests.osc_server.waiting import until
from tests.parts import JackServer, jack_server, need_module, unfit

need_module("jack")

TICK = 60 / 97.5 / 1920
HOP = 0.001


@contextmanager
def readings() -> Iterator[list[Reading]]:
    """What a source hands over while it runs."""
    heard: list[Reading] = []
    source = JackTransport()
    source.start(heard.append)
    try:
        yield heard
    finally:
        source.stop()


def test_bars_beats_and_tempo_are_read_to_the_tick(jackd: JackServer) -> None:
    with jack_host(97.5) as host, readings() as heard:
        until(lambda: bool(heard) and heard[-1].bpm == 97.5, "the host's tempo")
        assert heard[-1].rolling is False and heard[-1].beats_per_bar == 4
        # The third beat of the second bar.
        host.say(f"locate {round(6 * 60 / 97.5 * 48000)}")
        until(lambda: heard[-1].beat == pytest.approx(6, abs=2 / 1920), "the new place")
        host.say("start")
        until(lambda: heard[-1].rolling is True, "the start")
        time.sleep(1.5)
        host.say("stop")
        until(lambda: heard[-1].rolling is False, "the stop")
    rolling = [r for r in heard if r.rolling]
    assert len(rolling) > 30
    seconds = np.array([r.seconds for r in rolling])
    beats = np.array([r.beat for r in rolling], float)
    assert beats[0] >= 6 - 2 / 1920
    # However late we asked: the time told is that of the beat. (Half of them, since a dummy server
    # that is itself not served in time leaves time out.)
    off = (beats - 6) * 60 / 97.5 - seconds
    assert np.median(np.abs(off - np.median(off))) < 2 * TICK
    stood = [r.beat for r in heard if r.rolling is False][-1]
    assert stood is not None and stood >= beats[-1]


def test_without_a_host_only_time_is_told(jackd: JackServer) -> None:
    import jack

    client = jack.Client("mover", no_start_server=True)
    try:
        with readings() as heard:
            client.transport_frame = 24000
            client.transport_start()
            until(lambda: bool(heard) and heard[-1].rolling is True, "the start")
            time.sleep(0.2)
        assert heard[-1].beat is None and heard[-1].bpm is None
        assert heard[-1].position > 0.5
    finally:
        client.transport_stop()
        client.close()


@pytest.mark.parametrize("counts_units", [False, True])
def test_eighths_are_half_quarters_whatever_the_host_calls_its_tempo(counts_units: bool) -> None:
    tempo, quarters = _MeterTempo(), 4 / 8
    told = 240.0 if counts_units else 120.0
    found = [tempo.of(step * 0.02 * 2.0, step * 0.02, told, quarters) for step in range(50)]
    assert found[-1] == 120.0
    assert tempo.of(3.0, None, told, quarters) == 120.0  # it stands, and is still known


def test_a_meter_of_eighths_is_told_in_quarters(jackd: JackServer) -> None:
    with jack_host(120, per_bar=6, unit=8) as host, readings() as heard:
        host.say("start")
        until(lambda: bool(heard) and heard[-1].rolling is True, "the start")
        time.sleep(0.8)
        host.say("stop")
    last = [r for r in heard if r.rolling][-1]
    assert (last.bpm, last.beats_per_bar) == (120.0, 3.0)
    first = next(r for r in heard if r.rolling)
    assert first.beat is not None and last.beat is not None
    moved = (last.beat - first.beat) / (last.seconds - first.seconds)
    assert moved == pytest.approx(2.0, rel=0.05)


def test_a_server_that_goes_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import subprocess

    from tests.parts import need

    with jack_server(realtime=False) as server:
        monkeypatch.setenv("JACK_DEFAULT_SERVER", server.name)
        with readings() as heard, caplog.at_level("INFO", "ghostnote.sync"):
            until(lambda: bool(heard), "readings")
            server.process.terminate()
            server.process.wait(20)
            until(lambda: "is gone" in caplog.text, "the news")
            count = len(heard)
            command = [need("jackd"), "-n", server.name, "-p", "64", "--no-realtime"]
            again = subprocess.Popen(
                [*command, "-d", "dummy", "-r", "48000", "-p", "256"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                until(lambda: len(heard) > count, "readings again")
                assert "is back" in caplog.text
            finally:
                again.terminate()
                again.wait(20)


def test_no_server_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "ghostnote-nowhere")
    with pytest.raises(GhostnoteError, match="sync source jack: no JACK server answers") as caught:
        JackTransport().start(lambda reading: None)
    assert "\n" not in str(caught.value)


def test_drums_are_heard_on_the_beats_of_the_host(
    jackd_realtime: JackServer, tmp_path: Path
) -> None:
    """In JACK, by another client: a host at 97.5 bpm that starts in the middle of a bar."""
    model = tmp_path / "step.onnx"
    save_model(model, SPEC, steady_weights(128, 240, SHORT), {"name": "step"}, {})
    beat = 60 / 97.5 * 48000
    with (
        jack_host(97.5) as host,
        serving("--sink", "jack", "--model", str(model), "--sync", "jack") as process,
        client_of(process.port) as client,
        capture("ghostnote:out_1", 40) as kept,
        Watch() as watch,
    ):
        client.send("/ghost/pattern/1/kick", "x...")
        host.say(f"locate {round(6 * beat)}")
        time.sleep(1.0)
        host.say("start")
        time.sleep(10.0)
        places = list(watch.places)
        host.say("stop")
        time.sleep(0.5)
        stopped = len(kept.sound)
        time.sleep(1.5)
        silent = kept.sound[stopped:]
        client.send("/ghost/tempo", 140.0)
        refused = client.expect("/fail", "/ghost/tempo")
        sound, times = kept.sound, kept.seconds_at
        onsets = times(np.array(find_onsets(sound, 48000, 0.25), np.int64))
        log = process.log
    assert "jack" in str(refused[2])
    assert not find_onsets(silent, 48000, 0.25)
    seconds, frames = np.array(places).T
    # When each beat was due, by the nearest place that JACK told.
    numbers = np.arange(np.ceil(frames[0] / beat), np.floor(frames[-1] / beat))
    nearest = np.searchsorted(frames, numbers * beat)
    due = seconds[nearest] + (numbers * beat - frames[nearest]) / 48000
    late = np.array([onsets[np.argmin(abs(onsets - t))] - t for t in due]) * 1e3
    print("\nonset against the host's beat, ms:", np.round(late, 2), log)
    assert numbers[0] == 6 or numbers[0] == 7
    assert len(onsets) >= len(numbers)
    # A dummy driver that is not served in time leaves time out, and the song with it.
    steady = late[3:][kept.wander(due[3:] - 1.0, due[3:] + 0.1) < 5e-4]
    if len(steady) < 4:
        unfit("needs a machine on which jackd's dummy driver keeps its time")
    assert np.median(np.abs(steady)) < 1.5
    assert np.max(np.abs(steady)) < 4
