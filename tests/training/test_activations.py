"""exp, sigmoid and tanh: errors over all magnitudes, and one result however they are compiled."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from ghostnote.training.activations import exp, fma, sigmoid, tanh
from tests.kernels.models import DOUBLES, FLOATS, same_bits

FUNCTIONS: dict[str, tuple[Any, Callable[[DOUBLES], DOUBLES]]] = {
    "exp": (exp, np.exp),
    "sigmoid": (sigmoid, lambda x: np.exp(-np.logaddexp(0.0, -x))),
    "tanh": (tanh, np.tanh),
}


@njit(error_model="numpy")
def _all(x, kind):  # type: ignore[no-untyped-def]
    y = np.empty_like(x)
    if kind == 0:
        for i in range(x.shape[0]):
            y[i] = exp(x[i])
    elif kind == 1:
        for i in range(x.shape[0]):
            y[i] = sigmoid(x[i])
    else:
        for i in range(x.shape[0]):
            y[i] = tanh(x[i])
    return y


@njit(error_model="numpy")
def _one(x, kind):  # type: ignore[no-untyped-def]
    if kind == 0:
        return exp(x)
    if kind == 1:
        return sigmoid(x)
    return tanh(x)


def magnitudes() -> FLOATS:
    """Returns floats of every exponent and both signs, infinities included, and many near zero."""
    bits = np.arange(0, 2**32, 4093, dtype=np.uint64).astype(np.uint32)
    grid = np.linspace(-100.0, 100.0, 400_001).astype(np.float32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, 87.0, -87.0, 88.0, 1e-38], np.float32)
    x = np.concatenate([bits.view(np.float32), grid, special])
    return np.asarray(x[~np.isnan(x)])


@pytest.mark.parametrize(("name", "bound"), [("sigmoid", 2e-7), ("tanh", 3e-7)])
def test_absolute_error(name: str, bound: float) -> None:
    x = magnitudes()
    found = _all(x, list(FUNCTIONS).index(name)).astype(np.float64)
    expected = FUNCTIONS[name][1](x.astype(np.float64))
    assert np.abs(found - expected).max() < bound
    assert found.min() >= (-1.0 if name == "tanh" else 0.0)
    assert found.max() <= 1.0


def test_relative_error_of_exp() -> None:
    x = magnitudes()
    found = _all(x, 0).astype(np.float64)
    expected = np.exp(np.clip(x.astype(np.float64), -87.0, 87.0))
    assert np.abs(found / expected - 1.0).max() < 2e-7


@pytest.mark.parametrize(("name", "at_zero"), [("exp", 1.0), ("sigmoid", 0.5), ("tanh", 0.0)])
def test_exact_at_zero(name: str, at_zero: float) -> None:
    """So that padded channels stay exactly zero."""
    kind = list(FUNCTIONS).index(name)
    assert _all(np.zeros(20, np.float32), kind).tolist() == [at_zero] * 20


@pytest.mark.parametrize("name", FUNCTIONS)
def test_in_vectors_as_alone(name: str) -> None:
    kind = list(FUNCTIONS).index(name)
    x = magnitudes()[::997]
    alone = np.array([_one(value, kind) for value in x], np.float32)
    assert same_bits(_all(x, kind), alone)


def test_fma_rounds_once() -> None:
    @njit
    def fused(a, b, c):  # type: ignore[no-untyped-def]
        return fma(a, b, c)

    a = np.float32(1.0 + 2.0**-12)
    exact = 2.0**-11 + 2.0**-24  # (1 + 2^-12)^2 - 1
    assert float(fused(a, a, np.float32(-1.0))) == exact
    assert float(a * a - np.float32(1.0)) != exact
