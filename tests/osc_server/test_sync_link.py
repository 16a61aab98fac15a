"""Ableton Link: a peer in a process of its own, over this machine's network.

aalink is GPLv3 and no part of what `make test` installs; see CONTRIBUTING.md.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.sink import SinkOptions
from ghostnote.osc_server.sync_link import LinkSource
from tests.osc_server.live import running
from tests.osc_server.noisy_model import write_noisy
from tests.osc_server.waiting import until

PEER = """
import asyncio, sys, time
from aalink import Link

async def main():
    link = Link(float(sys.argv[1]))
    link.quantum, link.start_stop_sync_enabled, link.enabled = 4.0, True, True
    print("ready", flush=True)
    lines = asyncio.get_running_loop()
    while line := (await lines.run_in_executor(None, sys.stdin.readline)).split():
        if line[0] == "tempo":
            link.tempo = float(line[1])
        elif line[0] == "playing":
            link.playing = line[1] == "1"
        before, beat, after = time.monotonic(), link.beat, time.monotonic()
        print((before + after) / 2, beat, link.tempo, link.num_peers, flush=True)
    link.enabled = False

asyncio.run(main())
"""


class Peer:
    """The running program."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def say(self, line: str) -> tuple[float, float, float, int]:
        """Gives it a line; returns its monotonic time, beat, tempo and number of others."""
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        seconds, beat, tempo, others = self._process.stdout.readline().split()
        return float(seconds), float(beat), float(tempo), int(others)


@contextmanager
def link_peer(bpm: float) -> Iterator[Peer]:
    """Runs a Link peer that began the session at `bpm`."""
    process = subprocess.Popen(
        [sys.executable, "-c", PEER, str(bpm)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield Peer(process)
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def test_without_aalink_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aalink", None)
    with pytest.raises(GhostnoteError, match=r"-m pip install aalink \(GPLv3") as caught:
        LinkSource(lambda: 120.0, lambda: 4.0).start(lambda reading: None)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(
    importlib.util.find_spec("aalink") is None, reason="needs aalink (see CONTRIBUTING.md)"
)
def test_the_session_is_followed_and_not_led(tmp_path: Path) -> None:
    model = str(write_noisy(tmp_path / "noisy.onnx"))
    options = ServerOptions(model=model, sink=SinkOptions("null"), port=0, sync="link")
    with link_peer(97.5) as peer:
        time.sleep(1.0)
        with running(options) as server:
            deadline = time.monotonic() + 10
            while peer.say("look")[3] != 1:
                if time.monotonic() > deadline:
                    pytest.skip("needs a network on which multicast goes from process to process")
                time.sleep(0.1)
            until(lambda: abs(server.engine.tempo - 97.5) < 0.01, "the session's tempo")
            assert peer.say("look")[2] == pytest.approx(97.5, abs=0.01), "we changed their tempo"
            assert server.sync.owns_tempo and not server.sync.owns_rolling
            peer.say("playing 1")
            until(lambda: server.engine.rolling, "the start")
            assert server.sync.owns_rolling
            time.sleep(1.5)

            def errors(bpm: float) -> np.ndarray[Any, np.dtype[np.float64]]:
                transport, found = server.sync._transport, []
                for _ in range(60):
                    seconds, beat, _, _ = peer.say("look")
                    place = transport.now()
                    heard = place.seconds + transport.output_seconds
                    off = place.beat - beat - (heard - seconds) * bpm / 60
                    found.append(((off + 2) % 4 - 2) * 60e3 / bpm)  # within the bar
                    time.sleep(0.02)
                return np.array(found)

            off = errors(97.5)
            print(
                f"\nagainst the peer: median {np.median(off):.2f} ms, "
                f"spread {np.percentile(off, 95) - np.percentile(off, 5):.2f} ms"
            )
            assert abs(np.median(off)) < 3
            peer.say("tempo 140")
            until(lambda: abs(server.engine.tempo - 140) < 0.01, "the new tempo")
            time.sleep(1.0)
            assert abs(np.median(errors(140.0))) < 3
            peer.say("playing 0")
            until(lambda: not server.engine.rolling, "the stop")
