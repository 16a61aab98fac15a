"""Training windows: stretches of clips with their control features.

The choice of a window depends on (seed, step, place in the batch) alone, so that a resumed run
sees the same data in the same order, whatever the number of threads. Any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.kernels import control, levels
from ghostnote.kernels.body import sound_of
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import Weights

from . import astray
from .dataset import Clip, Dataset
from .window import Window

SILENT = 0.99 * np.expm1(astray.MULAW_STEP / 2.0) / 255.0
"""Amplitude up to which sound counts as silence: what mu-law 256 takes for 0."""

_PURPOSE = {"train": "train on", "validation": "validate on"}


class Windows:
    """All clips of a split in memory, and windows cut from them.

    A window is as long as asked for, plus one receptive field of past before it. Of a model with a
    body, whose weights are `body`, they hold what the WaveNet is to play: the sound less that body.

    Raises
    ------
    GhostnoteError
        If the split has no clips, a clip cannot be read, or all of them are silent.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        spec: ModelSpec,
        hops: int,
        body: Weights | None = None,
    ) -> None:
        self.spec = spec
        self.clips = dataset.split(split)
        if not self.clips:
            raise GhostnoteError(f"dataset {dataset.root}: has no clips to {_PURPOSE[split]}")
        # Clips start from silence: one receptive field of it goes before each.
        self.lead_hops = -(-spec.receptive_field // spec.hop)
        self.hops = hops + self.lead_hops
        # 24 hours at 24 kHz are 2 GB in bytes, which are enough for 256 levels.
        kind = np.uint8 if spec.levels <= 256 else np.uint16
        lead = np.full(self.lead_hops * spec.hop, spec.silence, kind)
        self.levels: list[npt.NDArray[np.uint8] | npt.NDArray[np.uint16]] = [
            np.concatenate([lead, _levels(dataset, clip, spec, body).astype(kind)])
            for clip in self.clips
        ]
        self.silent = levels.encode(spec, [-SILENT, SILENT])  # the lowest such level, the highest
        if all(self._is_silent(clip).all() for clip in self.levels):
            raise GhostnoteError(
                f"dataset {dataset.root}: every clip to {_PURPOSE[split]} is silent; prepare others"
            )
        self.hits = [np.array(c.hits, np.float64).reshape(-1, 3) for c in self.clips]
        self.table = control.age_table(spec) if spec.roles else np.zeros((1, 1), np.float32)
        self.chokes = control.choke_array(spec)
        lengths = np.array([len(clip) for clip in self.levels], np.float64)
        self.weights = lengths / lengths.sum()

    def draw(
        self,
        rng: np.random.Generator,
        near_hits: float = 0.0,
        drop_control: float = 0.0,
        input_noise: float = 0.0,
        drift: float = 0.0,
        clean: float = 0.0,
        onset_weight: float = 0.0,
        silence_weight: float = 0.0,
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
        window = replace(window, weights=self._weights(window, onset_weight, silence_weight))
        if (input_noise or drift) and rng.random() >= clean:
            inputs, targets = window.inputs, window.targets
            if drift:
                both = np.append(inputs, targets[-1:])
                heard, wanted = astray.drifted(self.spec, both, rng.uniform(0.0, drift), rng)
                inputs, targets = heard[:-1], wanted[1:]
            if input_noise:
                inputs = astray.noised(self.spec, inputs, rng.uniform(0.0, input_noise), rng)
            return replace(window, inputs=inputs, targets=targets)
        return window

    def _is_silent(self, found: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        low, high = self.silent
        return np.asarray((found >= low) & (found <= high))

    def cut(self, number: int, start: int, dropped: bool = False) -> Window:
        """Return the window of a clip that starts at hop `start` of its lead-in silence."""
        spec = self.spec
        clip = self.levels[number]
        begin = start * spec.hop
        end = min(begin + self.hops * spec.hop, len(clip) // spec.hop * spec.hop)
        targets = clip[begin:end].astype(np.int64)
        before = clip[begin - 1] if begin else spec.silence
        inputs = np.concatenate([[before], targets[:-1]]).astype(np.int64)
        rows = None
        if spec.conditioning:
            rows = self._rows(number, start, (end - begin) // spec.hop, dropped)
        context = self.lead_hops * spec.hop
        return Window(inputs, targets, rows, np.ones(len(targets), np.float32), context)

    def _weights(
        self, window: Window, onset_weight: float, silence_weight: float
    ) -> npt.NDArray[np.float32]:
        """Return each target's weight: 1, more after a hit, more in silence.

        The youngest hit adds onset_weight * exp(-age / 10 ms); a target adds silence_weight if
        it and the 10 ms before it are silent.
        """
        spec, length = self.spec, len(window.targets)
        weights = np.ones(length, np.float32)
        if spec.roles and window.rows is not None:
            # The first feature of each role is exp(-age / 10 ms), see kernels.control.age_table.
            stride = 2 * spec.age_features
            freshness = window.rows[:, 0 : stride * len(spec.roles) : stride].max(axis=1)
            weights += onset_weight * np.repeat(freshness, spec.hop)
        at = np.arange(length)
        last_sound = np.maximum.accumulate(np.where(self._is_silent(window.targets), -1, at))
        weights[at - last_sound > spec.samplerate // 100] += silence_weight
        return weights

    def _rows(self, number: int, start: int, hops: int, dropped: bool) -> npt.NDArray[np.float32]:
        spec, clip = self.spec, self.clips[number]
        if dropped:
            return np.zeros((hops, spec.conditioning), np.float32)
        shifted = self.hits[number].copy()
        shifted[:, 0] += self.lead_hops
        asked = asked_by_hop(spec, shifted, clip.kits, start + hops, self.chokes)
        rows = control.control_rows(*(part[start:] for part in asked), self.table)
        return np.asarray(rows)


def _levels(
    dataset: Dataset, clip: Clip, spec: ModelSpec, body: Weights | None
) -> npt.NDArray[np.int64]:
    """Return a clip without its body in the levels of a model, int64 [frames]."""
    if body is None:
        return dataset.levels(clip, spec)
    asked = asked_of_clip(spec, clip, -(-clip.frames // spec.hop))
    sound = dataset.audio(clip) - sound_of(spec, body, *asked)[: clip.frames]
    return levels.of_sound(spec, sound)


def asked_of_clip(
    spec: ModelSpec, clip: Clip, hops: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return what a clip asks in its first hops, as `asked_by_hop` does."""
    hits = np.array(clip.hits, np.float64).reshape(-1, 3)
    return asked_by_hop(spec, hits, clip.kits, hops, control.choke_array(spec))


def asked_by_hop(
    spec: ModelSpec,
    hits: npt.NDArray[np.float64],
    kits: Mapping[str, float],
    hops: int,
    chokes: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return what a clip asks: ages, velocities [hops, roles] and kit weights [hops, kits]."""
    ages, velocities = control.ages_of_hits(
        hits, hops, len(spec.roles), chokes, max(spec.ages - 1, 0)
    )
    weights = np.zeros((hops, len(spec.kits)), np.float32)
    for kit, weight in kits.items():
        weights[:, spec.kits.index(kit)] = weight
    return ages, velocities, weights


def evenly(windows: Windows, count: int) -> list[Window]:
    """Return up to `count` windows spread over all clips, the same at every call.

    Fewer where the clips are too few and too short for so many different ones.
    """
    chosen = {}
    for i, number in enumerate(np.linspace(0, len(windows.clips) - 1, count).round().astype(int)):
        hops = len(windows.levels[number]) // windows.spec.hop
        last = max(hops - windows.hops, 0)
        # Steps of the golden ratio put the starts in different parts of their clips.
        start = int(last * ((i * 0.618) % 1.0))
        chosen[int(number), start] = windows.cut(int(number), start)
    return list(chosen.values())
