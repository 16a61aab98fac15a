"""The WaveNet step in Numba: float32, any shape, the same bits on every CPU.

`reference.py` says the same slowly. The functions work on the flat arrays of `packing.py`:
h = header, w = weights, si and sf = a stream's ints and floats. They allocate nothing and do not
hold the GIL; a stream belongs to one thread at a time, a model may serve many.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from . import packing as p
from .activations import ONE, exp, sigmoid, tanh
from .control import control_row, grow_older, strike
from .gemv import gemv_add
from .rng import uniform

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]
ZERO = np.float32(0.0)


# Slices that are indexed from zero become vector code; array[offset + i] does not, since the
# compiler must allow for a negative index.


@nb.njit(cache=True, nogil=True)
def _add(y: FLOATS, x: FLOATS) -> None:
    for j in range(y.shape[0]):
        y[j] += x[j]


@nb.njit(cache=True, nogil=True)
def _copy(y: FLOATS, x: FLOATS) -> None:
    for j in range(y.shape[0]):
        y[j] = x[j]


@nb.njit(cache=True, nogil=True)
def _relu(y: FLOATS) -> None:
    for j in range(y.shape[0]):
        y[j] = max(y[j], ZERO)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _gate(z: FLOATS, a: FLOATS, b: FLOATS) -> None:
    for j in range(z.shape[0]):
        z[j] = tanh(a[j]) * sigmoid(b[j])


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _exponentials(y: FLOATS, logits: FLOATS, top: float, scale: float) -> None:
    for j in range(y.shape[0]):
        y[j] = exp((logits[j] - top) * scale)


@nb.njit(cache=True, nogil=True)
def update_control(h: INTS, w: FLOATS, si: INTS, sf: FLOATS) -> None:
    """Compute each layer's gate bias of the hop that begins, from the ages and the kit."""
    bias = h[p.S_HOP_BIAS]
    count = h[p.LAYERS] * 2 * h[p.GATE_PAD]
    _copy(sf[bias : bias + count], w[h[p.AT_FILTER_BIAS] : h[p.AT_FILTER_BIAS] + count])
    if h[p.CONTROL] == 0:
        return
    roles, kits = h[p.ROLES], h[p.KITS]
    table_at, ages = h[p.AT_AGE_TABLE], si[h[p.I_AGES] : h[p.I_AGES] + roles]
    table = w[table_at : table_at + h[p.AGES] * h[p.AGE_FEATURES]]
    control_row(
        ages,
        sf[h[p.S_VELOCITIES] : h[p.S_VELOCITIES] + roles],
        sf[h[p.S_KIT] : h[p.S_KIT] + kits],
        table.reshape((h[p.AGES], h[p.AGE_FEATURES])),
        sf[h[p.S_CONTROL] : h[p.S_CONTROL] + h[p.CONTROL]],
    )
    x_at, inputs = h[p.S_CONTROL], h[p.CONTROL]
    for i in range(h[p.DENSE]):
        y_at = h[p.S_DENSE_A] if i % 2 == 0 else h[p.S_DENSE_B]
        width = h[h[p.AT_DENSE_WIDTH] + i]
        bias_at = h[h[p.AT_DENSE_BIAS] + i]
        y = sf[y_at : y_at + width]
        _copy(y, w[bias_at : bias_at + width])
        gemv_add(w, h[h[p.AT_DENSE_WEIGHT] + i], width, sf, x_at, inputs, sf, y_at)
        _relu(y)
        x_at, inputs = y_at, width
    gemv_add(w, h[p.AT_COND_OUT], count, sf, x_at, inputs, sf, bias)
    grow_older(ages, h[p.AGES] - 1)


