"""WebSocket clients: OSC both ways as binary frames, OSCQuery's LISTEN and IGNORE as text.

Threads: the web thread, but for `WsPeer.send`, which any thread may call, and the two watchers,
which the session calls with its lock held.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ipaddress
import json
import logging
import threading
from typing import Final

from aiohttp import WebSocketError, WSMsgType, web

from .dispatch import Dispatcher
from .encode import Value, encode
from .osc import MAX_ADDRESS, MAX_DATAGRAM
from .oscquery import nodes
from .patterns import is_pattern
from .peer import Peer
from .told import Told

MAX_CLIENTS: Final = 32
MAX_OUTGOING: Final = 1 << 20
"""Bytes that may wait for one client."""
MAX_LISTENED: Final = 4096
"""Addresses that one client may listen to."""
CHANGES_HZ: Final = 30.0
HEARTBEAT_SECONDS: Final = 20.0
CLOSE_SECONDS: Final = 1.0

log = logging.getLogger("ghostnote.web")


class WsPeer:
    """One WebSocket connection, and the addresses that it listens to."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, told: Told
    ) -> None:
        self.listened: set[str] = set()
        self.socket = socket
        self._transport, self._told = transport, told
        self._address: tuple[str, int] = transport.get_extra_info("peername")[:2]
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._lock = threading.Lock()  # guards what follows
        self._outgoing: collections.deque[bytes | str] = collections.deque()
        self._waiting = 0  # bytes in it, and in what is being sent
        self._open = True

    @property
    def name(self) -> str:
        """Its identity, such as "ws 127.0.0.1:57120"."""
        return f"ws {self._address[0]}:{self._address[1]}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's loopback."""
        return ipaddress.ip_address(self._address[0]).is_loopback

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that changes had better wait, and be merged, before they do."""
        return self._waiting > MAX_OUTGOING // 4

    def send(self, datagram: bytes) -> None:
        """Send it one packet, from any thread."""
        self._put(datagram)

    def tell(self, command: str, data: str) -> None:
        """Send it one of OSCQuery's commands."""
        self._put(json.dumps({"COMMAND": command, "DATA": data}))

    async def write(self) -> None:
        """Send what waits, for as long as the connection lasts."""
        with contextlib.suppress(ConnectionError):
            while True:
                await self._ready.wait()
                self._ready.clear()
                while item := self._next():
                    if isinstance(item, bytes):
                        await self.socket.send_bytes(item)
                    else:
                        await self.socket.send_str(item)
                    with self._lock:
                        self._waiting -= len(item)

    def end(self) -> None:
        """Drop what waits, and all that is sent later."""
        with self._lock:
            self._open = False
            self._outgoing.clear()

    def cut(self) -> None:
        """End the connection without waiting for the client."""
        self.end()
        self._transport.abort()

    def _next(self) -> bytes | str | None:
        with self._lock:
            return self._outgoing.popleft() if self._outgoing else None

    def _put(self, item: bytes | str) -> None:
        with self._lock:
            if not self._open or not item:
                return
            idle = not self._outgoing
            self._outgoing.append(item)
            self._waiting += len(item)
            overflows = self._waiting > MAX_OUTGOING
            if overflows:
                self._open = False
                self._outgoing.clear()
        if overflows:
            self._told(
                f"{self.name} was cut off: more than {MAX_OUTGOING >> 10} kB wait to be read by it"
            )
        with contextlib.suppress(RuntimeError):  # the loop has ended
            if overflows:
                self._loop.call_soon_threadsafe(self.cut)
            elif idle:
                self._loop.call_soon_threadsafe(self._ready.set)


