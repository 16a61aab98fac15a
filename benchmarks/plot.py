"""Draws the README's bars, x real time of each engine, from what `ghostnote bench --json` said.

ghostnote bench --json > bench.json
python benchmarks/plot.py bench.json docs/pictures/bench.png
"""

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw(report: dict[str, Any], path: Path) -> None:
    """Draws the rows with one stream, one bar each, the kernel's first."""
    rows = [row for row in report["results"] if row["streams"] == 1]
    rows.sort(key=lambda row: row["backend"] != "cpu")
    names = [_name(row) for row in rows]
    times = [row["realtime"] for row in rows]
    colours = ["#d1495b" if row["backend"] == "cpu" else "#8d99ae" for row in rows]
    figure = Figure(figsize=(7.0, 0.6 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(names, times, color=colours)
    axes.bar_label(bars, [f"{value:.2f}" for value in times], padding=4)
    axes.axvline(1.0, color="black", linewidth=1.0, linestyle="--")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"x real time, one core of {report['machine']['cpu']} (dashed: real time)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _name(row: dict[str, Any]) -> str:
    if row["backend"] == "cpu":
        return f"{row['config']}: ghostnote {row['precision']}"
    return f"{row['config']}: onnxruntime, {row['samples_per_call']} a call"


def main(arguments: list[str]) -> int:
    """Draws the picture that the command line asks for; returns the exit status."""
    if len(arguments) != 2:
        print("usage: python benchmarks/plot.py BENCH.json PICTURE.png", file=sys.stderr)
        return 2
    source, picture = arguments
    try:
        report = json.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"{source}: not what `ghostnote bench --json` writes ({error})", file=sys.stderr)
        return 1
    draw(report, Path(picture))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
