"""Lanes that come and go, and move between states: each goes on with the bits of a lone stream.

The compiled entries are called by address here, as the audio engine calls them.
"""

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

from ghostnote.kernels import cpu
from ghostnote.kernels import packing as p
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed
from ghostnote.kernels.products import PRECISIONS
from ghostnote.kernels.state import State
from tests.kernels.models import FLOATS, Model, model, same_bits

ODD = "odd, width 3, out of order"
NAMES = [ODD, "as bundled", "wide", "mixture of 10", "mixture of 32"]


def call(address: int, *arguments: int) -> None:
    """Calls a compiled entry that takes whole numbers."""
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(arguments))(address)(*arguments)


class Bank:
    """Lanes in one of two sets of arrays with room for `most`, that nothing but entries touch."""

    def __init__(self, packed: Packed, most: int) -> None:
        self.packed, self.entries = packed, cpu.entry_points()
        rooms = [State(packed, streams=most) for _ in range(2)]
        self.arrays = [(room.ints, room.floats) for room in rooms]
        for ints, floats in self.arrays:
            floats[:] = np.nan
            ints[int(packed.header[p.I_LANES]) :] = 2**40
            ints[p.I_COUNT] = 0
            ints[p.I_RING_POS : int(packed.header[p.I_LANES])] = 0

    @property
    def index(self) -> int:
        """Returns the number of samples that the bank has made."""
        return int(self.arrays[0][0][p.I_INDEX])

    def places(self, number: int = 0) -> tuple[int, int]:
        """Returns where the ints and floats are in use (0), or to spare (1)."""
        ints, floats = self.arrays[number]
        return ints.ctypes.data, floats.ctypes.data

    def lay(self, order: list[int]) -> None:
        """Takes the lanes of some numbers, -1 for one that will be filled, and drops the others."""
        lanes = np.array(order, np.int64)
        call(
            self.entries.relay,
            self.packed.header.ctypes.data,
            *self.places(1),
            *self.places(),
            len(order),
            lanes.ctypes.data,
        )
        self.arrays.reverse()

    def fill(self, lane: int, source: State, other: int = 0) -> None:
        """Copies a lane of a state, which goes on with its own chances."""
        header = self.packed.header
        places = (source.ints.ctypes.data, source.floats.ctypes.data, other)
        call(self.entries.copy_lane, header.ctypes.data, *self.places(), lane, *places)
        ints = self.arrays[0][0]
        ints[header[p.I_LANES] + lane * header[p.LANE_INTS] + p.L_OFFSET] += (
            source.index - self.index
        )

    def hit(self, lane: int, role: int, velocity: float) -> None:
        """Strikes a role of a lane."""
        cpu.hit(self.packed.header.ctypes.data, *self.places(), lane, role, velocity)

    def play(self, samples: int) -> FLOATS:
        """Returns the next samples of all lanes, [lanes, samples]."""
        out = np.full((int(self.arrays[0][0][p.I_COUNT]), samples), np.nan, np.float32)
        place = self.packed.weights.ctypes.data
        header = self.packed.header.ctypes.data
        call(self.entries.run, header, place, *self.places(), samples, out.ctypes.data, 0, 0)
        return out


def stream(it: Model, number: int) -> State:
    """Returns stream `number` by itself, unlike any other, at its beginning."""
    state = it.state(10**12 + 7 * number, 40 + number)
    state.set_sampling(0.5 + 0.07 * number, (0, 3, 1, 8)[number % 4])
    kits = len(it.spec.kits)
    if kits:
        state.set_kit([0.1 * number - 0.3, 0.5, 1.0][:kits])
        state.reset()
    return state


def struck(it: Model, number: int, hop: int) -> tuple[int, float] | None:
    """Returns the role and velocity of what stream `number` hears in a hop: not the same for two."""
    if not it.spec.roles or (hop + number) % (2 + number % 3):
        return None
    return (number + hop) % len(it.spec.roles), 1.0 / (1 + number)


