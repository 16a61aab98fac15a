"""`ghostnote train`: the loop from a dataset to a checkpoint.

`train` runs in one thread and hands the windows of a step to a pool, each of whose threads keeps
torch to itself: on CPUs that outruns torch's own parallelism for layers this small. The sums are
taken in the order of the windows, so the result does not depend on the number of threads.
The only thing that another thread may touch is the event `stop`.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec

from .checkpoint import NAME, load_checkpoint, restore, save_checkpoint
from .config import TrainConfig
from .dataset import Dataset, load_dataset
from .losses import nats
from .wavenet import WaveNet
from .windows import Window, Windows, evenly

VALIDATION_WINDOWS = 18
VALIDATION_HOPS = 1000
LOG = "log.jsonl"
LOG_EVERY = 20


@dataclass(frozen=True)
class Progress:
    """Where a run is, told after every step.

    Attributes
    ----------
    step, steps : int
        Steps done and to do, those before a resume included.
    bits : float
        Bits per sample of the windows trained on, mean of the steps since the last line of the log;
        they lie at hits and are made harder, so that validation gives less.
    samples_per_s : float
        Samples trained on per second, over the same steps.
    validation : tuple of (int, float), optional
        The last validation: its step and its bits per sample.
    logged : bool
        Whether this step is a line of the log.
    """

    step: int
    steps: int
    bits: float
    samples_per_s: float
    validation: tuple[int, float] | None
    logged: bool


@dataclass
class _Run:
    """The changing part of a run: what a checkpoint holds."""

    model: WaveNet
    optimizer: torch.optim.Optimizer
    mean: dict[str, Tensor]
    facts: dict[str, Any]
    step: int = 0


def train(
    data: Path,
    run: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    threads: int | None = None,
    validate_every: int = 250,
    stop: threading.Event | None = None,
    report: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Train a model on a prepared dataset and leave checkpoints in `run`.

    Holds torch to one thread, in the whole process.

    Parameters
    ----------
    data, run : Path
        The dataset's folder; the folder of the run (`checkpoint.safetensors`, `log.jsonl`).
    resume : bool
        Go on from the checkpoint in `run`: same weights, moments, step and data order.
    threads : int, optional
        Threads that compute at once; None takes all processors that this process may use. More
        than `config.windows` help in validation only.
    validate_every : int
        Steps between validations; each writes a checkpoint.
    stop : threading.Event, optional
        When set, the run ends after the current step, with a checkpoint.
    report : callable, optional
        Called after every step.

    Returns
    -------
    The facts of the run for the model card: "steps", "seconds", "samples" (trained on), "sources",
    "train_minutes", "validation_minutes", "dataset" (fingerprint) and, with a validation split,
    "validation_bits" and "history" [[step, validation bits], ...].

    Raises
    ------
    GhostnoteError
        If the dataset is unusable, the run exists and `resume` is off, it is another run that is
        resumed, the loss is not finite, or the run's folder cannot be written.
    """
    # For this thread too: how torch would split a long sum depends on the machine's processors.
    torch.set_num_threads(1)
    dataset = load_dataset(data)
    if (run / NAME).exists() and not resume:
        raise GhostnoteError(f"run {run}: exists already; go on with --resume or name another")
    state = _resume(run, config, dataset) if resume else _begin(config, dataset)
    if state.step >= config.steps:
        raise GhostnoteError(
            f"run {run}: has done its {state.step} steps; ask for more with --steps"
        )
    spec = state.model.spec
    training = Windows(dataset, "train", spec, config.window_hops)
    validation: list[Window] = []
    if dataset.split("validation"):
        validation = evenly(
            Windows(dataset, "validation", spec, VALIDATION_HOPS), VALIDATION_WINDOWS
        )
    log = _Log(run, state.step)
    stop = stop or threading.Event()
    began, spent = time.monotonic(), state.facts["seconds"]
    recent: list[float] = []
    clock, samples = began, state.facts["samples"]

    def save() -> None:
        state.facts["seconds"] = spent + time.monotonic() - began
        state.facts["steps"] = state.step
        save_checkpoint(
            run,
            state.step,
            config,
            state.model,
            state.mean,
            state.optimizer,
            spec,
            state.facts,
        )

    with ThreadPoolExecutor(
        threads or available_processors(), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        stopping = False
        while state.step < config.steps and not stopping:
            recent.append(_step(state, config, training, pool))
            stopping = stop.is_set()
            bits = sum(recent) / len(recent)
            speed = (state.facts["samples"] - samples) / (time.monotonic() - clock)
            logged = state.step % LOG_EVERY == 0
            if logged:
                rate = config.rate(state.step - 1)
                log.add(step=state.step, bits=bits, rate=rate, samples_per_s=speed)
                recent, clock, samples = [], time.monotonic(), state.facts["samples"]
            if stopping:
                save()  # at once: who asks a run to stop may not wait for its validation
            if stopping or state.step % validate_every == 0 or state.step == config.steps:
                paused = time.monotonic()
                if validation:
                    score = validation_bits(spec, state.mean, validation, pool)
                    state.facts["validation_bits"] = score
                    state.facts["history"].append([state.step, score])
                    log.add(step=state.step, validation_bits=score, seconds=paused - began + spent)
                save()
                clock += time.monotonic() - paused
            if report:
                history = state.facts["history"]
                last = (history[-1][0], history[-1][1]) if history else None
                report(Progress(state.step, config.steps, bits, speed, last, logged))
    return state.facts


def available_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def validation_bits(
    spec: ModelSpec, mean: dict[str, Tensor], windows: list[Window], pool: ThreadPoolExecutor
) -> float:
    """Return the mean bits per sample of held-back windows under the weights' running mean."""
    model = WaveNet(spec)
    model.load_state_dict(mean)

    def one(window: Window) -> tuple[float, int]:
        with torch.no_grad():
            losses = _losses(model, window)
        return float(losses.sum()), len(losses)

    results = list(pool.map(one, windows))
    return sum(r[0] for r in results) / sum(r[1] for r in results) / math.log(2.0)


def _begin(config: TrainConfig, dataset: Dataset) -> _Run:
    torch.manual_seed(config.seed)
    model = WaveNet(config.spec(dataset))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    mean = {name: p.detach().clone() for name, p in model.named_parameters()}
    facts = {"seconds": 0.0, "samples": 0, "history": [], **_data_facts(dataset)}
    return _Run(model, optimizer, mean, facts)


def _resume(run: Path, config: TrainConfig, dataset: Dataset) -> _Run:
    checkpoint = load_checkpoint(run)
    if replace(checkpoint.config, steps=config.steps) != config:
        raise GhostnoteError(f"run {run}: was begun with other settings; only --steps may change")
    state = _begin(config, dataset)
    facts = _data_facts(dataset)
    # Checkpoints of before the fingerprint have none.
    same = checkpoint.facts.get("dataset", facts["dataset"]) == facts["dataset"]
    if checkpoint.spec != state.model.spec or not same:
        raise GhostnoteError(f"run {run}: was begun on other data than {dataset.root}")
    state.mean = restore(checkpoint, state.model, state.optimizer)
    state.step, state.facts = checkpoint.step, {**checkpoint.facts, **facts}
    return state


def _step(state: _Run, config: TrainConfig, training: Windows, pool: ThreadPoolExecutor) -> float:
    """Train one step and return the bits per sample of its windows."""
    batch = [
        training.draw(
            np.random.default_rng([config.seed, state.step, place]),
            near_hits=config.near_hits,
            drop_control=config.drop_control,
            input_noise=config.input_noise,
            clean=config.clean,
            onset_weight=config.onset_weight,
            silence_weight=config.silence_weight,
        )
        for place in range(config.windows)
    ]
    parameters = list(state.model.parameters())
    results = list(pool.map(lambda window: _gradients(state.model, parameters, window), batch))
    bits = sum(result[0] for result in results) / len(results)
    for parameter, *gradients in zip(parameters, *(result[1] for result in results), strict=True):
        parameter.grad = torch.stack(gradients).mean(0)
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, 1.0))
    if not math.isfinite(bits + norm):
        raise GhostnoteError(
            f"training: the loss is no number any more at step {state.step}; "
            f"begin another run with a lower --learning-rate than {config.learning_rate:g}"
        )
    for group in state.optimizer.param_groups:
        group["lr"] = config.rate(state.step)
    state.optimizer.step()
    # At first the mean follows closely, else it would long remember the random start.
    decay = min(config.ema, (state.step + 1) / (state.step + 10))
    with torch.no_grad():
        for name, parameter in state.model.named_parameters():
            state.mean[name].lerp_(parameter, 1.0 - decay)
    state.step += 1
    state.facts["samples"] += sum(len(window.targets) - window.context for window in batch)
    return bits


