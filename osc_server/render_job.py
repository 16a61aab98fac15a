"""Loops rendered at a client's wish: `ghostnote render` in a process of its own, one at a time.

It runs at low priority, so that the live engine does not feel it, and by the very code of the
command, so that the bits are the same. Threads: `submit`, `cancel` and `close` from any thread (a
lock); a thread of its own waits for the processes. `progress` is called on that thread, and once
from `submit`; `ended` on that thread.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from ghostnote.inference.manifest import MANIFEST
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import DEFAULT_PRECISION

from .render_request import Folders, Order, read_order, write_pattern

MAX_WAITING: Final = 8

Progress: TypeAlias = Callable[[int, float], None]
"""Called with a job's number and how much of it is done, 0 to 1; 10 times a second at most."""
Ended: TypeAlias = Callable[[int, str, str], None]
"""Called once with a job's number, its manifest's path, and why it failed (empty: it has not)."""

_GRACE_SECONDS = 5.0  # for a process that was told to end
_LINE_BYTES = 4096
_NICE = 10
_PROGRAM = (
    f"import os, sys; hasattr(os, 'nice') and os.nice({_NICE}); "
    "from ghostnote.cli.main import main; sys.exit(main())"
)

log = logging.getLogger("ghostnote.render")


@dataclass
class _Job:
    """An order under way, and its process while it runs."""

    number: int
    order: Order
    progress: Progress
    ended: Ended
    cancelled: bool = False
    process: subprocess.Popen[bytes] | None = None


class RenderJobs:
    """Takes requests, and renders one after another."""

    def __init__(self, folders: Folders, precision: str = DEFAULT_PRECISION) -> None:
        self._folders, self._precision = folders, precision
        self._lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._thread: threading.Thread | None = None
        self._last = 0
        self._closed = False

    def submit(self, request: str, progress: Progress, ended: Ended) -> int:
        """Take a request in JSON; return its job's number, which `progress` is told at once too.

        Raises
        ------
        GhostnoteError
            As `read_order` does, or if MAX_WAITING jobs wait already.
        """
        order = read_order(request, self._folders, self._precision)
        with self._lock:
            if self._closed or len(self._waiting) >= MAX_WAITING:
                raise GhostnoteError(f"{len(self._waiting)} jobs wait already; try again later")
            self._last += 1
            job = _Job(self._last, order, progress, ended)
        progress(job.number, 0.0)
        with self._lock:
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="ghostnote-render-jobs", daemon=True
                )
                self._thread.start()
        return job.number

    def cancel(self, number: int) -> None:
        """End a job; loops that it has finished stay. Raises GhostnoteError if there is none."""
        with self._lock:
            jobs = self._jobs()
            job = next((job for job in jobs if job.number == number), None)
            if job is None:
                known = ", ".join(str(job.number) for job in jobs) or "none"
                raise GhostnoteError(f"job {number}: is not under way; there are {known}")
            _end(job)

    def close(self) -> None:
        """End all jobs and wait for their processes."""
        with self._lock:
            self._closed = True
            for job in self._jobs():
                _end(job)
            thread = self._thread
        if thread:
            thread.join()

    def _jobs(self) -> list[_Job]:
        return [*([self._running] if self._running else []), *self._waiting]

    def _run(self) -> None:
        """Do jobs until there are none left; the thread then ends."""
        while True:
            with self._lock:
                self._running = self._waiting.popleft() if self._waiting else None
                if self._running is None:
                    self._thread = None
                    return
                job = self._running
            try:
                failure = _render(job)
            except OSError as error:
                failure = f"cannot be started: {error.strerror}"
            with self._lock:
                self._running = None  # before that is told: then it cannot be cancelled any more
            try:
                job.ended(job.number, "" if failure else str(job.order.out / MANIFEST), failure)
            except Exception:
                log.exception("render job %d: its end could not be told", job.number)


def _render(job: _Job) -> str:
    """Run a job's process to its end; return why it failed, if it did. OSError: it cannot run."""
    order, last = job.order, ""
    command = [sys.executable, "-P", "-c", _PROGRAM, "render", "--progress-json", *order.options]
    with tempfile.TemporaryDirectory(prefix="ghostnote-") as folder:
        if order.pattern:
            command.append(f"--pattern={write_pattern(Path(folder), order.pattern)}")
        if job.cancelled:
            return "cancelled before it began"
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            creationflags=_background_flags(),
        ) as process:
            job.process = process
            if job.cancelled:  # just now
                _end(job)
            assert process.stderr
            while line := process.stderr.readline(_LINE_BYTES):
                share = _share(line)
                if share is None:
                    last = line.decode(errors="replace").strip()[:300] or last
                elif not job.cancelled:
                    job.progress(job.number, share)
    if job.cancelled:
        return f"cancelled; loops that were finished are listed in {order.out / MANIFEST}"
    status = process.returncode
    return "" if status == 0 else last.removeprefix("ghostnote: ") or f"ended with status {status}"


def _background_flags() -> int:
    """Return what makes a process run behind the others on Windows; elsewhere it does it itself."""
    if os.name != "nt":
        return 0
    flags: int = subprocess.BELOW_NORMAL_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW  # type: ignore[attr-defined,unused-ignore]
    return flags


def _share(line: bytes) -> float | None:
    """Return the progress that a line of the process tells; None: it says something else."""
    try:
        share = json.loads(line)["progress"]
    except (ValueError, TypeError, KeyError):
        return None
    return float(share) if isinstance(share, int | float) and math.isfinite(share) else None


def _end(job: _Job) -> None:
    """Tell a job's process to end by ending its input; if it does not soon, kill it."""
    job.cancelled = True
    process = job.process
    if process is not None and process.stdin and not process.stdin.closed:
        process.stdin.close()
        killer = threading.Timer(_GRACE_SECONDS, process.kill)
        killer.daemon = True
        killer.start()