def aside(it: Model, number: int, hops: int) -> State:
    """Returns stream `number` after some hops by itself."""
    state = stream(it, number)
    for hop in range(hops):
        if what := struck(it, number, hop):
            state.hit(*what)
        state.generate(np.zeros(it.spec.hop, np.float32))
    return state


# Of which lanes before, or of which stream by itself, a bank consists: from 1 to 2 to 5 to 2 to 1,
# to none and again to one.
# Streams 2 and 3 have played by themselves before they come.
GROWTH: list[list[int | str]] = [
    ["0"], [0, "1"], ["2", 1, 0, "3", "4"], [0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 2], [1, 0, "5"],
    [1, 2], [1], [], ["6"],
]  # fmt: skip


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_lanes_that_come_and_go_leave_the_others_their_bits(name: str, precision: str) -> None:
    it = model(name, precision)
    hop = it.spec.hop
    bank, lanes = Bank(it.packed, 5), list[int]()
    lone: dict[int, State] = {}
    seen = set[int]()
    counts = []
    now: dict[int, int] = {}  # the hops that each stream has played
    for turn, order in enumerate(GROWTH):
        bank.lay([one if isinstance(one, int) else -1 for one in order])
        lanes = [lanes[one] if isinstance(one, int) else int(one) for one in order]
        counts.append(len(lanes))
        for lane, one in enumerate(order):
            if isinstance(one, str):
                number = int(one)
                now[number] = 3 if number in (2, 3) else 0
                lone[number] = aside(it, number, now[number])
                bank.fill(lane, lone[number])
        for _ in range(1 + turn % 3 if lanes else 0):
            for lane, number in enumerate(lanes):
                if what := struck(it, number, now[number]):
                    bank.hit(lane, *what)
                    lone[number].hit(*what)
                now[number] += 1
            expected = np.full((len(lanes), hop), np.nan, np.float32)
            for lane, number in enumerate(lanes):
                lone[number].generate(expected[lane])
            first = bank.index % 7 % hop
            found = np.concatenate([bank.play(first), bank.play(hop - first)], axis=1)
            assert np.isfinite(expected).all()
            for lane, number in enumerate(lanes):
                assert same_bits(found[lane], expected[lane]), f"stream {number}, turn {turn}"
            seen.add(int(bank.arrays[0][0][p.I_PHASE]) % p.AHEAD)
    assert counts == [1, 2, 5, 5, 5, 2, 3, 2, 1, 0, 1]
    assert hop % p.AHEAD == 0 or 0 not in seen  # moved from within the products made ahead


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_lane_moves_between_states_in_the_middle_of_its_stream(name: str, precision: str) -> None:
    """From one of three lanes to one of five, of another index and other places in the rings."""
    it = model(name, precision)
    hop = it.spec.hop
    source, target = it.state(1, 0, 3), it.state(2, 10, 5)
    source.set_sampling(0.7, 5, 1)
    source.generate(np.zeros((3, 4 * hop), np.float32))
    target.generate(np.zeros((5, 7 * hop), np.float32))
    if it.spec.roles:
        source.hit(0, 0.8, 1)
        target.hit(1, 0.3, 4)
        if it.spec.kits:
            source.set_kit([-0.5, 0.25, 0.5][: len(it.spec.kits)], 1)
    undisturbed = State(it.packed, streams=5)
    undisturbed.restore(target.save())
    places = target.ints[: int(it.packed.header[p.I_LANES])].copy()
    target.copy_lane(3, source, 1)
    places[p.I_PHASE] = 0
    assert (target.ints[: len(places)] == places).all()
    samples = 2 * hop + 57
    mine, theirs, without = (np.zeros((n, samples), np.float32) for n in (3, 5, 5))
    source.generate(mine)
    target.generate(theirs)
    undisturbed.generate(without)
    assert same_bits(theirs[3], mine[1])
    assert not same_bits(theirs[3], without[3])
    for lane in (0, 1, 2, 4):
        assert same_bits(theirs[lane], without[lane])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_lane_is_copied_within_a_state_and_onto_itself(precision: str) -> None:
    it = model("mixture of 10", precision)
    state = it.state(1, 0, 3)
    state.generate(np.zeros((3, 5 * it.spec.hop), np.float32))
    alone = State(it.packed, streams=3)
    alone.restore(state.save())
    state.copy_lane(1, state, 1)
    state.copy_lane(2, state, 0)
    found, expected = np.zeros((3, 200), np.float32), np.zeros((3, 200), np.float32)
    state.generate(found)
    alone.generate(expected)
    assert same_bits(found[:2], expected[:2])
    assert same_bits(found[2], expected[0])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_lane_starts_afresh_by_a_copy_of_a_fresh_stream(name: str, precision: str) -> None:
    it = model(name, precision)
    state, fresh = it.state(1, 0, 4), stream(it, 6)
    if it.spec.roles:
        state.hit(0, 0.7)
    state.generate(np.zeros((4, 3 * it.spec.hop), np.float32))
    state.copy_lane(2, fresh)
    found, expected = np.zeros((4, 300), np.float32), np.zeros(300, np.float32)
    state.generate(found)
    fresh.generate(expected)
    assert same_bits(found[2], expected)
    state.reset()
    state.generate(found)
    assert same_bits(found[2], expected)  # a reset takes the offset back too


