"""`ghostnote train`: the loop from a dataset to a checkpoint.

`train` runs in one thread. What computes is `per_window.py` on a CPU and `batched.py` on a GPU; the
weights, moments and windows are the same, so that a run may change between them at any checkpoint.
The only thing that another thread may touch is the event `stop`.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels.errors import GhostnoteError

from .adapt import inherited, take_over
from .batched import Batched
from .body import Body, teach
from .checkpoint import NAME, load_checkpoint, restore, save_checkpoint
from .config import TrainConfig
from .dataset import Dataset, load_dataset
from .drawing import Draws
from .muon import Muon
from .per_window import PerWindow
from .wavenet import WaveNet
from .window import Window
from .windows import Windows, evenly

VALIDATION_WINDOWS = 18
VALIDATION_HOPS = 1000
LOG = "log.jsonl"
LOG_EVERY = 20
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Progress:
    """Where a run is, told after every step.

    Attributes
    ----------
    step, steps : int
        Steps done and to do, those before a resume included.
    seconds, minutes : float
        Time spent, that before a resume included, and the minutes that the run is planned by, 0 where
        it is planned by steps.
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
    seconds: float
    minutes: float
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
    body: Body | None
    step: int = 0


def train(
    data: Path,
    run: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    base: ModelFile | None = None,
    threads: int | None = None,
    validate_every: int = 250,
    device: str = "cpu",
    precision: str = "auto",
    stop_after: float | None = None,
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
    base : ModelFile, optional
        A model to begin with in place of random weights (`adapt.take_over`).
    threads : int, optional
        Threads of the CPU that compute at once; None takes all processors that this process may
        use. More than `config.windows` help in validation only.
    validate_every : int
        Steps between validations; each writes a checkpoint.
    device : str
        "cpu", "cuda", or "auto": cuda where torch finds such a device.
    precision : str
        What is multiplied: "fp32", "bf16" (the weights stay float32), or "auto": fp32 on a CPU, bf16
        on a GPU.
    stop_after : float, optional
        Minutes after which this sitting ends as if stopped.
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
        resumed, the loss is not finite, the device is not there, or the run's folder cannot be
        written.
    """
    began = time.monotonic()
    # For this thread too: how torch would split a long sum depends on the machine's processors.
    torch.set_num_threads(1)
    where = find_device(device)
    if precision not in PRECISIONS:
        raise GhostnoteError(
            f"--precision must be one of {', '.join(PRECISIONS)}, found {precision!r}"
        )
    dataset = load_dataset(data)
    if (run / NAME).exists() and not resume:
        raise GhostnoteError(f"run {run}: exists already; go on with --resume or name another")
    waves = (base.spec.body, base.spec.transient) if base else (0, 0)
    new = (config.body and not waves[0]) or (config.transient and not waves[1])
    if new and not (config.body_steps or resume):
        raise GhostnoteError("--body-steps: a body that is new must be taught; give it 1 or more")
    stop = stop or threading.Event()
    state = _resume(run, config, dataset, where) if resume else _begin(config, dataset, where, base)
    spent: float = state.facts["seconds"]
    if config.share(state.step, spent) >= 1.0:
        done = f"{config.minutes:g} minutes" if config.minutes else f"{state.step} steps"
        more = "--minutes" if config.minutes else "--steps"
        raise GhostnoteError(f"run {run}: has done its {done}; ask for more with {more}")
    spec = state.model.spec
    log = _Log(run, state.step)
    if state.body and config.body_steps and not state.step:
        told = teach(state.body, dataset, config.body_steps, config.seed, stop)
        state.facts |= told
        log.add(step=0, **told)
    body = state.body.weights() if state.body else None
    training = Windows(dataset, "train", spec, config.window_hops, body)
    validation: list[Window] = []
    if dataset.split("validation"):
        validation = evenly(
            Windows(dataset, "validation", spec, VALIDATION_HOPS, body), VALIDATION_WINDOWS
        )
    recent: list[float] = []
    samples = state.facts["samples"]

    def seconds() -> float:
        return spent + time.monotonic() - began

    def save() -> None:
        state.facts["seconds"] = seconds()
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
            state.body,
        )

    computer = _computer(state.model, where, threads, precision)
    if about := computer.about():
        log.add(step=state.step, **about)
    clock = time.monotonic()
    draws = Draws[Any](config, training, computer.prepare, state.step, computer.ahead)
    with closing(computer), draws:
        stopping = finished = False
        while not (stopping or finished):
            recent.append(_step(state, config, draws, computer, seconds()))
            sitting = time.monotonic() - began
            stopping = stop.is_set() or (stop_after is not None and sitting >= 60.0 * stop_after)
            finished = config.share(state.step, seconds()) >= 1.0
            bits = sum(recent) / len(recent)
            speed = (state.facts["samples"] - samples) / (time.monotonic() - clock)
            logged = state.step % LOG_EVERY == 0
            if logged:
                rate = config.rate(state.step - 1, seconds())
                beside = computer.measured(speed)
                log.add(step=state.step, bits=bits, rate=rate, samples_per_s=speed, **beside)
                recent, clock, samples = [], time.monotonic(), state.facts["samples"]
            if stopping:
                save()  # at once: who asks a run to stop may not wait for its validation
            if stopping or finished or state.step % validate_every == 0:
                paused, then = time.monotonic(), seconds()
                if validation:
                    score = computer.validate(spec, state.mean, validation)
                    state.facts["validation_bits"] = score
                    state.facts["history"].append([state.step, score])
                    log.add(step=state.step, validation_bits=score, seconds=then)
                save()
                clock += time.monotonic() - paused
            if report:
                history = state.facts["history"]
                last = (history[-1][0], history[-1][1]) if history else None
                plan = (state.step, config.steps, seconds(), config.minutes)
                report(Progress(*plan, bits, speed, last, logged))
    return state.facts


def find_device(name: str) -> torch.device:
    """Return the device that is asked for by one of `DEVICES`.

    Raises
    ------
    GhostnoteError
        If it is not there.
    """
    if name not in DEVICES:
        raise GhostnoteError(f"--device must be one of {', '.join(DEVICES)}, found {name!r}")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise GhostnoteError(
            "--device cuda: torch finds no CUDA device here (a torch built for CUDA and NVIDIA's "
            "driver are needed); --device cpu trains without"
        )
    return torch.device("cuda", torch.cuda.current_device())


def _computer(
    model: WaveNet, device: torch.device, threads: int | None, precision: str
) -> PerWindow | Batched:
    if device.type == "cpu":
        return PerWindow(model, threads, "fp32" if precision == "auto" else precision)
    return Batched(model, device, "bf16" if precision == "auto" else precision)


def _begin(
    config: TrainConfig,
    dataset: Dataset,
    device: torch.device,
    base: ModelFile | None = None,
) -> _Run:
    torch.manual_seed(config.seed)
    spec = config.spec(dataset)
    model = WaveNet(spec)
    body = Body(spec) if spec.body else None
    if base is not None:
        take_over(model, body, base)
    model = model.to(device)  # begun on the CPU: the same on any device
    optimizer = Muon(
        model.named_parameters(),
        lr=config.learning_rate,
        weight_decay=0.0,
        fused=True if device.type == "cuda" else None,
    )
    mean = {name: p.detach().clone() for name, p in model.named_parameters()}
    facts = {"seconds": 0.0, "samples": 0, "history": [], **_data_facts(dataset)}
    if base is not None:
        facts["from"] = inherited(base)
    return _Run(model, optimizer, mean, facts, body)


def _resume(run: Path, config: TrainConfig, dataset: Dataset, device: torch.device) -> _Run:
    checkpoint = load_checkpoint(run)
    if replace(checkpoint.config, steps=config.steps, minutes=config.minutes) != config:
        raise GhostnoteError(
            f"run {run}: was begun with other settings; only --steps and --minutes may change"
        )
    state = _begin(config, dataset, device)
    facts = _data_facts(dataset)
    # Checkpoints of before the fingerprint have none.
    same = checkpoint.facts.get("dataset", facts["dataset"]) == facts["dataset"]
    if checkpoint.spec != state.model.spec or not same:
        raise GhostnoteError(f"run {run}: was begun on other data than {dataset.root}")
    state.mean = restore(checkpoint, state.model, state.optimizer, state.body)
    state.step, state.facts = checkpoint.step, {**checkpoint.facts, **facts}
    return state


def _step(
    state: _Run, config: TrainConfig, draws: Draws[Any], computer: PerWindow | Batched, spent: float
) -> float:
    """Train one step, begun after so many seconds; return the bits per sample of its windows."""
    batch, samples = draws.take(state.step)
    bits: float = computer.gradients(batch)
    norm = float(torch.nn.utils.clip_grad_norm_(state.model.parameters(), 1.0))
    if not math.isfinite(bits + norm):
        raise GhostnoteError(
            f"training: the loss is no number any more at step {state.step}; "
            f"begin another run with a lower --learning-rate than {config.learning_rate:g}"
        )
    for group in state.optimizer.param_groups:
        group["lr"] = config.rate(state.step, spent)
    state.optimizer.step()
    # At first the mean follows closely, else it would long remember the random start.
    decay = min(config.ema, (state.step + 1) / (state.step + 10))
    with torch.no_grad():
        for name, parameter in state.model.named_parameters():
            state.mean[name].lerp_(parameter, 1.0 - decay)
    state.step += 1
    state.facts["samples"] += samples
    return bits


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

    def add(self, **entry: float | str) -> None:
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
