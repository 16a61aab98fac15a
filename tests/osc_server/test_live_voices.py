"""A whole server, its voices, files and state over real UDP, with the engine that plays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.protocol import TABLE
from ghostnote.osc_server.reference import example
from ghostnote.osc_server.server import Server
from ghostnote.osc_server.sink import SinkOptions
from tests.osc_server.live import Client, client_of, running
from tests.osc_server.noisy_model import write_noisy
from tests.osc_server.waiting import until


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_noisy(folder / "noisy.onnx")
    write_noisy(folder / "other.onnx", seed=9)
    return folder


def options(models: Path, root: Path, **more: object) -> ServerOptions:
    settings = {
        "model": str(models / "noisy.onnx"),
        "sink": SinkOptions("null", channels=4),
        "voices": 2,
        "port": 0,
        "outputs": 2,
        "models": models,
        "recordings": root / "recordings",
        "presets": root / "presets",
        "primes": root / "primes",
    }
    return ServerOptions(**(settings | more))  # type: ignore[arg-type]


@pytest.fixture
def server(models: Path, tmp_path: Path) -> Iterator[Server]:
    with running(options(models, tmp_path)) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with client_of(server.udp.port) as client:
        yield client


def test_voices_come_play_and_go(server: Server, client: Client) -> None:
    assert client.ask("/ghost/voice/new", "other") == ("/done", "/ghost/voice/new", 3)
    assert client.ask("/ghost/voice/new", "", 8) == ("/done", "/ghost/voice/new", 8)
    until(lambda: server.engine.active == 4, "four voices")
    client.send("/ghost/notify/meters", 1, 30.0)
    peak = client.expect("/ghost/meter", 3)[2]
    while not peak:
        peak = client.expect("/ghost/meter", 3)[2]
    client.send("/ghost/voice/3/free")
    assert client.expect("/ghost/voice/3/state") == ("/ghost/voice/3/state", "free")
    assert client.ask("/ghost/voice/new", "noisy", 3) == ("/done", "/ghost/voice/new", 3)
    until(lambda: server.engine.active == 4, "voice 3 again")
    client.send("/ghost/voice/*/free")
    until(lambda: server.engine.active == 0, "silence")
    assert not any(map(server.engine.exists, range(16)))


def test_hundred_voices_made_and_freed(server: Server, client: Client) -> None:
    for _ in range(100):
        assert client.ask("/ghost/voice/new", "", 5) == ("/done", "/ghost/voice/new", 5)
        client.send("/ghost/voice/5/trig/kick", 1.0)
        client.send("/ghost/voice/5/free")
    client.send("/ghost/status")
    assert client.expect("/ghost/status.reply")[1] in (2, 3)
    assert server.engine.dropped == 0


def test_record_grab_and_prime(server: Server, client: Client, tmp_path: Path) -> None:
    assert client.ask("/ghost/record/start", "voice", 2)[0] == "/done"
    assert client.ask("/ghost/record/start", "all")[0] == "/done"
    client.send("/ghost/voice/2/trig/kick", 1.0)
    client.answers(0.3)
    assert client.ask("/ghost/record/stop", 2)[2].endswith("voice.wav")  # type: ignore[union-attr]
    assert client.ask("/ghost/record/stop")[2].endswith("all.wav")  # type: ignore[union-attr]
    voice, rate = soundfile.read(tmp_path / "recordings" / "voice.wav")
    assert (rate, voice.ndim) == (24000, 1)
    assert voice.std() > 0.001
    assert soundfile.info(tmp_path / "recordings" / "all.wav").channels == 4
    client.send("/ghost/record/format", "24")
    client.send("/ghost/tempo", 1000.0)
    until(lambda: server.engine.tempo == 1000.0, "the tempo")
    client.answers(0.8)  # three bars of it: the one in which it changed is longer
    answer = client.ask("/ghost/record/grab", 0.25, "bar")
    assert answer[0] == "/done", answer
    info = soundfile.info(str(answer[2]))
    assert (info.subtype, info.frames) == ("PCM_24", 2880)
    (tmp_path / "primes").mkdir()
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 24000)
    soundfile.write(tmp_path / "primes" / "noise.wav", noise, 24000)
    assert client.ask("/ghost/voice/1/prime", "noise.wav")[0] == "/done"
    assert client.ask("/ghost/voice/1/prime", "../all.wav")[0] == "/fail"


def test_a_whole_restart(models: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    first = running(options(models, tmp_path, state=state))
    with first as server, client_of(server.udp.port) as client:
        client.ask("/ghost/voice/new", "other", 5)
        client.send("/ghost/voice/2/free")
        client.send("/ghost/voice/5/out", 2)
        client.send("/ghost/voice/5/seed", 11)
        client.send("/ghost/voice/5/weights", 0.25, 0.5)
        client.send("/ghost/tempo", 77.0)
        client.send("/ghost/quantum", 2.0)
        client.send("/ghost/pattern/5", "kick", "x.X." * 16)
        client.send("/ghost/play")
        until(lambda: server.engine.rolling, "the transport")
        client.synced()
        before = dict(server.dispatcher.session.values)
    saved = json.loads(state.read_text())
    assert saved["transport"]["rolling"]
    with running(options(models, tmp_path, state=state, resume=True)) as server:
        assert server.dispatcher.session.values == before
        until(lambda: server.engine.rolling, "the transport")
        until(lambda: not server.engine.exists(1), "voice 2 to be gone")
        assert server.engine.tempo == 77.0
        assert [v for v in range(16) if server.engine.exists(v)] == [0, 4]
        with client_of(server.udp.port) as client:
            client.send("/ghost/state")
            told = json.loads(str(client.expect("/ghost/state.reply")[1]))
    assert told["voices"] == saved["voices"]
    assert told["settings"] == saved["settings"]


def test_a_preset_of_many_full_patterns_is_taken_whole(server: Server, client: Client) -> None:
    """More commands than the engine's queue has room for."""
    for number in range(3, 17):
        assert client.ask("/ghost/voice/new", "", number)[0] == "/done"
    for role in ("kick", "hat", "open", "snare", "clap"):
        for number in range(1, 17):
            client.send(f"/ghost/pattern/{number}/{role}", "x1X2" * 16)
        client.synced()
    before = dict(server.dispatcher.session.values)
    assert client.ask("/ghost/preset/save", "full")[0] == "/done"
    client.send("/ghost/pattern/*/clear")
    client.synced()
    assert client.ask("/ghost/preset/load", "full")[0] == "/done"
    assert server.dispatcher.session.values == before
    assert server.engine.dropped == 0


