"""The stopwatch is fair and the micro-kernels do the work that they are counted for."""

import numpy as np

from ghostnote.kernels import bench
from ghostnote.kernels.gemv import LANES
from ghostnote.kernels.packing import aligned_zeros, pack
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import random_weights

SPEC = ModelSpec(24000, 24, (1, 2), residual=8, gate=8, skip=8, head=8, levels=16)


def test_the_works_take_turns_and_are_called_once_before() -> None:
    calls: list[str] = []

    def work(name: str) -> int:
        calls.append(name)
        return 1

    rates = bench.measure({"a": lambda: work("a"), "b": lambda: work("b")}, 0.0)
    assert calls == ["a", "b"] * (1 + bench.ROUNDS)
    assert rates.keys() == {"a", "b"}
    assert all(rate > 0.0 for rate in rates.values())


def test_a_rate_is_the_median_and_a_bound_the_best() -> None:
    amounts = [10**9, *[1, 2, 3, 4, 10**9]] * 2  # a call that is not counted, then five turns

    def work() -> int:
        return amounts.pop(0)

    typical = bench.measure({"a": work}, 0.0)["a"]
    best = bench.measure({"a": work}, 0.0, best=True)["a"]
    assert best > 1000 * typical


def test_every_chain_is_multiplied_and_added_as_often_as_counted() -> None:
    for chains in (4, 6, 8):
        out = aligned_zeros(LANES)
        bench._multiply_add(chains, 3, out)
        # x/2 + 1, three times, from 0, 1, 2, ...
        expected = sum(i / 8 + 1 / 4 + 1 / 2 + 1 for i in range(chains))
        assert out.tolist() == [expected] * LANES


def test_every_byte_is_read() -> None:
    x = aligned_zeros(4 * LANES * 5)
    x[:] = np.arange(len(x)) % 7
    out = aligned_zeros(LANES)
    bench._read_often(x, 2, out)
    assert out.tolist() == x.reshape(-1, LANES).sum(axis=0).tolist()


def test_the_bound_is_the_nearer_of_the_two() -> None:
    macs = SPEC.macs_per_sample
    assert bench.bytes_per_sample(SPEC) == 4 * macs
    assert bench.bound(SPEC, 1.0, 1e9) == 1e9 / macs
    assert bench.bound(SPEC, 1e9, 1.0) == 1e9 / (4 * macs)


def test_the_machine_has_a_peak_and_a_bandwidth() -> None:
    assert bench.fma_peak(0.0) > 0.0
    assert bench.read_bandwidth(100, 0.0) > 0.0, "less than a block"
    assert bench.read_bandwidth(1 << 16, 0.0) > 0.0


def test_the_kernel_plays_every_stream() -> None:
    work = bench.kernel_work(pack(SPEC, random_weights(SPEC)), 3)
    assert work() == 3 * bench.SAMPLES_AT_A_TIME