@pytest.mark.parametrize("name", [ODD, "mixture of 10", "mixture of 32"])
def test_an_offset_gives_the_chances_of_a_later_sample(name: str) -> None:
    """A stream fed silence is as at its beginning, but for its index."""
    it = model(name)
    at = int(it.packed.header[p.I_LANES]) + p.L_OFFSET
    later, shifted, plain = it.state(3), it.state(3), it.state(3)
    samples = 4 * it.spec.hop
    later.teacher_force(np.full(samples, it.spec.silence, np.int64))
    shifted.ints[at] = samples
    outs = [np.zeros(300, np.float32) for _ in range(3)]
    for state, out in zip((later, shifted, plain), outs, strict=True):
        state.generate(out)
    assert same_bits(outs[0], outs[1])
    assert not same_bits(outs[0], outs[2])


def test_an_offset_does_not_move_the_hops() -> None:
    it = model(ODD)
    hop = it.spec.hop
    outs = []
    for moment in (hop + 1, 2 * hop):
        state, out = it.state(3), np.zeros(4 * hop, np.float32)
        state.ints[int(it.packed.header[p.I_LANES]) + p.L_OFFSET] = 5
        state.generate(out[:moment])
        state.hit(1, 0.8)
        state.generate(out[moment:])
        outs.append(out)
    assert same_bits(*outs)


REFUSED: dict[str, Callable[[State, State], None]] = {
    "lane 4 of 4": lambda s, o: s.copy_lane(4, o),
    "lane -1 of 4": lambda s, o: s.copy_lane(-1, o),
    "lane 1 of 1": lambda s, o: s.copy_lane(0, o, 1),
    "a model of another shape": lambda s, o: s.copy_lane(0, model("as bundled").state()),
    "another shape": lambda s, o: s.copy_lane(0, model(ODD, "int8").state()),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_copied_is_refused(message: str) -> None:
    it = model(ODD)
    with pytest.raises(GhostnoteError, match=message):
        REFUSED[message](it.state(streams=4), it.state())


@pytest.mark.parametrize("of_source", [True, False])
def test_a_lane_is_not_copied_within_a_hop(of_source: bool) -> None:
    it = model(ODD)
    state, source = it.state(), it.state()
    (source if of_source else state).generate(np.zeros(3, np.float32))
    with pytest.raises(GhostnoteError, match="a state at sample 3 is within a hop"):
        state.copy_lane(0, source)
