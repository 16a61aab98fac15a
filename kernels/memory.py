"""Where a lane's things lie in the memory that `packing.py` lays out, for compiled code.

h = header, si = a state's ints (arrays without an end: the header tells), f = the address of a
state's floats. Any thread.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt
from numba import carray

from . import packing as p
from .lanes import as_pointer

INTS = npt.NDArray[np.int64]
ANY = 2**40  # length of views whose real length the header tells

inner = nb.njit(
    cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy"
)
"""For what compiled code alone calls: without the functions that unpack Python's arguments."""


@inner
def ints_at(address: int) -> INTS:
    """Return a view of the int64 at an address."""
    view: INTS = carray(as_pointer(address), (ANY,), np.int64)
    return view


@inner
def floats_at(address: int, count: int) -> npt.NDArray[np.float32]:
    """Return a view of `count` float32 at an address."""
    view: npt.NDArray[np.float32] = carray(as_pointer(address), (count,), np.float32)
    return view


@inner
def lane_at(h: INTS, lane: int) -> int:
    """Return where a lane's ints begin."""
    return int(h[p.I_LANES] + lane * h[p.LANE_INTS])


@inner
def settings_at(h: INTS, si: INTS, f: int, lane: int) -> int:
    """Return the address of a lane's settings."""
    return int(f + 4 * (si[p.I_COUNT] * h[p.S_SETTINGS] + lane * h[p.SETTINGS]))
