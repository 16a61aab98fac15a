"""The kernel that stays on the GPU, by its mailbox: it plays what the CPU's kernel plays.

Where there is no GPU it runs in Triton's interpreter, a launch at a time: so the models are tiny.
The host's side is tested without Triton in `tests/osc_server/test_gpu_bank.py`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ghostnote.kernels import mailbox as m
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.spec import LEVELS_16, ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import random_weights
from ghostnote.osc_server.commands import Command, Op
from ghostnote.osc_server.engine import Engine, EngineOptions
from ghostnote.osc_server.gpu_bank import Gpu
from tests.kernels.gpu_models import cut  # which makes the interpreter faster, too

from ghostnote.kernels.gpu_live import LOOKS, LOOKS_A_HOP, LiveKernel  # isort: skip

_PLAYED: dict[str, Any] = {
    "roles": ("kick", "hat", "open"),
    "chokes": (("hat", "open"),),
    "kits": ("one", "two"),
    "ages": 20,
    "age_features": 4,
    "cond_hidden": (5,),
}
LEVELS = ModelSpec(24000, 1, (1, 9), residual=9, gate=7, skip=11, head=13, levels=50, **_PLAYED)
MIXTURE = ModelSpec(
    24000, 3, (2, 5), filter_width=3, residual=20, gate=18, skip=18, head=17, levels=LEVELS_16,
    mixtures=3, input_taps=3, body=4, body_knots=3, body_ages=15, transient=5,
    transient_ages=9, **_PLAYED,
)  # fmt: skip
PLAIN = ModelSpec(24000, 2, (3,), residual=8, gate=8, skip=8, head=16, levels=16, input_taps=1)


def model(spec: ModelSpec) -> Packed:
    return pack(spec, random_weights(spec, 3))


def kernel(packed: Packed, layout: m.Layout) -> LiveKernel:
    """Returns the kernel, whose launches end soon in the interpreter."""
    return LiveKernel(packed, layout, looks=cut(8, LOOKS), a_hop=cut(3, LOOKS_A_HOP))


class Player:
    """An engine of two voices, by the GPU or by the CPU alone."""

    def __init__(self, packed: Packed, gpu: Gpu | None, voices: int = 2) -> None:
        self.gpu, self.packed = gpu, packed
        self.engine = Engine(packed, EngineOptions(24000, voices, 5, max_voices=3), gpu)
        assert gpu is None or gpu.settle(60.0)

    def play(self, *hops: int) -> np.ndarray:
        """Returns what sounds while hits come, kits glide, voices join, reset, are primed and go.

        Between the four things that happen are so many hops.
        """
        ends = np.cumsum(hops)
        player, spec = self.engine, self.packed.spec
        hop, has = spec.hop, bool(spec.roles)
        primed = State(self.packed, seed=9)
        primed.generate(np.empty(3 * hop, np.float32))
        hits = [Command(Op.TRIG, 0, 0, 0.8), Command(Op.TRIG, 1, 6, 0.4)] * has
        player.submit([Command(Op.LIMITER, value=0.0), Command(Op.TOPK, 1, 3), *hits])
        player.submit([Command(Op.GLIDE, value=0.001), Command(Op.WEIGHT, 0, 1, 0.7)])
        parts = [player.render(ends[0] * hop)]
        player.new_voice(self.packed, 2)
        player.submit([Command(Op.TEMPERATURE, 0, value=0.5), Command(Op.SEED, 1, 7)])
        parts.append(player.render(ends[1] * hop))
        player.submit([Command(Op.VOICE_RESET, 0), *hits])
        player.prime(1, primed)
        parts.append(player.render(ends[2] * hop))
        player.submit([Command(Op.VOICE_FREE, 0)])
        parts.append(player.render(ends[3] * hop))
        return np.concatenate(parts)


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    made = Gpu(kernel, 60_000_000_000)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("spec", "hops"),
    [(LEVELS, (3, 3, 3, 13)), (MIXTURE, (2, 1, 2, 0)), (PLAIN, (1, 1, 1, 1))],
    ids=["levels", "mixture", "plain"],
)
def test_what_sounds_is_what_the_cpu_plays(
    spec: ModelSpec, hops: tuple[int, ...], gpu: Gpu
) -> None:
    """In the first case one voice's lane has gone at the end: the others' have moved up."""
    packed = model(spec)
    expected = Player(packed, None).play(*hops)
    np.testing.assert_array_equal(Player(packed, gpu).play(*hops), expected)
    assert expected.std() > 0.01
    assert gpu.hops == sum(hops)
    assert gpu.misses == 0


class Dying(LiveKernel):
    """One that the driver gives up after some hops."""

    def launch(self) -> None:
        """Does what the driver lets it do."""
        if self.mailbox.done[0] > 4:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        super().launch()


def test_one_that_is_lost_while_it_plays_is_not_heard() -> None:
    packed = model(LEVELS)
    gpu = Gpu(lambda packed, layout: Dying(packed, layout, looks=8, a_hop=3), 60_000_000_000)
    found = Player(packed, gpu).play(4, 4, 4, 13)
    np.testing.assert_array_equal(found, Player(packed, None).play(4, 4, 4, 13))
    assert 4 <= gpu.hops < 25
    assert gpu.misses in (0, 1)  # 0: it was given up between two hops
    assert "an illegal memory access" in gpu.news()[0]
    gpu.close()


def test_more_voices_than_a_tile_has_rows(gpu: Gpu) -> None:
    packed = model(PLAIN)
    voices = m.TILE + 1
    expected = Player(packed, None, voices).engine.render(2 * PLAIN.hop)
    np.testing.assert_array_equal(
        Player(packed, gpu, voices).engine.render(2 * PLAIN.hop), expected
    )
    assert gpu.hops == 2


def test_what_is_not_posted_is_not_touched() -> None:
    packed = model(LEVELS)
    layout = m.Layout.of(packed, 3)
    one = kernel(packed, layout)
    box = one.mailbox
    box.journal[:] = np.nan
    rings = box.journal.reshape(sum(layout.sizes), 3, layout.residual)
    box.levels[:] = -1
    box.floats[:] = 1.0
    box.post[m.LANES], box.post[m.SEQ] = 1, 2
    box.post[m.LANE + m.SLOT] = 1
    one.launch()
    while not (box.done == 2).all():
        one.launch()
    box.post[m.END] = 1
    one.launch()
    one.wait()
    assert np.isfinite(rings[:, 1]).any()
    assert np.isnan(rings[:, [0, 2]]).all()
    assert (box.levels[: LEVELS.hop] >= 0).all()
    assert (box.levels[LEVELS.hop :] == -1).all()


def test_the_end_is_seen_before_a_hop() -> None:
    one = kernel(model(PLAIN), m.Layout.of(model(PLAIN), 1))
    one.mailbox.post[m.END] = 1
    one.launch()
    one.wait()
    assert (one.mailbox.done == 0).all()


COMPILE = """
import re
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import triton
from ghostnote.inference.model_file import find_model, load_model
from ghostnote.kernels.gpu_live import stay
from ghostnote.kernels.gpu_model import options_of, shape_of
spec = load_model(find_model(None)).spec
shape = shape_of(spec, "fp32", 16, wide=True, programs=1)
options = options_of(shape, "fp32")
kinds = {"places": "*i32", "history": "*i32", "tracks": "*i64", "post": "*i64", "levels": "*i64",
         "done": "*i64", **dict.fromkeys(("slots", "padded", "hop", "lane_words", "row", "looks",
         "a_hop"), "i32"), **dict.fromkeys(("s", "THREADS", "GPU"), "constexpr")}
signature = {name: kinds.get(name, "*fp32") for name in stay.arg_names}
constants = {"s": shape, "THREADS": 32 * options.num_warps, "GPU": True}
made = triton.compile(
    ASTSource(stay, signature, constants),
    target=GPUTarget("cuda", 90, 32),
    options=options._asdict(),
)
print(made.metadata.shared)
print(re.sub(r"\\s*//.*|\\s*\\.loc.*", "", made.asm["ptx"]))
"""


def test_it_compiles_for_an_h100() -> None:
    """The bundled model's kernel in fp32: it fits, looks anew each time, and says so last."""
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    run = subprocess.run(
        [sys.executable, "-c", COMPILE],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    shared, ptx = run.stdout.split("\n", 1)
    assert int(shared) <= 227 * 1024
    assert ptx.count("fence.acq_rel.sys") == 2
    assert "ld.volatile.global.b64" in ptx
    # What was played is seen by the host before the number of its hop: fence, barrier, store.
    assert re.search(
        r"fence\.acq_rel\.sys;.*\n+(.*\n)?\s*bar\.sync[^\n]*\n+\s*(//.*\n)*.*st\.global\.b64", ptx
    )
