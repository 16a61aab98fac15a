"""Taught before a training: the body, the waves of which each drum's sound below 1.6 kHz is mixed.

The WaveNet then learns the sound less this body (`kernels/body.py` says why), so that a body stays as
it is from a training's first step on. One thread; the CPU.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import Tensor, nn

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import BODY_HIDDEN

from .dataset import Dataset
from .windows import asked_of_clip

FLOATS = npt.NDArray[np.float32]

BATCH = 4096  # hops
WAVE_RATE, GAIN_RATE = 4e-3, 2e-3
WARMUP = 50

MOST_HOPS, MOST_HELD_HOPS = 6_000_000, 300_000
"""Hops in memory: 6 million, 100 minutes by 1 ms with 9 roles and 4 knots, are some 700 MB."""

FLOOR = 0.004
"""Added to a sound's own level, by which an error counts: a soft tail as much as its attack, but what
is softer than this less and less."""
LEVEL_HOPS = 51  # over which that level is taken
HEARD = 2e-4
"""Hops that are softer than this are not taught."""

FADE_SECONDS = 0.1
"""In its last tenth of a second a wave dies away."""


class Body(nn.Module):
    """Waves of each role, and how a kit and a velocity mix them.

    Letters: R roles, A ages (hops), N knots of a hop, K waves, M kits. What learns are the values at the
    knots; their slopes are those of the band-limited wave through them.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        roles, inputs = len(spec.roles), 1 + 2 * len(spec.kits)

        def normal(size: float, *shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) * size)

        shape = (roles, spec.body_ages, spec.body_knots, spec.body)
        self.value = nn.Parameter(torch.zeros(shape))  # [R, A, N, K]
        self.gain0_weight = normal(0.3, roles, BODY_HIDDEN, inputs)
        self.gain0_bias = nn.Parameter(torch.zeros(roles, BODY_HIDDEN))
        self.gain1_weight = normal(1.0 / math.sqrt(BODY_HIDDEN), roles, spec.body, BODY_HIDDEN)
        hops = round(FADE_SECONDS * spec.samplerate / spec.hop)
        left = torch.arange(spec.body_ages - 1, -1, -1) / hops
        self.fade = left.clamp(max=1.0)  # [A]

    def gains(self, velocities: Tensor, kits: Tensor) -> Tensor:
        """Return how much of each wave is heard [hops, R, K], of velocities [hops, R], kits [hops, M]."""
        loud = velocities[:, :, None]
        each = kits[:, None].expand(-1, velocities.shape[1], -1)
        asked = torch.cat([each, loud, loud * each], dim=2)
        hidden = torch.einsum("hrf,ruf->hru", asked, self.gain0_weight) + self.gain0_bias
        return torch.einsum("hru,rku->hrk", torch.relu(hidden), self.gain1_weight) * loud

    def forward(self, ages: Tensor, velocities: Tensor, kits: Tensor) -> Tensor:
        """Return the values at the knots [hops, N] by ages [hops, R], velocities and kits."""
        gains = self.gains(velocities, kits)
        told = kits.new_zeros(len(ages), self.spec.body_knots)
        for role in range(ages.shape[1]):
            struck = (ages[:, role] < self.spec.body_ages).nonzero()[:, 0]
            age = ages[struck, role]
            waves = self.value[role, age] * self.fade[age, None, None]
            told = told.index_add(0, struck, torch.einsum("hk,hnk->hn", gains[struck, role], waves))
        return told

    def weights(self) -> dict[str, FLOATS]:
        """Return the weights by the names and shapes of the model file."""
        spec = self.spec
        value = (self.value * self.fade[:, None, None]).detach().numpy()  # [R, A, N, K]
        flat = value.reshape(len(value), -1, spec.body)  # a wave is A * N values
        size = 2 * flat.shape[1]
        turns = 2j * np.pi * np.fft.rfftfreq(size)[:, None]
        slope = np.fft.irfft(np.fft.rfft(flat, size, axis=1) * turns, size, axis=1)
        slope = slope[:, : flat.shape[1]].reshape(value.shape)
        return {
            "body_wave": np.stack([value, slope], axis=3).astype(np.float32),
            **{
                f"body_{name}": getattr(self, name).detach().numpy().copy()
                for name in ("gain0_weight", "gain0_bias", "gain1_weight")
            },
        }


