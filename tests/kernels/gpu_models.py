"""Small models and helpers for the tests of the GPU kernels.

Where there is a CUDA device these tests run on it; elsewhere in Triton's interpreter, which takes
some milliseconds for a layer and sample: so the models are tiny and what is long is cut to `cut`.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="Triton is made for Linux only")

from ghostnote.kernels import gpu_model
from ghostnote.kernels.gpu_state import GpuState, interpreted
from ghostnote.kernels.packing import pack
from ghostnote.kernels.spec import LEVELS_16, ModelSpec
from ghostnote.kernels.weights import random_weights
from tests.kernels.models import Model, scatter

_CONDITIONED: dict[str, Any] = {
    "roles": ("kick", "hat", "open"),
    "chokes": (("hat", "open"), ("open", "kick")),
    "ages": 20,
    "age_features": 5,
    "kits": ("one", "two"),
}

GPU_SPECS: dict[str, ModelSpec] = {
    "width 3": ModelSpec(
        22050, 7, (1, 3, 2), filter_width=3, residual=9, gate=20, skip=33, head=40, levels=100,
        emphasis=0.9, input_taps=3, cond_hidden=(7, 5), **_CONDITIONED,
    ),
    "mixture": ModelSpec(
        24000, 5, (2, 1), residual=20, gate=18, skip=18, head=17, levels=LEVELS_16, mixtures=10,
        emphasis=0.5, input_taps=2, cond_hidden=(6,), **_CONDITIONED,
    ),
    "body": ModelSpec(
        16000, 4, (1,), residual=8, gate=8, skip=8, head=16, levels=64, emphasis=0.5, cond_hidden=(6,),
        body=3, body_knots=2, body_ages=11, transient=2, transient_ages=6, **_CONDITIONED,
    ),
    "far": ModelSpec(16000, 16, (512, 1), residual=8, gate=8, skip=8, head=16, levels=64),
}  # fmt: skip


@cache
def gpu_model_of(name: str) -> Model:
    """Returns a model by its name in GPU_SPECS."""
    spec = GPU_SPECS[name]
    weights = random_weights(spec, len(name), 1.5)
    kit = [0.7, -0.2][: len(spec.kits)]
    return Model(spec, weights, pack(spec, weights), scatter(spec, 200), kit)


def gpu_state(
    it: Model, seed: int = 0, stream: int = 0, streams: int = 1, precision: str = "fp32"
) -> GpuState:
    """Returns new streams on the device, all under the model's kit."""
    state = GpuState(it.spec, it.weights, precision, seed=seed, stream=stream, streams=streams)
    if it.kit:
        state.set_kit(it.kit)
        state.reset()
    return state


def cut(few: int, many: int) -> int:
    """Returns `few` in the interpreter, `many` on a device."""
    return few if interpreted() else many


def in_parts(monkeypatch: pytest.MonkeyPatch, shared: int = 2048) -> None:
    """Lets layers and heads be computed in parts, as those of large models are."""
    monkeypatch.setattr(gpu_model, "SHARED", shared)


def _patched_once() -> None:
    """Makes the interpreter several times faster: it looks for what to patch at every call.

    Nothing else changes: what is patched already is passed over by the original too.
    """
    from triton.runtime import interpreter

    if not hasattr(interpreter, "_LangPatchScope"):
        return
    patch = interpreter._patch_lang

    def patch_lang(fn: Any) -> Any:
        tl = interpreter.tl
        seen = [one for one in (tl, tl.core) if any(one is v for v in fn.__globals__.values())]
        done = not any(tl.core.is_builtin(one.load) for one in seen)
        return interpreter._LangPatchScope() if done else patch(fn)

    interpreter._patch_lang = patch_lang


if interpreted():
    _patched_once()
    torch.set_num_threads(1)


def random_levels(spec: ModelSpec, shape: tuple[int, ...], seed: int = 7) -> np.ndarray:
    """Returns levels: half of them anywhere, half close to silence."""
    draw = np.random.default_rng(seed)
    near = max(3, spec.levels // 64)
    calm = spec.silence + draw.integers(-near, near + 1, shape)
    wild = draw.integers(0, spec.levels, shape)
    levels = np.where(draw.random(shape) < 0.5, wild, np.clip(calm, 0, spec.levels - 1))
    return np.asarray(levels, np.int64)
