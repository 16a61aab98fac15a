"""Measures a server on JACK from the outside: from a datagram, or a timetag, to the onset.

`ghostnote serve --sink jack`, jackd and liblo's `oscsend` are processes of their own. Used by
test_live_jack.py and by benchmarks/live_latency.py.
"""

from __future__ import annotations

import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from ghostnote.osc_server.native import monotonic_ns
from tests.osc_server.jack_capture import Capture, capture
from tests.osc_server.live import Client, Process, client_of, serving
from tests.osc_server.waiting import until
from tests.parts import need

Seconds = NDArray[np.float64]

KICK = "/ghost/voice/1/trig/kick"
AHEAD = 0.05  # seconds that a bundle is sent before its timetag
STEADY = 2e-4  # seconds
SETTLING = 1.5  # seconds after which the server's clock has found JACK's again


@dataclass(frozen=True)
class Measured:
    """Times in seconds of the monotonic clock, in the order of the hits; onsets sorted.

    `ahead` tells of each tag how many seconds before it its bundle was really sent.
    `steady` tells of each tag whether JACK's own frames kept to the clock from a while before the
    bundle's sending on: a dummy driver that is not served in time leaves time out, and with it
    what is scheduled.
    `status` are the arguments of /ghost/status.reply at the end.
    """

    datagrams: Seconds
    tags: Seconds
    ahead: Seconds
    onsets: Seconds
    steady: NDArray[np.bool_]
    status: tuple[object, ...]
    log: str

    def onsets_after(self, times: Seconds, within: float) -> Seconds:
        """Returns the first onset in [time, time + within) for each time; NaN where none is."""
        places = np.searchsorted(self.onsets, times - 1e-3)
        padded = np.append(self.onsets, np.inf)
        first = padded[places]
        return np.where(first < times + within, first, np.nan)


@contextmanager
def relay(port: int) -> Iterator[tuple[int, list[float]]]:
    """A UDP port that hands on to `port` what it gets, and the times at which it did."""
    times: list[float] = []
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
    ):
        ear.bind(("127.0.0.1", 0))
        mouth.connect(("127.0.0.1", port))

        def run() -> None:
            while datagram := ear.recv(2048):
                times.append(monotonic_ns() * 1e-9)
                mouth.send(datagram)

        thread = threading.Thread(target=run)
        thread.start()
        yield ear.getsockname()[1], times
        mouth.sendto(b"", ear.getsockname())
        thread.join()


def send_kicks(process: Process, count: int, spacing: float) -> list[float]:
    """Triggers kicks by `oscsend`; returns when each datagram went to the server."""
    oscsend = need("oscsend")
    with relay(process.port) as (port, times):
        for _ in range(count):
            subprocess.run([oscsend, "localhost", str(port), KICK, "f", "1"], check=True)
            time.sleep(spacing)
        until(lambda: len(times) == count, "all datagrams")
    return times


def send_bundles(client: Client, count: int, spacing: float) -> tuple[list[float], list[float]]:
    """Sends kicks as bundles, AHEAD of their timetags, at any place within a hop and a block.

    Returns the tags on the monotonic clock, and how far ahead each was sent.
    """
    random.seed(1)
    # A machine that stalls between the two clocks tells too little, never too much.
    unix_offset = max(time.time() - time.monotonic() for _ in range(9))
    start = time.monotonic() + AHEAD + 0.1
    tags = [start + spacing * k + random.uniform(0, 0.02) for k in range(count)]
    ahead = []
    for tag in tags:
        time.sleep(max(0.0, tag - AHEAD - time.monotonic()))
        kick = OscMessageBuilder(KICK)
        kick.add_arg(1.0)
        bundle = OscBundleBuilder(tag + unix_offset)  # type: ignore[arg-type]  # takes parts of seconds
        bundle.add_content(kick.build())
        client.raw(bundle.build().dgram)
        ahead.append(tag - time.monotonic())
    time.sleep(AHEAD + spacing + 0.2)
    return tags, ahead


def find_onsets(sound: NDArray[np.float32], samplerate: int, floor: float) -> list[int]:
    """Returns the frames at which a hit begins: over `floor`, and far over what was before.

    "Before" ends 5 ms earlier, so that a slow attack is not held against itself.
    """
    before, attack, hold = samplerate // 40, samplerate // 200, samplerate // 20
    found: list[int] = []
    loud = np.flatnonzero(np.abs(sound) > floor)
    for frame in loud:
        if found and frame - found[-1] < hold:
            continue
        past = np.abs(sound[max(0, frame - before) : max(0, frame - attack)])
        if abs(sound[frame]) > 3 * past.max(initial=0.0):
            found.append(int(frame))
    return found


def measure(
    arguments: Sequence[str], hits: int, bundles: int, spacing: float, floor: float
) -> Measured:
    """Plays `hits` kicks by oscsend and then `bundles` to a server on the running jackd.

    `arguments` are the server's, `spacing` is in seconds, `floor` as for `find_onsets`.
    """
    seconds = (hits + bundles) * (spacing + 0.1) + 20
    with serving("--sink", "jack", *arguments) as process, client_of(process.port) as client:
        with capture("ghostnote:out_1", seconds) as kept:
            time.sleep(0.5)
            datagrams = send_kicks(process, hits, spacing)
            tags, ahead = send_bundles(client, bundles, spacing)
        client.send("/ghost/status")
        status = client.expect("/ghost/status.reply")
        return Measured(
            np.array(datagrams), np.array(tags), np.array(ahead), _onset_times(kept, floor),
            kept.wander(np.array(tags) - AHEAD - SETTLING, np.array(tags) + 0.1) < STEADY,
            status[1:], process.log,
        )  # fmt: skip


def _onset_times(kept: Capture, floor: float) -> Seconds:
    frames = find_onsets(kept.sound, kept.samplerate, floor)
    return kept.seconds_at(np.array(frames, np.int64))


def figures(seconds: Seconds) -> dict[str, float]:
    """Returns the distribution in milliseconds, by the names in HEADER; NaN was not heard."""
    values = seconds[~np.isnan(seconds)] * 1e3
    if not len(values):
        return {"hits": 0}
    found = [values.min(), *np.percentile(values, [50, 95, 99]), values.max()]
    names = ("min", "median", "p95", "p99", "max")
    return {
        "hits": len(values),
        **{n: round(float(v), 3) for n, v in zip(names, found, strict=True)},
    }


def table(title: str, seconds: Seconds) -> str:
    """Returns the distribution as a line of a Markdown table."""
    hits, *others = figures(seconds).values()
    return f"| {title} | {hits} | " + " | ".join(f"{v:.2f}" for v in others) + " |"


HEADER = """| ms | hits | min | median | p95 | p99 | max |
| --- | --- | --- | --- | --- | --- | --- |"""
