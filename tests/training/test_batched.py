"""All windows at once give the losses and gradients that each gives alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec
from ghostnote.training import batched
from ghostnote.training.batched import Batched, collate
from ghostnote.training.per_window import PerWindow
from ghostnote.training.wavenet import WaveNet
from ghostnote.training.window import Window
from tests.training.test_wavenet import SPECS, random_model

CPU = torch.device("cpu")


def windows(spec: ModelSpec, hops: Sequence[int]) -> list[Window]:
    """Windows of so many hops after their context, with weights of their own."""
    rng = np.random.default_rng(4)
    lead = -(-spec.receptive_field // spec.hop)
    made = []
    for count in hops:
        length = (lead + count) * spec.hop
        levels = rng.integers(0, spec.levels, length + 1)
        rows = None
        if spec.conditioning:
            rows = rng.standard_normal((lead + count, spec.conditioning)).astype(np.float32)
        weights = rng.uniform(0.5, 4.0, length).astype(np.float32)
        made.append(Window(levels[:-1], levels[1:], rows, weights, lead * spec.hop))
    return made


def found(computer: Any, model: WaveNet, batch: list[Window]) -> tuple[float, dict[str, Tensor]]:
    """Bits, and every parameter's gradient."""
    bits = computer.gradients(computer.prepare(batch))
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return bits, {name: gradient.clone() for name, gradient in gradients.items()}


@pytest.mark.parametrize("hops", [(6, 6, 6), (7, 2, 5)], ids=["alike", "of three lengths"])
@pytest.mark.parametrize("name", SPECS)
def test_losses_and_gradients_equal_those_of_single_windows(
    name: str, hops: tuple[int, ...]
) -> None:
    torch.manual_seed(5)
    spec = SPECS[name]
    model = random_model(spec)
    batch = windows(spec, hops)
    alone = PerWindow(model, 1, "fp32")
    expected, gradients = found(alone, model, batch)
    model.zero_grad()
    bits, together = found(Batched(model, CPU, "fp32", compiled=False), model, batch)
    assert bits == pytest.approx(expected, rel=1e-5)
    assert set(together) == set(gradients)
    for key, gradient in gradients.items():
        scale = float(gradient.norm())
        torch.testing.assert_close(together[key], gradient, rtol=1e-3, atol=1e-4 * scale + 1e-7)
    mean = {key: p.detach() for key, p in model.named_parameters()}
    assert Batched(model, CPU, "fp32", compiled=False).validate(spec, mean, batch) == pytest.approx(
        alone.validate(spec, mean, batch), rel=1e-5
    )
    alone.close()


@pytest.mark.parametrize("name", ["width 3", "mixture", "unconditional"])
def test_bf16_stays_close(name: str) -> None:
    torch.manual_seed(5)
    spec = SPECS[name]
    model = random_model(spec)
    batch = windows(spec, (6, 6))
    expected, gradients = found(Batched(model, CPU, "fp32", compiled=False), model, batch)
    bits, rounded = found(Batched(model, CPU, "bf16", compiled=False), model, batch)
    assert bits == pytest.approx(expected, rel=0.01) and bits != expected
    one = torch.cat([rounded[key].flatten() for key in gradients])
    other = torch.cat([gradients[key].flatten() for key in gradients])
    assert float((one - other).norm() / other.norm()) < 0.1


def test_what_does_not_fit_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five windows where there is room for two: the gradient is the same, the pieces stay small."""
    spec = SPECS["width 2"]
    model = random_model(spec)
    batch = windows(spec, (3, 4, 3, 3, 3))
    whole = Batched(model, CPU, "fp32", compiled=False)
    expected, gradients = found(whole, model, batch)
    assert whole.pieces == 1
    plain, sizes, room = batched.batched_losses, [], 2

    def cramped(model: WaveNet, batch: batched.Batch, *more: Any) -> Tensor:
        sizes.append(len(batch.inputs))
        if len(batch.inputs) > room:
            raise torch.OutOfMemoryError("no room")
        return plain(model, batch, *more)

    monkeypatch.setattr(batched, "batched_losses", cramped)
    split = Batched(model, CPU, "fp32", compiled=False)
    bits, pieced = found(split, model, batch)
    assert bits == pytest.approx(expected, rel=1e-5)
    for key, gradient in gradients.items():
        torch.testing.assert_close(pieced[key], gradient, rtol=1e-3, atol=1e-5)
    assert sizes == [5, 3, 2, 2, 1] and split.pieces == 4
    assert found(split, model, batch)[0] == bits and max(sizes[5:]) <= room
    room = 0
    with pytest.raises(GhostnoteError, match="a window does not fit into the memory of cpu; give"):
        found(split, model, batch)


def test_without_a_compiler_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS["width 2"]
    model = random_model(spec)
    batch = windows(spec, (3, 3))

    def fails(function: Any) -> Any:
        def run(*_: Any) -> Any:
            raise RuntimeError("no C compiler")

        return run

    monkeypatch.setattr(batched, "_compiled", fails)
    computer = Batched(model, CPU, "fp32")
    bits, _ = found(computer, model, batch)
    assert computer.measured(1.0)["compiled"] == 0.0
    assert bits == found(Batched(model, CPU, "fp32", compiled=False), model, batch)[0]


def test_a_lost_gpu_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS["width 2"]
    computer = Batched(random_model(spec), CPU, "fp32")
    batch = computer.prepare(windows(spec, (3, 3)))
    tries = []

    def lost(*_: Any) -> Tensor:
        tries.append(computer.compiled)
        raise RuntimeError("CUDA error: an illegal memory access\nCUDA kernel errors might be")

    monkeypatch.setattr(batched.Batched, "_gradients", lost)
    computer.device = torch.device("cuda")
    with pytest.raises(
        GhostnoteError, match=r"the GPU failed \(CUDA error: .* access\); go on"
    ) as told:
        computer.gradients(batch)
    assert tries == [True, False] and "\n" not in str(told.value)


def test_what_is_compiled_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced with its gradient under autocast, as for a GPU, but not made into C++."""
    monkeypatch.setattr(batched, "_COMPILED", {})
    compile_fully = torch.compile

    def traced(function: Any, dynamic: bool) -> Any:
        return compile_fully(function, dynamic=dynamic, backend="aot_eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", traced)
    spec = SPECS["width 2"]
    model = random_model(spec)
    batch = windows(spec, (3, 3))
    computer = Batched(model, CPU, "bf16")
    bits, gradients = found(computer, model, batch)
    assert computer.compiled and len(batched._COMPILED) == 2
    plain, expected = found(Batched(model, CPU, "bf16", compiled=False), model, batch)
    assert bits == pytest.approx(plain, rel=1e-4)
    for key, gradient in expected.items():
        torch.testing.assert_close(gradients[key], gradient, rtol=0.02, atol=2e-4)


def test_a_defect_is_not_taken_for_a_compiler_s() -> None:
    spec = SPECS["width 2"]
    one, other = windows(spec, (3, 3))
    model = random_model(replace(spec, residual=4))
    model.filter_weight = torch.nn.Parameter(torch.zeros(1))
    computer = Batched(model, CPU, "fp32")
    with pytest.raises(IndexError):
        computer.gradients(collate(spec, [one, other]))
