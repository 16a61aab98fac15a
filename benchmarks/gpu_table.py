"""The table of GPU figures in docs/benchmarks.md: a row for each target, kept until measured anew.

It stands between two markers. A run replaces the rows that it has measured and leaves the others,
each of which tells its own card, date and commit. Pure functions but for `write`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ghostnote.kernels.errors import GhostnoteError

BEGIN, END = "<!-- gpu: made by `make gpu` -->", "<!-- gpu: end -->"
NOT_YET = "not yet measured"
HEAD = "| what | target | measured | card, date, commit |\n| --- | --- | --- | --- |"

TARGETS: Mapping[str, str] = {
    "one stream of NV-M, samples/s": "85,000, and above nv-wavenet",
    "one stream of IBAB, samples/s": "32,000",
    "nv-wavenet, NV-M, samples/s": "beside ours",
    "streams of NV-M in real time at 16 kHz": "256; stretch 2,000",
    "share of the bf16 matrix peak, R9-mulaw, many streams": "15 %",
    "a live voice of the bundled model, ring 256": "0 underruns in 5 minutes",
    "training, 20 layers x 32 channels, samples/s": "told",
    "training, 20 layers x 64 channels at 48 kHz, samples/s": "told",
}
"""What is measured, and what is aimed at."""


@dataclass(frozen=True)
class Row:
    """A figure for a reader, and where and when it was taken."""

    measured: str = NOT_YET
    where: str = ""


def table(rows: Mapping[str, Row]) -> str:
    """Return the whole table; what has no row is not yet measured."""
    lines = [HEAD]
    for what, target in TARGETS.items():
        row = rows.get(what, Row())
        lines.append(f"| {what} | {target} | {row.measured} | {row.where} |")
    return "\n".join(lines)


def read(page: str) -> dict[str, Row]:
    """Return the rows of a page that have been measured.

    Raises
    ------
    GhostnoteError
        If the page lacks the markers.
    """
    found = {}
    for line in _parts(page)[1].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[0] in TARGETS and cells[2] != NOT_YET:
            found[cells[0]] = Row(cells[2], cells[3])
    return found


def written(page: str, rows: Mapping[str, Row]) -> str:
    """Return the page with these rows in place of what it said of them."""
    before, _, after = _parts(page)
    return f"{before}{BEGIN}\n\n{table({**read(page), **rows})}\n\n{END}{after}"


def write(path: Path, rows: Mapping[str, Row]) -> None:
    """Write rows into the page at `path`, which is replaced as a whole."""
    part = path.with_suffix(".part")
    part.write_text(written(path.read_text(), rows))
    part.replace(path)


def _parts(page: str) -> tuple[str, str, str]:
    before, found, rest = page.partition(BEGIN)
    inside, ended, after = rest.partition(END)
    if not found or not ended:
        raise GhostnoteError(f"the page lacks the lines {BEGIN} and {END}, between which it goes")
    return before, inside, after
