"""What a microphone's sound looks like to the judges of `ghostnote eval`: levels of bands over time.

All judges (of roles, kits, likeness, noise) look through this one window. Frames are centred on
their time, so a frame says when something was, not when the window that saw it began. NumPy only;
pure functions, any thread.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import numpy.typing as npt

FLOATS = npt.NDArray[np.float32]
AUDIO = npt.NDArray[np.float32]

FLOOR_DB = -90.0  # less than this in a band counts as silence
LOWEST_HZ = 35.0
HIGHEST_HZ = 18_000.0
PIECE = 2048  # frames that are looked at together: a few MB


def band_edges(samplerate: int, per_octave: float, highest: float = HIGHEST_HZ) -> FLOATS:
    """Return edges in Hz, evenly spaced in octaves from `LOWEST_HZ` to nearly half the rate."""
    highest = min(highest, 0.46 * samplerate)
    count = round(math.log2(highest / LOWEST_HZ) * per_octave)
    return np.geomspace(LOWEST_HZ, highest, count + 1).astype(np.float32)


def levels(
    audio: AUDIO, samplerate: int, edges: FLOATS, step: float, window: float
) -> npt.NDArray[np.float32]:
    """Return the levels of bands in dBFS (of the RMS), float32 [frames, bands].

    Parameters
    ----------
    audio : float32 [samples]
    samplerate : int
        Hz.
    edges : float32 [bands + 1]
        Of the bands in Hz. A bin that lies between two bands is shared by both.
    step, window : float
        Seconds between frames and length of each; frame i is centred on i * step.
    """
    power = powers(audio, samplerate, edges, step, window)
    return np.asarray(np.maximum(10.0 * np.log10(power + 1e-12), FLOOR_DB), np.float32)


def powers(
    audio: AUDIO, samplerate: int, edges: FLOATS, step: float, window: float
) -> npt.NDArray[np.float32]:
    """Return the mean squares of bands, float32 [frames, bands]; arguments as for `levels`."""
    size, hop = round(window * samplerate), round(step * samplerate)
    shape = np.hanning(size + 2)[1:-1].astype(np.float32)
    points = 1 << (size - 1).bit_length()
    shares = _shares(tuple(float(edge) for edge in edges), points, samplerate)
    shares = shares * np.float32(2.0 / (points * float(np.sum(shape.astype(np.float64) ** 2))))
    padded = np.concatenate(
        [np.zeros(size // 2, np.float32), np.asarray(audio, np.float32), np.zeros(size, np.float32)]
    )
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(audio) : hop]
    found = [
        np.square(np.abs(np.fft.rfft(frames[i : i + PIECE] * shape, points))) @ shares
        for i in range(0, len(frames), PIECE)
    ]
    return np.concatenate(found) if found else np.zeros((0, len(edges) - 1), np.float32)


@functools.lru_cache(maxsize=64)
def _shares(edges: tuple[float, ...], points: int, samplerate: int) -> FLOATS:
    """Return which share of each bin [points / 2 + 1] belongs to each band, float32 [bins, bands]."""
    width = samplerate / points
    low = (np.arange(points // 2 + 1) - 0.5) * width  # a bin covers its width
    shares = [
        np.clip((np.minimum(low + width, b) - np.maximum(low, a)) / width, 0.0, 1.0)
        for a, b in itertools.pairwise(edges)
    ]
    return np.stack(shares, axis=1).astype(np.float32)
