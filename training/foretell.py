"""Taught before a training: what the hits alone can tell of the low end, hop by hop.

The last few samples tell nearly all that the next one needs, so bits hardly reward a network for
asking its conditioning where in its course a low tone is; playing freely, it loses the tone
(docs/sound.md, "Low tones"). So the dense layers of the conditioning are taught first, with no past
and by a readout that is thrown away, to foretell the low end.

One thread; the CPU.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import Tensor, nn

from ghostnote.kernels import control
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec

from .dataset import Clip, Dataset
from .wavenet import WaveNet
from .windows import asked_by_hop

FLOATS = npt.NDArray[np.float32]

BATCH = 2048  # hops
RATE = 2e-3
WARMUP = 100
FIRST_WEIGHTS = 0.2
"""Of the size that they have in a training from nothing. Smaller ones generalise better: after
1,500 steps 0.54 of the low end of held-back clips was foretold, with weights of full size 0.39."""

MOST_HOPS, MOST_HELD_HOPS = 6_000_000, 150_000
"""Hops in memory: 6 million, 100 minutes by 1 ms, are some 540 MB."""

SOFTNESS = 30.0
"""The low end is learnt as asinh(30 x), so that the tail of a tone counts beside its attack."""

HEARD = 1e-3
HEARD_HOPS = 50


@dataclass(frozen=True)
class Lessons:
    """Hops of a split, and what there is to foretell of them.

    Attributes
    ----------
    ages : uint16 [hops, roles]
        Hops since each role's last hit.
    velocities : float32 [hops, roles]
    kits : float32 [hops, kits]
    low : float32 [hops]
        The softened low end.
    """

    ages: npt.NDArray[np.uint16]
    velocities: FLOATS
    kits: FLOATS
    low: FLOATS

    def rows(self, table: FLOATS, chosen: npt.NDArray[np.int64]) -> Tensor:
        """Return the control rows [n, C] of chosen hops."""
        ages = self.ages[chosen].astype(np.int64)
        rows = control.control_rows(ages, self.velocities[chosen], self.kits[chosen], table)
        return torch.from_numpy(rows)


def low_end(spec: ModelSpec, sound: FLOATS) -> FLOATS:
    """Return a sound [n] below half the hops' rate, softened, where each hop begins [n / hop]."""
    low = np.zeros(len(sound) // spec.hop, np.float32)
    found = soxr.resample(sound, spec.samplerate, spec.samplerate / spec.hop)[: len(low)]
    low[: len(found)] = np.arcsinh(SOFTNESS * found)
    return low


def lessons(dataset: Dataset, split: str, spec: ModelSpec, most: int) -> Lessons:
    """Return the hops of a split's clips; of every so manieth clip where there are too many."""
    clips = dataset.split(split)
    stride = -(-sum(clip.frames // spec.hop for clip in clips) // most)
    parts = [_of_clip(dataset, clip, spec) for clip in clips[:: max(stride, 1)]]
    return Lessons(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _of_clip(
    dataset: Dataset, clip: Clip, spec: ModelSpec
) -> tuple[npt.NDArray[np.uint16], FLOATS, FLOATS, FLOATS]:
    low = low_end(spec, dataset.audio(clip))
    hits = np.array(clip.hits, np.float64).reshape(-1, 3)
    chokes = control.choke_array(spec)
    ages, velocities, kits = asked_by_hop(spec, hits, clip.kits, len(low), chokes)
    return ages.astype(np.uint16), velocities, kits, low


def foretell(
    model: WaveNet,
    dataset: Dataset,
    steps: int,
    seed: int,
    known: tuple[int, ...] = (),
    stop: threading.Event | None = None,
) -> float | None:
    """Teach the dense layers of a model's conditioning to foretell the low end of a dataset.

    Parameters
    ----------
    steps : int
        Steps of 2,048 hops; 5,000 for 192 and 64 units take some three minutes of one core.
    known : tuple of int
        So many units of each layer, the first ones, stay as they are; the others learn.
    stop : threading.Event, optional
        When set, it ends with an error: what has half learnt is not worth keeping.

    Returns
    -------
    The share of the low end's power that is foretold on held-back clips (1 is all of it), or
    None where nothing is held back.

    Raises
    ------
    GhostnoteError
        If the dataset has no hits or no low end, or the model no units to teach, or if stopped.
    """
    spec = model.spec
    known = known or (0,) * len(spec.cond_hidden)
    if not spec.roles:
        raise GhostnoteError("--foretell: the dataset has no hits to foretell from; leave it out")
    if known == spec.cond_hidden:
        raise GhostnoteError(
            "--foretell: the model's conditioning has learnt already; give it wider layers with "
            f"--cond-hidden, which are {','.join(map(str, known))}"
        )
    train = lessons(dataset, "train", spec, MOST_HOPS)
    # The threshold is one of the sound, 0.001 of full scale: asinh is linear there.
    around = np.convolve(np.abs(train.low), np.full(HEARD_HOPS, 1.0 / HEARD_HOPS), "same")
    heard = np.flatnonzero(around > SOFTNESS * HEARD)
    if not len(heard):
        raise GhostnoteError(f"--foretell: dataset {dataset.root} has no low end; leave it out")
    scale = float(train.low[heard].std())
    table = control.age_table(spec)
    readout = nn.Linear(spec.cond_hidden[-1], 1)
    layers = [*model.cond_weight, *model.cond_bias]
    with torch.no_grad():
        for parameter, first in zip(layers, 2 * known, strict=True):
            parameter[first:] *= FIRST_WEIGHTS
    optimizer = torch.optim.AdamW([*layers, *readout.parameters()], RATE, weight_decay=0.0)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        if stop is not None and stop.is_set():
            raise GhostnoteError("training: stopped before its first step; nothing of it is kept")
        chosen = heard[rng.integers(0, len(heard), BATCH)]
        wanted = torch.from_numpy(train.low[chosen]) / scale
        errors = readout(model.dense(train.rows(table, chosen)))[:, 0] - wanted
        optimizer.zero_grad()
        errors.square().mean().backward()
        for parameter, first in zip(layers, 2 * known, strict=True):
            assert parameter.grad is not None
            parameter.grad[:first] = 0.0
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARMUP, 1.0) * (1.0 - step / steps)
        optimizer.step()
    if not dataset.split("validation"):
        return None
    held = lessons(dataset, "validation", spec, MOST_HELD_HOPS)
    if not held.low.any():
        return None
    with torch.no_grad():
        parts = np.array_split(np.arange(len(held.low)), -(-len(held.low) // BATCH))
        said = torch.cat([readout(model.dense(held.rows(table, part)))[:, 0] for part in parts])
    errors_held = said.numpy() * scale - held.low
    return float(1.0 - np.square(errors_held).sum() / np.square(held.low).sum())
