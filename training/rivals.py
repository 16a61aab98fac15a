"""A model stepped by torch, for `ghostnote bench` to compare with: eager, and compiled ahead of time.

Both are written as well as torch allows by hand, not as a training loop would call it: the past of
all layers lies in one table, what the layers take from it is one product a call, all skips are one
product, nothing is allocated in eager steps, and the compiled step (AOTInductor, C++) is unrolled
over several samples. The gates' biases are given: conditioning is left out, in torch's favour.
One thread at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ghostnote.kernels.spec import LEVELS_16, ModelSpec

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

HALF = LEVELS_16 // 2
SPARE = 4096
"""Samples of past kept beyond what is needed, so that it is moved to the front but rarely."""

UNROLLED = 8
"""Steps in one call of the compiled program; of networks over MANY layers half as many."""

MANY = 24


class Past:
    """The past inputs of all layers: rows [L, capacity, R], of which a step takes some.

    Parameters
    ----------
    past : list of float32 [(k - 1) * dilation, R]
        Each layer's, oldest first.
    """

    def __init__(self, spec: ModelSpec, past: list[FLOATS]) -> None:
        taps = spec.filter_width - 1
        self.reach = taps * max(spec.dilations)
        capacity = self.reach + SPARE
        self.rows = torch.zeros(spec.layers, capacity, spec.residual)
        for layer, rows in enumerate(past):
            self.rows[layer, self.reach - len(rows) : self.reach] = torch.tensor(rows)
        self.flat = self.rows.view(-1, spec.residual)
        # Where the taps of each layer lie for a sample at time 0, [L * (k-1)].
        self.back = torch.tensor(
            [
                layer * capacity - (taps - tap) * dilation
                for layer, dilation in enumerate(spec.dilations)
                for tap in range(taps)
            ]
        )
        self.time = self.reach

    def make_room(self, count: int) -> None:
        """Move the past to the front where `count` samples more would not fit."""
        if self.time + count > self.rows.shape[1]:
            self.rows[:, : self.reach] = self.rows[:, self.time - self.reach : self.time].clone()
            self.time = self.reach


class Eager:
    """Steps in plain torch, with every result in memory that is there already."""

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, FLOATS],
        bias: FLOATS,
        past: list[FLOATS],
        history: list[int],
    ) -> None:
        self.spec, self.history = spec, list(history)
        w = {name: torch.tensor(array) for name, array in weights.items()}
        layers, r, d, taps = spec.layers, spec.residual, spec.gate, spec.filter_width - 1
        self.past = Past(spec, past)
        self.at = self.past.back + self.past.time
        self.taken = torch.empty(layers * taps, r)
        self.taken_rows = self.taken.view(layers, 1, taps * r)
        filters = w["filter_weight"]  # [L, k, 2D, R]
        self.past_filters = (
            filters[:, :-1].permute(0, 1, 3, 2).reshape(layers, taps * r, 2 * d).contiguous()
        )
        self.filters = [filters[layer, -1].contiguous() for layer in range(layers)]
        self.bias = torch.tensor(bias)[:, None]  # [L, 1, 2D]
        self.gates = torch.empty(layers, 1, 2 * d)
        self.residuals = list(w["residual_weight"])
        self.residual_biases = list(w["residual_bias"])
        self.inputs = torch.empty(layers, r)
        self.z = torch.empty(layers * d)
        self.sigmoid = torch.empty(d)
        self.skip_weight = w["skip_weight"].permute(1, 0, 2).reshape(spec.skip, -1).contiguous()
        self.w = w
        self.skip, self.hidden = torch.empty(spec.skip), torch.empty(spec.head)
        self.outputs = torch.empty(spec.outputs)
        # Views of one layer each, made once.
        self.a = [self.gates[layer, 0] for layer in range(layers)]
        self.halves = [(a[:d], a[d:]) for a in self.a]
        self.x = list(self.inputs)
        self.zs = list(self.z.view(layers, d))

    @torch.no_grad()
    def step(self, uniforms: Tensor, forced: int = -1) -> tuple[int, Tensor]:
        """Return the next level, drawn unless forced, and the outputs that it was drawn from."""
        spec, w, past = self.spec, self.w, self.past
        before = past.time
        past.make_room(1)
        if past.time != before:
            self.at += past.time - before
        torch.index_select(past.flat, 0, self.at, out=self.taken)
        torch.baddbmm(self.bias, self.taken_rows, self.past_filters, out=self.gates)
        self.x[0].copy_(_embedded(spec, w, torch.tensor(self.history)))
        for layer, (filters, a, halves, x, z) in enumerate(
            zip(self.filters, self.a, self.halves, self.x, self.zs, strict=True)
        ):
            torch.addmv(a, filters, x, out=a)
            torch.tanh(halves[0], out=z)
            torch.sigmoid(halves[1], out=self.sigmoid)
            z.mul_(self.sigmoid)
            if layer + 1 < spec.layers:
                onward = self.x[layer + 1]
                torch.add(x, self.residual_biases[layer], out=onward)
                onward.addmv_(self.residuals[layer], z)
        torch.addmv(w["skip_bias"], self.skip_weight, self.z, out=self.skip).relu_()
        torch.addmv(w["head0_bias"], w["head0_weight"], self.skip, out=self.hidden).relu_()
        torch.addmv(w["head1_bias"], w["head1_weight"], self.hidden, out=self.outputs)
        past.rows[:, past.time] = self.inputs
        past.time += 1
        self.at += 1
        level = forced if forced >= 0 else int(_drawn(spec, self.outputs, uniforms))
        self.history = [*self.history[1:], level]
        return level, self.outputs


def _embedded(spec: ModelSpec, w: Mapping[str, Tensor], history: Tensor) -> Tensor:
    """Return the first layer's input [R] for the last levels [taps]."""
    if spec.mixtures:
        amplitudes = (history - HALF).float() * (1.0 / HALF)
        return w["input_bias"] + (w["input_weight"] * amplitudes[:, None]).sum(0)
    x = w["input_weight"][0].index_select(0, history[:1])[0]
    for tap in range(1, spec.input_taps):
        x = x + w["input_weight"][tap].index_select(0, history[tap : tap + 1])[0]
    return x


