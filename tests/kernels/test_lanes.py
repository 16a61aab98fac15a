"""Many lanes in one state: each plays the bits that it plays alone, in every precision."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from ghostnote.kernels import packing as p
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.kernels.products import PRECISIONS
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import MAX_LANES, State
from ghostnote.kernels.weights import random_weights
from tests.kernels.models import FLOATS, Model, model, same_bits

SAMPLES = 131
NAMES = ["odd, width 3, out of order", "as bundled", "wide", "mixture of 10", "mixture of 32"]


def prepare(state: State, lane: int | None, number: int) -> None:
    """Gives a lane (None: the only one) the settings of stream `number`, unlike any other's."""
    state.seed(10**12 + 7 * number, lane)
    state.set_sampling(0.5 + 0.07 * (number % 11), (0, 3, 1, 8)[number % 4], lane)
    kits = len(state.packed.spec.kits)
    if kits:
        state.set_kit([0.1 * number - 0.3, 0.5, 1.0][:kits], lane)


def strike(state: State, lane: int | None, number: int, sample: int) -> None:
    """Strikes what stream `number` hears before a sample: each other things at other times."""
    roles = len(state.packed.spec.roles)
    if roles and sample % (3 + number % 5) == 0:
        state.hit((number + sample) % roles, 1.0 / (1 + number % 7), lane)


def moments() -> list[tuple[int, int]]:
    """Returns calls (first, last) of odd lengths that make SAMPLES samples."""
    edges = [0, 1, 2, 9, 17, 18, 50, 63, 90, 130, SAMPLES]
    return list(itertools.pairwise(edges))


def alone(it: Model, number: int) -> FLOATS:
    """Returns what stream `number` plays in a state of its own."""
    state = State(it.packed, 0, 40 + number)
    prepare(state, None, number)
    state.reset()
    out = np.full(SAMPLES, np.nan, np.float32)
    for first, last in moments():
        strike(state, None, number, first)
        state.generate(out[first:last])
    return out


def together(it: Model, lanes: int, between: Callable[[State], State] = lambda s: s) -> FLOATS:
    """Returns [lanes, SAMPLES], what streams 0, 1, ... play as lanes of one state."""
    state = State(it.packed, 0, 40, lanes)
    for lane in range(lanes):
        prepare(state, lane, lane)
    state.reset()
    parts = []
    for first, last in moments():
        for lane in range(lanes):
            strike(state, lane, lane, first)
        parts.append(np.full((lanes, last - first), np.nan, np.float32))
        state.generate(parts[-1])
        state = between(state)
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_every_lane_plays_what_it_plays_alone(name: str, precision: str) -> None:
    it = model(name, precision)
    single = np.stack([alone(it, number) for number in range(33)])
    assert np.isfinite(single).all()
    assert len(np.unique(single, axis=0)) == 33
    for lanes in (1, 2, 3, 4, 5, 7, 8, 9, 16, 33):
        found = together(it, lanes)
        wrong = [lane for lane in range(lanes) if not same_bits(found[lane], single[lane])]
        assert not wrong, f"of {lanes} lanes"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("lanes", [2, 3, 5])
def test_lanes_go_on_from_a_saved_state_at_any_sample(lanes: int, precision: str) -> None:
    it = model("mixture of 10", precision)

    def moved(state: State) -> State:
        other = State(it.packed, 1, 2, lanes)
        other.generate(np.zeros((lanes, 5), np.float32))
        other.restore(state.save())
        return other

    assert same_bits(together(it, lanes, moved), together(it, lanes))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["odd, width 3, out of order", "mixture of 10"])
def test_forced_lanes_put_out_what_each_puts_out_alone(name: str, precision: str) -> None:
    it = model(name, precision)
    levels = np.random.default_rng(3).integers(0, it.spec.levels, (6, 100))
    state = it.state(streams=6)
    state.generate(np.zeros((6, 13), np.float32))  # not from a phase of zero
    one = it.state()
    found = state.teacher_force(levels)
    assert found.shape == (6, 100, it.spec.outputs)
    for lane in range(6):
        one = it.state(stream=lane)
        one.generate(np.zeros(13, np.float32))
        assert same_bits(found[lane], one.teacher_force(levels[lane]))


def test_what_is_asked_of_no_lane_is_asked_of_all() -> None:
    it = model("as bundled")
    state, each = it.state(streams=3), it.state(streams=3)
    state.seed(5)
    state.set_sampling(0.7, 9)
    state.set_kit([0.2, 0.3, 0.4])
    state.hit(1, 0.5)
    for lane in range(3):
        each.seed(5, lane)
        each.set_sampling(0.7, 9, lane)
        each.set_kit([0.2, 0.3, 0.4], lane)
        each.hit(1, 0.5, lane)
    assert (state.ints == each.ints).all()
    assert same_bits(state.floats, each.floats)
    out, other = np.zeros((3, 200), np.float32), np.zeros((3, 200), np.float32)
    state.generate(out)
    each.generate(other)
    assert same_bits(out, other)
    assert not same_bits(out[0], out[1])  # streams of their own all the same


