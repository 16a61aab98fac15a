"""The tempo of taps.

Pure: times come from outside. One thread at a time.
"""

from __future__ import annotations

from statistics import median

TIMEOUT_SECONDS = 2.0
"""After such a pause a tap is the first of a new count."""
TAPS = 8


class TapTempo:
    """Counts the last taps; one that was missed or doubled does not spoil the rest.

    >>> taps = TapTempo()
    >>> [taps.tap(seconds) for seconds in (10.0, 10.5, 11.0)]
    [None, 120.0, 120.0]
    """

    def __init__(self) -> None:
        self._taps: list[float] = []

    def tap(self, seconds: float) -> float | None:
        """Take a tap at a time in seconds; return bpm, or None for the first."""
        if self._taps and not 0.0 < seconds - self._taps[-1] <= TIMEOUT_SECONDS:
            self._taps.clear()
        self._taps = [*self._taps[-TAPS + 1 :], seconds]
        if len(self._taps) < 2:
            return None
        pairs = zip(self._taps, self._taps[1:], strict=False)
        return 60.0 / median(later - earlier for earlier, later in pairs)
