"""Bad input from the network to a whole server: refused or dropped, and the sound goes on."""

import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile

from ghostnote.osc_server.encode import Value, encode
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.server import Server
from ghostnote.osc_server.sink import SinkOptions
from tests.osc_server.live import Client, client_of, running, serving
from tests.osc_server.noisy_model import NOISY, write_noisy
from tests.osc_server.waiting import until
from tests.parts import unfit

RING = 8192  # enough for a machine that is busy with something else


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that hisses to the null sink, with a folder of models and one for recordings."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "models").mkdir()
    options = ServerOptions(
        model=str(write_noisy(folder / "models" / "good.onnx")),
        sink=SinkOptions("null"),
        ring=RING,
        voices=2,
        port=0,
        models=folder / "models",
        recordings=folder / "recordings",
    )
    with running(options) as server:
        until(lambda: server.engine.ring.fill > RING // 2, "a full ring")
        yield server


@pytest.fixture
def models(server: Server) -> Path:
    return server.options.models


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of that server; when it leaves, both voices must have played on without a gap."""
    underruns = server.engine.ring.underruns
    with client_of(server.udp.port) as client:
        yield client
    frame = server.engine.frame
    until(lambda: server.engine.frame > frame, "more sound")
    assert server.engine.active == 2
    assert server.engine.ring.underruns == underruns


def dropped(client: Client) -> int:
    client.send("/ghost/status")
    return int(client.expect("/ghost/status.reply")[7])


@pytest.mark.parametrize(
    ("address", "values", "word"),
    [
        ("/ghost/nothing", (), "unknown address"),
        ("/other", (1,), "unknown address"),
        ("/ghost/voice/3/play", (), "unknown voice 3"),
        ("/ghost/voice/0/trig/kick", (), "unknown voice 0"),
        ("/ghost/voice/1/temperature", ("warm",), "temperature"),
        ("/ghost/voice/1/temperature", (), "temperature"),
        ("/ghost/voice/1/temperature", (99.0,), "0.05"),
        ("/ghost/voice/1/temperature", (float("nan"),), "temperature"),
        ("/ghost/trig", ("gong", 0.5), "gong"),
        ("/ghost/pattern/1", ("kick", "x..?"), "?"),
        ("/ghost/voice/1/weights", (1.0,), "2 kits"),
        ("/ghost/voice/1/kit", ("tin",), "tin"),
        ("/ghost/model/load", (7,), "name"),
        ("/ghost/sync", (), "id"),
    ],
)
def test_what_is_not_understood_fails_to_the_sender_only(
    server: Server, client: Client, address: str, values: tuple[Value, ...], word: str
) -> None:
    with client_of(server.udp.port) as follower:
        assert follower.ask("/ghost/notify", 1)[0] == "/done"
        answer = client.ask(address, *values) if values else _bare(client, address)
        assert answer[:2] == ("/fail", address)
        assert word in str(answer[2])
        assert "\n" not in str(answer[2])
        assert not [told for told in follower.answers(0.1) if told[0] == "/fail"]
        follower.send("/ghost/notify", 0)


def _bare(client: Client, address: str) -> tuple[Value, ...]:
    client.send(address)
    return client.expect("/fail", address)


def nested(depth: int) -> bytes:
    packet = encode("/ghost/status")
    for _ in range(depth):
        packet = b"#bundle\0" + bytes(7) + b"\1" + struct.pack(">i", len(packet)) + packet
    return packet


GOOD = encode("/ghost/voice/1/trig/kick", 0.5)
MALFORMED = {
    "empty": b"",
    "text": b"hello",
    "no slash": b"abc\0,\0\0\0",
    "cut in the address": GOOD[:10],
    "cut in the tags": GOOD[:26],
    "cut in the value": GOOD[:-2],
    "cut bundle": b"#bundle\0\0\0\0",
    "negative size": b"#bundle\0" + bytes(7) + b"\1" + struct.pack(">i", -8) + GOOD,
    "size over the end": b"#bundle\0" + bytes(7) + b"\1" + struct.pack(">i", 2**30) + GOOD,
    "20 bytes that stop python-osc": b"#bundle\0" + bytes(8) + struct.pack(">i", -16),
    "nested 1000 deep": nested(1000),
    "no text": b"/ghost/\xff\xfe\0\0\0,s\0\0\xc3\x28\0\0",
    "negative blob": b"/a\0\0,b\0\0" + struct.pack(">i", -4),
    "64 kB of nothing": bytes(65507),
    "64 kB of slashes": b"/" * 65507,
    "64 kB of noise": np.random.default_rng(1).bytes(65507),
    "64 kB of brackets": b"/a\0\0," + b"[" * 65000 + bytes(4),
}


@pytest.mark.parametrize("datagram", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_datagram_is_counted_and_dropped(client: Client, datagram: bytes) -> None:
    before = dropped(client)
    client.raw(datagram)
    assert dropped(client) == before + 1
    assert client.answers(0.05) == []


def test_a_storm_of_rubbish_stops_nothing(client: Client) -> None:
    before, sent = dropped(client), 0
    datagrams = [d for d in MALFORMED.values() if len(d) < 10_000]
    for _ in range(300):
        for datagram in datagrams:
            client.raw(datagram)
            sent += 1
        time.sleep(0.001)
    # What the system itself threw away it may not have handed on.
    assert before < dropped(client) <= before + sent
    client.synced()


def broken_models(models: Path) -> dict[str, tuple[Path, str]]:
    """Files that must not be loaded: by name, the file and a word of the refusal."""
    good = (models / "good.onnx").read_bytes()
    found = {}

    def put(name: str, content: bytes, word: str) -> None:
        path = models / f"{name}.onnx"
        path.write_bytes(content)
        found[name] = (path, word)

    put("empty", b"", "empty")
    put("text", b"not a model\n" * 50, "")
    put("cut", good[: len(good) // 2], "")
    put("flipped", good[:3000] + bytes([good[3000] ^ 255]) + good[3001:], "")
    foreign = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["a"], ["b"])],
            "g",
            [onnx.helper.make_tensor_value_info("a", 1, [1])],
            [onnx.helper.make_tensor_value_info("b", 1, [1])],
        )
    )
    put("foreign", foreign.SerializeToString(), "ghostnote")
    model = onnx.load_from_string(good)
    model.graph.initializer[0].dims[0] = 2**40
    put("large", model.SerializeToString(), "expected")
    huge = models / "huge.onnx"
    with huge.open("wb") as file:
        file.truncate(1 << 40)  # holes: takes no room
    found["huge"] = (huge, "at most")
    return found


def test_a_model_that_is_none_is_refused_in_one_line(
    server: Server, client: Client, models: Path
) -> None:
    playing = server.control.voice_model(0)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, (path, word) in broken_models(models).items():
        answer = client.ask("/ghost/model/load", name)
        path.unlink()
        assert answer[:2] == ("/fail", "/ghost/model/load"), name
        assert word in str(answer[2]), name
        assert "\n" not in str(answer[2])
        assert len(str(answer[2])) < 500
    assert server.control.voice_model(0) == playing
    if sys.platform == "linux":  # kB
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < largest + 100_000


def test_a_model_of_another_rate_is_refused(client: Client, models: Path) -> None:
    other = write_noisy(models / "other.onnx", spec=NOISY.__class__(16000, 16, (1,), residual=2))
    answer = client.ask("/ghost/model/load", "other", 1)
    other.unlink()
    assert answer[0] == "/fail"
    assert "16000 Hz" in str(answer[2])


ESCAPES = (
    "../outside",
    "../",
    "/etc/passwd",
    "a/../../outside",
    "link/outside",
    "C:\\outside",
    "..\\outside",
    "nul\0byte",
    "x" * 5000,
    "",
)


@pytest.mark.parametrize("name", ESCAPES, ids=range(len(ESCAPES)))
def test_no_name_leads_out_of_its_folder(
    server: Server, client: Client, models: Path, name: str
) -> None:
    outside = models.parent / "outside.onnx"
    write_noisy(outside)
    for folder in (models, server.options.recordings):
        folder.mkdir(exist_ok=True)
        if not (folder / "link").is_symlink():
            (folder / "link").symlink_to(models.parent)
    before = sorted(models.parent.rglob("*"))
    for address in ("/ghost/model/load", "/ghost/model/info", "/ghost/record/start"):
        # encode refuses a null byte, so that one goes by hand.
        client.raw(encode(address, name.replace("\0", "?")).replace(b"?", b"\0"))
        if "\0" in name:
            continue  # is malformed on the wire
        answer = client.expect("/fail", address)
        assert "\n" not in str(answer[2])
        assert len(str(answer[2])) < 500
    assert sorted(models.parent.rglob("*")) == before


def test_recordings_are_made_once_and_end_whole(server: Server, client: Client) -> None:
    done = client.ask("/ghost/record/start", "takes/one")
    assert done[:2] == ("/done", "/ghost/record/start")
    with client_of(server.udp.port) as other:
        assert other.ask("/ghost/record/start", "two")[0] == "/fail"
    time.sleep(0.3)
    stopped = client.ask("/ghost/record/stop")
    assert stopped[0] == "/done"
    sound, rate = soundfile.read(str(stopped[2]))
    assert (len(sound), rate) == (stopped[3], 48000)
    assert len(sound) > 4800
    assert sound.std() > 0.01
    assert client.ask("/ghost/record/start", "takes/one")[0] == "/fail"
    assert client.ask("/ghost/record/stop")[0] == "/fail"


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_while_recording_is_told_to_who_asked(server: Server, client: Client) -> None:
    """A limit on the size of files stands for the disk; the other client's start changes nothing."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    answer = client.ask("/ghost/record/start", "full")
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, usual[1]))
    try:
        with client_of(server.udp.port) as other:
            assert other.ask("/ghost/record/start", "two")[0] == "/fail"
            failed = client.expect("/fail", "/ghost/record/start")
            assert not other.answers(0.1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert "free some space" in str(failed[2])
    assert "\n" not in str(failed[2])
    sound, _ = soundfile.read(str(answer[2]))
    assert 24_000 < len(sound) <= 25_000
    assert sound.std() > 0.01
    assert client.ask("/ghost/record/stop")[0] == "/fail"
    assert client.ask("/ghost/record/start", "again")[0] == "/done"
    assert client.ask("/ghost/record/stop")[0] == "/done"


def test_replies_to_nobody_stop_nothing(server: Server, client: Client) -> None:
    """A client that asks and has gone: the answers reach a closed port."""
    before = dropped(client)
    for _ in range(200):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.sendto(encode("/ghost/status"), ("127.0.0.1", server.udp.port))
    assert dropped(client) == before
    client.synced()


def test_no_audio_device_is_one_line_and_null(tmp_path: Path) -> None:
    model = str(write_noisy(tmp_path / "noisy.onnx"))
    nobody = {**os.environ, "JACK_DEFAULT_SERVER": "nobody-here"}
    with serving("--model", model, environment=nobody) as process:
        lines = "\n".join(process.lines)
        if "portaudio" in lines.partition("latency")[0].partition("sink")[2].split()[0]:
            unfit("needs a machine without a sound card")
        (line,) = (line for line in process.lines if "no audio device" in line)
        assert "to hear it" in line
        with client_of(process.port) as client:
            client.send("/ghost/status")
            assert client.expect("/ghost/status.reply")[2] == 1
        assert process.end() == 0
        assert "Traceback" not in process.log
        assert "JackShm" not in process.log