def _drawn(spec: ModelSpec, outputs: Tensor, uniforms: Tensor) -> Tensor:
    """Return the level that uniform numbers draw at temperature 1, as the reference does."""
    if not spec.mixtures:
        running = torch.cumsum(torch.exp(outputs - outputs.max()), 0)
        return (running <= uniforms * running[-1]).sum()
    logits, means, log_scales = outputs.view(3, -1)
    running = torch.cumsum(torch.exp(logits - logits.max()), 0)
    component = (running <= uniforms[0] * running[-1]).sum()[None]
    mean, log_scale = means.index_select(0, component), log_scales.index_select(0, component)
    noise = torch.log(uniforms[1]) - torch.log(1.0 - uniforms[1])
    x = mean + torch.exp(log_scale.clamp(min=-14.0)) * noise
    return torch.floor(x * HALF + (HALF + 0.5)).clamp(0, LEVELS_16 - 1).long()[0]


class _Steps(nn.Module):
    """Several steps as one function of explicit tensors, for the compiler."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, FLOATS], steps: int) -> None:
        super().__init__()
        self.spec, self.steps = spec, steps
        taps = spec.filter_width - 1

        def put(name: str, value: Tensor) -> None:
            self.register_buffer(name, value.contiguous())

        w = {name: torch.tensor(array) for name, array in weights.items()}
        filters = w["filter_weight"]
        past = filters[:, :-1].permute(0, 1, 3, 2)
        put("past_filters", past.reshape(spec.layers, taps * spec.residual, 2 * spec.gate))
        for layer in range(spec.layers):
            for tap in range(spec.filter_width):
                put(f"filter_{layer}_{tap}", filters[layer, tap])
            if layer + 1 < spec.layers:
                put(f"residual_{layer}", w["residual_weight"][layer])
        put("skips", w["skip_weight"].permute(1, 0, 2).reshape(spec.skip, -1))
        names = ("residual_bias", "skip_bias", "head0_weight", "head0_bias", "head1_weight")
        for name in (*names, "head1_bias", "input_weight", *["input_bias"] * bool(spec.mixtures)):
            put(name, w[name])

    def forward(
        self, past: Tensor, bias: Tensor, history: Tensor, uniforms: Tensor, forced: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return levels [n], outputs [n, O], the layers' inputs [L, n, R] and the new history.

        `past` [L, n, (k-1)R] is what the layers take from before the call; where it is not known
        yet, anything.
        """
        spec, d, r = self.spec, self.spec.gate, self.spec.residual
        w = dict(self.named_buffers())
        gates = torch.baddbmm(bias[:, None], past, w["past_filters"])  # [L, n, 2D]
        inputs: list[list[Tensor]] = []
        levels, found = [], []
        for n in range(self.steps):
            x = _embedded(spec, w, history)
            mine, zs = [], []
            for layer, dilation in enumerate(spec.dilations):
                mine.append(x)
                a = gates[layer, n]
                if dilation <= n:  # some of its past has only just been made
                    a = bias[layer]
                    for tap in range(spec.filter_width - 1):
                        back = (spec.filter_width - 1 - tap) * dilation
                        old = past[layer, n, tap * r : (tap + 1) * r]
                        value = inputs[n - back][layer] if back <= n else old
                        a = a + torch.mv(w[f"filter_{layer}_{tap}"], value)
                a = a + torch.mv(w[f"filter_{layer}_{spec.filter_width - 1}"], x)
                z = torch.tanh(a[:d]) * torch.sigmoid(a[d:])
                zs.append(z)
                if layer + 1 < spec.layers:
                    x = x + w["residual_bias"][layer] + torch.mv(w[f"residual_{layer}"], z)
            inputs.append(mine)
            hidden = torch.relu(torch.mv(w["skips"], torch.cat(zs)) + w["skip_bias"])
            hidden = torch.relu(torch.mv(w["head0_weight"], hidden) + w["head0_bias"])
            outputs = torch.mv(w["head1_weight"], hidden) + w["head1_bias"]
            level = _drawn(spec, outputs, uniforms[n])
            level = torch.where(forced[n] < 0, level, forced[n])[None]
            history = torch.cat([history[1:], level])
            levels.append(level)
            found.append(outputs)
        new = torch.stack([torch.stack(row) for row in inputs], 1)
        return torch.cat(levels), torch.stack(found), new, history


