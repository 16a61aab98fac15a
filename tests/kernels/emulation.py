"""What bf16 and int8 mean, in float64 and apart from the kernel's code.

bf16: the matrices are rounded to 8 significant bits, as the kernel multiplies them (rows that end in
a gate times GATE_FACTORS); all else is the reference.

int8: the conditioning is in bf16. Elsewhere each output's row of a matrix (of each tap apart) has a scale of its greatest weight / 127, and
its weights are whole multiples of that. What matrices are multiplied with is rounded too: a layer's
input x to multiples of max |x| / 63, its gates z to 1/63, the rectified skips and hidden values of
the head to multiples of max / 127. The sums and everything between are exact.

A number that lies near the middle between two multiples may be rounded either way, and what follows
moves with it. So the emulation asks the kernel's memory which way it went, refuses what is further
than TIE from the nearest, and goes on from the kernel's choice: all that follows must then agree as
closely as in fp32.
"""

import numpy as np
import numpy.typing as npt

from ghostnote.kernels import packing as p
from ghostnote.kernels.activations import GATE_FACTORS
from ghostnote.kernels.reference import Reference
from ghostnote.kernels.state import State
from tests.kernels.models import DOUBLES, FLOATS, Model, ReferencePlayer

CLOSE = 1e-5
"""Absolute and relative error of what is summed in float32."""

TIE = 0.5 + 1e-3
MATRICES = ("filter_weight", "residual_weight", "skip_weight", "head0_weight", "head1_weight")


def to_bf16(matrix: DOUBLES) -> DOUBLES:
    """Returns each number rounded to 8 significant bits, ties to even."""
    mantissa, exponent = np.frexp(matrix)
    return np.ldexp(np.rint(mantissa * 256.0) / 256.0, exponent)


def to_int8(matrix: DOUBLES, rows: int) -> DOUBLES:
    """Returns each row (the last `rows` axes) rounded to multiples of its greatest / 127."""
    axes = tuple(range(-rows, 0))
    single = matrix.astype(np.float32)
    scale = np.abs(single).max(axis=axes, keepdims=True) / np.float32(127.0)
    scale = np.where(scale == 0.0, np.float32(1.0), scale)
    return np.rint(single / scale).astype(np.float64) * scale.astype(np.float64)


def at_precision(model: Model) -> dict[str, DOUBLES]:
    """Returns the model's weights in float64, its matrices with what its precision leaves of them."""
    w = {name: array.astype(np.float64) for name, array in model.weights.items()}
    precision = model.packed.precision
    factors = np.repeat(GATE_FACTORS, model.spec.gate)[:, None]
    for name, matrix in w.items():
        conditioning = name.startswith("cond") and "weight" in name
        if precision == "fp32" or not (conditioning or name in MATRICES):
            continue
        gated = name in ("filter_weight", "cond_out_weight")
        if gated:
            matrix = (matrix * factors).astype(np.float32).astype(np.float64)
        if precision == "bf16" or conditioning:
            matrix = to_bf16(matrix)
        elif name == "skip_weight":  # [L, S, D]: a row runs over the gates of all layers
            matrix = to_int8(matrix.transpose(1, 0, 2), 2).transpose(1, 0, 2)
        else:
            matrix = to_int8(matrix, 1)
        w[name] = matrix / factors if gated else matrix
    return w


class FloatPlayer(ReferencePlayer):
    """The reference with the weights that the model's precision, fp32 or bf16, leaves."""

    def network(self, model: Model) -> Reference:
        """Returns the reference that plays."""
        reference = Reference(model.spec, model.weights)
        reference.w = at_precision(model)
        return reference


