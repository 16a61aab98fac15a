"""Drawing the next level from the network's outputs: inverse CDF in index order.

Functions of one lane's outputs, by address (`packing.py` tells where what lies). Compiled,
allocates nothing; one thread at a time per lane.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from . import packing as p
from .activations import (
    RANK_OF_INFINITY,
    count_from,
    exponential,
    keep_from,
    largest,
    logarithm,
    weigh,
)
from .lanes import LANES, load_float
from .memory import inner
from .spec import LEAST_LOG_SCALE as LEAST
from .spec import LEVELS_16

INTS = npt.NDArray[np.int64]
ZERO, ONE = np.float32(0.0), np.float32(1.0)
HALF_RANGE = np.float32(LEVELS_16 // 2)
LEAST_LOG_SCALE = np.float32(LEAST)


@inner
def draw_level(h: INTS, outputs: int, weights: int, sums: int, temperature: float, top_k: int,
               first: float, second: float) -> int:  # fmt: skip
    """Return the level that two uniform numbers choose; a softmax needs only the first."""
    if h[p.MIXTURES] == 0:
        return int(draw_softmax(h, outputs, weights, sums, temperature, top_k, first))
    return int(draw_mixture(h, outputs, weights, sums, temperature, top_k, first, second))


@inner
def draw_softmax(h: INTS, outputs: int, weights: int, sums: int, temperature: float, top_k: int,
                 u: float) -> int:  # fmt: skip
    """Draw a level: first the run of levels (a lane, see `packing._places`), then within it."""
    vectors = h[p.OUT] // LANES
    top = largest(outputs, vectors)
    weigh(weights, sums, outputs, vectors, top, ONE / temperature)
    if 0 < top_k < h[p.OUTPUTS]:
        keep_greatest(outputs, vectors, top_k, weights, sums)
    total = ZERO
    for lane in range(LANES):
        total += load_float(sums + 4 * lane)
    threshold = np.float32(u) * total
    before, run, found = ZERO, 0, False
    for lane in range(LANES):
        weight = load_float(sums + 4 * lane)
        if weight > ZERO:
            run = lane
            if before + weight > threshold:
                found = True
                break
            before += weight
    if not found:  # rounding made the product reach the total: the last level that has weight
        threshold = np.float32(np.inf)
    level = run * vectors
    for vector in range(vectors):
        weight = load_float(weights + 4 * (vector * LANES + run))
        if weight > ZERO:
            level = run * vectors + vector
            before += weight
            if before > threshold:
                break
    return int(min(level, h[p.OUTPUTS] - 1))


@inner
def draw_mixture(h: INTS, outputs: int, weights: int, sums: int, temperature: float, top_k: int,
                 first: float, second: float) -> int:  # fmt: skip
    """Draw a component of the mixture, then a sample from its logistic, to the nearest level."""
    count = h[p.MIXTURES]
    wide = h[p.OUT] // 3
    weigh(weights, sums, outputs, wide // LANES, largest(outputs, wide // LANES), ONE / temperature)
    if 0 < top_k < count:
        keep_greatest(outputs, wide // LANES, top_k, weights, sums)
    total = ZERO
    for i in range(count):
        total += load_float(weights + 4 * i)
    threshold = np.float32(first) * total
    running, component = ZERO, 0
    for i in range(count):
        weight = load_float(weights + 4 * i)
        if weight > ZERO:
            component = i
            running += weight
            if running > threshold:
                break
    mean = load_float(outputs + 4 * (wide + component))
    log_scale = load_float(outputs + 4 * (2 * wide + component))
    scale = exponential(max(log_scale, LEAST_LOG_SCALE)) * np.float32(temperature)
    u = np.float32(second)
    x = mean + scale * (logarithm(u) - logarithm(ONE - u))
    place = x * HALF_RANGE + (HALF_RANGE + np.float32(0.5))
    if not place >= ZERO:  # also what is not a number
        return 0
    return int(min(place, np.float32(LEVELS_16 - 1)))


@inner
def keep_greatest(outputs: int, vectors: int, k: int, weights: int, sums: int) -> None:
    """Set to 0 the weights of all but the k greatest outputs and those equal to the least of these.

    `sums` [16] become the sums of what each lane has left. What is not a number keeps its weight.
    """
    # At least k outputs reach `low`, or there are none below it; fewer than k reach `high`.
    low, high = -RANK_OF_INFINITY - 1, RANK_OF_INFINITY + 1
    while high - low > 1:  # 32 times at most, and about 15 for logits that differ
        middle = (low + high) >> 1
        found = count_from(outputs, vectors, middle)
        if found < k:
            high = middle
        else:
            low = middle
            if found == k:
                break
    keep_from(weights, sums, outputs, vectors, low)
