"""`ghostnote eval`: how well a model plays what it is asked for."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ghostnote.inference.model_file import find_model, load_model
from ghostnote.training import scoreboard
from ghostnote.training.evaluate import EvalOptions
from ghostnote.training.evaluate import evaluate as evaluate_triggers
from ghostnote.training.texture import evaluate_texture

from .compile_cache import user_cache
from .precision import Precision
from .progress import progress_bar


def evaluate(
    corpus: Annotated[Path, typer.Option(help="Drum corpus: grooves/, kits/, one-shots.")],
    model: Annotated[
        str | None, typer.Option(help="Bundled model or .onnx file.", show_default="kit")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Which of the corpus's grooves: train, validation or test.")
    ] = EvalOptions.split,
    kits: Annotated[
        Path | None, typer.Option(help="Corpus to read the model's kits from, if another.")
    ] = None,
    grooves: Annotated[
        int, typer.Option(help="How many grooves, evenly chosen; each is asked of every kit.")
    ] = EvalOptions.grooves,
    seconds: Annotated[
        float, typer.Option(help="Length of each groove's piece in seconds.")
    ] = EvalOptions.seconds,
    bits_seconds: Annotated[
        float, typer.Option(help="Of it, seconds on which bits/sample are measured; 0: none.")
    ] = EvalOptions.bits_seconds,
    temperature: Annotated[
        float, typer.Option(help="Of drawing samples, 0.01 to 10.")
    ] = EvalOptions.temperature,
    top_k: Annotated[
        int, typer.Option(help="Draw among this many likeliest levels; 0: all.")
    ] = EvalOptions.top_k,
    seed: Annotated[
        int, typer.Option(help="Chooses the pieces and the random numbers.")
    ] = EvalOptions.seed,
    threads: Annotated[
        int, typer.Option(help="Streams at a time; 0: one per core.")
    ] = EvalOptions.threads,
    precision: Precision = EvalOptions.precision,
    endurance: Annotated[
        int, typer.Option(help="Runs of ten minutes, side by side; 0: none.")
    ] = EvalOptions.endurance,
    endurance_minutes: Annotated[
        int, typer.Option(help="Length of those runs in minutes.")
    ] = EvalOptions.endurance_minutes,
    page: Annotated[
        Path | None,
        typer.Option(help="Folder for a page with tables, pictures and players: index.html."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures and sounds: KIT.png, KIT.flac (truth, then model)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables as Markdown.")
    ] = False,
) -> None:
    """Measures how well a model plays what it is asked for, beside the rendered truth.

    Figures in brackets are the truth's own, heard by the same ears: the ceiling. The ears are
    trained on the corpus's one-shots: about a minute, once for a corpus and its kits.

    Example: ghostnote eval --corpus drums --split validation --endurance 10 --page report
    """
    if as_json and as_markdown:
        raise typer.BadParameter("give either --json or --markdown")
    loaded = load_model(find_model(model))
    options = EvalOptions(
        split=split,
        kits=kits,
        grooves=grooves,
        seconds=seconds,
        bits_seconds=bits_seconds,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        threads=threads,
        precision=precision,
        endurance=endurance,
        endurance_minutes=endurance_minutes,
        cache=user_cache() / "ghostnote",
    )
    measure = evaluate_triggers if loaded.spec.roles else evaluate_texture
    began = time.monotonic()
    with progress_bar() as progress:
        result = measure(loaded, corpus, options, progress)
        # matplotlib is slow to load and needed for nothing else.
        if pictures is not None:
            from ghostnote.training.pictures import draw_pictures

            draw_pictures(loaded, corpus, options, pictures, progress)
        if page is not None:
            from ghostnote.training.page import write_page

            write_page(loaded, corpus, options, result, page, progress)
    took = time.monotonic() - began
    if as_json:
        print(json.dumps({**result, "took_seconds": round(took, 1)}, indent=2))
    elif as_markdown:
        print(scoreboard.markdown(result), end="")
    else:
        _show(scoreboard.tables(result))
    Console(stderr=True).print(f"took {took:.0f} s", highlight=False)
    for entry in result["kits_missing"]:
        Console(stderr=True).print(f"kit left out, {entry['reason']}", soft_wrap=True)
    for entry in result["skipped"]:
        Console(stderr=True).print(f"groove skipped, {entry['reason']}", soft_wrap=True)


def _show(tables: tuple[scoreboard.Table, ...]) -> None:
    console = Console()
    for table in tables:
        shown = Table(title=table.title)
        for i, head in enumerate(table.heads):
            shown.add_column(head, no_wrap=i == 0, overflow="fold")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
