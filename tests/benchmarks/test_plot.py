"""The pictures are drawn from what `ghostnote bench --json` says, with whatever it measured."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
FILE = Path(__file__).parents[2] / "benchmarks" / "plot.py"


def load() -> Any:
    found = importlib.util.spec_from_file_location("plot", FILE)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


plot = load()

MACHINE = {
    "cpu": "a processor",
    "fma_gmac_per_s": 60.0,
    "int8_gmac_per_s": 100.0,
    "bandwidth_gb_per_s": {"16 KiB": 160.0, "4 MiB": 70.0},
}


def row(config: str, backend: str, precision: str, streams: int = 1, call: int = 0) -> Any:
    size = {"fp32": 4, "bf16": 2, "int8": 1}[precision]
    return {
        "config": config,
        "backend": backend,
        "precision": precision,
        "streams": streams,
        "threads": 1,
        "samples_per_s": 20000.0 * streams,
        "mac_per_sample": 600_000,
        "bytes_read_per_sample": 0.8 * size * 600_000 / streams,
        "gmac_per_s": 12.0 * streams,
        **({"samples_per_call": call} if call else {}),
    }


ROWS = [
    *(row(name, "cpu", p, s) for name in ("NV-M", "kit") for p in ("fp32", "int8") for s in (1, 4)),
    row("NV-M", "onnx", "fp32", call=64),
    row("NV-M", "inductor", "fp32", call=8),
    row("kit", "torch", "fp32", call=1),
]


def report(tmp_path: Path, rows: list[Any]) -> str:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({"machine": MACHINE, "results": rows}))
    return str(path)


def test_every_engine_has_its_bar_and_the_v100_its_line() -> None:
    figure = plot.draw_speed({"machine": MACHINE, "results": ROWS})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["NV-M", "kit"]
    assert len(axes.patches) == sum(r["streams"] == 1 for r in ROWS)
    assert {patch.get_width() for patch in axes.patches} == {20000.0}
    (line,) = axes.lines
    assert {*line.get_xdata()} == {plot.NV_WAVENET_V100}


def test_every_measurement_of_the_kernel_is_in_the_roofline() -> None:
    (axes,) = plot.draw_roofline({"machine": MACHINE, "results": ROWS}).axes
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    found = sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in points)
    assert found == sorted((r["mac_per_sample"] / r["bytes_read_per_sample"], r["gmac_per_s"])
                           for r in ROWS if r["backend"] == "cpu")  # fmt: skip
    low, high = axes.get_ylim()
    assert low < 12.0 and high > 100.0


@pytest.mark.parametrize("kind", ["speed", "roofline"])
@pytest.mark.parametrize("networks", [[], ["kit"]])
def test_a_picture_is_written(kind: str, networks: list[str], tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "a.png"
    assert plot.main([kind, report(tmp_path, ROWS), str(picture), *networks]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, picture = report(tmp_path, ROWS), str(tmp_path / "a.png")
    assert plot.main(["speeds", good, picture]) == 2
    assert plot.main(["speed", good, picture, "NV-X"]) == 1
    assert "NV-X" in capsys.readouterr().err
    bad = tmp_path / "bad.json"
    for text in ("{", "{}", "[]"):
        bad.write_text(text)
        assert plot.main(["speed", str(bad), picture]) == 1
        assert str(bad) in capsys.readouterr().err
    assert not Path(picture).exists()
