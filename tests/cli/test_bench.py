"""`ghostnote bench`: figures in the fixed form, and none for what plays something else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ghostnote.cli.main import main
from ghostnote.inference.model_file import save_model
from tests.inference.small_models import SPECS, write_model

# DESIGN section 8: other programs read these.
MACHINE = {"cpu", "fma_gmac_per_s", "bandwidth_gb_per_s"}
RESULT = {
    "config",
    "backend",
    "precision",
    "streams",
    "threads",
    "samples_per_s",
    "realtime_16k",
    "mac_per_sample",
    "bytes_per_sample",
    "fraction_of_bound",
    "ratio_onnxruntime",
    "parity",
}


@pytest.mark.parametrize("name", ["width 3, out of order", "unconditional", "kits only"])
def test_the_json_that_other_programs_read(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "m.onnx", SPECS[name])
    arguments = ["bench", "--model", str(model.path), "--seconds", "0.05", "--streams", "1,2"]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["machine"].keys() >= MACHINE
    rows = report["results"]
    assert [(r["backend"], r["streams"], r.get("samples_per_call")) for r in rows] == [
        (backend, streams, size)
        for streams in (1, 2)
        for backend, size in (("cpu", None), ("onnx", 1), ("onnx", 64), ("onnx", 512))
    ]
    for row in rows:
        assert row.keys() >= RESULT
        assert row["parity"] == "ok" and row["config"] == "small" and row["threads"] == 1
        assert row["mac_per_sample"] == model.spec.macs_per_sample
        assert row["realtime_16k"] == pytest.approx(row["samples_per_s"] / 16000)
        assert row["samples_per_s"] > 0.0 and row["fraction_of_bound"] > 0.0
    assert [r["ratio_onnxruntime"] for r in rows if r.get("samples_per_call") == 64] == [1.0, 1.0]


def test_the_table_and_one_backend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "m.onnx")
    arguments = ["bench", "--model", str(model.path), "--seconds", "0.05", "--backend", "cpu"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "kernel fp32" in out and "onnx," not in out
    assert main([*arguments, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["ratio_onnxruntime"] is None


def test_no_figure_for_a_model_that_plays_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_model(tmp_path / "good.onnx")
    weights = dict(good.weights)
    weights["head1_bias"] = np.roll(weights["head1_bias"], 1) + np.float32(1.0)
    bad = tmp_path / "bad.onnx"
    save_model(bad, good.spec, weights, good.provenance, good.proof)
    assert main(["bench", "--model", str(good.path), "--model", str(bad), "--json"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert str(bad) in told.err and "proof" in told.err


def test_no_figure_without_a_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = replace(write_model(tmp_path / "m.onnx"), proof={})
    save_model(good.path, good.spec, good.weights, good.provenance, good.proof)
    assert main(["bench", "--model", str(good.path)]) == 1
    told = capsys.readouterr()
    assert told.out == "" and "no proof" in told.err


@pytest.mark.parametrize(
    "words", [["--backend", "gpux"], ["--streams", "0"], ["--streams", "a"], ["--seconds", "0"]]
)
def test_impossible_options(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    assert words[0] in capsys.readouterr().err
