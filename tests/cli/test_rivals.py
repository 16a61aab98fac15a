"""Rivals step the same network as the reference, and one that does not is found before it is timed."""

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ghostnote.cli import rivals
from ghostnote.kernels.backends import CUDA_PROVIDER
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import LEVELS_16, ModelSpec
from ghostnote.kernels.weights import random_weights
from tests.inference.small_models import SPECS
from tests.parts import need, need_module

MIXTURE = ModelSpec(
    16000, 16, (1, 5, 2), filter_width=3, residual=6, gate=5, skip=7, head=9, levels=LEVELS_16,
    mixtures=3, input_taps=1,
)  # fmt: skip
NETWORKS = {
    name: SPECS[name]
    for name in ("long", "width 3, out of order", "kits only", "roles only, one tap")
} | {"mixture": MIXTURE}


def start_of(name: str) -> rivals.Start:
    spec = NETWORKS[name]
    return rivals.Start.of(spec, random_weights(spec, 2))


def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes torch look as if it were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find(name)
    )


def checked(start: rivals.Start, expected: rivals.Start, backends: list[str]) -> None:
    """Checks what steps one network against the reference of another."""
    wanted = expected.expected(rivals.checked_levels(start.spec))
    for (name, size), make in rivals.makers(start, backends, (1, 64)).items():
        rivals.check(f"{name} {size}", start, make, wanted)
        assert rivals.work(start.spec, make())() == rivals.CHECKED


@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime_and_eager_torch_pass(name: str) -> None:
    need_module("torch")
    start = start_of(name)
    checked(start, start, ["onnx", "torch"])


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize("fault", ["filter_weight", "residual_bias", "head1_bias"])
def test_another_network_is_found(fault: str, backend: str) -> None:
    need_module("torch")
    start = start_of("long")
    weights = dict(start.weights)
    weights[fault] = np.roll(weights[fault], 1, axis=0)
    with pytest.raises(GhostnoteError, match="outputs differ by"):
        checked(replace(start, weights=weights), start, [backend])


def test_a_session_that_fell_back_is_refused() -> None:
    """onnxruntime, asked for CUDA that it does not have, takes the CPU and says nothing."""
    import onnxruntime

    if CUDA_PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    start = start_of("long")
    with pytest.raises(GhostnoteError, match="fell back to CPUExecutionProvider") as refusal:
        rivals.makers(start, ["onnx-cuda"], (1,))
    assert "onnxruntime-gpu" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_wrong_draw_is_found() -> None:
    start = start_of("long")

    class Next(rivals.OnnxPlayer):
        """Puts out the level above the one that it drew."""

        def play(self, uniforms: rivals.FLOATS, forced: rivals.INTS) -> tuple:  # type: ignore[type-arg]
            levels, outputs = super().play(uniforms, forced)
            return (levels + 1) % start.spec.levels, outputs

    session = rivals.onnx_session(start.spec, start.weights)
    expected = start.expected(rivals.checked_levels(start.spec))
    with pytest.raises(GhostnoteError, match="draws level"):
        rivals.check("next", start, lambda: Next(start, 64, session), expected)


def test_eager_torch_moves_its_past_to_the_front(monkeypatch: pytest.MonkeyPatch) -> None:
    need_module("torch")
    from ghostnote.training import rivals as in_torch

    monkeypatch.setattr(in_torch, "SPARE", 8)
    start = start_of("width 3, out of order")
    checked(start, start, ["torch"])


def test_the_compiled_steps_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_module("torch")
    need("g++")
    from ghostnote.training import rivals as in_torch

    monkeypatch.setattr(rivals, "package_folder", lambda: tmp_path)
    monkeypatch.setattr(in_torch, "UNROLLED", 4)
    monkeypatch.setattr(in_torch, "SPARE", 8)
    start = start_of("mixture")
    checked(start, start, ["inductor"])
    (package,) = tmp_path.iterdir()
    written = package.stat().st_mtime_ns
    checked(start, start, ["inductor"])
    assert package.stat().st_mtime_ns == written, "compiled once"
    assert [*tmp_path.iterdir()] == [package]
    other = random_weights(start.spec, 3)
    assert in_torch.package_path(start.spec, other, tmp_path) != package


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rivals.missing("cpu") == rivals.missing("onnx") == ""
    without_torch(monkeypatch)
    assert "pip install -e '.[train]'" in rivals.missing("torch")
    assert "pip install -e '.[train]'" in rivals.missing("inductor")
    monkeypatch.undo()
    need_module("torch")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert rivals.missing("torch") == ""
    assert "C++ compiler" in rivals.missing("inductor")
