"""The network of the training in bfloat16, for CPUs that multiply it faster (AVX512-BF16, AMX).

The weights stay float32; they, the gates and what a layer hears are rounded for the products,
whose sums are float32 again (Micikevicius et al. 2018, arXiv 1710.03740, but for the scaling of the
loss, which the range of bfloat16 spares). All layers are one hand-written autograd function: its
backward makes the products of residual and skip as one, and the skips of all layers are one product.
`WaveNet.forward` says the same in float32; a test compares the two, values and gradients.
Any thread; several may run it at once, as it holds no state.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from . import activations
from .wavenet import WaveNet

FLOATS = npt.NDArray[np.float32]
HALVES = npt.NDArray[np.uint16]
"""The upper halves of float32: bfloat16, as Numba sees it."""

HALF = torch.bfloat16


def half_outputs(model: WaveNet, levels: Tensor, control: Tensor | None, context: int) -> Tensor:
    """Return the outputs float32 [O, T - context] of `model.forward` without those of the context.

    Shapes are those of `WaveNet.forward`.
    """
    spec = model.spec
    skip = _Layers.apply(  # type: ignore[no-untyped-call]
        model.embed(levels),
        model.hop_bias(control),
        model.filter_weight.transpose(1, 2).flatten(2),
        model.residual_weight,
        model.residual_bias,
        model.skip_weight,
        spec.dilations,
        context,
    )
    with torch.autocast("cpu", HALF):
        hidden = F.relu(skip + model.skip_bias[:, None])
        hidden = F.relu(torch.addmm(model.head0_bias[:, None], model.head0_weight, hidden))
    # The mean of a logistic is one of 65536 levels, more than bfloat16 can name.
    with torch.autocast("cpu", HALF, enabled=not spec.mixtures):
        hidden = hidden.float() if spec.mixtures else hidden
        # Time by output in memory, as the loss goes along the outputs.
        outputs = torch.addmm(model.head1_bias, hidden.t(), model.head1_weight.t())
    return outputs.float().t()


class _Layers(torch.autograd.Function):
    """From the embedded input x [R, T] to the sum of the skips [S, T - context], without its bias."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        bias: Tensor,
        filters: Tensor,
        residual: Tensor,
        residual_bias: Tensor,
        skip: Tensor,
        dilations: tuple[int, ...],
        context: int,
    ) -> Tensor:
        length = x.shape[1]
        layers, gates2, past_rows = filters.shape  # L, 2D, k * R
        gate, skips = gates2 // 2, skip.shape[1]
        if length % bias.shape[2]:
            raise ValueError(f"{length} samples are not whole hops of {bias.shape[2]} biases")
        halves = (filters.to(HALF), residual.to(HALF), skip.to(HALF))
        z = torch.empty(layers, gate, length, dtype=HALF)
        pasts, gates = [], []
        biases = bias.detach().contiguous().numpy()
        stream = x.detach().clone()
        for layer, dilation in enumerate(dilations):
            past = torch.empty(past_rows, length, dtype=HALF)
            if layer:
                added = torch.mm(halves[1][layer - 1], z[layer - 1])
                _advance(stream.numpy(), _bits(added), residual_bias[layer - 1].detach().numpy())
            _spread(stream.numpy(), dilation, _bits(past))
            gate_in = torch.mm(halves[0][layer], past)
            _gate(_bits(gate_in), biases[layer], _bits(z[layer]))
            pasts.append(past)
            gates.append(gate_in)
        together = halves[2].transpose(0, 1).reshape(skips, layers * gate)  # [S, L * D]
        total = torch.mm(together, z.view(layers * gate, length)[:, context:])
        ctx.save_for_backward(z, *halves, *pasts, *gates)
        ctx.dilations, ctx.context, ctx.hops = dilations, context, bias.shape[2]
        return total.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        layers = len(ctx.dilations)
        z, filters, residual, skip, *kept = ctx.saved_tensors
        pasts, gates = kept[:layers], kept[layers:]
        length, channels, skips = z.shape[2], residual.shape[1], skip.shape[1]
        # The gradients of a layer's two outputs, one below the other, so that they are one product.
        below = torch.empty(channels + skips, length, dtype=HALF)
        below[channels:, : ctx.context] = 0.0
        below[channels:, ctx.context :] = grads[0]
        grad_x = torch.zeros(channels, length)
        grad_bias = torch.empty(layers, filters.shape[1], ctx.hops)
        grad_filters = torch.empty(filters.shape)
        grad_residual, grad_skip = torch.empty(residual.shape), torch.empty(skip.shape)
        grad_residual_bias = torch.empty(residual.shape[:2])
        for layer in range(layers - 1, -1, -1):
            last = layer + 1 == layers
            weights = skip[layer] if last else torch.cat([residual[layer], skip[layer]])
            used = below[channels:] if last else below
            grad_weights = torch.mm(used, z[layer].t())
            if not last:
                grad_residual[layer] = grad_weights[:channels]
            grad_skip[layer] = grad_weights[-skips:]
            grad_z = torch.mm(weights.t(), used)
            _gate_backward(_bits(gates[layer]), _bits(grad_z), grad_bias[layer].numpy())
            grad_filters[layer] = torch.mm(gates[layer], pasts[layer].t())
            grad_past = torch.mm(filters[layer].t(), gates[layer])
            sums = grad_residual_bias[layer - 1] if layer else torch.empty(channels)
            _gather(
                _bits(grad_past),
                ctx.dilations[layer],
                grad_x.numpy(),
                _bits(below[:channels]),
                sums.numpy(),
            )
        return (
            grad_x,
            grad_bias,
            grad_filters,
            grad_residual,
            grad_residual_bias,
            grad_skip,
            None,
            None,
        )


