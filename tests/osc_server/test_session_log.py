"""Session logs: what was played live comes again, bit for bit; a damaged log is told in one line."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from ghostnote.cli.main import main
from ghostnote.inference.model_file import load_model
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.commands import COMMAND, Op
from ghostnote.osc_server.encode import encode, encode_bundle
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.osc import ntp_from_unix
from ghostnote.osc_server.replay import replay
from ghostnote.osc_server.session_log import (
    FORMAT,
    LogCommand,
    LogEnd,
    LogHeader,
    LogLoad,
    SessionLog,
    read_log,
)
from ghostnote.osc_server.sink import SinkOptions
from tests.osc_server.live import Client, client_of, running
from tests.osc_server.noisy_model import write_noisy
from tests.osc_server.waiting import until


def sound(path: Path) -> NDArray[np.float32]:
    read, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == 44100
    return np.asarray(read)


def play(client: Client) -> None:
    """A session with something of everything, in about a second and a half."""
    kick, hat = "/ghost/voice/*/trig/kick", "/ghost/voice/1/trig/hat"
    client.send("/ghost/voice/2/gain", -6.0)
    client.send("/ghost/voice/2/pan", 0.7)
    client.send("/ghost/pattern/1", "open", "x.o9")
    client.send("/ghost/tempo", 173.0)
    client.send("/ghost/play")
    for k in range(8):
        client.send(kick, 0.2 + k / 10)
        later = encode_bundle([encode(hat, 0.5)], ntp_from_unix(time.time() + 0.1))
        client.raw(later)
        time.sleep(0.06)
    client.send("/ghost/voice/1/seed", 2**40)
    client.send("/ghost/voice/1/weights", 0.3, 0.7)
    client.send("/ghost/voice/2/temperature", 0.8)
    assert client.ask("/ghost/model/load", "other", 2)[0] == "/done"
    client.send(kick, 1.0)
    client.raw(encode_bundle([encode(kick, 0.9)], ntp_from_unix(time.time() + 20)))
    client.send("/ghost/clearSched")
    client.send(kick, 0.4)
    client.send("/ghost/voice/1/reset")
    client.send("/ghost/tempo", 90.0)
    time.sleep(0.2)
    assert client.ask("/ghost/model/load", "other")[0] == "/done"
    assert client.ask("/ghost/model/load", "first", 1)[0] == "/done"
    assert client.ask("/ghost/voice/new", "other", 4)[0] == "/done"
    assert client.ask("/ghost/voice/new", "first")[0] == "/done"
    client.send("/ghost/voice/3/pan", 0.5)
    client.send("/ghost/beat", 3.9)
    client.send("/ghost/voice/4/hold", 1)
    assert client.ask("/ghost/voice/1/prime", "heard.wav")[0] == "/done"
    client.send("/ghost/voice/3/rewind")
    time.sleep(0.2)
    client.send("/ghost/voice/4/free")
    client.send("/ghost/voice/2/stop")
    client.send("/ghost/stop")
    client.send("/ghost/continue")
    time.sleep(0.2)
    client.send("/ghost/voice/2/play")
    client.send(kick, 0.7)
    time.sleep(0.2)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a session that was played live: session.log, live.wav, models/."""
    folder = tmp_path_factory.mktemp("session")
    models = folder / "models"
    models.mkdir()
    write_noisy(models / "first.onnx")
    write_noisy(models / "other.onnx", seed=9)
    (folder / "primes").mkdir()
    tone = 0.5 * np.sin(np.arange(48000) / 9.0)
    soundfile.write(folder / "primes" / "heard.wav", tone, 44100)
    options = ServerOptions(
        model=str(models / "first.onnx"),
        sink=SinkOptions("null", samplerate=44100),
        voices=2,
        seed=7,
        port=0,
        record=folder / "live.wav",
        log=folder / "session.log",
        models=models,
        primes=folder / "primes",
        precision="bf16",
    )
    with running(options) as server, client_of(server.udp.port) as client:
        play(client)
        assert server.engine.unlogged == 0
    return folder


