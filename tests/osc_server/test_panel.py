"""The panel in a real Chromium, against a real `ghostnote serve`; what sounds is measured there."""

from __future__ import annotations

import asyncio
import json
import signal
from io import BytesIO
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import soundfile

from ghostnote.osc_server.encode import Value, encode
from ghostnote.osc_server.osc import OscBundle, OscMessage, parse_packet
from tests.osc_server.live import serving
from tests.osc_server.stage import HEARD, Stage, on_stage, sent_to, watch_sending

ROLES = ("kick", "snare", "rim", "clap", "tom", "hat", "open", "crash", "ride")
VOICE_SHOWN = "document.querySelector('.voice-shown h3').textContent"


# The modules


MESSAGES: tuple[tuple[str, tuple[Value, ...], str], ...] = (
    ("/ghost/play", (), ""),
    ("/a", (1, -7, 2**31 - 1), "iii"),
    ("/ghost/voice/1/gain", (-6.5,), "f"),
    ("/ghost/beat", (16.000001,), "d"),
    ("/ghost/voice/1/seed", (2**60 + 1,), "h"),
    ("/ghost/pattern/1", ("kick", "x...x.o."), "ss"),
    ("/text/of/any/length", ("", "abc", "abcd", "Grüße"), "ssss"),
    ("/ghost/voice/1/mute", (True, False), "TF"),
)


def script_value(value: Value) -> str:
    return f"{value}n" if type(value) is int and abs(value) > 2**53 else json.dumps(value)


@on_stage
async def test_its_osc_is_ours(stage: Stage) -> None:
    osc = "(await import('/panel/osc.js'))"
    for address, values, tags in MESSAGES:
        theirs = ", ".join(map(script_value, values))
        ours = encode(address, *values, tags=tags)
        call = f"{osc}.encodeMessage('{address}', [{theirs}], '{tags}')"
        assert bytes(await stage.page.run(f"(async () => [...{call}])()")) == ours
        back = await stage.page.run(
            f"(async () => {{ const {{ tags, args }} = {osc}.decode(new Uint8Array({list(ours)}));"
            "return [tags, args.map(String)]; })()"
        )
        assert back[0] == parse_packet(ours).typetags  # type: ignore[union-attr]
        for said, value in zip(back[1], values, strict=True):
            match value:
                case bool():
                    assert said == str(value).lower()
                case float():
                    assert float(said) == pytest.approx(value, rel=1e-6)
                case _:
                    assert said == str(value)


@on_stage
async def test_its_bundles_are_ours(stage: Stage) -> None:
    osc = "(await import('/panel/osc.js'))"
    inner = encode("/ghost/tempo", 128.0)
    parsed = parse_packet(
        bytes(
            await stage.page.run(
                f"(async () => {{ const o = {osc}; const m = o.encodeMessage('/a', [0.5], 'f');"
                "return [...o.encodeBundle([m, o.encodeBundle([m], o.timetag(1500))])]; })()"
            )
        )
    )
    assert isinstance(parsed, OscBundle)
    message, nested = parsed.elements
    assert message == OscMessage("/a", "f", (0.5,))
    assert isinstance(nested, OscBundle)
    assert nested.timetag == (2_208_988_801 << 32) + 2**31
    nested_too = b"#bundle\0" + bytes(7) + b"\1" + 2 * (len(inner).to_bytes(4) + inner)
    packet = list(b"#bundle\0" + bytes(7) + b"\1" + len(nested_too).to_bytes(4) + nested_too)
    assert await stage.page.run(
        f"(async () => {{ const o = {osc}; const found = [];"
        f"o.forEachMessage(o.decode(new Uint8Array({packet})), (m) => found.push(m.args[0]));"
        "return found; })()"
    ) == [128, 128]
    for broken in ([], [47], [47, 97, 0, 0, 44, 105, 0, 0], [35] * 8, packet[:-3]):
        assert await stage.page.run(
            f"(async () => {{ try {{ {osc}.decode(new Uint8Array({broken})); return 'taken'; }}"
            "catch (error) { return error.name; } })()"
        ) == "RangeError"  # fmt: skip


