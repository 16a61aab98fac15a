"""Muon: matrices step by orthogonal updates, the rest as AdamW would, and a resumed run goes on."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from ghostnote.training.checkpoint import load_checkpoint, restore
from ghostnote.training.muon import RMS, Muon, orthogonal
from tests.training.test_checkpoint import Trained


@pytest.mark.parametrize("shape", [(8, 8), (5, 20), (20, 5), (3, 2, 12, 7)])
def test_all_singular_values_become_about_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    matrices = torch.randn(shape) * 100.0
    found = orthogonal(matrices)
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
    # The directions stay: it is the nearest orthogonal matrix, nearly.
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert float((found - u @ v).abs().max()) < 0.4
    assert (orthogonal(torch.zeros(shape)) == 0.0).all()


def test_a_step_is_as_large_as_adams_whatever_the_gradient() -> None:
    torch.manual_seed(2)
    for scale in (1e-4, 1e4):
        weight = nn.Parameter(torch.zeros(40, 30))
        weight.grad = torch.randn(40, 30) * scale
        Muon([("weight", weight)], lr=0.01).step()
        size = float(weight.detach().square().mean().sqrt())
        assert 0.5 * 0.01 * RMS < size < 1.3 * 0.01 * RMS * math.sqrt(40 / 30)


def test_what_is_no_matrix_steps_as_adamw() -> None:
    torch.manual_seed(3)
    names = {"input_weight": (2, 9, 4), "filter_bias": (3, 4), "skip_bias": (5,)}
    named = {name: nn.Parameter(torch.randn(shape)) for name, shape in names.items()}
    others = [nn.Parameter(p.detach().clone()) for p in named.values()]
    muon = Muon(named.items(), lr=0.01, weight_decay=0.0)
    adam = torch.optim.AdamW(others, lr=0.01, weight_decay=0.0)
    for _ in range(3):
        for mine, theirs in zip(named.values(), others, strict=True):
            mine.grad = torch.randn_like(mine)
            theirs.grad = mine.grad.clone()
        muon.step()
        adam.step()
    assert all(torch.equal(a, b) for a, b in zip(named.values(), others, strict=True))


def test_gradients_are_left_as_they_were() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = gradient = torch.randn(2, 2)
    Muon([("weight", weight)], lr=0.1).step()
    assert weight.grad is gradient


def test_a_resumed_run_takes_the_same_steps(tmp_path: Path) -> None:
    trained = Trained()
    trained.save(tmp_path, step=1)
    other = Trained(seed=4)
    restore(load_checkpoint(tmp_path), other.model, other.optimizer)
    for one in (trained, other):
        torch.manual_seed(5)
        for parameter in one.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        one.optimizer.step()
    pairs = zip(trained.model.parameters(), other.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