@nb.njit(cache=True, nogil=True)
def compute_logits(h: INTS, w: FLOATS, si: INTS, sf: FLOATS, fill: bool) -> None:
    """Leave the logits of the next level in the stream's floats, and take x into the rings.

    With `fill` every ring is first filled with the layer's present input: the state after
    endless repetition of the level history, at the cost of one step.
    """
    residual, rp, gp = h[p.RESIDUAL], h[p.RESIDUAL_PAD], h[p.GATE_PAD]
    x_at, gates_at = h[p.S_X], h[p.S_GATES]
    x, gates = sf[x_at : x_at + rp], sf[gates_at : gates_at + 2 * gp]
    for j in range(rp):
        x[j] = ZERO
    for tap in range(h[p.TAPS]):
        level = si[h[p.I_HISTORY] + tap]
        at = h[p.AT_INPUT] + (tap * h[p.LEVELS] + level) * rp
        _add(x, w[at : at + rp])
    for layer in range(h[p.LAYERS]):
        dilation = h[h[p.AT_DILATION] + layer]
        reach = (h[p.WIDTH] - 1) * dilation
        ring = h[h[p.AT_RING] + layer]
        pos = si[h[p.I_RING_POS] + layer]
        if fill:
            for i in range(reach):
                _copy(sf[ring + i * rp : ring + (i + 1) * rp], x)
        bias = h[p.S_HOP_BIAS] + layer * 2 * gp
        _copy(gates, sf[bias : bias + 2 * gp])
        filters = h[h[p.AT_FILTER] + layer]
        for tap in range(h[p.WIDTH] - 1):
            past = pos + tap * dilation
            if past >= reach:
                past -= reach
            gemv_add(w, filters, 2 * gp, sf, ring + past * rp, residual, sf, gates_at)
            filters += 2 * gp * residual
        gemv_add(w, filters, 2 * gp, sf, x_at, residual, sf, gates_at)
        z_at = h[p.S_Z] + layer * gp
        _gate(sf[z_at : z_at + gp], gates[:gp], gates[gp:])
        _copy(sf[ring + pos * rp : ring + (pos + 1) * rp], x)
        si[h[p.I_RING_POS] + layer] = pos + 1 if pos + 1 < reach else 0
        if layer + 1 < h[p.LAYERS]:
            at = h[h[p.AT_RESIDUAL_BIAS] + layer]
            _add(x, w[at : at + rp])
            gemv_add(w, h[h[p.AT_RESIDUAL] + layer], rp, sf, z_at, gp, sf, x_at)
    _head(h, w, sf)


@nb.njit(cache=True, nogil=True)
def _head(h: INTS, w: FLOATS, sf: FLOATS) -> None:
    skip, hidden, logits = h[p.S_SKIP], h[p.S_HEAD], h[p.S_LOGITS]
    skips, hiddens, levels = h[p.SKIP_PAD], h[p.HEAD_PAD], h[p.LEVELS_PAD]
    _copy(sf[skip : skip + skips], w[h[p.AT_SKIP_BIAS] : h[p.AT_SKIP_BIAS] + skips])
    gates = h[p.LAYERS] * h[p.GATE_PAD]
    gemv_add(w, h[p.AT_SKIP], skips, sf, h[p.S_Z], gates, sf, skip)
    _relu(sf[skip : skip + skips])
    _copy(sf[hidden : hidden + hiddens], w[h[p.AT_HEAD0_BIAS] : h[p.AT_HEAD0_BIAS] + hiddens])
    gemv_add(w, h[p.AT_HEAD0], hiddens, sf, skip, skips, sf, hidden)
    _relu(sf[hidden : hidden + hiddens])
    _copy(sf[logits : logits + levels], w[h[p.AT_HEAD1_BIAS] : h[p.AT_HEAD1_BIAS] + levels])
    gemv_add(w, h[p.AT_HEAD1], levels, sf, hidden, hiddens, sf, logits)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def draw_level(h: INTS, si: INTS, sf: FLOATS, u: float) -> int:
    """Return the level that the uniform number u chooses: inverse CDF in index order."""
    levels, at = h[p.LEVELS], h[p.S_LOGITS]
    logits = sf[at : at + levels]
    cdf = sf[at + h[p.LEVELS_PAD] : at + h[p.LEVELS_PAD] + levels]
    top = logits[0]
    for j in range(1, levels):
        top = max(top, logits[j])
    _exponentials(cdf, logits, top, ONE / sf[h[p.S_TEMPERATURE]])
    floor = _kth_largest(sf, at, levels, si[p.I_TOP_K])
    total = ZERO
    for j in range(levels):
        if logits[j] >= floor:
            total += cdf[j]
        cdf[j] = total
    threshold = np.float32(u) * total
    for j in range(levels):
        if cdf[j] > threshold:
            return j
    # Rounding made the product reach the total: the last level that has weight.
    last: int = levels - 1
    while last > 0 and cdf[last - 1] == total:
        last -= 1
    return last


