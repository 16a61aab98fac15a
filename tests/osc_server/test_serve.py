"""`ghostnote serve` as a process: how it starts, plays and ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ghostnote.osc_server.commands import Op
from ghostnote.osc_server.replay import replay
from ghostnote.osc_server.session_log import LogCommand, read_log
from tests.osc_server.live import GHOSTNOTE, client_of, serving
from tests.osc_server.noisy_model import write_noisy
from tests.osc_server.waiting import until


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_noisy(tmp_path_factory.mktemp("model") / "noisy.onnx"))


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `ghostnote serve` to its end."""
    command = [GHOSTNOTE, "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def is_whole(path: Path) -> bool:
    """Whether a WAV file's header tells of all that is in it."""
    content = path.read_bytes()
    return int.from_bytes(content[4:8], "little") + 8 == len(content)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_whole_files(
    model: str, tmp_path: Path, number: signal.Signals
) -> None:
    take, other, log = tmp_path / "take.wav", tmp_path / "other.wav", tmp_path / "session.log"
    arguments = ["--model", model, "--sink", "null", "--record", str(take), "--log", str(log)]
    arguments += ["--recordings", str(tmp_path)]
    with serving(*arguments) as process, client_of(process.port) as client:
        assert client.ask("/ghost/record/start", "other")[0] == "/done"
        client.send("/ghost/voice/1/trig/kick", 0.9)
        until(lambda: soundfile.info(other).frames > 4800, "a recording")
        assert process.end(number) == 0
        assert number.name in process.log
        assert "Traceback" not in process.log
    assert is_whole(take)
    assert is_whole(other)
    sound, rate = soundfile.read(take, dtype="float32")
    assert rate == 48000
    assert sound.std() > 0.01
    again = tmp_path / "again.wav"
    assert replay(log, again) == len(sound)
    np.testing.assert_array_equal(soundfile.read(again, dtype="float32")[0], sound)
    assert not list(tmp_path.glob("*.part"))


def test_quit_ends_it(model: str) -> None:
    with serving("--model", model, "--sink", "null") as process, client_of(process.port) as client:
        assert client.ask("/ghost/quit") == ("/done", "/ghost/quit")
        assert process.process.wait(60) == 0


def test_it_tells_how_to_reach_it(model: str) -> None:
    with serving("--model", model, "--sink", "null") as process:
        text = "\n".join(process.lines)
        for word in (
            "noisy",
            "24000 Hz",
            "one, two",
            "int8",
            "null",
            "latency",
            "udp://127.0.0.1:",
        ):
            assert word in text
        assert process.port > 1023


def test_a_file_has_exactly_the_frames_and_the_demo_plays_at_once(tmp_path: Path) -> None:
    """The bundled model: its first kick is at the beginning, and twice the same bits."""
    sounds = []
    for name in ("one.wav", "two.wav"):
        out = tmp_path / name
        done = serve("--sink", f"file:{out}", "--seconds", "2", "--demo", "--port", "0")
        assert done.returncode == 0, done.stderr
        assert is_whole(out)
        sound, rate = soundfile.read(out, dtype="float32")
        assert (sound.shape, rate) == ((96000, 2), 48000)
        sounds.append(sound)
    assert np.abs(sounds[0][:4800]).max() > 0.05
    np.testing.assert_array_equal(sounds[0], sounds[1])


def test_seconds_end_a_recording_to_the_frame(model: str, tmp_path: Path) -> None:
    take = tmp_path / "take.wav"
    arguments = ["--model", model, "--sink", "null", "--port", "0", "--samplerate", "44100"]
    assert serve(*arguments, "--seconds", "0.5", "--record", str(take)).returncode == 0
    assert soundfile.info(take).frames == 22050


def test_the_demo_goes_on_live(model: str, tmp_path: Path) -> None:
    with (
        serving("--model", model, "--sink", "null", "--demo") as process,
        client_of(process.port) as client,
    ):
        client.send("/ghost/get", "/ghost/voice/1/drummer/playing")
        assert client.expect("/ghost/voice/1/drummer/playing")[1] is True
        client.send("/ghost/status")
        active = client.expect("/ghost/status.reply")
        assert active[1:3] == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["--sink", "drum"], 2, "--sink"),
        (["--voices", "0"], 1, "voices"),
        (["--sink", "null", "--seconds", "-1"], 1, "--seconds"),
        (["--sink", "file:x.wav"], 1, "--seconds"),
        (["--sink", "file:no/such/folder/x.wav", "--seconds", "1"], 1, "no folder"),
        (["--port", "70000"], 1, "--port"),
        (["--bind", "everywhere"], 1, "--bind"),
        (["--model", "no-such-model"], 1, "no-such-model"),
        (["--model", __file__], 1, "not an ONNX file"),
        (["--sink", "null", "--samplerate", "44101"], 1, "44101"),
        (["--sink", "null", "--log", "no/such/folder/a.log"], 1, "--log"),
        (["--sink", "null", "--record", "no\0pe.wav"], 1, "--record"),
        (["--ring", "-1"], 1, "--ring"),
        (["--precision", "int4"], 2, "--precision"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_line(
    model: str, arguments: list[str], status: int, word: str, tmp_path: Path
) -> None:
    if "\0" in arguments[-1]:
        arguments = [*arguments[:-1], str(tmp_path / "a.wav")]
        (tmp_path / "a.wav").touch()  # nothing is overwritten
    if "--model" not in arguments:
        arguments = ["--model", model, *arguments]
    if "--port" not in arguments:
        arguments = ["--port", "0", *arguments]
    done = serve(*arguments)
    told = [line for line in done.stderr.splitlines() if "kernels are compiled" not in line]
    assert done.returncode == status
    assert len(told) == 1, done.stderr
    assert word in told[0]
    assert "defect" not in told[0]


def test_a_port_in_use_is_one_line(model: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        done = serve("--model", model, "--sink", "null", "--port", str(port))
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert str(port) in line
    assert "--port" in line
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs SIGKILL")
def test_what_was_recorded_survives_a_kill(model: str, tmp_path: Path) -> None:
    take, log = tmp_path / "take.wav", tmp_path / "session.log"
    arguments = ["--model", model, "--sink", "null", "--record", str(take), "--log", str(log)]
    with serving(*arguments) as process, client_of(process.port) as client:
        until(lambda: soundfile.info(take).frames > 9600, "a recording")
        client.send("/ghost/voice/1/trig/kick", 0.9)
        until(lambda: _has_hit(log), "a log")
        time.sleep(0.3)
        process.process.kill()
        process.process.wait()
    sound, _ = soundfile.read(take, dtype="float32")
    again = tmp_path / "again.wav"
    frames = min(replay(log, again), len(sound))
    assert frames > 4800
    np.testing.assert_array_equal(
        soundfile.read(again, dtype="float32")[0][:frames], sound[:frames]
    )


def _has_hit(log: Path) -> bool:
    _, entries = read_log(log)
    return any(isinstance(e, LogCommand) and e.command.op is Op.TRIG for e in entries)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_server_resumes(model: str, tmp_path: Path) -> None:
    """Its state is on disk some seconds after every change."""
    state = tmp_path / "state.json"
    arguments = ["--model", model, "--sink", "null", "--state", str(state)]
    with serving(*arguments) as process, client_of(process.port) as client:
        assert client.ask("/ghost/voice/new")[0] == "/done"
        client.send("/ghost/voice/2/gain", -7.0)
        until(lambda: state.exists() and "-7.0" in state.read_text(), "the state file")
        process.end(signal.SIGKILL)
    with serving(*arguments, "--resume") as process, client_of(process.port) as client:
        client.send("/ghost/get", "/ghost/voice/2/gain")
        assert client.expect("/ghost/voice/2/gain") == ("/ghost/voice/2/gain", -7.0)
        assert process.end() == 0
    state.write_text("{")
    with serving(*arguments, "--resume") as process:
        warnings = [line for line in process.log.splitlines() if "damaged" in line]
        assert len(warnings) == 1
        assert str(state) in warnings[0]


@pytest.mark.skipif(sys.platform == "win32", reason="XDG is not of Windows")
def test_the_state_is_kept_by_port_in_the_users_folder(model: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = str(other.getsockname()[1])
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    arguments = ["--model", model, "--sink", "null", "--port", port]
    with serving(*arguments, environment=environment) as process:
        assert process.end() == 0
    assert (tmp_path / "ghostnote" / f"state-{port}.json").exists()
