"""A stage for the panel: a real `ghostnote serve`, a real Chromium that shows it, a client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ghostnote.osc_server.encode import Value
from tests.osc_server.browser import CHROMIUM, Page, page_of
from tests.osc_server.live import Client, client_of, serving
from tests.parts import need

T = TypeVar("T")

HEARD = 0.03
"""Peak of a hit, linear; the model's own hiss is below."""


@dataclass
class Stage:
    """A server, a page that shows its panel, and a client that talks to it over UDP."""

    page: Page
    client: Client
    url: str
    run: Callable[[Coroutine[Any, Any, T]], T]
    recordings: Path

    def value(self, address: str) -> Value:
        """What the server says that an address reads as."""
        self.client.send("/ghost/get", address)
        return self.client.expect(address)[1]

    async def comes(self, address: str, wanted: Callable[[Any], bool]) -> None:
        """Waits until a value of the server is as wanted."""
        async with asyncio.timeout(20):
            while not wanted(self.value(address)):
                await asyncio.sleep(0.02)

    async def loudest(self, address: str = "/ghost/meter", seconds: float = 0.7) -> float:
        """The highest peak of the voices' meters during `seconds`."""
        self.client.send("/ghost/notify/meters", 1, 30.0)
        answers = await asyncio.to_thread(self.client.answers, seconds)
        peaks = [float(answer[2]) for answer in answers if answer[0] == address]
        assert peaks, "no meters came"
        return max(peaks)

    async def silence(self) -> None:
        """Waits until nothing rings."""
        async with asyncio.timeout(30):
            while await self.loudest(seconds=0.2) > HEARD:
                pass

    async def shown(self, bar: str) -> str:
        """The text of the bar whose slider has this label."""
        script = f"document.querySelector('input[aria-label={json.dumps(bar)}]')"
        return str(
            await self.page.run(f"{script}.parentElement.querySelector('output').textContent")
        )

    async def fresh(self) -> None:
        """Opens the panel anew and waits until it is there."""
        await self.page.go(self.url)
        await self.page.until("document.querySelectorAll('.pad').length === 9")


@contextmanager
def staged(folder: Path, *arguments: str) -> Iterator[Stage]:
    """A stage whose server writes below `folder`; skipped without Chromium."""
    chromium = need(*CHROMIUM)
    folders = [f"--{name}={folder / name}" for name in ("recordings", "presets", "primes")]
    with (
        asyncio.Runner() as runner,
        serving("--sink", "null", "--ring", "4096", *folders, *arguments) as server,
        client_of(server.port) as client,
    ):
        opened = contextlib.AsyncExitStack()
        page = runner.run(opened.enter_async_context(page_of(chromium)))
        try:
            url = f"http://127.0.0.1:{server.port}/"
            made = Stage(page, client, url, runner.run, folder / "recordings")
            runner.run(page.size(1440, 980))
            runner.run(made.fresh())
            yield made
        finally:
            runner.run(opened.aclose())


def on_stage(test: Callable[[Stage], Coroutine[Any, Any, None]]) -> Callable[[Stage], None]:
    """Makes a plain test of a coroutine.

    It fails too where there is an error on the console or something that the policy forbids.
    """

    def run(stage: Stage) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(stage)

        stage.page.troubles.clear()
        stage.client.answers(0.001)
        stage.run(bounded())
        assert not stage.page.troubles, stage.page.troubles

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def watch_sending(page: Page) -> None:
    """Keeps what the page sends from now on in `window.sent`."""
    await page.run(
        """(async () => {
            const { decode, forEachMessage } = await import("/panel/osc.js");
            window.sent = [];
            window.realSend ??= WebSocket.prototype.send;
            WebSocket.prototype.send = function (data) {
                if (typeof data !== "string") forEachMessage(decode(data), (m) => window.sent.push(m));
                return window.realSend.call(this, data);
            };
        })()"""
    )


async def sent_to(page: Page, address: str) -> list[list[Any]]:
    """The arguments of the messages that it has sent to an address."""
    script = f"window.sent.filter((m) => m.address === '{address}').map((m) => m.args)"
    found: list[list[Any]] = await page.run(script)
    return found