@on_stage
async def test_its_spectrum_is_right(stage: Stage) -> None:
    got = await stage.page.run(
        """(async () => {
            const { Spectrum } = await import("/panel/fft.js");
            const ring = Float32Array.from({ length: 4096 }, (_, at) => Math.sin(at * 2 * Math.PI * 100 / 1024));
            const levels = new Float32Array(512);
            new Spectrum(1024).decibels(ring, 5000, levels);
            return [...levels];
        })()"""
    )
    levels = np.array(got)
    assert levels.argmax() == 100
    assert levels[100] == pytest.approx(0.0, abs=0.1)
    assert np.delete(levels, [98, 99, 100, 101, 102]).max() < -60


@on_stage
async def test_its_kits_stand_where_the_server_has_them(stage: Stage) -> None:
    from ghostnote.osc_server.handlers_kit import xy_weights

    for x, y, count in ((0.5, 1.0, 4), (0.2, 0.7, 6), (0.9, 0.1, 3)):
        theirs = await stage.page.run(
            f"import('/panel/kits.js').then((kits) => kits.shares({x}, {y}, {count}))"
        )
        assert theirs == pytest.approx(xy_weights(x, y, count), abs=1e-9)


# Playing


@on_stage
async def test_pads_sound(stage: Stage) -> None:
    await stage.silence()
    roles = "[...document.querySelectorAll('.pad')].map((pad) => pad.dataset.role)"
    assert tuple(await stage.page.run(roles)) == ROLES
    for role in ("kick", "snare"):
        listening = asyncio.create_task(stage.loudest())
        await asyncio.sleep(0.1)
        await stage.page.press(f".pad[data-role={role}]")
        assert await listening > HEARD
        await stage.silence()


@on_stage
async def test_pads_are_hit_harder_further_up(stage: Stage) -> None:
    await watch_sending(stage.page)
    for down in (0.95, 0.5, 0.05):
        await stage.page.press(".pad[data-role=hat]", down=down)
    sent = await sent_to(stage.page, "/ghost/voice/1/trig/hat")
    soft, middle, hard = (args[0] for args in sent)
    assert 0.1 < soft < middle < hard == 1.0
    await stage.silence()


@on_stage
async def test_keys_sound_and_typing_does_not(stage: Stage) -> None:
    await stage.silence()
    await watch_sending(stage.page)
    await stage.page.run("document.querySelector('#presets input').focus()")
    await stage.page.key("KeyQ", "q")
    await stage.page.run("document.activeElement.blur()")
    assert await sent_to(stage.page, "/ghost/voice/1/trig/kick") == []
    listening = asyncio.create_task(stage.loudest())
    await asyncio.sleep(0.1)
    await stage.page.key("KeyQ", "q")
    assert await listening > HEARD
    assert len(await sent_to(stage.page, "/ghost/voice/1/trig/kick")) == 1
    await stage.silence()


@on_stage
async def test_steps_play(stage: Stage) -> None:
    await stage.silence()
    cell = ".cell[data-role=kick][data-column='{}']"
    await stage.page.press(cell.format(0))
    for _ in range(2):
        await stage.page.press(cell.format(4))
    for _ in range(3):
        await stage.page.press(cell.format(8))
    for _ in range(4):
        await stage.page.press(cell.format(12))
    await stage.comes("/ghost/pattern/1/kick", lambda text: text == "x...X...o.......")
    assert stage.value("/ghost/pattern/1/kick/length") == 16
    assert await stage.shown("kick length") == "16"
    assert await stage.loudest() < HEARD
    await stage.page.press("#transport .go")
    await stage.comes("/ghost/rolling", bool)
    await stage.page.until("document.querySelector('.cell.now') !== null")
    assert await stage.loudest(seconds=1.5) > HEARD
    await stage.page.key("Space", " ")
    await stage.comes("/ghost/rolling", lambda rolling: not rolling)
    await stage.page.press("#steps .tools > button:last-child")
    await stage.comes("/ghost/pattern/1/kick", lambda text: text == "")
    await stage.page.until("document.querySelector('.cell.on') === null")


