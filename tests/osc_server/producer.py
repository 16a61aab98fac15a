"""A compiled stand-in for the engine: keeps a ring full of a ramp, from a thread without the GIL."""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ghostnote.osc_server.native import load_acquire, sleep_us, store_release
from ghostnote.osc_server.ring import RUNNING, FrameRing, ring_set_state, ring_space, ring_write

PERIOD = 1 << 20  # the ramp begins again after so many frames, 22 s at 48 kHz
_BLOCK = 128


def ramp(first: int, n: int) -> NDArray[np.float32]:
    """Frames that tell their own index: (index mod PERIOD) / PERIOD, exact in 24 bits; [n, 2]."""
    left = ((np.arange(first, first + n) % PERIOD) / PERIOD).astype(np.float32)
    return np.stack([left, -left], axis=1)


@njit(nogil=True)
def _fill(stop, header, data, block):  # type: ignore[no-untyped-def]
    frame = 0
    while load_acquire(stop, 0) == 0:
        if ring_space(header) < block.shape[0]:
            ring_set_state(header, RUNNING)
            sleep_us(300)
            continue
        for k in range(block.shape[0]):
            block[k, 0] = np.float32(((frame + k) % PERIOD) / PERIOD)
            block[k, 1] = -block[k, 0]
        frame += ring_write(header, data, block, block.shape[0])


@njit(nogil=True)
def _end(stop):  # type: ignore[no-untyped-def]
    store_release(stop, 0, 1)


@contextmanager
def ramp_producer(ring: FrameRing) -> Iterator[None]:
    """Keep `ring` full of the ramp; it is RUNNING once it has been full."""
    stop = np.zeros(1, np.int64)
    block = np.zeros((_BLOCK, 2), np.float32)
    _end(stop)
    _fill(stop, ring.header, ring.data, block)  # compiles
    stop[0] = 0
    thread = threading.Thread(target=_fill, args=(stop, ring.header, ring.data, block))
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while ring.header[1] != RUNNING and time.monotonic() < deadline:
            time.sleep(0.001)
        yield
    finally:
        _end(stop)
        thread.join()


def hold_the_gil(times: int) -> None:
    """Hold Python's lock for 300 ms, `times` times, as a C extension may."""
    usleep = ctypes.PyDLL(None).usleep  # PyDLL, unlike CDLL, keeps the GIL during the call
    for _ in range(times):
        usleep(300_000)
        time.sleep(0.02)
