"""How fast this machine is, and how near a kernel comes to it: micro-kernels and a fair stopwatch.

Whoever prints a figure has checked parity before (`parity.py`, `inference/proof.py`). What a step can
reach is bounded by the multiply-adds that a core does in a second and by how fast it reads weights
that lie where the model's do ("roofline", Williams et al. 2009). bfloat16 weights are widened by a
shift and multiplied in float32, so its bound is that of float32: the dot products of AVX-512-BF16
are left alone, since not every processor has them and they round otherwise.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba as nb
import numpy as np
from llvmlite import ir

from . import target
from .lanes import I64, LANES, Lanes, vector_code
from .packing import AHEAD, Packed, aligned_bytes, aligned_zeros
from .products import WORDS, dot_bytes
from .spec import ModelSpec
from .state import State

Name = TypeVar("Name")

BANDWIDTH_SIZES = {"16 KiB": 2**14, "256 KiB": 2**18, "4 MiB": 2**22, "64 MiB": 2**26}
"""Sizes at which bandwidth is told for any machine: mostly L1, L2, L3 and memory."""

WEIGHT_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}

PIECE_MACS = 400_000_000
"""Multiply-adds of a piece of playing: some milliseconds, long beside the reading of a clock."""

ROUNDS = 5

# How many chains hide the latency without spilling registers depends on the machine: the best of
# these counts is its peak (2 x 4 cycles in flight; a vector here is one or two or four registers).
CHAINS = (4, 6, 8, 12)
_ROWS = 16  # of int8 weights, read again and again: what a core multiplies must come from somewhere


def _multiply_add(count: int) -> Any:
    """Make the code of `count` independent chains of vector multiply-adds, x = x / 2 + 1."""

    @vector_code("ii")
    def run(code: Lanes, steps: Any, out: Any) -> None:
        half, one = code.floats(0.5), code.floats(1.0)  # chains tend to 2: nothing overflows

        def body(step: Any, chains: list[Any]) -> list[Any]:
            return [code.fma(chain, half, one) for chain in chains]

        chains = code.loop(steps, [code.floats(float(i)) for i in range(count)], body)
        code.store(out, functools.reduce(code.builder.fadd, chains))

    return run


def _dot_products(count: int) -> Any:
    """Make the code of `count` chains of integer dot products, as the int8 kernel does them."""

    @vector_code("iii")
    def run(code: Lanes, steps: Any, weights: Any, out: Any) -> None:
        builder, vector = code.builder, 4 * LANES
        ones = ir.Constant(WORDS, [1] * vector)

        def body(step: Any, chains: list[Any]) -> list[Any]:
            row = builder.and_(step, ir.Constant(I64, _ROWS - 1))
            at = code.offset(weights, row, count * vector)
            return [
                dot_bytes(code, chain, ones, code.load(code.offset(at, i, vector), WORDS))
                for i, chain in enumerate(chains)
            ]

        chains = code.loop(steps, [code.ints(i) for i in range(count)], body)
        code.store(out, functools.reduce(builder.add, chains))

    return run


@vector_code("iii")
def _read(code: Lanes, x: Any, blocks: Any, out: Any) -> None:
    """Add up floats in four chains of vectors, a block of 4 * LANES at a time."""

    def body(block: Any, sums: list[Any]) -> list[Any]:
        at = code.offset(x, block, 16 * LANES)
        return [
            code.builder.fadd(total, code.load(code.offset(at, i, 4 * LANES)))
            for i, total in enumerate(sums)
        ]

    sums = code.loop(blocks, [code.floats(0.0)] * 4, body)
    code.store(out, functools.reduce(code.builder.fadd, sums))


_FMA_4, _FMA_6, _FMA_8, _FMA_12 = (_multiply_add(count) for count in CHAINS)
_DOT_4, _DOT_6, _DOT_8, _DOT_12 = (_dot_products(count) for count in CHAINS)


@nb.njit(cache=True, nogil=True)
def _run_chains(chains: int, steps: int, weights: int, out: int) -> None:
    """Run chains of multiply-adds, or, where there are weights, of integer dot products."""
    if weights == 0:
        if chains == 4:
            _FMA_4(steps, out)
        elif chains == 6:
            _FMA_6(steps, out)
        elif chains == 8:
            _FMA_8(steps, out)
        else:
            _FMA_12(steps, out)
    elif chains == 4:
        _DOT_4(steps, weights, out)
    elif chains == 6:
        _DOT_6(steps, weights, out)
    elif chains == 8:
        _DOT_8(steps, weights, out)
    else:
        _DOT_12(steps, weights, out)


@nb.njit(cache=True, nogil=True)
def _read_often(x: int, blocks: int, times: int, out: int) -> None:
    for _ in range(times):
        _read(x, blocks, out)


def fma_peak(seconds: float = 0.1) -> float:
    """Return the fused multiply-adds of float32 that one core does, in 10^9 a second."""
    return _peak(LANES, None, seconds)


def dot_peak(seconds: float = 0.1) -> float:
    """Return the products of bytes that one core multiplies and adds up, in 10^9 a second.

    By the instructions that the int8 kernel uses here (`dot_product`), with weights from the
    nearest cache.
    """
    weights = aligned_bytes(_ROWS * max(CHAINS) * 4 * LANES)
    weights[:] = 1
    return _peak(4 * LANES, weights, seconds)


def dot_product() -> str:
    """Return the instructions that multiply bytes here, for a reader."""
    name, _, bits = target.dot_product().partition(".")
    if name == "vpmaddubsw":
        name = "vpmaddubsw + vpmaddwd + vpaddd"
    return f"{name} of {bits} bits" if bits else name


def _peak(macs: int, weights: Any, seconds: float) -> float:
    """Return the best of all counts of chains, each vector of which does so many multiply-adds."""
    out = aligned_zeros(LANES)
    steps = 100_000
    at = 0 if weights is None else weights.ctypes.data

    def work(chains: int) -> Callable[[], int]:
        def run() -> int:
            _run_chains(chains, steps, at, out.ctypes.data)
            return steps * chains * macs

        return run

    return max(measure({n: work(n) for n in CHAINS}, seconds, best=True).values()) / 1e9


def read_bandwidth(size: int, seconds: float = 0.1) -> float:
    """Return how fast one core reads `size` bytes again and again, in 10^9 bytes a second."""
    block = 4 * LANES
    x = aligned_zeros(max(size // 4 // block, 1) * block)
    out = aligned_zeros(LANES)
    times = max(1, 2**22 // x.nbytes)

    def run() -> int:
        _read_often(x.ctypes.data, len(x) // block, times, out.ctypes.data)
        return times * x.nbytes

    return measure({"read": run}, seconds, best=True)["read"] / 1e9


def weight_bytes(spec: ModelSpec, precision: str = "fp32") -> int:
    """Return the bytes of weights that a step multiplies with, without padding and scales."""
    return WEIGHT_BYTES[precision] * spec.macs_per_sample


def bytes_read(spec: ModelSpec, precision: str = "fp32") -> float:
    """Return the bytes of weights that the kernel reads for a sample of one stream.

    Fewer than `weight_bytes`: products with a layer's past are made for several samples at once
    where its dilation allows (`packing.AHEAD`), and read their weights once for all of them.
    """
    matrix = 2 * spec.gate * spec.residual * (spec.filter_width - 1)
    saved = sum(
        matrix * (1.0 - 1.0 / min(AHEAD, 1 << (dilation.bit_length() - 1)))
        for dilation in spec.dilations
    )
    return WEIGHT_BYTES[precision] * (spec.macs_per_sample - saved)


def bound(
    spec: ModelSpec, precision: str, streams: int, threads: int, gmac_per_s: float, gb_per_s: float
) -> float:
    """Return the samples per second, over all streams, that this machine allows at most.

    Every thread reads the weights once a sample for all of its streams; `gmac_per_s` is the peak of
    the precision's multiply-adds of one core, `gb_per_s` one core's bandwidth at the weights' size.
    A kernel that reads some weights less often (`bytes_read`) may come a little above it.
    """
    streams_each = -(-streams // threads)
    products = gmac_per_s * 1e9 / spec.macs_per_sample
    reads = gb_per_s * 1e9 * streams_each / weight_bytes(spec, precision)
    return threads * min(products, reads)


def kernel_work(packed: Packed, streams: int = 1, threads: int = 1) -> Callable[[], int]:
    """Return a function that plays a piece of every stream and returns the samples made.

    The streams are shared out among the threads, of which the caller's is one; there are no more
    of these than streams. A stream plays the same with any number of threads.
    """
    spec = packed.spec
    threads = min(threads, streams)
    edges = [streams * i // threads for i in range(threads + 1)]
    states = [
        State(packed, seed=1, stream=first, streams=last - first)
        for first, last in itertools.pairwise(edges)
    ]
    hops = max(1, PIECE_MACS // (spec.macs_per_sample * spec.hop * -(-streams // threads)))
    outs = [np.empty((state.lanes, hops * spec.hop), np.float32) for state in states]
    others = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def play(state: State, out: Any) -> None:
        if spec.roles:
            state.hit(0, 1.0)  # sound, not silence
        state.generate(out)

    def run() -> int:
        elsewhere = zip(states[1:], outs[1:], strict=True) if others else ()
        waiting = [others.submit(play, *pair) for pair in elsewhere] if others else []
        play(states[0], outs[0])
        for one in waiting:
            one.result()
        return sum(out.size for out in outs)

    return run


def measure(
    work: Mapping[Name, Callable[[], int]], seconds: float, *, best: bool = False
) -> dict[Name, float]:
    """Return the amount per second of each work, which does some and returns how much.

    The works take turns, so that a change in the machine's speed meets all alike; each is called
    once before, for compilers and caches. What is told is the median of its turns, or the best for
    what is a bound.

    Parameters
    ----------
    seconds : float
        For each work; at least five turns are taken.
    """
    rates: dict[Name, list[float]] = {name: [] for name in work}
    for run in work.values():
        run()
    end = time.perf_counter() + seconds * len(work)
    while time.perf_counter() < end or len(next(iter(rates.values()))) < ROUNDS:
        for name, run in work.items():
            began = time.perf_counter()
            amount = run()
            rates[name].append(amount / (time.perf_counter() - began))
    return {name: max(found) if best else statistics.median(found) for name, found in rates.items()}