@on_stage
async def test_steps_are_painted_and_told(stage: Stage) -> None:
    across = {column: (column + 0.5) / 16 for column in (0, 3)}
    await stage.page.drag(".row:nth-child(6) .cells", (across[0], 0.5), (across[3], 0.5))
    await stage.comes("/ghost/pattern/1/hat", lambda text: text[:1] + text[3:4] == "xx")
    stage.client.send("/ghost/pattern/1/hat", "X.x.")
    await stage.page.until(
        "[...document.querySelectorAll('.cell[data-role=hat].on')].map((c) => c.dataset.column)"
        ".join() === '0,2'"
    )
    await stage.page.press("input[aria-label='hat swing']")
    await stage.comes("/ghost/pattern/1/hat/swing", lambda swing: 0.4 < swing < 0.6)
    stage.client.send("/ghost/pattern/1/clear")


@on_stage
async def test_tempo_is_tapped(stage: Stage) -> None:
    for _ in range(4):
        await stage.page.press(".tap")
        await asyncio.sleep(0.25)
    await stage.comes("/ghost/tempo", lambda tempo: 130 < tempo < 245)
    shown = f"document.querySelector('.number').value === '{stage.value('/ghost/tempo'):.1f}'"
    await stage.page.until(shown)


@on_stage
async def test_record_gives_a_wav_to_hear_and_download(stage: Stage) -> None:
    await stage.page.press(".record")
    await stage.page.until("document.querySelector('.record.lit') !== null")
    await stage.page.press(".pad[data-role=snare]")
    await asyncio.sleep(0.6)
    await stage.page.press(".record")
    link = await stage.page.until("document.querySelector('.take-list a')?.href")
    async with aiohttp.ClientSession() as http, http.get(str(link)) as answer:
        take, rate = soundfile.read(BytesIO(await answer.read()))
    assert rate == 48000
    assert len(take) > 0.5 * rate
    assert np.abs(take).max() > HEARD
    await stage.page.press(".take-list button")
    await stage.page.until("document.querySelector('audio').duration > 0.5")
    await stage.page.run("document.querySelector('audio').pause()")
    await stage.silence()


@on_stage
async def test_a_recording_that_fails_is_no_longer_shown(stage: Stage) -> None:
    page = stage.page
    await page.press(".record")
    await page.until("document.querySelector('.record.lit') !== null")
    taken = max(stage.recordings.glob("*.wav"), key=lambda path: path.stat().st_mtime)
    taken.unlink()
    await page.until("document.querySelector('.record.lit') === null")
    assert await page.run("document.querySelector('.record').textContent") == "● record"
    await page.until("document.querySelector('#notices .fail')?.textContent.includes('taken away')")
    await page.press(".record")
    await page.until("document.querySelector('.record.lit') !== null")
    await page.press(".record")
    await page.until("document.querySelector('.record.lit') === null")


@on_stage
async def test_grab_keeps_the_last_bars(stage: Stage) -> None:
    before = await stage.page.run("document.querySelectorAll('.take-list a').length")
    stage.client.send("/ghost/tempo", 480.0)
    stage.client.send("/ghost/play")
    await stage.page.until("parseInt(document.querySelector('.where').textContent) > 2")
    await stage.page.press(".grabs button")
    await stage.page.until(f"document.querySelectorAll('.take-list a').length === {before + 1}")
    stage.client.send("/ghost/stop")
    stage.client.send("/ghost/tempo", 120.0)


# Values


@on_stage
async def test_what_others_change_is_shown(stage: Stage) -> None:
    for address, *values in (
        ("/ghost/tempo", 97.5), ("/ghost/voice/1/gain", -12.0), ("/ghost/voice/1/kit", "rumpf"),
        ("/ghost/voice/1/seed", 2**62 + 1), ("/ghost/voice/1/mute", True),
        ("/ghost/quantum", 4.0), ("/ghost/master/limiter", False),
    ):  # fmt: skip
        stage.client.send(address, *values)
    for script in (
        "document.querySelector('.number').value === '97.5'",
        "document.querySelector('.voice-shown [aria-label=gain] ~ output').textContent === '\u221212.0 dB'",
        "document.querySelector('[aria-label=Kit]').value === 'rumpf'",
        "document.querySelector('.seed').value === '4611686018427387905'",
        "document.querySelector('.mute').getAttribute('aria-pressed') === 'true'",
        "document.querySelector('[aria-label=\"Changes wait for\"]').value === '4'",
        "document.querySelector('#master [aria-pressed]').getAttribute('aria-pressed') === 'false'",
        "document.querySelector('.faders .kit-2 output').textContent === '100 %'",
    ):
        await stage.page.until(script)
    stage.client.send("/ghost/voice/1/mute", False)
    stage.client.send("/ghost/master/limiter", True)
    stage.client.send("/ghost/quantum", 0.0)


