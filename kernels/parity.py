"""Does a packed kernel play its network? The check that comes before any figure of its speed.

The reference's step, said here for a whole sequence of given levels at once, in float64: a product of
matrices a layer, so that a large network is checked over a whole receptive field in about a second.
A test compares it with `reference.py`. For low precision it multiplies with what that precision
leaves of weights and activations. Any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .activations import GATE_FACTORS
from .control import control_rows
from .errors import GhostnoteError
from .packing import Packed
from .products import TOP, bfloat16, quantised
from .reference import Reference, ReferenceState
from .spec import ModelSpec
from .state import State
from .weights import Weights

DOUBLES = npt.NDArray[np.float64]
FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

BEYOND = 32
"""Samples that are checked beyond one receptive field."""

TIGHT = 2e-5
"""Error allowed of any output in fp32, and in bf16 beside the network with rounded weights, as a
share of the outputs' spread."""

ROUNDING = 0.15
"""Error that int8 may make of a network of random weights: a root mean square, the same share."""

LOCKSTEP_MACS = 20_000_000_000
"""Multiply-adds to spend on comparing many lanes with one, within 96 samples and a long dilation."""

_MATRICES = ("filter_weight", "residual_weight", "skip_weight", "head0_weight", "head1_weight")


def check_outputs(packed: Packed, weights: Weights, seed: int = 3) -> None:
    """Compare a packed model's outputs with the reference's, over more than a receptive field.

    fp32 and bf16 must agree output by output. In int8 a number that lies between two multiples is
    rounded one way here and the other way there, and all that follows moves with it; so its error
    beside the plain reference must be as large as the emulation's, and nearer to that than apart.

    Raises
    ------
    GhostnoteError
        If it plays something else; the message tells by how much.
    """
    spec, precision = packed.spec, packed.precision
    levels = given_levels(spec, seed)
    found = State(packed).teacher_force(levels)
    expected = outputs_of(spec, weights, levels, precision)
    spread = float(expected.std())
    error = np.abs(found - expected) / spread
    if precision != "int8":
        if not error.max() <= TIGHT:  # so that NaN counts as wrong
            raise _apart(packed, f"outputs differ by {error.max():.2g} of their spread")
        return
    plain = outputs_of(spec, weights, levels)
    ours, theirs = _rms(found - plain) / spread, _rms(expected - plain) / spread
    if not theirs <= ROUNDING:
        raise _apart(packed, f"rounding alone moves its outputs by {theirs:.2g} of their spread")
    if not (0.8 * theirs <= ours <= 1.2 * theirs and _rms(error) <= theirs):
        raise _apart(
            packed,
            f"outputs differ from the reference by {ours:.2g} of their spread, expected "
            f"{theirs:.2g}; from the emulation by {_rms(error):.2g}",
        )


