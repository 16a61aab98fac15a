"""Ableton Link as a source of the beat: Live, Bitwig, and apps on phones in the same network.

Threads: `start` and `stop` are for one thread; a thread of its own, with the asyncio loop that
aalink wants, asks Link fifty times a second and hands over readings.

aalink is GPLv3, so it is an extra that nothing else asks for, and is imported only here.

Link has no master: we join with the transport's tempo, take the session's, and change neither tempo
nor start and stop. Its beat is the same for all modulo the bar only, so bars of the present signature
are what is shared.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from ghostnote.kernels.errors import GhostnoteError

from .native import monotonic_ns
from .sync import Heard, Reading

POLL_SECONDS = 0.02
# Joining at once sometimes forces our tempo on the session (aalink, issue 7).
_SETTLE_SECONDS = 0.5
_TRIES = 3

log = logging.getLogger("ghostnote.sync")


class LinkSource:
    """The Link session of this network. `tempo()` and `bar()` say with what we join."""

    at_loudspeaker = True

    def __init__(self, tempo: Callable[[], float], bar: Callable[[], float]) -> None:
        self._tempo, self._bar = tempo, bar
        self._thread: threading.Thread | None = None
        self._end = threading.Event()
        self._played = False

    def start(self, heard: Heard) -> None:
        """Join the session.

        Raises
        ------
        GhostnoteError
            If aalink is not installed or cannot be loaded.
        """
        try:
            from aalink import Link
        except ModuleNotFoundError:
            raise GhostnoteError(
                f"sync source link: aalink is not installed: {sys.executable} -m pip install aalink "
                "(GPLv3: the combination is then GPLv3)"
            ) from None
        except ImportError as error:
            raise GhostnoteError(f"sync source link: aalink cannot be loaded: {error}") from None
        log.info("sync: Ableton Link through aalink, which is GPLv3")
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._follow(Link, heard)),
            name="ghostnote-sync-link",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Leave the session."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    async def _follow(self, make_link: Any, heard: Heard) -> None:
        link = make_link(self._tempo())
        link.quantum, link.start_stop_sync_enabled = self._bar(), True
        await self._pause(_SETTLE_SECONDS)
        link.enabled = True
        peers = -1
        while not self._end.is_set():
            if link.num_peers != peers:
                peers = link.num_peers
                log.info("sync: %d other%s in the Link session", peers, "s" if peers != 1 else "")
            bar = self._bar()
            if link.quantum != bar:
                link.quantum = bar
            heard(self._read(link))
            await self._pause(POLL_SECONDS)
        link.enabled = False

    async def _pause(self, seconds: float) -> None:
        left = seconds
        while left > 0.0 and not self._end.is_set():
            await asyncio.sleep(min(left, 0.05))
            left -= 0.05

    def _read(self, link: Any) -> Reading:
        """Return the beat of now: of some tries the one that took the least time to ask for."""
        tries = []
        for _ in range(_TRIES):
            before = monotonic_ns()
            beat = link.beat
            after = monotonic_ns()
            tries.append((after - before, (before + after) * 0.5e-9, beat))
        _, seconds, beat = min(tries)
        # Many peers share no start and stop: theirs counts from the first time that it is used.
        self._played = self._played or link.playing
        return Reading(seconds, beat, link.tempo, link.playing if self._played else None)
