"""How fast this machine is, and how near a kernel comes to it: micro-kernels and a fair stopwatch.

One core: what is measured runs in the caller's thread. Whoever prints a figure has checked parity
before (`inference/proof.py`). What a step can reach is bounded by the fused multiply-adds that a
core does in a second and by how fast it reads weights that lie where the model's do ("roofline",
Williams et al. 2009).
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numba as nb
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .gemv import LANES
from .packing import Packed, aligned_zeros
from .spec import ModelSpec
from .state import State

FLOATS = npt.NDArray[np.float32]
Name = TypeVar("Name")

BANDWIDTH_SIZES = {"16 KiB": 2**14, "256 KiB": 2**18, "4 MiB": 2**22, "64 MiB": 2**26}
"""Sizes at which bandwidth is told for any machine: mostly L1, L2, L3 and memory."""

SAMPLES_AT_A_TIME = 480
ROUNDS = 5


def _chains(count: int) -> Callable[..., Any]:
    """Make the intrinsic that runs `count` independent chains of vector multiply-adds."""

    @intrinsic
    def run_chains(typingctx: Any, steps: Any, out: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector, index = ir.VectorType(ir.FloatType(), LANES), ir.IntType(64)
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
            )
            data = context.make_array(signature.args[1])(context, builder, args[1]).data
            half = ir.Constant(vector, [0.5] * LANES)  # chains tend to 2: no overflow, no subnormal
            one = ir.Constant(vector, [1.0] * LANES)
            before = builder.block
            loop = builder.append_basic_block("chains.loop")
            after = builder.append_basic_block("chains.end")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(index)
            k.add_incoming(ir.Constant(index, 0), before)
            running = [builder.phi(vector) for _ in range(count)]
            sums = [builder.call(fma, [phi, half, one]) for phi in running]
            for i, (phi, total) in enumerate(zip(running, sums, strict=True)):
                phi.add_incoming(ir.Constant(vector, [float(i)] * LANES), before)
                phi.add_incoming(total, loop)
            onward = builder.add(k, ir.Constant(index, 1))
            k.add_incoming(onward, loop)
            builder.cbranch(builder.icmp_signed("<", onward, args[0]), loop, after)
            builder.position_at_end(after)
            total = functools.reduce(builder.fadd, sums)
            builder.store(total, builder.bitcast(data, vector.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.void(types.intp, out), generate

    return run_chains  # type: ignore[no-any-return]


# How many chains hide the latency without spilling registers depends on the machine: the best of
# these counts is its peak (2 x 4 cycles in flight; a vector here is one or two or four registers).
_CHAINS_4, _CHAINS_6, _CHAINS_8 = _chains(4), _chains(6), _chains(8)


@nb.njit(cache=True, nogil=True)
def _multiply_add(chains: int, steps: int, out: FLOATS) -> None:
    if chains == 4:
        _CHAINS_4(steps, out)
    elif chains == 6:
        _CHAINS_6(steps, out)
    else:
        _CHAINS_8(steps, out)


@intrinsic
def _read(typingctx: Any, x: Any, out: Any) -> Any:
    """Add up `x` in four chains of vectors; reads whole blocks of 4 * LANES floats."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, index = ir.VectorType(ir.FloatType(), LANES), ir.IntType(64)
        array = context.make_array(signature.args[0])(context, builder, args[0])
        target = context.make_array(signature.args[1])(context, builder, args[1]).data
        before = builder.block
        loop = builder.append_basic_block("read.loop")
        after = builder.append_basic_block("read.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        at = builder.phi(index)
        at.add_incoming(ir.Constant(index, 0), before)
        running = [builder.phi(vector) for _ in range(4)]
        sums = []
        for i, phi in enumerate(running):
            place = builder.add(at, ir.Constant(index, LANES * i))
            pointer = builder.bitcast(builder.gep(array.data, [place]), vector.as_pointer())
            sums.append(builder.fadd(phi, builder.load(pointer, align=4)))
            phi.add_incoming(ir.Constant(vector, [0.0] * LANES), before)
            phi.add_incoming(sums[-1], loop)
        onward = builder.add(at, ir.Constant(index, 4 * LANES))
        at.add_incoming(onward, loop)
        builder.cbranch(builder.icmp_signed("<", onward, array.nitems), loop, after)
        builder.position_at_end(after)
        total = functools.reduce(builder.fadd, sums)
        builder.store(total, builder.bitcast(target, vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(x, out), generate


@nb.njit(cache=True, nogil=True)
def _read_often(x: FLOATS, times: int, out: FLOATS) -> None:
    for _ in range(times):
        _read(x, out)


def fma_peak(seconds: float = 0.3) -> float:
    """Return the fused multiply-adds of float32 that one core does, in 10^9 a second."""
    out = aligned_zeros(LANES)
    steps = 100_000

    def work(chains: int) -> Callable[[], int]:
        def run() -> int:
            _multiply_add(chains, steps, out)
            return steps * chains * LANES

        return run

    return max(measure({n: work(n) for n in (4, 6, 8)}, seconds, best=True).values()) / 1e9


def read_bandwidth(size: int, seconds: float = 0.1) -> float:
    """Return how fast one core reads `size` bytes again and again, in 10^9 bytes a second."""
    block = 4 * LANES
    x = aligned_zeros(max(size // 4 // block, 1) * block)
    out = aligned_zeros(LANES)
    times = max(1, 2**22 // x.nbytes)

    def run() -> int:
        _read_often(x, times, out)
        return times * x.nbytes

    return measure({"read": run}, seconds, best=True)["read"] / 1e9


def bytes_per_sample(spec: ModelSpec) -> int:
    """Return the bytes of float32 weights that a step multiplies with."""
    return 4 * spec.macs_per_sample


def bound(spec: ModelSpec, gmac_per_s: float, gb_per_s: float) -> float:
    """Return the samples per second that multiply-adds and weight bandwidth allow at most."""
    return min(gmac_per_s * 1e9 / spec.macs_per_sample, gb_per_s * 1e9 / bytes_per_sample(spec))


def kernel_work(packed: Packed, streams: int = 1) -> Callable[[], int]:
    """Return a function that plays a piece of every stream and returns the samples made."""
    states = [State(packed, seed=1, stream=i) for i in range(streams)]
    out = np.empty(SAMPLES_AT_A_TIME, np.float32)

    def run() -> int:
        for state in states:
            if packed.spec.roles:
                state.hit(0, 1.0)  # sound, not silence
            state.generate(out)
        return streams * len(out)

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
