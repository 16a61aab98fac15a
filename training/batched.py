"""A step of the training on a GPU: one forward and backward over all windows of a step.

Plain torch in the layout [window, time, channel], so that each layer is two matrix products over
all samples of all windows; in bf16 by autocast with float32 weights, and what lies between the
products in one compiled pass where torch.compile works. `WaveNet.forward` says the same for one
window; a test compares the two on the CPU, values and gradients.
One thread calls; `prepare` may run in others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ghostnote.inference.spread import cores
from ghostnote.kernels.backends import why_lost
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec

from .losses import nats
from .wavenet import WaveNet
from .window import Window

PEAK_SIZE = 8192
PEAK_ROUNDS = 10
DRAWERS = 8


@dataclass(frozen=True)
class Batch:
    """Windows of one length; shorter ones are filled up with silence that counts for nothing.

    Attributes
    ----------
    inputs : int32 [B, T]
    targets : int64 [B, T - context]
    rows : float32 [B, T / hop, C] or None
    weights, even : float32 [B, T - context]
        How much each target counts in the loss and in the mean bits; each sums to 1.
    """

    inputs: Tensor
    targets: Tensor
    rows: Tensor | None
    weights: Tensor
    even: Tensor

    def at(self, device: torch.device, part: slice) -> Batch:
        """Return some of the windows on a device."""

        def moved(x: Tensor) -> Tensor:
            return x[part].to(device, non_blocking=True)

        return Batch(
            moved(self.inputs),
            moved(self.targets),
            None if self.rows is None else moved(self.rows),
            moved(self.weights),
            moved(self.even),
        )


class Batched:
    """Computes losses and gradients of whole batches; see `per_window.PerWindow`.

    Parameters
    ----------
    model : WaveNet
        Whose parameters get the gradients; on `device`.
    device : torch.device
        A CUDA device; the CPU does for tests.
    precision : str
        "fp32" or "bf16"; what is validated is in fp32 with both.
    compiled : bool
        Whether torch.compile is tried. Where it fails, training goes on without it.
    """

    def __init__(
        self, model: WaveNet, device: torch.device, precision: str, compiled: bool = True
    ) -> None:
        self.model, self.device, self.precision = model, device, precision
        self.compiled = compiled
        self.ahead = min(DRAWERS, cores())
        self.pieces = 1
        """Into how many parts a batch is split, since all of it did not fit into memory."""
        self._peak = matrix_peak(device, precision) if device.type == "cuda" else 0.0

    def about(self) -> dict[str, Any]:
        """Return what the log tells of how this computes; the peak is in multiply-adds a second."""
        cuda = self.device.type == "cuda"
        name = torch.cuda.get_device_name(self.device) if cuda else "cpu"
        return {"device": name, "precision": self.precision, "measured_peak": self._peak}

    def measured(self, samples_per_s: float) -> dict[str, float]:
        """Return what the log tells beside a speed: the share of the matrix peak, and how."""
        told = {"compiled": float(self.compiled), "pieces": float(self.pieces)}
        if self._peak:
            told["peak_share"] = train_macs(self.model.spec) * samples_per_s / self._peak
        return told

    def prepare(self, windows: Sequence[Window]) -> Batch:
        """Return windows as a batch in memory that a GPU can fetch from while it computes."""
        return collate(self.model.spec, windows, pinned=self.device.type == "cuda")

    def gradients(self, batch: Batch) -> float:
        """Leave the gradient of the windows' mean weighted loss; return their bits per sample.

        Raises
        ------
        GhostnoteError
            If not even a single window fits into the device's memory, or the device is lost.
        """
        while True:
            try:
                return self._gradients(batch)
            except torch.OutOfMemoryError:
                if self.pieces >= len(batch.inputs):
                    raise GhostnoteError(
                        f"training: a window does not fit into the memory of {self.device}; "
                        "give fewer --window-hops or a smaller network"
                    ) from None
                self.pieces = min(2 * self.pieces, len(batch.inputs))
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
            except Exception as error:
                # Whatever a compiler on some machine fails with: the plain way is always there.
                if not self.compiled:
                    if self.device.type == "cuda" and isinstance(error, RuntimeError):
                        raise GhostnoteError(
                            f"training: the GPU failed ({why_lost(error)}); go on from the last "
                            "checkpoint with --resume"
                        ) from error
                    raise
                self.compiled = False

    def validate(self, spec: ModelSpec, mean: dict[str, Tensor], windows: list[Window]) -> float:
        """Return the mean bits per sample of held-back windows under the weights' running mean."""
        model = WaveNet(spec).to(self.device)
        model.load_state_dict(mean)
        surprise, count = 0.0, 0
        with torch.no_grad():
            for window in windows:
                one = collate(spec, [window]).at(self.device, slice(None))
                losses = batched_losses(model, one, "fp32")
                surprise, count = surprise + float(losses.sum()), count + losses.numel()
        return surprise / count / math.log(2.0)

    def close(self) -> None:
        """Nothing is left running."""

    def _gradients(self, batch: Batch) -> float:
        for parameter in self.model.parameters():  # what the loss does not depend on has zeros
            parameter.grad = torch.zeros_like(parameter)
        count = len(batch.inputs)
        each = -(-count // self.pieces)
        bits = torch.zeros((), device=self.device)
        for first in range(0, count, each):
            part = batch.at(self.device, slice(first, first + each))
            losses = batched_losses(self.model, part, self.precision, self.compiled)
            (losses * part.weights).sum().backward()  # type: ignore[no-untyped-call]
            bits += (losses.detach() * part.even).sum()
        return float(bits) / math.log(2.0)


def collate(spec: ModelSpec, windows: Sequence[Window], pinned: bool = False) -> Batch:
    """Return windows of one spec as a batch in the CPU's memory."""
    context = windows[0].context
    length = max(len(window.inputs) for window in windows)

    def stacked(arrays: list[np.ndarray[Any, Any]], size: int, fill: float, kind: Any) -> Tensor:
        shape = (len(arrays), size, *arrays[0].shape[1:])
        out = torch.full(shape, fill, dtype=kind, pin_memory=pinned)
        for row, array in zip(out.numpy(), arrays, strict=True):
            row[: len(array)] = array
        return out

    body = length - context
    weights = [w.weights[context:] / (w.weights[context:].sum() * len(windows)) for w in windows]
    lengths = [len(w.inputs) - context for w in windows]
    even = [np.full(n, 1.0 / (n * len(windows)), np.float32) for n in lengths]
    rows = [w.rows for w in windows if w.rows is not None]
    return Batch(
        stacked([w.inputs for w in windows], length, spec.silence, torch.int32),
        stacked([w.targets[context:] for w in windows], body, spec.silence, torch.int64),
        stacked(rows, length // spec.hop, 0.0, torch.float32) if rows else None,
        stacked(weights, body, 0.0, torch.float32),
        stacked(even, body, 0.0, torch.float32),
    )


def batched_losses(
    model: WaveNet, batch: Batch, precision: str = "fp32", compiled: bool = False
) -> Tensor:
    """Return the surprise (nats) float32 [B, T - context] of a batch's targets."""
    with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
        outputs = batched_outputs(model, batch.inputs, batch.rows, batch.targets.shape[1], compiled)
    flat = outputs.float().flatten(0, 1).t()  # [O, B * (T - context)]
    return nats(model.spec, flat, batch.targets.flatten()).view(batch.targets.shape)


def batched_outputs(
    model: WaveNet, levels: Tensor, control: Tensor | None, last: int, compiled: bool = False
) -> Tensor:
    """Return the outputs [B, last, O] after the last inputs of int levels [B, T].

    `control` is float32 [B, T / hop, C] or None; otherwise as `WaveNet.forward`.
    """
    spec = model.spec
    length = levels.shape[1]
    # Bias after bias is looked up by hop: the stream is held as [B, hops, hop, channels].
    hops = length // spec.hop if control is not None and spec.conditioning else 1
    hidden = control
    if hidden is not None and spec.conditioning:
        for weight, bias in zip(model.cond_weight, model.cond_bias, strict=True):
            hidden = F.relu(F.linear(hidden, weight, bias))
    filters = model.filter_weight.transpose(1, 2).flatten(2)  # [L, 2D, k * R]
    x = _embed(model, levels)  # [B, T, R]
    layer_step = _compiled(_layer) if compiled else _layer
    head = _compiled(_head) if compiled else _head
    rounded = torch.is_autocast_enabled(levels.device.type)
    kind = torch.bfloat16 if rounded else torch.float32
    gates = []
    for layer, dilation in enumerate(spec.dilations):
        bias = model.filter_bias[layer].expand(len(levels), 1, -1)
        if hidden is not None and spec.conditioning:
            bias = F.linear(hidden, model.cond_out_weight[layer], model.filter_bias[layer])
        past = _Past.apply(x, spec.filter_width, dilation, kind)  # type: ignore[no-untyped-call]
        if layer + 1 < spec.layers:
            residual, plus = model.residual_weight[layer], model.residual_bias[layer]
            x, z = layer_step(
                x, past, filters[layer], bias.view(-1, hops, 1, 2 * spec.gate), residual, plus
            )
        else:  # its residual output goes nowhere
            z = _gate(past, filters[layer], bias.view(-1, hops, 1, 2 * spec.gate))
        gates.append(z[:, length - last :])
    skip_weight = model.skip_weight.transpose(0, 1).flatten(1)  # [S, L * D]
    # The mean of a logistic is one of 65536 levels, more than bfloat16 can name.
    exact = bool(spec.mixtures)
    layers = (model.head0_weight, model.head0_bias, model.head1_weight, model.head1_bias)
    return head(torch.cat(gates, 2), skip_weight, model.skip_bias, exact, *layers)


def train_macs(spec: ModelSpec) -> int:
    """Return the multiply-adds per sample of a forward and a backward pass."""
    return 3 * spec.macs_per_sample


def matrix_peak(device: torch.device, precision: str) -> float:
    """Return the multiply-adds a second of a large matrix product, the best of several."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE, device=device, dtype=kind) for _ in range(2))
    best = math.inf
    for _ in range(8):
        torch.cuda.synchronize(device)
        began = time.perf_counter()
        for _ in range(PEAK_ROUNDS):
            torch.mm(a, b)
        torch.cuda.synchronize(device)
        best = min(best, (time.perf_counter() - began) / PEAK_ROUNDS)
    return float(PEAK_SIZE) ** 3 / best


def _embed(model: WaveNet, levels: Tensor) -> Tensor:
    """Return the stream [B, T, R] that the first layer hears."""
    spec, length = model.spec, levels.shape[1]
    if spec.mixtures:
        samples = (levels - spec.silence).float() / spec.silence
        late = [F.pad(samples, (tap, 0))[:, :length] for tap in range(spec.input_taps)]
        # Outside autocast: these few products hold the 16 bits of the input.
        heard = torch.stack(late[::-1], 2)[..., None] * model.input_weight
        return heard.sum(2) + model.input_bias
    x = F.embedding(levels, model.input_weight[-1])
    for tap in range(1, spec.input_taps):
        past = F.pad(levels[:, :-tap], (tap, 0), value=spec.silence)
        x = x + F.embedding(past, model.input_weight[-1 - tap])
    return x


class _Past(torch.autograd.Function):
    """What all taps hear of the stream x [B, T, R]: [B, T, k * R], oldest first, in `kind`.

    By hand, as autograd's own padding, joining and casting pass over memory four times as often.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, width: int, dilation: int, kind: torch.dtype) -> Tensor:
        count, length, channels = x.shape
        past = torch.empty(count, length, width * channels, dtype=kind, device=x.device)
        ctx.reaches = [min(tap * dilation, length) for tap in range(width - 1, -1, -1)]
        for heard, reach in zip(past.chunk(width, 2), ctx.reaches, strict=True):
            heard[:, :reach] = 0.0
            heard[:, reach:] = x[:, : length - reach]
        return past

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *older, latest = grads[0].chunk(len(ctx.reaches), 2)
        total = latest.float()
        total = total.clone() if total is latest else total
        for grad, reach in zip(older, ctx.reaches, strict=False):
            total[:, : total.shape[1] - reach] += grad[:, reach:]
        return total, None, None, None


def _gate(past: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
    """Return z [B, T, D]; `bias` is [B, hops, 1, 2D]."""
    count, length = past.shape[:2]
    gates = F.linear(past, filters).view(count, bias.shape[1], -1, filters.shape[0]) + bias
    a, b = gates.view(count, length, -1).chunk(2, 2)
    return torch.tanh(a) * torch.sigmoid(b)


def _layer(
    x: Tensor, past: Tensor, filters: Tensor, bias: Tensor, residual: Tensor, plus: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the stream after a layer and the layer's z."""
    z = _gate(past, filters, bias)
    return x + F.linear(z, residual, plus), z


def _head(z: Tensor, skip: Tensor, skip_bias: Tensor, exact: bool, *layers: Tensor) -> Tensor:
    """Return the outputs [B, T, O] from the z of all layers, [B, T, L * D]."""
    weight0, bias0, weight1, bias1 = layers
    hidden = F.relu(F.linear(z, skip, skip_bias))
    hidden = F.relu(F.linear(hidden, weight0, bias0))
    if not exact:
        return F.linear(hidden, weight1, bias1)
    with torch.autocast(z.device.type, enabled=False):
        return F.linear(hidden.float(), weight1, bias1)


_COMPILED: dict[Callable[..., Any], Callable[..., Any]] = {}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function compiled for the shapes that it is called with; all layers share it."""
    if function not in _COMPILED:
        _COMPILED[function] = torch.compile(function, dynamic=False)
    return _COMPILED[function]
