"""A running server that records, grabs, is primed and renders, as a client asks for it over OSC."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ghostnote.inference.manifest import read_manifest
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.replay import replay
from ghostnote.osc_server.server import Server
from ghostnote.osc_server.sink import SinkOptions
from tests.inference.loop_models import loop_model
from tests.osc_server.live import Client, client_of, running
from tests.osc_server.waiting import until
from tests.osc_server.wav_chunks import chunks, labels, libsndfile_loop

RATE, MODEL_RATE = 48000, 8000
BAR_SECONDS = 0.5


@pytest.fixture
def options(tmp_path: Path) -> ServerOptions:
    for name in ("models", "primes", "recordings"):
        (tmp_path / name).mkdir()
    model = loop_model(tmp_path / "models")
    return ServerOptions(
        model=str(model.path), sink=SinkOptions("null", samplerate=RATE), port=0, http=False,
        record=tmp_path / "all.wav", log=tmp_path / "session.log", models=tmp_path / "models",
        recordings=tmp_path / "recordings", primes=tmp_path / "primes", voices=2,
        presets=tmp_path / "presets",
    )  # fmt: skip


@contextmanager
def played(options: ServerOptions) -> Iterator[tuple[Server, Client]]:
    with running(options) as server, client_of(server.udp.port) as client:
        yield server, client


@pytest.fixture
def server(options: ServerOptions) -> Iterator[Server]:
    with running(options) as found:
        yield found


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with client_of(server.udp.port) as found:
        yield found


def sound(path: str | Path) -> np.ndarray:
    samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
    return np.asarray(samples)


def place_of(part: np.ndarray, whole: np.ndarray) -> int:
    """Returns where in `whole` the frames of `part` are found, bit for bit."""
    starts = np.flatnonzero((whole[: len(whole) - len(part) + 1] == part[0]).all(axis=1))
    return next(int(at) for at in starts if np.array_equal(whole[at : at + len(part)], part))


def roll(client: Client, server: Server, bars: int) -> None:
    """Plays a pattern until so many bars have passed."""
    client.send("/ghost/tempo", 60.0 * 4 / BAR_SECONDS)
    client.send("/ghost/pattern/1", "kick", "x...")
    client.send("/ghost/pattern/2", "hat", "x.")
    client.send("/ghost/play")
    while len(server.engine.bars()) <= bars:
        client.answers(0.05)


def test_recordings_side_by_side_and_a_grab_that_loops(
    server: Server, client: Client, tmp_path: Path
) -> None:
    rolled = ("/done", "/ghost/record/start")
    assert client.ask("/ghost/record/start", "takes/master")[:2] == rolled
    assert client.ask("/ghost/record/start", "one", 1)[:2] == rolled
    client.send("/ghost/record/format", "24")
    assert client.ask("/ghost/record/start", "two.wav", 2)[:2] == rolled
    assert "is being recorded" in str(client.ask("/ghost/record/start", "more", 1)[2])
    roll(client, server, 4)
    client.send("/ghost/voice/1/kit", "two")
    grabbed = client.ask("/ghost/record/grab", 2.0)
    client.send("/ghost/record/format", "float")
    named = client.ask("/ghost/record/grab", 1.0, "mine/bar", 2)
    again = client.ask("/ghost/record/grab", 1.0, "mine/bar")
    assert again[0] == "/fail" and "exists" in str(again[2])
    ends = [client.ask("/ghost/record/stop", voice) for voice in (1, 2)]
    ends.append(client.ask("/ghost/record/stop"))
    assert [end[0] for end in ends] == ["/done"] * 3
    assert client.ask("/ghost/record/stop")[0] == "/fail"

    for end, rate, channels in zip(ends, (MODEL_RATE, MODEL_RATE, RATE), (1, 1, 2), strict=True):
        info = soundfile.info(str(end[2]))
        assert (info.frames, info.samplerate, info.channels) == (end[3], rate, channels)
        loop = libsndfile_loop(Path(str(end[2])))
        assert loop is not None
    assert soundfile.info(str(ends[1][2])).subtype == "PCM_24"
    marked = labels(chunks(Path(str(ends[0][2]))))
    names = [name for _, name in marked]
    assert names[0].startswith("bar 1") and "bar 4" in names
    assert "voice 1: kit two" in names and "voice 1: kit two" in [
        name for _, name in labels(chunks(tmp_path / "recordings" / "takes" / "master.wav"))
    ]
    first, second = (place for place, name in marked if name in ("bar 2", "bar 3"))
    assert second - first == BAR_SECONDS * MODEL_RATE

    # The bits that were heard: the grab lies in what --record took, at the length of its tempo.
    assert grabbed[3] == 2 * BAR_SECONDS * RATE
    loop = libsndfile_loop(Path(str(grabbed[2])))
    assert loop is not None and (loop.bpm, loop.beats) == (480.0, 8)
    assert Path(str(named[2])) == (tmp_path / "recordings" / "mine" / "bar.wav").resolve()
    one_bar = sound(str(named[2]))
    assert one_bar.shape == (BAR_SECONDS * MODEL_RATE, 1) and one_bar.any()


def test_a_grab_is_what_was_heard(options: ServerOptions, tmp_path: Path) -> None:
    with played(options) as (server, client):
        roll(client, server, 5)
        done = client.ask("/ghost/record/grab", 3.0)
        starts = [server.engine.tap_frame(frame) for frame, _ in server.engine.bars()]
    assert done[0] == "/done" and done[3] == 3 * BAR_SECONDS * RATE
    # The very bits, from a bar line on; as early as keeps the strokes of all its lines whole.
    at = place_of(sound(str(done[2])), sound(tmp_path / "all.wav"))
    assert any(start - RATE // 500 <= at <= start for start in starts)


def test_a_voice_that_is_freed_ends_its_recording(server: Server, client: Client) -> None:
    done = client.ask("/ghost/record/start", "two", 2)
    assert done[0] == "/done"
    client.send("/ghost/voice/2/free", 1)
    failure = client.expect("/fail", "/ghost/record/start")
    assert "its voice was freed" in str(failure[2])
    assert soundfile.info(str(done[2])).frames > 0
    assert client.ask("/ghost/record/start", "three", 2)[0] == "/fail"


def test_the_next_voice_of_a_number_is_not_in_the_recording(server: Server, client: Client) -> None:
    client.send("/ghost/voice/2/trig/kick", 1.0)
    done = client.ask("/ghost/record/start", "two", 2)
    time.sleep(0.25)
    engine, born = server.engine, server.engine.voice_born(1)
    client.send("/ghost/voice/2/free", 1)
    assert client.ask("/ghost/voice/new", "", 2) == ("/done", "/ghost/voice/new", 2)
    client.expect("/fail", "/ghost/record/start")
    end = engine.voice_ended(1, born)
    assert end is not None and end <= engine.voice_born(1)
    heard = sound(str(done[2]))
    tap = engine.voice_tap(1)
    wanted = np.zeros((len(heard), 1), np.float32)
    assert tap.read(end - len(heard), wanted) == len(heard)
    assert len(heard) > MODEL_RATE // 5 and wanted.any()
    np.testing.assert_array_equal(heard, wanted)


def test_a_voice_goes_on_from_a_file_and_the_log_replays_it(
    options: ServerOptions, tmp_path: Path
) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 44100).astype(np.float32)
    soundfile.write(tmp_path / "primes" / "noise.flac", noise, 44100)
    with played(options) as (server, client):
        roll(client, server, 1)
        assert client.ask("/ghost/voice/1/prime", "noise.flac")[0] == "/done"
        for name, reason in (("none.wav", "no file"), ("../all.wav", "not allowed")):
            refused = client.ask("/ghost/voice/1/prime", name)
            assert refused[0] == "/fail" and reason in str(refused[2])
        roll(client, server, 3)
    again = tmp_path / "again.wav"
    replay(tmp_path / "session.log", again, [tmp_path / "models"], primes=tmp_path / "primes")
    np.testing.assert_array_equal(sound(tmp_path / "all.wav"), sound(again))
    assert '"prime": "noise.flac"' in (tmp_path / "session.log").read_text()


def test_loops_are_rendered_while_it_plays(server: Server, client: Client, tmp_path: Path) -> None:
    request = {"bars": 1, "bpm": 240, "count": 2, "pattern": "half-time", "out": "loops"}
    client.send("/ghost/render", json.dumps(request))
    assert client.expect("/ghost/render/progress")[1:] == (1, 0.0)
    done = client.expect("/done", "/ghost/render", seconds=120)
    manifest = tmp_path / "recordings" / "loops" / "manifest.json"
    assert done[2:] == (1, str(manifest.resolve()))
    assert [loop.model for loop in read_manifest(manifest)] == ["tiny", "tiny"]  # the server's own
    client.send("/ghost/render", json.dumps({**request, "count": 1000}))
    while client.expect("/ghost/render/progress", seconds=120)[2] == 0.0:
        pass
    assert client.ask("/ghost/render/cancel", 2)[0] == "/done"
    assert "job 2: cancelled" in str(client.expect("/fail", "/ghost/render")[2])
    assert client.ask("/ghost/render/cancel", 2)[0] == "/fail"
    client.send("/ghost/render", '{"out": "../away"}')
    assert "not allowed" in str(client.expect("/fail", "/ghost/render")[2])


def test_a_restart_knows_who_was_stopped(options: ServerOptions, tmp_path: Path) -> None:
    kept = replace(options, record=None, log=None, state=tmp_path / "state.json")
    with played(kept) as (server, client):
        client.send("/ghost/voice/2/stop")
        until(lambda: server.control.voice_state(1) == "idle", "the stop")
        assert client.ask("/ghost/voice/new", "", 4) == ("/done", "/ghost/voice/new", 4)
    with running(replace(kept, resume=True)) as server:
        until(lambda: server.engine.exists(3), "voice 4")
        until(lambda: server.control.voice_state(1) == "idle", "the stop")
        states = [server.control.voice_state(voice) for voice in (0, 1, 3)]
    assert states == ["playing", "idle", "playing"]


def test_a_server_may_be_closed_twice(options: ServerOptions) -> None:
    with running(options) as server:
        pass
    server.close()
