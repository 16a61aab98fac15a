"""Taught before a training: the body, what hits alone tell of the sound's low end, hop by hop.

The WaveNet then learns the sound less this body (`kernels/body.py` says why), so that a body stays as
it is from a training's first step on. One thread; the CPU.
"""

from __future__ import annotations

import itertools
import math
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostnote.kernels import control
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.high_pass import TOP
from ghostnote.kernels.packing import KNOT
from ghostnote.kernels.spec import ModelSpec

from .dataset import Clip, Dataset
from .windows import asked_of_clip

FLOATS = npt.NDArray[np.float32]

BATCH = 2048  # hops
RATE = 2e-3
WARMUP = 100
FIRST_WEIGHTS = 0.2
"""Of the size that they have in a training from nothing: smaller ones generalise better. Of the low
end of held-back clips 0.54 was foretold after 1,500 steps, with weights of full size 0.39."""

MOST_HOPS, MOST_HELD_HOPS = 6_000_000, 200_000
"""Hops in memory: 6 million, 100 minutes by 1 ms, are some 540 MB."""

STEEPNESS = 8  # order of the filter that takes the low end, up to `TOP`, out of a sound

FLOOR = 0.01
"""Added to the low end's own level, by which an error counts: a soft tail as much as its attack, but
what is softer than this less and less."""
LEVEL_HOPS = 50  # over which that level is taken
HEARD = 2e-4
"""Hops whose low end is softer than this are not taught."""


