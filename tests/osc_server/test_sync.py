"""The transport follows its source: simulated time, jitter, tempo changes, jumps, dropouts."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.commands import Op
from ghostnote.osc_server.sync import Heard, Reading, Sync
from ghostnote.osc_server.sync_midi import MidiClock
from tests.osc_server.simulated_transport import SimulatedTransport

POLL = 0.02


class Host:
    """A song whose beat is known at any time: straight pieces of (seconds, beat, bpm)."""

    at_loudspeaker = False

    def __init__(self, *pieces: tuple[float, float, float]) -> None:
        self.pieces = pieces
        self.heard: Heard | None = None

    def start(self, heard: Heard) -> None:
        self.heard = heard

    def stop(self) -> None:
        self.heard = None

    def at(self, seconds: float) -> tuple[float, float]:
        """The beat and the tempo."""
        began, beat, bpm = [p for p in self.pieces if p[0] <= seconds][-1]
        return beat + (seconds - began) * bpm / 60, bpm


def following(host: Host, name: str = "jack") -> tuple[SimulatedTransport, Sync]:
    transport = SimulatedTransport()
    sync = Sync(transport, {name: lambda: host}, lambda beats: None)
    sync.select(name)
    return transport, sync


def play(
    transport: SimulatedTransport,
    host: Host,
    end: float,
    *,
    begin: float = 0.0,
    start: float = 0.0,
    lost: Callable[[float], bool] = lambda seconds: False,
    late: Callable[[], float] = lambda: 0.0,
) -> None:
    """Hands over readings as JACK's are: exact, but `late()` seconds after they held."""
    seconds = begin
    while seconds < end:
        beat, bpm = host.at(max(seconds, start))
        rolling = seconds >= start
        transport.run_to(max(transport.time, seconds + late()))
        if host.heard and not lost(seconds):
            host.heard(Reading(seconds, beat, bpm, rolling, 4.0))
        seconds += POLL
    transport.run_to(end)


def worst(transport: SimulatedTransport, host: Host, begin: float, end: float) -> float:
    """The largest error, in seconds, of what left the sink between two times."""
    errors = []
    for seconds, beat, rolling in transport.history:
        if begin <= seconds < end:
            assert rolling, f"the transport stands at {seconds}"
            true, bpm = host.at(seconds)
            errors.append(abs(beat - true) * 60 / bpm)
    return max(errors)


@settings(max_examples=15)
@given(
    bpm=st.floats(40, 300),
    beat=st.floats(0, 1000),
    start=st.floats(0.1, 0.5),
    late=st.floats(0, 0.03),
    seed=st.integers(0, 2**32),
)
def test_a_start_is_caught_up_and_then_held_to_the_sample(
    bpm: float, beat: float, start: float, late: float, seed: int
) -> None:
    host, chance = Host((0.0, 0.0, bpm)), random.Random(seed)
    host.pieces = ((0.0, beat, 1e-9), (start, beat, bpm))
    transport, sync = following(host)
    play(transport, host, 6.0, start=start, late=lambda: chance.uniform(0, late))
    # Late by the ring, a poll and what Python was held up, and soon made up for.
    assert worst(transport, host, start + 0.2, 6.0) < 0.1
    assert worst(transport, host, start + 2.0, 6.0) < 1e-3
    assert transport.late == 0
    error = sync.error_ms
    assert error is not None and abs(error) < 1.0
    first = next(b for _, b, rolling in transport.history if rolling)
    assert first == pytest.approx(beat), "the first drum would be lost"


@settings(max_examples=10)
@given(bpm=st.floats(50, 240), new=st.floats(50, 240), at=st.floats(2.0, 2.5))
def test_a_new_tempo_is_taken_at_once(bpm: float, new: float, at: float) -> None:
    host = Host((0.0, 0.0, bpm), (at, at * bpm / 60, new))
    transport, _ = following(host)
    play(transport, host, 5.0)
    # Until it is heard of, the old tempo plays on: a poll, a burst and the ring.
    unknown = POLL + 0.03
    assert worst(transport, host, 1.0, 5.0) < unknown * abs(bpm / new - 1) + 2e-3
    assert worst(transport, host, at + 1.5, 5.0) < 1e-3
    assert transport.tempo == pytest.approx(new)


def test_a_jump_of_the_song_is_followed_at_once() -> None:
    host = Host((0.0, 0.0, 120.0), (3.0, 64.0, 120.0))
    transport, _ = following(host)
    play(transport, host, 6.0)
    assert worst(transport, host, 3.0 + POLL + 0.04, 6.0) < 1e-3
    assert transport.jumps == 1