def test_a_lane_may_have_any_stream() -> None:
    it = model("as bundled")
    state, out, one = it.state(streams=3), np.zeros((3, 100), np.float32), np.zeros(100, np.float32)
    state.seed(9, 1, 2**63 - 1)
    state.seed(9, 2, 5)
    state.generate(out)
    for lane, (seed, stream) in enumerate([(0, 0), (9, 2**63 - 1), (9, 5)]):
        it.state(seed, stream).generate(one)
        assert same_bits(out[lane], one)
    state.seed(9, stream=5)
    state.reset()
    state.generate(out)
    assert same_bits(out[0], one) and same_bits(out[1], one) and same_bits(out[2], one)


def test_one_lane_takes_its_samples_as_a_row_or_as_one_of_one_row() -> None:
    it = model("as bundled")
    row, rows = np.zeros(50, np.float32), np.zeros((1, 50), np.float32)
    it.state(3).generate(row)
    it.state(3).generate(rows)
    assert same_bits(row, rows[0])


REFUSED: dict[str, Callable[[State], object]] = {
    "lane 3 of 3": lambda s: s.seed(1, 3),
    "lane 4 of 3": lambda s: s.seed(1, 4, 5),
    "stream must be 0 to": lambda s: s.seed(1, 0, -1),
    "stream must be 0 to 2": lambda s: s.seed(1, None, 2**63),
    "seed must be 0 to": lambda s: s.seed(2**63, 0, 1),
    "lane -1 of 3": lambda s: s.set_sampling(1.0, 0, -1),
    "lane 7 of 3": lambda s: s.set_kit([1.0, 0.0, 0.0], 7),
    "lane 1000 of 3": lambda s: s.hit(0, 1.0, 1000),
    r"3 lanes: found an array of shape \[5\]": lambda s: s.generate(np.zeros(5, np.float32)),
    r"of shape \[2, 5\]": lambda s: s.generate(np.zeros((2, 5), np.float32)),
    r"of shape \[3\]": lambda s: s.generate(np.zeros(3, np.float32)),
    r"of shape \[3, 5, 1\]": lambda s: s.generate(np.zeros((3, 5, 1), np.float32)),
    r"of shape \[\]": lambda s: s.generate(np.zeros((), np.float32)),
    "contiguous float32": lambda s: s.generate(np.zeros((3, 5))),  # type: ignore[arg-type]
    "must be contiguous": lambda s: s.generate(np.zeros((5, 3), np.float32).T),
    r"of shape \[4, 5\]": lambda s: s.teacher_force(np.zeros((4, 5), np.int64)),
    "levels must be 0 to 255": lambda s: s.teacher_force(np.full((3, 2), 256)),
    "another shape": lambda s: s.restore(model("as bundled").state(streams=2).save()),
    "of another": lambda s: s.restore(model("as bundled", "int8").state(streams=3).save()),
}


@pytest.mark.parametrize("message", REFUSED)
def test_nonsense_is_refused_and_changes_nothing(message: str) -> None:
    state = model("as bundled").state(streams=3)
    before = state.save()
    with pytest.raises(GhostnoteError, match=message):
        REFUSED[message](state)
    assert (state.ints == before.ints).all()
    assert same_bits(state.floats, before.floats)


@pytest.mark.parametrize("streams", [0, -1, MAX_LANES + 1, 2**70])
def test_a_number_of_lanes_has_its_bounds(streams: int) -> None:
    with pytest.raises(GhostnoteError, match=f"streams must be 1 to {MAX_LANES}, found {streams}"):
        State(model("smallest").packed, streams=streams)


def test_the_last_lane_has_a_stream_too() -> None:
    with pytest.raises(GhostnoteError, match="stream must be 0 to"):
        State(model("smallest").packed, 0, 2**63 - 3, 4)
    state = State(model("smallest").packed, 0, 2**63 - 3, 3)
    state.generate(np.zeros((3, 10), np.float32))


def test_lanes_that_would_fill_the_memory_are_refused_before_any_is_taken() -> None:
    spec = ModelSpec(24000, 24, (65536,) * 4, residual=64, gate=1, skip=1, head=1, levels=2)
    packed = pack(spec, random_weights(spec))
    lane = int(packed.header[p.S_FLOATS])
    assert lane * MAX_LANES > 2**32  # 16 GB
    with pytest.raises(GhostnoteError, match=f"{MAX_LANES} streams of this model would hold"):
        State(packed, streams=MAX_LANES)
