"""The master: its gain, its limiter and all meters.

Threads: compiled; runs in the engine's thread.
"""

from __future__ import annotations

import numpy as np

from .desk import CLIPS, Core, Floats, inner

SMOOTHING = 0.2  # share of the way that the gain goes towards its target in a hop
KNEE = np.float32(0.9)  # below it the limiter leaves every bit as it is
METER_SECONDS = 1 / 30

_ONE, _ROOM = np.float32(1.0), np.float32(1.0) - KNEE


@inner
def set_level(core: Core) -> None:
    """Apply the master's gain to the mix of a hop."""
    desk, mix = core.desk[0], core.mix
    hop, before = desk.hop, desk.master
    after = before + (desk.master_target - before) * SMOOTHING
    for i in range(hop):
        gain = np.float32(before + (after - before) * ((i + 1.0) / hop))
        for channel in range(mix.shape[1]):
            mix[i, channel] *= gain
    desk.master = after


@inner
def limit(core: Core, out: Floats, count: int) -> None:
    """Bend what is above the knee, so that nothing passes 1; count what would have, and measure.

    y = knee + room * u / (1 + u), u = (|x| - knee) / room: slope 1 at the knee, 1 never reached. It
    looks nothing ahead, so it costs no latency; at the device's rate, where the peaks are.
    """
    shared, sums, limits = core.shared, core.master_sums, core.desk[0].limiter > 0.5
    sums[4] += count
    for i in range(count):
        for channel in range(out.shape[1]):
            size = abs(out[i, channel])
            if size > _ONE:
                shared[CLIPS] += 1
            if limits and size > KNEE:
                over = (size - KNEE) / _ROOM
                size = KNEE + _ROOM * over / (_ONE + over)
                out[i, channel] = size if out[i, channel] > 0 else -size
            side = channel % 2
            sums[side] = max(sums[side], size)
            if channel < 2:
                sums[2 + side] += size * size


@inner
def publish_levels(core: Core) -> None:
    """Publish the levels of a meter's window that is over."""
    desk, levels, sums = core.desk[0], core.levels, core.master_sums
    desk.meter_hops += 1
    if desk.meter_hops * desk.hop < METER_SECONDS * desk.rate:
        return
    samples = desk.meter_hops * desk.hop
    for number in range(core.voices.shape[0]):
        voice = core.voices[number]
        if voice.exists == 1:
            levels[number, 0] = voice.peak
            levels[number, 1] = np.sqrt(voice.power / samples)
            voice.peak = voice.power = 0.0
    last = core.voices.shape[0]
    for side in range(2):
        levels[last, side] = sums[side]
        levels[last, 2 + side] = np.sqrt(sums[2 + side] / max(1.0, sums[4]))
        sums[side] = sums[2 + side] = 0.0
    sums[4] = 0.0
    desk.meter_hops = 0
