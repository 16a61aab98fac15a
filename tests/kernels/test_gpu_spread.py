"""The spread kernel plays what the tile kernel plays, its programs side by side.

On a device they are programs of one launch; in the interpreter each is a process of its own, over
tensors that all of them see.
"""

import multiprocessing
import time
from multiprocessing.connection import wait
from typing import Any

import numpy as np
import pytest
import torch

from ghostnote.kernels import gpu_model, gpu_spread
from ghostnote.kernels import gpu_state as module
from ghostnote.kernels.configs import CONFIGS
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.gpu_model import Options, shape_of, spread_of
from ghostnote.kernels.gpu_state import GpuState, interpreted
from tests.kernels.emulation import CLOSE
from tests.kernels.gpu_models import cut, gpu_model_of, random_levels
from tests.kernels.models import Model


def side_by_side(programs: int, options: Options, *arguments: Any) -> None:
    """Takes the place of `start_spread`: runs each program in a process, and waits for all."""
    for argument in arguments:
        if isinstance(argument, torch.Tensor):
            argument.share_memory_()  # type: ignore[no-untyped-call]
    processes = [
        multiprocessing.get_context("fork").Process(
            target=module.start,
            args=(gpu_spread.play_spread, 1, options, program, *arguments),
            daemon=True,
        )
        for program in range(programs)
    ]
    for process in processes:
        process.start()
    left, deadline = {*processes}, time.monotonic() + 60
    while left and time.monotonic() < deadline and all(not p.exitcode for p in processes):
        wait([p.sentinel for p in left], timeout=1)
        left = {p for p in left if p.is_alive()}
    for process in left:  # one has failed, for whose words they would wait for ever
        process.kill()
        process.join()
    assert all(process.exitcode == 0 for process in processes)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a tiny model be shared out among several programs, and these run side by side."""
    monkeypatch.setattr(gpu_model, "HELD", 47 * 1024)
    if interpreted():
        monkeypatch.setattr(module, "start_spread", side_by_side)


def streams_of(it: Model, streams: int, spread: bool) -> GpuState:
    """Returns streams with hits and sampling of their own."""
    state = GpuState(it.spec, it.weights, seed=5, streams=streams, spread=spread)
    for lane in range(streams):
        state.set_sampling(1.0 - 0.1 * lane, 7 * lane, lane)
        state.hit(lane % 3, 0.8, lane)
    return state


@pytest.mark.parametrize(("name", "streams"), [("width 3", 1), ("mixture", 3)])
def test_it_plays_what_the_tile_kernel_plays(name: str, streams: int, programs: None) -> None:
    """Drawn freely and fed, from launch to launch, with a last group that is not full."""
    it, count = gpu_model_of(name), cut(5, 500)
    tile, spread = (streams_of(it, streams, which) for which in (False, True))
    assert spread.spread is not None
    assert spread.spread.group < it.spec.layers
    assert spread.spread.programs >= 3
    expected, found = (np.full((streams, count), np.nan, np.float32) for _ in range(2))
    tile.generate(expected)
    spread.generate(found)
    assert (found == expected).all()
    fed = random_levels(it.spec, (streams, cut(3, 500)))
    np.testing.assert_allclose(
        spread.teacher_force(fed), tile.teacher_force(fed), rtol=CLOSE, atol=CLOSE
    )


def test_models_are_shared_out_as_there_is_room() -> None:
    found = {}
    for name in ("NV-M", "IBAB", "R9-mulaw"):
        shape = shape_of(CONFIGS[name], "bf16", 1, wide=False, programs=132)
        spread = spread_of(shape, "bf16", 132)
        found[name] = spread and (spread.group, spread.shape.slice, spread.programs)
    # A layer of R9-mulaw alone is more than an SM has room for.
    assert found == {"NV-M": (3, 128, 9), "IBAB": (4, 64, 21), "R9-mulaw": None}
    shape = shape_of(CONFIGS["NV-M"], "bf16", 1, wide=False, programs=132)
    assert spread_of(shape, "bf16", 8) is None
    less = shape_of(CONFIGS["IBAB"], "bf16", 1, wide=False, programs=132, shared=163 * 1024)
    spread = spread_of(less, "bf16", 132)
    assert spread is not None
    assert spread.group < 4  # there is less shared memory to keep them in


@pytest.mark.skipif(not interpreted(), reason="programs run side by side on a device")
def test_programs_that_would_wait_for_ever_are_not_begun() -> None:
    it = gpu_model_of("far")
    with pytest.raises(GhostnoteError, match="needs a CUDA device"):
        GpuState(it.spec, it.weights, spread=True).generate(np.zeros(1, np.float32))


def test_too_many_streams_are_refused() -> None:
    it = gpu_model_of("far")
    with pytest.raises(GhostnoteError, match="cannot be spread"):
        GpuState(it.spec, it.weights, streams=17, spread=True)
