"""The audio clock on simulated devices: drift, jitter, bursts, xruns, a unix clock that is moved.

All times are made here; nothing waits.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.osc_server.clock import SLEW, AudioClock, OfflineClock
from ghostnote.osc_server.ring import Stamp

START_NS = 5_000_000_000_123
UNIX_NS = 1_800_000_000_000_000_000


class Device:
    """A sound card: takes `block` frames per callback at `rate` * (1 + ppm), callbacks come late."""

    def __init__(self, rate: float, ppm: float, block: int, seed: int = 0, late: float = 1e-4):
        self.real_rate, self.block, self.late = rate * (1 + ppm * 1e-6), block, late
        self.rng = np.random.default_rng(seed)
        self.callbacks = 0
        self.lost_seconds = 0.0
        self.silence = 0

    def seconds(self, position: float) -> float:
        """True time since START_NS at which a position is reached."""
        return position / self.real_rate + self.lost_seconds

    def stamps(self, count: int) -> list[Stamp]:
        made = []
        for _ in range(count):
            position = self.callbacks * self.block
            late = self.rng.exponential(self.late)
            if self.rng.random() < 0.01:
                late += 4e-3
            ns = START_NS + round((self.seconds(position) + late) * 1e9)
            made.append(Stamp(position, ns, self.silence))
            self.callbacks += 1
        return made

    def run(self, clock: AudioClock, seconds: float) -> list[float]:
        """Feed the clock for so long; the error of its map at each update, in seconds."""
        errors = []
        for _ in range(round(seconds * self.real_rate / self.block / 4)):
            stamps = self.stamps(4)
            now = stamps[-1].ns + 50_000
            clock.update(stamps, now, UNIX_NS + now - START_NS)
            # A bundle 100 ms ahead: which ring frame, and when is that frame really due?
            ahead = UNIX_NS * 1e-9 + (now - START_NS) * 1e-9 + 0.1
            position = clock.frame_at(ahead) * clock.device_rate / clock.engine_rate + self.silence
            errors.append(self.seconds(position) - (ahead - UNIX_NS * 1e-9))
        return errors


def settled(device: Device, clock: AudioClock, seconds: float = 20.0) -> list[float]:
    device.run(clock, 5.0)
    return device.run(clock, seconds)


@pytest.mark.parametrize("ppm", [-150.0, 0.0, 37.0, 150.0])
@pytest.mark.parametrize("block", [64, 256, 1024])
def test_the_map_is_smooth_and_knows_the_rate(ppm: float, block: int) -> None:
    clock = AudioClock(48000, 48000)
    errors = settled(Device(48000, ppm, block), clock)
    # Callbacks scatter by 0.1 ms and every hundredth by 4 ms more; the map by far less.
    assert max(errors) - min(errors) < 1e-4
    assert abs(np.mean(errors)) < 3e-4  # callbacks are late on average, and that cannot be seen
    assert clock.drift_ppm == pytest.approx(ppm, abs=3)
    assert clock.sr_actual == pytest.approx(48000 * (1 + ppm * 1e-6), rel=3e-6)
    assert clock.jumps == 0


@given(
    ppm=st.floats(-180, 180),
    block=st.sampled_from([32, 128, 480, 512]),
    rate=st.sampled_from([44100, 48000, 96000]),
    seed=st.integers(0, 1000),
)
def test_soon_after_the_start_it_is_within_a_millisecond(
    ppm: float, block: int, rate: int, seed: int
) -> None:
    device = Device(rate, ppm, block, seed)
    clock = AudioClock(rate, 24000)
    device.run(clock, 0.5)
    assert max(map(abs, device.run(clock, 0.5))) < 1e-3


def test_bursty_callbacks_are_averaged() -> None:
    """PulseAudio asks for 64 ms at once, then for nothing for 64 ms."""
    clock = AudioClock(48000, 48000)
    device = Device(48000, 20.0, 256, late=0.0)
    errors = []
    for burst in range(600):
        stamps = [
            Stamp(s.position, START_NS + burst * 64_000_000 + k * 40_000, 0)
            for k, s in enumerate(device.stamps(12))
        ]
        now = stamps[-1].ns
        clock.update(stamps, now, UNIX_NS + now - START_NS)
        if burst > 300:
            unix = (UNIX_NS + now - START_NS) * 1e-9
            errors.append(clock.frame_at(unix) / 48000 - (now - START_NS) * 1e-9)
    assert max(errors) - min(errors) < 2e-3


def test_an_xrun_moves_the_map_at_once() -> None:
    device, clock = Device(48000, 50.0, 256), AudioClock(48000, 48000)
    settled(device, clock, 5.0)
    device.lost_seconds += 0.032
    device.run(clock, 0.1)
    assert clock.jumps == 1
    assert max(map(abs, device.run(clock, 5.0))) < 1e-3
    assert clock.jumps == 1


def test_one_late_callback_moves_nothing() -> None:
    device, clock = Device(48000, 0.0, 256, late=0.0), AudioClock(48000, 48000)
    settled(device, clock, 2.0)
    before = clock.unix_at(10_000_000)
    (stamp,) = device.stamps(1)
    late = stamp._replace(ns=stamp.ns + 30_000_000)
    clock.update([late], late.ns, UNIX_NS + late.ns - START_NS)
    assert abs(clock.unix_at(10_000_000) - before) < 5e-3  # 200 s ahead
    assert max(map(abs, device.run(clock, 2.0))) < 2e-4


def test_starvation_moves_the_engine_frames_not_the_device() -> None:
    """What the ring could not give was played as silence: all later frames leave that much later."""
    device, clock = Device(48000, 0.0, 256, late=0.0), AudioClock(48000, 48000)
    settled(device, clock, 2.0)
    before = clock.unix_at(1_000_000)
    device.silence += 4800
    device.run(clock, 0.1)
    assert clock.unix_at(1_000_000) - before == pytest.approx(0.1, abs=1e-4)
    assert clock.jumps == 0


@given(
    frame=st.integers(-10_000, 10**9),
    engine_rate=st.sampled_from([16000, 24000, 44100, 48000]),
    latency=st.floats(0, 0.5),
    delay=st.integers(0, 48),
)
def test_frame_at_undoes_unix_at(frame: int, engine_rate: int, latency: float, delay: int) -> None:
    device = Device(48000, 33.0, 256)
    clock = AudioClock(48000, engine_rate, engine_delay=delay, latency=latency)
    device.run(clock, 0.2)
    assert clock.frame_at(clock.unix_at(frame)) == frame
    offline = OfflineClock(engine_rate, 1.8e9, latency=latency)
    assert offline.frame_at(offline.unix_at(frame)) == frame


def test_latency_delay_and_rates_mean_what_they_say() -> None:
    at = UNIX_NS * 1e-9 + 1.0  # one second after device position 0
    stamp = [Stamp(0, START_NS, 0)]

    def frame(engine_rate: float, **settings: float) -> int:
        clock = AudioClock(48000, engine_rate, **settings)
        clock.update(stamp, START_NS, UNIX_NS)
        return clock.frame_at(at)

    assert frame(48000) == 48000
    assert frame(24000) == 24000
    assert frame(24000, latency=0.05) == 25200  # leaves the sink 50 ms later: a later frame
    assert frame(24000, engine_delay=24) == 23976  # goes in 1 ms earlier, to come out in time


def test_the_unix_clock_is_slewed_and_only_large_steps_are_followed() -> None:
    clock = AudioClock(48000, 48000)
    device = Device(48000, 0.0, 256, late=0.0)

    def second(k: int, unix_error: float) -> float:
        now = START_NS + k * 1_000_000_000
        clock.update(device.stamps(187), now, UNIX_NS + now - START_NS + round(unix_error * 1e9))
        return clock.unix_at(0) - UNIX_NS * 1e-9

    second(0, 0.0)
    base = second(1, 0.0)
    moved = [second(2 + k, 0.02) - base for k in range(60)]
    assert moved[0] == pytest.approx(SLEW, rel=0.1)
    assert max(np.diff(moved)) < 1.1 * SLEW
    assert moved[-1] == pytest.approx(0.02, abs=1e-4)
    assert second(62, 3600.0) - base == pytest.approx(3600.0, abs=1e-3)


def test_before_the_first_update_it_says_so() -> None:
    clock = AudioClock(48000, 24000)
    with pytest.raises(RuntimeError, match="follow"):
        clock.frame_at(0.0)
    # Without a stamp yet, time runs at the nominal rate from the first update on.
    clock.update([], START_NS, UNIX_NS)
    assert clock.frame_at(UNIX_NS * 1e-9 + 2.0) == 48000


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        AudioClock(rate, 24000)
    with pytest.raises(ValueError, match="positive"):
        OfflineClock(rate, 0.0)


def test_the_monotonic_time_of_a_frame_is_not_moved_with_the_time_of_day() -> None:
    clock, device = AudioClock(48000, 24000, engine_delay=7.0, latency=0.02), Device(48000, 50, 256)
    device.run(clock, 10.0)
    frame = clock.frame_at(UNIX_NS * 1e-9 + 10.5)
    before = clock.monotonic_at(frame)
    assert before == pytest.approx(START_NS * 1e-9 + 10.52, abs=1e-4)
    now = START_NS + 10_000_000_000
    clock.update([], now, UNIX_NS + 10_000_000_000 + 3_600_000_000_000)
    assert clock.monotonic_at(frame) == pytest.approx(before, abs=1e-6)
