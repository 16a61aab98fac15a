"""The stopwatch is fair and the micro-kernels do the work that they are counted for."""

import numpy as np
import pytest

from ghostnote.kernels import bench, target
from ghostnote.kernels.lanes import LANES
from ghostnote.kernels.packing import AT_AHEAD, aligned_bytes, aligned_zeros, pack
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import random_weights

SPEC = ModelSpec(24000, 24, (1, 2), residual=8, gate=8, skip=8, head=8, levels=16)
WIDE = ModelSpec(24000, 24, (1, 2), residual=64, gate=64, skip=256, head=256, kits=("one",),
                 cond_hidden=(4,))  # fmt: skip


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


@pytest.mark.parametrize("chains", bench.CHAINS)
def test_every_chain_is_multiplied_and_added_as_often_as_counted(chains: int) -> None:
    out = aligned_zeros(LANES)
    bench._run_chains(chains, 3, 0, out.ctypes.data)
    # x/2 + 1, three times, from 0, 1, 2, ...
    expected = sum(i / 8 + 1 / 4 + 1 / 2 + 1 for i in range(chains))
    assert out.tolist() == [expected] * LANES


@pytest.mark.parametrize("chains", bench.CHAINS)
def test_every_byte_is_multiplied_as_often_as_counted(chains: int) -> None:
    steps, row = bench._ROWS + 3, chains * 4 * LANES
    weights = aligned_bytes(bench._ROWS * row)
    weights[:] = np.arange(len(weights)) % 100
    out = aligned_zeros(LANES)
    bench._run_chains(chains, steps, weights.ctypes.data, out.ctypes.data)
    rows = weights.reshape(bench._ROWS, chains, LANES, 4).sum(axis=(1, 3))
    expected = sum(range(chains)) + rows.sum(axis=0) + rows[:3].sum(axis=0)
    assert out.view(np.int32).tolist() == expected.tolist()


def test_every_byte_is_read() -> None:
    x = aligned_zeros(4 * LANES * 5)
    x[:] = np.arange(len(x)) % 7
    out = aligned_zeros(LANES)
    bench._read_often(x.ctypes.data, 5, 2, out.ctypes.data)
    assert out.tolist() == x.reshape(-1, LANES).sum(axis=0).tolist()


def test_the_bound_is_the_nearer_of_the_two() -> None:
    macs = SPEC.macs_per_sample
    for precision, size in (("fp32", 4), ("bf16", 2), ("int8", 1)):
        assert bench.weight_bytes(SPEC, precision) == size * macs
        assert bench.bound(SPEC, precision, 1, 1, 1.0, 1e9) == 1e9 / macs
        assert bench.bound(SPEC, precision, 1, 1, 1e9, 1.0) == 1e9 / (size * macs)


@pytest.mark.parametrize("width", [2, 3])
def test_weights_of_the_past_are_read_once_for_several_samples(width: int) -> None:
    spec = ModelSpec(24000, 24, (1, 3, 8, 512), filter_width=width, residual=5, gate=7)
    packed = pack(spec, random_weights(spec))
    at = int(packed.header[AT_AHEAD])
    aheads = packed.header[at : at + spec.layers].tolist()
    assert aheads == [1, 2, 8, 8]
    past = spec.residual * 2 * spec.gate * (width - 1)
    rest = spec.macs_per_sample - spec.layers * past
    for precision, size in (("fp32", 4), ("bf16", 2), ("int8", 1)):
        expected = size * (rest + sum(past / ahead for ahead in aheads))
        assert bench.bytes_read(spec, precision) == pytest.approx(expected)


def test_many_streams_read_the_weights_once_a_thread() -> None:
    macs = SPEC.macs_per_sample
    assert bench.bound(SPEC, "fp32", 16, 1, 1e9, 1.0) == 16e9 / (4 * macs)
    assert bench.bound(SPEC, "fp32", 16, 2, 1e9, 1.0) == 16e9 / (4 * macs)
    assert bench.bound(SPEC, "fp32", 16, 1, 1.0, 1e9) == 1e9 / macs
    assert bench.bound(SPEC, "fp32", 16, 2, 1.0, 1e9) == 2e9 / macs


def test_the_machine_has_peaks_and_a_bandwidth() -> None:
    assert bench.fma_peak(0.0) > 0.0
    assert bench.dot_peak(0.0) > 0.0
    assert bench.read_bandwidth(100, 0.0) > 0.0, "less than a block"
    assert bench.read_bandwidth(1 << 16, 0.0) > 0.0


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ("vpmaddubsw.256", "vpmaddubsw + vpmaddwd + vpaddd of 256 bits"),
        ("vpdpbusd.512", "vpdpbusd of 512 bits"),
        ("sdot", "sdot"),
    ],
)
def test_the_instruction_is_told(found: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "dot_product", lambda: found)
    assert bench.dot_product() == told


@pytest.mark.parametrize(("streams", "threads"), [(1, 1), (1, 4), (5, 1), (5, 2), (3, 3)])
@pytest.mark.parametrize("spec", [SPEC, WIDE])
def test_the_kernel_plays_every_stream(
    spec: ModelSpec, streams: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "PIECE_MACS", 30 * 5 * spec.macs_per_sample)
    packed = pack(spec, random_weights(spec), "bf16")
    played: list[tuple[int, int]] = []

    class Heard(State):
        def generate(self, out: np.ndarray, drawn: np.ndarray | None = None) -> None:
            assert out.size % (self.lanes * spec.hop) == 0
            played.append((self.lanes, out.size))
            super().generate(out if self.lanes > 1 else out[0])

    monkeypatch.setattr(bench, "State", Heard)
    work = bench.kernel_work(packed, streams, threads)
    assert work() == sum(size for _, size in played) > 0
    assert sum(lanes for lanes, _ in played) == streams
    assert len(played) == min(threads, streams)
