"""Banks that a GPU plays, by a stand-in for it: what sounds is what the CPU would have played.

The kernel itself is tested in `tests/kernels/test_gpu_live.py`.
"""

import ctypes
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numba.core.runtime import _nrt_python

from ghostnote.kernels import cpu
from ghostnote.kernels import levels as amplitudes
from ghostnote.kernels.mailbox import Layout
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import random_weights
from ghostnote.osc_server import gpu_run
from ghostnote.osc_server.commands import Command, Op
from ghostnote.osc_server.engine import Engine, EngineOptions
from ghostnote.osc_server.gpu_bank import Gpu, Player
from ghostnote.osc_server.ring import ring_read
from tests.osc_server.gpu_stand_in import ASTRAY, HOPS, StandIn
from tests.osc_server.noisy_model import NOISY
from tests.osc_server.test_engine import Frames, allocations, busy, trig
from tests.osc_server.waiting import until

HOP = NOISY.hop
FOREVER = 10_000  # milliseconds
SHORT = 40_000_000  # nanoseconds
LONG = 20_000_000_000

Hang = tuple[int, int]
NONE = (-1, 0)


class Stage:
    """Stand-ins for GPUs that hang as told, and the engines that play on them."""

    def __init__(self) -> None:
        self.made: list[StandIn] = []
        self.engines: list[Engine] = []

    def gpu(self, hang: Hang = NONE, deadline_ns: int = LONG) -> Gpu:
        """Returns a GPU whose kernels all hang so."""

        def opener(packed: Packed, layout: Layout) -> Player:
            self.made.append(StandIn(packed, layout, hang))
            return self.made[-1]

        return Gpu(opener, deadline_ns)

    def engine(self, packed: Packed, gpu: Gpu | None, voices: int = 2) -> Engine:
        """Returns an engine with no limiter, whose GPU is there."""
        player = Engine(packed, EngineOptions(24000, voices, 5), gpu)
        player.submit([Command(Op.LIMITER, value=0.0)])
        player.render(0)
        player.log.pop_all()
        self.engines.append(player)
        assert gpu is None or gpu.settle(30.0)
        return player

    def close(self) -> None:
        """Ends them all."""
        for one in self.made:
            one.release()
        for player in self.engines:
            player.close()
        for one in self.made:
            one.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def noisy(seed: int = 3, precision: str = "fp32") -> Packed:
    return pack(NOISY, random_weights(NOISY, seed), precision)


def heard_of(player: Engine) -> bool:
    """Takes what the ring holds, as a sink does; whether that was sound."""
    out = np.empty((256, 2), np.float32)
    return bool(ring_read(player.ring.header, player.ring.data, out, len(out)))


def come_and_go(player: Engine) -> Frames:
    """Returns what sounds while voices join, leave, reset, are primed and cross over."""
    one, other = noisy(), noisy(4)
    primed = State(one, seed=9)
    primed.hit(0, 1.0)
    primed.generate(np.empty(7 * HOP, np.float32))
    busy(player)
    parts = [player.render(40 * HOP)]
    player.new_voice(one, 5)
    player.submit([trig(velocity=0.9, voice=5)], 45 * HOP)
    parts.append(player.render(60 * HOP))
    player.prime(1, primed)
    player.load(other, 0)
    player.submit([Command(Op.VOICE_RESET, 5), Command(Op.SEED, 1, 77)], 70 * HOP)
    parts.append(player.render(80 * HOP))
    player.submit([Command(Op.VOICE_FREE, 1)])
    player.new_voice(other, 3)
    parts.append(player.render(130 * HOP))
    player.load(one, 3)
    player.submit([Command(Op.VOICE_REWIND, 5)])
    parts.append(player.render(200 * HOP))
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def played_by_the_cpu() -> Frames:
    made = Stage()
    return come_and_go(made.engine(noisy(), None))


def test_what_sounds_is_what_the_cpu_plays(stage: Stage, played_by_the_cpu: Frames) -> None:
    gpu = stage.gpu()
    np.testing.assert_array_equal(come_and_go(stage.engine(noisy(), gpu)), played_by_the_cpu)
    assert played_by_the_cpu.std() > 0.01
    assert gpu.hops >= 200  # of the first model alone
    assert gpu.misses == 0
    assert gpu.news() == []