def test_every_example_of_the_table_is_taken(models: Path, tmp_path: Path) -> None:
    """By a server that plays the bundled model, which the examples load."""
    asked = replace(options(models, tmp_path), model=None)
    with running(asked) as server, client_of(server.udp.port) as client:
        every_example(server, client, tmp_path)


def every_example(server: Server, client: Client, tmp_path: Path) -> None:
    """Sends the examples; all but one are taken."""
    (tmp_path / "primes").mkdir()
    soundfile.write(tmp_path / "primes" / "break.wav", np.zeros(24000), 24000)
    assert client.ask("/ghost/preset/save", "chorus")[0] == "/done"
    refused = []
    for endpoint in sorted(TABLE, key=lambda endpoint: endpoint.address == "/ghost/preset/delete"):
        if endpoint.address in ("/ghost/quit", "/ghost/render", "/ghost/render/cancel"):
            continue
        client.send(example(endpoint), *endpoint.example)
        if endpoint.address == "/ghost/voice/{V}/free":
            client.expect("/ghost/voice/1/state", "free")
            assert client.ask("/ghost/voice/new", "", 1)[0] == "/done"
        client.send("/ghost/sync", 1000)
        while (answer := client.expect()) != ("/ghost/synced", 1000):
            if answer[0] == "/fail":
                refused.append(answer[1:])
    ((address, reason),) = refused  # four bars have not been played yet
    assert address == "/ghost/record/grab"
    assert "grab fewer bars" in str(reason)
    assert server.engine.dropped == 0
