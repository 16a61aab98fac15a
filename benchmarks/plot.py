"""Draws what `ghostnote bench --json` said: speeds beside other engines, and the roofline.

make bench ARGS=--json > bench.json
python benchmarks/plot.py speed bench.json docs/pictures/bench.png NV-S,NV-M,IBAB,kit
python benchmarks/plot.py roofline bench.json docs/pictures/roofline.png
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from ghostnote.kernels.configs import NV_WAVENET_V100

Row = dict[str, Any]

# Slowest first, as the bars of a network stand. Dark to light where the weights get smaller.
ENGINES: dict[tuple[str, str, int], tuple[str, str]] = {
    ("onnx", "fp32", 1): ("onnxruntime, 1 sample a call", "#c9ced6"),
    ("torch", "fp32", 1): ("torch, eager", "#a9b2be"),
    ("onnx", "fp32", 64): ("onnxruntime, 64 a call", "#8792a2"),
    ("inductor", "fp32", 0): ("torch AOTInductor, unrolled", "#5d6a7d"),
    ("cpu", "fp32", 0): ("ghostnote, fp32", "#8f1d3f"),
    ("cpu", "bf16", 0): ("ghostnote, bf16", "#d1495b"),
    ("cpu", "int8", 0): ("ghostnote, int8", "#f2a07b"),
}
PRECISIONS = {"fp32": "#8f1d3f", "bf16": "#d1495b", "int8": "#f2a07b"}
MARKS = ("o", "s", "D", "^", "v", "P", "X", "*", "p", "h")


def draw_speed(report: Row) -> Figure:
    """Draws one stream on one core: samples per second of each network and engine."""
    rows = [row for row in report["results"] if row["streams"] == row["threads"] == 1]
    networks = list(dict.fromkeys(row["config"] for row in rows))
    found = {(row["config"], _engine(row)): row["samples_per_s"] for row in rows}
    engines = [key for key in ENGINES if any(key == engine for _, engine in found)]
    pitch = len(engines) + 1.2
    figure = Figure(figsize=(8.0, 0.9 + 0.135 * pitch * len(networks)), layout="constrained")
    axes = figure.subplots()
    least = min(found.values()) / 1.6
    for place, engine in enumerate(engines):
        label, colour = ENGINES[engine]
        bars = [
            (pitch * i + place, found[network, engine])
            for i, network in enumerate(networks)
            if (network, engine) in found
        ]
        at, widths = zip(*bars, strict=True)
        drawn = axes.barh(at, widths, height=0.92, color=colour, label=label)
        for text in axes.bar_label(drawn, [_thousands(w) for w in widths], padding=2, fontsize=6.5):
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.4})
            text.set_zorder(5)
    middle = (len(engines) - 1) / 2
    axes.set_yticks([pitch * i + middle for i in range(len(networks))], networks)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(pitch * len(networks) - 0.6, -1.9)
    axes.set_xscale("log")
    axes.set_xlim(least, max([*found.values(), NV_WAVENET_V100]) * 1.6)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _thousands(value)))
    if "NV-M" in networks:
        top = pitch * networks.index("NV-M")
        axes.plot(
            [NV_WAVENET_V100] * 2, [top - 0.8, top + len(engines) - 0.2], color="black", lw=1.2
        )
        axes.annotate(
            "nv-wavenet on a V100: 42.8 k",
            (NV_WAVENET_V100, top - 0.8),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7,
        )
    axes.set_xlabel(f"samples/s, one stream, one core of {report['machine']['cpu']} (log scale)")
    axes.grid(axis="x", color="#e3e6ea", lw=0.6)
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles[::-1],
        labels[::-1],
        loc="outside upper center",
        ncols=3,
        fontsize=7.5,
        frameon=False,
    )
    _open(axes)
    return figure


def draw_roofline(report: Row) -> Figure:
    """Draws what one core multiplies and adds a second against what it reads for it."""
    machine = report["machine"]
    rows = [r for r in report["results"] if r["backend"] == "cpu" and r["threads"] == 1]
    networks = list(dict.fromkeys(row["config"] for row in rows))
    figure = Figure(figsize=(8.0, 5.4), layout="constrained")
    axes = figure.subplots()
    reach = np.array([0.15, 2.0 * max(_intensity(row) for row in rows)])
    floats, bytes_ = machine["fma_gmac_per_s"], machine["int8_gmac_per_s"]
    speeds = list(machine["bandwidth_gb_per_s"].items())
    for peak, what in (
        (floats, f"fp32 and bf16: {floats:.0f} GMAC/s"),
        (bytes_, f"int8: {bytes_:.0f} GMAC/s"),
    ):
        axes.plot([peak / speeds[0][1], reach[1]], [peak, peak], color="black", lw=1.3)
        beside = 1.3 * bytes_ / min(gb_per_s for _, gb_per_s in speeds)
        axes.annotate(what, (beside, peak), xytext=(0, 3), textcoords="offset points", fontsize=8)
    # A line for each size of memory: what can be read there, up to the higher ceiling.
    for i, (_, gb_per_s) in enumerate(speeds):
        at = np.array([reach[0], bytes_ / gb_per_s])
        style = ("-", "--", "-.", ":")[i % 4]
        axes.plot(at, at * gb_per_s, color="#8792a2", lw=1.0, ls=style, zorder=1)
    for row in rows:
        mark = MARKS[networks.index(row["config"]) % len(MARKS)]
        axes.plot(
            _intensity(row),
            row["gmac_per_s"],
            mark,
            color=PRECISIONS[row["precision"]],
            markeredgecolor="white",
            markeredgewidth=0.5,
            markersize=5.5 + 1.5 * np.log2(row["streams"] + 1) / 2,
            alpha=0.95,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*reach)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticks([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    axes.set_ylim(min(row["gmac_per_s"] for row in rows) / 1.7, bytes_ * 1.6)
    axes.set_xlabel("multiply-adds for each byte of weights read (more streams: further right)")
    axes.set_ylabel(f"GMAC/s, one core of {machine['cpu']}")
    axes.grid(color="#e9ecef", lw=0.6)
    axes.set_axisbelow(True)
    precisions = [
        Line2D([], [], marker="o", ls="", color=colour, label=name)
        for name, colour in PRECISIONS.items()
        if any(row["precision"] == name for row in rows)
    ]
    lines = [
        Line2D(
            [],
            [],
            color="#8792a2",
            ls=("-", "--", "-.", ":")[i % 4],
            label=f"{name}: {gb:.0f} GB/s",
        )
        for i, (name, gb) in enumerate(speeds)
    ]
    marks = [
        Line2D([], [], marker=MARKS[i % len(MARKS)], ls="", color="#495057", label=name)
        for i, name in enumerate(networks)
    ]
    figure.legend(
        handles=[*precisions, *lines, *marks],
        loc="outside right upper",
        fontsize=8,
        frameon=False,
    )
    _open(axes)
    return figure


def _engine(row: Row) -> tuple[str, str, int]:
    size = row.get("samples_per_call", 0)
    return row["backend"], row["precision"], 0 if row["backend"] == "inductor" else size


def _intensity(row: Row) -> float:
    return float(row["mac_per_sample"] / row["bytes_read_per_sample"])


def _thousands(value: float) -> str:
    if value < 999.5:
        return f"{value:.0f}"
    return f"{value / 1000:.3g} k" if value < 999_500 else f"{value / 1e6:.3g} M"


def _open(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


PICTURES = {"speed": draw_speed, "roofline": draw_roofline}


def main(arguments: list[str]) -> int:
    """Draws the picture that the command line asks for; returns the exit status."""
    if len(arguments) not in (3, 4) or arguments[0] not in PICTURES:
        usage = f"{'|'.join(PICTURES)} BENCH.json PICTURE.png [NETWORK,NETWORK,...]"
        print(f"usage: python benchmarks/plot.py {usage}", file=sys.stderr)
        return 2
    kind, source, picture, *networks = arguments
    try:
        report = json.loads(Path(source).read_text(encoding="utf-8"))
        rows = report["results"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        print(f"{source}: not what `ghostnote bench --json` writes ({error})", file=sys.stderr)
        return 1
    if networks:
        names = networks[0].split(",")
        report["results"] = [row for name in names for row in rows if row["config"] == name]
        for name in names:
            if name not in {row["config"] for row in rows}:
                print(f"{source}: nothing about {name!r}", file=sys.stderr)
                return 1
    path = Path(picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    PICTURES[kind](report).savefig(path, dpi=150)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