def steps_a_call(spec: ModelSpec) -> int:
    """Return how many steps of a network are unrolled: deep ones take the C++ compiler too long."""
    return UNROLLED if spec.layers <= MANY else UNROLLED // 2


def compile_steps(spec: ModelSpec, weights: Mapping[str, FLOATS], folder: Path) -> Path:
    """Compile a network's steps by AOTInductor and return the package, kept in `folder`.

    A minute or some of one core; a package that is there already is taken as it is.
    """
    steps, path = steps_a_call(spec), package_path(spec, weights, folder)
    if path.exists():
        return path
    taps = spec.filter_width - 1
    example = (
        torch.zeros(spec.layers, steps, taps * spec.residual),
        torch.zeros(spec.layers, 2 * spec.gate),
        torch.full((spec.input_taps,), spec.silence),
        torch.full((steps, 2) if spec.mixtures else (steps,), 0.5),
        torch.full((steps,), -1),
    )
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.{os.getpid()}.pt2")
    with torch.no_grad(), _one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its own code
        program = torch.export.export(_Steps(spec, weights, steps).eval(), example)
        torch._inductor.aoti_compile_and_package(program, package_path=str(part))
    part.replace(path)
    return path


@contextlib.contextmanager
def _one_thread() -> Any:
    from torch._inductor import config

    with config.patch({"cpp.threads": 1, "compile_threads": 1}):
        yield


def package_path(spec: ModelSpec, weights: Mapping[str, FLOATS], folder: Path) -> Path:
    """Return where a package lies, named by the network, this file, torch and the processor."""
    cpu = torch.backends.cpu.get_cpu_capability()
    known = hashlib.sha256(f"{spec} {torch.__version__} {cpu}".encode())
    known.update(Path(__file__).read_bytes())
    for name in sorted(weights):
        known.update(np.ascontiguousarray(weights[name]).tobytes())
    return folder / f"{known.hexdigest()[:24]}.pt2"


class Compiled:
    """Steps of a compiled package, several a call."""

    def __init__(
        self, spec: ModelSpec, package: Path, bias: FLOATS, past: list[FLOATS], history: list[int]
    ) -> None:
        self.steps = steps_a_call(spec)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.call = torch._inductor.aoti_load_package(str(package))
        self.past, self.bias = Past(spec, past), torch.tensor(bias)
        self.history = torch.tensor(history)
        self.shape = (spec.layers, self.steps, -1)
        # [L, n, k-1]: step n takes what lies n further on.
        back = self.past.back.view(spec.layers, 1, -1)
        self.back = (back + torch.arange(self.steps)[None, :, None]).reshape(-1)

    @torch.no_grad()
    def step(self, uniforms: Tensor, forced: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next levels [n], drawn where `forced` is -1, and their outputs [n, O]."""
        past = self.past
        past.make_room(self.steps)
        # Rows of this very call are taken too, where something stands: the step knows better.
        taken = past.flat.index_select(0, self.back + past.time).view(self.shape)
        levels, outputs, inputs, self.history = self.call(
            taken, self.bias, self.history, uniforms, forced
        )
        past.rows[:, past.time : past.time + self.steps] = inputs
        past.time += self.steps
        return levels, outputs
