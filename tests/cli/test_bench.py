"""`ghostnote bench`: figures in the fixed form, and none for what plays something else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostnote.cli import bench as module
from ghostnote.cli import rivals
from ghostnote.cli.main import main
from ghostnote.inference.model_file import bundled_models, save_model
from ghostnote.kernels import parity
from ghostnote.kernels.configs import CONFIGS
from ghostnote.kernels.packing import pack
from ghostnote.kernels.spec import ModelSpec
from tests.cli.test_rivals import without_torch
from tests.inference.small_models import SPECS, write_model
from tests.parts import need_module

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
QUICK = ["--seconds", "0.05"]

SMALL = ModelSpec(16000, 16, (1, 2, 4, 8), residual=16, gate=16, skip=16, head=16)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has one small configuration, and pieces that are as short as can be."""
    monkeypatch.setattr(module, "CONFIGS", {"small": SMALL})
    monkeypatch.setattr("ghostnote.kernels.bench.PIECE_MACS", 1)
    monkeypatch.setattr(parity, "LOCKSTEP_MACS", 1)


def report(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["bench", *words, *QUICK, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", ["width 3, out of order", "unconditional", "kits only"])
def test_the_json_that_other_programs_read(
    name: str, small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "m.onnx", SPECS[name])
    words = ["--model", str(model.path), "--streams", "1,3", "--precision", "fp32,int8"]
    told = report(capsys, *words, "--threads", "2")
    assert told["machine"].keys() >= MACHINE | {"int8_gmac_per_s", "int8_instruction"}
    rows = told["results"]
    found = [
        (r["backend"], r["precision"], r["streams"], r["threads"], r.get("samples_per_call"))
        for r in rows
    ]
    assert found == [
        *(
            ("cpu", precision, streams, threads, None)
            for precision in ("fp32", "int8")
            for streams, threads in ((1, 1), (3, 1), (3, 2))
        ),
        ("onnx", "fp32", 1, 1, 1),
        ("onnx", "fp32", 1, 1, 64),
    ]
    onnx = {r.get("samples_per_call"): r["samples_per_s"] for r in rows}
    macs = model.spec.macs_per_sample
    for row in rows:
        assert row.keys() >= RESULT
        assert row["parity"] == "ok" and row["config"] == "small"
        assert row["model_sha256"] == model.sha256
        assert row["mac_per_sample"] == macs
        assert row["realtime_16k"] == pytest.approx(row["samples_per_s"] / 16000)
        assert row["realtime_48k"] == pytest.approx(row["samples_per_s"] / 48000)
        assert row["gmac_per_s"] == pytest.approx(row["samples_per_s"] * macs / 1e9)
        size = 1 if row["precision"] == "int8" else 4
        shared = row["streams"] / row["threads"]
        assert row["bytes_per_sample"] == pytest.approx(size * macs / shared)
        least = 0.5 if row["backend"] == "cpu" else 1.0
        assert least <= row["bytes_read_per_sample"] / row["bytes_per_sample"] <= 1.0
        assert row["samples_per_s"] > 0.0 and row["fraction_of_bound"] > 0.0
        each = row["samples_per_s"] / row["threads"]
        assert row["ratio_onnxruntime"] == pytest.approx(each / onnx[64])
        assert row["ratio_onnxruntime_1"] == pytest.approx(each / onnx[1])
        assert row["ratio_torch"] is None and row["ratio_inductor"] is None


def test_a_configuration_beside_torch(small: None, capsys: pytest.CaptureFixture[str]) -> None:
    need_module("torch")
    rows = report(capsys, "--config", "small", "--precision", "bf16", "--backend", "cpu,torch")
    ours, theirs = rows["results"]
    assert (ours["backend"], theirs["backend"]) == ("cpu", "torch")
    assert ours["config"] == "small" and "model_sha256" not in ours
    assert ours["ratio_onnxruntime"] is None
    assert ours["ratio_torch"] == pytest.approx(ours["samples_per_s"] / theirs["samples_per_s"])


def test_without_torch_the_others_are_measured(
    small: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_torch(monkeypatch)
    backends = "torch,cpu,inductor"
    words = ["bench", "--config", "small", "--precision", "fp32", "--backend", backends]
    monkeypatch.setattr(rivals, "makers", lambda *_: pytest.fail("asked for"))
    monkeypatch.setattr(rivals, "compile_all", lambda *_: pytest.fail("asked for"))
    assert main([*words, *QUICK, "--json"]) == 0
    told = capsys.readouterr()
    (row,) = json.loads(told.out)["results"]
    assert row["backend"] == "cpu"
    lines = [line for line in told.err.splitlines() if "without" in line]
    assert [line.split(":")[1] for line in lines] == [" without torch", " without inductor"]


def test_the_table(small: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--config", "small", "--streams", "1,2", *QUICK]) == 0
    out = capsys.readouterr().out
    for word in ("kernel fp32", "kernel bf16", "kernel int8", "onnxruntime, 64 a call"):
        assert word in out
    assert "…" not in out and "x torch" not in out
    assert main(["bench", "--config", "small", "--backend", "cpu", *QUICK]) == 0
    assert "onnx" not in capsys.readouterr().out


def test_all_is_every_configuration_and_bundled_model() -> None:
    names = [one.name for one in module._networks("all", [])]
    assert names == [*CONFIGS, *bundled_models()]
    assert [one.name for one in module._networks(None, [])] == ["kit"]
    assert [one.name for one in module._networks("kit,NV-S", [])] == ["NV-S", "kit"]


def test_no_figure_for_a_kernel_that_plays_something_else(
    small: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(spec: ModelSpec, weights: Any, precision: str) -> Any:
        head = np.asarray(weights["head1_bias"] + (precision == "int8"), np.float32)
        return pack(spec, {**weights, "head1_bias": head}, precision)

    monkeypatch.setattr(module, "pack", wrong)
    words = ["bench", "--config", "small", "--backend", "cpu", *QUICK, "--json"]
    assert main([*words, "--precision", "fp32,bf16"]) == 0
    capsys.readouterr()
    assert main(words) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "small: parity: the kernel in int8 does not agree" in told.err.splitlines()[-1]


def test_no_figure_for_a_model_that_plays_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_model(tmp_path / "good.onnx")
    weights = dict(good.weights)
    weights["head1_bias"] = np.roll(weights["head1_bias"], 1) + np.float32(1.0)
    bad = tmp_path / "bad.onnx"
    save_model(bad, good.spec, weights, good.provenance, good.proof)
    words = ["bench", "--model", str(good.path), "--model", str(bad), *QUICK, "--json"]
    assert main(words) == 1
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
    "words",
    [
        ["--backend", "gpux"],
        ["--config", "NV-X"],
        ["--precision", "fp64"],
        ["--streams", "0"],
        ["--streams", "a"],
        ["--threads", "0"],
        ["--seconds", "0"],
    ],
)
def test_impossible_options(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    assert words[0] in capsys.readouterr().err
