"""The panel's drummer, in a real Chromium: what is pressed is asked, what is asked elsewhere is shown."""

from __future__ import annotations

from tests.osc_server.stage import Stage, on_stage

ROOT = "/ghost/voice/1/drummer"


@on_stage
async def test_it_is_started_and_asked_by_hand(stage: Stage) -> None:
    await stage.fresh()
    style = "document.querySelector('select[aria-label=\"Style of the drummer\"]')"
    await stage.page.until(f"{style}.options.length > 10")
    await stage.page.press("#drummer .go")
    await stage.comes(f"{ROOT}/playing", bool)
    script = f"{style}.value = 'jazz/swing'; {style}.dispatchEvent(new Event('change'))"
    await stage.page.run(script)
    await stage.comes(f"{ROOT}/style", lambda value: value == "jazz/swing")
    seed = stage.value(f"{ROOT}/seed")
    await stage.page.press("#drummer .dice")
    await stage.comes(f"{ROOT}/seed", lambda value: value != seed)
    stage.client.send("/ghost/play")
    assert await stage.loudest(seconds=3.0) > 0.03
    stage.client.send("/ghost/stop")
    await stage.page.press("#drummer .go")
    await stage.comes(f"{ROOT}/playing", lambda value: not value)


@on_stage
async def test_what_others_ask_is_shown(stage: Stage) -> None:
    await stage.fresh()
    stage.client.send(f"{ROOT}/density", 0.25)
    stage.client.send(f"{ROOT}/fill", 4)
    stage.client.send(f"{ROOT}/style", "funk:2,jazz:1")
    stage.client.send(f"{ROOT}/start")
    await stage.page.until(
        "document.querySelector('#drummer .go').getAttribute('aria-pressed') === 'true'"
    )
    assert await stage.shown("density") == "25 %"
    assert await stage.shown("fill") == "every 4"
    style = "document.querySelector('select[aria-label=\"Style of the drummer\"]')"
    await stage.page.until(f"{style}.value === 'funk:2,jazz:1'")
    stage.client.send(f"{ROOT}/stop")
