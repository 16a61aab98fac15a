"""GPUs beside the engine: a kernel that stays there for each bank, and what is told of its end.

Threads: `Gpu` is used with the engine's lock held, but for what the owner asks (`make_ready`, `close`)
and the housekeeping (`news`, the counts). A `Resident` has a thread of its own, which alone speaks to
the GPU: it keeps launches queued, each of which lasts for a second at most, so that a kernel is there
while Python is held up elsewhere, and none for long after the end. The engine's loop and the kernel
meet in the mailbox (`gpu_run.py`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from ghostnote.kernels import cpu
from ghostnote.kernels import mailbox as m
from ghostnote.kernels.packing import Packed

from . import gpu_run as g

AHEAD: Final = 2
"""Launches that are queued: one plays, one waits."""
PATIENCE_NS: Final = 10_000_000_000
"""How long a hop is awaited where no ring runs empty meanwhile."""
READY_SECONDS: Final = 120.0
"""In which a kernel is compiled, the first time."""
END_SECONDS: Final = 5.0
"""How long the end of a kernel is awaited."""

log = logging.getLogger("ghostnote.gpu")


class Player(Protocol):
    """A kernel for one model, and the memory that it shares with the host."""

    mailbox: m.Mailbox

    def launch(self) -> None:
        """Let the kernel run once more after all launches before, for a second at most."""

    def wait(self) -> None:
        """Return when the oldest launch that was not waited for has ended."""


Opener = Callable[[Packed, m.Layout], Player]


def open_gpu(packed: Packed, layout: m.Layout) -> Player:
    """Make the kernel for a model ready on this machine's GPU."""
    from ghostnote.kernels.gpu_live import LiveKernel

    return LiveKernel(packed, layout)


class Resident:
    """The kernel of one bank, from its opening, which may take seconds, to its end."""

    def __init__(self, packed: Packed, lanes: int, opener: Opener, deadline_ns: int) -> None:
        self.box = np.zeros(g.BOX, np.int64)
        self.box[g.RUN], self.box[g.SLOTS] = cpu.entry_points().run, lanes
        self.box[g.DEADLINE] = deadline_ns
        self._ages = np.zeros(max(1, lanes * len(packed.spec.roles)), np.int64)
        self.box[g.AGES] = self._ages.ctypes.data
        self._packed, self._layout, self._opener = packed, m.Layout.of(packed, lanes), opener
        self.box[g.GATE] = self._layout.gate
        self._ending = threading.Event()
        self._mailbox: m.Mailbox | None = None
        self._trouble = ""
        self._told_misses, self._told_failure = 0, False
        self._thread = threading.Thread(target=self._run, name="ghostnote-gpu", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            player = self._opener(self._packed, self._layout)
            self._enter(player.mailbox)
            for _ in range(AHEAD):
                player.launch()
            while not self._ending.is_set() and not self.box[g.FAILED]:
                player.wait()
                player.launch()
            player.mailbox.post[m.END] = 1
            for _ in range(AHEAD):
                player.wait()
        except Exception as error:  # noqa: BLE001  (whatever a driver says, the CPU plays)
            self._trouble = " ".join(str(error).split())[:200] or type(error).__name__
            self.box[g.FAILED] = 1

    def _enter(self, mailbox: m.Mailbox) -> None:
        """Let the loop know where the mailbox is."""
        self._mailbox = mailbox
        if self._ending.is_set():
            mailbox.post[m.END] = 1
        for word, array in (
            (g.POST, mailbox.post),
            (g.FLOATS, mailbox.floats),
            (g.JOURNAL, mailbox.journal),
            (g.LEVELS, mailbox.levels),
            (g.DONE, mailbox.done),
        ):
            self.box[word] = array.ctypes.data
        self.box[g.PROGRAMS] = len(mailbox.done)
        self.box[g.READY] = 1

    @property
    def settled(self) -> bool:
        """Whether it is known if the GPU plays."""
        if self.box[g.FAILED]:
            return True
        there = self._mailbox
        return there is not None and bool((there.done == there.post[m.SEQ]).all())

    def news(self) -> list[str]:
        """Return what has happened since the last call, one line each."""
        lines, misses = [], int(self.box[g.MISSES])
        if self.box[g.FAILED] and not self._told_failure:
            self._told_failure = True
            why = self._trouble or f"it did not answer in time {misses} times"
            lines.append(f"the GPU is given up, the CPU plays on: {why}")
        elif misses > self._told_misses and not self.box[g.FAILED]:
            lines.append(
                f"the GPU did not answer in time ({misses} times so far): the CPU played on"
            )
        self._told_misses = misses
        return lines

    def end(self) -> None:
        """Let the kernel end soon; returns at once."""
        self._ending.set()
        if self._mailbox is not None:
            self._mailbox.post[m.END] = 1

    @property
    def ended(self) -> bool:
        """Whether its thread has nothing more to do with the GPU."""
        return not self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Wait for the end of the kernel, but no longer than so."""
        self._thread.join(max(0.0, seconds))


class Gpu:
    """All banks' kernels of one engine, and the counts of those that are gone."""

    def __init__(self, opener: Opener = open_gpu, deadline_ns: int = PATIENCE_NS) -> None:
        self._opener, self._deadline = opener, deadline_ns
        self._residents: list[Resident] = []
        self._leaving: list[Resident] = []
        self._misses = self._hops = 0

    def open(self, packed: Packed, lanes: int) -> Resident:
        """Begin to make a model's kernel ready for `lanes`; until it is, the CPU plays."""
        resident = Resident(packed, lanes, self._opener, self._deadline)
        self._residents.append(resident)
        return resident

    def leave(self, resident: Resident) -> None:
        """Let the kernel of a bank that nobody plays end."""
        resident.end()
        with contextlib.suppress(ValueError):
            self._residents.remove(resident)
        self._misses += int(resident.box[g.MISSES])
        self._hops += int(resident.box[g.HOPS])
        self._leaving = [*(one for one in self._leaving if not one.ended), resident]

    @property
    def misses(self) -> int:
        """Hops for which the GPU was awaited in vain."""
        return self._misses + sum(int(one.box[g.MISSES]) for one in self._residents)

    @property
    def hops(self) -> int:
        """Hops that the GPU has played, of all banks."""
        return self._hops + sum(int(one.box[g.HOPS]) for one in self._residents)

    def make_ready(self, hop_seconds: float | None = None) -> None:
        """Wait until all kernels are there or have failed, for READY_SECONDS at most.

        Each hop is then awaited for `hop_seconds`, also of banks to come. For the owner, while the
        engine's loop does not run.
        """
        if not self.settle(READY_SECONDS):
            log.warning("the GPU is not ready after %g s: the CPU plays meanwhile", READY_SECONDS)
        if hop_seconds is not None:
            self._deadline = round(1e9 * hop_seconds)
            for resident in self._residents:
                resident.box[g.DEADLINE] = self._deadline

    def settle(self, seconds: float) -> bool:
        """Wait until all kernels are there or have failed; False where it took too long."""
        end = time.monotonic() + seconds
        while not all(one.settled for one in self._residents):
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def news(self) -> list[str]:
        """Return what has happened since the last call, one line each."""
        return [line for one in [*self._residents] for line in one.news()]

    def close(self) -> None:
        """End all kernels; the engine's loop must have ended."""
        ending = [*self._leaving, *self._residents]
        for resident in ending:
            resident.end()
        deadline = time.monotonic() + END_SECONDS
        for resident in ending:
            resident.join(deadline - time.monotonic())