@pytest.mark.parametrize("hop", [0, 39, 41, 61, 131])
def test_a_gpu_that_dies_in_the_middle_of_a_hop_is_not_heard(
    stage: Stage, played_by_the_cpu: Frames, hop: int
) -> None:
    """Both models' kernels die, each in this hop of its own: the past is carried over whole."""
    gpu = stage.gpu((hop, FOREVER), SHORT)
    np.testing.assert_array_equal(come_and_go(stage.engine(noisy(), gpu)), played_by_the_cpu)
    assert gpu.misses in (1, 2)
    assert hop <= gpu.hops <= 2 * hop
    lines = gpu.news()
    assert len(lines) == gpu.misses
    assert "did not answer in time" in lines[0]
    assert gpu.news() == []


def test_a_gpu_that_comes_back_plays_again(stage: Stage) -> None:
    gpu = stage.gpu((30, 200), SHORT)
    player, expected = stage.engine(noisy(), gpu), stage.engine(noisy(), None)
    busy(player)
    busy(expected)
    parts = [player.render(100 * HOP)]
    assert gpu.hops == 30
    until(lambda: gpu.settle(0.0), "an answer")
    parts.append(player.render(6000))
    np.testing.assert_array_equal(np.concatenate(parts), expected.render(6000))
    assert gpu.hops == 30 + 250 - 100
    assert gpu.misses == 1


def test_one_that_is_late_too_often_is_left_alone(stage: Stage) -> None:
    gpu = stage.gpu((5, 60), SHORT)
    player = stage.engine(noisy(), gpu)
    stand_in = stage.made[0]
    for miss in range(1, gpu_run.MOST_MISSES + 1):
        player.render(player.frame + 20 * HOP)
        assert gpu.misses == miss
        until(lambda: stand_in.idle, "an answer")
        stand_in.hang(stand_in.played + 5, 60)
    hops = gpu.hops
    player.render(player.frame + 20 * HOP)
    assert gpu.hops == hops
    assert gpu.misses == gpu_run.MOST_MISSES
    (line,) = gpu.news()
    assert line == "the GPU is given up, the CPU plays on: it did not answer in time 3 times"


def test_where_no_kernel_can_be_had_the_cpu_plays(stage: Stage, played_by_the_cpu: Frames) -> None:
    def opener(packed: Packed, layout: Layout) -> Player:
        raise RuntimeError("CUDA error:\n  out of memory")

    gpu = Gpu(opener)
    np.testing.assert_array_equal(come_and_go(stage.engine(noisy(), gpu)), played_by_the_cpu)
    assert gpu.hops == gpu.misses == 0
    expected = "the GPU is given up, the CPU plays on: CUDA error: out of memory"
    assert gpu.news() == [expected] * 2  # of two models


def test_an_error_of_the_driver_ends_the_wait_at_once(stage: Stage) -> None:
    """The thread that launches hears of it: no deadline needs to pass."""
    gpu = stage.gpu((20, FOREVER), LONG)
    player, expected = stage.engine(noisy(), gpu), stage.engine(noisy(), None)
    stage.made[0].fail_after = 0.2
    began = time.monotonic()
    np.testing.assert_array_equal(player.render(60 * HOP), expected.render(60 * HOP))
    assert time.monotonic() - began < 10.0
    assert "unspecified launch failure" in gpu.news()[0]


def test_a_held_lock_of_python_does_not_starve_the_gpu(stage: Stage) -> None:
    """A launch ends meanwhile, and the next one is in the queue already."""
    gpu = stage.gpu()
    player = stage.engine(noisy(), gpu)
    playing = threading.Thread(target=player.render, args=(12 * HOPS * HOP,))
    usleep = ctypes.PyDLL(None).usleep  # PyDLL, unlike CDLL, keeps the lock during the call
    playing.start()
    until(lambda: gpu.hops > 0, "a hop")
    most = 0
    for _ in range(5):  # one launch may have ended just before, and the next not be queued yet
        before = gpu.hops
        usleep(150_000)
        most = max(most, gpu.hops - before)
        time.sleep(0.01)
    playing.join(60.0)
    assert most > HOPS
    assert gpu.hops == 12 * HOPS
    assert gpu.misses == 0


