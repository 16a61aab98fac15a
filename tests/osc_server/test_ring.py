"""The rings: order, atomicity, starvation without a click, stamps, the tap's memory."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from ghostnote.osc_server.native import load_acquire, sleep_us, store_release
from ghostnote.osc_server.ring import (
    DRAINING,
    FADE_FRAMES,
    IDLE,
    RUNNING,
    STAMP_SLOTS,
    FrameRing,
    RecordRing,
    TapRing,
    consume,
    consume_at,
    records_pop,
    records_push,
    ring_read,
    ring_set_state,
    ring_space,
    ring_write,
    tap_write,
)

RECORD = np.dtype([("frame", "i8"), ("op", "i4"), ("voice", "i4"), ("value", "f8")])
Frames = NDArray[np.float32]


def ramp(first: int, n: int) -> Frames:
    """Frames whose samples tell their index, exactly."""
    left = np.arange(first, first + n) % 65536 / 65536
    return np.stack([left, -left], axis=1).astype(np.float32)


def write(ring: FrameRing, block: Frames) -> int:
    return int(ring_write(ring.header, ring.data, block, len(block)))


def play(ring: FrameRing, n: int, ns: int = 0) -> Frames:
    out = np.full((n, ring.channels), np.nan, np.float32)
    consume(ring.address, out.ctypes.data, n, ns)
    return out


@pytest.mark.parametrize("capacity", [0, 1, 3, 100])
def test_capacity_must_be_a_power_of_two(capacity: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        FrameRing(capacity)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60))
def test_frames_come_out_in_order_bit_for_bit(steps: list[tuple[int, int]]) -> None:
    ring = FrameRing(32)
    ring_set_state(ring.header, RUNNING)
    written = read = 0
    for to_write, to_read in steps:
        room = 32 - (written - read)
        assert ring_space(ring.header) == room
        assert write(ring, ramp(written, to_write)) == min(room, to_write)
        written += min(room, to_write)
        n = min(to_read, written - read)  # never starved here
        np.testing.assert_array_equal(play(ring, n), ramp(read, n))
        read += n
        assert (ring.fill, ring.consumed) == (written - read, read)
    assert ring.underruns == ring.missing == 0


@njit
def _from_compiled_code(address, target, n, ns):  # type: ignore[no-untyped-def]
    consume_at(address, target, n, ns)


def test_consume_from_compiled_code_is_consume() -> None:
    ring = FrameRing(64)
    write(ring, ramp(0, 40))
    ring_set_state(ring.header, RUNNING)
    out = np.zeros((40, 2), np.float32)
    _from_compiled_code(ring.address, out.ctypes.data, 40, 123)
    np.testing.assert_array_equal(out, ramp(0, 40))
    assert ring.stamps_since(0)[0] == [(0, 123, 0)]


def test_nothing_is_taken_and_nothing_counted_before_the_start() -> None:
    ring = FrameRing(64)
    assert not play(ring, 16).any()
    write(ring, ramp(1, 40))
    assert not play(ring, 16).any()
    assert (ring.underruns, ring.missing, ring.fill) == (0, 0, 40)
    ring_set_state(ring.header, RUNNING)
    np.testing.assert_array_equal(play(ring, 40), ramp(1, 40))  # no fade in at the start either


def test_running_before_the_first_frame_is_no_underrun() -> None:
    ring = FrameRing(64)
    ring_set_state(ring.header, RUNNING)
    assert not play(ring, 16).any()
    assert (ring.underruns, ring.missing) == (0, 0)


def test_after_the_end_silence_is_no_underrun() -> None:
    ring = FrameRing(64)
    write(ring, np.ones((40, 2), np.float32))
    ring_set_state(ring.header, DRAINING)
    assert (play(ring, 40) == 1).all()
    out = play(ring, 2 * FADE_FRAMES)
    assert (ring.underruns, ring.missing) == (0, 0)
    assert np.abs(np.diff(out[:, 0])).max() <= 1.001 / FADE_FRAMES
    assert not out[FADE_FRAMES:].any()


def test_starvation_is_counted_in_events_and_frames() -> None:
    ring = FrameRing(1024)
    ring_set_state(ring.header, RUNNING)
    write(ring, ramp(0, 100))
    play(ring, 64)
    play(ring, 64)  # 28 missing: one event
    play(ring, 64)  # the same event goes on
    assert (ring.underruns, ring.missing) == (1, 92)
    write(ring, ramp(100, 70))
    play(ring, 64)
    assert (ring.underruns, ring.missing) == (1, 92)
    play(ring, 64)  # 6 there, 58 missing: a second event
    assert (ring.underruns, ring.missing) == (2, 150)
    assert ring.callbacks == 5
    assert ring.largest_block == 64


@given(
    # Few sizes, so that the ring is often emptied exactly at a callback's edge.
    gaps=st.lists(
        st.tuples(st.sampled_from([0, 7, 64, 300]), st.sampled_from([1, 7, 64, 300])),
        min_size=1,
        max_size=30,
    ),
    state=st.sampled_from([RUNNING, DRAINING]),
)
def test_no_click_however_the_frames_come(gaps: list[tuple[int, int]], state: int) -> None:
    """The loudest constant signal, cut anywhere, never steps by more than its fades' slope."""
    ring = FrameRing(4096)
    ring_set_state(ring.header, state)
    write(ring, np.ones((10, 2), np.float32))
    heard = [play(ring, 10)]
    for there, asked in gaps:
        write(ring, np.ones((there, 2), np.float32))
        heard.append(play(ring, asked))
    out = np.concatenate(heard)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1.0
    assert np.abs(np.diff(out, axis=0)).max() <= 2.001 / FADE_FRAMES


