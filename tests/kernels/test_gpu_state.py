"""Streams on the GPU: the same bits in pieces of any size, from any saved state, after any reset."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from ghostnote.kernels import gpu_state as module
from ghostnote.kernels import rng
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.gpu_layers import choose, uniforms
from ghostnote.kernels.gpu_model import options_of, pack_gpu, shape_of
from ghostnote.kernels.gpu_state import GpuState, interpreted
from ghostnote.kernels.reference import choose as choose_exactly
from ghostnote.kernels.reference import cumulative, margin
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import random_weights
from tests.kernels.gpu_models import cut, gpu_model_of, gpu_state
from tests.kernels.models import FLOATS, same_bits
from tests.kernels.test_parity import NEAR_TIE
from tests.kernels.test_state import BAD

DEVICE = "cpu" if interpreted() else "cuda"


def in_pieces(state: GpuState, count: int, size: int) -> FLOATS:
    """Returns samples made in calls of `size`, with hits at odd moments between calls."""
    out = np.full((state.lanes, count), np.nan, np.float32)
    moments = [0, 1, 13, count]
    for number, (first, last) in enumerate(pairwise(moments)):
        if state.packed.spec.roles:
            state.hit(number % 3, 0.9 - 0.1 * number, number % state.lanes)
        for at in range(first, last, size):
            piece = np.full((state.lanes, min(size, last - at)), np.nan, np.float32)
            state.generate(piece)
            out[:, at : at + piece.shape[1]] = piece
    return out


@pytest.mark.parametrize("name", ["width 3", "mixture"])
def test_pieces_of_any_size_make_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    it, count = gpu_model_of(name), cut(20, 5000)
    whole = in_pieces(gpu_state(it, 3, streams=2), count, 2048)
    assert np.isfinite(whole).all()
    for size in (1, 7) if name == "width 3" else (3,):
        assert same_bits(in_pieces(gpu_state(it, 3, streams=2), count, size), whole)
    monkeypatch.setattr(module, "BIASES", 1)  # a launch for each hop
    assert same_bits(in_pieces(gpu_state(it, 3, streams=2), count, 2048), whole)


def test_a_long_run_is_made_in_launches_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    it = gpu_model_of("far")
    whole, cut_up = np.zeros((2, 9), np.float32), np.zeros((2, 9), np.float32)
    gpu_state(it, 3, streams=2).generate(whole)
    monkeypatch.setattr(module, "MOST", 4)
    gpu_state(it, 3, streams=2).generate(cut_up)
    assert same_bits(whole, cut_up)


def test_a_saved_state_goes_on_with_the_same_bits() -> None:
    it = gpu_model_of("width 3")
    one, other = gpu_state(it, 3), gpu_state(it, 99, 7)
    one.set_sampling(0.8, 20)
    one.hit(0, 0.7)
    other.generate(np.zeros(3, np.float32))
    one.generate(np.zeros(10, np.float32))
    saved = one.save()
    rest, again = np.zeros(6, np.float32), np.zeros(6, np.float32)  # over the end of a hop
    one.generate(rest)
    for state in (one, other):
        state.restore(saved)
        assert state.index == 10
        state.generate(again)
        assert same_bits(again, rest)


def test_reset_is_a_fresh_start_whatever_was_there() -> None:
    it = gpu_model_of("width 3")
    fresh, used = gpu_state(it, 3), gpu_state(it, 3)
    used.hit(1, 0.8)
    used.generate(np.zeros(9, np.float32))
    used.rings.fill_(torch.nan)
    used.reset()
    first, again = np.zeros(9, np.float32), np.zeros(9, np.float32)
    fresh.generate(first)
    used.generate(again)
    assert same_bits(again, first)


def test_nothing_is_read_of_streams_beside_nor_beyond_a_layers_reach() -> None:
    """The tile's other rows, and slots that are older than the oldest input, hold NaN."""
    it = gpu_model_of("width 3")
    clean, poisoned = gpu_state(it, 3), gpu_state(it, 3)
    poisoned.rings[:, 1:] = torch.nan
    at = 0
    for dilation in it.spec.dilations:
        slots = 1 << (2 * dilation).bit_length()
        poisoned.rings[at : at + slots - 2 * dilation] = torch.nan  # index 0: the oldest are first
        at += slots
    first, again = np.zeros(16, np.float32), np.zeros(16, np.float32)
    clean.generate(first)
    poisoned.generate(again)
    assert same_bits(again, first)


