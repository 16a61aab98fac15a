"""The master's sound in the panel, in a real Chromium: pictures of it, and "listen here"."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from ghostnote.osc_server.discovery import own_addresses
from tests.osc_server.browser import CHROMIUM, Page, page_of
from tests.osc_server.live import serving
from tests.osc_server.stage import HEARD, Stage, on_stage
from tests.parts import need, unfit


@on_stage
async def test_the_pictures_show_the_sound(stage: Stage) -> None:
    """How many pixels of the spectrogram are warm, before and after hits."""
    warm = """(() => {
        const shown = document.querySelector(".history");
        const copy = Object.assign(document.createElement("canvas"), { width: 500, height: 150 });
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(shown, 0, 0, 500, 150);
        const { data } = context.getImageData(0, 0, 500, 150);
        let count = 0;
        for (let at = 0; at < data.length; at += 4) count += data[at] > 110;
        return count;
    })()"""
    await stage.fresh()
    await stage.silence()
    before = await stage.page.run(warm)
    await stage.page.press(".pad[data-role=snare]")
    await stage.page.until(f"{warm} > {before} + 200")
    await stage.silence()


@on_stage
async def test_the_spectrogram_keeps_to_its_axis_at_any_rate(stage: Stage) -> None:
    """The brightest row for 10 kHz is where the axis says 10 kHz, also once the rate is another."""
    rows = await stage.page.run(
        """(async () => {
            const { sound } = await import("/panel/sound.js");
            const place = document.createElement("section");
            place.append(document.createElement("h2"));
            document.body.prepend(place);
            let take;
            sound({ on: (listener) => { take = listener; return () => {}; }, onTrouble() {} }, place);
            place.querySelector(".screen").style.height = "1000px";
            const frame = () => new Promise(requestAnimationFrame);
            const found = [];
            for (const rate of [48000, 44100, 96000]) {
                const sine = Float32Array.from({ length: 16384 }, (_, at) =>
                    0.5 * Math.sin(2 * Math.PI * 10000 * Math.floor(at / 2) / rate));
                for (const _ of [0, 1, 2]) {
                    take(sine, rate);
                    await frame();
                    await frame();
                }
                const shown = place.querySelector(".history");
                const column = Object.assign(document.createElement("canvas"), { width: 1, height: shown.height });
                const context = column.getContext("2d", { willReadFrequently: true });
                context.drawImage(shown, 3 - shown.width, 0);
                const { data } = context.getImageData(0, 0, 1, shown.height);
                let best = 0;
                const first = Math.ceil(0.27 * shown.height);
                let bright = -1;
                for (let y = first; y < shown.height; y++) {
                    const light = data[4 * y] + data[4 * y + 1] + data[4 * y + 2];
                    if (light > bright) [bright, best] = [light, y];
                }
                found.push(best / shown.height);
            }
            const label = place.querySelector(".axis span:last-child");
            const said = Number(label.style.getPropertyValue("--at"));
            place.remove();
            return { found, said };
        })()"""
    )
    assert rows["found"] == pytest.approx([rows["said"]] * 3, abs=0.006)


# Listening

SINE_HZ = 200.0
STEEPEST = 0.5 * (2 * np.pi * SINE_HZ + 1 / 0.005) / 44_100 * 1.05
"""Of a sine of that frequency at half of full scale, faded in 5 ms, per sample."""


def test_the_stream_breaks_without_a_click(stage: Stage) -> None:
    """Blocks that come evenly, late and all at once, at another rate than the device's."""
    heard = np.array(
        stage.run(
            stage.page.run(
                f"""(async () => {{
                    const {{ Stream }} = await import("/panel/player.js");
                    const stream = new Stream(44100);
                    let at = 0;
                    const block = () => Float32Array.from({{ length: 1920 }}, (_, i) =>
                        0.5 * Math.sin(2 * Math.PI * {SINE_HZ} * (at + (i >> 1)) / 48000));
                    const give = () => {{ stream.take(block(), 48000); at += 960; }};
                    const heard = [];
                    // 20 ms each; what comes: evenly, nothing, all at once, evenly.
                    const come = [...Array(100).fill(1), ...Array(20).fill(0), 45, ...Array(100).fill(1),
                        ...Array(3).fill(0), 3, ...Array(50).fill(1)];
                    for (const blocks of come) {{
                        for (let one = 0; one < blocks; one++) give();
                        for (let one = 0; one < 7; one++) {{
                            const [left, right] = [new Float32Array(126), new Float32Array(126)];
                            stream.read(left, right);
                            heard.push(...left);
                        }}
                    }}
                    return heard;
                }})()"""
            )
        )
    )
    assert np.abs(np.diff(heard)).max() < STEEPEST
    step = 882  # 20 ms
    assert np.abs(heard[: 6 * step]).max() == 0.0  # as much as it is ahead
    loud = np.abs(heard[: len(heard) // step * step].reshape(-1, step)).max(axis=1)
    assert loud[9:100].min() == pytest.approx(0.5, abs=0.01)
    assert loud[110:120].max() == 0.0
    assert loud[124:].min() == pytest.approx(0.5, abs=0.01)  # a short gap is not heard


@on_stage
async def test_the_stream_catches_up_at_once(stage: Stage) -> None:
    """After a second that came all at once it is not a second behind."""
    behind = await stage.page.run(
        """(async () => {
            const { Stream } = await import("/panel/player.js");
            const stream = new Stream(48000);
            let count = 0;
            const give = () => stream.take(new Float32Array(1920).map(() => count / 1e6), 48000, count++);
            for (let one = 0; one < 50; one++) give();
            let last = 0;
            for (let one = 0; one < 100; one++) {
                give();
                const [left, right] = [new Float32Array(960), new Float32Array(960)];
                stream.read(left, right);
                last = left.at(-1) * 1e6;
            }
            return count - last;
        })()"""
    )
    assert behind * 0.02 < 0.2


@on_stage
async def test_buffers_play_without_a_click(stage: Stage) -> None:
    """Where there is no worklet: also while the page is too busy to plan, and blocks fail to come."""
    snapshots = np.array(
        await stage.page.run(
            f"""(async () => {{
                const {{ BufferPlayer }} = await import("/panel/listen.js");
                const context = new AudioContext();
                await context.resume();
                const seen = context.createAnalyser();
                seen.fftSize = 16384;
                const real = AudioNode.prototype.connect;
                AudioNode.prototype.connect = function (to, ...more) {{
                    if (to === context.destination) real.call(this, seen);
                    return real.call(this, to, ...more);
                }};
                const player = new BufferPlayer(context);
                AudioNode.prototype.connect = real;
                let at = 0;
                let begun = performance.now();
                const snapshots = [];
                let last = 0;
                const wait = (ms) => new Promise((done) => setTimeout(done, ms));
                async function feed(ms) {{
                    const until = performance.now() + ms;
                    while (performance.now() < until) {{
                        for (; at / 48 < performance.now() - begun; at += 960) {{
                            player.take(Float32Array.from({{ length: 1920 }}, (_, i) =>
                                0.5 * Math.sin(2 * Math.PI * {SINE_HZ} * (at + (i >> 1)) / 48000)), 48000);
                        }}
                        if (performance.now() - last > 250) {{
                            last = performance.now();
                            const samples = new Float32Array(16384);
                            seen.getFloatTimeDomainData(samples);
                            snapshots.push([...samples]);
                        }}
                        await wait(10);
                    }}
                }}
                await feed(900);
                const busy = performance.now() + 300;
                while (performance.now() < busy);
                await feed(700);
                await wait(500);
                begun = performance.now() - at / 48;
                await feed(900);
                await context.suspend();
                return snapshots;
            }})()"""
        )
    )
    assert np.abs(np.diff(snapshots, axis=1)).max() < STEEPEST * 1.2
    loud = np.abs(snapshots[3]).reshape(16, -1).max(axis=1)
    assert np.median(loud) == pytest.approx(0.5, abs=0.02)
    assert np.abs(snapshots[-1])[-2000:].max() > 0.4


HEAR = """
    window.rates = [];
    window.taken = 0;
    const real = AudioNode.prototype.connect;
    AudioNode.prototype.connect = function (to, ...more) {
        if (to === this.context.destination) {
            window.heard = this.context.createAnalyser();
            real.call(this, window.heard);
        }
        return real.call(this, to, ...more);
    };
    const post = MessagePort.prototype.postMessage;
    MessagePort.prototype.postMessage = function (data, ...more) {
        window.taken += data?.samples ? 1 : 0;
        return post.call(this, data, ...more);
    };
    window.loudest = () => {
        const samples = new Float32Array(2048);
        window.heard?.getFloatTimeDomainData(samples);
        return Math.max(...samples.map(Math.abs));
    };
"""


async def hears_a_snare(page: Page) -> None:
    """Presses "listen here", then a pad, and waits until that is heard; then ends it."""
    await page.run(f"{{ {HEAR} }}")
    await page.press(".listen")
    await page.until("document.querySelector('.listen').getAttribute('aria-pressed') === 'true'")
    await page.until("window.heard !== undefined")
    await asyncio.sleep(0.6)
    await page.press(".pad[data-role=snare]", down=0.05)
    await page.until(f"window.loudest() > {HEARD}")
    await page.press(".listen")


@on_stage
async def test_listen_here(stage: Stage) -> None:
    await stage.fresh()
    await hears_a_snare(stage.page)
    await stage.silence()


@on_stage
async def test_listen_here_pressed_in_haste(stage: Stage) -> None:
    """One stream of blocks when it is on, none when it is off, however quickly it is pressed."""
    page = stage.page
    await stage.fresh()
    await page.run(
        f"""{{ {HEAR}
            const resume = AudioContext.prototype.resume;
            AudioContext.prototype.resume = async function () {{
                await new Promise((done) => setTimeout(done, 150));
                return resume.call(this);
            }};
        }}"""
    )
    haste = "for (let one = 0; one < {}; one++) document.querySelector('.listen').click();"
    for presses, on in ((2, False), (3, True), (2, True), (1, False), (4, False)):
        await page.run(haste.format(presses))
        await asyncio.sleep(0.6)
        before = await page.run("[window.taken, performance.now()]")
        await asyncio.sleep(1.0)
        after = await page.run("[window.taken, performance.now()]")
        each_second = (after[0] - before[0]) / (after[1] - before[1]) * 1000
        pressed = await page.run("document.querySelector('.listen').getAttribute('aria-pressed')")
        assert pressed == str(on).lower()
        assert each_second == (pytest.approx(50, rel=0.3) if on else 0), (presses, on)


@on_stage
async def test_who_listens_hears_on_while_the_page_is_hidden(stage: Stage) -> None:
    page = stage.page
    await stage.fresh()
    await page.run(
        f"""{{ {HEAR}
            window.hide = (hidden) => {{
                Object.defineProperty(document, "hidden", {{ value: hidden, configurable: true }});
                document.dispatchEvent(new Event("visibilitychange"));
            }};
        }}"""
    )
    await page.press(".listen")
    await page.until("window.taken > 10")
    await page.run("window.hide(true)")
    before = await page.run("window.taken")
    await page.until(f"window.taken > {before} + 20")
    await page.run("window.hide(false)")
    await page.press(".listen")


def test_listen_here_from_another_machine(tmp_path: Path) -> None:
    """There the browser holds the page not secure, and has no worklets: the sound comes anyway."""
    chromium = need(*CHROMIUM)
    addresses = own_addresses("0.0.0.0")
    if not addresses:
        unfit("needs a network address besides the loopback's")

    async def listens(port: int) -> list[str]:
        async with page_of(chromium) as page:
            await page.size(1440, 980)
            await page.go(f"http://{addresses[0]}:{port}/")
            await page.until("document.querySelectorAll('.pad').length === 9")
            assert await page.run("window.isSecureContext") is False
            await hears_a_snare(page)
            return page.troubles

    folder = f"--recordings={tmp_path}"
    with serving("--sink", "null", "--bind", "0.0.0.0", folder) as server:
        assert asyncio.run(listens(server.port)) == []
