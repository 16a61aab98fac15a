"""One gated WaveNet layer as a hand-written autograd function, for training on CPUs.

Autograd's own graph of this layer spends more time copying than multiplying. Here the layer works
on matrices [channels, time] that are never transposed, all taps are one product, the residual and
the skip are another, and the gate is one pass over memory. `plain_layer` says the same in plain
torch; a test compares the two, values and gradients.
Any thread; several may run it at once, as it holds no state.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import activations

FLOATS = npt.NDArray[np.float32]


def plain_layer(
    x: Tensor,
    skip: Tensor,
    bias: Tensor,
    filter_weight: Tensor,
    residual_weight: Tensor,
    skip_weight: Tensor,
    dilation: int,
) -> tuple[Tensor, Tensor]:
    """Return x + residual_weight @ z and skip + skip_weight @ z, the paper's section 2.4.

    z = tanh(a) * sigmoid(b), where [a; b] = filter * x + bias.

    Parameters
    ----------
    x : float32 [R, T]
    skip : float32 [S, T]
    bias : float32 [2D, hops]; each column serves T / hops samples
    filter_weight : float32 [2D, k * R], oldest tap first
    residual_weight, skip_weight : float32 [R, D], [S, D]
    dilation : int
        Distance of neighbouring taps in samples. Before its start, x is taken as zero.
    """
    channels, length = x.shape
    taps = filter_weight.shape[1] // channels
    padded = torch.nn.functional.pad(x, ((taps - 1) * dilation, 0))
    past = torch.cat([padded[:, t * dilation : t * dilation + length] for t in range(taps)])
    gates = filter_weight @ past + bias.repeat_interleave(length // bias.shape[1], dim=1)
    half = gates.shape[0] // 2
    z = torch.tanh(gates[:half]) * torch.sigmoid(gates[half:])
    return x + residual_weight @ z, skip + skip_weight @ z


class GatedLayer(torch.autograd.Function):
    """`plain_layer`, faster on a CPU: called by `GatedLayer.apply`; adds to `skip` in place."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        skip: Tensor,
        bias: Tensor,
        filter_weight: Tensor,
        residual_weight: Tensor,
        skip_weight: Tensor,
        dilation: int,
    ) -> tuple[Tensor, Tensor]:
        channels, length = x.shape
        if length % bias.shape[1]:
            raise ValueError(f"{length} samples are not whole hops of {bias.shape[1]} biases")
        past = torch.empty(filter_weight.shape[1], length)
        for rows, reach in _taps(past, channels, dilation):
            rows[:, :reach] = 0.0
            rows[:, reach:] = x[:, : length - reach]
        gates = torch.mm(filter_weight, past)
        z = torch.empty(gates.shape[0] // 2, length)
        _gate(gates.numpy(), bias.detach().contiguous().numpy(), z.numpy())
        ctx.save_for_backward(past, gates, z, filter_weight, residual_weight, skip_weight)
        ctx.channels, ctx.dilation, ctx.hops = channels, dilation, bias.shape[1]
        ctx.mark_dirty(skip)
        skip.addmm_(skip_weight, z)
        return torch.addmm(x, residual_weight, z), skip

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        past, gates, z, filter_weight, residual_weight, skip_weight = ctx.saved_tensors
        grad_x, grad_skip = grads
        length = past.shape[1]
        grad_z = torch.mm(residual_weight.t(), grad_x)
        grad_z.addmm_(skip_weight.t(), grad_skip)
        grad_gates = torch.empty_like(gates)
        _gate_backward(gates.numpy(), grad_z.numpy(), grad_gates.numpy())
        grad_past = torch.mm(filter_weight.t(), grad_gates)
        grad_in = grad_past[-ctx.channels :].add_(grad_x)
        for rows, reach in _taps(grad_past, ctx.channels, ctx.dilation)[:-1]:
            grad_in[:, : length - reach] += rows[:, reach:]
        return (
            grad_in,
            grad_skip,
            grad_gates.view(gates.shape[0], ctx.hops, -1).sum(-1),
            torch.mm(grad_gates, past.t()),
            torch.mm(grad_x, z.t()),
            torch.mm(grad_skip, z.t()),
            None,
        )


def _taps(past: Tensor, channels: int, dilation: int) -> list[tuple[Tensor, int]]:
    """Return each tap's rows of `past` [k * R, T] and its distance in samples, oldest first."""
    taps = past.shape[0] // channels
    return [
        (past[t * channels : (t + 1) * channels], min((taps - 1 - t) * dilation, past.shape[1]))
        for t in range(taps)
    ]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _gate(gates: FLOATS, bias: FLOATS, z: FLOATS) -> None:
    """Replace `gates` [2D, T] by tanh and sigmoid of gates + bias; their product goes to `z`."""
    half, length = z.shape
    hop = length // bias.shape[1]
    for row in range(half):
        a, b, product = gates[row], gates[row + half], z[row]
        for h in range(bias.shape[1]):
            for t in range(h * hop, (h + 1) * hop):
                a[t] += bias[row, h]
                b[t] += bias[row + half, h]
        for t in range(length):  # a loop of its own, so that it becomes vector code
            tanh = activations.tanh(a[t])
            sigmoid = activations.sigmoid(b[t])
            a[t] = tanh
            b[t] = sigmoid
            product[t] = tanh * sigmoid


# Unlike in playing, nothing here need give the same bits on another processor: fastmath is a gain.
@nb.njit(cache=True, nogil=True, fastmath=True)
def _gate_backward(gates: FLOATS, grad_z: FLOATS, grad_gates: FLOATS) -> None:
    """Write the gradient of the gates' inputs; `gates` holds tanh and sigmoid since `_gate`."""
    half, length = grad_z.shape
    one = np.float32(1.0)
    for row in range(half):
        for t in range(length):
            tanh, sigmoid, grad = gates[row, t], gates[row + half, t], grad_z[row, t]
            grad_gates[row, t] = grad * sigmoid * (one - tanh * tanh)
            grad_gates[row + half, t] = grad * tanh * sigmoid * (one - sigmoid)
