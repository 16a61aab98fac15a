"""Warnings that a flood cannot turn into a flood of lines.

Threads: any.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable


class Told:
    """Writes warnings to `log`, one a second at most; the next one tells how many were left out.

    `count` is the number of all of them.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._last = -1.0
        self._left_out = 0

    def __call__(self, text: str) -> None:
        """Warn with the line `text`, or count it."""
        with self._lock:
            self.count += 1
            now = self._clock()
            if self._last >= 0 and now - self._last < 1.0:
                self._left_out += 1
                return
            more = f" (and {self._left_out} such before)" if self._left_out else ""
            self._last, self._left_out = now, 0
        self._log.warning("%s%s", text, more)