def _losses(model: WaveNet, window: Window) -> Tensor:
    """Return the surprise (nats) [T - context] of a window's targets after its context."""
    rows = None if window.rows is None else torch.from_numpy(window.rows)
    outputs = model(torch.from_numpy(window.inputs), rows)[:, window.context :]
    targets = torch.from_numpy(window.targets[window.context :])
    return nats(model.spec, outputs, targets)


def _gradients(
    model: WaveNet, parameters: Sequence[Tensor], window: Window
) -> tuple[float, tuple[Tensor, ...]]:
    """Return a window's bits per sample, and the gradient of its weighted loss."""
    losses = _losses(model, window)
    weights = torch.from_numpy(window.weights[window.context :])
    loss = (losses * weights).sum() / weights.sum()
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    return float(losses.detach().mean()) / math.log(2.0), gradients


def _data_facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "sources": dataset.sources,
        "train_minutes": round(dataset.seconds("train") / 60.0, 2),
        "validation_minutes": round(dataset.seconds("validation") / 60.0, 2),
        "dataset": dataset.fingerprint(),
    }


class _Log:
    """RUN/log.jsonl: one JSON object per line, by step."""

    def __init__(self, run: Path, step: int) -> None:
        """Go on after `step`: lines of later steps, which a kill has undone, are taken out."""
        self.path = run / LOG
        try:
            run.mkdir(parents=True, exist_ok=True)
            lines = self.path.read_text().splitlines() if self.path.exists() else []
            part = self.path.with_suffix(".part")
            part.write_text("".join(line + "\n" for line in lines if _step_of(line) <= step))
            part.replace(self.path)
        except OSError as error:
            raise GhostnoteError(f"run {run}: cannot be written ({error.strerror})") from None

    def add(self, **entry: float) -> None:
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise GhostnoteError(f"{self.path}: cannot be written ({error.strerror})") from None


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # cut off by a kill
