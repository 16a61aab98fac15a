"""Which engine frame is heard at which time of day, and back.

Threads: `update`/`follow` are for one thread at a time (`follow` takes a lock, so any thread may
call it); every other method may be called from any thread, as the map it reads is one immutable
object that is replaced whole. Nothing here is for the audio path.

What a time means. `frame_at(unix)` is the engine frame that leaves the sink (is handed to the
device or to JACK) at `unix + latency`. As in scsynth a bundle's timetag is thus the time at which
its sound leaves, not the time at which it is computed: the engine runs ahead of the sink by the
ring, so a bundle must come at least one ring latency (less the constant lead `latency`) before its
timetag. If it comes later, that frame is generated already, and the bundle is late. Clients add
their own latency to timetags, as sclang's `s.latency` does. What the device itself delays after the
sink is not subtracted: it is a constant of the machine and the same for all sound.

How it is known. Each native callback leaves a stamp (device position, monotonic ns). Callbacks come
late by scheduling, never early, and the device's crystal is off by up to some 100 ppm; a two-state
Kalman filter (a delay-locked loop whose bandwidth falls from fast to about 0.02 Hz as it learns)
follows position and rate through that noise, with large errors clipped. When eight stamps in a row
are far off on one side, the device has skipped time (an xrun, a suspend): then it moves at once.

Time of day comes from the unix clock, which NTP moves under us; its distance from the monotonic
clock is sampled once and then slewed at SLEW, so that a correction never makes the groove jump.
Only a step above STEP_SECONDS (somebody set the clock) is followed at once.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .native import monotonic_ns
from .ring import FrameRing, Stamp

SLEW = 500e-6  # seconds per second, as adjtime does
STEP_SECONDS = 0.128  # ntpd's limit between slewing and stepping

_START_NOISE = 3e-4  # s; what a callback is expected to be late by, before it is measured
_NOISE_LIMITS = (2e-5, 3e-2)  # s
_START_RATE_ERROR = 200e-6  # relative; worse crystals are not sold for audio
_RATE_WALK = 1e-14  # per second; how fast the squared rate error may grow: 1 ppm in 100 s
_MEMORY = 1 / 64  # weight of one stamp in the running mean of the noise
_FAR_COUNT = 8  # stamps in a row that mean a jump
_FAR_SECONDS = 1.5e-3


@dataclass(frozen=True)
class _Map:
    """Device position `position` is at monotonic `seconds`, rising by `rate` per second."""

    position: float
    seconds: float
    rate: float
    offset: int  # position - ring frame
    unix_offset: float  # unix - monotonic, seconds


class DriftFilter:
    """Follows (position, time) stamps: the time of a position, and the real rate.

    Positions are frames, times are seconds from any origin (small ones keep the precision).
    `update` returns whether it jumped.
    """

    def __init__(self, nominal_rate: float) -> None:
        self.nominal_rate = nominal_rate
        self.position = 0.0
        self.seconds = 0.0
        self.rate_error = 0.0  # relative: a frame lasts (1 + rate_error) / nominal_rate seconds
        self.noise = _START_NOISE
        self.started = False
        self._far: list[float] = []
        self._p00, self._p01, self._p11 = _START_NOISE**2, 0.0, _START_RATE_ERROR**2

    @property
    def rate(self) -> float:
        """Measured frames per second."""
        return self.nominal_rate / (1.0 + self.rate_error)

    def update(self, position: float, seconds: float) -> bool:
        """Take one stamp; positions must not fall."""
        if not self.started:
            self.position, self.seconds, self.started = position, seconds, True
            return False
        step = (position - self.position) / self.nominal_rate
        self._p00 += 2 * step * self._p01 + step * step * self._p11
        self._p01 += step * self._p11
        self._p11 += step * _RATE_WALK
        self.position = position
        self.seconds += step * (1.0 + self.rate_error)

        error = seconds - self.seconds
        if self._jumped(error):
            self.seconds += min(self._far, key=abs)
            self._far.clear()
            self._p00, self._p01 = self.noise**2, 0.0
            return True
        clipped = max(-4 * self.noise, min(4 * self.noise, error))
        self.noise += _MEMORY * (1.25 * abs(clipped) - self.noise)
        self.noise = max(_NOISE_LIMITS[0], min(_NOISE_LIMITS[1], self.noise))
        variance = self._p00 + self.noise**2
        gain, rate_gain = self._p00 / variance, self._p01 / variance
        self.seconds += gain * clipped
        self.rate_error += rate_gain * clipped
        self._p11 -= rate_gain * self._p01
        self._p01 -= gain * self._p01
        self._p00 -= gain * self._p00
        return False

    def _jumped(self, error: float) -> bool:
        limit = max(_FAR_SECONDS, 6 * self.noise)
        if abs(error) < limit or (self._far and self._far[0] * error < 0):
            self._far.clear()
        if abs(error) >= limit:
            self._far.append(error)
        return len(self._far) >= _FAR_COUNT


class AudioClock:
    """Time of day <-> engine frame, by the stamps that the sink leaves in its ring.

    `device_rate` and `engine_rate` in Hz; `engine_delay` is the resampler's delay in engine frames;
    `latency` in seconds moves all that is timed later by a constant (see the top of the file).
    """

    def __init__(
        self,
        device_rate: float,
        engine_rate: float,
        *,
        engine_delay: float = 0.0,
        latency: float = 0.0,
    ) -> None:
        for name, rate in (("device_rate", device_rate), ("engine_rate", engine_rate)):
            if not (math.isfinite(rate) and rate > 0):
                raise ValueError(f"{name} {rate}: must be a positive number of Hz")
        self.device_rate, self.engine_rate = device_rate, engine_rate
        self.engine_delay, self.latency = engine_delay, latency
        self.jumps = 0
        self._filter = DriftFilter(device_rate)
        self._origin_ns = 0
        self._updated_ns = 0
        self._map: _Map | None = None
        self._stamp_count = 0
        self._lock = threading.Lock()

    def follow(self, ring: FrameRing) -> None:
        """Take in the new stamps of `ring`; cheap. Before each conversion, and every second."""
        with self._lock:
            stamps, self._stamp_count = ring.stamps_since(self._stamp_count)
            now, unix = _now_and_unix()
            self._update(stamps, now, unix)

    def update(self, stamps: Sequence[Stamp], now_ns: int, unix_ns: int) -> None:
        """Take in stamps, oldest first, and one reading of both clocks at the same moment."""
        with self._lock:
            self._update(stamps, now_ns, unix_ns)

    def _update(self, stamps: Sequence[Stamp], now_ns: int, unix_ns: int) -> None:
        old = self._map
        measured = (unix_ns - now_ns) * 1e-9
        if old is None:
            self._origin_ns, unix_offset = now_ns, measured
        else:
            error = measured - old.unix_offset
            most = SLEW * max(0.0, (now_ns - self._updated_ns) * 1e-9)
            if abs(error) > STEP_SECONDS:
                most = abs(error)
            unix_offset = old.unix_offset + max(-most, min(most, error))
        self._updated_ns = now_ns
        follower = self._filter
        for stamp in stamps:
            self.jumps += follower.update(stamp.position, (stamp.ns - self._origin_ns) * 1e-9)
        self._map = _Map(
            follower.position,
            follower.seconds,
            follower.rate,
            stamps[-1].offset if stamps else (old.offset if old else 0),
            unix_offset,
        )

    def _current(self) -> _Map:
        if self._map is None:
            raise RuntimeError("the audio clock has not been started: call follow() first")
        return self._map

    def frame_at(self, unix: float) -> int:
        """Engine frame that leaves the sink at `unix` seconds + latency; may lie before frame 0."""
        now = self._current()
        seconds = unix + self.latency - now.unix_offset - self._origin_ns * 1e-9
        ring_frame = now.position + (seconds - now.seconds) * now.rate - now.offset
        return round(ring_frame * self.engine_rate / self.device_rate - self.engine_delay)

    def unix_at(self, frame: float) -> float:
        """Unix time, in seconds, whose `frame_at` is `frame`."""
        now = self._current()
        ring_frame = (frame + self.engine_delay) * self.device_rate / self.engine_rate
        seconds = now.seconds + (ring_frame + now.offset - now.position) / now.rate
        return seconds + self._origin_ns * 1e-9 + now.unix_offset - self.latency

    def monotonic_at(self, frame: float) -> float:
        """Return the monotonic time, in seconds, at which an engine frame leaves the sink.

        What has that clock's times to compare it with is not moved when NTP moves the time of day.
        """
        now = self._current()
        return self.unix_at(frame) + self.latency - now.unix_offset

    @property
    def sr_actual(self) -> float:
        """The device's measured rate in Hz, by the monotonic clock."""
        return self._filter.rate

    @property
    def drift_ppm(self) -> float:
        """How much faster than its nominal rate the device runs, in parts per million."""
        return (self._filter.rate / self.device_rate - 1.0) * 1e6

    @property
    def jitter_seconds(self) -> float:
        """By how much the callbacks themselves scatter (about one standard deviation)."""
        return self._filter.noise


