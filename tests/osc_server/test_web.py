"""HTTP and WebSocket with real sockets, and aiohttp's own client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server import web_app
from ghostnote.osc_server.commands import Op
from ghostnote.osc_server.encode import encode
from ghostnote.osc_server.osc import MAX_DATAGRAM
from ghostnote.osc_server.web import WebServer
from ghostnote.osc_server.web_socket import MAX_CLIENTS
from tests.osc_server.waiting import until
from tests.osc_server.web_house import (
    House,
    a_house,
    ask,
    handshake,
    in_a_loop,
    listen,
    message,
    websocket,
)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        yield house


# OSCQuery


def test_the_tree_the_node_and_the_attribute(house: House) -> None:
    house.set("/ghost/voice/1/pan", 0.5)
    root = ask(house, "/")
    assert root.status == 200
    assert root.headers["Content-Type"].startswith("application/json")
    pan = root.json["CONTENTS"]["ghost"]["CONTENTS"]["voice"]["CONTENTS"]["1"]["CONTENTS"]["pan"]
    assert pan["VALUE"] == [0.5]
    assert ask(house, "/ghost/voice/1/pan").json == pan
    assert ask(house, "/ghost/voice/1/pan?VALUE").json == {"VALUE": [0.5]}
    assert ask(house, "/ghost/voice/1/state?VALUE").json == {"VALUE": ["idle"]}
    assert ask(house, "/ghost/voice?TYPE").json == {}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ghost/play?VALUE", 204),
        ("/ghost?VALUE", 204),
        ("/ghost/tempo?WEIGHT", 400),
        ("/ghost/tempo?value", 400),
        ("/ghost/nothing", 404),
        ("/ghost/voice/9/pan", 404),
        ("/ghost/nothing?VALUE", 404),
        ("/ghost/nothing?HOST_INFO", 200),
    ],
)
def test_status(house: House, path: str, status: int) -> None:
    assert ask(house, path).status == status


def test_host_info(house: House) -> None:
    info = ask(house, "/?HOST_INFO").json
    assert info["OSC_TRANSPORT"] == "UDP"
    assert info["OSC_IP"] == info["WS_IP"] == "127.0.0.1"
    assert info["WS_PORT"] == house.server.port
    assert info["EXTENSIONS"]["LISTEN"] is True
    assert info["EXTENSIONS"]["RANGE"] is True


def test_state_is_json_of_any_length(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostnote.osc_server.handlers_server.LONGEST_ANSWER", 100)
    answer = ask(house, "/state")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json["settings"]["tempo"] == 120.0


# The panel and files


def test_browsers_get_the_panel_and_others_the_tree(house: House) -> None:
    (house.folder / "panel" / "index.html").write_text("<p>panel")
    browser = ask(house, "/", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert browser.body == b"<p>panel"
    assert browser.headers["Content-Type"].startswith("text/html")
    assert ask(house, "/ghost/tempo?HTML").body == b"<p>panel"
    assert "CONTENTS" in ask(house, "/", Accept="*/*").json
    assert ask(house, "/?HOST_INFO", Accept="text/html").json["OSC_TRANSPORT"] == "UDP"


def test_files_of_the_panel_have_types_and_stay_inside(house: House) -> None:
    (house.folder / "panel" / "panel.js").write_text("1")
    (house.folder / "secret.txt").write_text("secret")
    (house.folder / "panel" / "link.txt").symlink_to(house.folder / "secret.txt")
    script = ask(house, "/panel/panel.js")
    assert (script.status, script.body) == (200, b"1")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert script.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/panel/no.js", "/panel/link.txt", "/panel/sub/", "/panel/%00"):
        assert ask(house, path).status == 404


@pytest.mark.parametrize("folder", ["panel", "recordings"])
@pytest.mark.parametrize(
    "climb", ["../secret.wav", "..%2fsecret.wav", "%2e%2e/secret.wav", "a/../../secret.wav",
              "/secret.wav", "%2fsecret.wav", "..%5csecret.wav", "....//secret.wav"],
)  # fmt: skip
def test_no_path_leads_out(house: House, folder: str, climb: str) -> None:
    (house.folder / "secret.wav").write_bytes(b"secret")
    with socket.create_connection(("127.0.0.1", house.server.port), timeout=20) as one:
        one.sendall(
            f"GET /{folder}/{climb} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            .encode()
        )  # fmt: skip
        answer = b""
        while chunk := one.recv(65536):
            answer += chunk
    assert b"secret" not in answer
    assert answer.split()[1] in (b"404", b"400")


def test_recordings_are_listed_and_sent_whole_or_in_part(house: House) -> None:
    recordings = house.folder / "recordings"
    (recordings / "live").mkdir()
    (recordings / "live" / "take 1.wav").write_bytes(bytes(range(200)))
    (recordings / "notes.txt").write_text("no")
    (house.folder / "outside.wav").write_bytes(b"outside")
    (recordings / "link.wav").symlink_to(house.folder / "outside.wav")
    for path in ("/recordings", "/recordings/"):
        (entry,) = ask(house, path).json["recordings"]
    assert (entry["name"], entry["bytes"]) == ("live/take 1.wav", 200)
    whole = ask(house, entry["url"])
    assert whole.body == bytes(range(200))
    assert whole.headers["Content-Type"] == "audio/wav"
    part = ask(house, entry["url"], Range="bytes=10-19")
    assert (part.status, part.body) == (206, bytes(range(10, 20)))
    assert part.headers["Content-Range"] == "bytes 10-19/200"
    assert ask(house, entry["url"], Range="bytes=500-").status == 416
    for name in ("notes.txt", "link.wav", "none.wav"):
        assert ask(house, f"/recordings/{name}").status == 404


# Who may ask


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:1", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:9770", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.1.5", 403),
        ("localhost:80;script-src *", 403),
        ("a@localhost", 403),
        ("", 403),
    ],
)
def test_other_hosts_are_refused(house: House, host: str, status: int) -> None:
    assert ask(house, "/?HOST_INFO", Host=host).status == status


def test_pages_of_other_sites_are_refused(house: House) -> None:
    async def status(origin: str) -> int:
        try:
            async with websocket(house, Origin=origin):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status

    for origin in ("http://evil.example", "null", "http://localhost:3000", "file://"):
        assert asyncio.run(status(origin)) == 403
        assert ask(house, "/", method="POST", Origin=origin).status == 403
    assert asyncio.run(status(house.url)) == 101


def test_security_headers(house: House) -> None:
    headers = ask(house, "/").headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert f"ws://127.0.0.1:{house.server.port}" in policy
    assert "Access-Control-Allow-Origin" not in headers


def test_only_get_is_taken(house: House) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(house, "/ghost/tempo", method=method).status == 405
    assert ask(house, "/ghost/tempo", method="HEAD").status == 200


# WebSocket


@in_a_loop
async def test_osc_goes_both_ways(house: House) -> None:
    for path in ("/", "/ws"):
        async with websocket(house, path) as one:
            await one.send_bytes(encode("/ghost/voice/1/trig/kick", 0.5))
            await one.send_bytes(encode("/ghost/version", 1))
            assert (await message(one))[:2] == ("/ghost/version.reply", "ghostnote")
            await one.send_bytes(encode("/ghost/nothing"))
            assert (await message(one))[:2] == ("/fail", "/ghost/nothing")
    assert [command.op for command in house.control.commands] == [Op.TRIG] * 2


@in_a_loop
async def test_what_is_listened_to_is_told_on_change_but_not_to_who_changed_it(
    house: House,
) -> None:
    async with websocket(house) as one, websocket(house) as other:
        for client in (one, other):
            await listen(client, "/ghost/tempo", "/ghost/voice/1/state")
            assert await message(client) == ("/ghost/tempo", 120.0)
            assert await message(client) == ("/ghost/voice/1/state", "idle")
        await one.send_bytes(encode("/ghost/tempo", 90.0))
        assert await message(other) == ("/ghost/tempo", 90.0)
        house.set("/ghost/voice/1/pan", 0.25)  # nobody listens to it
        house.set("/ghost/tempo", 91.0)
        assert await message(other) == ("/ghost/tempo", 91.0)
        assert await message(one) == ("/ghost/tempo", 91.0)
        house.control.states[0] = "playing"
        house.dispatcher.tick()
        assert await message(one) == ("/ghost/voice/1/state", "playing")
        await one.send_str(json.dumps({"COMMAND": "IGNORE", "DATA": "/ghost/tempo"}))
        await one.send_bytes(encode("/ghost/version"))
        assert (await message(one))[0] == "/ghost/version.reply"
        house.set("/ghost/tempo", 92.0)
        assert (await message(other))[0] == "/ghost/voice/1/state"
        assert await message(other) == ("/ghost/tempo", 92.0)
        await one.send_bytes(encode("/ghost/version"))
        assert (await message(one))[0] == "/ghost/version.reply"


@in_a_loop
async def test_a_value_that_cannot_be_told_does_not_lose_the_others(house: House) -> None:
    async with websocket(house) as one:
        house.dispatcher.note("/ghost/voice/1/seed", 2**64)  # a defect: no type holds it
        await listen(one, "/ghost/voice/1/seed", "/ghost/tempo")
        assert await message(one) == ("/ghost/tempo", 120.0)
        with house.dispatcher.session.lock:  # so that one tick tells both
            house.dispatcher.note("/ghost/voice/1/seed", 2**65)
            house.dispatcher.note("/ghost/tempo", 90.0)
        assert await message(one) == ("/ghost/tempo", 90.0)


@in_a_loop
async def test_changes_are_merged_and_the_last_one_always_comes(house: House) -> None:
    async with websocket(house) as one:
        await listen(one, "/ghost/tempo")
        await message(one)
        began = time.monotonic()
        for n in range(2000):
            house.set("/ghost/tempo", 100.0 + n / 10)
        told = [await message(one)]
        while told[-1][1] != pytest.approx(299.9):
            told.append(await message(one))
        assert len(told) <= 30 * (time.monotonic() - began) + 2


@in_a_loop
async def test_notify_works_over_it_and_ends_with_it(house: House) -> None:
    async with websocket(house) as one:
        await one.send_bytes(encode("/ghost/notify", 1))
        assert (await message(one))[:2] == ("/done", "/ghost/notify")
        house.set("/ghost/tempo", 90.0)
        house.dispatcher.tick()
        assert await message(one) == ("/ghost/tempo", 90.0)


@in_a_loop
async def test_voices_that_come_and_go_are_told(house: House) -> None:
    session = house.dispatcher.session
    async with websocket(house) as one:
        await listen(one, "/ghost/voice/2/state")
        await message(one)

        async def told() -> set[tuple[str, str]]:
            found: set[tuple[str, str]] = set()
            while not any(command == "PATH_CHANGED" for command, _ in found):
                entry = await one.receive_json(timeout=20)
                found.add((entry["COMMAND"], entry["DATA"]))
            return found

        with session.lock:
            session.remove_voice(1)
        removed = await told()
        assert ("PATH_REMOVED", "/ghost/voice/2") in removed
        assert all(data.endswith("/2") for command, data in removed if command != "PATH_CHANGED")
        assert ask_in_thread(house, "/ghost/voice/2") == 404
        while (await one.receive_json(timeout=20))["DATA"] != "/ghost/voice":
            pass
        with session.lock:
            session.add_voice(1)
        assert ("PATH_ADDED", "/ghost/voice/2") in await told()


def ask_in_thread(house: House, path: str) -> int:
    """The status of a request, asked from within a running loop."""
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(ask(house, path).status))
    thread.start()
    thread.join()
    return status[0]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "1", '"LISTEN"', '{"COMMAND":"LISTEN"}', "[" * 60000,
     '{"COMMAND":"LISTEN","DATA":7}', '{"COMMAND":"EXPLODE","DATA":"/a"}',
     '{"COMMAND":["LISTEN"],"DATA":"/a"}', '{"COMMAND":"LISTEN","DATA":"no slash"}',
     '{"COMMAND":"LISTEN","DATA":"/ghost/voice/*/pan"}', '{"COMMAND":"IGNORE","DATA":{}}'],
    ids=range(14),
)  # fmt: skip
def test_text_that_is_nothing_is_answered(house: House, text: str) -> None:
    async def run() -> None:
        async with websocket(house) as one:
            await one.send_str(text)
            assert (await message(one))[0] == "/fail"
            await one.send_bytes(encode("/ghost/version"))
            assert (await message(one))[0] == "/ghost/version.reply"

    asyncio.run(run())


@in_a_loop
async def test_bad_packets_are_counted_and_nothing_ends(house: House) -> None:
    async with websocket(house) as one:
        for packet in (b"", b"x", b"#bundle\0", b"\xff" * 100, bytes(MAX_DATAGRAM)):
            await one.send_bytes(packet)
        await one.send_bytes(encode("/ghost/version"))
        assert (await message(one))[0] == "/ghost/version.reply"
    assert house.dispatcher.session.dropped == 5


@in_a_loop
async def test_an_oversized_frame_ends_the_connection_and_is_counted(house: House) -> None:
    async with websocket(house) as one:
        await one.send_bytes(bytes(MAX_DATAGRAM + 2))
        closing = await one.receive(timeout=20)
        assert closing.type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
        assert one.close_code == 1009
    until(lambda: house.dispatcher.session.dropped == 1, "the count")


@in_a_loop
async def test_no_more_than_so_many_clients(house: House) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_CLIENTS):
            await stack.enter_async_context(websocket(house))
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with websocket(house):
                pass
        assert refused.value.status == 503
    async with websocket(house) as one:
        await one.send_bytes(encode("/ghost/version"))
        await message(one)


def frame(opcode: int, payload: bytes) -> bytes:
    """A short client's frame with the mask 0."""
    assert len(payload) < 126
    return bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def test_a_slow_reader_is_cut_off_and_told(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.closing(handshake(house)) as slow:
        long = encode("/ghost/get", "/ghost/*")
        with contextlib.suppress(ConnectionError):
            for _ in range(100_000):
                slow.sendall(frame(2, long))
                if "was cut off" in caplog.text:
                    break
        until(lambda: "was cut off" in caplog.text, "the line about it")
    assert ask(house, "/ghost/tempo").status == 200


def test_half_open_requests_do_not_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_app, "IDLE_SECONDS", 0.5)
    with (
        a_house(tmp_path) as house,
        socket.create_connection(("127.0.0.1", house.server.port), timeout=60) as silent,
        socket.create_connection(("127.0.0.1", house.server.port), timeout=60) as half,
    ):
        half.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        assert half.recv(100) == b""
        assert silent.recv(100) == b""


