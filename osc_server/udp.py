"""OSC over UDP: one thread that receives, and a socket that any thread may send on.

Threads: `start` and `stop` belong to the thread that made the server. The receiving thread calls
`receive` for each datagram. `UdpPeer.send` may be called from any thread.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from ghostnote.kernels.errors import GhostnoteError

from .osc import MAX_DATAGRAM
from .peer import Peer

RECEIVE_BUFFER: Final = 4 << 20
"""Bytes asked of the system, so that a burst of thousands of messages waits rather than is lost."""
SEND_BUFFER: Final = 1 << 20
"""Bytes asked of it for answers, which do not wait: several of the largest to one packet."""

log = logging.getLogger("ghostnote.osc.in")


class UdpServer:
    """Receives datagrams at one port and hands each to `receive` with its sender.

    Parameters
    ----------
    receive : callable
        Called with the datagram (valid during the call only) and its sender, on the receiving
        thread.
    host : str
        Address to listen at; 0.0.0.0 is every network.
    port : int
        0 lets the system choose: see the attribute `port`.

    The attribute `receive_buffer` tells how many bytes the system lets wait.

    Raises
    ------
    GhostnoteError
        If the port cannot be had.
    """

    def __init__(
        self, receive: Callable[[memoryview, Peer], None], host: str = "127.0.0.1", port: int = 9770
    ) -> None:
        self._receive = receive
        self._send_lock = threading.Lock()
        self._running = False
        self._thread = threading.Thread(target=self._run, name="ghostnote-udp", daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option, size in (
            (socket.SO_RCVBUF, RECEIVE_BUFFER),
            (socket.SO_SNDBUF, SEND_BUFFER),
        ):
            with contextlib.suppress(OSError):  # a system may refuse; the default then has to do
                self._socket.setsockopt(socket.SOL_SOCKET, option, size)
        try:
            self._socket.bind((host, port))
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise GhostnoteError(
                f"UDP port {port} at {host} cannot be had ({error}): choose another with --port"
            ) from None
        # All send here, some with the session's lock: a client that has left the network, whose
        # datagrams fill the system's buffer, must not hold them up.
        self._socket.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self.port: int = self._socket.getsockname()[1]
        self.receive_buffer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def start(self) -> None:
        """Begin to receive."""
        self._running = True
        self._thread.start()

    def stop(self) -> None:
        """End the receiving thread and give the port back."""
        self._running = False
        if self._thread.ident is not None:
            self._thread.join()
        self._selector.close()
        self._socket.close()

    def send(self, datagram: bytes, address: tuple[str, int]) -> None:
        """Send one datagram, or drop it, as UDP does, where it cannot go out at once."""
        with self._send_lock, contextlib.suppress(OSError):
            self._socket.sendto(datagram, address)

    def _run(self) -> None:
        buffer = memoryview(bytearray(MAX_DATAGRAM))
        while self._running:
            try:
                size, address = self._socket.recvfrom_into(buffer)
            except BlockingIOError:
                # A wait for ever could not be ended from outside on every system.
                self._selector.select(0.2)
                continue
            except OSError:
                # Windows reports here that an earlier answer reached nobody; nothing is lost.
                # Other errors may last (a network going down): they must not take the processor.
                time.sleep(0.001)
                continue
            try:
                self._receive(buffer[:size], UdpPeer(self, address))
            except Exception:
                log.exception("a datagram from %s:%d broke the receiver", *address[:2])


class UdpPeer:
    """The address and port that a datagram came from."""

    __slots__ = ("_address", "_server")

    def __init__(self, server: UdpServer, address: tuple[str, int]) -> None:
        self._server = server
        self._address = address

    @property
    def name(self) -> str:
        """Its identity, such as "udp 127.0.0.1:57120"."""
        return f"udp {self._address[0]}:{self._address[1]}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's loopback."""
        return ipaddress.ip_address(self._address[0]).is_loopback

    def send(self, datagram: bytes) -> None:
        """Send it one datagram, from any thread."""
        self._server.send(datagram, self._address)
