"""Other engines that step the same network, for `ghostnote bench`: onnxruntime (also on CUDA) and torch.

Each is checked before it is measured, as the kernel is: from a past of random numbers, so that every
dilation counts at once, its outputs must be the reference's, and its draws those of its outputs.
Torch comes with the extra `train`; `training/rivals.py` is imported where it is asked for only.
"""

from __future__ import annotations

import functools
import importlib.util
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ghostnote.inference.graph import build_model
from ghostnote.inference.onnx_stream import CPU_PROVIDER, open_session
from ghostnote.inference.tolerance import missed
from ghostnote.kernels import rng
from ghostnote.kernels.backends import CUDA_PROVIDER
from ghostnote.kernels.backends import missing as lacks_here
from ghostnote.kernels.control import control_rows
from ghostnote.kernels.errors import GhostnoteError, how_to_install
from ghostnote.kernels.reference import Reference, ReferenceState, draw
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import Weights

from .compile_cache import user_cache

FLOATS = npt.NDArray[np.float32]
DOUBLES = npt.NDArray[np.float64]
INTS = npt.NDArray[np.int64]

PROVIDERS = {"onnx": CPU_PROVIDER, "onnx-cuda": CUDA_PROVIDER}
"""onnxruntime's, by the name of the backend."""

CHECKED = 64
"""Samples that a rival is checked over, and that it plays in one turn of measuring."""

ERROR = 2e-4
"""Error allowed of a rival's outputs, a share of their spread."""

TIES = 4
"""Of CHECKED draws, those that may be near ties of 16 bit or of a softmax."""


@dataclass(frozen=True)
class Start:
    """Where a rival starts: a network, its hop's control features, a past, a level history."""

    spec: ModelSpec
    weights: Weights
    bias: DOUBLES  # of the gates, [L, 2D]: the conditioning's outcome
    past: list[FLOATS]  # of each layer, oldest first, [(k-1) * dilation, R]
    history: list[int]

    @classmethod
    def of(cls, spec: ModelSpec, weights: Weights) -> Start:
        """Return a start at random, with every role just struck."""
        draw = np.random.default_rng(9)
        past = [
            draw.standard_normal(((spec.filter_width - 1) * d, spec.residual)).astype(np.float32)
            for d in spec.dilations
        ]
        state = ReferenceState([], [])
        row = _control(spec, weights)
        Reference(spec, weights).set_control(state, row)
        history = draw.integers(0, spec.levels, spec.input_taps).tolist()
        return cls(spec, weights, state.hop_bias, past, history)

    def expected(self, levels: INTS) -> DOUBLES:
        """Return the reference's outputs [n, O] while levels [n] are fed."""
        reference = Reference(self.spec, self.weights)
        past = [[row.astype(np.float64) for row in rows] for rows in self.past]
        state = ReferenceState([0, *self.history[:-1]], past, self.bias)
        fed = [self.history[-1], *levels[:-1].tolist()]
        return np.stack([reference.step(state, level) for level in fed])


def _control(spec: ModelSpec, weights: Weights) -> DOUBLES | None:
    if not spec.conditioning:
        return None
    table = weights.get("age_table", np.zeros((1, 1), np.float32))
    shape = (1, len(spec.roles))
    kit = np.eye(1, len(spec.kits), dtype=np.float32)
    rows = control_rows(np.zeros(shape, np.int64), np.ones(shape, np.float32), kit, table)
    return np.asarray(rows[0], np.float64)


class Player(Protocol):
    """An engine at work on one stream."""

    def play(self, uniforms: FLOATS, forced: INTS) -> tuple[INTS, FLOATS]:
        """Return the next levels [n], drawn where `forced` is -1, and their outputs [n, O]."""


def onnx_session(spec: ModelSpec, weights: Weights, backend: str = "onnx") -> Any:
    """Return an onnxruntime session of the network's graph, on one thread or on CUDA."""
    return open_session(build_model(spec, weights, {}).SerializeToString(), PROVIDERS[backend])


class OnnxPlayer:
    """onnxruntime on the graph of the model file, so many samples a call."""

    def __init__(self, start: Start, size: int, session: Any) -> None:
        spec = start.spec
        self.session = session
        hops = (size - 1) // spec.hop + 1
        self.size = size
        self.feeds: dict[str, Any] = {
            "temperature": np.array(1.0, np.float32),
            "top_k": np.array(0, np.int64),
            "level_history": np.array(start.history, np.int64),
            "past": np.concatenate(start.past),
        }
        if spec.conditioning:
            self.feeds["hop_of"] = np.arange(size) // spec.hop
        if spec.roles:
            self.feeds["ages"] = np.zeros((hops, len(spec.roles)), np.int64)
            self.feeds["velocities"] = np.ones((hops, len(spec.roles)), np.float32)
        if spec.kits:
            self.feeds["kits"] = np.eye(1, len(spec.kits), dtype=np.float32).repeat(hops, axis=0)
        self.names = ["levels", "logits", "level_history_out", "past_out"]

    def play(self, uniforms: FLOATS, forced: INTS) -> tuple[INTS, FLOATS]:
        """Play in calls of the size."""
        levels, outputs = [], []
        for at in range(0, len(forced), self.size):
            now = slice(at, at + self.size)
            self.feeds["uniforms"], self.feeds["forced"] = uniforms[now], forced[now]
            some, found, history, past = self.session.run(self.names, self.feeds)
            self.feeds["level_history"], self.feeds["past"] = history, past
            levels.append(some)
            outputs.append(found)
        return np.concatenate(levels), np.concatenate(outputs)


