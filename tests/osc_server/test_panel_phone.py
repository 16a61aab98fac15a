"""The panel on a phone, in a real Chromium with touches that it takes for a finger's."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tests.osc_server.stage import Stage, on_stage, sent_to, watch_sending

VIEWS = ("Pads", "Steps", "Kit", "Voices", "Sound", "Takes")


SHOW = "[...document.querySelectorAll('#views button')].find((tab) => tab.textContent === '{}').click()"


@contextlib.asynccontextmanager
async def phone_showing(
    stage: Stage, view: str, height: int = 740, width: int = 360
) -> AsyncIterator[None]:
    """The panel as a phone shows it, one part of it; afterwards it is large again."""
    await stage.page.size(width, height, 2.0, phone=True)
    try:
        await stage.fresh()
        await stage.page.run(SHOW.format(view))
        await watch_sending(stage.page)
        yield
    finally:
        await stage.page.size(1440, 980)
        await stage.fresh()


async def everything_sent(stage: Stage) -> list[str]:
    """The addresses of what it has sent, but for what it sends by itself."""
    sent: list[str] = await stage.page.run("window.sent.map(({ address }) => address)")
    return [one for one in sent if not one.startswith(("/ghost/status", "/ghost/notify"))]


@on_stage
async def test_a_phone_shows_every_part_without_scrolling_sideways(stage: Stage) -> None:
    page = stage.page
    for width, height in ((360, 740), (844, 390)):
        async with phone_showing(stage, "Pads", height, width):
            for view in VIEWS:
                await page.run(SHOW.format(view))
                wide = await page.run(
                    f"""[...document.querySelectorAll("body *")].filter((one) => {{
                        const {{ right, width }} = one.getBoundingClientRect();
                        return width && right > {width}.5 && !one.closest("#chips, svg, audio");
                    }}).map((one) => one.outerHTML.slice(0, 80))"""
                )
                assert wide == [], (width, view)
                assert await page.run("document.documentElement.scrollWidth") <= width
                shown = "[...document.querySelectorAll('main > section')].filter((one) => one.offsetHeight > 60)"
                assert 1 <= await page.run(f"{shown}.length") <= 2, (width, view)
            await page.run(SHOW.format("Pads"))
            # Everything that one plays by is there without scrolling.
            lowest = "Math.max(...[...document.querySelectorAll('.pad')].map((pad) => pad.getBoundingClientRect().bottom))"
            assert await page.run(f"{lowest} <= document.querySelector('#views').offsetTop")
            await page.touch(".pad[data-role=tom]")
            assert len(await sent_to(page, "/ghost/voice/1/trig/tom")) == 1


@on_stage
async def test_steps_are_numbered_and_the_page_that_plays_is_marked(stage: Stage) -> None:
    page = stage.page
    numbers = "document.querySelector('.numbers').innerText.split(/\\s+/).filter(Boolean).join(' ')"
    async with phone_showing(stage, "Steps"):
        await page.until(f"{numbers} === '1 2 3 4 5 6 7 8'")
        await page.run("document.querySelectorAll('.pages button')[1].click()")
        await page.until(f"{numbers} === '9 10 11 12 13 14 15 16'")
        stage.client.send("/ghost/pattern/1", "kick", "x.......x.......")
        stage.client.send("/ghost/play")
        for playing in (1, 2):
            await page.until(f"document.querySelector('.pages .now')?.textContent === '{playing}'")
        stage.client.send("/ghost/stop")
        await page.until("document.querySelector('.pages .now') === null")
    stage.client.send("/ghost/pattern/1/clear")


@on_stage
async def test_scrolling_over_steps_and_bars_changes_nothing(stage: Stage) -> None:
    async with phone_showing(stage, "Steps", height=420):
        await stage.page.swipe(".cell[data-role=tom][data-column='2']", (0.5, 0.5), (4, -120))
        await stage.page.until("window.scrollY > 30")
        assert await everything_sent(stage) == []
        assert await stage.page.run("document.querySelectorAll('.touched').length") == 0
    async with phone_showing(stage, "Voices", height=420):
        for label in ("temperature", "pan"):
            await stage.page.run("window.scrollTo(0, 0)")
            await stage.page.swipe(f"input[aria-label={label}]", (0.3, 0.5), (-3, -90))
        assert await everything_sent(stage) == []


@on_stage
async def test_fingers_set_and_paint_steps(stage: Stage) -> None:
    async with phone_showing(stage, "Steps"):
        await stage.page.touch(".cell[data-role=snare][data-column='4']")
        assert await sent_to(stage.page, "/ghost/pattern/1/snare/5") == [[0.75]]
        await stage.page.swipe(".cell[data-role=hat][data-column='1']", (0.5, 0.5), (140, 25))
        await stage.comes("/ghost/pattern/1/hat", lambda text: text[:5] == ".xxxx")
        assert stage.value("/ghost/pattern/1/snare") == "....x..........."
        assert set(await everything_sent(stage)) <= {
            *(f"/ghost/pattern/1/hat/{step}" for step in range(2, 7)),
            "/ghost/pattern/1/snare/5", "/ghost/get",
        }  # fmt: skip
    stage.client.send("/ghost/pattern/1/clear")


@on_stage
async def test_two_fingers_tap_at_the_same_time(stage: Stage) -> None:
    async with phone_showing(stage, "Steps"):
        points = [
            {**await stage.page.place(f".cell[data-role={role}]"), "id": number}
            for number, role in enumerate(("kick", "clap"))
        ]
        for kind, held in (
            ("Start", points[:1]),
            ("Start", points),
            ("End", points[1:]),
            ("End", []),
        ):
            await stage.page.call(
                "Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=held
            )  # fmt: skip
        for role in ("kick", "clap"):
            assert await sent_to(stage.page, f"/ghost/pattern/1/{role}/1") == [[0.75]]
    stage.client.send("/ghost/pattern/1/clear")


@on_stage
async def test_fingers_move_bars(stage: Stage) -> None:
    async with phone_showing(stage, "Voices"):
        await stage.page.touch("input[aria-label=pan]", across=0.75)
        await stage.comes("/ghost/voice/1/pan", lambda pan: 0.45 < pan < 0.55)
        await stage.page.swipe("input[aria-label=pan]", (0.75, 0.5), (-200, 6))
        await stage.comes("/ghost/voice/1/pan", lambda pan: pan < -0.5)
    stage.client.send("/ghost/voice/1/pan", 0.0)
