"""The hand-written layer gives what plain torch gives, and so do its gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ghostnote.training.gated_layer import GatedLayer, plain_layer

LENGTH = 48
RESIDUAL, GATE, SKIP = 5, 3, 7
apply: Any = GatedLayer.apply
plain: Any = plain_layer


def arguments(width: int, hops: int) -> list[Tensor]:
    """x, skip, bias, filters, residual and skip weights, all of which want a gradient."""
    shapes = [(RESIDUAL, LENGTH), (SKIP, LENGTH), (2 * GATE, hops)]
    shapes += [(2 * GATE, width * RESIDUAL), (RESIDUAL, GATE), (SKIP, GATE)]
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def assert_close(name: str, found: Tensor, expected: Tensor) -> None:
    off = float((found - expected).detach().abs().max())
    assert torch.allclose(found, expected, rtol=1e-4, atol=2e-5), f"{name}: off by {off}"


@pytest.mark.parametrize("hops", [1, 6, LENGTH])
@pytest.mark.parametrize("dilation", [1, 5, LENGTH - 1, LENGTH, 3 * LENGTH])
@pytest.mark.parametrize("width", [2, 3])
def test_values_and_gradients_equal_plain_torch(width: int, dilation: int, hops: int) -> None:
    one = arguments(width, hops)
    other = [argument.detach().clone().requires_grad_() for argument in one]
    expected = plain(*one, dilation)
    # Added to in place, `skip` may not be the very tensor whose gradient is asked for.
    found = apply(other[0], other[1].clone(), *other[2:], dilation)
    for name, a, b in zip(("x", "skip"), found, expected, strict=True):
        assert_close(name, a, b)
    weights = [torch.randn_like(part) for part in expected]
    gradients = []
    for leaves, outputs in ((one, expected), (other, found)):
        loss = torch.stack([(p * w).sum() for p, w in zip(outputs, weights, strict=True)]).sum()
        gradients.append(torch.autograd.grad(loss, leaves))
    names = ("x", "skip", "bias", "filters", "residual", "skip weight")
    for name, b, a in zip(names, *gradients, strict=True):
        assert_close(f"gradient of {name}", a, b)


def test_a_ragged_last_hop_is_refused() -> None:
    with pytest.raises(ValueError, match="48 samples are not whole hops of 7"):
        apply(*(argument.detach() for argument in arguments(2, 7)), 1)