class Int8Player:
    """The network in int8 beside a state that is fed the same levels, one by one."""

    def __init__(self, model: Model, state: State, samples: int) -> None:
        assert (state.lanes, state.index) == (1, 0)
        self.spec, self.state = model.spec, state
        self.header = state.packed.header
        player = FloatPlayer(model, samples)  # for its weights and its control
        self.w, self.rows = player.reference.w, player.rows
        self.reference, self.control = player.reference, player.state
        self.levels = [self.spec.silence] * self.spec.input_taps
        self.past: list[list[DOUBLES]] = []
        for layer, dilation in enumerate(self.spec.dilations):
            whole, scale = self._kept_row(layer)
            self.past.append([whole * scale] * ((self.spec.filter_width - 1) * dilation))
        self.index = 0
        self._layers()  # what the prewarm left

    def step(self, level: int) -> DOUBLES:
        """Returns what the network puts out after the last level, as `ReferencePlayer.step`.

        The state must have made the same sample already.
        """
        self.levels = [*self.levels[1:], level]
        if self.index % self.spec.hop == 0:
            self.reference.set_control(self.control, self.rows[self.index // self.spec.hop])
        self.index += 1
        w = self.w
        gates = self._layers()
        skip = w["skip_bias"] + np.einsum("lsd,ld->s", w["skip_weight"], gates)
        hidden = w["head0_bias"] + w["head0_weight"] @ self._rectified(skip, p.S_SKIP)
        return np.asarray(w["head1_bias"] + w["head1_weight"] @ self._rectified(hidden, p.S_HEAD))

    def _layers(self) -> DOUBLES:
        """Returns the gates [L, D] as the kernel rounded them, and takes x into the past."""
        spec, w = self.spec, self.w
        if spec.mixtures:
            x = w["input_bias"] + np.zeros(spec.residual)
            for tap, heard in enumerate(self.levels):
                x = x + w["input_weight"][tap] * ((heard - 32768) / 32768)
        else:
            x = sum(w["input_weight"][tap, heard] for tap, heard in enumerate(self.levels))
        gates = []
        for layer, dilation in enumerate(spec.dilations):
            whole, scale = self._kept_row(layer)
            np.testing.assert_allclose(scale, np.abs(x).max() / 63.0, rtol=2e-5, atol=1e-12)
            assert np.abs(x - whole * scale).max() <= TIE * scale
            row = whole * scale
            past = self.past[layer]
            taps = [past[tap * dilation] for tap in range(spec.filter_width - 1)] + [row]
            self.past[layer] = [*past[1:], row]
            a = self.control.hop_bias[layer]
            for tap, value in enumerate(taps):
                a = a + w["filter_weight"][layer, tap] @ value
            z = np.tanh(a[: spec.gate]) / (1.0 + np.exp(-a[spec.gate :]))
            kept = self._kept_gates(layer)
            assert np.abs(z - kept).max() <= TIE / 63.0
            gates.append(kept)
            if layer + 1 < spec.layers:
                x = x + w["residual_weight"][layer] @ kept + w["residual_bias"][layer]
        return np.stack(gates)

    def _kept_row(self, layer: int) -> tuple[DOUBLES, float]:
        """Returns the newest input of a layer in the kernel's ring: whole numbers, their scale."""
        h, wide = self.header, int(self.header[p.RESIDUAL])
        reach = (self.spec.filter_width - 1) * self.spec.dilations[layer]
        newest = (int(self.state.ints[p.I_RING_POS + layer]) - 1) % reach
        at = 4 * int(h[h[p.AT_RING] + layer]) + newest * int(h[p.ROW])
        memory = self.state.floats.view(np.uint8)[at:]
        scale = float(memory[wide : wide + 4].view(np.float32)[0])
        return signed(memory[: self.spec.residual]), scale

    def _kept_gates(self, layer: int) -> DOUBLES:
        h = self.header
        at = 4 * int(h[p.S_Z]) + layer * int(h[p.Z])
        return signed(self.state.floats.view(np.uint8)[at : at + self.spec.gate]) / 63.0

    def _rectified(self, expected: DOUBLES, slot: int) -> DOUBLES:
        """Returns max(x, 0) as rounded, of the floats that the kernel left at a slot."""
        at = int(self.header[slot])
        found: FLOATS = self.state.floats[at : at + len(expected)]
        np.testing.assert_allclose(found, expected, rtol=CLOSE, atol=CLOSE)
        most = max(found.max(), np.float32(1e-30))
        factor = np.float64(np.float32(127.0) / most)
        return np.asarray(np.rint(np.maximum(found, 0.0) * factor) * (float(most) / 127.0))


def signed(kept: npt.NDArray[np.uint8]) -> DOUBLES:
    """Returns the whole numbers that bytes of a signed activation stand for."""
    assert kept.min() >= 1 and kept.max() <= 127
    return kept.astype(np.float64) - 64.0