class EagerPlayer:
    """torch, one sample a step."""

    def __init__(self, start: Start) -> None:
        import torch

        from ghostnote.training.rivals import Eager

        torch.set_num_threads(1)
        self.torch = torch
        bias = start.bias.astype(np.float32)
        self.steps = Eager(start.spec, start.weights, bias, start.past, start.history)

    def play(self, uniforms: FLOATS, forced: INTS) -> tuple[INTS, FLOATS]:
        """Play sample by sample; keeps no outputs while drawing freely, for speed."""
        given = self.torch.from_numpy(uniforms)
        levels, outputs = [], []
        for u, level in zip(given, forced.tolist(), strict=True):
            drawn, found = self.steps.step(u, level)
            levels.append(drawn)
            outputs.append(found.numpy().copy())
        return np.array(levels), np.stack(outputs)


class CompiledPlayer:
    """torch's AOTInductor, several steps a call."""

    def __init__(self, start: Start, package: Path) -> None:
        import torch

        from ghostnote.training.rivals import Compiled

        torch.set_num_threads(1)
        self.torch = torch
        bias = start.bias.astype(np.float32)
        self.steps = Compiled(start.spec, package, bias, start.past, start.history)

    def play(self, uniforms: FLOATS, forced: INTS) -> tuple[INTS, FLOATS]:
        """Play in calls of as many steps as were unrolled."""
        given, wanted = self.torch.from_numpy(uniforms), self.torch.from_numpy(forced)
        size = self.steps.steps
        found = [
            self.steps.step(given[at : at + size], wanted[at : at + size])
            for at in range(0, len(forced), size)
        ]
        levels, outputs = zip(*found, strict=True)
        return self.torch.cat(levels).numpy(), self.torch.cat(outputs).numpy()


def check(name: str, start: Start, make: Callable[[], Player], expected: DOUBLES) -> None:
    """Compare a rival's outputs with the reference's, and its draws with its own outputs.

    Raises
    ------
    GhostnoteError
        If it plays another network; the message tells by how much.
    """
    spec = start.spec
    _, outputs = make().play(_uniforms(spec), checked_levels(spec))
    error = float(np.abs(outputs - expected).max() / expected.std())
    if not error <= ERROR:  # so that NaN counts as wrong
        raise GhostnoteError(f"parity: {name}: outputs differ by {error:.2g} of their spread")
    uniforms = _uniforms(spec)
    levels, outputs = make().play(uniforms, np.full(CHECKED, -1, np.int64))
    ties = 0
    for at in range(CHECKED):
        if draw(spec, outputs[at].astype(np.float64), uniforms[at]) == levels[at]:
            continue
        near, by = missed(spec, outputs[at], int(levels[at]), uniforms[at], 1.0)
        ties += 1
        if not near or ties > (CHECKED // 4 if spec.mixtures else TIES):
            raise GhostnoteError(f"parity: {name} draws level {levels[at]} at sample {at}, by {by}")


def checked_levels(spec: ModelSpec) -> INTS:
    """Return the levels that rivals are fed with when they are checked."""
    return np.random.default_rng(4).integers(0, spec.levels, CHECKED)


def work(spec: ModelSpec, player: Player) -> Callable[[], int]:
    """Return a function that makes a rival play CHECKED samples, freely drawn."""
    uniforms, forced = _uniforms(spec), np.full(CHECKED, -1, np.int64)

    def run() -> int:
        player.play(uniforms, forced)
        return CHECKED

    return run


def _uniforms(spec: ModelSpec) -> FLOATS:
    return rng.uniforms_of(spec, 1, 0, 0, CHECKED)


def package_folder() -> Path:
    """Return where compiled packages are kept from one run to the next."""
    return user_cache() / "ghostnote" / "bench"


def makers(
    start: Start, backends: Sequence[str], call_sizes: Sequence[int]
) -> dict[tuple[str, int], Callable[[], Player]]:
    """Return how to make each rival of the named backends, by backend and samples a call."""
    found: dict[tuple[str, int], Callable[[], Player]] = {}
    for name in PROVIDERS:
        if name in backends:
            session = onnx_session(start.spec, start.weights, name)
            for size in call_sizes:
                found[name, size] = functools.partial(OnnxPlayer, start, size, session)
    if "torch" in backends:
        found["torch", 1] = functools.partial(EagerPlayer, start)
    if "inductor" in backends:
        from ghostnote.training.rivals import compile_steps, steps_a_call

        package = compile_steps(start.spec, start.weights, package_folder())
        size = steps_a_call(start.spec)
        found["inductor", size] = functools.partial(CompiledPlayer, start, package)
    return found


def missing(backend: str) -> str:
    """Return what a rival lacks here, or nothing."""
    if backend in ("torch", "inductor") and importlib.util.find_spec("torch") is None:
        return f"torch is not there: {how_to_install('train')}"
    if backend == "inductor" and not any(
        shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")
    ):
        return "AOTInductor needs a C++ compiler, g++ or clang++"
    return lacks_here(backend)


def compile_all(networks: Sequence[tuple[ModelSpec, Weights]]) -> None:
    """Compile the AOTInductor packages of networks, as many at a time as there are cores.

    A minute or two of a core each; those that were compiled before are kept.
    """
    from ghostnote.training.rivals import compile_steps, package_path

    folder = package_folder()
    jobs = [(spec, dict(w)) for spec, w in networks if not package_path(spec, w, folder).exists()]
    if not jobs:
        return
    print(
        f"ghostnote bench: AOTInductor compiles {len(jobs)} networks, once; some minutes",
        file=sys.stderr,
    )
    # Other processes, since torch compiles one at a time in each; spawned, since torch has threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(jobs)), context) as pool:
        for done in [pool.submit(compile_steps, spec, w, folder) for spec, w in jobs]:
            done.result()
