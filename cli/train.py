"""`ghostnote train`: a dataset becomes a checkpoint, with Ctrl-C and resume.

Everything here runs in the main thread; a signal only sets the event at which training ends.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from ghostnote.inference.model_file import find_model, load_model
from ghostnote.training.adapt import config_from
from ghostnote.training.checkpoint import load_checkpoint
from ghostnote.training.config import TrainConfig
from ghostnote.training.train import Progress, find_device
from ghostnote.training.train import train as run_training

from .errors import INTERRUPTED

NETWORK, LEARNING = "The network", "How it learns"

GPU_WINDOWS = 32
"""Windows per step of a training that begins on a GPU: two would leave it idle."""


def _setting(field: str, help: str, panel: str) -> Any:
    """Returns the option of a field of TrainConfig; it defaults to None, so that a resumed run
    can keep its own."""
    default = getattr(TrainConfig, field)
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return typer.Option(help=help, rich_help_panel=panel, show_default=shown)


def train(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Dataset that `ghostnote data prepare` made.")],
    run: Annotated[Path, typer.Option(help="Folder for checkpoint and log.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in --run.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Begin with this model, bundled or a file, and let it learn the data's kits:"
            " 10 minutes where no length is given.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Length of the training.", show_default="6000, or as begun"),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Length of the training by the clock, in place of --steps; sittings add up."
        ),
    ] = None,
    stop_after: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Minutes after which this sitting stops, as Ctrl-C stops it; go on with --resume.",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(help="auto, cpu or cuda. Auto is cuda where torch finds such a device."),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="fp32 or bf16, of what is multiplied; auto is fp32 on a CPU, bf16 on a GPU."
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Windows computed at once, on a CPU.", show_default="all processors"
        ),
    ] = None,
    validate_every: Annotated[
        int, typer.Option(min=1, help="Steps between checkpoints, each with a validation.")
    ] = 250,
    seed: Annotated[int | None, _setting("seed", "Start and data order.", LEARNING)] = None,
    windows: Annotated[
        int | None,
        typer.Option(
            help="Windows per step.",
            rich_help_panel=LEARNING,
            show_default=f"{TrainConfig.windows}, on a GPU {GPU_WINDOWS}",
        ),
    ] = None,
    window_hops: Annotated[
        int | None, _setting("window_hops", "Length of a window, in hops.", LEARNING)
    ] = None,
    learning_rate: Annotated[
        float | None, _setting("learning_rate", "Highest rate of a step.", LEARNING)
    ] = None,
    warmup: Annotated[
        int | None, _setting("warmup", "Steps in which the rate rises.", LEARNING)
    ] = None,
    decay: Annotated[
        float | None,
        _setting("decay", "Share of the training, at its end, in which it falls.", LEARNING),
    ] = None,
    ema: Annotated[
        float | None, _setting("ema", "Decay of the running mean of the weights.", LEARNING)
    ] = None,
    drop_control: Annotated[
        float | None,
        _setting(
            "drop_control", "Share of windows without triggers and kit, for texture.", LEARNING
        ),
    ] = None,
    input_noise: Annotated[
        float | None,
        _setting(
            "input_noise", "Largest noise on a window's past, in steps of mu-law 256.", LEARNING
        ),
    ] = None,
    drift: Annotated[
        float | None,
        _setting(
            "drift",
            "Largest slow noise on a window's past, by the sound itself: for low tones that hold, and "
            "against noise that keeps itself up.",
            LEARNING,
        ),
    ] = None,
    clean: Annotated[
        float | None, _setting("clean", "Share of windows without such noise.", LEARNING)
    ] = None,
    onset_weight: Annotated[
        float | None,
        _setting("onset_weight", "How much more the first 10 ms of a hit count.", LEARNING),
    ] = None,
    silence_weight: Annotated[
        float | None,
        _setting("silence_weight", "How much more lasting silence counts.", LEARNING),
    ] = None,
    near_hits: Annotated[
        float | None, _setting("near_hits", "Share of windows placed at a hit.", LEARNING)
    ] = None,
    residual: Annotated[int | None, _setting("residual", "Residual channels.", NETWORK)] = None,
    gate: Annotated[int | None, _setting("gate", "Gate channels.", NETWORK)] = None,
    skip: Annotated[int | None, _setting("skip", "Skip channels.", NETWORK)] = None,
    head: Annotated[int | None, _setting("head", "Head channels.", NETWORK)] = None,
    filter_width: Annotated[
        int | None, _setting("filter_width", "Taps of a layer, 2 or 3.", NETWORK)
    ] = None,
    cycles: Annotated[
        int | None, _setting("cycles", "How often the dilations are repeated.", NETWORK)
    ] = None,
    cycle: Annotated[
        int | None, _setting("cycle", "Dilations 1, 2, 4, ...: how many.", NETWORK)
    ] = None,
    levels: Annotated[
        int | None,
        _setting(
            "levels", "Mu-law levels of the softmax head: 256, or 1024 for less hiss.", NETWORK
        ),
    ] = None,
    mixtures: Annotated[
        int | None,
        _setting(
            "mixtures",
            "Logistics of a mixture over 16 bit in place of the softmax; 10 is usual, 0 for none.",
            NETWORK,
        ),
    ] = None,
    emphasis: Annotated[
        float | None,
        _setting(
            "emphasis",
            "Pre-emphasis before the levels, 0 to 0.98: less hiss, a rougher low end.",
            NETWORK,
        ),
    ] = None,
    age_features: Annotated[
        int | None,
        _setting(
            "age_features",
            "What is told of a hit's age: 15 features, or 27, which follow low tones.",
            NETWORK,
        ),
    ] = None,
    cond_hidden: Annotated[
        str | None, _setting("cond_hidden", "Widths of the conditioning's layers.", NETWORK)
    ] = None,
    body: Annotated[
        int | None,
        _setting(
            "body",
            "Waves of each role that tell its sound below 1.6 kHz by the hits alone; 12 are good.",
            NETWORK,
        ),
    ] = None,
    body_knots: Annotated[
        int | None, _setting("body_knots", "Knots of a hop of these waves.", NETWORK)
    ] = None,
    body_ms: Annotated[
        float | None, _setting("body_ms", "How long they last, in milliseconds.", NETWORK)
    ] = None,
    body_steps: Annotated[
        int | None, _setting("body_steps", "Steps in which the body is taught first.", NETWORK)
    ] = None,
    transient: Annotated[
        int | None,
        _setting(
            "transient",
            "Waves of each role that tell its first tenths of a second above that; 8 are good.",
            NETWORK,
        ),
    ] = None,
    transient_ms: Annotated[
        float | None, _setting("transient_ms", "How long these last, in milliseconds.", NETWORK)
    ] = None,
) -> None:
    """Trains a model on a dataset, or goes on with a training that stopped.

    Ctrl-C ends it after the step it is at, with a checkpoint; a second Ctrl-C ends it at once.

    Example: ghostnote train --data data/mine --run runs/mine --steps 2000

    Your own kit: ghostnote train --from kit --data data/mykit --run runs/mykit
    """
    given: dict[str, Any] = {
        field.name: context.params[field.name]
        for field in fields(TrainConfig)
        if context.params[field.name] is not None
    }
    if cond_hidden is not None:
        given["cond_hidden"] = _widths(cond_hidden)
    if steps is not None and minutes is not None:
        raise typer.BadParameter("--steps and --minutes are two lengths; give one of them")
    if minutes is not None and not minutes > 0.0:  # 0 would be a plan by --steps
        raise typer.BadParameter(f"--minutes must be above 0, found {minutes:g}")
    if steps is not None:
        given["minutes"] = 0.0
    if not resume and windows is None and find_device(device).type == "cuda":
        given["windows"] = GPU_WINDOWS
    if resume and base is not None:
        raise typer.BadParameter("--from begins a run, --resume goes on with one; give one of them")
    model = None if base is None else load_model(find_model(base))
    if model is not None:
        config = config_from(model, given)
    else:
        config = replace(load_checkpoint(run).config if resume else TrainConfig(), **given)
    if config.body and config.body_steps and not resume:
        print(f"first the body learns: {config.body_steps} steps, not in the bar")
    with stopped_by_signals() as stop, _bar(run) as report:
        facts = run_training(
            data,
            run,
            config,
            resume=resume,
            base=model,
            threads=threads,
            validate_every=validate_every,
            device=device,
            precision=precision,
            stop_after=stop_after,
            stop=stop,
            report=report,
        )
    validated = facts.get("validation_bits")
    score = "" if validated is None else f", {validated:.3f} bits/sample on held-back clips"
    print(f"trained for {facts['seconds'] / 3600:.2f} hours{score}")
    if config.share(facts["steps"], facts["seconds"]) < 1.0:
        where = _place(facts["steps"], config.steps, facts["seconds"], config.minutes)
        print(f"stopped at {where}; go on with: ghostnote train --data {data} --run {run} --resume")
        raise typer.Exit(INTERRUPTED)
    print(f"next: ghostnote export --run {run} --out {run.name}.onnx")


def _place(step: int, steps: int, seconds: float, minutes: float) -> str:
    """Says where a run is in its plan, for a reader."""
    if minutes:
        return f"step {step}, minute {seconds / 60.0:.1f} of {minutes:g}"
    return f"step {step} of {steps}"


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise typer.BadParameter(
            f"--cond-hidden takes whole numbers separated by commas, not {text!r}"
        ) from None


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Gives an event that the first Ctrl-C or SIGTERM sets; a second one interrupts at once."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar(run: Path) -> Iterator[Any]:
    """Shows a bar on a terminal; elsewhere one line on stderr for each line of the log."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(run.name, total=None, told="")

        def tell(progress: Progress) -> None:
            told = f"{progress.bits:.3f} bits, {progress.samples_per_s / 1000:.1f} k samples/s"
            if progress.validation:
                told += f", validation {progress.validation[1]:.3f} at {progress.validation[0]}"
            if progress.minutes:  # a bar of seconds
                done, whole = round(progress.seconds), round(60.0 * progress.minutes)
                bar.update(task, completed=done, total=whole, told=told)
            else:
                bar.update(task, completed=progress.step, total=progress.steps, told=told)
            if progress.logged and not console.is_terminal:
                where = _place(progress.step, progress.steps, progress.seconds, progress.minutes)
                console.print(f"{where}: {told}", soft_wrap=True)

        yield tell
