"""The GPU in `ghostnote bench`: parity before any figure, the works, and what the card can do.

Torch is imported where a GPU is asked for only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.inference.tolerance import missed
from ghostnote.kernels import parity, rng
from ghostnote.kernels.backends import (
    GPU_PRECISIONS,
    Checkable,
    check_precision,
    cuda_name,
    interpreted,
    is_loss,
    open_gpu,
    streams_work,
    why_lost,
)
from ghostnote.kernels.bench import measure
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.levels import encode
from ghostnote.kernels.reference import draw
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import Weights

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

Open = Callable[[ModelSpec, Weights, str, int], Checkable]
"""Makes lanes of a model on the GPU: its spec and weights, a precision, how many."""

MAX_STREAMS = 65536

TIGHT = 2e-4
"""Error allowed of any output in fp32, as a share of the outputs' spread: that of other engines."""

LOOSE = 0.05
"""Root mean square of the errors in bf16, the same share. Rounding weights, layer inputs and gates of
the literature's networks (`configs.py`) to bf16 moves them by 0.002 to 0.014."""

DRAWN = 96
"""Samples that are drawn freely and compared with the network's own outputs."""

TIES = 8
"""Of DRAWN draws of a lane, those that may be near ties; a quarter of a mixture's, rounded to 16 bit."""

HELD_NUMBERS = 16_000_000
"""Outputs of all lanes that are held at a time: 64 MB."""

PEAK_SECONDS = 0.3


def peaks() -> dict[str, Any]:
    """Return the card's name, its multiply-adds in 10^9 a second by torch, and its memory's GB/s.

    Raises
    ------
    GhostnoteError
        If the GPU fails.
    """
    with told_if_lost("large matrices"):
        return _peaks()


def _peaks() -> dict[str, Any]:
    import torch

    device, size = ("cpu", 64) if interpreted() else ("cuda", 8192)

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def product(kind: torch.dtype) -> Callable[[], int]:
        # Random: a card multiplies ones faster than what a network holds, as that takes less power.
        a = torch.randn(size, size, device=device).to(kind)

        def run() -> int:
            torch.matmul(a, a)
            wait()
            return size**3

        return run

    source = torch.ones(size * size, device=device)
    target = torch.empty_like(source)

    def copy() -> int:
        target.copy_(source)
        wait()
        return 2 * source.nbytes

    work = {
        "fp32_gmac_per_s": product(torch.float32),
        "bf16_gmac_per_s": product(torch.bfloat16),
        "bandwidth_gb_per_s": copy,
    }
    rates = measure(work, PEAK_SECONDS, best=True)
    found = {name: rate / 1e9 for name, rate in rates.items()}
    return {"name": cuda_name() or "Triton's interpreter", **found}


def precisions(wanted: list[str]) -> list[str]:
    """Return those of the precisions in which the GPU plays; refuse if there is none."""
    found = [name for name in wanted if name in GPU_PRECISIONS]
    if not found:
        check_precision(wanted[0])
    return found


class Truth:
    """Levels to feed a network with, over more than a receptive field, and the reference's outputs."""

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        self.given = [parity.given_levels(spec, seed) for seed in (3, 4)]  # to lanes in turns
        self.expected = [parity.outputs_of(spec, weights, levels) for levels in self.given]


def check(
    spec: ModelSpec,
    weights: Weights,
    precision: str,
    streams: int,
    truth: Truth | None = None,
    opened: Open | None = None,
) -> None:
    """Compare what the GPU plays with the reference.

    Fed with given levels over more than a receptive field, lanes at both ends and in the middle must
    put out what the float64 reference does: in fp32 output by output, in bf16 by the root mean
    square. What they draw freely must be the draws of
    their own outputs. `truth` is made of the network if it is not given; `opened` makes the lanes,
    `open_gpu` if it is not given.

    Raises
    ------
    GhostnoteError
        If it plays something else, or cannot play at all; the message tells by how much.
    """
    with told_if_lost(_what(streams, precision)):
        network = (opened or open_gpu, spec, weights, precision, streams)
        _check_outputs(*network, truth or Truth(spec, weights))
        _check_draws(*network)


def work(spec: ModelSpec, weights: Weights, precision: str, streams: int) -> Callable[[], int]:
    """Return a function that plays a piece of every stream and returns the samples made."""
    with told_if_lost(_what(streams, precision)):
        play = streams_work(open_gpu(spec, weights, precision, streams), spec, streams)

    def run() -> int:
        with told_if_lost(_what(streams, precision)):
            return play()

    return run


def _what(streams: int, precision: str) -> str:
    return f"{streams} streams in {precision}"


@contextmanager
def told_if_lost(what: str) -> Iterator[None]:
    """Tell in one line what the GPU's libraries raise where it is out of memory or lost."""
    try:
        yield
    except Exception as error:
        if not is_loss(error):
            raise
        raise GhostnoteError(f"the GPU fails with {what}: {why_lost(error)}") from None


def _check_outputs(
    opened: Open, spec: ModelSpec, weights: Weights, precision: str, streams: int, truth: Truth
) -> None:
    kinds = len(truth.given)
    fed = np.stack([truth.given[lane % kinds] for lane in range(streams)])
    found = _fed(opened(spec, weights, precision, streams), spec, fed)
    for lane, outputs in found.items():
        expected = truth.expected[lane % kinds]
        error = np.abs(outputs - expected) / float(expected.std())
        off, most = float(error.max()), TIGHT
        if precision != "fp32":
            off, most = float(np.sqrt(np.mean(np.square(error)))), LOOSE
        if not off <= most:  # so that NaN counts as wrong
            raise GhostnoteError(
                f"parity: the GPU in {precision}: outputs of lane {lane} of {streams} differ by "
                f"{off:.2g} of their spread"
            )


def _check_draws(
    opened: Open, spec: ModelSpec, weights: Weights, precision: str, streams: int
) -> None:
    seed = 5

    def started() -> Checkable:
        state = opened(spec, weights, precision, streams)
        state.seed(seed)
        if spec.roles:
            state.hit(0, 1.0)
        return state

    samples = np.full((streams, DRAWN), np.nan, np.float32)
    started().generate(samples)
    levels = encode(spec, np.nan_to_num(samples))
    for lane, outputs in _fed(started(), spec, levels).items():
        ties = 0
        uniforms = rng.uniforms_of(spec, seed, lane, 0, DRAWN)
        for at in range(DRAWN):
            level = int(levels[lane, at])
            if draw(spec, outputs[at].astype(np.float64), uniforms[at]) == level:
                continue
            near, by = missed(spec, outputs[at], level, uniforms[at], 1.0)
            ties += 1
            if not near or ties > (DRAWN // 4 if spec.mixtures else TIES):
                raise GhostnoteError(
                    f"parity: the GPU in {precision}: lane {lane} of {streams} draws level {level} "
                    f"at sample {at}, by {by}"
                )


def _fed(state: Checkable, spec: ModelSpec, levels: INTS) -> dict[int, FLOATS]:
    """Return what some lanes put out, [n, O], while levels [lanes, n] are fed to all."""
    streams, count = levels.shape
    lanes = sorted({0, 1, streams // 2, streams - 1} & set(range(streams)))
    size = max(1, HELD_NUMBERS // (streams * spec.outputs))
    parts = [
        state.teacher_force(np.ascontiguousarray(levels[:, at : at + size]))[lanes]
        for at in range(0, count, size)
    ]
    return dict(zip(lanes, np.concatenate(parts, axis=1), strict=True))