class Body(nn.Module):
    """Dense layers from control features [hops, C] to knots [hops, 2]: value and slope.

    Parameters bear the names and shapes of the model file (`kernels.weights.weight_shapes`).
    """

    def __init__(self, spec: ModelSpec, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.body_weight = nn.ParameterList()
        self.body_bias = nn.ParameterList()
        widths = (spec.conditioning, *spec.body)
        for fan, width in itertools.pairwise(widths):
            # Only a few of the features are nonzero at a time.
            first = FIRST_WEIGHTS / math.sqrt(min(fan, 32))
            self.body_weight.append(torch.randn(width, fan, generator=generator) * first)
            self.body_bias.append(torch.randn(width, generator=generator) * 0.02)
        first = FIRST_WEIGHTS / math.sqrt(min(widths[-1], 32))
        self.body_out_weight = nn.Parameter(
            torch.randn(KNOT, widths[-1], generator=generator) * first
        )
        self.body_out_bias = nn.Parameter(torch.zeros(KNOT))

    def forward(self, rows: Tensor) -> Tensor:
        """Return the knots [hops, 2] that control features [hops, C] tell, not yet softened."""
        hidden = rows
        for weight, bias in zip(self.body_weight, self.body_bias, strict=True):
            hidden = F.relu(F.linear(hidden, weight, bias))
        return F.linear(hidden, self.body_out_weight, self.body_out_bias)

    def weights(self) -> dict[str, FLOATS]:
        """Return the weights by the names of the model file, with the age table."""
        found = {name: p.detach().numpy().copy() for name, p in self.named_parameters()}
        return found | {"age_table": control.age_table(self.spec)}


@dataclass(frozen=True)
class Lessons:
    """Hops of a split, and where their low end is when they end.

    Attributes
    ----------
    ages : uint16 [hops, roles]
        Hops since each role's last hit.
    velocities : float32 [hops, roles]
    kits : float32 [hops, kits]
    knots : float32 [hops, 2]
        The low end's value and slope (values a hop).
    level : float32 [hops]
        Its own level (RMS) around them.
    """

    ages: npt.NDArray[np.uint16]
    velocities: FLOATS
    kits: FLOATS
    knots: FLOATS
    level: FLOATS

    def rows(self, table: FLOATS, chosen: npt.NDArray[np.int64]) -> Tensor:
        """Return the control rows [n, C] of chosen hops."""
        ages = self.ages[chosen].astype(np.int64)
        rows = control.control_rows(ages, self.velocities[chosen], self.kits[chosen], table)
        return torch.from_numpy(rows)


def low_end(spec: ModelSpec, sound: FLOATS) -> tuple[FLOATS, FLOATS]:
    """Return a sound's low end where hops end: value and slope [hops, 2], and its level [hops]."""
    hops = len(sound) // spec.hop
    count = hops * spec.hop
    # Room for the filter to ring in, which else would come round from the other end.
    size = 1 << (count + spec.samplerate).bit_length()
    hertz = np.fft.rfftfreq(size, 1.0 / spec.samplerate)
    top = TOP * spec.samplerate / spec.hop
    low = np.fft.rfft(sound[:count], size) / (1.0 + (hertz / top) ** STEEPNESS)
    slope = low * 2j * np.pi * hertz * (spec.hop / spec.samplerate)
    ends = np.minimum(np.arange(1, hops + 1) * spec.hop, count - 1)
    knots = np.stack([np.fft.irfft(part, size)[ends] for part in (low, slope)], axis=1)
    around = np.convolve(knots[:, 0] ** 2, np.full(LEVEL_HOPS, 1.0 / LEVEL_HOPS), "same")
    return knots.astype(np.float32), np.sqrt(around[:hops]).astype(np.float32)


def lessons(dataset: Dataset, split: str, spec: ModelSpec, most: int) -> Lessons:
    """Return the hops of a split's clips; of every so manieth clip where there are too many."""
    clips = dataset.split(split)
    stride = -(-sum(clip.frames // spec.hop for clip in clips) // most)
    parts = [_of_clip(dataset, clip, spec) for clip in clips[:: max(stride, 1)]]
    return Lessons(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _of_clip(
    dataset: Dataset, clip: Clip, spec: ModelSpec
) -> tuple[npt.NDArray[np.uint16], FLOATS, FLOATS, FLOATS, FLOATS]:
    knots, level = low_end(spec, dataset.audio(clip))
    ages, velocities, kits = asked_of_clip(spec, clip, len(knots))
    return ages.astype(np.uint16), velocities, kits, knots, level


def teach(
    body: Body, dataset: Dataset, steps: int, seed: int, stop: threading.Event | None = None
) -> float | None:
    """Teach a body the low end of a dataset.

    Parameters
    ----------
    steps : int
        Steps of 2,048 hops; 6,000 for 512 and 256 units take some six minutes of one core.
    stop : threading.Event, optional
        When set, it ends with an error: what has half learnt is not worth keeping.

    Returns
    -------
    The share of the low end's power that is foretold on held-back clips (1 is all of it), or
    None where nothing is held back.

    Raises
    ------
    GhostnoteError
        If the dataset has no low end, or if stopped.
    """
    train = lessons(dataset, "train", body.spec, MOST_HOPS)
    heard = np.flatnonzero(train.level > HEARD)
    if not len(heard):
        raise GhostnoteError(f"--body: dataset {dataset.root} has no low end; leave it out")
    table = control.age_table(body.spec)
    # Both outputs learn numbers of one size.
    steepness = float(train.knots[heard, 1].std() / train.knots[heard, 0].std())
    sizes = torch.tensor([1.0, steepness])
    with torch.no_grad():
        body.body_out_weight.div_(sizes[:, None])
        body.body_out_bias.div_(sizes)
    optimizer = torch.optim.AdamW(body.parameters(), RATE, weight_decay=0.0)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        if stop is not None and stop.is_set():
            raise GhostnoteError("training: stopped before its first step; nothing of it is kept")
        chosen = heard[rng.integers(0, len(heard), BATCH)]
        wanted = torch.from_numpy(train.knots[chosen]) / sizes
        errors = (body(train.rows(table, chosen)) - wanted).square().sum(dim=1)
        optimizer.zero_grad()
        (errors / torch.from_numpy(train.level[chosen] + FLOOR).square()).mean().backward()
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARMUP, 1.0) * (1.0 - step / steps)
        optimizer.step()
    with torch.no_grad():
        body.body_out_weight.mul_(sizes[:, None])
        body.body_out_bias.mul_(sizes)
    return foretold(body, dataset)


def foretold(body: Body, dataset: Dataset) -> float | None:
    """Return the share of the low end's power on held-back clips that a body tells, if there are any."""
    if not dataset.split("validation"):
        return None
    held = lessons(dataset, "validation", body.spec, MOST_HELD_HOPS)
    if not held.knots.any():
        return None
    table = control.age_table(body.spec)
    parts = np.array_split(np.arange(len(held.knots)), -(-len(held.knots) // BATCH))
    with torch.no_grad():
        told = torch.cat([body(held.rows(table, part))[:, 0] for part in parts]).numpy()
    value = held.knots[:, 0]
    return float(1.0 - np.square(told - value).sum() / np.square(value).sum())
