"""A web server for tests, and clients of it: requests, WebSockets, one that never reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import Value
from ghostnote.osc_server.osc import by_time, parse_packet
from ghostnote.osc_server.ring import TapRing
from ghostnote.osc_server.web import Site, WebServer
from tests.osc_server.recorder import Client, RecordingControl, flat

RATE = 48000


SOON = aiohttp.ClientTimeout(total=20)


@dataclass
class House:
    """A web server with a dispatcher that notes, and everything that it shows."""

    control: RecordingControl
    dispatcher: Dispatcher
    tap: TapRing
    folder: Path
    server: WebServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def set(self, address: str, *values: Value) -> None:
        """A change by somebody on another transport."""
        Client(self.dispatcher, "udp somebody").say(address, *values)


@contextlib.contextmanager
def a_house(folder: Path) -> Iterator[House]:
    for name in ("recordings", "panel"):
        (folder / name).mkdir()
    control = RecordingControl()
    dispatcher = Dispatcher(control)
    dispatcher.start()
    control.batches.clear()
    tap = TapRing(1 << 17, 2)
    server = WebServer(port=0)
    site = Site(dispatcher, tap, RATE, folder / "recordings", panel=folder / "panel")
    server.start(site)
    try:
        yield House(control, dispatcher, tap, folder, server)
    finally:
        server.stop()
        dispatcher.stop()


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(house: House, path: str, method: str = "GET", **headers: str) -> Answer:
    """One request; underscores in the names of `headers` are dashes."""

    async def request() -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession(timeout=SOON) as session,
            session.request(method, house.url + path, headers=named) as answer,
        ):
            return Answer(answer.status, await answer.read(), dict(answer.headers))

    return asyncio.run(request())


@contextlib.asynccontextmanager
async def websocket(
    house: House, path: str = "/", **headers: str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession(timeout=SOON) as session,
        session.ws_connect(house.url + path, headers=headers, max_msg_size=0) as one,
    ):
        yield one


async def message(one: aiohttp.ClientWebSocketResponse) -> tuple[Value, ...]:
    """The next binary frame, as (address, arguments...)."""
    packet = parse_packet(await one.receive_bytes(timeout=20))
    ((_, (first,)),) = by_time(packet)
    return flat(first)


async def listen(one: aiohttp.ClientWebSocketResponse, *addresses: str) -> None:
    for address in addresses:
        await one.send_str(json.dumps({"COMMAND": "LISTEN", "DATA": address}))


def in_a_loop(test: Callable[[House], Awaitable[None]]) -> Callable[[House], None]:
    """Makes a plain test of a coroutine."""

    def run(house: House) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(house)

        asyncio.run(bounded())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


def handshake(house: House, path: str = "/") -> socket.socket:
    """A WebSocket whose client never reads more than the answer to its handshake."""
    one = socket.create_connection(("127.0.0.1", house.server.port), timeout=20)
    one.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += one.recv(1)
    assert head.split()[1] == b"101"
    return one