def test_a_packed_model_is_shared() -> None:
    it = gpu_model_of("far")
    packed = pack_gpu(it.spec, it.weights, "bf16", DEVICE)
    states = [GpuState(it.spec, packed, seed=seed) for seed in (1, 2)]
    assert all(state.packed is packed for state in states)
    assert states[0].rings.dtype == torch.bfloat16
    out = np.zeros((2, 8), np.float32)
    for state, row in zip(states, out, strict=True):
        state.generate(row)
    assert not same_bits(out[0], out[1])


def test_a_stream_that_begins_at_a_later_sample_plays_as_the_cpus_does() -> None:
    it = gpu_model_of("width 3")
    expected, found = np.zeros((2, 12), np.float32), np.zeros((2, 12), np.float32)
    for state, out in ((it.state(3, 0, 2), expected), (gpu_state(it, 3, 0, 2), found)):
        state.generate(np.zeros((2, 9), np.float32))
        state.begin_at(7 * 5)
        state.hit(1, 0.5)
        state.generate(out)
        assert state.index == 7 * 5 + 12
    assert (found == expected).all()


@pytest.mark.parametrize("message", BAD)
def test_nonsense_is_refused(message: str) -> None:
    state: Any = gpu_state(gpu_model_of("width 3"))
    with pytest.raises(GhostnoteError, match=message):
        BAD[message](state)


