"""What the audio thread needs of the kernel: no lock, no memory, no neighbour, no compilation.

`test_every_cpu.py` shows besides that the compiled code refers to nothing that could take memory or
the interpreter's lock.
"""

import gc
import statistics
import threading
import time
import tracemalloc

import numpy as np
import pytest
from numba.core.runtime import _nrt_python

from ghostnote.kernels import control, cpu
from ghostnote.kernels.moving import copy_lane, relay
from ghostnote.kernels.packing import pack
from ghostnote.kernels.products import PRECISIONS, add_product
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import random_weights
from tests.kernels.models import model, play, same_bits

ODD = "odd, width 3, out of order"


def test_streams_in_several_threads_play_as_each_does_alone() -> None:
    it = model(ODD)
    alone = [play(it, it.state(3, stream), 3000) for stream in range(4)]
    for stream in range(3):
        assert not same_bits(alone[stream], alone[stream + 1])
    together = [np.zeros(0, np.float32)] * 4
    begin = threading.Barrier(4)

    def run(stream: int) -> None:
        state = it.state(3, stream)
        begin.wait()
        together[stream] = play(it, state, 3000)

    threads = [threading.Thread(target=run, args=(stream,)) for stream in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, together, strict=True):
        assert same_bits(a, b)


def test_one_compilation_serves_every_shape_precision_and_number_of_lanes() -> None:
    play(model(ODD), model(ODD).state(), 10)
    entries = (cpu.run, cpu.prewarm, cpu.hit, cpu.step, add_product, copy_lane, relay)
    before = [entry.nopython_signatures for entry in entries]
    assert [len(signatures) for signatures in before] == [1] * 7
    spec = ModelSpec(8000, 3, (3, 9), residual=3, gate=70, skip=2, head=17, levels=17)
    for precision in PRECISIONS:
        for lanes in (1, 3):
            state = State(pack(spec, random_weights(spec), precision), streams=lanes)
            state.generate(np.zeros((lanes, 5), np.float32))
    assert [entry.nopython_signatures for entry in entries] == before


@pytest.mark.parametrize("lanes", [1, 3, 8])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", [ODD, "mixture of 10"])
def test_generating_allocates_nothing(name: str, precision: str, lanes: int) -> None:
    """Neither in compiled code nor in Python's: a thousand samples cost what one costs."""
    state = model(name, precision).state(streams=lanes)
    state.set_sampling(1.0, 5)

    def allocations(samples: int) -> tuple[int, int]:
        """Returns what compiled code allocates in some calls, and the peak of Python's bytes."""
        out = np.zeros((lanes, samples), np.float32)
        gc.collect()
        tracemalloc.start()
        before = _nrt_python.memsys_get_stats_alloc()
        for role in range(3):
            state.hit(role, 0.5)
            state.generate(out)
        state.reset()
        found = int(_nrt_python.memsys_get_stats_alloc() - before)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found, peak

    was_on = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    try:
        allocations(1)
        (compiled, python), (more, peak) = allocations(1), allocations(1000)
        assert (compiled, more) == (0, 0)
        assert python < 8000
        assert peak < python + 500
        # The counters do count.
        before = _nrt_python.memsys_get_stats_alloc()
        spec = state.packed.spec
        control.ages_of_hits(np.zeros((0, 3)), 4, 3, control.choke_array(spec), 5)
        assert _nrt_python.memsys_get_stats_alloc() >= before + 2
        tracemalloc.start()
        kept = np.zeros(3000, np.float32)
        assert tracemalloc.get_traced_memory()[1] > kept.nbytes
        tracemalloc.stop()
    finally:
        if not was_on:
            _nrt_python.memsys_disable_stats()


@pytest.mark.parametrize(
    ("levels", "kept"), [(256, (1, 40, 128, 200, 255)), (1024, (1, 500, 1023))]
)
def test_a_voice_costs_next_to_the_same_whatever_its_top_k(
    levels: int, kept: tuple[int, ...]
) -> None:
    """Anybody may turn it while others listen. Relative, in turns, medians: a busy machine is fair."""
    spec = ModelSpec(24000, 24, tuple(2**i for i in range(10)) * 2, levels=levels)
    packed = pack(spec, random_weights(spec, 1, 1.5), "int8")
    states = {top_k: State(packed) for top_k in (0, *kept)}
    times: dict[int, list[float]] = {top_k: [] for top_k in states}
    out = np.zeros(20 * spec.hop, np.float32)
    for top_k, state in states.items():
        state.set_sampling(1.0, top_k)
    for _ in range(15):
        for top_k, state in states.items():
            began = time.thread_time()
            state.generate(out)
            times[top_k].append(time.thread_time() - began)
    costs = {top_k: statistics.median(found) for top_k, found in times.items()}
    assert all(costs[top_k] < 1.5 * costs[0] for top_k in kept), costs


@pytest.mark.parametrize(("precision", "lanes"), [("fp32", 1), ("bf16", 2), ("int8", 5)])
def test_other_python_threads_run_while_a_block_is_generated(precision: str, lanes: int) -> None:
    """They see the stream's index grow; with the GIL held they would see its ends at most."""
    state = model("wide", precision).state(streams=lanes)
    count = 20000
    out = np.zeros((lanes, count), np.float32)
    state.generate(out[:, :1].copy())
    thread = threading.Thread(target=state.generate, args=(out,))
    seen = set()
    thread.start()
    while thread.is_alive():
        seen.add(state.index)
    thread.join()
    assert state.index == count + 1
    assert len(seen) > 5  # of two that it would see; more where it has a core of its own
