"""A step of the training on a CPU: a thread for each window, each of which keeps torch to itself.

On CPUs that outruns torch's own parallelism for layers this small. The sums are taken in the order
of the windows, so the result does not depend on the number of threads. One thread calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from ghostnote.inference.spread import cores
from ghostnote.kernels.spec import ModelSpec

from .half import half_outputs
from .losses import nats
from .wavenet import WaveNet
from .window import Window


class PerWindow:
    """Computes losses and gradients of windows in threads, in fp32 or bf16.

    Parameters
    ----------
    model : WaveNet
        Whose parameters get the gradients; on the CPU.
    threads : int, optional
        Windows computed at once; None takes all processors that this process may use.
    precision : str
        "fp32" or "bf16"; what is validated is in fp32 with both.
    """

    device = torch.device("cpu")
    ahead = 0
    """Batches to draw before they are asked for: drawing takes a hundredth of a step."""

    def __init__(self, model: WaveNet, threads: int | None, precision: str) -> None:
        self.model = model
        self.precision = precision
        self._pool = ThreadPoolExecutor(
            threads or cores(), initializer=torch.set_num_threads, initargs=(1,)
        )

    def about(self) -> dict[str, Any]:
        """Return what the log tells of how this computes."""
        return {}

    def measured(self, samples_per_s: float) -> dict[str, float]:
        """Return what the log tells beside a speed."""
        return {}

    def prepare(self, windows: Sequence[Window]) -> Sequence[Window]:
        """Return windows in the form that `gradients` takes."""
        return windows

    def gradients(self, batch: Sequence[Window]) -> float:
        """Leave the gradient of the windows' mean weighted loss; return their bits per sample."""
        parameters = list(self.model.parameters())

        def one(window: Window) -> tuple[float, tuple[Tensor, ...]]:
            return _gradients(self.model, parameters, window, self.precision)

        results = list(self._pool.map(one, batch))
        together = zip(parameters, *(result[1] for result in results), strict=True)
        for parameter, *gradients in together:
            parameter.grad = torch.stack(gradients).mean(0)
        return sum(result[0] for result in results) / len(results)

    def validate(self, spec: ModelSpec, mean: dict[str, Tensor], windows: list[Window]) -> float:
        """Return the mean bits per sample of held-back windows under the weights' running mean."""
        model = WaveNet(spec)
        model.load_state_dict(mean)

        def one(window: Window) -> tuple[float, int]:
            with torch.no_grad():
                losses = _losses(model, window, "fp32")
            return float(losses.sum()), len(losses)

        results = list(self._pool.map(one, windows))
        return sum(r[0] for r in results) / sum(r[1] for r in results) / math.log(2.0)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def _losses(model: WaveNet, window: Window, precision: str) -> Tensor:
    """Return the surprise (nats) [T - context] of a window's targets after its context."""
    rows = None if window.rows is None else torch.from_numpy(window.rows)
    inputs = torch.from_numpy(window.inputs)
    if precision == "bf16":
        outputs = half_outputs(model, inputs, rows, window.context)
    else:
        outputs = model(inputs, rows)[:, window.context :]
    targets = torch.from_numpy(window.targets[window.context :])
    return nats(model.spec, outputs, targets)


def _gradients(
    model: WaveNet, parameters: Sequence[Tensor], window: Window, precision: str
) -> tuple[float, tuple[Tensor, ...]]:
    """Return a window's bits per sample, and the gradient of its weighted loss."""
    losses = _losses(model, window, precision)
    weights = torch.from_numpy(window.weights[window.context :])
    loss = (losses * weights).sum() / weights.sum()
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    return float(losses.detach().mean()) / math.log(2.0), gradients
