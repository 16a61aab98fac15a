"""Weights and their packed form: what does not fit is refused by name; nothing is out of place."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ghostnote.kernels import packing as p
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import aligned_zeros, pack
from ghostnote.kernels.reference import Reference
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import check_weights, random_weights, weight_shapes
from tests.kernels.models import SPECS, model, same_bits

ODD = "odd, width 3, out of order"
ARRAYS = list(weight_shapes(SPECS[ODD]))


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_does_not_fit_is_refused_by_name(name: str) -> None:
    it = model(ODD)
    array = it.weights[name]
    others: list[tuple[str, npt.NDArray[Any] | None]] = [
        ("is missing", None),
        ("has shape", array[..., :-1]),
        ("is float64", array.astype(np.float64)),
    ]
    for number in (np.nan, np.inf, -np.inf):
        spoilt = array.copy()
        spoilt.flat[-1] = number
        others.append(("holds NaN or infinity", spoilt))
    for message, other in others:
        weights = {key: value for key, value in it.weights.items() if key != name}
        if other is not None:
            weights[name] = other
        for refuse in (check_weights, pack, Reference):
            with pytest.raises(GhostnoteError, match=f"'{name}' {message}"):
                refuse(it.spec, weights)


def test_a_network_too_large_for_memory_is_refused_before_any_of_it_is_made() -> None:
    spec = ModelSpec(24000, 24, (1,) * 128, residual=1024, gate=1024, skip=1024, head=1024)
    with pytest.raises(GhostnoteError, match="no such network is supported"):
        check_weights(spec, {})


@pytest.mark.parametrize("name", SPECS)
def test_random_weights_fit_and_are_the_same_for_a_seed(name: str) -> None:
    spec = SPECS[name]
    weights = random_weights(spec, 3)
    check_weights(spec, weights)
    again, other = random_weights(spec, 3), random_weights(spec, 4)
    assert all(same_bits(weights[key], again[key]) for key in weights)
    assert not same_bits(weights["head1_weight"], other["head1_weight"])


@pytest.mark.parametrize("name", SPECS)
def test_every_weight_is_packed_once(name: str) -> None:
    it = model(name)
    numbered, next_number = {}, 1
    for key, array in it.weights.items():
        numbers = np.arange(next_number, next_number + array.size, dtype=np.float32)
        numbered[key] = numbers.reshape(array.shape)
        next_number += array.size
    assert next_number < 2**24  # each number is a float32 of its own
    packed = pack(it.spec, numbered).weights
    assert sorted(packed[packed != 0].tolist()) == list(range(1, next_number))


@pytest.mark.parametrize("name", SPECS)
def test_blocks_begin_on_whole_vectors_of_aligned_memory(name: str) -> None:
    packed = model(name).packed
    header = packed.header
    assert packed.weights.ctypes.data % 64 == 0
    assert (header[p.AT_MULAW : p.AT_AGE_TABLE + 1] % 16 == 0).all()
    assert (header[p.S_TEMPERATURE : p.S_FLOATS + 1] % 16 == 0).all()


def test_header_slots_are_all_different() -> None:
    slots = [
        value
        for name, value in vars(p).items()
        if name.isupper() and isinstance(value, int) and not name.startswith("I_")
    ]
    assert len(set(slots)) == len(slots)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 1000])
def test_aligned_zeros(count: int) -> None:
    array = aligned_zeros(count)
    assert array.shape == (count,)
    assert array.dtype == np.float32
    assert not array.any()
    assert count == 0 or array.ctypes.data % 64 == 0


def test_the_weights_of_another_spec_are_refused() -> None:
    it = model(ODD)
    with pytest.raises(GhostnoteError, match="'filter_weight' has shape"):
        check_weights(replace(it.spec, gate=it.spec.gate + 1), it.weights)
