"""`ghostnote render`: loops from a pattern or a groove, or again from a manifest."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from ghostnote.inference import render as renderer
from ghostnote.inference.drummer import DrummerPlans, parse_settings
from ghostnote.inference.drummer_file import load_drummer
from ghostnote.inference.kit_mix import parse_kit
from ghostnote.inference.loops import BUILT_IN, LoopPlan, choose_plan
from ghostnote.inference.manifest import MANIFEST, Loop, read_manifest
from ghostnote.inference.model_file import bundled_models, find_model, load_model
from ghostnote.kernels.backends import missing
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import DEFAULT_TEMPERATURE

from .backend import BackendOfLoops, choice_of
from .precision import AnyPrecision

_Watch = AbstractContextManager[tuple[renderer.Progress, threading.Event | None]]


def render(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(help="Bundled model or .onnx file.", show_default="kit")
    ] = None,
    kit: Annotated[
        str | None,
        typer.Option(
            help="A kit of the model, a mixture (jazz:2,rock:1) or texture. [default: the first]"
        ),
    ] = None,
    bars: Annotated[int, typer.Option(help="Length of a loop, in bars of four beats.")] = 4,
    bpm: Annotated[
        float | None,
        typer.Option(help="Beats a minute.", show_default="of the groove or pattern, else 120"),
    ] = None,
    count: Annotated[int, typer.Option(help="Number of loops.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the first loop; the next ones count up.")] = 1,
    groove: Annotated[Path | None, typer.Option(help="MIDI file with drums to play.")] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help=f"Pattern file to play, or one of {', '.join(BUILT_IN)}."),
    ] = None,
    drummer: Annotated[
        str | None,
        typer.Option(
            help="Let the drummer play instead: style=funk,density=0.6,swing=0,humanise=1,fill=8,"
            "seed=1, or some of these."
        ),
    ] = None,
    samplerate: Annotated[
        int | None, typer.Option(help="Of the files, in Hz.", show_default="the model's")
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Below 1 tamer, above 1 wilder; 0.01 to 10.")
    ] = DEFAULT_TEMPERATURE,
    top_k: Annotated[
        int, typer.Option("--top-k", help="Draw among the k likeliest levels only; 0: all.")
    ] = 0,
    streams: Annotated[
        int | None,
        typer.Option(help="Loops made at once; changes no bit.", show_default="what is fastest"),
    ] = None,
    precision: AnyPrecision = None,
    backend: BackendOfLoops = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the WAV files and manifest.json.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Make the loops of this manifest again, into its folder or --out."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Of a manifest, only this file; may be repeated.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was made as JSON on stdout.")
    ] = False,
    progress_json: Annotated[
        bool,
        typer.Option(
            "--progress-json",
            help="For programs: tell the progress as JSON lines on stderr, stop when stdin ends.",
        ),
    ] = False,
) -> None:
    """Renders loops to WAV files of exactly the asked bars, and a manifest to make them again.

    Example: ghostnote render --pattern break --bpm 128 --bars 2 --count 4 --out loops
    """
    if manifest is not None:
        _refuse_recipe(context)
        watch = _told(progress_json, out or manifest.parent)
        folder = out or manifest.parent
        _remake(manifest, only or [], model, streams, backend, folder, as_json, watch)
        return
    if out is None:
        raise typer.BadParameter("say with --out which folder the loops go to")
    if only:
        raise typer.BadParameter("--only needs --manifest")
    if (groove is not None) + (pattern is not None) + (drummer is not None) > 1:
        raise typer.BadParameter("one of --groove, --pattern and --drummer, not both")
    # Refused before a model is loaded; what plays may change the precision.
    options = renderer.RenderOptions(out, count, seed, kit, samplerate, temperature, top_k, streams)
    loaded = load_model(find_model(model))
    at_once, threads = renderer.side_by_side(count, streams)
    on_gpu = renderer.side_by_side_on_gpu(count, streams)
    chosen = choice_of(backend or "cpu", precision, lambda: loaded, at_once, threads, on_gpu=on_gpu)
    if backend == "auto":
        print(f"{chosen.backend}: {chosen.why.partition(';')[0]}", file=sys.stderr)
    options = replace(options, precision=chosen.precision, backend=chosen.backend)
    texture = kit is not None and not any(parse_kit(loaded.spec, kit))
    each = None
    if drummer is None:
        plan, lost = choose_plan(loaded.spec.roles, groove, pattern, bars, bpm, texture)
    else:
        player = DrummerPlans(load_drummer(), parse_settings(drummer, seed), bars, bpm)
        plan, lost = player.plan().only(loaded.spec.roles)

        def each(number: int) -> LoopPlan:
            return player.plan(number - seed).only(loaded.spec.roles)[0]

    with _told(progress_json, out) as (tell, stop):
        loops = renderer.render_loops(loaded, plan, options, tell, stop, _tell_loss, each)
    if lost:
        roles = ", ".join(f"{role} ({count})" for role, count in lost.items())
        print(f"{plan.name}: hits of roles that the model lacks left out: {roles}", file=sys.stderr)
    _report(loops, out, as_json)


def _tell_loss(line: str) -> None:
    print(f"ghostnote render: {line}", file=sys.stderr, flush=True)


_NO_RECIPE = (
    "model", "streams", "backend", "out", "manifest", "only", "as_json", "progress_json",
)  # fmt: skip


def _refuse_recipe(context: typer.Context) -> None:
    """Refuse options that a manifest has the say about."""
    for option in context.command.params:
        source = context.get_parameter_source(str(option.name))
        if option.name not in _NO_RECIPE and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"{option.opts[0]} is told by the manifest: leave it out")


def _remake(
    manifest: Path,
    only: Sequence[str],
    model: str | None,
    streams: int | None,
    backend: str | None,
    out: Path,
    as_json: bool,
    watch: _Watch,
) -> None:
    loops = read_manifest(manifest)
    wanted = [name if name.endswith(".wav") else f"{name}.wav" for name in only]
    for name in wanted:
        if name not in (loop.file for loop in loops):
            raise GhostnoteError(f"manifest {manifest}: lists no {name}")
    loops = [loop for loop in loops if not wanted or loop.file in wanted]
    paths = [find_model(model)] if model else list(bundled_models().values())
    models = [load_model(path) for path in paths]
    if backend in ("cpu", "gpu"):
        loops = [replace(loop, backend=backend) for loop in loops]
    elif backend == "auto" and missing("gpu"):
        loops = [replace(loop, backend="cpu") for loop in loops]
    if any(loop.backend == "gpu" for loop in loops) and (lacks := missing("gpu")):
        raise GhostnoteError(
            f"loops made on a GPU: {lacks}; or --backend cpu, which in fp32 mostly plays the same"
        )
    with watch as (tell, stop):
        other = renderer.remake_loops(models, loops, out, streams, tell, stop, _tell_loss)
    changed = [loop.file for loop in other]
    _report([loop for loop in loops if loop.file not in changed], out, as_json)
    if changed:
        names = ", ".join(changed[:3]) + (" ..." if len(changed) > 3 else "")
        raise GhostnoteError(
            f"{len(changed)} of {len(loops)} loops are not what they were ({names}): the manifest "
            "comes from another version of ghostnote or of a library, or one was made on a GPU; files "
            "that are there stay"
        )


def _told(progress_json: bool, out: Path) -> _Watch:
    return _for_a_program(out) if progress_json else _for_a_person(out)


@contextmanager
def _for_a_person(out: Path) -> Iterator[tuple[renderer.Progress, None]]:
    """Show the share of the work on stderr."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar, _interrupted(out):
        task = bar.add_task("Rendering", total=1.0)
        yield lambda share: bar.update(task, completed=share), None


@contextmanager
def _for_a_program(out: Path) -> Iterator[tuple[renderer.Progress, threading.Event]]:
    """Tell the share of the work in lines on stderr, 10 a second at most; stop with stdin."""
    stop, ended = threading.Event(), threading.Event()
    told = -1.0

    def tell(share: float) -> None:
        nonlocal told
        if time.monotonic() - told >= 0.1 or share >= 1.0:
            told = time.monotonic()
            print(json.dumps({"progress": round(share, 4)}), file=sys.stderr, flush=True)

    def watch() -> None:
        with suppress(OSError):  # there never was one
            while os.read(0, 64):  # not sys.stdin, whose lock the interpreter would want at its end
                pass
        ended.set()
        stop.set()

    with _interrupted(out):
        threading.Thread(target=watch, daemon=True).start()
        yield tell, stop
        if ended.is_set():
            raise KeyboardInterrupt


@contextmanager
def _interrupted(out: Path) -> Iterator[None]:
    """After Ctrl-C say what is there."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped; loops that were finished are listed in {out / MANIFEST}", file=sys.stderr)
        raise


def _report(loops: Sequence[Loop], out: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"loops": [loop.to_json() for loop in loops]}))
        return
    for loop in loops:
        print(out / loop.file)
