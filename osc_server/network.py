"""All the ways to the server: OSC over UDP and TCP, HTTP and WebSocket, and how others find them.

Threads: for the thread that made the server. Each way has a thread of its own.
"""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path
from typing import Final

from ghostnote.kernels.errors import GhostnoteError

from .discovery import Discovery
from .dispatch import Dispatcher
from .ring import TapRing
from .tcp import TcpServer
from .udp import UdpServer
from .web import Site, WebServer

_TRIES: Final = 100  # to find three ports that are free together
_LAST_PORT: Final = 65535


class Network:
    """UDP at `port`, TCP at the next one, and HTTP at the TCP port of the same number.

    Parameters
    ----------
    dispatcher : Dispatcher
        Where all packets go.
    bind, port : str, int
        Port 0 finds one where all three are free: see `udp.port`.
    http : bool
        Without it there is no OSCQuery, panel and WebSocket.

    Raises
    ------
    GhostnoteError
        If a port cannot be had.
    """

    def __init__(self, dispatcher: Dispatcher, bind: str, port: int, *, http: bool = True) -> None:
        self._dispatcher, self._bind, self._http = dispatcher, bind, http
        tries = 1 if port else _TRIES
        while True:
            tries -= 1
            try:
                self.udp, self.tcp, self.web = self._open(port)
                break
            except GhostnoteError:
                if not tries:
                    raise
        open_to_network = not ipaddress.ip_address(bind).is_loopback
        self._discovery = Discovery(bind, self.udp.port, http) if open_to_network else None

    @property
    def panel(self) -> str:
        """Where this machine's browser finds the panel; empty without HTTP."""
        host = "127.0.0.1" if self._bind == "0.0.0.0" else self._bind
        return f"http://{host}:{self.web.port}/" if self.web else ""

    def start(self, tap: TapRing, samplerate: int, recordings: Path) -> None:
        """Begin to listen.

        `tap` holds the master's sound, at `samplerate` Hz, `recordings` the files that are offered.
        """
        self.udp.start()
        self.tcp.start()
        if self.web:
            self.web.start(
                Site(
                    self._dispatcher,
                    tap,
                    samplerate,
                    recordings,
                    self._bind,
                    self.udp.port,
                    self.tcp.port,
                )
            )
        if self._discovery:
            self._discovery.start()

    def stop(self) -> None:
        """Close all connections and give the ports back."""
        self.udp.stop()
        self.tcp.stop()
        if self.web:
            self.web.stop()
        if self._discovery:
            self._discovery.stop()

    def _open(self, port: int) -> tuple[UdpServer, TcpServer, WebServer | None]:
        with contextlib.ExitStack() as opened:
            udp = UdpServer(self._dispatcher.receive, self._bind, port)
            opened.callback(udp.stop)
            if udp.port == _LAST_PORT:
                raise GhostnoteError(f"port {udp.port}: TCP needs the next one, and there is none")
            tcp = TcpServer(self._dispatcher, self._bind, udp.port + 1)
            opened.callback(tcp.stop)
            web = WebServer(self._bind, udp.port) if self._http else None
            opened.pop_all()
            return udp, tcp, web
