"""The WaveNet step in Numba: any shape, in three precisions, the same bits on every CPU.

`reference.py` says the same slowly. The functions work on the memory that `packing.py` lays out:
h = header, si = a state's ints (arrays), w = weights, f = a state's floats (addresses). A state
holds one lane or many in lockstep. They allocate nothing and do not hold the GIL; a state belongs
to one thread at a time, a model may serve many.

The first three functions are the entries, whose arguments are all whole numbers, so that they can
be called by address too (`entry_points`, with those of `moving.py`); the compiled code believes what
it is given.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt
from numba import types

from . import packing as p
from .activations import (
    add_scaled,
    add_vectors,
    copy_vectors,
    gate_bytes,
    gate_floats,
    quantise,
    quantise_relu,
    relu,
    zero_vectors,
)
from .body import above, add_waves, curve, find_gains
from .control import control_row, grow_older, strike, youngest
from .draw import draw_level
from .emphasis import sounding
from .lanes import LANES, address_of, call_at, load_float, store_float
from .memory import floats_at, inner, ints_at, lane_at, settings_at
from .moving import copy_lane, relay
from .products import INT8, add_product
from .rng import uniform_pair
from .spec import LEVELS_16
from .weights import BODY_HIDDEN

INTS = npt.NDArray[np.int64]
ZERO, ONE = np.float32(0.0), np.float32(1.0)
HALF_RANGE = np.float32(LEVELS_16 // 2)

_call_product, _call_step = call_at(6), call_at(5)
_RUN = types.void(*[types.int64] * 8)
_STEP = types.void(*[types.int64] * 5)
_PREWARM = types.void(*[types.int64] * 4)
_PRODUCT = types.void(*[types.int64] * 6)
_MOVE = types.void(*[types.int64] * 7)  # copy_lane, relay
_HIT = types.void(types.int64, types.int64, types.int64, types.int64, types.int64, types.float64)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def run(
    header: int, w: int, ints: int, f: int, count: int, out: int, levels: int, outputs: int
) -> None:
    """Advance every lane by `count` samples; any count, chunked equals whole.

    All arguments but `count` are addresses, or 0: of the samples to write, float32 [lanes, count]; of
    levels, int64 [lanes, count], of which those below 0 are drawn and written there (0: all are
    drawn); of what the network puts out, float32 [lanes, count, O]. Hits struck since the last hop
    boundary start at the first boundary.
    """
    h, si = ints_at(header), ints_at(ints)
    lanes = si[p.I_COUNT]
    for i in range(count):
        index = si[p.I_INDEX]
        _call_step(si[p.I_STEP], header, w, ints, f, 0)
        for lane in range(lanes):
            found = f + 4 * (lanes * h[p.S_OUT] + lane * h[p.OUT])
            if outputs:
                count_out = h[p.OUTPUTS]
                row = outputs + 4 * (lane * count + i) * count_out
                for j in range(count_out):
                    store_float(row + 4 * j, load_float(found + 4 * h[h[p.AT_PLACE] + j]))
            mine = si[lane_at(h, lane) :]
            level = np.int64(-1)
            if levels:
                level = ints_at(levels)[lane * count + i]
            if level < 0:
                at = index + mine[p.L_OFFSET]
                u, v = uniform_pair(mine[p.L_SEED], mine[p.L_STREAM], at)
                weights = f + 4 * (lanes * h[p.S_WEIGHTS] + lane * h[p.OUT])
                sums = f + 4 * (lanes * h[p.S_SUMS] + lane * LANES)
                settings = settings_at(h, si, f, lane)
                temperature = load_float(settings + 4 * temperature_of(mine[p.L_FRESH]))
                level = draw_level(h, found, weights, sums, temperature, mine[p.L_TOP_K], u, v)
                if levels:
                    ints_at(levels)[lane * count + i] = level
            for tap in range(h[p.TAPS] - 1):
                mine[p.L_HISTORY + tap] = mine[p.L_HISTORY + tap + 1]
            mine[p.L_HISTORY + h[p.TAPS] - 1] = level
            sound = give_out(h, w, si, f, lane, level, index % h[p.HOP])
            if out:
                store_float(out + 4 * (lane * count + i), sound)
        si[p.I_INDEX] = index + 1


@nb.njit(cache=True, nogil=True, error_model="numpy")
def prewarm(header: int, w: int, ints: int, f: int) -> None:
    """Bring every lane to the state after a receptive field of silence with no hit sounding."""
    h, si = ints_at(header), ints_at(ints)
    si[p.I_INDEX] = si[p.I_PHASE] = 0
    for layer in range(h[p.LAYERS]):
        si[p.I_RING_POS + layer] = 0
    for lane in range(si[p.I_COUNT]):
        mine = si[lane_at(h, lane) :]
        settings = settings_at(h, si, f, lane)
        for tap in range(h[p.TAPS]):
            mine[p.L_HISTORY + tap] = h[p.SILENCE]
        for i in range(p.T_SOUND, p.T_VELOCITIES):
            store_float(settings + 4 * i, ZERO)
        for role in range(h[p.ROLES]):
            mine[p.L_HISTORY + h[p.TAPS] + role] = h[p.AGES] - 1
            store_float(settings + 4 * (p.T_VELOCITIES + role), ZERO)
    _call_step(si[p.I_STEP], header, w, ints, f, 1)
    si[p.I_PHASE] = 0
    for layer in range(h[p.LAYERS]):
        si[p.I_RING_POS + layer] = 0


@nb.njit(cache=True, nogil=True, error_model="numpy")
def hit(header: int, ints: int, f: int, lane: int, role: int, velocity: float) -> None:
    """Strike a role of a lane; it sounds from the next hop boundary on."""
    h, si = ints_at(header), ints_at(ints)
    at, pairs, roles = h[p.AT_CHOKE], h[p.CHOKES], h[p.ROLES]
    ages = lane_at(h, lane) + p.L_HISTORY + h[p.TAPS]
    strike(
        si[ages : ages + roles],
        floats_at(settings_at(h, si, f, lane) + 4 * p.T_VELOCITIES, roles),
        h[at : at + 2 * pairs].reshape((pairs, 2)),
        h[p.AGES] - 1,
        role,
        velocity,
    )


@inner
def give_out(h: INTS, w: int, si: INTS, f: int, lane: int, level: int, phase: int) -> np.float32:
    """Return the sound of a lane's new level, number `phase` of its hop, and keep it for the next.

    With the last before a knot of its body that becomes where the next span begins.
    """
    settings = settings_at(h, si, f, lane)
    kept = settings + 4 * p.T_SOUND
    emphasis = load_float(w + h[p.AT_EMPHASIS])
    sound = sounding(_sample(h, w, level), load_float(kept), emphasis)
    store_float(kept, sound)
    if h[p.KNOTS] == 0:
        return np.float32(sound)
    begin, high = settings + 4 * p.T_BEGIN, settings + 4 * p.T_HIGH
    b = w + h[p.AT_HIGH_PASS]
    sound, first, second = above(
        sound,
        load_float(high),
        load_float(high + 4),
        load_float(b),
        load_float(b + 4),
        load_float(b + 8),
        load_float(b + 12),
        load_float(b + 16),
    )
    store_float(high, first)
    store_float(high + 4, second)
    span = h[p.HOP] // h[p.KNOTS]
    end = knots_at(h, si[p.I_COUNT], f, lane) + 4 * p.KNOT * (phase // span)
    value, slope = load_float(end), load_float(end + 4)
    t = np.float32(phase % span) / np.float32(span)
    sound += curve(load_float(begin), load_float(begin + 4), value, slope, t)
    if (phase + 1) % span == 0:
        store_float(begin, value)
        store_float(begin + 4, slope)
    if h[p.TRANSIENT]:
        sound += load_float(transients_at(h, si[p.I_COUNT], f, lane) + 4 * phase)
    return np.float32(sound)


@inner
def _sample(h: INTS, w: int, level: int) -> np.float32:
    if h[p.MIXTURES]:
        return (np.float32(level) - HALF_RANGE) / HALF_RANGE
    return np.float32(load_float(w + h[p.AT_MULAW] + 4 * level))


@inner
def temperature_of(fresh: int) -> int:
    """Return which of a lane's settings is the temperature of a hop."""
    return p.T_ATTACK if fresh else p.T_TEMPERATURE


