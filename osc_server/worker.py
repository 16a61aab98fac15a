"""One thread for everything slow: loading, reading and writing files.

Threads: `submit` from any; `stop` from the one that made it. Jobs run on the worker's own thread,
one at a time, in the order given.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

MAX_WAITING: Final = 64

log = logging.getLogger("ghostnote.osc.worker")


class Worker:
    """Runs jobs one after another; a job that raises is logged and the next one runs."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="ghostnote-worker", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> bool:
        """Queue `job`; False if MAX_WAITING jobs wait already."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        return True

    def stop(self) -> None:
        """Run what is queued, then end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("a background job failed")
