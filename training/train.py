"""`ghostnote train`: the loop from a dataset to a checkpoint.

The gradient of each window is computed in a thread of its own with torch held to one thread:
on CPUs that outruns torch's own parallelism for layers this small. The sums are taken in the
order of the windows, so the result does not depend on the number of threads.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ghostnote.kernels.errors import GhostnoteError

from .checkpoint import load_checkpoint, restore, save_checkpoint
from .config import TrainConfig
from .dataset import Dataset, load_dataset
from .wavenet import WaveNet
from .windows import Window, Windows, evenly

VALIDATION_WINDOWS = 18
LOG_EVERY = 20

Report = Callable[[dict[str, Any]], None]


def train(
    data: Path,
    run: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    threads: int = 2,
    validate_every: int = 250,
    stop: threading.Event | None = None,
    report: Report | None = None,
) -> dict[str, Any]:
    """Train a model on a prepared dataset and leave checkpoints in `run`.

    Parameters
    ----------
    data, run : Path
        The dataset's folder; the folder of the run (`checkpoint.safetensors`, `log.jsonl`).
    resume : bool
        Go on from the checkpoint in `run`: same weights, moments, step and data order.
    validate_every : int
        Steps between validations; each writes a checkpoint.
    stop : threading.Event, optional
        When set, the run ends after the current step, with a checkpoint.
    report : callable, optional
        Called with {"step", "bits", "rate", "samples_per_s", ...} now and then.

    Returns
    -------
    The facts of the run as in the model card.

    Raises
    ------
    GhostnoteError
        If the dataset is unusable, the run exists and `resume` is off, or the loss is not finite.
    """
    dataset = load_dataset(data)
    run.mkdir(parents=True, exist_ok=True)
    if (run / "checkpoint.safetensors").exists() and not resume:
        raise GhostnoteError(f"run {run}: exists already; go on with --resume or name another")
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    spec = config.spec(dataset)
    model = WaveNet(spec)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    mean = {name: p.detach().clone() for name, p in model.named_parameters()}
    facts: dict[str, Any] = {"seconds": 0.0, "samples": 0, "history": []}
    first = 0
    if resume:
        checkpoint = load_checkpoint(run)
        if replace(checkpoint.config, steps=config.steps) != config or checkpoint.spec != spec:
            raise GhostnoteError(f"run {run}: was begun with other settings or data; cannot resume")
        mean = restore(checkpoint, model, optimizer)
        first, facts = checkpoint.step, checkpoint.facts
    facts.update(_data_facts(dataset))
    training = Windows(dataset, "train", spec, config.window_hops)
    held_back = dataset.split("validation")
    validation = (
        evenly(Windows(dataset, "validation", spec, 1000), VALIDATION_WINDOWS) if held_back else []
    )
    parameters = list(model.parameters())
    stop = stop or threading.Event()
    began, clock, spent = time.monotonic(), time.monotonic(), facts["seconds"]
    samples_at = facts["samples"]
    with ThreadPoolExecutor(threads) as pool, (run / "log.jsonl").open("a") as log:

        def tell(entry: dict[str, Any]) -> None:
            log.write(json.dumps(entry) + "\n")
            log.flush()
            if report:
                report(entry)

        for step in range(first, config.steps):
            batch = [
                training.draw(
                    np.random.default_rng([config.seed, step, place]),
                    config.near_hits,
                    config.drop_control,
                    config.input_noise,
                )
                for place in range(config.windows)
            ]
            results = list(pool.map(lambda w: _gradients(model, parameters, w), batch))
            bits = sum(r[0] for r in results) / len(results)
            if not math.isfinite(bits):
                raise GhostnoteError(
                    f"training: the loss is no number at step {step}; lower learning_rate "
                    f"({config.learning_rate}) and resume from the last checkpoint"
                )
            for parameter, *gradients in zip(parameters, *(r[1] for r in results), strict=True):
                parameter.grad = torch.stack(gradients).mean(0)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = config.rate(step)
            optimizer.step()
            _follow(mean, model, min(config.ema, (step + 1) / (step + 10)))
            facts["samples"] += sum(len(w.targets) - w.context for w in batch)
            facts["seconds"] = spent + time.monotonic() - began
            done = step + 1
            if done % LOG_EVERY == 0:
                speed = (facts["samples"] - samples_at) / (time.monotonic() - clock)
                clock, samples_at = time.monotonic(), facts["samples"]
                rate = config.rate(step)
                tell({"step": done, "bits": bits, "rate": rate, "samples_per_s": speed})
            ending = done == config.steps or stop.is_set()
            if done % validate_every == 0 or ending:
                if validation:
                    score = validation_bits(spec, mean, validation, pool)
                    facts["validation_bits"] = score
                    facts["history"].append([done, score])
                    tell({"step": done, "validation_bits": score, "seconds": facts["seconds"]})
                save_checkpoint(run, done, config, model, mean, optimizer, spec, facts)
            if stop.is_set():
                break
    return facts


def stop_on_signals(stop: threading.Event) -> None:
    """Let the first Ctrl-C or SIGTERM end the run with a checkpoint, the second at once."""

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


def validation_bits(
    spec: Any, mean: dict[str, Tensor], windows: list[Window], pool: ThreadPoolExecutor
) -> float:
    """Return the mean bits per sample of held-back windows under the weights' running mean."""
    model = WaveNet(spec)
    model.load_state_dict(mean)

    def one(window: Window) -> tuple[float, int]:
        with torch.no_grad():
            loss, count = _loss(model, window)
        return float(loss) * count, count

    results = list(pool.map(one, windows))
    return sum(r[0] for r in results) / sum(r[1] for r in results) / math.log(2.0)


def _loss(model: WaveNet, window: Window) -> tuple[Tensor, int]:
    """Return the mean cross-entropy (nats) of a window's targets after its context."""
    rows = None if window.rows is None else torch.from_numpy(window.rows)
    logits = model(torch.from_numpy(window.inputs), rows)[:, window.context :]
    targets = torch.from_numpy(window.targets[window.context :])
    return F.cross_entropy(logits.t(), targets), len(targets)


def _gradients(
    model: WaveNet, parameters: Sequence[Tensor], window: Window
) -> tuple[float, tuple[Tensor, ...]]:
    loss, _ = _loss(model, window)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    filled = (
        torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)
    )
    return float(loss.detach()) / math.log(2.0), tuple(filled)


def _follow(mean: dict[str, Tensor], model: WaveNet, decay: float) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean[name].lerp_(parameter, 1.0 - decay)


def _data_facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "sources": dataset.sources,
        "train_minutes": round(dataset.seconds("train") / 60.0, 2),
        "validation_minutes": round(dataset.seconds("validation") / 60.0, 2),
    }
