"""Uniform random numbers by counter: Philox4x32-10 (Salmon et al. 2011, "Random123").

The number of a sample depends on (seed, stream, sample index) alone: the same for any block size,
any number of streams and from any saved state. Any thread.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from .spec import ModelSpec

MASK = np.uint64(0xFFFFFFFF)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
SHIFT = np.uint64(32)
HALF = np.float32(0.5)
UNIT = np.float32(1.0 / 16777216.0)


@nb.njit(cache=True, nogil=True)
def philox(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Return the four 32-bit words of Philox4x32-10 for a counter and a key of 32-bit words."""
    for _ in range(10):
        p0, p1 = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (p1 >> SHIFT) ^ c1 ^ k0, p1 & MASK, (p0 >> SHIFT) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return c0, c1, c2, c3


@nb.njit(cache=True, nogil=True)
def uniform(seed: int, stream: int, index: int) -> np.float32:
    """Return the uniform number in (0, 1) of a sample: the top 24 bits of word 0, over 2^24.

    Bits of zero count as a half: a uniform of exactly 0 would draw the first level that has any
    weight at all, a full-scale click every twelve minutes at 24 kHz.
    """
    first: np.float32 = uniform_pair(seed, stream, index)[0]
    return first


@nb.njit(cache=True, nogil=True)
def uniform_pair(seed: int, stream: int, index: int) -> tuple[np.float32, np.float32]:
    """Return the sample's two uniform numbers: of word 0, and of word 1 for mixtures."""
    i, s, k = np.uint64(index), np.uint64(stream), np.uint64(seed)
    words = philox(i & MASK, i >> SHIFT, s & MASK, s >> SHIFT, k & MASK, k >> SHIFT)
    eight = np.uint64(8)
    first = max(np.float32(words[0] >> eight), HALF) * UNIT
    return first, max(np.float32(words[1] >> eight), HALF) * UNIT


@nb.njit(cache=True, nogil=True)
def uniforms(seed: int, stream: int, first: int, count: int) -> npt.NDArray[np.float32]:
    """Return the numbers of samples `first` to `first + count - 1`, float32 [count]."""
    out = np.empty(count, np.float32)
    for i in range(count):
        out[i] = uniform(seed, stream, first + i)
    return out


@nb.njit(cache=True, nogil=True)
def uniform_pairs(seed: int, stream: int, first: int, count: int) -> npt.NDArray[np.float32]:
    """Return the pairs of samples `first` to `first + count - 1`, float32 [count, 2]."""
    out = np.empty((count, 2), np.float32)
    for i in range(count):
        out[i, 0], out[i, 1] = uniform_pair(seed, stream, first + i)
    return out


def uniforms_of(
    spec: ModelSpec, seed: int, stream: int, first: int, count: int
) -> npt.NDArray[np.float32]:
    """Return what a model draws its samples by: float32 [count], for mixtures [count, 2]."""
    made = uniform_pairs if spec.mixtures else uniforms
    out: npt.NDArray[np.float32] = made(seed, stream, first, count)
    return out
