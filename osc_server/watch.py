"""The watch over a voice's stream: told apart are silence, a standing level and noise from music.

Threads: compiled; runs in the engine's thread. It hears the stream itself, not what a loop, a fader
or a fade makes of it, in windows of half a second. A model that drifts (and the best of them do,
now and then) is brought back to silence; the voice's chance goes on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .desk import DC, NOISE, SILENCE, Core, inner

DEAD_PEAK = 0.003  # -50 dBFS: below it a hit has not been heard
LOUD_HIT = 0.3  # softer ones may rightly not be
DEAD_WINDOWS = 4  # with hits, none of them heard
DC_LEVEL = 0.1
DC_WINDOWS = 2
NOISE_RMS = 0.1  # -20 dBFS
REST_WINDOWS = 4  # after the last hit a cymbal may ring
NOISE_WINDOWS = 6


@inner
def expect_sound(voice: Any, velocity: float) -> None:
    """Hear of a hit."""
    voice.since_hit = 0
    if velocity >= LOUD_HIT:
        voice.watch_hits += 1


@inner
def listen(core: Core, voice: Any) -> int:
    """Hear one hop of `mono`; returns why the voice must be brought back to silence, else 0."""
    desk, mono = core.desk[0], core.mono
    hop = desk.hop
    total, power, peak = voice.watch_sum, voice.watch_power, voice.watch_peak
    for i in range(hop):
        sample = mono[0, i]
        total += sample
        power += sample * sample
        peak = max(peak, abs(sample))
    voice.watch_sum, voice.watch_power, voice.watch_peak = total, power, peak
    voice.watch_hops += 1
    samples = voice.watch_hops * hop
    if 2 * samples < desk.rate:
        return 0
    reason = judge(core, voice, total / samples, np.sqrt(power / samples))
    voice.watch_sum = voice.watch_power = voice.watch_peak = 0.0
    voice.watch_hops = voice.watch_hits = 0
    if reason > 0:
        voice.dead = voice.stuck = voice.noisy = 0
    return int(reason)


@inner
def judge(core: Core, voice: Any, mean: float, rms: float) -> int:
    """Judge a window that is over, with those before it."""
    at = core.banks[voice.bank]
    kits = 0.0
    for kit in range(at.kits):
        kits += voice.weights[kit]
    # Bare textures sound without hits, and a model without roles hears none.
    hears = at.has_roles == 1 and (at.kits == 0 or kits > 0.0)
    if voice.watch_hits > 0:
        voice.dead = voice.dead + 1 if hears and voice.watch_peak < DEAD_PEAK else 0
    voice.since_hit += 1
    stands = abs(mean) > DC_LEVEL and rms * rms - mean * mean < mean * mean
    voice.stuck = voice.stuck + 1 if stands else 0
    hisses = hears and voice.since_hit > REST_WINDOWS and rms > NOISE_RMS
    voice.noisy = voice.noisy + 1 if hisses else 0
    if voice.dead >= DEAD_WINDOWS:
        return SILENCE
    if voice.stuck >= DC_WINDOWS:
        return DC
    return NOISE if voice.noisy >= NOISE_WINDOWS else 0
