"""The WaveNet step, slow and obvious, in NumPy float64: every other kernel is compared with it.

One line of the paper (van den Oord et al. 2016, arXiv 1609.03499) is one line here. State is the
plain list of past inputs of every layer. Not for playing: about a thousand samples per second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .spec import LEAST_LOG_SCALE, LEVELS_16, ModelSpec
from .weights import Weights, check_weights

DOUBLES = npt.NDArray[np.float64]


@dataclass
class ReferenceState:
    """Past of one stream: level history [taps], and each layer's past inputs, oldest first."""

    levels: list[int]
    past: list[list[DOUBLES]]
    hop_bias: DOUBLES = field(default_factory=lambda: np.zeros(0))


class Reference:
    """The model as functions of an explicit state."""

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        check_weights(spec, weights)
        self.spec = spec
        self.w = {name: array.astype(np.float64) for name, array in weights.items()}

    def start(self, control: DOUBLES | None = None) -> ReferenceState:
        """Return the state after a receptive field of silence under the control row [C]."""
        spec = self.spec
        zero = np.zeros(spec.residual)
        state = ReferenceState(
            [spec.silence] * spec.input_taps,
            [[zero] * ((spec.filter_width - 1) * d) for d in spec.dilations],
        )
        self.set_control(state, control)
        for _ in range(spec.receptive_field):
            self.step(state, spec.silence)
        return state

    def set_control(self, state: ReferenceState, control: DOUBLES | None) -> None:
        """Set the control row [C] that holds from the next step on (paper, section 2.5).

        None is the row of zeros: nothing struck, no kit.
        """
        bias = self.w["filter_bias"]
        if self.spec.conditioning:
            hidden = np.zeros(self.spec.conditioning) if control is None else np.asarray(control)
            for i in range(len(self.spec.cond_hidden)):
                hidden = np.maximum(
                    self.w[f"cond_weight.{i}"] @ hidden + self.w[f"cond_bias.{i}"], 0.0
                )
            bias = bias + self.w["cond_out_weight"] @ hidden
        state.hop_bias = bias  # [L, 2D]

    def step(self, state: ReferenceState, level: int) -> DOUBLES:
        """Take in one level and return the outputs of the next: logits [Q], or a mixture [3K]."""
        spec, w = self.spec, self.w
        state.levels = [*state.levels[1:], level]
        if spec.mixtures:
            x = w["input_bias"]
            for tap, heard in enumerate(state.levels):
                x = x + w["input_weight"][tap] * (heard - spec.silence) / spec.silence
        else:
            x = sum(w["input_weight"][tap, heard] for tap, heard in enumerate(state.levels))
        skip = w["skip_bias"]
        for layer, dilation in enumerate(spec.dilations):
            past = state.past[layer]
            taps = [past[tap * dilation] for tap in range(spec.filter_width - 1)] + [x]
            state.past[layer] = [*past[1:], x]
            a = state.hop_bias[layer]
            for tap, value in enumerate(taps):
                a = a + w["filter_weight"][layer, tap] @ value
            z = np.tanh(a[: spec.gate]) / (1.0 + np.exp(-a[spec.gate :]))
            skip = skip + w["skip_weight"][layer] @ z
            if layer + 1 < spec.layers:
                x = x + w["residual_weight"][layer] @ z + w["residual_bias"][layer]
        hidden = np.maximum(w["head0_weight"] @ np.maximum(skip, 0.0) + w["head0_bias"], 0.0)
        return np.asarray(w["head1_weight"] @ hidden + w["head1_bias"])


def cumulative(logits: DOUBLES, temperature: float = 1.0, top_k: int = 0) -> DOUBLES:
    """Return the running sum [Q] of exp((logits - max) / temperature), its last value the total.

    With `top_k` > 0 only levels whose logit is at least the k-th largest take part.
    """
    scaled = np.exp((logits - logits.max()) / temperature)
    if 0 < top_k < len(logits):
        scaled = np.where(logits >= np.sort(logits)[-top_k], scaled, 0.0)
    return np.asarray(np.cumsum(scaled))


def choose(cdf: DOUBLES, uniform: float) -> int:
    """Return the first level whose running sum exceeds uniform * total (inverse CDF).

    A total of which nothing exceeds the product (rounding) gives the last level that has weight.
    """
    above = np.nonzero(cdf > uniform * cdf[-1])[0]
    return int(above[0]) if len(above) else int(np.searchsorted(cdf, cdf[-1]))


def margin(cdf: DOUBLES, uniform: float) -> float:
    """Return how far the draw is from the nearest edge of its level, as a share of the total."""
    return float(np.abs(cdf / cdf[-1] - uniform).min())


def draw(
    spec: ModelSpec,
    outputs: DOUBLES,
    uniforms: npt.ArrayLike,
    temperature: float = 1.0,
    top_k: int = 0,
) -> int:
    """Return the level that uniform numbers (one, or two for a mixture) draw from outputs."""
    if not spec.mixtures:
        return choose(cumulative(outputs, temperature, top_k), float(np.asarray(uniforms)))
    u0, u1 = np.asarray(uniforms, np.float64)
    component = choose(cumulative(outputs[: spec.mixtures], temperature, top_k), float(u0))
    return int(np.floor(position(outputs, component, float(u1), temperature) + 0.5))


def position(outputs: DOUBLES, component: int, uniform: float, temperature: float = 1.0) -> float:
    """Return where among the levels of 16 bit, not yet rounded, a component's draw falls.

    The inverse of the logistic distribution: mean + scale * log(u / (1 - u)).
    """
    _, means, log_scales = outputs.reshape(3, -1)  # [K] each
    scale = temperature * np.exp(max(log_scales[component], LEAST_LOG_SCALE))
    x = means[component] + scale * (np.log(uniform) - np.log(1.0 - uniform))
    half = LEVELS_16 // 2
    return float(np.clip(x * half + half, 0, LEVELS_16 - 1))


def levels_off(
    outputs: DOUBLES,
    level: int,
    uniforms: npt.ArrayLike,
    share: float,
    temperature: float = 1.0,
    top_k: int = 0,
) -> float:
    """Return by how many levels a mixture's draw would have to move to be rounded to `level`.

    0 where it is drawn. Where uniform 0 lies within `share` (of the total) of the edge of another
    component, the draw may be that component's too, and the nearer one counts.
    """
    u0, u1 = np.asarray(uniforms, np.float64)
    cdf = cumulative(outputs[: len(outputs) // 3], temperature, top_k)
    ends = cdf / cdf[-1]
    starts = np.concatenate([[0.0], ends[:-1]])
    near = (starts < ends) & (starts <= u0 + share) & (u0 - share <= ends)
    least = np.inf
    for component in np.nonzero(near)[0]:
        off = abs(position(outputs, int(component), float(u1), temperature) - level) - 0.5
        least = min(least, max(off, 0.0))
    return float(least)