def _bits(x: Tensor) -> HALVES:
    """Return the same memory as NumPy sees it: uint16, as NumPy has no bfloat16."""
    return np.asarray(x.view(torch.uint16).numpy())


@intrinsic
def _word(typingctx: Any, x: Any) -> Any:
    """The int32 whose bits are those of the given float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), generate


@nb.njit(cache=True, nogil=True, inline="always", error_model="numpy")
def _widen(half):  # type: ignore[no-untyped-def]
    return activations.float_of_bits(np.int32(half) << np.int32(16))


@nb.njit(cache=True, nogil=True, inline="always", error_model="numpy")
def _narrow(x):  # type: ignore[no-untyped-def]
    """Round to the nearest bfloat16, ties to even."""
    word = _word(x)
    odd = (word >> np.int32(16)) & np.int32(1)
    return np.uint16((word + np.int32(0x7FFF) + odd) >> np.int32(16))


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _advance(stream: FLOATS, added: HALVES, bias: FLOATS) -> None:
    """Add a layer's residual output and its bias to the stream [R, T]."""
    for row in range(stream.shape[0]):
        x, more, plus = stream[row], added[row], bias[row]
        for t in range(len(x)):
            x[t] += _widen(more[t]) + plus


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _spread(stream: FLOATS, dilation: int, past: HALVES) -> None:
    """Write what each tap hears of the stream [R, T] to `past` [k * R, T], oldest tap first."""
    channels, length = stream.shape
    taps = past.shape[0] // channels
    for row in range(channels):
        now = past[(taps - 1) * channels + row]
        x = stream[row]
        for t in range(length):
            now[t] = _narrow(x[t])
        for tap in range(taps - 1):
            reach = min((taps - 1 - tap) * dilation, length)
            heard = past[tap * channels + row]
            heard[:reach] = 0
            heard[reach:] = now[: length - reach]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _gate(gates: HALVES, bias: FLOATS, z: HALVES) -> None:
    """Replace `gates` [2D, T] by tanh and sigmoid of gates + bias; their product goes to `z`."""
    half, length = z.shape
    hop = length // bias.shape[1]
    wide_a, wide_b = np.empty(length, np.float32), np.empty(length, np.float32)
    for row in range(half):
        a, b, product = gates[row], gates[row + half], z[row]
        for h in range(bias.shape[1]):
            for t in range(h * hop, (h + 1) * hop):
                wide_a[t] = _widen(a[t]) + bias[row, h]
                wide_b[t] = _widen(b[t]) + bias[row + half, h]
        for t in range(length):  # a loop of its own, so that it becomes vector code
            tanh = activations.tanh(wide_a[t])
            sigmoid = activations.sigmoid(wide_b[t])
            a[t] = _narrow(tanh)
            b[t] = _narrow(sigmoid)
            product[t] = _narrow(tanh * sigmoid)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _gate_backward(gates: HALVES, grad_z: HALVES, grad_bias: FLOATS) -> None:
    """Replace tanh and sigmoid by the gradient of their inputs; sum it for each hop's bias."""
    half = grad_z.shape[0]
    hops = grad_bias.shape[1]
    hop = grad_z.shape[1] // hops
    one = np.float32(1.0)
    for row in range(half):
        a, b, grads = gates[row], gates[row + half], grad_z[row]
        for h in range(hops):
            sum_a = sum_b = np.float32(0.0)
            for t in range(h * hop, (h + 1) * hop):
                tanh, sigmoid, grad = _widen(a[t]), _widen(b[t]), _widen(grads[t])
                grad_a = grad * sigmoid * (one - tanh * tanh)
                grad_b = grad * tanh * sigmoid * (one - sigmoid)
                a[t] = _narrow(grad_a)
                b[t] = _narrow(grad_b)
                sum_a += grad_a
                sum_b += grad_b
            grad_bias[row, h] = sum_a
            grad_bias[row + half, h] = sum_b


@nb.njit(cache=True, nogil=True, fastmath=True)
def _gather(grad_past: HALVES, dilation: int, grad_x: FLOATS, below: HALVES, sums: FLOATS) -> None:
    """Add the taps' gradients to that of the stream [R, T]; round it to `below`, sum it by row."""
    channels, length = grad_x.shape
    taps = grad_past.shape[0] // channels
    for row in range(channels):
        grad = grad_x[row]
        for tap in range(taps):
            reach = min((taps - 1 - tap) * dilation, length)
            more = grad_past[tap * channels + row]
            for t in range(length - reach):
                grad[t] += _widen(more[t + reach])
        total = np.float32(0.0)
        halves = below[row]
        for t in range(length):
            halves[t] = _narrow(grad[t])
            total += grad[t]
        sums[row] = total
