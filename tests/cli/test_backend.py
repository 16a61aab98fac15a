"""The option --backend: what auto has measured is kept, bounded, and believed only if it is ours."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from ghostnote.cli import backend as module
from ghostnote.cli.main import main
from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels import backends
from ghostnote.kernels.backends import Choice, Rates
from tests.inference.small_models import SMALL, write_model


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    return write_model(tmp_path / "m.onnx")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, ...]]:
    """A GPU that is there; what was measured on it. The cache lies in tmp_path."""
    measured: list[tuple[Any, ...]] = []

    def rates(packed: Any, weights: Any, precision: str, *settings: float) -> Rates:
        measured.append((packed.precision, precision, *settings))
        return Rates(100.0, 1000.0)

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(backends, "missing", lambda backend: "")
    monkeypatch.setattr(backends, "rates", rates)
    monkeypatch.setattr(module, "user_cache", lambda: tmp_path / "cache")
    return measured


def test_a_model_is_measured_once(model: ModelFile, gpu: list[Any]) -> None:
    for _ in range(2):
        found = module.choice_of("auto", None, lambda: model, 8, 2)
        assert (found.backend, found.precision) == ("gpu", "fp32")
        assert "the GPU 1,000 in fp32" in found.why
    assert gpu == [("int8", "fp32", 8, 2, 8, 0.0)]
    module.choice_of("auto", "bf16", lambda: model, 8, 2)
    module.choice_of("auto", None, lambda: model, 9, 2)
    module.choice_of("auto", None, lambda: model, 8, 2, live=True)
    module.choice_of("auto", None, lambda: model, 8, 2, fresh=True)
    module.choice_of("auto", None, lambda: model, 8, 2)
    module.choice_of("auto", None, lambda: model, 8, 2, on_gpu=100)
    enough = backends.ENOUGH * 8 * SMALL.samplerate
    assert gpu[1:] == [
        ("bf16", "bf16", 8, 2, 8, 0.0),
        ("int8", "fp32", 9, 2, 9, 0.0),
        ("int8", "fp32", 8, 2, 8, enough),
        ("int8", "fp32", 8, 2, 8, 0.0),
        ("int8", "fp32", 8, 2, 100, 0.0),
    ]
    assert len(module.recall(module.cache_file())) == 5


def test_another_machine_is_measured_anew(
    model: ModelFile, gpu: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "one", "another"):
        monkeypatch.setattr(module, "cpu_name", lambda name=name: name)
        module.choice_of("auto", None, lambda: model, 1)
    assert len(gpu) == 2


def test_no_model_is_loaded_where_there_is_nothing_to_measure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load() -> ModelFile:
        raise AssertionError("loaded")

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(backends, "missing", lambda backend: "no CUDA device; buy one")
    found = module.choice_of("auto", None, load, 8)
    assert found == Choice("cpu", "int8", "no CUDA device; buy one")
    assert module.choice_of("cpu", None, load, 8).backend == "cpu"


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    file = tmp_path / "new" / "b.json"
    for i in range(5):
        module.keep(file, str(i), Rates(i, 2 * i))
    module.keep(file, "3", Rates(7.0, 8.0))
    assert module.recall(file) == {"2": (2, 4), "4": (4, 8), "3": (7.0, 8.0)}
    assert [*file.parent.iterdir()] == [file]


class Run:
    """What a pickle would do if one were loaded."""

    def __reduce__(self) -> Any:
        return (print, ("run",))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"\xff\xfe",
        b"[" * 100_000,
        pickle.dumps(Run()),
        json.dumps(
            {"a": [1], "b": ["1", "2"], "c": [True, False], "d": 3, "e": [1, 2, 3]}
        ).encode(),
        b'{"a": [1, 2]}' + b" " * module.MAX_BYTES,
    ],
)
def test_what_is_not_ours_is_measured_anew(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "b.json"
    file.write_bytes(content)
    assert module.recall(file) == {}
    module.keep(file, "a", Rates(1.0, 2.0))
    assert module.recall(file) == {"a": Rates(1.0, 2.0)}
    assert capsys.readouterr().out == ""


def test_where_nothing_can_be_written_it_is_measured_each_time(
    model: ModelFile, gpu: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "user_cache", lambda: tmp_path / "m.onnx")  # no folder
    for _ in range(2):
        assert module.choice_of("auto", None, lambda: model, 1).backend == "gpu"
    assert len(gpu) == 2


@pytest.mark.parametrize("command", [["render", "--out", "x"], ["serve", "--port", "0"]])
@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["--backend", "gpu"], 1, "ghostnote: --backend gpu: no CUDA device; buy one"),
        (["--backend", "tpu"], 2, "'tpu' is none of auto, cpu, gpu"),
    ],
)
def test_a_gpu_that_is_not_there_is_one_line(
    command: list[str],
    words: list[str],
    status: int,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backends, "missing", lambda backend: "no CUDA device; buy one")
    assert main([*command, *words]) == status
    told = capsys.readouterr().err
    assert reason in told and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_precision_of_the_gpu_is_refused_in_one_line(
    gpu: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--port", "0", "--backend", "gpu", "--precision", "int8"]) == 1
    assert "plays in fp32 or bf16, not in int8" in capsys.readouterr().err