def test_recovery_ends_bit_exact() -> None:
    ring = FrameRing(4096)
    ring_set_state(ring.header, RUNNING)
    write(ring, ramp(0, 100))
    play(ring, 400)
    write(ring, ramp(100, 1000))
    out = play(ring, 1000)
    np.testing.assert_array_equal(out[FADE_FRAMES:], ramp(100 + FADE_FRAMES, 1000 - FADE_FRAMES))
    assert abs(out[0, 0]) < 0.01


def test_stop_and_start_again() -> None:
    ring = FrameRing(4096)
    ring_set_state(ring.header, RUNNING)
    write(ring, np.ones((100, 2), np.float32))
    play(ring, 50)
    ring_set_state(ring.header, IDLE)
    silence = play(ring, 300)
    assert ring.fill == 50
    assert not silence[FADE_FRAMES:].any()
    ring_set_state(ring.header, RUNNING)
    out = np.concatenate([silence, play(ring, 50)])
    assert np.abs(np.diff(out, axis=0)).max() <= 1.001 / FADE_FRAMES
    assert ring.underruns == 0


def test_stamps_tell_position_and_how_much_silence_was_played() -> None:
    ring = FrameRing(256)
    play(ring, 64, ns=1000)
    write(ring, ramp(0, 100))
    ring_set_state(ring.header, RUNNING)
    play(ring, 64, ns=2000)
    stamps, count = ring.stamps_since(0)
    assert stamps == [(0, 1000, 64), (64, 2000, 64)]
    play(ring, 64, ns=3000)  # 28 missing
    assert ring.stamps_since(count) == ([(128, 3000, 92)], 3)
    assert ring.stamps_since(3) == ([], 3)


def test_old_stamps_are_left_out() -> None:
    ring = FrameRing(16)
    for k in range(STAMP_SLOTS + 100):
        play(ring, 4, ns=k)
    stamps, count = ring.stamps_since(0)
    assert count == STAMP_SLOTS + 100
    # One slot fewer than there are: the writer may be in the middle of the oldest.
    assert [stamp.ns for stamp in stamps] == list(range(101, STAMP_SLOTS + 100))


@njit(nogil=True)
def _produce(header, data, total, largest, failed):  # type: ignore[no-untyped-def]
    """Write frames 0, 1, 2, ... in blocks of all sizes as fast as there is room."""
    block = np.zeros((largest, 2), np.float32)
    written = 0
    size = 1
    while written < total and load_acquire(failed, 0) == 0:
        n = min(size, total - written, ring_space(header))
        for k in range(n):
            block[k, 0] = (written + k) % 65536
            block[k, 1] = -block[k, 0]
        written += ring_write(header, data, block, n)
        size = size % largest + 1