@inner
def update_control(h: INTS, w: int, si: INTS, f: int) -> None:
    """Compute each layer's gate bias of the hop that begins, from the lanes' ages and kits.

    And where the lanes' bodies are at its knots, and their transients.
    """
    lanes, product = si[p.I_COUNT], si[p.I_PRODUCT]
    count = h[p.LAYERS] * 2 * h[p.GATE]
    bias = f + 4 * lanes * h[p.S_HOP_BIAS]
    for lane in range(lanes):
        copy_vectors(bias + 4 * count * lane, w + h[p.AT_FILTER_BIAS], count // LANES)
    if h[p.CONTROL] == 0:
        return
    roles, kits, features, inputs = h[p.ROLES], h[p.KITS], h[p.AGE_FEATURES], h[p.CONTROL]
    x = f + 4 * lanes * h[p.S_CONTROL]
    zero_vectors(x, lanes * inputs // LANES)
    for lane in range(lanes):
        ages_at = lane_at(h, lane) + p.L_HISTORY + h[p.TAPS]
        ages = si[ages_at : ages_at + roles]
        velocities = settings_at(h, si, f, lane) + 4 * p.T_VELOCITIES
        control_row(
            ages,
            floats_at(velocities, roles),
            floats_at(velocities + 4 * roles, kits),
            floats_at(w + h[p.AT_AGE_TABLE], h[p.AGES] * features).reshape((h[p.AGES], features)),
            floats_at(x + 4 * inputs * lane, inputs),
        )
        si[lane_at(h, lane) + p.L_FRESH] = youngest(ages, h[p.ATTACK]) < h[p.ATTACK]
        if h[p.KNOTS]:
            told = knots_at(h, lanes, f, lane)
            _tell_waves(h, w, si, f, lane, h[p.AT_BODY], told)
        if h[p.TRANSIENT]:
            told = transients_at(h, lanes, f, lane)
            _tell_waves(h, w, si, f, lane, h[p.AT_TRANSIENTS], told)
        grow_older(ages, h[p.AGES] - 1)
    for i in range(h[p.DENSE]):
        width = h[h[p.AT_DENSE_WIDTH] + i]
        y = f + 4 * lanes * (h[p.S_DENSE_A] if i % 2 == 0 else h[p.S_DENSE_B])
        for lane in range(lanes):
            copy_vectors(y + 4 * width * lane, w + h[h[p.AT_DENSE_BIAS] + i], width // LANES)
        _call_product(product, w + h[h[p.AT_DENSE_WEIGHT] + i], x, 4 * inputs, y, 4 * width, lanes)
        relu(y, lanes * width // LANES)
        x, inputs = y, width
    _call_product(product, w + h[p.AT_COND_OUT], x, 4 * inputs, bias, 4 * count, lanes)


@inner
def _tell_waves(h: INTS, w: int, si: INTS, f: int, lane: int, at: int, to: int) -> None:
    """Write what a lane's waves tell of the hop that begins, from its ages and kits, to address `to`.

    The header has the waves from `at` on.
    """
    roles, kits, waves, points = h[p.ROLES], h[p.KITS], h[at + p.W_COUNT], h[at + p.W_POINTS]
    lasting, inputs = h[at + p.W_AGES], 2 * kits + 1
    ages = lane_at(h, lane) + p.L_HISTORY + h[p.TAPS]
    velocities = settings_at(h, si, f, lane) + 4 * p.T_VELOCITIES
    told = floats_at(to, points)
    told[:] = ZERO
    gains = floats_at(f + 4 * si[p.I_COUNT] * h[p.S_GAINS], waves)
    for role in range(roles):
        age = si[ages + role]
        if age < lasting:
            first = w + h[at + p.W_GAIN0] + 4 * role * BODY_HIDDEN * inputs
            bias = w + h[at + p.W_GAIN0_BIAS] + 4 * role * BODY_HIDDEN
            second = w + h[at + p.W_GAIN1] + 4 * role * waves * BODY_HIDDEN
            find_gains(
                gains,
                load_float(velocities + 4 * role),
                floats_at(velocities + 4 * roles, kits),
                floats_at(first, BODY_HIDDEN * inputs).reshape((BODY_HIDDEN, inputs)),
                floats_at(bias, BODY_HIDDEN),
                floats_at(second, waves * BODY_HIDDEN).reshape((waves, BODY_HIDDEN)),
            )
            size = waves * points
            wave = floats_at(w + h[at + p.W_WAVE] + 4 * size * (role * lasting + age), size)
            add_waves(told, gains, wave.reshape((waves, points)))


@inner
def knots_at(h: INTS, lanes: int, f: int, lane: int) -> int:
    """Return the address of where a lane's body is at the knots of the present hop."""
    return int(f + 4 * (lanes * h[p.S_KNOTS] + lane * p.KNOT * h[p.KNOTS]))


@inner
def transients_at(h: INTS, lanes: int, f: int, lane: int) -> int:
    """Return the address of a lane's transients in the present hop."""
    return int(f + 4 * (lanes * h[p.S_TRANSIENTS] + lane * h[p.HOP]))


@nb.njit(cache=True, nogil=True, error_model="numpy")
def step(header: int, w: int, ints: int, f: int, fill: int) -> None:
    """Leave what the network puts out in the state's floats, and take its inputs into the rings.

    At a hop boundary the control is computed before. With `fill` every ring is first filled with
    the layer's present input: the state after endless repetition of the level history, at the cost
    of one step.
    """
    h, si = ints_at(header), ints_at(ints)
    if si[p.I_INDEX] % h[p.HOP] == 0:
        update_control(h, w, si, f)
    precision, lanes, product = h[p.PRECISION], si[p.I_COUNT], si[p.I_PRODUCT]
    residual, gate, row = h[p.RESIDUAL], h[p.GATE], h[p.ROW]
    x, gates = f + 4 * lanes * h[p.S_X], f + 4 * lanes * h[p.S_GATES]
    z, z_stride = f + 4 * lanes * h[p.S_Z], h[p.LAYERS] * h[p.Z]
    bias, bias_stride = f + 4 * lanes * h[p.S_HOP_BIAS], 4 * h[p.LAYERS] * 2 * gate
    _embed(h, w, si, x)
    for layer in range(h[p.LAYERS]):
        ring = f + 4 * lanes * h[h[p.AT_RING] + layer]
        pos = si[p.I_RING_POS + layer]
        reach = (h[p.WIDTH] - 1) * h[h[p.AT_DILATION] + layer]
        if fill:
            _take_in(precision, ring, row, x, residual, lanes)
            for i in range(lanes, reach * lanes):
                copy_vectors(ring + i * row, ring + (i - lanes) * row, row // (4 * LANES))
        past = _past(h, w, si, f, layer, ring, pos, reach)
        for lane in range(lanes):
            add_vectors(
                gates + 8 * gate * lane,
                past + 8 * gate * lane,
                bias + bias_stride * lane + 8 * gate * layer,
                2 * gate // LANES,
            )
        now = ring + pos * lanes * row
        _take_in(precision, now, row, x, residual, lanes)
        filters = w + h[h[p.AT_FILTER] + layer]
        _call_product(product, filters, now, row, gates, 8 * gate, lanes)
        mine = z + layer * h[p.Z]
        for lane in range(lanes):
            a = gates + 8 * gate * lane
            if precision == INT8:
                gate_bytes(mine + z_stride * lane, a, a + 4 * gate, gate // LANES)
            else:
                gate_floats(mine + z_stride * lane, a, a + 4 * gate, gate // LANES)
        if layer + 1 < h[p.LAYERS]:
            for lane in range(lanes):
                to = x + 4 * residual * lane
                add_vectors(to, to, w + h[h[p.AT_RESIDUAL_BIAS] + layer], residual // LANES)
            matrix = w + h[h[p.AT_RESIDUAL] + layer]
            _call_product(product, matrix, mine, z_stride, x, 4 * residual, lanes)
        si[p.I_RING_POS + layer] = pos + 1 if pos + 1 < reach else 0
    si[p.I_PHASE] += 1
    _head(h, w, si, f, z, z_stride)


@inner
def _embed(h: INTS, w: int, si: INTS, x: int) -> None:
    """Set each lane's x to the sum of what its last levels mean."""
    residual, taps = h[p.RESIDUAL], h[p.TAPS]
    vectors = residual // LANES
    for lane in range(si[p.I_COUNT]):
        to = x + 4 * residual * lane
        history = lane_at(h, lane) + p.L_HISTORY
        if h[p.MIXTURES]:
            copy_vectors(to, w + h[p.AT_INPUT_BIAS], vectors)
        else:
            zero_vectors(to, vectors)
        for tap in range(taps):
            level = si[history + tap]
            if h[p.MIXTURES]:
                at = w + h[p.AT_INPUT] + 4 * residual * tap
                add_scaled(to, at, vectors, _sample(h, w, level))
            else:
                at = w + h[p.AT_INPUT] + 4 * residual * (tap * h[p.LEVELS] + level)
                add_vectors(to, to, at, vectors)


@inner
def _take_in(precision: int, to: int, row: int, x: int, count: int, lanes: int) -> None:
    """Store each lane's x [count] as a row that `add_product` can multiply, its scale behind it."""
    for lane in range(lanes):
        at, source = to + row * lane, x + 4 * count * lane
        if precision == INT8:
            quantise(at, at + count, source, count // LANES)
        else:
            copy_vectors(at, source, count // LANES)


@inner
def _past(h: INTS, w: int, si: INTS, f: int, layer: int, ring: int, pos: int, reach: int) -> int:
    """Return the address of the layer's products with its past, [lanes, 2 * gate].

    They are made for as many samples ahead as the dilation allows, all by one reading of weights.
    """
    lanes, row, gate, taps = si[p.I_COUNT], h[p.ROW], h[p.GATE], h[p.WIDTH] - 1
    # With many lanes the weights are shared by them already, and less memory is faster.
    ahead = max(1, min(h[h[p.AT_AHEAD] + layer], p.AHEAD // lanes))
    phase = si[p.I_PHASE] % ahead
    past = f + 4 * lanes * (h[p.S_PAST] + h[h[p.AT_PAST] + layer])
    if phase == 0:
        zero_vectors(past, ahead * lanes * 2 * gate // LANES)
        for tap in range(taps):
            at = pos + tap * h[h[p.AT_DILATION] + layer]
            if at >= reach:
                at -= reach
            filters = w + h[h[p.AT_PAST_FILTER] + layer * taps + tap]
            done = 0
            while done < ahead:
                count = min(ahead - done, reach - at)
                rows = ring + at * lanes * row
                to = past + 8 * gate * done * lanes
                _call_product(si[p.I_PRODUCT], filters, rows, row, to, 8 * gate, count * lanes)
                done += count
                at = 0
    return int(past + 8 * gate * phase * lanes)


@inner
def _head(h: INTS, w: int, si: INTS, f: int, z: int, z_stride: int) -> None:
    lanes = si[p.I_COUNT]
    skips, hiddens, outs = h[p.SKIP], h[p.HEAD], h[p.OUT]
    skip, hidden = f + 4 * lanes * h[p.S_SKIP], f + 4 * lanes * h[p.S_HEAD]
    out = f + 4 * lanes * h[p.S_OUT]
    operand = f + 4 * lanes * h[p.S_OPERAND]
    for lane in range(lanes):
        copy_vectors(skip + 4 * skips * lane, w + h[p.AT_SKIP_BIAS], skips // LANES)
        copy_vectors(hidden + 4 * hiddens * lane, w + h[p.AT_HEAD0_BIAS], hiddens // LANES)
        copy_vectors(out + 4 * outs * lane, w + h[p.AT_HEAD1_BIAS], outs // LANES)
    _call_product(si[p.I_PRODUCT], w + h[p.AT_SKIP], z, z_stride, skip, 4 * skips, lanes)
    _rectified_product(h, si, w + h[p.AT_HEAD0], skips, skip, operand, hidden, 4 * hiddens)
    _rectified_product(h, si, w + h[p.AT_HEAD1], hiddens, hidden, operand, out, 4 * outs)


@inner
def _rectified_product(
    h: INTS, si: INTS, w: int, inputs: int, x: int, operand: int, y: int, y_stride: int
) -> None:
    """Add W relu(x) to y for every lane; `operand` is room for int8."""
    lanes = si[p.I_COUNT]
    if h[p.PRECISION] == INT8:
        stride = inputs + LANES
        for lane in range(lanes):
            at = operand + stride * lane
            quantise_relu(at, at + inputs, x + 4 * inputs * lane, inputs // LANES)
        _call_product(si[p.I_PRODUCT], w, operand, stride, y, y_stride, lanes)
    else:
        relu(x, lanes * inputs // LANES)
        _call_product(si[p.I_PRODUCT], w, x, 4 * inputs, y, y_stride, lanes)


class EntryPoints(NamedTuple):
    """Addresses of the compiled entries as C functions, for code that calls them by address."""

    run: int
    prewarm: int
    hit: int
    step: int
    product: int
    copy_lane: int
    relay: int


@functools.cache
def entry_points() -> EntryPoints:
    """Compile the entries, or read them from the cache, and return their addresses."""
    return EntryPoints(
        address_of(run, _RUN),
        address_of(prewarm, _PREWARM),
        address_of(hit, _HIT),
        address_of(step, _STEP),
        address_of(add_product, _PRODUCT),
        address_of(copy_lane, _MOVE),
        address_of(relay, _MOVE),
    )
