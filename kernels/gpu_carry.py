"""Carrying streams between the CPU's state and the GPU's, at any sample.

In fp32 nothing is lost: rings, levels, hits, settings, random numbers and the present hop's biases
(both kernels multiply their gates by GATE_FACTORS) are the same numbers in another order. Products
with the past are not carried: the CPU makes them anew. One thread at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from . import packing as p
from .errors import GhostnoteError
from .gpu_model import HISTORY, ring_slots
from .packing import Packed
from .products import SIGNED, TOP
from .state import State

if TYPE_CHECKING:
    from .gpu_state import GpuState

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]


def from_cpu(gpu: GpuState, cpu: State) -> None:
    """Let a GPU state go on as a CPU state of the same model and as many lanes would."""
    spec, h, n = cpu.packed.spec, cpu.packed.header, gpu.lanes
    if (spec, cpu.lanes) != (gpu.packed.spec, n):
        raise GhostnoteError("from_cpu: the CPU's state is of another model or number of streams")
    gpu._index = cpu.index
    lanes, settings, rings, bias, told, transients = _views(cpu)
    gpu.chance[0, :n] = lanes[:, p.L_SEED]
    gpu.chance[1, :n] = lanes[:, p.L_STREAM]
    gpu.chance[2, :n] = lanes[:, p.L_OFFSET]
    gpu.top_k[:n] = np.minimum(lanes[:, p.L_TOP_K], spec.choices)
    gpu.temperature[:n] = settings[:, p.T_TEMPERATURE]
    gpu.attack[:n] = settings[:, p.T_ATTACK]
    gpu.sound[:n] = settings[:, p.T_SOUND]
    phase = gpu.index % spec.hop
    if spec.body and phase:  # else the next hop has its own
        gpu.knots[:n, 1:] = told.reshape(n, -1, p.KNOT)
        at = phase // spec.body_span
        gpu.knots[:n, at] = settings[:, p.T_BEGIN : p.T_HIGH]
        gpu.transients[:n] = transients
    elif spec.body:
        gpu.knots[:n, -1] = settings[:, p.T_BEGIN : p.T_HIGH]
    gpu.high[:n] = settings[:, p.T_HIGH : p.T_VELOCITIES]
    gpu.fresh[:n] = lanes[:, p.L_FRESH]
    roles, kits = len(spec.roles), len(spec.kits)
    gpu.ages[:n] = lanes[:, p.L_HISTORY + spec.input_taps :]
    gpu.velocities[:n] = settings[:, p.T_VELOCITIES : p.T_VELOCITIES + roles]
    gpu.kits[:n] = settings[:, p.T_VELOCITIES + roles :][:, :kits]
    levels = torch.from_numpy(lanes[:, p.L_HISTORY :][:, : spec.input_taps].astype(np.int32))
    slots = _past(gpu.index, spec.input_taps, HISTORY)
    gpu.history[slots, :n] = levels.T.to(gpu.history.device)
    at = 0
    for layer, (count, ring) in enumerate(zip(ring_slots(spec), rings, strict=True)):
        rows = _ring_floats(cpu.packed, ring)[:, :, : spec.residual]
        rows = np.roll(rows, -int(cpu.ints[p.I_RING_POS + layer]), axis=0)  # oldest first
        slots = at + _past(gpu.index, len(rows), count)
        found = torch.from_numpy(rows).to(gpu.rings)
        gpu.rings[slots, :n, : spec.residual] = found
        at += count
    if spec.conditioning and gpu.index % spec.hop:
        shaped = bias.reshape(n, spec.layers, 2, int(h[p.GATE]))[..., : spec.gate]
        gpu.bias = gpu.bias.clone()  # it may be a view of many hops' biases
        gpu.bias[:n, ..., : spec.gate] = torch.from_numpy(shaped.copy()).to(gpu.bias)


def to_cpu(gpu: GpuState, packed: Packed) -> State:
    """Return a CPU state of a packed model that goes on as a GPU state would."""
    spec, n = gpu.packed.spec, gpu.lanes
    if packed.spec != spec:
        raise GhostnoteError("to_cpu: the CPU's model is another")
    cpu = State(packed, 0, 0, n)
    lanes, settings, rings, bias, told, transients = _views(cpu)
    cpu.ints[p.I_INDEX] = gpu.index
    cpu.ints[p.I_PHASE] = 0  # so that the products with the past are made anew
    cpu.ints[p.I_RING_POS : p.I_RING_POS + spec.layers] = 0
    lanes[:, p.L_SEED], lanes[:, p.L_STREAM], lanes[:, p.L_OFFSET] = gpu.chance[:, :n]
    lanes[:, p.L_TOP_K] = gpu.top_k[:n]
    settings[:, p.T_TEMPERATURE] = gpu.temperature[:n]
    settings[:, p.T_ATTACK] = gpu.attack[:n]
    settings[:, p.T_SOUND] = gpu.sound[:n]
    if spec.body:
        told[:] = gpu.knots[:n, 1:].reshape(n, -1)
        transients[:] = gpu.transients[:n]
        phase = gpu.index % spec.hop
        at = phase // spec.body_span if phase else -1  # a hop has ended
        settings[:, p.T_BEGIN : p.T_HIGH] = gpu.knots[:n, at]
    settings[:, p.T_HIGH : p.T_VELOCITIES] = gpu.high[:n]
    lanes[:, p.L_FRESH] = gpu.fresh[:n]
    roles, kits = len(spec.roles), len(spec.kits)
    lanes[:, p.L_HISTORY + spec.input_taps :] = gpu.ages[:n]
    settings[:, p.T_VELOCITIES : p.T_VELOCITIES + roles] = gpu.velocities[:n]
    settings[:, p.T_VELOCITIES + roles :][:, :kits] = gpu.kits[:n]
    levels = gpu.history[_past(gpu.index, spec.input_taps, HISTORY), :n]
    lanes[:, p.L_HISTORY :][:, : spec.input_taps] = levels.T.cpu().numpy()
    at = 0
    for count, ring in zip(ring_slots(spec), rings, strict=True):
        slots = at + _past(gpu.index, len(ring), count)
        rows = gpu.rings[slots, :n, : spec.residual].float().cpu().numpy()
        _put_rows(packed, ring, rows)
        at += count
    if spec.conditioning and gpu.index % spec.hop:
        shaped = bias.reshape(n, spec.layers, 2, int(packed.header[p.GATE]))
        shaped[..., : spec.gate] = gpu.bias[:n, ..., : spec.gate].cpu().numpy()
    return cpu


def _past(index: int, count: int, slots: int) -> torch.Tensor:
    """Return the slots of the `count` samples before `index`, oldest first, in a ring of `slots`."""
    return torch.arange(index - count, index) & (slots - 1)


def _views(cpu: State) -> tuple[INTS, FLOATS, list[npt.NDArray[np.uint8]], FLOATS, FLOATS, FLOATS]:
    """Return a CPU state's lanes' ints and settings, rings [reach, lanes, bytes], and of the present hop
    the biases, the body's knots and the transients.
    """
    spec, h, n = cpu.packed.spec, cpu.packed.header, cpu.lanes
    lanes = cpu.ints[h[p.I_LANES] :].reshape(n, -1)

    def block(at: int, count: int) -> FLOATS:
        return cpu.floats[n * at : n * (at + count)]

    settings = block(h[p.S_SETTINGS], h[p.SETTINGS]).reshape(n, -1)
    bias = block(h[p.S_HOP_BIAS], spec.layers * 2 * h[p.GATE])
    rings = []
    for layer, dilation in enumerate(spec.dilations):
        reach = (spec.filter_width - 1) * dilation
        floats = block(h[h[p.AT_RING] + layer], reach * h[p.ROW] // 4)
        rings.append(floats.view(np.uint8).reshape(reach, n, -1))
    told = block(h[p.S_KNOTS], p.KNOT * spec.body_knots).reshape(n, -1)
    samples = spec.hop * int(h[p.TRANSIENT])
    transients = block(h[p.S_TRANSIENTS], samples).reshape(n, samples)
    return lanes, settings, rings, bias, told, transients


def _ring_floats(packed: Packed, ring: npt.NDArray[np.uint8]) -> FLOATS:
    """Return a ring [reach, lanes, bytes] as floats [reach, lanes, channels]."""
    if packed.precision != "int8":
        return ring.view(np.float32)
    wide = int(packed.header[p.RESIDUAL])
    scale = ring[:, :, wide : wide + 4].copy().view(np.float32)
    return (ring[:, :, :wide].astype(np.float32) - SIGNED) * scale


def _put_rows(packed: Packed, ring: npt.NDArray[np.uint8], rows: FLOATS) -> None:
    """Write rows [reach, lanes, R] into a ring as its precision holds them."""
    if packed.precision != "int8":
        ring.view(np.float32)[:, :, : rows.shape[2]] = rows
        return
    wide = int(packed.header[p.RESIDUAL])
    most = np.maximum(np.abs(rows).max(axis=2, keepdims=True), np.float32(1e-30))
    ring[:, :, :wide] = SIGNED
    ring[:, :, : rows.shape[2]] = np.rint(rows * (np.float32(TOP) / most)) + SIGNED
    scale = np.asarray(most * np.float32(1.0 / TOP), np.float32)
    ring[:, :, wide : wide + 4] = scale.view(np.uint8)
