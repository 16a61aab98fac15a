"""Muon: matrices learn by orthogonalised momentum, all other parameters by AdamW.

Momentum tends to lean on few directions of a matrix; made orthogonal, a step moves all of them
alike (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/). A 48 kHz WaveNet gets in 300
steps where AdamW gets in 700 (docs/sound.md). One thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients that take singular values in (0, 1] to about 1 in five iterations (Jordan et al.)."""

ITERATIONS = 5
RMS = 0.2
"""Root mean square of a step by its rate: AdamW's (Liu et al. 2025, arXiv 2502.16982, section 2.2),
so that one rate serves both."""


class Muon(torch.optim.AdamW):
    """AdamW whose matrices step by Muon; its state is AdamW's, the second moments of matrices 0.

    Parameters
    ----------
    named : iterable of (str, Parameter)
        A matrix is whatever has two axes or more: its last two. Biases are none, nor is the
        embedding of the levels, `input_weight`, of which a step sees only some rows.
    """

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], **settings: Any) -> None:
        pairs = list(named)
        super().__init__([parameter for _, parameter in pairs], **settings)
        self._matrices = {
            parameter
            for name, parameter in pairs
            if parameter.ndim >= 2 and "bias" not in name and name != "input_weight"
        }

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step every parameter that has a gradient."""
        held: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter in self._matrices and parameter.grad is not None:
                    self._step_matrix(parameter, parameter.grad, group["lr"])
                    held.append((parameter, parameter.grad))
                    parameter.grad = None  # so that AdamW leaves it alone
        super().step(closure)
        for parameter, gradient in held:
            parameter.grad = gradient

    def _step_matrix(self, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        momentum = state["exp_avg"].lerp_(gradient, 1.0 - MOMENTUM)
        state["step"] += 1
        update = orthogonal(gradient.lerp(momentum, MOMENTUM))  # Nesterov's
        parameter.add_(update, alpha=-rate * RMS * math.sqrt(max(parameter.shape[-2:])))


def orthogonal(matrices: Tensor) -> Tensor:
    """Return float32 matrices [..., M, N] with all singular values brought to about 1 (0.7 to 1.2).

    >>> torch.linalg.svdvals(orthogonal(torch.diag(torch.tensor([5.0, 1.0])))).round()
    tensor([1., 1.])
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    found: Tensor = x.mT if tall else x
    return found
