"""The monitor over a WebSocket: what the engine plays, and clients that are too slow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from ghostnote.osc_server.monitor import MAX_LISTENERS
from ghostnote.osc_server.ring import tap_write
from tests.osc_server.waiting import until
from tests.osc_server.web_house import (
    RATE,
    House,
    a_house,
    handshake,
    in_a_loop,
    websocket,
)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        yield house


def play(house: House, frames: int, value: float) -> None:
    """Writes so much sound as the engine would."""
    block = np.full((frames, 2), [value, -value], np.float32)
    tap_write(house.tap.header, house.tap.data, block, frames)


@pytest.mark.parametrize(
    ("form", "dtype", "scale"), [("float32", "<f4", 1), ("int16", "<i2", 32767)]
)
def test_the_monitor_sends_what_the_engine_plays(
    house: House, form: str, dtype: str, scale: int
) -> None:
    async def run() -> None:
        play(house, 5000, 0.9)  # before it came
        async with websocket(house, f"/monitor?format={form}") as one:
            header = await one.receive_json(timeout=20)
            assert header == {"samplerate": RATE, "channels": 2, "format": form, "frames": 960}
            play(house, 961, 0.5)
            play(house, 959, 0.25)
            blocks = [
                np.frombuffer(await one.receive_bytes(timeout=20), dtype).reshape(-1, 2)
                for _ in range(2)
            ]
            sound = np.concatenate(blocks) / scale
            assert sound.shape == (1920, 2)
            assert np.allclose(sound[:961], [0.5, -0.5], atol=1e-4)
            assert np.allclose(sound[961:], [0.25, -0.25], atol=1e-4)
            await one.send_str("anything")
            play(house, 960, 0.5)
            assert len(await one.receive_bytes(timeout=20)) == blocks[0].nbytes

    asyncio.run(run())


def test_a_monitor_that_is_too_slow_loses_blocks_and_is_told(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.closing(handshake(house, "/monitor")) as slow:

        def overrun() -> bool:
            play(house, 8192, 0.5)
            return "too slow" in caplog.text

        until(overrun, "lost blocks")
        # It reads again: the loss is told, and the sound of now follows.
        received = bytearray()
        while b'{"lost": ' not in received:
            received += slow.recv(65536)


@in_a_loop
async def test_no_more_than_so_many_monitors(house: House) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_LISTENERS):
            await stack.enter_async_context(websocket(house, "/monitor"))
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with websocket(house, "/monitor"):
                pass
        assert refused.value.status == 503
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with websocket(house, "/monitor?format=mp3"):
            pass
    assert refused.value.status == 400
