"""Lanes that come and go: one lane copied between states, and a state laid out anew.

Both work on states of one and the same packed model, at hop boundaries of both, and take addresses
and whole numbers only, so that the audio engine can call them (`cpu.entry_points`). They allocate
nothing and do not hold the GIL; one thread at a time for each state they are given.

What is computed anew is not copied: the gates' biases of a hop, at the boundary; the products with
the past, which are sums of their own over known rows of the rings, so that they have the same bits
whenever and for however many samples at once they are made.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from . import packing as p
from .activations import copy_vectors
from .lanes import LANES
from .memory import inner, ints_at, lane_at, settings_at

INTS = npt.NDArray[np.int64]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def copy_lane(
    header: int,
    to_ints: int,
    to_floats: int,
    to_lane: int,
    from_ints: int,
    from_floats: int,
    from_lane: int,
) -> None:
    """Make a lane of one state a copy of a lane of another, or of the same one.

    Copied is all that a lane is: its past, its hits and their ages, its random numbers with their
    offset, its settings. The numbers of lanes, the indices and the places in the rings may differ;
    those of the destination stay. Its `I_PHASE` becomes 0: all its lanes make their products with
    the past anew. Where the indices differ, the caller adds from's less to's to the copy's
    `L_OFFSET`, if it is to go on with the chances that it would have had.
    """
    h, to, source = ints_at(header), ints_at(to_ints), ints_at(from_ints)
    _copy(h, to, to_floats, to_lane, source, from_floats, from_lane)
    to[p.I_PHASE] = 0


@nb.njit(cache=True, nogil=True, error_model="numpy")
def relay(
    header: int,
    to_ints: int,
    to_floats: int,
    from_ints: int,
    from_floats: int,
    count: int,
    order: int,
) -> None:
    """Lay a state out anew, with `count` lanes, in the arrays of another; the first stays.

    Lane i of the new state is lane order[i] of the old one (`order`: address of int64 [count]);
    where order[i] is -1 it is left for `copy_lane` to fill. Index and places in the rings are the
    old state's. The arrays may be longer than `count` lanes need: nothing lies behind these.
    """
    h, to, source, lanes = ints_at(header), ints_at(to_ints), ints_at(from_ints), ints_at(order)
    for i in range(h[p.I_LANES]):
        to[i] = source[i]
    to[p.I_COUNT] = count
    to[p.I_PHASE] = 0
    for lane in range(count):
        if lanes[lane] >= 0:
            _copy(h, to, to_floats, lane, source, from_floats, lanes[lane])


@inner
def _copy(h: INTS, to: INTS, to_f: int, lane: int, source: INTS, from_f: int, other: int) -> None:
    """Copy lane `other` of `source` to lane `lane` of `to`."""
    at, found = lane_at(h, lane), lane_at(h, other)
    for i in range(h[p.LANE_INTS]):
        to[at + i] = source[found + i]
    copy_vectors(
        settings_at(h, to, to_f, lane),
        settings_at(h, source, from_f, other),
        h[p.SETTINGS] // LANES,
    )
    row, wide, narrow = h[p.ROW], to[p.I_COUNT] * h[p.ROW], source[p.I_COUNT] * h[p.ROW]
    for layer in range(h[p.LAYERS]):
        reach = (h[p.WIDTH] - 1) * h[h[p.AT_DILATION] + layer]
        ring = h[h[p.AT_RING] + layer]
        target = to_f + 4 * to[p.I_COUNT] * ring + lane * row
        origin = from_f + 4 * source[p.I_COUNT] * ring + other * row
        into, out_of = to[p.I_RING_POS + layer], source[p.I_RING_POS + layer]
        for _ in range(reach):
            copy_vectors(target + into * wide, origin + out_of * narrow, row // (4 * LANES))
            into = into + 1 if into + 1 < reach else 0
            out_of = out_of + 1 if out_of + 1 < reach else 0
