"""The WaveNet in torch, for training on CPUs (van den Oord et al. 2016, arXiv 1609.03499).

Parameters are stacked over layers and bear the names and shapes of the model file
(`kernels.weights.weight_shapes`), so that export is a copy. Any thread; several may run forward
and backward at once, as the model holds no state but its parameters.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostnote.kernels.spec import ModelSpec

from .gated_layer import GatedLayer


class WaveNet(nn.Module):
    """Predicts the next level from past levels and per-hop control features.

    Shapes in the comments: L layers, R residual, D gate, S skip, H head channels, Q levels, O
    outputs, k taps, C control features, E last dense conditioning layer.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        layers, r, d = spec.layers, spec.residual, spec.gate

        def normal(*shape: int, fan: int, gain: float = 1.0) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) * (gain / math.sqrt(fan)))

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape))

        if spec.mixtures:
            self.input_weight = normal(spec.input_taps, r, fan=1)
            self.input_bias = nn.Parameter(torch.randn(r) * 0.1)
        else:
            self.input_weight = nn.Parameter(_smooth_embedding(spec))  # [taps, Q, R]
        self.filter_weight = normal(
            layers, spec.filter_width, 2 * d, r, fan=r * spec.filter_width
        )  # [L, k, 2D, R], oldest tap first
        self.filter_bias = zeros(layers, 2 * d)
        # Small residual branches at the start: the sum over layers keeps the scale of its input.
        self.residual_weight = normal(max(layers - 1, 0), r, d, fan=d, gain=0.5)
        self.residual_bias = zeros(max(layers - 1, 0), r)
        self.skip_weight = normal(layers, spec.skip, d, fan=d * layers, gain=2.0)  # [L, S, D]
        self.skip_bias = zeros(spec.skip)
        self.head0_weight = normal(spec.head, spec.skip, fan=spec.skip, gain=1.4)
        self.head0_bias = zeros(spec.head)
        # What a mixture's mean is off by is felt in thousands of levels.
        gain = 0.1 if spec.mixtures else 0.5
        self.head1_weight = normal(spec.outputs, spec.head, fan=spec.head, gain=gain)
        self.head1_bias = nn.Parameter(_first_outputs(spec))
        widths = (spec.conditioning, *spec.cond_hidden)
        self.cond_weight = nn.ParameterList()
        self.cond_bias = nn.ParameterList()
        if spec.conditioning:
            for fan, width in itertools.pairwise(widths):
                # Only a few of the features are nonzero at a time, hence the larger gain.
                self.cond_weight.append(normal(width, fan, fan=min(fan, 32)))
                self.cond_bias.append(nn.Parameter(torch.randn(width) * 0.1))
            self.cond_out_weight = normal(layers, 2 * d, widths[-1], fan=widths[-1], gain=0.5)

    def hop_bias(self, control: Tensor | None) -> Tensor:
        """Return each layer's gate bias [L, 2D, hops] from control features [hops, C]."""
        if control is None or not self.spec.conditioning:
            return self.filter_bias[:, :, None]
        bias = torch.einsum("he,lde->ldh", self.dense(control), self.cond_out_weight)
        return bias + self.filter_bias[:, :, None]

    def dense(self, control: Tensor) -> Tensor:
        """Return what the dense layers make [hops, E] of control features [hops, C]."""
        hidden = control
        for weight, bias in zip(self.cond_weight, self.cond_bias, strict=True):
            hidden = F.relu(F.linear(hidden, weight, bias))
        return hidden

    def forward(self, levels: Tensor, control: Tensor | None) -> Tensor:
        """Return the outputs (logits, or a mixture) for the level *after* each input.

        Parameters
        ----------
        levels : int64 [T]
            Past levels; the first receptive field of outputs is not to be trusted, since the
            network sees zeros, not silence, before the start.
        control : float32 [T / hop, C] or None
            The hop grid is that of the predicted samples, one later than the inputs.

        Returns
        -------
        outputs : float32 [O, T]
        """
        spec = self.spec
        bias = self.hop_bias(control)
        filters = self.filter_weight.transpose(1, 2).flatten(2)  # [L, 2D, k * R]
        x = self.embed(levels)  # [R, T]
        no_residual = x.new_zeros(spec.residual, spec.gate)
        skip = self.skip_bias[:, None].repeat(1, x.shape[1])
        for layer, dilation in enumerate(spec.dilations):
            # The last layer's residual output goes nowhere; zeros stand in for its weights.
            last = layer + 1 == spec.layers
            residual = no_residual if last else self.residual_weight[layer]
            x, skip = GatedLayer.apply(  # type: ignore[no-untyped-call]
                x, skip, bias[layer], filters[layer], residual, self.skip_weight[layer], dilation
            )
            if not last:
                x = x + self.residual_bias[layer][:, None]
        hidden = torch.addmm(self.head0_bias[:, None], self.head0_weight, F.relu(skip))
        return torch.addmm(self.head1_bias[:, None], self.head1_weight, F.relu(hidden))

    def embed(self, levels: Tensor) -> Tensor:
        if self.spec.mixtures:
            samples = (levels - self.spec.silence).float() / self.spec.silence
            late = [F.pad(samples, (tap, 0))[: len(samples)] for tap in range(self.spec.input_taps)]
            heard = torch.stack(late[::-1])  # [taps, T], oldest first
            return torch.addmm(self.input_bias[:, None], self.input_weight.t(), heard)
        x = F.embedding(levels, self.input_weight[-1])
        for tap in range(1, self.spec.input_taps):
            past = F.pad(levels[:-tap], (tap, 0), value=self.spec.silence)
            x = x + F.embedding(past, self.input_weight[-1 - tap])
        return x.t().contiguous()


def _first_outputs(spec: ModelSpec) -> Tensor:
    """Return the bias of the outputs [O] to begin with.

    A mixture's components begin around silence, from the width of a few levels to that of full
    scale: drums are mostly quiet, and what is loud must not come as a shock.
    """
    bias = torch.zeros(spec.outputs)
    if spec.mixtures:
        bias[2 * spec.mixtures :] = torch.linspace(-2.0, -8.0, spec.mixtures)
    return bias


def _smooth_embedding(spec: ModelSpec) -> Tensor:
    """Return an embedding [taps, Q, R] in which neighbouring levels start out alike.

    A table of independent vectors would have to learn from data that level 130 sounds like 131;
    random Fourier features of the level (Rahimi & Recht 2007) say so from the first step.
    """
    position = (torch.arange(spec.levels) - spec.silence) / (spec.levels / 2)
    rate = torch.randn(spec.input_taps, 1, spec.residual) * 3.0
    phase = torch.rand(spec.input_taps, 1, spec.residual) * (2 * math.pi)
    return torch.cos(position[None, :, None] * rate + phase) * math.sqrt(1.0 / spec.input_taps)
