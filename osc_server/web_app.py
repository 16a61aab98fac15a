"""What is at which URL: OSCQuery, the panel, recordings, the state, and the two WebSockets.

Threads: the web thread only; files are looked for in its loop's pool. The session's lock is taken
for moments.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

from aiohttp import hdrs, web

from .endpoint import Access
from .monitor import Monitor
from .oscquery import Host, Space, answer, host_info
from .paths import PathError, resolve_inside
from .state import as_text, snapshot
from .told import Told
from .web import Site
from .web_guard import host_allowed, origin_allowed, own_names, security_headers
from .web_socket import Hub

MAX_CONNECTIONS: Final = 128
"""Of HTTP and WebSocket together."""
IDLE_SECONDS: Final = 15.0
"""How long a connection may be silent between requests, or take for one's head."""
STOP_SECONDS: Final = 1.0
MAX_LISTED: Final = 1000

_TYPES: Final = {  # what systems know of these differs, and browsers do not guess
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wav": "audio/wav",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

log = logging.getLogger("ghostnote.web")


class WebApp:
    """The handlers of all URLs of a site that is served at `port`."""

    def __init__(self, site: Site, port: int) -> None:
        self._site, self._port = site, port
        self._told = Told(log)
        self._names = own_names()
        self._hub = Hub(site.dispatcher)
        self._monitor = Monitor(site.tap, site.samplerate)

    async def run(self, listener: socket.socket, ended: asyncio.Event) -> None:
        """Answer at `listener` until `ended`."""
        app = web.Application(middlewares=[self._guarded])
        app.on_response_prepare.append(self._secure)
        app.add_routes(
            [
                web.get("/", self._root),
                web.get("/ws", self._hub.serve),
                web.get("/monitor", self._monitor.serve),
                web.get("/state", self._state),
                web.get("/panel/{name:.*}", self._panel),
                web.get("/recordings", self._recordings),
                web.get("/recordings/", self._recordings),
                web.get("/recordings/{name:.+}", self._recording),
                web.get("/{path:.*}", self._query),
            ]
        )
        app.on_shutdown.append(self._close_sockets)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_terse_logger(self._told),
            keepalive_timeout=IDLE_SECONDS,
            shutdown_timeout=STOP_SECONDS,
        )
        await runner.setup()
        requests = runner.server
        assert requests is not None

        def connect() -> asyncio.BaseProtocol:
            if len(requests.connections) < MAX_CONNECTIONS:
                return requests()
            self._told(f"a connection was closed: {MAX_CONNECTIONS} HTTP clients are connected")
            return _Closed()

        loop = asyncio.get_running_loop()
        server = await loop.create_server(connect, sock=listener)
        changes = asyncio.create_task(self._hub.tell_changes())
        try:
            await ended.wait()
        finally:
            server.close()
            changes.cancel()
            await runner.cleanup()

    @web.middleware
    async def _guarded(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Refuse what may come from another site's page, and tell of defects without details."""
        host = request.headers.get(hdrs.HOST, "")
        if not host_allowed(host, self._site.bind, self._names):
            self._told(f"a request for the host {host[:80]!r} was refused: not a name of this one")
            return web.Response(
                status=403, text="this host name is not served here: use the address\n"
            )
        upgrade = request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"
        if request.method not in ("GET", "HEAD") or upgrade:
            origin = request.headers.get(hdrs.ORIGIN)
            if not origin_allowed(origin, host):
                self._told(f"a request by a page of {str(origin)[:80]!r} was refused")
                return web.Response(status=403, text="pages of other sites are not served here\n")
        try:
            return await handler(request)
        except web.HTTPException as refusal:
            if refusal.status == 405:
                return web.Response(status=405, text="only GET and HEAD are taken\n")
            raise
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return web.Response(status=500, text="internal error; the server's log has it\n")

    async def _secure(self, request: web.Request, response: web.StreamResponse) -> None:
        host = request.headers.get(hdrs.HOST, "")
        if host_allowed(host, self._site.bind, self._names):
            response.headers.update(security_headers(host))
        response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")

    async def _close_sockets(self, _: web.Application) -> None:
        await asyncio.gather(self._hub.close(), self._monitor.close())

    async def _root(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            return await self._hub.serve(request)
        wants_page = "text/html" in request.headers.get(hdrs.ACCEPT, "") and not request.query
        return self._index() if wants_page else await self._query(request)

    async def _query(self, request: web.Request) -> web.StreamResponse:
        attributes = list(request.query)
        if "HTML" in attributes:
            return self._index()
        if "HOST_INFO" in attributes:
            return web.json_response(host_info(self._host(request)))
        status, node = answer(self._space(), request.path, attributes)
        if node is not None:
            return web.json_response(node)
        told = {400: "unknown attribute\n", 404: "no such address\n"}
        return web.Response(status=status, text=told.get(status))

    def _host(self, request: web.Request) -> Host:
        site, transport = self._site, request.transport
        own = transport.get_extra_info("sockname") if transport else None
        address = own[0] if own else site.bind
        name = f"ghostnote on {socket.gethostname()}"
        return Host(name, address, site.udp_port, site.tcp_port, self._port)

    def _space(self) -> Space:
        session = self._site.dispatcher.session
        with session.lock:
            routes = session.routes.all()
            values = {
                route.name: value
                for route in routes
                if route.endpoint.access is not Access.TRIGGER
                and (value := session.value(route)) is not None
            }
            control, kits = session.control, dict(session.kits)
            return Space(routes, values, control.roles, kits, control.outputs)

    async def _state(self, _: web.Request) -> web.StreamResponse:
        session = self._site.dispatcher.session
        with session.lock:
            state = snapshot(session)
        return web.Response(text=as_text(state), content_type="application/json")

    def _index(self) -> web.StreamResponse:
        return _file(self._site.panel, "index.html")

    async def _panel(self, request: web.Request) -> web.StreamResponse:
        return _file(self._site.panel, request.match_info["name"] or "index.html")

    async def _recording(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if not name.lower().endswith(".wav"):
            return web.Response(status=404, text="recordings end in .wav\n")
        return _file(self._site.recordings, name)

    async def _recordings(self, _: web.Request) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        return web.json_response(await loop.run_in_executor(None, listed, self._site.recordings))


class _Terse(logging.Filter):
    """Tells what aiohttp logs in one line, without the traceback of every malformed request."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell one record in its stead."""
        error = record.exc_info[1] if record.exc_info else None
        reason = " ".join(str(error).split())[:200] if error else ""
        self._told(f"{record.getMessage()}{': ' if reason else ''}{reason}")
        return False


def _terse_logger(told: Told) -> logging.Logger:
    logger = logging.getLogger("ghostnote.web.requests")
    logger.filters = [_Terse(told)]
    return logger


class _Closed(asyncio.Protocol):
    """The protocol of connections that are one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def listed(root: Path) -> dict[str, list[dict[str, str | int | float]]]:
    """Return the WAV files below `root`, newest first, at most MAX_LISTED; JSON of /recordings/."""
    found: list[tuple[float, int, str]] = []
    for path in root.rglob("*.[wW][aA][vV]"):
        name = path.relative_to(root).as_posix()
        try:
            facts = resolve_inside(root, name).stat()
        except (PathError, OSError):  # a link that leads out, or gone meanwhile
            continue
        found.append((facts.st_mtime, facts.st_size, name))
    found.sort(reverse=True)
    return {
        "recordings": [
            {"name": name, "url": f"/recordings/{quote(name)}", "bytes": size, "modified": when}
            for when, size, name in found[:MAX_LISTED]
        ]
    }


def _file(root: Path, name: str) -> web.StreamResponse:
    """Return the file `name` below `root`, ranges and "not modified" included, or 404."""
    try:
        path = resolve_inside(root, name)
        found = path.is_file()
    except (PathError, OSError, ValueError):
        found = False
    if not found:
        return web.Response(status=404, text="no such file\n")
    headers = {hdrs.CACHE_CONTROL: "no-cache"}
    if kind := _TYPES.get(path.suffix.lower()):
        headers[hdrs.CONTENT_TYPE] = kind
    return web.FileResponse(path, headers=headers)
