"""OSC over TCP: one thread that accepts and receives, and connections that any thread may send on.

Threads: `start` and `stop` belong to the thread that made the server. The TCP thread owns the
selector and all sockets, and calls the door for every packet. `TcpPeer.send` may be called from
any thread: it never blocks and never raises. What the network does not take at once waits in a
bounded buffer; a client that reads so slowly that it overflows is cut off.
"""

from __future__ import annotations

import collections
import contextlib
import ipaddress
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from ghostnote.kernels.errors import GhostnoteError

from .framing import Framing, FramingError, framing_of
from .peer import Peer
from .told import Told

MAX_CONNECTIONS: Final = 64
MAX_OUTGOING: Final = 256 << 10
"""Bytes that may wait for one client."""
FRAME_SECONDS: Final = 10.0
"""A frame that has begun must have come by then."""
_CHUNK = 65536

log = logging.getLogger("ghostnote.osc.in")


class Door(Protocol):
    """Where packets go; the dispatcher is one. Any thread; never raises."""

    def receive(self, data: bytes | memoryview, peer: Peer) -> None:
        """Take one packet."""

    def gone(self, peer: Peer) -> None:
        """Learn that a connection has ended."""

    def malformed(self, peer: Peer, reason: object) -> None:
        """Count, and tell, what was no packet at all."""