def test_the_end_is_clean_and_quick(stage: Stage) -> None:
    gpu = stage.gpu()
    player = stage.engine(noisy(), gpu)
    player.render(10 * HOP)
    before = threading.active_count()
    began = time.monotonic()
    player.close()
    player.close()
    assert time.monotonic() - began < 3.0
    assert threading.active_count() == before - 1  # the stand-in's own stays


def test_the_end_does_not_wait_for_a_dead_gpu(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostnote.osc_server.gpu_bank.END_SECONDS", 0.2)
    player = stage.engine(noisy(), stage.gpu((3, FOREVER), SHORT))
    player.render(10 * HOP)
    began = time.monotonic()
    player.close()
    assert time.monotonic() - began < 3.0


def test_a_model_that_nobody_plays_leaves_the_gpu(stage: Stage) -> None:
    gpu = stage.gpu()
    player = stage.engine(noisy(), gpu)
    for seed in (4, 5):
        for voice in (0, 1):
            player.load(noisy(seed), voice)
        assert gpu.settle(30.0)
        player.render(player.frame + 40 * HOP)
    until(lambda: stage.made[0].ended, "the end of the first kernel")
    assert not stage.made[-1].ended
    assert gpu.hops == 80 + 60  # each model plays on while the next one fades in


def test_int8_and_an_engine_without_a_gpu_play_as_ever(stage: Stage) -> None:
    """The address of the CPU's `run` is called, with no box: no hop costs more than before."""
    for gpu, precision in ((None, "fp32"), (stage.gpu(), "int8")):
        player = stage.engine(noisy(precision=precision), gpu)
        row = player._core.banks[0]
        assert row["run"] == cpu.entry_points().run
        assert row["box"] == 0
    assert not stage.made


def test_a_hop_that_is_posted_allocates_nothing(stage: Stage) -> None:
    was_on = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    try:
        idle, player = stage.engine(noisy(), None), stage.engine(noisy(), stage.gpu())
        for one in (idle, player):
            one.render(HOP)
        expected = allocations(idle, 1)
        busy(player)
        assert allocations(player, 250) == expected
    finally:
        if not was_on:
            _nrt_python.memsys_disable_stats()


def test_a_level_that_there_is_not_is_no_address(stage: Stage) -> None:
    """What a GPU has written is not trusted: it would be read from anywhere in this process."""
    player = stage.engine(noisy(), stage.gpu())
    stage.made[0].words[ASTRAY] = 2**22
    highest, lowest = amplitudes.decode(NOISY, [NOISY.levels - 1, 0])
    np.testing.assert_array_equal(player.render(9 * HOP), 2 * highest)  # of two voices
    stage.made[0].words[ASTRAY] = -(2**22)
    np.testing.assert_array_equal(player.render(18 * HOP), 2 * lowest)


def test_bf16_is_carried_over_too(stage: Stage) -> None:
    packed = noisy(precision="bf16")
    player = stage.engine(packed, stage.gpu((33, FOREVER), SHORT))
    expected = stage.engine(packed, None)
    busy(player)
    busy(expected)
    np.testing.assert_array_equal(player.render(3000), expected.render(3000))


@pytest.mark.parametrize("opening", [0.0, 0.05])
def test_live_it_is_waited_for_and_a_hop_is_awaited_for_half_a_ring(
    stage: Stage, opening: float
) -> None:
    def opener(packed: Packed, layout: Layout) -> Player:
        time.sleep(opening)
        stage.made.append(StandIn(packed, layout))
        return stage.made[-1]

    gpu = Gpu(opener)
    player = Engine(noisy(), EngineOptions(48000, ring=9600), gpu)
    stage.engines.append(player)
    player.start(urgent=True)
    until(lambda: heard_of(player) and gpu.hops > 0, "a hop of the GPU's")
    assert gpu._residents[0].box[gpu_run.DEADLINE] == 100_000_000
    player.close()
