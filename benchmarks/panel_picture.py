"""Plays a server and photographs its panel, for the README and to look at.

python -m benchmarks.panel_picture docs/pictures/panel.png [PHONE_FOLDER]

The desktop goes to the file; with a folder, every part as a phone shows it goes there. Needs
chromium.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from ghostnote.inference.loops import BUILT_IN
from tests.osc_server.browser import CHROMIUM, Page, page_of
from tests.osc_server.live import Client, client_of, serving

DESKTOP = (1440, 980)
PHONE = (390, 844)
PLAYED_SECONDS = 9.0  # as much as the spectrogram shows
AFTER_BEAT_SECONDS = 0.05
VIEW_SECONDS = 0.4


def set_the_stage(client: Client) -> None:
    """Makes three voices that play together, two takes and three presets."""
    for model, name in (("kit", "break"), ("kit", "electro")):
        voice = int(client.ask("/ghost/voice/new", model)[2])
        for role, steps in BUILT_IN[name].items():
            client.send(f"/ghost/pattern/{voice}", role, steps)
    for role, steps in BUILT_IN["demo"].items():
        client.send("/ghost/pattern/1", role, steps)
    for address, *values in (
        ("/ghost/tempo", 116.0), ("/ghost/quantum", 4.0), ("/ghost/master/gain", -2.0),
        ("/ghost/voice/1/xy", 0.7, 0.62), ("/ghost/voice/1/temperature", 0.72),
        ("/ghost/voice/1/seed", 40417), ("/ghost/voice/2/kit", "uzu-a"),
        ("/ghost/voice/2/gain", -9.0), ("/ghost/voice/2/pan", -0.35), ("/ghost/voice/2/seed", 7),
        ("/ghost/voice/3/kit", "rumpf"), ("/ghost/voice/3/gain", -11.0),
        ("/ghost/voice/3/pan", 0.4), ("/ghost/voice/3/mute", True),
        ("/ghost/pattern/1/hat/swing", 0.33), ("/ghost/pattern/1/snare/probability", 0.9),
        ("/ghost/pattern/1/rim/length", 12),
    ):  # fmt: skip
        client.send(address, *values)
    for name in ("intro", "verse", "chorus"):
        client.ask("/ghost/preset/save", name)
    client.synced()
    client.send("/ghost/play")


async def photograph(url: str, client: Client, desktop: Path, phones: Path | None) -> None:
    """Opens the panel at both sizes while the server plays."""
    async with page_of(chromium()) as page:
        await page.size(*DESKTOP)
        await page.go(url)
        await page.until("document.querySelectorAll('.pad').length > 0")
        await asyncio.sleep(PLAYED_SECONDS)
        await asyncio.to_thread(client.ask, "/ghost/record/grab", 2.0, "groove-116.wav")
        await page.press(".grabs button")
        await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
        await asyncio.sleep(4.0)
        where = "document.querySelector('.where').textContent"
        await page.until(f"/[02468].4$/.test({where})")  # before a bar that page 1 shows
        await page.until(f"{where}.endsWith('.1')")
        await asyncio.sleep(AFTER_BEAT_SECONDS)
        await keep(page, desktop)
        if phones:
            phones.mkdir(parents=True, exist_ok=True)
            await page.size(*PHONE, 2.0, True)
            for view in ("Pads", "Steps", "Kit", "Voices", "Sound", "Takes"):
                script = "[...document.querySelectorAll('#views button')]"
                await page.run(f"{script}.find((tab) => tab.textContent === '{view}').click()")
                await asyncio.sleep(4.0 if view == "Sound" else VIEW_SECONDS)
                await keep(page, phones / f"{view.lower()}.png")
        assert not page.troubles, page.troubles


async def keep(page: Page, path: Path) -> None:
    """Writes what the page looks like now."""
    path.write_bytes(await page.picture())
    print(f"{path}: {path.stat().st_size // 1000} kB")


def chromium() -> str:
    """Returns the browser's path."""
    for name in CHROMIUM:
        if path := shutil.which(name):
            return path
    sys.exit(f"needs the program {' or '.join(CHROMIUM)}")


def main() -> None:
    """Starts a server of its own on a sink without a device."""
    desktop = Path(sys.argv[1])
    phones = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as folder:
        folders = [f"--{name}={folder}/{name}" for name in ("recordings", "presets", "primes")]
        with (
            serving("--sink", "null", "--ring", "4096", *folders) as server,
            client_of(server.port) as client,
        ):
            set_the_stage(client)
            url = f"http://127.0.0.1:{server.port}/"
            asyncio.run(photograph(url, client, desktop, phones))


if __name__ == "__main__":
    main()
