"""Training windows: stretches of clips with their control features.

The choice of a window depends on (seed, step, place in the batch) alone, so that a resumed run
sees the same data in the same order, whatever the number of threads. Any thread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ghostnote.kernels import control
from ghostnote.kernels.spec import ModelSpec

from .dataset import Dataset


@dataclass(frozen=True)
class Window:
    """Inputs and targets of one stretch.

    Attributes
    ----------
    inputs, targets : int64 [T]
        Levels; targets[t] follows inputs[t].
    rows : float32 [T / hop, C] or None
        Control features of the hops of the targets.
    context : int
        Number of leading targets that have no whole receptive field before them.
    """

    inputs: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    rows: npt.NDArray[np.float32] | None
    context: int


class Windows:
    """All clips of a split in memory, and windows cut from them."""

    def __init__(self, dataset: Dataset, split: str, spec: ModelSpec, hops: int) -> None:
        self.spec = spec
        self.clips = dataset.split(split)
        # Clips start from silence: one receptive field of it goes before each.
        self.lead_hops = -(-spec.receptive_field // spec.hop)
        self.hops = hops + self.lead_hops
        lead = np.full(self.lead_hops * spec.hop, spec.silence, np.int16)
        self.levels = [np.concatenate([lead, dataset.levels(c, spec.levels)]) for c in self.clips]
        self.hits = [np.array(c.hits, np.float64).reshape(-1, 3) for c in self.clips]
        self.table = control.age_table(spec) if spec.roles else np.zeros((1, 1), np.float32)
        self.chokes = control.choke_array(spec)
        lengths = np.array([len(levels) for levels in self.levels], np.float64)
        self.weights = lengths / lengths.sum()

    def draw(
        self,
        rng: np.random.Generator,
        near_hits: float = 0.0,
        drop_control: float = 0.0,
        input_noise: float = 0.0,
    ) -> Window:
        """Return a random window; the arguments are those of `TrainConfig`."""
        number = int(rng.choice(len(self.clips), p=self.weights))
        hops = len(self.levels[number]) // self.spec.hop
        last = max(hops - self.hops, 0)
        start = int(rng.integers(0, last + 1))
        hits = self.hits[number]
        if len(hits) and rng.random() < near_hits:
            # Rare roles are drawn more often than they sound: 1 / sqrt(count).
            roles = hits[:, 1].astype(np.int64)
            share = 1.0 / np.sqrt(np.bincount(roles))[roles]
            hit = int(hits[int(rng.choice(len(hits), p=share / share.sum())), 0])
            body = self.hops - self.lead_hops
            start = min(max(hit - int(rng.integers(0, max(int(0.6 * body), 1))), 0), last)
        window = self.cut(number, start, dropped=bool(rng.random() < drop_control))
        if input_noise:
            noise = rng.standard_normal(len(window.inputs)) * rng.uniform(0.0, input_noise)
            astray = window.inputs + np.rint(noise).astype(np.int64)
            return replace(window, inputs=np.clip(astray, 0, self.spec.levels - 1))
        return window

    def cut(self, number: int, start: int, dropped: bool = False) -> Window:
        """Return the window of a clip that starts at hop `start` of its lead-in silence."""
        spec = self.spec
        levels = self.levels[number]
        begin = start * spec.hop
        end = min(begin + self.hops * spec.hop, len(levels) // spec.hop * spec.hop)
        targets = levels[begin:end].astype(np.int64)
        before = levels[begin - 1] if begin else spec.silence
        inputs = np.concatenate([[before], targets[:-1]]).astype(np.int64)
        rows = None
        if spec.conditioning:
            rows = self._rows(number, start, (end - begin) // spec.hop, dropped)
        context = self.lead_hops * spec.hop
        return Window(inputs, targets, rows, context)

    def _rows(self, number: int, start: int, hops: int, dropped: bool) -> npt.NDArray[np.float32]:
        spec, clip = self.spec, self.clips[number]
        if dropped:
            return np.zeros((hops, spec.conditioning), np.float32)
        shifted = self.hits[number].copy()
        shifted[:, 0] += self.lead_hops
        ages, velocities = control.ages_of_hits(
            shifted, start + hops, len(spec.roles), self.chokes, max(spec.ages - 1, 0)
        )
        kits = np.zeros((hops, len(spec.kits)), np.float32)
        if clip.kit:
            kits[:, spec.kits.index(clip.kit)] = 1.0
        rows = control.control_rows(ages[start:], velocities[start:], kits, self.table)
        return np.asarray(rows)


def evenly(windows: Windows, count: int) -> list[Window]:
    """Return `count` windows spread evenly over all clips, the same at every call."""
    spots = np.linspace(0, len(windows.clips) - 1, count).round().astype(int)
    chosen = []
    for i, number in enumerate(spots):
        hops = len(windows.levels[number]) // windows.spec.hop
        last = max(hops - windows.hops, 0)
        chosen.append(windows.cut(int(number), int(last * ((i * 0.618) % 1.0))))
    return chosen
