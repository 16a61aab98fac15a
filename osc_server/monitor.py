"""The sound of the master over WebSocket, for browsers: to hear, for a scope, for a spectrogram.

Threads: the web thread. The sound comes from the tap that the engine writes and that anyone may
read, so that nothing here can hold up the engine: a client that is slow loses blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass
from typing import Final

import numpy as np
from aiohttp import WSMsgType, web
from numpy.typing import NDArray

from .ring import TapRing
from .told import Told

MAX_LISTENERS: Final = 8
BLOCKS_PER_SECOND: Final = 50
BEHIND_SECONDS: Final = 0.5
"""So far a client may be behind; then blocks are left out."""
CHANNELS: Final = 2
FORMATS: Final = ("float32", "int16")
HEARTBEAT_SECONDS: Final = 20.0
CLOSE_SECONDS: Final = 1.0
_WRITER_LIMIT = 32768  # bytes that one client's connection may hold back, besides the system's own

log = logging.getLogger("ghostnote.web")


@dataclass(eq=False)
class _Listener:
    socket: web.WebSocketResponse
    transport: asyncio.Transport


class Monitor:
    """Sends `tap`, whose rate is `samplerate` Hz, to at most MAX_LISTENERS clients."""

    def __init__(self, tap: TapRing, samplerate: int) -> None:
        self._tap, self._samplerate = tap, samplerate
        self._frames = samplerate // BLOCKS_PER_SECOND
        self._listeners: set[_Listener] = set()
        self._told = Told(log)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one listener until it leaves; `?format=int16` halves what is sent."""
        form = request.query.get("format", FORMATS[0])
        transport = request.transport
        if form not in FORMATS:
            return web.Response(status=400, text=f"format must be {' or '.join(FORMATS)}\n")
        if transport is None or len(self._listeners) >= MAX_LISTENERS:
            self._told(f"a monitor was refused: {MAX_LISTENERS} are listening already")
            return web.Response(status=503, text=f"{MAX_LISTENERS} are listening already\n")
        socket = web.WebSocketResponse(
            timeout=CLOSE_SECONDS,
            heartbeat=HEARTBEAT_SECONDS,
            max_msg_size=1024,  # there is nothing to say here
            compress=False,
            writer_limit=_WRITER_LIMIT,
        )
        if not socket.can_prepare(request):
            return web.Response(status=400, text="this address takes WebSockets only\n")
        listener = _Listener(socket, transport)
        self._listeners.add(listener)
        sending = None
        try:
            await socket.prepare(request)
            name = str(transport.get_extra_info("peername")[0])
            sending = asyncio.create_task(self._send(socket, form, name))
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    continue  # whatever it is, the sound goes on
        finally:
            self._listeners.discard(listener)
            if sending:
                sending.cancel()
        return socket

    async def close(self) -> None:
        """Say good-bye to all listeners; those that do not answer are cut off."""
        listeners = list(self._listeners)
        goodbyes = (
            asyncio.wait_for(one.socket.close(code=1001), CLOSE_SECONDS) for one in listeners
        )
        await asyncio.gather(*goodbyes, return_exceptions=True)
        for one in listeners:
            one.transport.abort()

    async def _send(self, socket: web.WebSocketResponse, form: str, name: str) -> None:
        """Send the header, then block after block as the engine makes them."""
        header = {
            "samplerate": self._samplerate,
            "channels": CHANNELS,
            "format": form,
            "frames": self._frames,
        }
        block = np.zeros((self._frames, self._tap.data.shape[1]), np.float32)
        place = self._tap.written
        with contextlib.suppress(ConnectionError):
            await socket.send_str(json.dumps(header))
            while True:
                behind = self._tap.written - place
                if behind > BEHIND_SECONDS * self._samplerate:
                    lost = behind // self._frames * self._frames
                    place += lost
                    self._told(f"the monitor of {name} is too slow: {lost} frames were left out")
                    await socket.send_str(json.dumps({"lost": lost}))
                elif behind < self._frames:
                    await asyncio.sleep((self._frames - behind) / self._samplerate)
                else:
                    # Never -1, too late: the tap remembers much more than half a second.
                    self._tap.read(place, block)
                    place += self._frames
                    await socket.send_bytes(_packed(block, form))


def _packed(block: NDArray[np.float32], form: str) -> bytes:
    """Return the first two channels (one twice) interleaved, little-endian."""
    stereo = block[:, :CHANNELS] if block.shape[1] >= CHANNELS else block.repeat(CHANNELS, axis=1)
    if form == "int16":
        return (stereo.clip(-1.0, 1.0) * 32767.0).round().astype("<i2").tobytes()
    return stereo.astype("<f4").tobytes()
