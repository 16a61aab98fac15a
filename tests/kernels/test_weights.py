"""Weights and their packed form: what does not fit is refused by name; nothing is out of place."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
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


def test_a_mixture_hears_samples_and_has_no_table_of_levels() -> None:
    spec = replace(SPECS[ODD], levels=65536, mixtures=5)
    shapes = weight_shapes(spec)
    assert list(shapes)[:2] == ["input_weight", "input_bias"]
    assert "mulaw_table" not in shapes
    assert shapes["input_weight"] == (spec.input_taps, spec.residual)
    assert shapes["input_bias"] == (spec.residual,)
    assert shapes["head1_weight"] == (15, spec.head) and shapes["head1_bias"] == (15,)
    weights = random_weights(spec, 3)
    check_weights(spec, weights)
    assert list(weights) == list(shapes)
    del weights["input_bias"]
    with pytest.raises(GhostnoteError, match="'input_bias' is missing"):
        check_weights(spec, weights)


def test_the_weights_of_another_spec_are_refused() -> None:
    it = model(ODD)
    with pytest.raises(GhostnoteError, match="'filter_weight' has shape"):
        check_weights(replace(it.spec, gate=it.spec.gate + 1), it.weights)
