"""A stream: the same bits in pieces of any size, from any saved state, after any reset."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from ghostnote.kernels import packing as p
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.kernels.products import PRECISIONS
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import random_weights
from tests.kernels.models import FLOATS, SPECS, model, play, same_bits

ODD = "odd, width 3, out of order"
CONDITIONED = [name for name, spec in SPECS.items() if spec.roles]
COUNT = 2500
NAMES = [name for name in SPECS if name != "500 channels"]  # too slow, and "wide" has all of it


def play_in_pieces(
    state: State, size: int, before: Callable[[State], None] = lambda state: None
) -> FLOATS:
    """Returns COUNT samples made in calls of `size`, with hits at odd moments between calls.

    `before` is called before each call.
    """
    roles = len(state.packed.spec.roles)
    out = np.full(COUNT, np.nan, np.float32)
    moments = [0, 1, 600, 613, 2101, COUNT]
    for number, (first, last) in enumerate(pairwise(moments)):
        if roles:
            state.hit(number % roles, 0.9 - 0.1 * number)
        for at in range(first, last, size):
            before(state)
            state.generate(out[at : min(at + size, last)])
    return out


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_pieces_of_any_size_make_the_same_bits(name: str, precision: str) -> None:
    it = model(name, precision)
    whole = play_in_pieces(it.state(3), 2048)
    assert np.isfinite(whole).all()
    for size in (1, 7):
        assert same_bits(play_in_pieces(it.state(3), size), whole)


@pytest.mark.parametrize("name", CONDITIONED)
def test_a_hit_within_a_hop_starts_at_the_next_hop(name: str) -> None:
    """Struck at the first or last sample after a hop began, it is as if struck at its end."""
    hop = SPECS[name].hop
    out = []
    for moment in (hop + 1, 2 * hop - 1, 2 * hop):
        state, samples = model(name).state(3), np.zeros(6 * hop, np.float32)
        state.generate(samples[:moment])
        state.hit(1, 0.8)
        state.generate(samples[moment:])
        out.append(samples)
    assert same_bits(out[0], out[1])
    assert same_bits(out[0], out[2])


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("name", CONDITIONED)
def test_fresh_hits_have_a_temperature_of_their_own(name: str, streams: int) -> None:
    """As if it were set by hand, hop by hop, in the lane that is struck."""
    it = model(name)
    spec, hops = it.spec, 3 * it.spec.attack + 8
    struck = {2: 0, spec.attack + 9: 1}  # hop: role
    a, b = (State(it.packed, 3, streams=streams) for _ in range(2))
    a.set_sampling(0.5, attack=1.4)
    found = np.zeros((2, streams, hops * spec.hop), np.float32)
    since = hops
    for hop in range(hops):
        since += 1
        if hop in struck:
            since = 0
            for state in (a, b):
                state.hit(struck[hop], 0.9, streams - 1)
        b.set_sampling(0.5)
        b.set_sampling(1.4 if since < spec.attack else 0.5, lane=streams - 1)
        for state, rows in zip((a, b), found, strict=True):
            part = np.zeros((streams, spec.hop), np.float32)
            state.generate(part if streams > 1 else part[0])
            rows[:, hop * spec.hop : (hop + 1) * spec.hop] = part
    assert same_bits(found[0], found[1])
    # it was heard: the streams would else be alike
    plain = State(it.packed, 3, streams=streams)
    plain.set_sampling(0.5)
    plain.hit(0, 0.9)
    loud = State(it.packed, 3, streams=streams)
    loud.set_sampling(0.5, attack=5.0)
    loud.hit(0, 0.9)
    pair = np.zeros((2, streams, hops * spec.hop), np.float32)
    plain.generate(pair[0] if streams > 1 else pair[0, 0])
    loud.generate(pair[1] if streams > 1 else pair[1, 0])
    assert not same_bits(pair[0], pair[1])


@pytest.mark.parametrize("name", CONDITIONED)
def test_hits_chokes_and_kits_change_what_is_played(name: str) -> None:
    """The comparisons of this file are not of streams that ignore their control."""
    it = model(name)
    quiet = play(it._replace(hits=[]), it.state(3), 500)
    assert not same_bits(play(it, it.state(3), 500), quiet)
    struck, _ = it.spec.choke_pairs[0]
    _, choked = it.spec.choke_pairs[0]
    ring = play(it._replace(hits=[(0, choked, 1.0)]), it.state(3), 500)
    both = play(it._replace(hits=[(0, choked, 1.0), (2, struck, 1.0)]), it.state(3), 500)
    after = play(it._replace(hits=[(2, struck, 1.0)]), it.state(3), 500)
    assert not same_bits(ring, both)
    assert same_bits(ring[: 2 * it.spec.hop], both[: 2 * it.spec.hop])
    assert not same_bits(after, both)  # it did sound until it was choked
    if it.spec.kits:
        texture = it.state(3)
        texture.set_kit([0.0] * len(it.spec.kits))
        assert not same_bits(play(it, texture, 500), play(it, it.state(3), 500))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_goes_on_with_the_same_bits(name: str, precision: str) -> None:
    """From every phase of the products that are made ahead of their time."""
    it = model(name, precision)
    one, other = it.state(3), State(it.packed, seed=99, stream=7)
    one.set_sampling(0.8, 20)
    other.generate(np.zeros(3, np.float32))
    if it.spec.roles:
        one.hit(0, 0.7)
    for moment in range(p.AHEAD + 1):
        step, rest, again = (np.zeros(n, np.float32) for n in (101 - moment, 97, 97))
        one.generate(step)
        saved = one.save()
        one.generate(rest)
        one.restore(saved)
        one.generate(again)
        assert same_bits(again, rest)
        other.restore(saved)
        other.generate(again)
        assert same_bits(again, rest)


def test_a_saved_state_of_another_process_does_not_lead_to_its_code() -> None:
    """What is compiled lies elsewhere in each process; a snapshot may have been to a file."""
    state = model(ODD).state()
    saved = state.save()
    saved.ints[[p.I_PRODUCT, p.I_STEP]] = 8
    first, again = np.zeros(50, np.float32), np.zeros(50, np.float32)
    state.generate(first)
    state.restore(saved)
    assert 8 not in state.ints[[p.I_PRODUCT, p.I_STEP]]
    state.generate(again)
    assert same_bits(again, first)


def test_a_saved_state_of_another_shape_is_refused() -> None:
    """Also where the arrays are as long: there the rings of one would end inside the other's."""
    spec = ModelSpec(24000, 24, (1, 2), residual=4, gate=4, skip=4, head=4)
    other = ModelSpec(24000, 24, (2, 1), residual=4, gate=4, skip=4, head=4)
    saved = State(pack(spec, random_weights(spec))).save()
    state = State(pack(other, random_weights(other)))
    assert len(saved.floats) == len(state.floats)
    with pytest.raises(GhostnoteError, match="another shape"):
        state.restore(saved)