@on_stage
async def test_what_the_panel_changes_arrives(stage: Stage) -> None:
    page = stage.page
    await page.press("input[aria-label=temperature]", across=0.25)
    await stage.comes("/ghost/voice/1/temperature", lambda value: 0.2 < value < 0.4)
    await page.press("#master input", across=0.5)
    await stage.comes("/ghost/master/gain", lambda value: -20 < value < -5)
    await page.press(".solo")
    await stage.comes("/ghost/voice/1/solo", bool)
    await page.press(".solo")
    await page.press("#master [aria-pressed]")
    await stage.comes("/ghost/master/limiter", lambda on: not on)
    await page.press("#master [aria-pressed]")
    await page.press(".dice")
    await stage.comes("/ghost/voice/1/seed", lambda seed: 0 <= seed < 1_000_000)
    await page.run(
        "{ const kit = document.querySelector('[aria-label=Kit]'); kit.value = 'uzu-a';"
        "kit.dispatchEvent(new Event('change')); }"
    )
    await stage.comes("/ghost/voice/1/kit", lambda kit: kit == "uzu-a")
    await page.press(".faders .kit-1 input", across=0.5)
    await stage.comes("/ghost/voice/1/weights/1", lambda level: 0.4 < level < 0.6)
    assert stage.value("/ghost/voice/1/kit") == ""
    await page.until("document.querySelector('[aria-label=Kit]').value === ''")
    await page.drag(".xy", (0.5, 0.5), (0.5, 0.03))  # up to the first kit's own point
    await stage.comes("/ghost/voice/1/kit", lambda kit: kit == "jhd808")
    await page.until("document.querySelector('.voice-kit').textContent === 'jhd808'")
    for command, gain in (("/ghost/master/gain", 0.0), ("/ghost/voice/1/gain", 0.0)):
        stage.client.send(command, gain)


@on_stage
async def test_bars_are_moved_by_keys_too(stage: Stage) -> None:
    """The one pressed last has the focus; space still belongs to the transport."""
    page = stage.page
    await page.press("input[aria-label=pan]", across=0.75)
    await stage.comes("/ghost/voice/1/pan", lambda pan: 0.45 < pan < 0.55)
    assert await page.run("document.activeElement.getAttribute('aria-label')") == "pan"
    before = stage.value("/ghost/voice/1/pan")
    await page.key("ArrowRight")
    await stage.comes("/ghost/voice/1/pan", lambda pan: pan > before)
    await page.key("ArrowLeft")
    await stage.comes("/ghost/voice/1/pan", lambda pan: pan == before)
    await page.key("Space", " ")
    await page.until("document.body.classList.contains('rolling')")
    await page.key("Space", " ")
    await stage.comes("/ghost/rolling", lambda rolling: not rolling)
    await page.run("document.activeElement.blur()")
    stage.client.send("/ghost/voice/1/pan", 0.0)


@on_stage
async def test_voices_come_and_go(stage: Stage) -> None:
    page = stage.page
    await page.press("#voices > .row-of button")
    await page.until(f"{VOICE_SHOWN} === 'Voice 2'")
    await watch_sending(page)
    await page.press(".pad[data-role=clap]")
    assert len(await sent_to(page, "/ghost/voice/2/trig/clap")) == 1
    assert await asyncio.to_thread(stage.client.ask, "/ghost/voice/new", "", 4)
    await page.until("document.querySelectorAll('.voice-list li').length === 3")
    stage.client.send("/ghost/voice/4/pan", -0.5)
    await page.press(".voice-list li:nth-child(3) .chooser")
    await page.until(f"{VOICE_SHOWN} === 'Voice 4'")
    await page.until("document.querySelector('[aria-label=pan] ~ output').textContent === '50 L'")
    stage.client.send("/ghost/voice/4/free")
    await page.until(f"{VOICE_SHOWN} === 'Voice 2'")
    await page.press(".voice-shown .danger")
    await page.until(f"{VOICE_SHOWN} === 'Voice 1'")
    await page.until("document.querySelectorAll('.voice-list li').length === 1")


