"""Trains the drummer: `python -m ghostnote.training.drummer --corpus DIR --out drummer.onnx`.

One thread of torch: with the same corpus, versions and seed the same file comes out again on the
same machine. Ctrl-C leaves the file that was there.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ghostnote.inference.drummer_file import save_drummer
from ghostnote.inference.drummer_spec import DrummerSpec, control_rows
from ghostnote.inference.drummer_steps import (
    BAR_STEPS,
    MAX_STROKES,
    NO_ROLE,
    Stroke,
    summary,
)

from .drummer_data import (
    Take,
    densities,
    density_measure,
    labels_of,
    read_takes,
    rows_of,
    sources_of,
    style_labels,
)
from .drummer_net import DrummerNet

WINDOW_BARS = 16
VALIDATE_EVERY = 200


@dataclass(frozen=True)
class DrummerConfig:
    """The settings of a training.

    Parameters
    ----------
    steps, windows : int
        Steps of Adam, and windows of 16 bars in each.
    learning_rate : float
        Its peak; it rises over 100 steps and falls along a cosine to a hundredth.
    weight_decay, dropout : float
    noise : float
        Largest share of a window's past strokes that are left out or struck otherwise, so that the
        drummer goes on from its own slips too.
    fills : float
        Share of windows that lie at a fill that was recorded by itself.
    ema : float
        Decay of the running mean of the weights, which is what is kept.
    temperature : float
        By which the roles are drawn: baked into the weights that are kept, so that what is drawn
        goes on from itself as people do. Below 1 tamer.
    channels, width : int
        As `DrummerSpec` has them.
    seed : int
    """

    steps: int = 1600
    windows: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.1
    noise: float = 0.02
    fills: float = 0.15
    ema: float = 0.998
    temperature: float = 0.9
    channels: int = 96
    width: int = 128
    seed: int = 1

    def rate(self, step: int) -> float:
        """Return the rate of a step, from 0."""
        rise = min(1.0, (step + 1) / 100)
        fall = 0.5 * (1.0 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * rise * (0.01 + 0.99 * fall)


@dataclass
class Prepared:
    """A take as arrays: [steps, FEATURES], [steps, K], and each sixteenth's strokes."""

    take: Take
    rows: npt.NDArray[np.float32]
    controls: npt.NDArray[np.float32]


def prepare(takes: Sequence[Take], spec: DrummerSpec, measure: npt.NDArray[Any]) -> list[Prepared]:
    """Return takes with what is asked of each of their sixteenths."""
    found = []
    for take in takes:
        dense = densities(take, measure)
        labels = {label: 1.0 for label in style_labels(take.style) if label in spec.labels}
        bars = [
            control_rows(
                spec,
                labels,
                float(dense[bar]),
                take.bpm,
                np.arange(BAR_STEPS),
                bool(take.fills[bar]),
                bool(bar and take.fills[bar - 1]),
            )
            for bar in range(take.bars)
        ]
        found.append(Prepared(take, rows_of(take), np.concatenate(bars)))
    return found


def stroke_arrays(steps: Sequence[tuple[int, Sequence[Stroke]]]) -> dict[str, npt.NDArray[Any]]:
    """Return the strokes of some sixteenths, and the end of each, as `DrummerNet.surprise` takes them.

    `steps` are places and strokes; "place" tells of each stroke which.
    """
    places, rows, roles, louds, lates, last_roles, last_lates = [], [], [], [], [], [], []
    for place, strokes in steps:
        for count in range(min(len(strokes) + 1, MAX_STROKES)):
            before = strokes[:count]
            role, loud, late = strokes[count] if count < len(strokes) else (NO_ROLE, 0, 0)
            places.append(place)
            rows.append(summary(before))
            roles.append(role)
            louds.append(loud)
            lates.append(late)
            last_roles.append(before[-1][0] if before else -1)
            last_lates.append(before[-1][2] if before else -1)
    return {
        "place": np.array(places, np.int64),
        "summary": np.array(rows, np.float32),
        "role": np.array(roles, np.int64),
        "loud": np.array(louds, np.int64),
        "late": np.array(lates, np.int64),
        "last_role": np.array(last_roles, np.int64),
        "last_late": np.array(last_lates, np.int64),
    }