@njit(nogil=True)
def _check(header, data, total, largest, failed):  # type: ignore[no-untyped-def]
    block = np.zeros((largest, 2), np.float32)
    read = 0
    size = 1
    while read < total and load_acquire(failed, 0) == 0:
        n = ring_read(header, data, block, size)
        for k in range(n):
            if block[k, 0] != (read + k) % 65536 or block[k, 1] != -block[k, 0]:
                store_release(failed, 0, 1)
        read += n
        size = size % largest + 1
    return read


def test_native_producer_and_consumer_at_full_speed() -> None:
    ring = FrameRing(256)
    failed = np.zeros(1, np.int64)
    total = 3_000_000
    result: list[int] = []
    consumer = threading.Thread(
        target=lambda: result.append(_check(ring.header, ring.data, total, 97, failed))
    )
    consumer.start()
    _produce(ring.header, ring.data, total, 61, failed)
    consumer.join(60)
    assert failed[0] == 0
    assert result == [total]


def records(first: int, n: int) -> NDArray[np.void]:
    batch = np.zeros(n, RECORD)
    batch["frame"] = np.arange(first, first + n)
    batch["op"], batch["voice"], batch["value"] = 3, 1, batch["frame"] * 0.5
    return batch


def test_records_are_pushed_whole_or_not_at_all() -> None:
    ring = RecordRing(RECORD, 8)
    assert ring.push_many(records(0, 5))
    assert not ring.push_many(records(5, 4))
    assert ring.fill == 5
    assert ring.push_many(records(5, 3))
    np.testing.assert_array_equal(ring.pop_all(), records(0, 8))
    assert len(ring.pop_all()) == 0
    with pytest.raises(ValueError, match="records are"):
        ring.push_many(np.zeros(1, np.int64))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40))
def test_records_come_out_in_order(steps: list[tuple[int, int]]) -> None:
    ring = RecordRing(RECORD, 16)
    pushed = popped = 0
    out = np.zeros(9, RECORD)
    for to_push, to_pop in steps:
        fits = to_push <= 16 - (pushed - popped)
        assert records_push(ring.header, ring.records, records(pushed, to_push), to_push) == fits
        pushed += to_push if fits else 0
        n = records_pop(ring.header, ring.records, out[:to_pop])
        assert n == min(to_pop, pushed - popped)
        np.testing.assert_array_equal(out[:n], records(popped, n))
        popped += n


@njit(nogil=True)
def _drain_batches(header, slots, total):  # type: ignore[no-untyped-def]
    """Pop until `total`; counts the times when a batch of 7 was seen in part."""
    out = np.zeros(1024, slots.dtype)
    seen = torn = 0
    while seen < total:
        n = records_pop(header, slots, out)
        torn += n % 7 != 0
        for k in range(n):
            torn += out[k].frame != seen + k
        seen += n
        sleep_us(50)
    return torn


def test_a_batch_becomes_visible_at_once() -> None:
    ring = RecordRing(RECORD, 1024)
    total = 7 * 2000
    torn: list[int] = []
    consumer = threading.Thread(
        target=lambda: torn.append(_drain_batches(ring.header, ring.records, total))
    )
    consumer.start()
    pushed = 0
    while pushed < total:
        if ring.push_many(records(pushed, 7)):
            pushed += 7
        else:
            sleep_us(100)
    consumer.join(30)
    assert torn == [0]


def test_tap_gives_the_last_frames_and_says_when_they_are_gone() -> None:
    tap = TapRing(32768)
    for first in range(0, 60_000, 1000):
        tap_write(tap.header, tap.data, ramp(first, 1000), 1000)
    out = np.zeros((500, 2), np.float32)
    assert tap.written == 60_000
    assert tap.read(59_000, out) == 500
    np.testing.assert_array_equal(out, ramp(59_000, 500))
    assert tap.read(59_900, out) == 100
    assert tap.read(60_000, out) == 0
    assert tap.read(60_000 - 32768, out) == -1  # there still, but perhaps being overwritten
    assert tap.read(tap.oldest, out) == 500
    np.testing.assert_array_equal(out, ramp(tap.oldest, 500))
    with pytest.raises(ValueError, match="more than"):
        TapRing(4096)
