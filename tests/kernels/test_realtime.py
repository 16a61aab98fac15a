"""What the audio thread needs of the kernel: no lock, no memory, no neighbour, no compilation."""

import threading

import numpy as np
from numba.core.runtime import _nrt_python

from ghostnote.kernels import control, cpu
from ghostnote.kernels.packing import pack
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


def test_one_compilation_serves_every_shape() -> None:
    play(model(ODD), model(ODD).state(), 10)
    before = len(cpu.generate.nopython_signatures)
    spec = ModelSpec(8000, 3, (3, 9), residual=3, gate=70, skip=2, head=17, levels=17)
    State(pack(spec, random_weights(spec))).generate(np.zeros(5, np.float32))
    assert len(cpu.generate.nopython_signatures) == before


def test_generating_allocates_nothing() -> None:
    it = model(ODD)
    state = it.state()
    state.set_sampling(1.0, 5)

    def allocations(samples: int) -> int:
        out = np.zeros(samples, np.float32)
        before = _nrt_python.memsys_get_stats_alloc()
        for role in range(3):
            state.hit(role, 0.5)
            state.generate(out)
        state.reset()
        return int(_nrt_python.memsys_get_stats_alloc() - before)

    was_on = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    try:
        # What a call itself costs in handing its arrays over is the same for any length.
        assert allocations(5000) == allocations(1)
        # The counter does count.
        before = _nrt_python.memsys_get_stats_alloc()
        control.ages_of_hits(np.zeros((0, 3)), 4, 3, control.choke_array(it.spec), 5)
        assert _nrt_python.memsys_get_stats_alloc() >= before + 2
    finally:
        if not was_on:
            _nrt_python.memsys_disable_stats()


def test_other_python_threads_run_while_a_block_is_generated() -> None:
    """They see the stream's index grow; with the GIL held they would see its ends at most."""
    state = model("wide").state()
    out = np.zeros(20000, np.float32)
    state.generate(out[:1])
    thread = threading.Thread(target=state.generate, args=(out,))
    seen = set()
    thread.start()
    while thread.is_alive():
        seen.add(state.index)
    thread.join()
    assert state.index == 20001
    assert len(seen) > 10