def fill_with_nan(state: State) -> None:
    """Fills all floats but the settings (temperature, velocities, kit) with NaN."""
    h, lanes = state.packed.header, state.lanes
    settings = slice(lanes * h[p.S_SETTINGS], lanes * (h[p.S_SETTINGS] + h[p.SETTINGS]))
    kept = state.floats[settings].copy()
    state.floats[:] = np.nan
    state.floats[settings] = kept


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_reset_is_a_fresh_start(name: str, precision: str) -> None:
    """Whatever was in the arrays, from any phase: only settings, seed and stream are kept."""
    it = model(name, precision)
    state = it.state(3)
    fresh = state.save()
    first = play_in_pieces(state, 2048)[:600]
    assert state.index % p.AHEAD
    state.reset()
    assert (state.ints == fresh.ints).all()
    assert same_bits(play_in_pieces(state, 2048)[:600], first)
    fill_with_nan(state)
    lane = int(it.packed.header[p.I_LANES])
    state.ints[p.I_INDEX : lane] = 1
    state.ints[lane + p.L_HISTORY :] = 1
    state.reset()
    assert (state.ints == fresh.ints).all()
    assert same_bits(play_in_pieces(state, 2048)[:600], first)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("lanes", [3, 5])
def test_lanes_start_afresh_too(lanes: int, precision: str) -> None:
    for name in (ODD, "mixture of 10"):
        it = model(name, precision)
        state = it.state(3, 0, lanes)
        out, again = (np.zeros((lanes, 99), np.float32) for _ in range(2))
        state.generate(out)
        fill_with_nan(state)
        state.reset()
        state.generate(again)
        assert same_bits(again, out)


SCRATCH = [
    p.S_X, p.S_GATES, p.S_Z, p.S_SKIP, p.S_HEAD, p.S_OPERAND, p.S_OUT, p.S_WEIGHTS, p.S_SUMS,
    p.S_CONTROL, p.S_DENSE_A, p.S_DENSE_B,
]  # fmt: skip


