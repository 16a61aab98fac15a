"""The steady beat behind times that scatter: of MIDI clock's ticks, or of beats sent over OSC.

Pure: times come from outside. One thread at a time.

A two-state Kalman filter follows the time of the last beat and how long a beat lasts. How much the
times scatter it learns as it goes. Where several in a row are far off on one side, the tempo has
changed, and it learns anew from there; a single far one is a late message and counts for little.
Where very many in a row are a little off on one side, the tempo is slightly another.
"""

from __future__ import annotations

import math

_START_NOISE = 2e-3  # s
_SHORTEST = 0.02  # s a beat
_LEAST_NOISE = 1e-3  # s; what clocks that are thought to be good have
_MOST_NOISE = 0.05  # s
_GRAIN_NOISE = 0.3  # of a grain: the standard deviation of what falls anywhere within it
_MEMORY = 1 / 32  # weight of one time in the running mean of the noise
_TEMPO_WALK = 5e-5  # relative, per beat: tempi that people and their machines hold
_KNOWN = 0.02  # relative; a tempo less sure than that is not told
_FAR = 3.0  # standard deviations
_FAR_COUNT = 3
_SIDE_COUNT = 48  # on one side in a row: more than chance
_NEW_TEMPO = 0.3  # relative; how far a tempo may jump
_RESTLESS = 0.05  # walks so far per beat after that, less and less: it may be slowing down


class BeatFilter:
    """Follows (beat, seconds) that come one after the other.

    `beat` is the last one taken and `seconds` when it really was. Times that come in steps of
    `grain` seconds (JACK's blocks) drift for a while and jump back: that they scatter so much must
    be known, or the drift is taken for the tempo.
    """

    def __init__(self, grain: float = 0.0) -> None:
        self._least_noise = max(_LEAST_NOISE, _GRAIN_NOISE * grain)
        self.beat = 0.0
        self.seconds = 0.0
        self.noise = max(_START_NOISE, self._least_noise)
        """By how much times scatter, about one standard deviation, in seconds."""
        self._period = 0.5
        self._held: float | None = None  # bpm, as told
        self._restless = 0.0
        self._started = False
        self._far: list[float] = []
        self._side: list[float] = []
        self._p00, self._p01, self._p11 = 0.0, 0.0, self._period**2

    @property
    def bpm(self) -> float | None:
        """The tempo; None while it is not known well. It stays put while it may be the same."""
        return self._held

    @property
    def period(self) -> float:
        """Seconds that a beat lasts."""
        return self._period

    def set_tempo(self, bpm: float) -> None:
        """Take a tempo that was told."""
        self._period, self._held = 60.0 / bpm, bpm
        self._p01, self._p11 = 0.0, (1e-3 * self._period) ** 2

    def update(self, beat: float, seconds: float) -> bool:
        """Take one beat and when it came; return whether it was a jump and not the next one."""
        step = beat - self.beat
        expected = self.seconds + step * self._period
        if not self._started or step <= 0.0 or abs(seconds - expected) > self._farthest(step):
            self.beat, self.seconds, self._started = beat, seconds, True
            self._p00, self._p01 = self.noise**2, 0.0
            self._far.clear()
            self._side.clear()
            return True
        self._restless *= math.exp(-2.0 * step)
        walk = ((_TEMPO_WALK + self._restless) * self._period) ** 2 * step
        self._p00 += 2 * step * self._p01 + step * step * self._p11
        self._p01 += step * self._p11
        self._p11 += walk
        self.beat, self.seconds = beat, expected
        self._take(seconds - expected, step)
        self._tell()
        return False

    def _farthest(self, step: float) -> float:
        """Return by how much a beat may be off before it is another song: a beat, or its doubt."""
        doubt = math.sqrt(self._p00 + step * step * self._p11)
        return max(self._period, 4.0 * doubt)

    def _take(self, error: float, step: float) -> None:
        limit = _FAR * math.sqrt(self._p00 + self.noise**2)
        far = abs(error) >= limit
        if not far or (self._far and self._far[0] * error < 0):
            self._far.clear()
        if far:
            self._far.append(error)
        elif math.sqrt(self._p11) < _KNOWN * self._period:
            self.noise += _MEMORY * (1.25 * abs(error) - self.noise)
            self.noise = max(self._least_noise, min(_MOST_NOISE, self.noise))
        if len(self._far) >= _FAR_COUNT:
            # The tempo is another: what was known of it counts no more.
            self._p11 += (_NEW_TEMPO * self._period) ** 2
            self._p00, self._p01 = self._p00 + error**2, 0.0
            self._restless = _RESTLESS
            self._far.clear()
        elif far:
            error = math.copysign(limit, error)
        self._lean(error, step)
        variance = self._p00 + self.noise**2
        gain, period_gain = self._p00 / variance, self._p01 / variance
        self.seconds += gain * error
        self._period = max(_SHORTEST, self._period + period_gain * error)
        self._p11 -= period_gain * self._p01
        self._p01 -= gain * self._p01
        self._p00 -= gain * self._p00

    def _lean(self, error: float, step: float) -> None:
        if self._side and self._side[0] * error < 0:
            self._side.clear()
        self._side.append(error)
        if len(self._side) >= _SIDE_COUNT:
            mean = sum(self._side) / _SIDE_COUNT
            self._p00 += mean**2
            self._p11 += (mean / (_SIDE_COUNT * step)) ** 2
            self._side.clear()

    def _tell(self) -> None:
        doubt = math.sqrt(self._p11) / self._period
        if doubt > _KNOWN:
            return
        bpm = 60.0 / self._period
        if self._held is None or abs(bpm - self._held) > 3.0 * doubt * bpm:
            self._held = bpm