def test_dropouts_are_played_through() -> None:
    host = Host((0.0, 0.0, 97.5))
    transport, sync = following(host)
    play(transport, host, 10.0, lost=lambda t: 2.0 <= t < 7.0)
    assert worst(transport, host, 1.0, 10.0) < 1e-3
    transport.run_to(25.0)  # the source is gone for good
    assert sync.error_ms is None
    assert transport.rolling


def test_stop_stands_where_the_source_stands_and_goes_on_from_there() -> None:
    host = Host((0.0, 0.0, 120.0))
    transport, _ = following(host)
    play(transport, host, 2.0)
    assert host.heard
    host.heard(Reading(2.0, 4.0, 120.0, False, 4.0))
    transport.run_to(2.1)
    assert not transport.rolling
    host.heard(Reading(2.1, 4.0, 120.0, False, 4.0))
    transport.run_to(2.2)
    assert transport.beat == 4.0
    host.heard(Reading(2.2, 17.25, 120.0, False, 4.0))  # the cursor is moved
    transport.run_to(2.3)
    assert transport.beat == 17.25
    host.pieces = ((0.0, 17.25, 1e-9), (2.31, 17.25, 120.0))
    play(transport, host, 5.0, begin=2.3, start=2.31)
    assert worst(transport, host, 3.5, 5.0) < 1e-3


@pytest.mark.parametrize("offset", [-40.0, 0.0, 35.0, 400.0])
def test_the_offset_is_heard(offset: float) -> None:
    host = Host((0.0, 8.0, 1e-9), (0.5, 8.0, 100.0))
    transport, sync = following(host)
    sync.set_offset(offset)
    play(transport, host, 5.0, start=0.5)
    for seconds, beat, _ in transport.history:
        if 3.0 < seconds < 5.0:
            true, bpm = host.at(seconds)
            assert (beat - true) * 60e3 / bpm == pytest.approx(-offset, abs=1.0)
    assert sync.error_ms == pytest.approx(0.0, abs=1.0)
    first = next(beat for _, beat, rolling in transport.history if rolling)
    assert first == pytest.approx(8.0), "the first drum would be lost"


def test_a_source_of_what_is_heard_counts_the_way_to_the_loudspeaker() -> None:
    host = Host((0.0, 0.0, 120.0))
    host.at_loudspeaker = True
    transport, _ = following(host)
    transport.output_seconds = 0.05
    play(transport, host, 3.0)
    seconds, beat, _ = transport.history[-1]
    assert beat - host.at(seconds)[0] == pytest.approx(0.05 * 2, abs=2e-3)


def test_without_beats_the_position_counts_at_our_tempo() -> None:
    host = Host((0.0, 0.0, 120.0))
    transport, sync = following(host)
    transport.tempo = 90.0
    seconds = 0.0
    while seconds < 3.0:
        transport.run_to(seconds)
        assert host.heard
        host.heard(Reading(seconds, None, None, True, position=10.0 + seconds))
        seconds += POLL
    assert not sync.owns_tempo and sync.owns_rolling
    assert transport.tempo == 90.0
    at, beat, _ = transport.history[-1]
    assert beat == pytest.approx((10.0 + at) * 1.5, abs=2e-3)


def test_a_source_that_says_nothing_of_rolling_leaves_it_to_clients() -> None:
    host = Host((0.0, 0.0, 120.0))
    transport, sync = following(host, "link")
    for step in range(100):
        seconds = step * POLL
        if step == 50:
            transport.rolling = True
        transport.run_to(seconds)
        assert host.heard
        host.heard(Reading(seconds, *host.at(seconds)))
        assert transport.rolling == (step >= 50)
    assert sync.owns_tempo and not sync.owns_rolling
    at, beat, _ = transport.history[-1]
    assert beat == pytest.approx(host.at(at)[0], abs=2e-3)


def test_bars_are_told_once() -> None:
    told: list[int] = []
    transport, host = SimulatedTransport(), Host((0.0, 0.0, 120.0))
    sync = Sync(transport, {"jack": lambda: host}, told.append)
    sync.select("jack")
    for step, bar in enumerate([3.0, 3.0, 7.0, 0.0, 400.0, 3.0]):
        transport.run_to(step * POLL)
        assert host.heard
        host.heard(Reading(step * POLL, 0.0, 120.0, False, bar))
    assert told == [3, 7, 3]
    assert [c.value for c in transport.submitted if c.op == Op.SIGNATURE] == [3, 7, 3]


