"""The page of `ghostnote eval --page`: tables, pictures and players, truth beside model.

A folder with one index.html and the PNG and WAV files that it names, relative to itself: it can be
moved, packed and opened without a network. Single-threaded.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile

from ghostnote.inference.model_file import ModelFile

from .evaluate import EvalOptions, Played, Progress
from .pictures import draw_piece, examples
from .scoreboard import Table, caption, tables
from .texture import texture_examples

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0 2rem; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ccc; text-align: left }
img { max-width: 100%; display: block }
figure { margin: 0 0 2.5rem }
figure div { display: flex; gap: 2rem; flex-wrap: wrap }
audio { display: block; width: 22rem; max-width: 100% }
"""


def write_page(
    model: ModelFile,
    corpus: Path,
    options: EvalOptions,
    result: Mapping[str, Any],
    folder: Path,
    progress: Progress | None = None,
) -> Path:
    """Write the page into a folder, replacing what an earlier one left there; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    make = examples if model.spec.roles else texture_examples
    figures = [
        _figure(folder, f"{number:02d}", title, played, model.spec.samplerate)
        for number, (_, title, played) in enumerate(make(model, corpus, options, progress), 1)
    ]
    name = html.escape(str(result["model"]))
    body = "\n".join([_table(table) for table in tables(result)] + ["<h2>Heard</h2>", *figures])
    page = folder / "index.html"
    page.write_text(
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{name}</title>\n'
        f"<style>{STYLE}</style>\n<h1>{name}, measured</h1>\n"
        f"<p>{html.escape(caption(result))}</p>\n{body}\n</html>\n",
        encoding="utf-8",
    )
    return page


def _figure(folder: Path, stem: str, title: str, played: Played, samplerate: int) -> str:
    """Write the picture and the sounds of a piece; return the piece of HTML that shows them."""
    draw_piece(played, samplerate, title, folder / f"{stem}.png")
    players = []
    for what, label, audio in (
        ("truth", "rendered truth", played.truth),
        ("model", "played by the model", played.generated),
    ):
        soundfile.write(folder / f"{stem}-{what}.wav", audio, samplerate, subtype="PCM_16")
        players.append(
            f'<label>{label}<audio controls preload="none" src="{stem}-{what}.wav"></audio></label>'
        )
    shown = html.escape(title)
    return (
        f"<figure><h3>{shown}</h3><div>{''.join(players)}</div>"
        f'<img src="{stem}.png" alt="waves and spectra of {shown}"></figure>'
    )


def _table(table: Table) -> str:
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in table.heads)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    return f"<h2>{html.escape(table.title)}</h2>\n<table><tr>{heads}</tr>{rows}</table>"