def test_what_a_drummer_played_live_replays_to_the_same_bits(tmp_path: Path) -> None:
    """Its strokes are the log's; style, tempo and transport change on the way."""
    write_noisy(tmp_path / "first.onnx")
    options = ServerOptions(
        model=str(tmp_path / "first.onnx"),
        sink=SinkOptions("null", samplerate=44100),
        port=0,
        record=tmp_path / "live.wav",
        log=tmp_path / "session.log",
        demo=True,
    )
    with running(options) as server, client_of(server.udp.port) as client:
        client.send("/ghost/tempo", 240.0)
        time.sleep(0.5)
        client.send("/ghost/voice/1/drummer/style", "jazz")
        client.send("/ghost/voice/1/drummer/swing", 0.3)
        time.sleep(1.2)
        client.send("/ghost/stop")
        client.send("/ghost/play")
        time.sleep(0.4)
        client.send("/ghost/voice/1/drummer/stop")
        time.sleep(0.2)
    _, entries = read_log(tmp_path / "session.log")
    ops = [entry.command.op for entry in entries if isinstance(entry, LogCommand)]
    assert ops.count(Op.TRIG) > 20
    assert Op.STRIKE not in ops
    out = tmp_path / "again.wav"
    replay(tmp_path / "session.log", out, [tmp_path])
    live, again = sound(tmp_path / "live.wav"), sound(out)
    np.testing.assert_array_equal(again[: len(live)], live)
    assert live.std() > 0.01


def primes_of(session: Path) -> list[str]:
    return ["--primes", str(session / "primes")]


def test_a_live_session_replays_to_the_same_bits(session: Path, tmp_path: Path) -> None:
    seconds: list[float] = []
    out = tmp_path / "again.wav"
    frames = replay(
        session / "session.log", out, [session / "models"], seconds.append, session / "primes"
    )
    live, again = sound(session / "live.wav"), sound(out)
    assert frames == len(again) > 44100  # `play` sleeps for 1.08 s in all
    assert live.std() > 0.05
    np.testing.assert_array_equal(again, live)
    assert seconds == sorted(seconds)
    assert [path.name for path in tmp_path.iterdir()] == ["again.wav"]
    header, entries = read_log(session / "session.log")
    told = list(entries)
    assert (header.voices, header.seed, header.samplerate) == (2, 7, 44100)
    assert (header.precision, header.inexact) == ("bf16", "")
    did = {entry.command.op for entry in told if isinstance(entry, LogCommand)}
    assert did == set(Op) - {Op.STRIKE, Op.STRIKE_CLEAR}  # logged as the hits that they become
    assert sum(isinstance(entry, LogLoad) for entry in told) == 6
    assert isinstance(told[-1], LogEnd)