def poison(state: State) -> None:
    """Fills with NaN what must not be read any more: scratch, and the past once it is used."""
    h, spec = state.packed.header, state.packed.spec
    starts = sorted(h[p.S_SETTINGS : p.S_FLOATS + 1])  # each slot ends where the next begins
    # The gates' biases hold for a hop.
    for slot in [p.S_HOP_BIAS, *SCRATCH] if state.index % spec.hop == 0 else SCRATCH:
        if h[slot] < h[p.S_PAST]:
            end = min(start for start in starts if start > h[slot])
            state.floats[h[slot] : end] = np.nan
    for layer, dilation in enumerate(spec.dilations):
        ahead, ring = (int(h[h[slot] + layer]) for slot in (p.AT_AHEAD, p.AT_RING))
        assert 1 <= ahead <= min(p.AHEAD, dilation)
        phase = int(state.ints[p.I_PHASE]) % ahead
        # Products with the past that have been added, all at a phase of 0.
        wide = 2 * int(h[p.GATE])
        past = int(h[p.S_PAST] + h[h[p.AT_PAST] + layer])
        state.floats[past : past + (phase or ahead) * wide] = np.nan
        # The oldest inputs, of which the products are made already.
        reach, row = (spec.filter_width - 1) * dilation, int(h[p.ROW]) // 4
        for i in range(-phase % ahead):
            at = ring + (int(state.ints[p.I_RING_POS + layer]) + i) % reach * row
            state.floats[at : at + row] = np.nan


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_stale_is_read_between_calls(name: str, precision: str) -> None:
    it = model(name, precision)
    clean = play_in_pieces(it.state(3), 7)
    assert same_bits(play_in_pieces(it.state(3), 7, poison), clean)
    poisoned = it.state(3)
    for _ in range(p.AHEAD + 1):
        poison(poisoned)
        assert np.isfinite(poisoned.teacher_force(np.arange(1))).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_prewarm_is_a_receptive_field_of_silence(name: str, precision: str) -> None:
    """Bit for bit, in a stream that has played and whose hits are forgotten."""
    it = model(name, precision)
    spec = it.spec
    draw = np.random.default_rng(5)
    waited = it.state(3)
    waited.teacher_force(draw.integers(0, spec.levels, 200))
    hops = max(-(-spec.receptive_field // spec.hop), spec.ages) + 1
    silence = np.full(hops * spec.hop - 200 % spec.hop, spec.silence, np.int64)
    waited.teacher_force(silence)  # and on to a hop boundary
    levels = draw.integers(0, spec.levels, 100)
    expected = waited.teacher_force(levels)
    assert same_bits(it.state(3).teacher_force(levels), expected)
    assert len(np.unique(expected[:, 0])) > 1


def test_seed_temperature_and_top_k_change_what_is_played() -> None:
    it = model(ODD)
    first = play(it, it.state(3), 500)
    assert not same_bits(play(it, it.state(4), 500), first)
    for temperature, top_k in ((0.5, 0), (1.0, 3)):
        state = it.state(3)
        state.set_sampling(temperature, top_k)
        assert not same_bits(play(it, state, 500), first)


BAD: dict[str, Callable[[State], object]] = {
    "seed must be 0": lambda s: s.seed(-1),
    "seed must be 0 to": lambda s: s.seed(2**63),
    "temperature must be 0.01 to 10": lambda s: s.set_sampling(0.0),
    "temperature must be 0.01 to 10, found nan": lambda s: s.set_sampling(float("nan")),
    "top_k must be 0": lambda s: s.set_sampling(1.0, -1),
    "attack must be 0.01 to 10": lambda s: s.set_sampling(1.0, attack=11.0),
    "kit weights: expected 2, found 1": lambda s: s.set_kit([1.0]),
    "kit weights: must be -10 to 10": lambda s: s.set_kit([float("nan"), 0.0]),
    "kit weights: must be -10 to": lambda s: s.set_kit([0.0, 1e300]),
    "hit: role 3 of a model with 3 roles": lambda s: s.hit(3, 0.5),
    "hit: role -1": lambda s: s.hit(-1, 0.5),
    "hit: velocity must be 0 to 1, found 1.5": lambda s: s.hit(0, 1.5),
    "hit: velocity must be 0 to 1, found nan": lambda s: s.hit(0, float("nan")),
    "levels must be 0 to 99": lambda s: s.teacher_force(np.array([3, 100])),
    "levels must be contiguous int64 of the output's shape": lambda s: s.generate(
        np.zeros(4, np.float32), np.zeros(3, np.int64)
    ),
    "begin_at: sample 8 is no hop boundary": lambda s: s.begin_at(8),
    "begin_at: sample -7 is no": lambda s: s.begin_at(-7),
    "levels must be 0 to": lambda s: s.teacher_force(np.array([-1])),
}


@pytest.mark.parametrize("message", BAD)
def test_nonsense_is_refused_and_changes_nothing(message: str) -> None:
    state = model(ODD).state()
    before = state.save()
    with pytest.raises(GhostnoteError, match=message):
        BAD[message](state)
    assert (state.ints == before.ints).all()
    assert same_bits(state.floats, before.floats)


def test_a_negative_stream_and_a_hit_without_roles_are_refused() -> None:
    with pytest.raises(GhostnoteError, match="stream must be 0 to"):
        model(ODD).state(0, -1)
    with pytest.raises(GhostnoteError, match="model with 0 roles"):
        model("smallest").state().hit(0, 0.5)


def test_a_random_number_of_any_seed_can_be_drawn() -> None:
    it = model("as bundled")
    largest = play(it, it.state(2**63 - 1, 2**63 - 1), 200)
    assert np.isfinite(largest).all()
    assert not same_bits(largest, play(it, it.state(0, 0), 200))


def test_a_state_that_begins_later_has_the_chances_of_then() -> None:
    """Both come out of silence; only the number of the sample chooses what is drawn."""
    it = model("dilation 512")
    found, expected = np.zeros(500, np.float32), np.zeros(500, np.float32)
    later, whole = it.state(7), it.state(7)
    later.begin_at(960)
    assert later.index == 960
    later.teacher_force(np.full(540, it.spec.silence))
    later.generate(found)
    whole.teacher_force(np.full(1500, it.spec.silence))
    whole.generate(expected)
    assert same_bits(found, expected)
    assert len(set(found.tolist())) > 1
