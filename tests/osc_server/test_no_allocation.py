"""The audio path allocates nothing: Numba's own counter, around a thousand rounds of it."""

import numpy as np
from numba import njit
from numba.core.runtime import _nrt_python

from ghostnote.osc_server.native import monotonic_ns
from ghostnote.osc_server.resample import Resampler, resample
from ghostnote.osc_server.ring import (
    RUNNING,
    FrameRing,
    RecordRing,
    TapRing,
    consume_at,
    records_pop,
    records_push,
    ring_set_state,
    ring_write,
    tap_write,
)

RECORD = np.dtype([("frame", "i8"), ("value", "f8")])


@njit
def _rounds(count, ring, data, tap, tap_data, records, slots, table, state, history, extra):  # type: ignore[no-untyped-def]
    block = np.zeros((24, 2), np.float32)
    out = np.zeros((64, 2), np.float32)
    batch = np.zeros(4, slots.dtype)
    total = 0
    for _ in range(count):
        n = resample(table, state, history, block, 24, out)
        ring_write(ring, data, out, n)
        tap_write(tap, tap_data, out, n)
        consume_at(
            np.int64(ring.ctypes.data), np.int64(out.ctypes.data), 64, monotonic_ns()
        )  # starved now and then
        records_push(records, slots, batch, 3)
        total += records_pop(records, slots, batch)
        if extra:
            total += np.zeros(3).size
    return total


def allocations(count: int, extra: bool) -> int:
    """Allocations in so many rounds, those before and after them included."""
    ring, tap, records = FrameRing(256), TapRing(1 << 14), RecordRing(RECORD, 16)
    stream = Resampler(24000, 44100, 24)
    ring_set_state(ring.header, RUNNING)
    arrays = (ring.header, ring.data, tap.header, tap.data, records.header, records.records)
    before = _nrt_python.memsys_get_stats_alloc()
    _rounds(count, *arrays, stream.table, stream.state, stream.history, extra)
    return int(_nrt_python.memsys_get_stats_alloc() - before)


def test_the_audio_path_allocates_nothing() -> None:
    was_on = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    try:
        assert allocations(1000, extra=False) == allocations(1, extra=False)
        # The counter does count.
        assert allocations(1000, extra=True) >= allocations(1, extra=True) + 999
    finally:
        if not was_on:
            _nrt_python.memsys_disable_stats()
