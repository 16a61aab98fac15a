"""The result of `ghostnote eval` as tables: rows of text, and Markdown for the docs.

A cell "0.97 (0.99)" is the model's figure with the rendered truth's own in brackets. Pure
functions of the JSON that `evaluate` returns; any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .hearing import CORE_ROLES


class Table(NamedTuple):
    """A title, the heads of the columns, and rows of as many cells."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(result: Mapping[str, Any]) -> tuple[Table, Table]:
    """Return the table over the kits and the one over the roles."""
    return _of_kits(result), _of_roles(result)


def markdown(result: Mapping[str, Any]) -> str:
    """Return the tables and how they came about, as Markdown.

    >>> table = Table("Kits", ("kit", "bits"), (("808", "2.5"),))
    >>> print(markdown_table(table))
    | kit | bits |
    | --- | --- |
    | 808 | 2.5 |
    """
    grooves = len(result["grooves"])
    # "seconds" counts each groove once per kit.
    each = result["seconds"] / max(grooves * len(result["per_kit"]), 1)
    caption = (
        f"Model `{result['model']}` (sha256 `{result['model_sha256'][:16]}`), split "
        f"{result['split']}: {grooves} grooves of {each:.0f} s x {len(result['per_kit'])} kits, "
        f"temperature {result['temperature']:g}, top-k {result['top_k'] or 'off'}, "
        f"seed {result['seed']}, weights in {result['weights']}. In brackets: the same figure of the rendered truth."
    )
    lines = [caption]
    for table in tables(result):
        lines += ["", f"**{table.title}**", "", markdown_table(table)]
    return "\n".join(lines) + "\n"


def markdown_table(table: Table) -> str:
    """Return one table as Markdown, without its title."""
    rows: Sequence[Sequence[str]] = (table.heads, ["---"] * len(table.heads), *table.rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _of_kits(result: Mapping[str, Any]) -> Table:
    heads = (
        "kit",
        "bits/sample",
        *(f"{role} heard" for role in CORE_ROLES),
        "false onsets/min",
        "timing p95, ms",
        "velocity correlation",
        "between hits, dBFS",
        "where the truth is silent, dBFS",
    )
    scores = {**result["per_kit"], "all kits": result}
    return Table("Kits", heads, tuple(_kit_row(name, score) for name, score in scores.items()))


def _kit_row(name: str, score: Mapping[str, Any]) -> tuple[str, ...]:
    roles = score["roles"]
    return (
        name,
        _number(score["bits_per_sample"], 2),
        *(_pair(roles.get(role, {}), "recall", "truth_recall", 2) for role in CORE_ROLES),
        _pair(score, "false_onsets_per_minute", "truth_false_onsets_per_minute", 1),
        _number(score["timing_ms_p95"], 1),
        _number(score["velocity_correlation"], 2),
        _pair(score, "floor_db", "truth_floor_db", 1),
        _number(score["hiss_db"], 1),
    )


def _of_roles(result: Mapping[str, Any]) -> Table:
    heads = ("role", "asked", "masked", "heard", "onsets that were asked", "heard when alone")
    rows = tuple(
        (
            role,
            str(score["asked"]),
            str(score["masked"]),
            _pair(score, "recall", "truth_recall", 2),
            _pair(score, "precision", "truth_precision", 2),
            _pair(result["alone"].get(role, {}), "recall", "truth_recall", 2),
        )
        for role, score in result["roles"].items()
    )
    return Table("Roles, all kits", heads, rows)


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _pair(scores: Mapping[str, Any], key: str, truth: str, places: int) -> str:
    if scores.get(key) is None and scores.get(truth) is None:
        return "-"
    return f"{_number(scores.get(key), places)} ({_number(scores.get(truth), places)})"
