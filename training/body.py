"""Taught before a training: what hits determine of the sound, the waves of body and transients.

The body is each drum's sound below 1.6 kHz; the transients are what is left of its first tenths of a
second. The WaveNet then learns the sound less both (`kernels/body.py` says why), so that they stay as
they are from a training's first step on. One thread; the CPU.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import Tensor, nn

from ghostnote.kernels.body import sound_of
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import BODY_HIDDEN, GAINS

from .dataset import Dataset
from .windows import asked_of_clip

FLOATS = npt.NDArray[np.float32]

BATCH = 4096  # hops
WAVE_RATE, GAIN_RATE = 4e-3, 2e-3
WARMUP = 50

MOST_NUMBERS, MOST_HELD_NUMBERS = 240_000_000, 8_000_000
"""Numbers that lessons take in memory, of each hop its sound at the points, ages, velocities and kits: 1 GB,
50 minutes of transients by 48 samples with 9 roles and 8 kits."""

FLOOR = 0.004
"""Added to a sound's own level, by which an error counts: a soft tail as much as its attack, but what
is softer than this less and less."""
LEVEL_HOPS = 51  # over which that level is taken
HEARD = 2e-4
"""Hops that are softer than this are not taught."""

FADE_SECONDS = 0.1
"""In its last tenth of a second a wave dies away."""

TRANSIENT_STEPS = 0.25
"""Steps in which the transients are taught, by those of the body; they take three times as long each."""


class Waves(nn.Module):
    """Waves of each role, and how a kit and a velocity mix them.

    Letters: R roles, A ages (hops), P points of a hop, K waves, M kits.
    """

    def __init__(self, spec: ModelSpec, ages: int, waves: int, points: int) -> None:
        super().__init__()
        self.ages = ages
        roles, inputs = len(spec.roles), 1 + 2 * len(spec.kits)

        def normal(size: float, *shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) * size)

        self.value = nn.Parameter(torch.zeros(roles, ages, waves, points))
        self.gain0_weight = normal(0.3, roles, BODY_HIDDEN, inputs)
        self.gain0_bias = nn.Parameter(torch.zeros(roles, BODY_HIDDEN))
        self.gain1_weight = normal(1.0 / math.sqrt(BODY_HIDDEN), roles, waves, BODY_HIDDEN)
        hops = round(FADE_SECONDS * spec.samplerate / spec.hop)
        left = torch.arange(ages - 1, -1, -1) / hops
        self.fade = left.clamp(max=1.0)  # [A]

    def gains(self, velocities: Tensor, kits: Tensor) -> Tensor:
        """Return how much of each wave is heard [hops, R, K], of velocities [hops, R], kits [hops, M]."""
        loud = velocities[:, :, None]
        each = kits[:, None].expand(-1, velocities.shape[1], -1)
        asked = torch.cat([each, loud, loud * each], dim=2)
        hidden = torch.einsum("hrf,ruf->hru", asked, self.gain0_weight) + self.gain0_bias
        return torch.einsum("hru,rku->hrk", torch.relu(hidden), self.gain1_weight) * loud

    def forward(self, ages: Tensor, velocities: Tensor, kits: Tensor) -> Tensor:
        """Return the sound at the points [hops, P] by ages [hops, R], velocities and kits."""
        gains = self.gains(velocities, kits)
        told = kits.new_zeros(len(ages), self.value.shape[3])
        for role in range(ages.shape[1]):
            struck = (ages[:, role] < self.ages).nonzero()[:, 0]
            age = ages[struck, role]
            waves = self.value[role, age] * self.fade[age, None, None]
            told = told.index_add(0, struck, torch.einsum("hk,hkp->hp", gains[struck, role], waves))
        return told

    def faded(self) -> FLOATS:
        """Return the waves as they are heard, [R, A, K, P]."""
        return (self.value * self.fade[:, None, None]).detach().numpy()

    def mixing(self, name: str) -> dict[str, FLOATS]:
        """Return the other weights by the names and shapes of the model file."""
        return {f"{name}_{part}": getattr(self, part).detach().numpy().copy() for part in GAINS}


class Body(nn.Module):
    """All that hits determine of a model's sound.

    Attributes
    ----------
    low : Waves
        The body. What learns are the values at the knots; their slopes are those of the band-limited
        wave through them.
    transient : Waves or None
        Their points are the samples of a hop.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.low = Waves(spec, spec.body_ages, spec.body, spec.body_knots)
        self.transient: Waves | None = None
        if spec.transient:
            self.transient = Waves(spec, spec.transient_ages, spec.transient, spec.hop)

    def weights(self) -> dict[str, FLOATS]:
        """Return the weights by the names and shapes of the model file; transients once taught."""
        value = self.low.faded()  # [R, A, K, N]
        moved = np.moveaxis(value, 2, 1)  # [R, K, A, N]
        flat = moved.reshape(*moved.shape[:2], -1)  # a wave is A * N values
        size = 2 * flat.shape[2]
        turns = 2j * np.pi * np.fft.rfftfreq(size)
        slope = np.fft.irfft(np.fft.rfft(flat, size) * turns, size)[..., : flat.shape[2]]
        slope = np.moveaxis(slope.reshape(moved.shape), 1, 2)
        weights = {
            "body_wave": _half(np.stack([value, slope], axis=4)),
            **self.low.mixing("body"),
        }
        if self.transient is not None:
            weights["transient_wave"] = _half(self.transient.faded())
            weights |= self.transient.mixing("transient")
        return weights