@nb.njit(cache=True, nogil=True)
def _kth_largest(sf: FLOATS, at: int, levels: int, k: int) -> np.float32:
    """Return the k-th largest logit, or minus infinity if k asks for all."""
    if k <= 0 or k >= levels:
        return np.float32(-np.inf)
    bound = np.float32(np.inf)
    taken = 0
    while True:  # walk down the distinct values; k is small where it is used
        best = np.float32(-np.inf)
        ties = 0
        for j in range(at, at + levels):
            if sf[j] < bound:
                if sf[j] > best:
                    best, ties = sf[j], 1
                elif sf[j] == best:
                    ties += 1
        taken += ties
        if taken >= k or ties == 0:  # none left below the bound: the others are not numbers
            return best
        bound = best


@nb.njit(cache=True, nogil=True)
def take_level(h: INTS, si: INTS, level: int) -> None:
    """Put a level at the end of the stream's history."""
    history = h[p.I_HISTORY]
    for tap in range(h[p.TAPS] - 1):
        si[history + tap] = si[history + tap + 1]
    si[history + h[p.TAPS] - 1] = level
    si[p.I_INDEX] += 1


@nb.njit(cache=True, nogil=True)
def prewarm(h: INTS, w: FLOATS, si: INTS, sf: FLOATS) -> None:
    """Bring a stream to the state after a receptive field of silence with no hit sounding."""
    si[p.I_INDEX] = 0
    for tap in range(h[p.TAPS]):
        si[h[p.I_HISTORY] + tap] = h[p.SILENCE]
    for role in range(h[p.ROLES]):
        si[h[p.I_AGES] + role] = h[p.AGES] - 1
        sf[h[p.S_VELOCITIES] + role] = ZERO
    for layer in range(h[p.LAYERS]):
        si[h[p.I_RING_POS] + layer] = 0
    update_control(h, w, si, sf)
    compute_logits(h, w, si, sf, True)


@nb.njit(cache=True, nogil=True)
def generate(h: INTS, w: FLOATS, si: INTS, sf: FLOATS, out: FLOATS) -> None:
    """Write the stream's next samples into `out` float32 [n]; any n, chunked equals whole.

    Hits struck since the last hop boundary start at the first boundary inside `out`.
    """
    for i in range(out.shape[0]):
        if si[p.I_INDEX] % h[p.HOP] == 0:
            update_control(h, w, si, sf)
        compute_logits(h, w, si, sf, False)
        u = uniform(si[p.I_SEED], si[p.I_STREAM], si[p.I_INDEX])
        level = draw_level(h, si, sf, u)
        take_level(h, si, level)
        out[i] = w[h[p.AT_MULAW] + level]


@nb.njit(cache=True, nogil=True)
def teacher_force(h: INTS, w: FLOATS, si: INTS, sf: FLOATS, levels: INTS, logits: FLOATS) -> None:
    """Feed given `levels` int64 [n] as if drawn; write what was predicted to `logits` [n, Q]."""
    for i in range(levels.shape[0]):
        if si[p.I_INDEX] % h[p.HOP] == 0:
            update_control(h, w, si, sf)
        compute_logits(h, w, si, sf, False)
        for j in range(h[p.LEVELS]):
            logits[i, j] = sf[h[p.S_LOGITS] + j]
        take_level(h, si, levels[i])


@nb.njit(cache=True, nogil=True)
def hit(h: INTS, si: INTS, sf: FLOATS, role: int, velocity: float) -> None:
    """Strike a role of a stream; it sounds from the next hop boundary on."""
    at, pairs = h[p.AT_CHOKE], h[p.CHOKES]
    strike(
        si[h[p.I_AGES] : h[p.I_AGES] + h[p.ROLES]],
        sf[h[p.S_VELOCITIES] : h[p.S_VELOCITIES] + h[p.ROLES]],
        h[at : at + 2 * pairs].reshape((pairs, 2)),
        h[p.AGES] - 1,
        role,
        velocity,
    )