class Hub:
    """All WebSocket clients of a dispatcher; its watchers are set when it is made."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._peers: dict[str, WsPeer] = {}
        self._told = Told(log)
        self._somebody = asyncio.Event()
        # Guarded by the session's lock: the newest values, with who made them.
        self._changed: dict[str, tuple[tuple[Value, ...], str]] = {}
        self._tree_changed = False
        # What changed and has not been sent yet, by client.
        self._pending: dict[str, dict[str, bytes]] = {}
        session = dispatcher.session
        with session.lock:
            self._nodes = self._known()
            session.watch(self._note)
            session.watch_tree(self._note_tree)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it leaves."""
        transport = request.transport
        if transport is None or len(self._peers) >= MAX_CLIENTS:
            self._told(f"a WebSocket was refused: {MAX_CLIENTS} clients are connected already")
            return web.Response(status=503, text=f"{MAX_CLIENTS} clients are connected already\n")
        socket = web.WebSocketResponse(
            timeout=CLOSE_SECONDS,
            heartbeat=HEARTBEAT_SECONDS,
            max_msg_size=MAX_DATAGRAM + 1,
            compress=False,
        )
        if not socket.can_prepare(request):
            return web.Response(status=400, text="this address takes WebSockets only\n")
        peer = WsPeer(socket, transport, self._told)
        self._peers[peer.name], self._pending[peer.name] = peer, {}
        writer = None
        try:
            await socket.prepare(request)
            writer = asyncio.create_task(peer.write())
            self._somebody.set()
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    self._dispatcher.receive(message.data, peer)
                elif message.type is WSMsgType.TEXT:
                    self._obey(message.data, peer)
            if isinstance(error := socket.exception(), WebSocketError):
                self._dispatcher.malformed(peer, error)
        finally:
            del self._peers[peer.name], self._pending[peer.name]
            peer.end()
            if writer:
                writer.cancel()
            self._dispatcher.gone(peer)
        return socket

    async def tell_changes(self) -> None:
        """Send what has changed to those who listen, CHANGES_HZ times a second, for ever."""
        while True:
            await self._somebody.wait()
            if not self._peers:
                self._somebody.clear()
            try:
                self._tell_once()
            except Exception:
                log.exception("changes could not be told")
            await asyncio.sleep(1.0 / CHANGES_HZ)

    async def close(self) -> None:
        """Say good-bye to all clients; those that do not answer are cut off."""
        peers = list(self._peers.values())
        goodbyes = (asyncio.wait_for(p.socket.close(code=1001), CLOSE_SECONDS) for p in peers)
        await asyncio.gather(*goodbyes, return_exceptions=True)
        for peer in peers:
            peer.cut()

    def _known(self) -> set[str]:
        return nodes(route.name for route in self._dispatcher.session.routes.all())

    def _note(self, address: str, values: tuple[Value, ...], originator: Peer | None) -> None:
        if self._peers:
            self._changed[address] = (values, originator.name if originator else "")

    def _note_tree(self, added: frozenset[str], removed: frozenset[str]) -> None:
        self._tree_changed = True

    def _tell_once(self) -> None:
        session = self._dispatcher.session
        with session.lock:
            changed, self._changed = self._changed, {}
            tree_changed, self._tree_changed = self._tree_changed, False
            known = self._known() if tree_changed else self._nodes
        if tree_changed:
            self._tell_tree(known)
        for address, (values, originator) in changed.items():
            packet = b""
            for peer in self._peers.values():
                if address not in peer.listened:
                    continue
                pending = self._pending[peer.name]
                if peer.name == originator:
                    pending.pop(address, None)  # what it has just overruled
                else:
                    packet = pending[address] = packet or _encoded(address, values)
        for peer in self._peers.values():
            pending = self._pending[peer.name]
            if pending and not peer.is_behind:
                for packet in pending.values():
                    peer.send(packet)
                pending.clear()

    def _tell_tree(self, known: set[str]) -> None:
        """Tell what has come and gone, by the topmost node of each branch, and where."""
        before, self._nodes = self._nodes, known
        added, removed = known - before, before - known
        told: list[tuple[str, str]] = []
        parents: set[str] = set()
        for command, branch in (("PATH_REMOVED", removed), ("PATH_ADDED", added)):
            for node in sorted(branch):
                parent = node.rpartition("/")[0]
                if parent not in branch:
                    told.append((command, node))
                    parents.add(parent)
        # Kits that have changed their names only are anywhere.
        told += [("PATH_CHANGED", parent) for parent in sorted(parents or {"/ghost"})]
        for peer in self._peers.values():
            peer.listened -= removed
            for command, node in told:
                peer.tell(command, node)

    def _obey(self, text: str, peer: WsPeer) -> None:
        """Do what a text frame says, or answer /fail."""
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            said = None
        command, address = None, None
        if isinstance(said, dict):
            command, address = said.get("COMMAND"), said.get("DATA")
        if command not in ("LISTEN", "IGNORE") or not isinstance(address, str):
            self._dispatcher.malformed(peer, "text frames are LISTEN or IGNORE in JSON")
            peer.send(encode("/fail", "", 'text frames: {"COMMAND":"LISTEN","DATA":"/ghost/..."}'))
            return
        assert isinstance(command, str)
        if command == "IGNORE":
            peer.listened.discard(address)
            self._pending[peer.name].pop(address, None)
        elif not address.startswith("/") or is_pattern(address) or len(address) > MAX_ADDRESS:
            peer.send(encode("/fail", command, "DATA must be an address, and no pattern"))
        elif len(peer.listened) >= MAX_LISTENED:
            peer.send(encode("/fail", command, f"at most {MAX_LISTENED} addresses"))
        else:
            peer.listened.add(address)
            self._tell_now(address, peer)

    def _tell_now(self, address: str, peer: WsPeer) -> None:
        """Tell the value that an address has when one begins to listen to it."""
        session = self._dispatcher.session
        with session.lock:
            routes = session.routes.find(address)
            values = session.value(routes[0]) if routes else None
        if values is not None:
            peer.send(_encoded(address, values))


def _encoded(address: str, values: tuple[Value, ...]) -> bytes:
    """Return the message of a value; nothing, which is never sent, if it cannot be told."""
    try:
        return encode(address, *values)
    except Exception:
        log.exception("%s cannot be told; the other values are", address)
        return b""
