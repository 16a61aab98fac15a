"""A headless Chromium driven over its DevTools protocol, with nothing but aiohttp.

Everything runs in one asyncio loop. What the page logs, throws or may not load is kept in
`Page.troubles`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = ("chromium", "google-chrome", "chromium-browser")
"""What the program is called here or there."""

_START_SECONDS = 40.0
_ANSWER_SECONDS = 30.0
_POLL_SECONDS = 0.03


class Page:
    """One page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.troubles: list[str] = []
        self._socket = socket
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0

    async def listen(self) -> None:
        """Takes what the browser says, until it is gone."""
        async for message in self._socket:
            said = json.loads(message.data)
            if waiting := self._asked.pop(said.get("id", 0), None):
                if not waiting.done():
                    waiting.set_result(said)
            else:
                self._note(said.get("method", ""), said.get("params", {}))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls a method of the protocol and returns its result."""
        self._number += 1
        waiting = asyncio.get_running_loop().create_future()
        self._asked[self._number] = waiting
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        said: dict[str, Any] = await asyncio.wait_for(waiting, _ANSWER_SECONDS)
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def run(self, script: str) -> Any:
        """Returns the value of a JavaScript expression; a promise is awaited."""
        result = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if wrong := result.get("exceptionDetails"):
            raise AssertionError(f"{script}: {wrong.get('exception', wrong).get('description')}")
        return result["result"].get("value")

    async def until(self, script: str, seconds: float = _ANSWER_SECONDS) -> Any:
        """Waits until an expression is true, and returns it."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not (value := await self.run(script)):
            late = asyncio.get_running_loop().time() > deadline
            assert not late, f"not within {seconds:g} s: {script}; {self.troubles}"
            await asyncio.sleep(_POLL_SECONDS)
        return value

    async def go(self, url: str) -> None:
        """Opens `url`."""
        await self.call("Page.navigate", url=url)

    async def size(self, width: int, height: int, scale: float = 1.0, phone: bool = False) -> None:
        """Gives the page the size of a screen, in CSS pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=phone,
        )  # fmt: skip
        await self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    async def place(
        self, selector: str, across: float = 0.5, down: float = 0.5
    ) -> dict[str, float]:
        """Returns a point of the first element that matches, scrolled into view."""
        box = await self.run(
            f"""(() => {{
                const one = document.querySelector({json.dumps(selector)});
                one.scrollIntoView({{ block: "center", behavior: "instant" }});
                const {{ left, top, width, height }} = one.getBoundingClientRect();
                return {{ left, top, width, height }};
            }})()"""
        )
        return {"x": box["left"] + across * box["width"], "y": box["top"] + down * box["height"]}

    async def press(self, selector: str, across: float = 0.5, down: float = 0.5) -> None:
        """Presses the mouse button on an element, and lets it go."""
        point = await self.place(selector, across, down)
        for kind, held in (("mousePressed", 1), ("mouseReleased", 0)):
            await self.call(
                "Input.dispatchMouseEvent",
                type=kind, button="left", buttons=held, clickCount=1, **point,
            )  # fmt: skip

    async def drag(
        self, selector: str, start: tuple[float, float], end: tuple[float, float]
    ) -> None:
        """Drags the mouse from one place on an element to another, each as parts of its size."""
        first, last = await self.place(selector, *start), await self.place(selector, *end)
        middle = {axis: (first[axis] + last[axis]) / 2 for axis in first}
        for kind, held, point in (
            ("mousePressed", 1, first), ("mouseMoved", 1, middle),
            ("mouseMoved", 1, last), ("mouseReleased", 0, last),
        ):  # fmt: skip
            await self.call(
                "Input.dispatchMouseEvent",
                type=kind, button="left", buttons=held, clickCount=1, **point,
            )  # fmt: skip

    async def touch(self, selector: str, across: float = 0.5, down: float = 0.5) -> None:
        """Touches an element with a finger."""
        point = await self.place(selector, across, down)
        await self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[point])
        await self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    async def swipe(
        self, selector: str, start: tuple[float, float], by: tuple[float, float]
    ) -> None:
        """Draws a finger across the page by pixels, from a place on an element (parts of it)."""
        point = await self.place(selector, *start)
        await self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[point])
        steps = 12
        for step in range(1, steps + 1):
            moved = {"x": point["x"] + by[0] * step / steps, "y": point["y"] + by[1] * step / steps}
            await self.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[moved])
        await self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    async def key(self, code: str, text: str = "") -> None:
        """Presses a key and lets it go."""
        key = text or code
        await self.call("Input.dispatchKeyEvent", type="keyDown", code=code, key=key, text=text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", code=code, key=key)

    async def picture(self) -> bytes:
        """Returns what the page looks like, as PNG."""
        shot = await self.call("Page.captureScreenshot", format="png")
        return base64.b64decode(shot["data"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.troubles.append(str(details.get("exception", details).get("description", details)))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.troubles.append(f"console: {[one.get('value') for one in params['args']]}")
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            entry = params["entry"]
            self.troubles.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")


@contextlib.asynccontextmanager
async def page_of(chromium: str, *arguments: str) -> AsyncIterator[Page]:
    """A page of a Chromium of its own, at the program `chromium`; ended on leaving."""
    folder = Path(tempfile.mkdtemp(prefix="ghostnote-browser-"))
    process = await asyncio.create_subprocess_exec(
        chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--mute-audio", "--autoplay-policy=no-user-gesture-required",
        "--disable-background-networking", "--disable-component-update", "--disable-extensions",
        f"--user-data-dir={folder}", "--remote-debugging-port=0", *arguments, "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:
            url = await _page_url(session, folder / "DevToolsActivePort")
            async with session.ws_connect(url, max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                try:
                    for domain in ("Page", "Runtime", "Log"):
                        await page.call(f"{domain}.enable")
                    yield page
                finally:
                    listening.cancel()
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _page_url(session: aiohttp.ClientSession, port_file: Path) -> str:
    """Returns the address of the first page, once the browser tells where it listens."""
    async with asyncio.timeout(_START_SECONDS):
        while True:
            with contextlib.suppress(OSError, LookupError, ValueError, aiohttp.ClientError):
                port = int(port_file.read_text().splitlines()[0])
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = await answer.json()
                for page in pages:
                    if page["type"] == "page":
                        return str(page["webSocketDebuggerUrl"])
            await asyncio.sleep(_POLL_SECONDS)