WRONG: dict[str, Callable[[], object]] = {
    "streams must be 1 to": lambda: gpu_state(gpu_model_of("far"), streams=0),
    "stream must be 0 to": lambda: gpu_state(gpu_model_of("far"), stream=-1),
    "precision 'int8' is none of": lambda: gpu_state(gpu_model_of("far"), precision="int8"),
    "lane 1 of 1": lambda: gpu_state(gpu_model_of("far")).set_sampling(lane=1),
    "contiguous float32": lambda: gpu_state(gpu_model_of("far")).generate(np.zeros(3)),  # type: ignore[arg-type]
    "and writable": lambda: gpu_state(gpu_model_of("far")).generate(
        np.frombuffer(bytes(12), np.float32)
    ),
    "of another shape": lambda: gpu_state(gpu_model_of("far")).restore(
        gpu_state(gpu_model_of("mixture")).save()
    ),
    "number of streams": lambda: gpu_state(gpu_model_of("far")).from_cpu(
        gpu_model_of("far").state(streams=2)
    ),
    "model is another": lambda: gpu_state(gpu_model_of("far")).to_cpu(
        gpu_model_of("mixture").packed
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_refused(message: str) -> None:
    with pytest.raises(GhostnoteError, match=message):
        WRONG[message]()


@triton.jit
def draw_numbers(seeds: tl.tensor, streams: tl.tensor, indices: tl.tensor, out: tl.tensor) -> None:
    i = tl.arange(0, 16)
    u, v = uniforms(tl.load(seeds + i), tl.load(streams + i), tl.load(indices + i))
    tl.store(out + 2 * i, u)
    tl.store(out + 2 * i + 1, v)


def test_random_numbers_are_those_of_the_cpu() -> None:
    """The largest of seeds, streams and indices too."""
    draw = np.random.default_rng(5)
    counters = draw.integers(0, 2**63, (3, 16))
    counters[:, 0], counters[:, 1], counters[:, 2] = 0, 2**63 - 1, 2**32
    out = torch.full((16, 2), torch.nan, device=DEVICE)
    draw_numbers[(1,)](*torch.from_numpy(counters).to(DEVICE), out)
    expected = [rng.uniform_pair(*(int(c) for c in column)) for column in counters.T]
    assert (out.cpu().numpy() == np.array(expected, np.float32)).all()


@triton.jit
def choose_levels(
    logits: tl.tensor,
    temperatures: tl.tensor,
    top_ks: tl.tensor,
    us: tl.tensor,
    out: tl.tensor,
    s: tl.constexpr,
) -> None:
    i = tl.arange(0, s.tile)
    row = tl.load(logits + i[:, None] * s.out + tl.arange(0, s.out)[None, :])
    temperature, top_k = tl.load(temperatures + i), tl.load(top_ks + i)
    tl.store(out + i, choose(row, temperature, top_k, tl.load(us + i), s, True))


def test_levels_are_chosen_as_the_reference_does() -> None:
    """Equal logits, all but impossible ones, both ends of the uniform numbers, k of every size."""
    spec = ModelSpec(16000, 16, (1,), residual=1, gate=1, skip=1, head=1, levels=100)
    shape = shape_of(spec, "fp32", 1, wide=True, programs=1)
    draw, found = np.random.default_rng(3), 0
    for round_ in range(12):
        logits = np.full((16, shape.out), -1e30, np.float32)
        logits[:, :100] = draw.standard_normal((16, 100)) * draw.choice([0.1, 3.0, 40.0], (16, 1))
        logits[::3, :100] = np.round(logits[::3, :100])  # many are equal, some are -0
        u = draw.random(16).astype(np.float32)
        u[0], u[1] = np.float32(0.5 / 2**24), np.float32(1.0 - 2.0**-24)
        temperature = draw.choice([0.1, 1.0, 3.0], 16).astype(np.float32)
        top_k = draw.choice([0, 1, 2, 7, 50, 99, 100, 5000], 16).astype(np.int32)
        out = torch.full((16,), -1, dtype=torch.int32, device=DEVICE)
        arrays = (torch.from_numpy(a).to(DEVICE) for a in (logits, temperature, top_k, u))
        choose_levels[(1,)](*arrays, out, shape)
        for i, level in enumerate(out.tolist()):
            running = cumulative(
                logits[i, :100].astype(np.float64), float(temperature[i]), int(top_k[i])
            )
            best = choose_exactly(running, float(u[i]))
            assert level == best or margin(running, float(u[i])) < NEAR_TIE, (round_, i)
            found += level == best
    assert found > 180


def test_a_tile_is_as_small_as_the_device_allows() -> None:
    """And never more than its rows have registers for."""
    spec = ModelSpec(16000, 16, (1,), levels=256)
    assert [
        shape_of(spec, "bf16", n, wide=False, programs=132).tile for n in (1, 2112, 2113, 99999)
    ] == [16, 16, 32, 64]
    many = ModelSpec(16000, 16, (1,), levels=1024)
    assert shape_of(many, "bf16", 99999, wide=False, programs=132).tile == 16


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_weights_are_loaded_ahead_where_there_is_room(precision: str) -> None:
    """A card of 99 KB a program has less of it than an H100; for the widest models none has any."""
    wide = precision == "fp32"

    def stages(spec: ModelSpec, shared: int) -> int:
        shape = shape_of(spec, precision, 1, wide=wide, programs=132, shared=shared)
        return options_of(shape, precision).num_stages

    middling = ModelSpec(16000, 16, (1,), residual=64, gate=64, skip=128, head=256)
    widest = ModelSpec(16000, 16, (1,), residual=512, gate=512, skip=512, head=512)
    last = ModelSpec(16000, 16, (1,), residual=16, gate=16, skip=1024, head=1024, levels=1024)
    assert stages(middling, 227 * 1024) == 4
    assert 1 <= stages(middling, 99 * 1024) < 4
    assert stages(widest, 227 * 1024) == 1
    assert (stages(last, 227 * 1024) == 1) == wide


def test_weights_of_another_spec_are_refused() -> None:
    small = ModelSpec(16000, 16, (1,))
    with pytest.raises(GhostnoteError, match="has shape"):
        GpuState(ModelSpec(16000, 16, (1, 2)), random_weights(small))
