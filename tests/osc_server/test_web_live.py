"""A whole server played by WebSocket and TCP, heard through the monitor."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import aiohttp
import numpy as np
import pytest

from ghostnote.osc_server.encode import encode
from ghostnote.osc_server.framing import LengthFraming
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.osc import OscMessage, parse_packet
from ghostnote.osc_server.server import Server
from ghostnote.osc_server.sink import SinkOptions
from tests.osc_server.live import running
from tests.osc_server.noisy_model import write_noisy


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> ServerOptions:
    folder = tmp_path_factory.mktemp("web")
    model = write_noisy(folder / "noisy.onnx")
    return ServerOptions(
        str(model),
        SinkOptions("null"),
        voices=2,
        port=0,
        recordings=folder / "recordings",
        presets=folder / "presets",
        primes=folder / "primes",
    )


async def loudest(monitor: aiohttp.ClientWebSocketResponse, level: float) -> float:
    """Listens until something is louder than `level`."""
    while True:
        block = np.frombuffer(await monitor.receive_bytes(timeout=20), "<f4")
        if np.abs(block).max() > level:
            return float(np.abs(block).max())


def test_a_browser_plays_hears_records_and_fetches(options: ServerOptions) -> None:
    async def browse(url: str) -> None:
        timeout = aiohttp.ClientTimeout(total=60)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.ws_connect(url, headers={"Origin": url.rstrip("/")}) as control,
            session.ws_connect(f"{url}monitor") as monitor,
        ):
            header = await monitor.receive_json(timeout=20)
            assert header["samplerate"] == 48000

            async def answer(command: str) -> OscMessage:
                while True:
                    packet = parse_packet(await control.receive_bytes(timeout=20))
                    assert isinstance(packet, OscMessage)
                    assert packet.address != "/fail"
                    if packet.args[:1] == (command,):
                        return packet

            await control.send_bytes(encode("/ghost/record/start", "live/take"))
            await answer("/ghost/record/start")
            await control.send_bytes(encode("/ghost/voice/1/trig/kick", 1.0))
            assert await loudest(monitor, 0.01) > 0.01
            await control.send_bytes(encode("/ghost/record/stop", 1))
            done = await answer("/ghost/record/stop")
            async with session.get(f"{url}recordings/") as listing:
                (entry,) = (await listing.json())["recordings"]
            assert entry["name"] == "live/take.wav"
            async with session.get(url.rstrip("/") + entry["url"]) as file:
                content = await file.read()
            assert content[:4] in (b"RIFF", b"RF64")
            assert len(content) >= 8 * int(str(done.args[2]))
            for path in ("", "state", "ghost/voice/2/pan?VALUE"):
                async with session.get(url + path) as page:
                    assert page.status == 200
                    assert isinstance(json.loads(await page.read()), dict)

    with running(options) as server:
        asyncio.run(browse(server.network.panel))


def test_a_voice_comes_and_goes_and_the_clients_are_told(options: ServerOptions) -> None:
    async def browse(server: Server) -> None:
        url = server.network.panel
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
            session.ws_connect(f"{url}ws") as control,
        ):

            async def until_told(command: str, path: str) -> None:
                while True:
                    message = await control.receive(timeout=20)
                    if message.type is aiohttp.WSMsgType.TEXT and json.loads(message.data) == {
                        "COMMAND": command,
                        "DATA": path,
                    }:
                        return

            await control.send_bytes(encode("/ghost/voice/new"))
            await until_told("PATH_ADDED", "/ghost/voice/3")
            async with session.get(f"{url}ghost/voice/3/gain?VALUE") as node:
                assert await node.json() == {"VALUE": [0.0]}
            await control.send_bytes(encode("/ghost/voice/3/free"))
            await until_told("PATH_REMOVED", "/ghost/voice/3")
            async with session.get(f"{url}ghost/voice/3") as node:
                assert node.status == 404

    with running(options) as server:
        asyncio.run(browse(server))


def test_tcp_plays_too(options: ServerOptions) -> None:
    with (
        running(options) as server,
        socket.create_connection(("127.0.0.1", server.network.tcp.port), timeout=20) as one,
    ):
        form = LengthFraming()
        place = server.engine.tap.written
        one.sendall(form.frame(encode("/ghost/voice/1/trig/kick", 1.0)))
        one.sendall(form.frame(encode("/ghost/sync", 7)))
        packets: list[bytes] = []
        while not packets:
            packets += form.feed(one.recv(4096))
        assert parse_packet(packets[0]) == OscMessage("/ghost/synced", "i", (7,))
        block = np.zeros((4800, 2), np.float32)
        deadline = time.monotonic() + 20
        while np.abs(block).max() < 0.01:
            assert time.monotonic() < deadline
            if server.engine.tap.written > place + len(block):
                server.engine.tap.read(place, block)
                place += len(block)
            time.sleep(0.01)