@on_stage
async def test_presets_and_notices(stage: Stage) -> None:
    page = stage.page
    stage.client.send("/ghost/tempo", 90.0)
    await page.until("document.querySelector('.number').value === '90.0'")
    for name in ("slow", "gone"):
        await page.run(f"document.querySelector('#presets input').value = '{name}'")
        await page.press("#presets form button")
        await page.until(f"document.querySelector('#presets ul').textContent.includes('{name}')")
    stage.client.send("/ghost/tempo", 150.0)
    await page.until("document.querySelector('.number').value === '150.0'")
    await page.press("[aria-label='Load slow']")
    await page.until("document.querySelector('.number').value === '90.0'")
    await asyncio.to_thread(stage.client.ask, "/ghost/preset/delete", "gone")
    await page.press("[aria-label='Load gone']")
    await page.until("document.querySelector('#notices .fail')?.textContent.includes('gone')")


# The page


@on_stage
async def test_it_is_not_curious(stage: Stage) -> None:
    """Left alone it asks for nothing but the status, and not more than twice a second."""
    await watch_sending(stage.page)
    await asyncio.sleep(2.2)
    sent = await stage.page.run("window.sent.map(({ address }) => address)")
    assert set(sent) <= {"/ghost/status", "/ghost/notify/meters", "/ghost/notify/beat"}
    assert len(sent) <= 5


@on_stage
async def test_everything_has_a_name_and_can_be_seen(stage: Stage) -> None:
    """Names for screen readers, a focus that shows, and text that stands out by 4.5 to 1."""
    nameless = await stage.page.run(
        """[...document.querySelectorAll("button, input, select, a, canvas")].filter((one) => {
            const label = one.getAttribute("aria-label") || one.textContent.trim();
            return !label && !one.closest("label");
        }).map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    root = await stage.page.run(
        """["--ground", "--panel", "--raised", "--high", "--text", "--dim", "--warm"].map((name) =>
            [name, getComputedStyle(document.documentElement).getPropertyValue(name).trim()])"""
    )
    colours = {name: luminance(value) for name, value in root}
    for ground in ("--ground", "--panel", "--raised"):
        for text in ("--text", "--dim", "--warm"):
            assert (colours[text] + 0.05) / (colours[ground] + 0.05) >= 4.5, (text, ground)


def test_it_says_when_the_server_is_gone_and_comes_back(stage: Stage) -> None:
    page = stage.page

    async def meets(port: int) -> None:
        await page.go(f"http://127.0.0.1:{port}/")
        await page.until("document.querySelectorAll('.pad').length === 9")

    try:
        with serving("--sink", "null") as server:
            stage.run(meets(server.port))
            port = server.port
            server.end(signal.SIGTERM)
        stage.run(page.until("document.querySelector('#offline').hidden === false"))
        assert stage.run(page.run("document.querySelector('main').inert")) is True
        with serving("--sink", "null", "--port", str(port)):
            stage.run(page.until("document.querySelector('#offline').hidden"))
            stage.run(page.until("!document.querySelector('main').inert"))
            assert stage.run(page.run("document.querySelectorAll('.pad').length")) == 9
            stage.run(stage.fresh())
    finally:
        # The browser itself tells of every attempt to connect.
        refused = "ERR_CONNECTION_REFUSED"
        page.troubles = [one for one in page.troubles if refused not in one]


def test_only_own_resources(stage: Stage) -> None:
    """No file of the panel names another place, nor has a script or style within the page."""
    from ghostnote.osc_server import web

    page = (web.PANEL / "index.html").read_text()
    assert "<style" not in page
    assert " style=" not in page
    assert page.count("<script") == page.count('<script type="module" src="/panel/')
    for path in sorted(Path(web.PANEL).iterdir()):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text, path.name


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb", as WCAG 2 reckons it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