def check_lanes(packed: Packed, streams: int, seed: int = 5) -> None:
    """Compare what many lanes play with what each plays alone, bit by bit.

    Raises
    ------
    GhostnoteError
        If a lane plays something else; the message names the lane and the sample.
    """
    spec = packed.spec
    most = max(96, min(max(spec.dilations) + 64, 2048))
    count = int(np.clip(LOCKSTEP_MACS // (spec.macs_per_sample * streams), 96, most))
    out = np.full((streams, count), np.nan, np.float32)
    state = State(packed, seed, 0, streams)
    if spec.roles:
        state.hit(0, 1.0)
    state.generate(out if streams > 1 else out[0])
    for lane in sorted({0, 1, streams // 2, streams - 1} & set(range(streams))):
        alone = np.full(count, np.nan, np.float32)
        single = State(packed, seed, lane)
        if spec.roles:
            single.hit(0, 1.0)
        single.generate(alone)
        differs = np.nonzero(alone.view(np.uint32) != out[lane].view(np.uint32))[0]
        if len(differs):
            what = f"lane {lane} of {streams} parts from the same stream alone"
            raise _apart(packed, f"{what} at sample {int(differs[0])}")


def given_levels(spec: ModelSpec, seed: int) -> INTS:
    """Return levels over more than a receptive field: half of them anywhere, half near silence."""
    count = spec.receptive_field + BEYOND
    draw = np.random.default_rng(seed)
    wild = draw.integers(0, spec.levels, count)
    near = max(3, spec.levels // 64)
    calm = np.clip(spec.silence + draw.integers(-near, near + 1, count), 0, spec.levels - 1)
    return np.where(np.arange(count) // 50 % 2 == 0, wild, calm)


def _rms(values: npt.NDArray[np.floating[Any]]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _apart(packed: Packed, what: str) -> GhostnoteError:
    return GhostnoteError(f"parity: the kernel in {packed.precision} does not agree: {what}")


def outputs_of(spec: ModelSpec, weights: Weights, levels: INTS, precision: str = "fp32") -> DOUBLES:
    """Return what the network puts out for given levels [n] from silence on, float64 [n, O].

    As `State.teacher_force` of a fresh lane does: the first kit, nothing struck.
    """
    w = weights_at(spec, weights, precision)
    whole = precision == "int8"
    # Row 0 is silence for ever: whatever looks back beyond the start finds it.
    past = [*[spec.silence] * (spec.input_taps + 1), *levels[:-1].tolist()]
    heard = np.lib.stride_tricks.sliding_window_view(np.array(past), spec.input_taps)
    if spec.mixtures:
        amplitudes = (heard - spec.silence) / spec.silence
        x = w["input_bias"] + amplitudes @ w["input_weight"]
    else:
        x = sum(w["input_weight"][tap, heard[:, tap]] for tap in range(spec.input_taps))
    bias = _hop_bias(spec, weights, w)
    skip = np.tile(w["skip_bias"], (len(x), 1))
    times = np.arange(len(x))
    for layer, dilation in enumerate(spec.dilations):
        row = _rounded(x, TOP) if whole else x
        a = np.tile(bias[layer], (len(x), 1))
        for tap in range(spec.filter_width):
            back = (spec.filter_width - 1 - tap) * dilation
            a += row[np.maximum(times - back, 0)] @ w["filter_weight"][layer, tap].T
        z = np.tanh(a[:, : spec.gate]) / (1.0 + np.exp(-a[:, spec.gate :]))
        if whole:
            z = np.rint(z * TOP) / TOP
        skip += z @ w["skip_weight"][layer].T
        if layer + 1 < spec.layers:
            x = x + z @ w["residual_weight"][layer].T + w["residual_bias"][layer]
    hidden = _rectified(skip, whole) @ w["head0_weight"].T + w["head0_bias"]
    return np.asarray((_rectified(hidden, whole) @ w["head1_weight"].T + w["head1_bias"])[1:])


def weights_at(spec: ModelSpec, weights: Weights, precision: str) -> dict[str, DOUBLES]:
    """Return the weights as a precision holds them, in float64 (`packing.py` packs them so)."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    if precision == "fp32":
        return w
    factors = np.repeat(GATE_FACTORS, spec.gate)[:, None]
    for name, matrix in w.items():
        conditioning = name.startswith("cond") and "weight" in name
        if not (conditioning or name in _MATRICES):
            continue
        gated = name in ("filter_weight", "cond_out_weight")
        single = np.asarray(matrix * factors if gated else matrix, np.float32)
        if precision == "bf16" or conditioning:
            held = (bfloat16(single).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        elif name == "skip_weight":  # [L, S, D]: a row runs over the gates of all layers
            rows = single.transpose(1, 0, 2)
            held = _whole(rows.reshape(spec.skip, -1)).reshape(rows.shape).transpose(1, 0, 2)
        else:
            held = _whole(single.reshape(-1, single.shape[-1])).reshape(single.shape)
        w[name] = np.asarray(held / factors if gated else held, np.float64)
    return w


def _whole(matrix: FLOATS) -> DOUBLES:
    values, scale = quantised(matrix)
    return values * scale.astype(np.float64)[:, None]


def _rounded(x: DOUBLES, most: float) -> DOUBLES:
    """Return rows of numbers as whole multiples of their greatest magnitude / `most`."""
    scale = np.maximum(np.abs(x).max(axis=1, keepdims=True), 1e-30) / most
    return np.asarray(np.rint(x / scale) * scale)


def _rectified(x: DOUBLES, whole: bool) -> DOUBLES:
    x = np.maximum(x, 0.0)
    return _rounded(x, 127.0) if whole else x


def _hop_bias(spec: ModelSpec, weights: Weights, w: Mapping[str, DOUBLES]) -> DOUBLES:
    """Return the gates' biases [L, 2D] of a stream that nothing has struck, under the first kit."""
    reference = Reference(spec, weights)
    reference.w = dict(w)
    state = ReferenceState([], [])
    row = None
    if spec.conditioning:
        table = weights.get("age_table", np.zeros((1, 1), np.float32))
        ages = np.full((1, len(spec.roles)), max(spec.ages - 1, 0), np.int64)
        silent = np.zeros((1, len(spec.roles)), np.float32)
        kit = np.eye(1, len(spec.kits), dtype=np.float32)
        row = control_rows(ages, silent, kit, table)[0].astype(np.float64)
    reference.set_control(state, row)
    return state.hop_bias