def _half(array: npt.NDArray[np.floating]) -> FLOATS:
    """Return numbers as a model file holds waves."""
    return array.astype(np.float16).astype(np.float32)


@dataclass(frozen=True)
class Lessons:
    """Hops of a split, and their sound at the points of `Waves`.

    Attributes
    ----------
    ages : uint16 [hops, roles]
        Hops since each role's last hit, at most as many as waves last.
    velocities : float32 [hops, roles]
    kits : float32 [hops, kits]
    values : float32 [hops, points]
    level : float32 [hops]
        RMS around them.
    """

    ages: npt.NDArray[np.uint16]
    velocities: FLOATS
    kits: FLOATS
    values: FLOATS
    level: FLOATS

    def asked(self, chosen: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what chosen hops ask of `Waves`."""
        ages = torch.from_numpy(self.ages[chosen].astype(np.int64))
        return ages, torch.from_numpy(self.velocities[chosen]), torch.from_numpy(self.kits[chosen])


def at_knots(spec: ModelSpec, sound: FLOATS) -> FLOATS:
    """Return a sound below half the knots' rate at its hops' knots [hops, N].

    The last knot of a hop is its end.
    """
    hops = len(sound) // spec.hop
    found = soxr.resample(sound, spec.samplerate, spec.samplerate * spec.body_knots / spec.hop)
    values = np.zeros(hops * spec.body_knots + 1, np.float32)
    values[: len(found)] = found[: len(values)]
    return values[1:].reshape(hops, -1)


def level_of(values: FLOATS) -> FLOATS:
    """Return the level [hops] around hops by their values [hops, points]."""
    power = np.square(values).mean(axis=1)
    around = np.convolve(power, np.full(LEVEL_HOPS, 1.0 / LEVEL_HOPS), "same")[: len(values)]
    return np.sqrt(np.maximum(around, 0.0)).astype(np.float32)


def lessons(
    dataset: Dataset, split: str, body: Body, waves: Waves, most: int = MOST_NUMBERS
) -> Lessons:
    """Return the hops of a split's clips of which waves tell something.

    Of transients that is what the body leaves. Where there are more than `most` numbers it is every
    so manieth clip.
    """
    spec, clips = body.spec, dataset.split(split)
    size = waves.value.shape[3] + 2 * len(spec.roles) + len(spec.kits)
    stride = -(-size * sum(clip.frames // spec.hop for clip in clips) // most)
    weights = body.weights() if waves is body.transient else {}
    low = replace(spec, transient=0, transient_ages=0)
    columns: list[tuple[npt.NDArray[np.generic], ...]] = []
    for clip in clips[:: max(stride, 1)]:
        hops = clip.frames // spec.hop
        ages, velocities, kits = asked_of_clip(spec, clip, hops)
        sound = dataset.audio(clip)
        if weights:
            sound = sound[: hops * spec.hop] - sound_of(low, weights, ages, velocities, kits)
            values = sound.reshape(hops, -1)
        else:
            values = at_knots(spec, sound)
        ages = np.minimum(ages, waves.ages)
        columns.append((ages.astype(np.uint16), velocities, kits, values, level_of(values)))
    return Lessons(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def teach(
    body: Body, dataset: Dataset, steps: int, seed: int, stop: threading.Event | None = None
) -> dict[str, float]:
    """Teach a body the sounds of a dataset, its transients after it.

    Parameters
    ----------
    steps : int
        Steps of 4,096 hops for the body; 6,000 for 9 roles of 12 waves take some five minutes of one
        core. Transients take `TRANSIENT_STEPS` of it.
    stop : threading.Event, optional
        When set, it ends with an error: what has half learnt is not worth keeping.

    Returns
    -------
    "foretold": the share of the power below half the knots' rate that the body tells on held-back
    clips while its waves last (1 is all of it); "foretold_transients": that of what it leaves, while
    these last. Empty where nothing is held back.

    Raises
    ------
    GhostnoteError
        If the dataset is silent down there, or if stopped.
    """
    _teach(body, body.low, dataset, steps, seed, stop)
    if body.transient is not None:
        _teach(body, body.transient, dataset, math.ceil(TRANSIENT_STEPS * steps), seed, stop)
    return foretold(body, dataset)


def _teach(
    body: Body, waves: Waves, dataset: Dataset, steps: int, seed: int, stop: threading.Event | None
) -> None:
    train = lessons(dataset, "train", body, waves)
    heard = np.flatnonzero((train.level > HEARD) & (train.ages < waves.ages).any(axis=1))
    if not len(heard):
        raise GhostnoteError(f"--body: dataset {dataset.root} has no low end; leave it out")
    gains = [waves.gain0_weight, waves.gain0_bias, waves.gain1_weight]
    optimizer = torch.optim.Adam(
        [{"params": [waves.value], "peak": WAVE_RATE}, {"params": gains, "peak": GAIN_RATE}]
    )
    rng = np.random.default_rng(seed)
    for step in range(steps):
        if stop is not None and stop.is_set():
            raise GhostnoteError("training: stopped before its first step; nothing of it is kept")
        chosen = heard[rng.integers(0, len(heard), BATCH)]
        errors = waves(*train.asked(chosen)) - torch.from_numpy(train.values[chosen])
        scale = torch.from_numpy(train.level[chosen] + FLOOR)
        optimizer.zero_grad()
        (errors.square().mean(dim=1) / scale.square()).mean().backward()
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min((step + 1) / WARMUP, 1.0) * (1.0 - step / steps)
        optimizer.step()


def foretold(body: Body, dataset: Dataset) -> dict[str, float]:
    """Return the shares of held-back clips' power that a body tells, as `teach` does."""
    found: dict[str, float] = {}
    for name, waves in (("foretold", body.low), ("foretold_transients", body.transient)):
        if waves is None or not dataset.split("validation"):
            continue
        held = lessons(dataset, "validation", body, waves, MOST_HELD_NUMBERS)
        among = np.flatnonzero((held.ages < waves.ages).any(axis=1))
        if not held.values[among].any():
            continue
        with torch.no_grad():
            parts = np.array_split(among, -(-len(among) // BATCH))
            told = torch.cat([waves(*held.asked(part)) for part in parts]).numpy()
        wanted = held.values[among]
        found[name] = float(1.0 - np.square(told - wanted).sum() / np.square(wanted).sum())
    return found
