"""A device that goes and comes back: the sound goes on, the state stays, and it is told."""

from pathlib import Path

import pytest
import soundfile

from ghostnote.inference.model_file import save_model
from tests.osc_server.live import client_of, serving
from tests.osc_server.steady_model import SHORT, SPEC, steady_weights
from tests.osc_server.waiting import until
from tests.parts import JackServer, jack_server

pytest.importorskip("jack")


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