def test_the_command_replays(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again.wav"
    models = str(session / "models")
    assert (
        main(
            [
                "replay",
                str(session / "session.log"),
                "--out",
                str(out),
                "--models",
                models,
                *primes_of(session),
            ]
        )
        == 0
    )
    assert str(len(sound(out))) in capsys.readouterr().out
    np.testing.assert_array_equal(sound(out), sound(session / "live.wav"))


def test_a_log_of_before_precision_was_told_replays_in_fp32_and_says_so(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (session / "session.log").read_text().splitlines()
    header = json.loads(lines[0]) | {"ghostnote_log": 1}
    del header["precision"]
    old, plain = tmp_path / "old.log", tmp_path / "plain.log"
    old.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    fp32 = header | {"ghostnote_log": FORMAT, "precision": "fp32"}
    plain.write_text("\n".join([json.dumps(fp32), *lines[1:]]) + "\n")
    for log, told in ((old, True), (plain, False)):
        out, models = str(log.with_suffix(".wav")), str(session / "models")
        assert (
            main(["replay", str(log), "--out", out, "--models", models, *primes_of(session)]) == 0
        )
        assert ("earlier version" in capsys.readouterr().err) == told
    np.testing.assert_array_equal(sound(tmp_path / "old.wav"), sound(tmp_path / "plain.wav"))
    assert (sound(tmp_path / "old.wav") != sound(session / "live.wav")).any()


def test_more_commands_in_one_hop_than_the_queue_holds_are_replayed(tmp_path: Path) -> None:
    """As live some come from the queue, and thousands more that have waited for a line."""
    model = write_noisy(tmp_path / "noisy.onnx")
    log = SessionLog(tmp_path / "log", LogHeader(str(model), load_model(model).sha256, 44100, 1, 7))
    records = np.zeros(9000, COMMAND)
    records["frame"], records["op"] = 480, Op.TEMPERATURE
    records["value"] = np.linspace(0.5, 1.0, len(records))
    log.commands(records)
    log.close(960)
    assert replay(tmp_path / "log", tmp_path / "out.wav") == 1764


@pytest.mark.parametrize("share", [0.8, 0.9, 0.95, 0.999])
def test_a_log_that_was_cut_off_replays_up_to_the_cut(
    session: Path, tmp_path: Path, share: float
) -> None:
    whole = (session / "session.log").read_bytes()
    cut = tmp_path / "cut.log"
    cut.write_bytes(whole[: round(share * len(whole))])
    frames = replay(cut, tmp_path / "again.wav", [session / "models"], primes=session / "primes")
    assert 0 < frames <= len(sound(session / "live.wav"))
    np.testing.assert_array_equal(
        sound(tmp_path / "again.wav"), sound(session / "live.wav")[:frames]
    )


Damage = Callable[[list[str]], object]


def put(number: int, line: str) -> Damage:
    return lambda lines: lines.__setitem__(number - 1, line)


LOAD = '{"slot": 1, "voice": 0, "model": "other", "sha256": "00"}'


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (put(1, "[1, 2]"), "is no ghostnote session log"),
        (put(1, '"text"'), "is no ghostnote session log"),
        (put(1, "{}"), "is no ghostnote session log"),
        (
            put(1, '{"ghostnote_log": 1, "model": "a", "sha256": "", "samplerate": 1e999}'),
            "no ghost",
        ),
        (lambda lines: put(1, lines[0].replace('_log": 4', '_log": 5'))(lines), "another version"),
        (lambda lines: put(1, lines[0].replace('"bf16"', '"int4"'))(lines), "precision 'int4'"),
        (lambda lines: put(1, lines[0].replace("44100", "7"))(lines), "samplerate"),
        (lambda lines: put(1, lines[0].replace('"voices": 2', '"voices": 99'))(lines), "voices"),
        (put(5, "[0, 4, 0"), "line 5: damaged"),
        (put(5, "[" * 4000), "line 5: damaged"),
        (put(5, "1"), "line 5: damaged"),
        (put(5, "null"), "line 5: damaged"),
        (put(5, '{"slot": 1}'), "line 5: damaged"),
        (put(5, "[0, 4, 0, 0]"), "line 5: damaged"),
        (put(5, "[0, 4, 0, 0, 0, 0]"), "line 5: damaged"),
        (put(5, "[0, 99, 0, 0, 0.0]"), "line 5: damaged"),
        (put(5, "[0, 4, 0, 0, NaN]"), "line 5: damaged"),
        (put(5, "[0, 4, 0, 0, 1e999]"), "line 5: damaged"),
        (put(5, "[0, 4, 0, 1e999, 0.0]"), "line 5: damaged"),
        (put(5, f"[0, 4, 0, {2**63}, 0.0]"), "line 5: damaged"),
        (put(5, "[-7, 4, 0, 0, 0.0]"), "line 5: damaged"),
        (put(5, '[0, 4, "a", 0, 0.0]'), "line 5: damaged"),
        (put(5, '[0, 4, 0, 0, "a"]'), "line 5: damaged"),
        (put(5, "[0, 4, 0, 0, 0.0" + " " * 20000 + "]"), "line 5: damaged"),
        (put(5, '{"end": "now"}'), "line 5: damaged"),
        (put(5, "[0, 19, 0, 0, 0.0]"), "frame 0: a model is not in the log"),
        (lambda lines: lines.insert(4, LOAD + "\n[0, 19, 0, 1, 0.0]"), "is not the one"),
        (lambda lines: lines.insert(4, LOAD + "\n[0, 19, 1, 1, 0.0]"), "is not in the log"),
        (
            lambda lines: lines.insert(4, LOAD.replace("other", "x\\u0000y") + "\n[0,19,0,1,0]"),
            "no such file",
        ),
        (lambda lines: lines.extend(["[0, 0, 0, 0, 1.0]"] * 2), ""),  # after the end: not read
    ],
)
def test_a_damaged_log_is_told_in_one_line(
    session: Path, tmp_path: Path, damage: Damage, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (session / "session.log").read_text().splitlines()
    damage(lines)
    log = tmp_path / "damaged.log"
    log.write_text("\n".join(lines) + "\n")
    out, models = tmp_path / "again.wav", str(session / "models")
    status = main(["replay", str(log), "--out", str(out), "--models", models, *primes_of(session)])
    told = capsys.readouterr().err
    assert status == bool(words)
    assert words in told
    assert told.count("\n") == bool(words)
    assert "defect" not in told
    assert {path.name for path in tmp_path.iterdir()} <= {"damaged.log", "again.wav"}
    assert out.exists() == (not words)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"RIFF....WAVE", b"[1\n" * 3])
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "some.log"
    log.write_bytes(content)
    with pytest.raises(GhostnoteError, match=r"no ghostnote session log|damaged"):
        replay(log, tmp_path / "out.wav")