def listening_socket(host: str, port: int, purpose: str) -> socket.socket:
    """Return a socket that listens, non-blocking, at TCP `port` (0: any) of `host`.

    Raises
    ------
    GhostnoteError
        If the port cannot be had; `purpose` says in it what for.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Accepted connections inherit these; a dead client is found within a minute.
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise GhostnoteError(
            f"TCP port {port} at {host}, for {purpose}, cannot be had ({error}): "
            "choose others with --port"
        ) from None
    listener.setblocking(False)
    return listener


class TcpServer:
    """Accepts connections at one port and hands each packet to `door` with its sender.

    Parameters
    ----------
    door : Door
        Called on the TCP thread.
    host, port : str, int
        Where to listen; port 0 lets the system choose: see the attribute `port`.
    clock : callable
        Seconds that never go back.

    Raises
    ------
    GhostnoteError
        If the port cannot be had.
    """

    def __init__(
        self,
        door: Door,
        host: str = "127.0.0.1",
        port: int = 9771,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._door, self._clock = door, clock
        self._told = Told(log)
        self._running = False
        self._thread = threading.Thread(target=self._run, name="ghostnote-tcp", daemon=True)
        self._listener = listening_socket(host, port, "OSC")
        self.port: int = self._listener.getsockname()[1]
        self._connections: set[TcpPeer] = set()
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = socket.socketpair()
        for end in (self._wake_out, self._wake_in):
            end.setblocking(False)
        self._changed: collections.deque[TcpPeer] = collections.deque()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_out, selectors.EVENT_READ, self._woken)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def start(self) -> None:
        """Begin to accept."""
        self._running = True
        self._thread.start()

    def stop(self) -> None:
        """Close all connections, end the thread and give the port back."""
        self._running = False
        self.wake()
        if self._thread.ident is not None:
            self._thread.join()
        for connection in list(self._connections):
            self._close(connection)
        for one in (self._listener, self._wake_in, self._wake_out):
            one.close()
        self._selector.close()

    def wake(self, changed: TcpPeer | None = None) -> None:
        """Have the TCP thread look at a connection that wants to write or to be closed."""
        if changed is not None:
            self._changed.append(changed)
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: all is over
            self._wake_in.send(b"\0")

    def _run(self) -> None:
        while self._running:
            for key, ready in self._selector.select(0.5 if self._connections else None):
                try:
                    if isinstance(key.data, TcpPeer):
                        self._attend(key.data, ready)
                    else:
                        key.data()
                except Exception:
                    log.exception("the TCP server stumbled; it goes on")
                    if key.data in self._connections:
                        self._close(key.data)
                    time.sleep(0.05)  # what it was may be there again at once
            now = self._clock()
            for connection in [c for c in self._connections if c.deadline <= now]:
                self._refuse(connection, f"a frame was not complete after {FRAME_SECONDS:g} s")

    def _woken(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_out.recv(4096)
        while self._changed:
            connection = self._changed.popleft()
            if connection in self._connections:
                self._attend(connection, selectors.EVENT_WRITE)

    def _accept(self) -> None:
        try:
            one, address = self._listener.accept()
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                self._told(f"a TCP connection could not be taken: {error}")
                time.sleep(0.05)  # out of files: it stays ready, and must not take the processor
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            one.close()
            self._told(
                f"a connection from {address[0]} was closed: {MAX_CONNECTIONS} TCP clients are "
                "connected already"
            )
            return
        one.setblocking(False)
        with contextlib.suppress(OSError):  # macOS: where the client has reset it already
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = TcpPeer(self, one, address)
        self._selector.register(one, selectors.EVENT_READ, connection)
        self._connections.add(connection)

    def _attend(self, connection: TcpPeer, ready: int) -> None:
        """Read, and write what waits, as far as the network gives and takes it."""
        if connection not in self._connections:
            return  # closed by an event that came with this one
        if ready & selectors.EVENT_WRITE:
            trouble, waits = connection.flush()
            if trouble:
                if connection.overflowed:
                    self._told(f"{connection.name} was cut off: {trouble}")
                self._close(connection)
                return
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits else 0)
            self._selector.modify(connection.socket, events, connection)
        try:
            chunk = connection.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if chunk:
            self._take(connection, chunk)
        elif connection.deadline < float("inf"):
            self._refuse(connection, "the connection ended within a frame")
        else:
            self._close(connection)

    def _take(self, connection: TcpPeer, chunk: bytes) -> None:
        complete = False
        try:
            if connection.framing is None:
                connection.framing = framing_of(chunk[0])
            for packet in connection.framing.feed(chunk):
                complete = True
                self._receive(packet, connection)
        except FramingError as error:
            self._refuse(connection, error)
            return
        if not connection.framing.pending:
            connection.deadline = float("inf")
        elif complete or connection.deadline == float("inf"):
            connection.deadline = self._clock() + FRAME_SECONDS

    def _receive(self, packet: bytes, connection: TcpPeer) -> None:
        try:
            self._door.receive(packet, connection)
        except Exception:
            log.exception("a packet from %s broke the receiver", connection.name)

    def _refuse(self, connection: TcpPeer, reason: object) -> None:
        self._door.malformed(connection, reason)
        self._close(connection)

    def _close(self, connection: TcpPeer) -> None:
        self._connections.discard(connection)
        self._selector.unregister(connection.socket)
        connection.close()
        self._door.gone(connection)


class TcpPeer:
    """One connection. The TCP thread owns all of it but the bytes that wait to go out."""

    def __init__(self, server: TcpServer, one: socket.socket, address: tuple[str, int]) -> None:
        self.socket = one
        self.framing: Framing | None = None
        self.deadline = float("inf")
        self.overflowed = False
        self._server, self._address = server, address
        self._lock = threading.Lock()  # guards what follows, and the socket against its closing
        self._outgoing = bytearray()
        self._open = True

    @property
    def name(self) -> str:
        """Its identity, such as "tcp 127.0.0.1:57120"."""
        return f"tcp {self._address[0]}:{self._address[1]}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's loopback."""
        return ipaddress.ip_address(self._address[0]).is_loopback

    def send(self, datagram: bytes) -> None:
        """Send it one packet in the framing that it uses, from any thread."""
        framing = self.framing
        if framing is None:
            return  # it has not said anything yet, so that nobody knows how it would read
        data = framing.frame(datagram)
        with self._lock:
            if not self._open or self.overflowed:
                return
            waited = bool(self._outgoing)
            if not waited:
                with contextlib.suppress(OSError):  # a broken one is found when it is read
                    data = data[self.socket.send(data) :]
            self.overflowed = len(self._outgoing) + len(data) > MAX_OUTGOING
            if not self.overflowed:
                self._outgoing += data
            changed = self.overflowed or (bool(data) and not waited)
        if changed:
            self._server.wake(self)

    def flush(self) -> tuple[str, bool]:
        """Send what waits; returns why that is not possible any more, and whether some is left."""
        with self._lock:
            if self.overflowed:
                return f"more than {MAX_OUTGOING >> 10} kB wait to be read by it", False
            try:
                del self._outgoing[: self.socket.send(self._outgoing)]
            except BlockingIOError:
                pass
            except OSError as error:
                return str(error), False
            return "", bool(self._outgoing)

    def close(self) -> None:
        """Close the socket; what is sent later is dropped."""
        with self._lock:
            self._open = False
            self._outgoing.clear()
            self.socket.close()