def test_impossible_tempi_are_limited() -> None:
    host = Host((0.0, 0.0, 120.0))
    transport, _ = following(host)
    for step, bpm in enumerate([1e9, 1e-3, float("inf")]):
        transport.run_to(step * 0.1)
        assert host.heard
        host.heard(Reading(step * 0.1, 0.0, bpm, False))
        transport.run_to(step * 0.1 + 0.05)
        assert 10 <= transport.tempo <= 1000


def test_a_source_that_cannot_be_had_leaves_the_present_one() -> None:
    class Missing(Host):
        def start(self, heard: Heard) -> None:
            raise GhostnoteError("sync source midi: no MIDI here")

    host = Host((0.0, 0.0, 120.0))
    transport = SimulatedTransport()
    sync = Sync(transport, {"jack": lambda: host, "midi": lambda: Missing()}, lambda beats: None)
    sync.select("jack")
    with pytest.raises(GhostnoteError, match="no MIDI"):
        sync.select("midi")
    assert sync.source == "jack" and host.heard
    with pytest.raises(GhostnoteError, match="unknown"):
        sync.select("sundial")
    with pytest.raises(GhostnoteError, match="no clock"):
        sync.select("link")
    play(transport, host, 1.0)
    assert transport.rolling
    heard = host.heard
    sync.close()
    assert sync.source == "internal" and host.heard is None
    heard(Reading(1.0, 0.0, 200.0, False))  # a straggler
    transport.run_to(2.0)
    assert transport.rolling and transport.tempo == 120.0
    with pytest.raises(GhostnoteError, match="internal"):
        sync.beat(4.0)


@settings(max_examples=10)
@given(bpm=st.floats(60, 200), jitter=st.floats(0, 0.03), seed=st.integers(0, 2**32))
def test_beats_over_osc_are_smoothed(bpm: float, jitter: float, seed: int) -> None:
    chance, host = random.Random(seed), Host((0.0, 0.0, bpm))
    transport = SimulatedTransport()
    sync = Sync(transport, {}, lambda beats: None)
    sync.select("osc")
    transport.tempo, transport.rolling = bpm, True  # as a client said, with two decimals less
    for count in range(120):
        seconds = count * 60 / bpm
        transport.run_to(seconds + chance.uniform(0, jitter))
        sync.beat(float(count))
    end = transport.time
    # The mean lateness cannot be known; the rest is smoothed.
    assert worst(transport, host, end / 2, end) < 0.95 * jitter + 2e-3
    late = [(b - host.at(t)[0]) * 60 / bpm for t, b, _ in transport.history if end / 2 < t < end]
    assert max(late) - min(late) < 0.5 * jitter + 2e-3
    assert transport.tempo == pytest.approx(bpm, rel=0.01)


def ticks(
    clock: MidiClock,
    transport: SimulatedTransport,
    host: Host,
    heard: Heard,
    first: int,
    count: int,
    late: Callable[[], float],
) -> None:
    """Sends ticks `first`.. as the host's beat reaches them, each `late()` after."""
    seconds = transport.time
    for number in range(first, first + count):
        while host.at(seconds)[0] < number / 24 - 1e-9:
            beat, bpm = host.at(seconds)
            seconds += min(1e-3, max(1e-6, (number / 24 - beat) * 60 / bpm))
        arrived = max(transport.time, seconds + late())
        transport.run_to(arrived)
        reading = clock.take([0xF8], arrived)
        assert reading
        heard(reading)


@settings(max_examples=8)
@given(
    bpm=st.floats(60, 180),
    new=st.floats(60, 180),
    jitter=st.floats(0, 0.005),
    seed=st.integers(0, 2**32),
)
def test_midi_clock_is_followed_within_its_jitter(
    bpm: float, new: float, jitter: float, seed: int
) -> None:
    chance, turn = random.Random(seed), 8.0
    host = Host((0.0, 0.0, bpm), (turn, turn * bpm / 60, new))
    transport, _ = following(host, "midi")
    clock = MidiClock()
    assert host.heard
    started = clock.take([0xFA], 0.0)
    assert started and started.rolling is False
    host.heard(started)
    count = round(host.at(16.0)[0] * 24)
    ticks(clock, transport, host, host.heard, 0, count, lambda: chance.uniform(0, jitter))
    # A tick counts when it comes, on average half its jitter late.
    assert worst(transport, host, 4.0, turn) < jitter + 1.5e-3
    assert worst(transport, host, turn + 3.0, 16.0) < jitter + 1.5e-3
    assert transport.tempo == pytest.approx(new, rel=2e-3)
    assert transport.late == 0
    first = next(beat for _, beat, rolling in transport.history if rolling)
    assert first == 0.0
