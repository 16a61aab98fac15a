"""A streaming resampler for the engine's thread: model rate in, device rate out.

Threads: one `Resampler` belongs to one thread. `resample` is compiled, takes no GIL and allocates
nothing; making a `Resampler` does allocate and belongs before the start.

A polyphase windowed sinc for the exact ratio of two whole-number rates: phase p of the table holds
the taps for outputs that fall p/up of the way between two inputs. Each output is one sum in a fixed
order over inputs alone, so any cutting into blocks gives the same bits, and after n inputs exactly
ceil(n * rate_out / rate_in) outputs have come.

The trade: playing live wants a short filter. Its delay is half its length, DELAY_SECONDS = 1 ms at
most. At 24 kHz that is 48 taps, which with a Kaiser window of 80 dB makes the band between "passed"
and "stopped" about 2.6 kHz wide, laid around the lower Nyquist frequency (-6 dB there): for
24 -> 48 kHz flat to 10.6 kHz, 80 dB down from 13.4 kHz on. Between these, images of the top
1.4 kHz remain as a faint mirror; for drums at 24 kHz, cymbal noise beside cymbal noise.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

DELAY_SECONDS = 0.001
STOPBAND_DB = 80.0
MAX_PHASES = 1024  # 44100 <-> 48000 needs 147 and 160; rates with nothing in common are refused

UP, DOWN, NEXT = 0, 1, 2  # words of the state; NEXT: the next output, in 1/up inputs from now


def polyphase_table(rate_in: int, rate_out: int) -> tuple[FloatArray, int, int]:
    """Design the filter: (taps float32[up, length], up, down) with rate_out/rate_in = up/down.

    Rates are whole numbers of Hz. Equal rates give one tap of 1.0: the signal passes bit for bit.
    Raises ValueError for rates that are not positive or whose ratio needs over MAX_PHASES phases.
    """
    if rate_in <= 0 or rate_out <= 0:
        raise ValueError(f"sample rates {rate_in} -> {rate_out} Hz: must be positive")
    common = gcd(rate_in, rate_out)
    up, down = rate_out // common, rate_in // common
    if up == down:
        return np.ones((1, 1), np.float32), 1, 1
    if up > MAX_PHASES:
        raise ValueError(
            f"sample rates {rate_in} -> {rate_out} Hz: ratio {up}/{down} is too fine; "
            "use 44100, 48000, 88200, 96000 or 192000 for the device"
        )
    half = max(2, int(DELAY_SECONDS * rate_in))
    cutoff = min(1.0, up / down)  # of the input's Nyquist frequency
    beta = 0.1102 * (STOPBAND_DB - 8.7)
    # Tap k of phase p sits this many inputs from the output's place (`half` inputs ago).
    phase, tap = np.arange(up)[:, None], np.arange(2 * half)[None, :]
    distance = half - 1 - tap + phase / up
    window = np.i0(beta * np.sqrt(np.maximum(0.0, 1.0 - (distance / half) ** 2))) / np.i0(beta)
    taps = cutoff * np.sinc(cutoff * distance) * window
    taps /= taps.sum(axis=1, keepdims=True)  # a constant passes exactly, in every phase
    return taps.astype(np.float32), up, down


class Resampler:
    """One stream from `rate_in` to `rate_out` (whole Hz), at most `max_block` frames in a call.

    `table`, `state` and `history` are given to `resample`. State is allocated here, `reset` in
    place, `save`d and `restore`d as a pair of arrays.
    """

    def __init__(self, rate_in: int, rate_out: int, max_block: int, channels: int = 2) -> None:
        self.table, up, down = polyphase_table(rate_in, rate_out)
        self.state: IntArray = np.array([up, down, 0], np.int64)
        length = self.table.shape[1]
        self.history: FloatArray = np.zeros((length - 1 + max_block, channels), np.float32)
        self.max_block = max_block
        # Frames of `out` that one call can need.
        self.max_out = -(-max_block * up // down) + 1

    @property
    def delay(self) -> int:
        """Group delay in input frames (0 when nothing is to be done)."""
        return int(self.table.shape[1] // 2)

    def reset(self) -> None:
        """Go back to silence."""
        self.state[NEXT] = 0
        self.history[:] = 0.0

    def save(self) -> tuple[IntArray, FloatArray]:
        """Copy the state out."""
        return self.state.copy(), self.history.copy()

    def restore(self, saved: tuple[IntArray, FloatArray]) -> None:
        """Go back to a saved state."""
        self.state[:], self.history[:] = saved

    def process(self, block: FloatArray, out: FloatArray) -> int:
        """Resample `block` [n <= max_block, channels] into `out` [>= max_out, channels]."""
        return int(resample(self.table, self.state, self.history, block, len(block), out))


@njit(cache=True, nogil=True)
def resample(
    table: FloatArray,
    state: IntArray,
    history: FloatArray,
    block: FloatArray,
    n: int,
    out: FloatArray,
) -> int:
    """Resample the first `n` frames of `block` [>= n, channels] into `out`; returns how many came.

    `history` float32[length - 1 + max_block, channels] holds the last inputs at its start. `n` must
    not be over max_block, and `out` must have room for ceil(n * up / down) frames.
    """
    up, down, place = state[UP], state[DOWN], state[NEXT]
    length, channels = table.shape[1], block.shape[1]
    kept = length - 1
    for i in range(n):
        for c in range(channels):
            history[kept + i, c] = block[i, c]
    count = 0
    end = n * up
    while place < end:
        newest = place // up
        phase = place - newest * up
        for c in range(channels):
            total = np.float32(0.0)
            for k in range(length):
                total += table[phase, k] * history[newest + k, c]
            out[count, c] = total
        count += 1
        place += down
    state[NEXT] = place - end
    for i in range(kept):
        for c in range(channels):
            history[i, c] = history[n + i, c]
    return count
