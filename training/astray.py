"""A past that has gone astray, as it does when a network hears what it has played itself.

Trained on spoilt inputs and targets that are clean, or lead back, it learns to come back. Pure
functions of levels [n] and a generator of random numbers; any thread.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ghostnote.kernels import levels as amplitudes
from ghostnote.kernels.emphasis import emphasised
from ghostnote.kernels.spec import ModelSpec

INTS = npt.NDArray[np.int64]

MULAW_STEP = np.log1p(255.0) / 128.0
"""A step of mu-law 256 on the scale of log(1 + 255 |x|)."""

LOWEST_CORNER, HIGHEST_CORNER = 20.0, 4000.0  # Hz
SOFTEST, LOUDEST = -3.0, -0.8
"""Powers of ten of noise that any sound may have, silence too: -60 to -16 dBFS. A network that has heard
loud pasts only where they ought to be takes an oscillation of its own for one, and goes on with it."""
RETURN_SECONDS = 1e-4
"""A network is to bring slow noise down to 1/e in this time."""


def noised(spec: ModelSpec, levels: INTS, deviation: float, rng: np.random.Generator) -> INTS:
    """Return levels moved by white noise of a standard deviation in steps of mu-law 256."""
    noise = rng.standard_normal(len(levels)) * deviation
    if spec.levels == 256:
        return np.clip(levels + np.rint(noise).astype(np.int64), 0, 255)
    samples = amplitudes.decode(spec, levels).astype(np.float64)
    loud = np.sign(samples) * np.log1p(255.0 * np.abs(samples)) + noise * MULAW_STEP
    return amplitudes.encode(spec, np.sign(loud) * np.expm1(np.abs(loud)) / 255.0)


def drifted(
    spec: ModelSpec, levels: INTS, share: float, rng: np.random.Generator
) -> tuple[INTS, INTS]:
    """Return levels of their sound with slow noise on it, and how to come back from there.

    The noise has `share` of the sound's level over 10 ms (RMS), and every second time a level between
    `SOFTEST` and `LOUDEST` besides; it is white below a corner between 20 and 4000 Hz, drawn by
    octaves, and falls by 24 dB an octave above it, for what is higher the past is to be trusted. The
    second levels are the targets after such a
    past: the noise has gone down as it does by `RETURN_SECONDS`. Were they the sound itself, a
    network would have to guess all at once how far it is off; what it then draws is noise.
    """
    sound = amplitudes.to_sound(spec, levels).astype(np.float64)
    wide = spec.samplerate // 100
    power = np.concatenate([np.zeros(wide), np.cumsum(sound**2)])
    envelope = np.sqrt(np.maximum(power[wide:] - power[:-wide], 0.0) / wide)
    corner = LOWEST_CORNER * (HIGHEST_CORNER / LOWEST_CORNER) ** rng.random()
    hertz = np.fft.rfftfreq(len(sound), 1.0 / spec.samplerate)
    white = np.fft.rfft(rng.standard_normal(len(sound)))
    slow = np.fft.irfft(white / (1.0 + (hertz / corner) ** 4), len(sound))
    level = 10.0 ** rng.uniform(SOFTEST, LOUDEST) if rng.random() < 0.5 else 0.0
    slow *= (share * envelope + level) / slow.std()
    off = emphasised(spec, slow)
    kept = np.exp(-1.0 / (RETURN_SECONDS * spec.samplerate))
    clean = amplitudes.decode(spec, levels)
    return amplitudes.encode(spec, clean + off), amplitudes.encode(spec, clean + kept * off)
