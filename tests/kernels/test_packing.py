"""How a model lies in memory: every weight once, everything where the header says, aligned."""

from collections import Counter

import numpy as np
import pytest

from ghostnote.kernels import packing as p
from ghostnote.kernels.activations import GATE_FACTORS
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import aligned_zeros, pack
from ghostnote.kernels.products import PRECISIONS
from tests.kernels.models import SPECS, model

GATED = ("filter_weight", "filter_bias", "cond_out_weight")


@pytest.mark.parametrize("name", SPECS)
def test_every_weight_is_packed_once(name: str) -> None:
    it = model(name)
    numbered, expected, first = {}, Counter[float](), 2  # a head of a matrix holds a 1
    for key, array in it.weights.items():
        numbers = np.arange(first, first + array.size, dtype=np.float32).reshape(array.shape)
        numbered[key] = numbers
        if key in GATED:
            rows = -1 if "bias" in key else -2
            halves = np.split(numbers.astype(np.float64), 2, axis=rows)
            halves = [half * factor for half, factor in zip(halves, GATE_FACTORS, strict=True)]
            numbers = np.concatenate(halves).astype(np.float32)
        expected.update(numbers.ravel().tolist())
        first += array.size
    assert first < 2**24  # each number is a float32 of its own
    packed = pack(it.spec, numbered).weights.view(np.float32)
    found = Counter(packed[(np.abs(packed) > 1.5) & (packed > -1e29)].tolist())
    assert found == expected


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", SPECS)
def test_everything_begins_on_whole_cache_lines(name: str, precision: str) -> None:
    packed = model(name, precision).packed
    h = packed.header
    assert packed.weights.ctypes.data % 4096 == 0
    offsets = h[p.AT_MULAW : p.AT_AGE_TABLE + 1]
    assert (offsets % 64 == 0).all() and (offsets < len(packed.weights)).all()
    layers = h[p.LAYERS]
    for slot, count in (
        (p.AT_FILTER, layers),
        (p.AT_PAST_FILTER, layers * (h[p.WIDTH] - 1)),
        (p.AT_RESIDUAL, layers),
        (p.AT_DENSE_WEIGHT, h[p.DENSE]),
    ):
        listed = h[h[slot] : h[slot] + count]
        assert (listed % 64 == 0).all() and (listed < len(packed.weights)).all()
    starts = h[p.S_SETTINGS : p.S_FLOATS + 1]
    assert (starts % 16 == 0).all()
    assert (np.diff(starts) >= 0).all()


def test_low_precision_takes_less_memory() -> None:
    sizes = [len(model("500 channels", precision).packed.weights) for precision in PRECISIONS]
    assert sizes[1] < 0.7 * sizes[0]
    assert sizes[2] < 0.8 * sizes[1]


@pytest.mark.parametrize("precision", ["", "fp16", "INT8", "int4"])
def test_an_unknown_precision_is_refused_by_name(precision: str) -> None:
    it = model("smallest")
    message = f"precision '{precision}' is none of fp32, bf16, int8"
    with pytest.raises(GhostnoteError, match=message):
        pack(it.spec, it.weights, precision)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_that_are_no_numbers_are_refused_by_name(precision: str, value: float) -> None:
    it = model("odd, width 3, out of order")
    for name, array in it.weights.items():
        broken = array.copy()
        broken.flat[-1] = value
        with pytest.raises(GhostnoteError, match=f"weight '{name}' holds NaN or infinity"):
            pack(it.spec, {**it.weights, name: broken}, precision)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 1000])
def test_aligned_zeros(count: int) -> None:
    array = aligned_zeros(count)
    assert array.shape == (count,)
    assert array.dtype == np.float32
    assert not array.any()
    assert count == 0 or array.ctypes.data % 4096 == 0