class _Windows:
    """Draws windows of takes."""

    def __init__(self, prepared: Sequence[Prepared], config: DrummerConfig) -> None:
        self._config = config
        self._kinds = []
        for fills in (False, True):
            kind = [p for p in prepared if bool(p.take.counts.all()) is not fills]
            bars = np.array([float(p.take.counts.sum()) for p in kind])
            self._kinds.append((kind, bars / bars.sum() if len(kind) else bars))

    def draw(self, rng: np.random.Generator, spec: DrummerSpec) -> dict[str, Tensor]:
        """Return a batch: rows and controls [B, T, ..], strokes with places in [B * T]."""
        config, length = self._config, WINDOW_BARS * BAR_STEPS
        rows, controls, steps = [], [], []
        for window in range(config.windows):
            takes, share = self._kinds[bool(self._kinds[1][0]) and rng.random() < config.fills]
            one = takes[int(rng.choice(len(takes), p=share))]
            first = int(rng.integers(0, max(1, one.take.bars - WINDOW_BARS + 1))) * BAR_STEPS
            part = slice(first, first + length)
            steps += self._targets(one.take, first, length, window)
            rows.append(_padded(self._slips(rng, one.rows[part]), length))
            asked = one.controls[part].copy()
            labels = asked[:, : len(spec.labels)]
            kinds = np.array(["/" in label for label in spec.labels])
            if rng.random() < 0.3:
                labels[:, kinds] = 0.0  # who asks for jazz does not say which
            if rng.random() < 0.05:
                labels[:] = 0.0
            controls.append(_padded(asked, length))
        batch = stroke_arrays(steps)
        batch |= {"rows": np.stack(rows), "controls": np.stack(controls)}
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def _targets(
        self, take: Take, first: int, length: int, window: int
    ) -> list[tuple[int, list[Stroke]]]:
        stop = min(first + length, len(take.strokes))
        return [
            (window * length + at - first, take.strokes[at])
            for at in range(first, stop)
            if take.counts[at // BAR_STEPS]
        ]

    def _slips(
        self, rng: np.random.Generator, rows: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Return a past with some strokes left out and some struck otherwise."""
        share = float(rng.random()) * self._config.noise
        slipped = rows.reshape(len(rows), -1, 3).copy()
        slipped[rng.random(slipped.shape[:2]) < share / 2] = 0.0
        there = slipped[:, :, :1] > 0
        moved = slipped + rng.normal(0.0, [0.0, 0.1, 0.15], slipped.shape).astype(np.float32)
        otherwise = (rng.random(slipped.shape[:2])[..., None] < share) & there
        return np.where(otherwise, moved, slipped).reshape(rows.shape).astype(np.float32)


def _padded(array: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.float32]:
    return np.pad(array, ((0, length - len(array)), (0, 0)))


def batch_nats(net: DrummerNet, batch: dict[str, Tensor], dropout: float) -> Tensor:
    """Return the nats [N, 3] of a batch's strokes."""
    said = net.steps(batch["rows"], batch["controls"], dropout).flatten(0, 1)
    asked = batch["controls"].flatten(0, 1)
    place = batch["place"]
    return net.surprise(said[place], asked[place], batch)


def bits_per_bar(net: DrummerNet, prepared: Sequence[Prepared]) -> dict[str, float]:
    """Return the surprise of whole takes in bits a bar: of roles, velocities, offsets, and all."""
    nats, bars = np.zeros(3), 0
    net.eval()
    with torch.no_grad():
        for one in prepared:
            steps = [
                (at, one.take.strokes[at])
                for at in range(len(one.take.strokes))
                if one.take.counts[at // BAR_STEPS]
            ]
            batch = {
                "rows": torch.from_numpy(one.rows[None]),
                "controls": torch.from_numpy(one.controls[None]),
                **{k: torch.from_numpy(v) for k, v in stroke_arrays(steps).items()},
            }
            nats += batch_nats(net, batch, 0.0).sum(0).double().numpy()
            bars += int(one.take.counts.sum())
    net.train()
    role, loud, late = (nats / bars / math.log(2.0)).tolist()
    return {"role": role, "velocity": loud, "offset": late, "all": role + loud + late}


def train_drummer(
    corpus: Path, config: DrummerConfig, report: Callable[[str], None] = print
) -> tuple[DrummerSpec, dict[str, npt.NDArray[np.float32]], dict[str, Any]]:
    """Train a drummer on the train split of a corpus.

    Returns the spec, the weights by the names of `weight_shapes`, and the facts for its card.

    Raises
    ------
    GhostnoteError
        If the corpus cannot be read.
    """
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    began = time.monotonic()
    takes, held_back = read_takes(corpus, "train"), read_takes(corpus, "validation")
    spec = DrummerSpec(labels_of(takes), config.channels, config.width)
    measure = density_measure(takes)
    training, validation = prepare(takes, spec, measure), prepare(held_back, spec, measure)
    net = DrummerNet(spec)
    mean = {name: p.detach().clone() for name, p in net.named_parameters()}
    best, best_bits, history = mean, math.inf, []
    adam = torch.optim.AdamW(
        net.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    windows, recent = _Windows(training, config), []
    report(
        f"{len(takes)} takes, {len(spec.labels)} styles, {time.monotonic() - began:.0f} s to read"
    )
    for step in range(config.steps):
        batch = windows.draw(np.random.default_rng([config.seed, step]), spec)
        nats = batch_nats(net, batch, config.dropout)
        loss = nats.sum(-1).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for group in adam.param_groups:
            group["lr"] = config.rate(step)
        adam.step()
        decay = min(config.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                mean[name].lerp_(parameter, 1.0 - decay)
        recent.append(float(loss.detach()))
        if (step + 1) % VALIDATE_EVERY == 0 or step + 1 == config.steps:
            judged = DrummerNet(spec)
            judged.load_state_dict(mean)
            bits = bits_per_bar(judged, validation) if validation else {"all": -step}
            history.append([step + 1, round(bits["all"], 3)])
            if bits["all"] < best_bits:
                best_bits, best = bits["all"], {k: v.clone() for k, v in mean.items()}
                best_parts = bits
            spent = time.monotonic() - began
            told = ", ".join(f"{name} {value:.2f}" for name, value in bits.items())
            report(f"step {step + 1}, {spent:.0f} s, {np.mean(recent):.4f} nats; {told} bits a bar")
            recent = []
    facts = {
        "training": asdict(config),
        "seconds": round(time.monotonic() - began),
        "history": history,
        "validation_bits_per_bar": {k: round(v, 3) for k, v in best_parts.items()},
        "sources": sources_of(corpus),
        "takes": len(takes),
        "bars": int(sum(take.counts.sum() for take in takes)),
        "density_measure": [float(x) for x in np.quantile(measure, np.linspace(0, 1, 21))],
    }
    for part in ("weight", "bias"):
        best[f"head.role.{part}"] /= config.temperature
    return spec, {name: value.numpy() for name, value in best.items()}, facts


def main() -> None:
    """Train a drummer and write its file."""
    parser = argparse.ArgumentParser(description="Train the drummer on a corpus's grooves.")
    parser.add_argument("--corpus", type=Path, required=True, help="Folder with grooves/info.csv.")
    parser.add_argument("--out", type=Path, required=True, help="The .onnx file to write.")
    for name in ("steps", "channels", "width", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(DrummerConfig, name))
    given = parser.parse_args()
    config = replace(
        DrummerConfig(), **{k: v for k, v in vars(given).items() if k not in ("corpus", "out")}
    )
    spec, weights, facts = train_drummer(given.corpus, config)
    save_drummer(given.out, spec, weights, facts)


if __name__ == "__main__":
    main()
