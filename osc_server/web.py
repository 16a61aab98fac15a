"""HTTP and WebSocket at one TCP port: the socket at once, the rest in a thread of its own.

Threads: `WebServer` belongs to the thread that made the server. All else runs on the web thread, in
one asyncio loop. aiohttp takes a quarter of a second to import, so that thread imports it; clients
that come before wait in the socket's queue.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .dispatch import Dispatcher
from .ring import TapRing
from .tcp import listening_socket

if TYPE_CHECKING:
    from .web_app import WebApp

PANEL: Final = Path(__file__).parent / "panel"

log = logging.getLogger("ghostnote.web")


@dataclass(frozen=True)
class Site:
    """What the web server shows: the OSC side, the master's sound, two folders of files.

    `samplerate` is that of the tap, `tcp_port` that of OSC over TCP. `bind` is where it listens.
    """

    dispatcher: Dispatcher
    tap: TapRing
    samplerate: int
    recordings: Path
    bind: str = "127.0.0.1"
    udp_port: int = 0
    tcp_port: int = 0
    panel: Path = PANEL


class WebServer:
    """Serves OSCQuery, the panel, recordings and WebSockets at TCP `port` (0: any) of `host`.

    Raises
    ------
    GhostnoteError
        If the port cannot be had.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 9770) -> None:
        self._listener = listening_socket(host, port, "HTTP")
        self.port: int = self._listener.getsockname()[1]
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def start(self, site: Site) -> None:
        """Begin to answer."""
        self._thread = threading.Thread(
            target=self._run, args=(site,), name="ghostnote-web", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close all connections, end the thread and give the port back."""
        self._stopping = True
        loop, ended = self._loop, self._ended
        if loop is not None and ended is not None:
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:
                log.debug("the web server had ended before")
        if self._thread is not None:
            self._thread.join()
        self._listener.close()

    def _run(self, site: Site) -> None:
        try:
            from .web_app import WebApp

            asyncio.run(self._serve(WebApp(site, self.port)))
        except Exception:
            log.exception("the web server failed; OSC goes on")
            self._listener.close()

    async def _serve(self, app: WebApp) -> None:
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if not self._stopping:
            await app.run(self._listener, self._ended)