def _now_and_unix() -> tuple[int, int]:
    """Both clocks at one moment, in ns: of three tries the one least torn apart by the scheduler."""
    tries = []
    for _ in range(3):
        before = monotonic_ns()
        unix = time.time_ns()
        after = monotonic_ns()
        tries.append((after - before, (before + after) // 2, unix))
    _, now, unix = min(tries)
    return now, unix


class OfflineClock:
    """The same map for the `file` sink and for replays: frame 0 is at `origin_unix`, no drift."""

    def __init__(self, engine_rate: float, origin_unix: float, *, latency: float = 0.0) -> None:
        if not (math.isfinite(engine_rate) and engine_rate > 0):
            raise ValueError(f"engine_rate {engine_rate}: must be a positive number of Hz")
        self.engine_rate, self.origin_unix, self.latency = engine_rate, origin_unix, latency
        self.sr_actual, self.drift_ppm, self.jitter_seconds, self.jumps = engine_rate, 0.0, 0.0, 0

    def follow(self, ring: FrameRing) -> None:
        """Nothing to follow: time is the number of frames."""

    def frame_at(self, unix: float) -> int:
        """Engine frame at `unix` seconds + latency."""
        return round((unix + self.latency - self.origin_unix) * self.engine_rate)

    def unix_at(self, frame: float) -> float:
        """Unix time, in seconds, of an engine frame."""
        return frame / self.engine_rate + self.origin_unix - self.latency

    def monotonic_at(self, frame: float) -> float:
        """Return the time of an engine frame on a clock that stands at 0 at frame 0."""
        return frame / self.engine_rate
