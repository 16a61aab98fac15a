"""A server whose voices a GPU plays, by a stand-in: its loss is told, and the session goes on."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ghostnote.cli.main import main
from ghostnote.kernels.mailbox import Layout
from ghostnote.kernels.packing import Packed
from ghostnote.osc_server.gpu_bank import Gpu, Player
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.replay import replay
from ghostnote.osc_server.session_log import read_log
from ghostnote.osc_server.sink import SinkOptions
from tests.osc_server.gpu_stand_in import StandIn
from tests.osc_server.live import client_of, running
from tests.osc_server.noisy_model import write_noisy


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[StandIn]]:
    """What stands in for the GPU of a server; each hangs in its 400th hop, for good."""
    made: list[StandIn] = []

    def opener(packed: Packed, layout: Layout) -> Player:
        made.append(StandIn(packed, layout, (400, 100_000)))
        return made[-1]

    monkeypatch.setattr("ghostnote.osc_server.server.Gpu", lambda: Gpu(opener))
    monkeypatch.setattr("ghostnote.osc_server.gpu_bank.END_SECONDS", 0.2)
    yield made
    for one in made:
        one.release()
        one.close()


def test_a_gpu_lost_in_a_session_is_told_and_the_session_replays_to_the_same_bits(
    stand_ins: list[StandIn],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    write_noisy(models / "first.onnx")
    write_noisy(models / "other.onnx", seed=9)
    log, live = tmp_path / "session.log", tmp_path / "live.wav"
    options = ServerOptions(
        model=str(models / "first.onnx"),
        sink=SinkOptions("null", samplerate=48000),
        ring=4096,
        voices=2,
        seed=7,
        port=0,
        record=live,
        log=log,
        models=models,
        precision="fp32",
        backend="gpu",
    )
    with (
        caplog.at_level(logging.WARNING),
        running(options) as server,
        client_of(server.udp.port) as client,
    ):
        client.send("/ghost/notify", 1)
        client.send("/ghost/voice/1/trig/kick", 0.9)
        assert client.ask("/ghost/voice/new", "other")[0] == "/done"
        told = client.expect("/ghost/backend")
        client.send("/ghost/voice/*/trig/hat", 0.7)
        client.send("/ghost/voice/1/reset")
        assert client.ask("/ghost/model/load", "other", 1)[0] == "/done"
        client.synced()
    assert "the CPU play" in str(told[1])
    assert "not answer in time" in caplog.text
    gpu = server.engine.gpu
    assert gpu is not None
    assert gpu.hops > 0
    assert gpu.misses >= 1
    assert stand_ins
    assert json.loads(log.read_text().splitlines()[0])["backend"] == "gpu"

    replay(log, tmp_path / "again.wav", [models])
    found, expected = soundfile.read(tmp_path / "again.wav")[0], soundfile.read(live)[0]
    np.testing.assert_array_equal(found, expected)
    header, _ = read_log(log)
    assert "played on a GPU" in header.inexact
    assert (
        main(["replay", str(log), "--out", str(tmp_path / "x.wav"), "--models", str(models)]) == 0
    )
    assert "played on a GPU" in capsys.readouterr().err