def test_bytes_that_are_no_text_in_the_midst_are_told(session: Path, tmp_path: Path) -> None:
    log = tmp_path / "some.log"
    content = (session / "session.log").read_bytes()
    log.write_bytes(content[:5000] + b"\xff" + content[5001:])
    with pytest.raises(GhostnoteError) as refusal:
        replay(log, tmp_path / "out.wav", [session / "models"], primes=session / "primes")
    assert str(log) in str(refusal.value)


def test_a_log_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(tmp_path / "no.log")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_an_output_that_cannot_be_written_is_told(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, out = str(session / "models"), str(tmp_path / "no" / "out.wav")
    assert (
        main(
            [
                "replay",
                str(session / "session.log"),
                "--out",
                out,
                "--models",
                models,
                *primes_of(session),
            ]
        )
        == 1
    )
    told = capsys.readouterr().err
    assert out in told
    assert told.count("\n") == 1


def test_another_model_of_the_same_name_is_refused(session: Path, tmp_path: Path) -> None:
    write_noisy(tmp_path / "first.onnx", seed=10)
    lines = (session / "session.log").read_text().splitlines()
    header = json.loads(lines[0]) | {"model": str(tmp_path / "first.onnx")}
    log = tmp_path / "session.log"
    log.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    with pytest.raises(GhostnoteError, match="not the one of the session") as refusal:
        replay(log, tmp_path / "out.wav", [session / "models"], primes=session / "primes")
    assert header["sha256"][:12] in str(refusal.value)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_under_the_log_is_told_and_the_sound_goes_on(
    session: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ServerOptions(
        model=str(session / "models" / "first.onnx"),
        sink=SinkOptions("null"),
        port=0,
        log=Path("/dev/full"),
    )
    with running(options) as server:
        until(lambda: "the log ends here" in caplog.text, "a warning")
        before = server.engine.frame
        until(lambda: server.engine.frame > before + 4800, "more sound")
        time.sleep(0.05)
    assert caplog.text.count("the log ends here") == 1


def test_a_log_that_cannot_be_made_is_refused_and_gives_all_back(
    session: Path, tmp_path: Path
) -> None:
    model = str(session / "models" / "first.onnx")
    options = ServerOptions(
        model=model, sink=SinkOptions("null"), port=0, log=tmp_path / "no" / "a.log"
    )
    with pytest.raises(GhostnoteError, match="--log"), running(options):
        pass