def test_no_more_than_so_many_connections(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(web_app.MAX_CONNECTIONS):
            one = stack.enter_context(
                socket.create_connection(("127.0.0.1", house.server.port), timeout=20)
            )
            one.sendall(b"HEAD /ghost/tempo HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 200")
        with socket.create_connection(("127.0.0.1", house.server.port), timeout=20) as extra:
            assert extra.recv(100) == b""
        assert f"{web_app.MAX_CONNECTIONS} HTTP clients" in caplog.text

    def answered() -> bool:
        with contextlib.suppress(aiohttp.ServerDisconnectedError):
            return ask(house, "/ghost/tempo").status == 200
        return False

    until(answered, "a free place")


@pytest.mark.parametrize(
    "junk",
    [b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"X" * 100_000,
     b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
     b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
     b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
     b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"#bundle\0\0\0\0\0\0\0\0\x01"],
    ids=range(9),
)  # fmt: skip
def test_junk_is_refused_and_the_server_goes_on(
    house: House, junk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        socket.create_connection(("127.0.0.1", house.server.port), timeout=20) as one,
        contextlib.suppress(ConnectionError),
    ):
        one.sendall(junk)
        one.shutdown(socket.SHUT_WR)
        answer = one.recv(65536)
        assert answer == b"" or answer.split()[1].startswith(b"4")
    assert ask(house, "/ghost/tempo").status == 200
    assert "Traceback" not in caplog.text


# Start and stop


def test_port_in_use_is_told_in_one_line(house: House) -> None:
    with pytest.raises(GhostnoteError, match=f"TCP port {house.server.port} .*--port") as error:
        WebServer(port=house.server.port)
    assert "\n" not in str(error.value)


def test_start_and_stop_many_times_leave_nothing(tmp_path: Path) -> None:
    threads = threading.active_count()
    for n in range(5):
        (tmp_path / str(n)).mkdir()
        with a_house(tmp_path / str(n)) as house:
            client, monitor = handshake(house), handshake(house, "/monitor")
        with client, monitor:  # the server ends with clients that say nothing
            for one in (client, monitor):
                while one.recv(65536):
                    pass
    assert threading.active_count() == threads


def test_it_can_be_stopped_at_once_and_never_started(tmp_path: Path) -> None:
    WebServer(port=0).stop()
    with a_house(tmp_path):
        pass