@dataclass(frozen=True)
class Lessons:
    """Hops of a split, and their sound at the knots.

    Attributes
    ----------
    ages : uint16 [hops, roles]
        Hops since each role's last hit, at most as many as waves last.
    velocities : float32 [hops, roles]
    kits : float32 [hops, kits]
    values : float32 [hops, knots]
    level : float32 [hops]
        RMS around them.
    """

    ages: npt.NDArray[np.uint16]
    velocities: FLOATS
    kits: FLOATS
    values: FLOATS
    level: FLOATS

    def asked(self, chosen: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what chosen hops ask of a `Body`."""
        ages = torch.from_numpy(self.ages[chosen].astype(np.int64))
        return ages, torch.from_numpy(self.velocities[chosen]), torch.from_numpy(self.kits[chosen])


def at_knots(spec: ModelSpec, sound: FLOATS) -> tuple[FLOATS, FLOATS]:
    """Return a sound below half the knots' rate at its hops' knots [hops, N], and its level [hops].

    The last knot of a hop is its end.
    """
    hops = len(sound) // spec.hop
    found = soxr.resample(sound, spec.samplerate, spec.samplerate * spec.body_knots / spec.hop)
    values = np.zeros(hops * spec.body_knots + 1, np.float32)
    values[: len(found)] = found[: len(values)]
    knots = values[1:].reshape(hops, -1)
    power = np.square(knots).mean(axis=1)
    around = np.convolve(power, np.full(LEVEL_HOPS, 1.0 / LEVEL_HOPS), "same")[:hops]
    return knots, np.sqrt(np.maximum(around, 0.0)).astype(np.float32)


def lessons(dataset: Dataset, split: str, spec: ModelSpec, most: int) -> Lessons:
    """Return the hops of a split's clips; of every so manieth clip where there are too many."""
    clips = dataset.split(split)
    stride = -(-sum(clip.frames // spec.hop for clip in clips) // most)
    columns: list[tuple[npt.NDArray[np.generic], ...]] = []
    for clip in clips[:: max(stride, 1)]:
        values, level = at_knots(spec, dataset.audio(clip))
        ages, velocities, kits = asked_of_clip(spec, clip, len(values))
        ages = np.minimum(ages, spec.body_ages)
        columns.append((ages.astype(np.uint16), velocities, kits, values, level))
    return Lessons(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def teach(
    body: Body, dataset: Dataset, steps: int, seed: int, stop: threading.Event | None = None
) -> float | None:
    """Teach a body the sounds of a dataset.

    Parameters
    ----------
    steps : int
        Steps of 4,096 hops; 6,000 for 9 roles of 12 waves take some five minutes of one core.
    stop : threading.Event, optional
        When set, it ends with an error: what has half learnt is not worth keeping.

    Returns
    -------
    The share of the power below half the knots' rate that it tells on held-back clips (1 is all of
    it), or None where nothing is held back.

    Raises
    ------
    GhostnoteError
        If the dataset is silent down there, or if stopped.
    """
    train = lessons(dataset, "train", body.spec, MOST_HOPS)
    heard = np.flatnonzero(train.level > HEARD)
    if not len(heard):
        raise GhostnoteError(f"--body: dataset {dataset.root} has no low end; leave it out")
    gains = [body.gain0_weight, body.gain0_bias, body.gain1_weight]
    optimizer = torch.optim.Adam(
        [{"params": [body.value], "peak": WAVE_RATE}, {"params": gains, "peak": GAIN_RATE}]
    )
    rng = np.random.default_rng(seed)
    for step in range(steps):
        if stop is not None and stop.is_set():
            raise GhostnoteError("training: stopped before its first step; nothing of it is kept")
        chosen = heard[rng.integers(0, len(heard), BATCH)]
        errors = body(*train.asked(chosen)) - torch.from_numpy(train.values[chosen])
        scale = torch.from_numpy(train.level[chosen] + FLOOR)
        optimizer.zero_grad()
        (errors.square().mean(dim=1) / scale.square()).mean().backward()
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min((step + 1) / WARMUP, 1.0) * (1.0 - step / steps)
        optimizer.step()
    return foretold(body, dataset)


def foretold(body: Body, dataset: Dataset) -> float | None:
    """Return the share of held-back clips' power at the knots that a body tells, if there are any."""
    if not dataset.split("validation"):
        return None
    held = lessons(dataset, "validation", body.spec, MOST_HELD_HOPS)
    if not held.values.any():
        return None
    parts = np.array_split(np.arange(len(held.values)), -(-len(held.values) // BATCH))
    with torch.no_grad():
        told = torch.cat([body(*held.asked(part)) for part in parts]).numpy()
    return float(1.0 - np.square(told - held.values).sum() / np.square(held.values).sum())
