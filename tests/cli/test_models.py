"""`ghostnote models`, and the models that are bundled."""

import json
from pathlib import Path

import pytest

from ghostnote.cli.main import main
from ghostnote.inference import model_file
from ghostnote.inference.model_file import DEFAULT, bundled_models, load_model
from ghostnote.inference.proof import ENGINES, check_proof
from tests.inference.small_models import SMALL, SPECS, write_model


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bundle"
    monkeypatch.setattr(model_file, "MODELS", folder)
    return folder


def test_the_list(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(bundle / "kit.onnx")
    write_model(bundle / "drone.onnx", SPECS["unconditional"])
    assert main(["models"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "kit (default): 24000 Hz, 3 roles, 2 kits (one, two)",
        "drone: 16000 Hz, 0 roles, no kits",
    ]
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["models"]
    assert [(m["name"], m["default"]) for m in listed] == [("kit", True), ("drone", False)]
    assert listed[0]["roles"] == list(SMALL.roles)
    assert listed[0]["sha256"] == load_model(bundle / "kit.onnx").sha256


def test_no_models(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "No models are bundled" in capsys.readouterr().out


def test_one_card(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(bundle / "kit.onnx")
    own = write_model(tmp_path / "own.onnx", seed=9)
    assert main(["models", "show"]) == 0
    assert capsys.readouterr().out.startswith("# small\n")
    assert main(["models", "show", str(own.path)]) == 0
    assert own.sha256 in capsys.readouterr().out
    assert main(["models", "show", str(own.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["spec"]["hop"] == 24 and told["provenance"]["notes"] == "random weights"
    assert told["default"] is False


def test_what_cannot_be_shown(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "nothing"]) == 1
    assert main(["models", "list"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 2
    assert error[0] == "ghostnote: model 'nothing': no such file; bundled models are none"


def test_the_bundled_models_play_what_they_must() -> None:
    bundled = bundled_models()
    assert DEFAULT in bundled
    for path in bundled.values():
        model = load_model(path)
        assert model.size <= 8_000_000
        assert model.provenance["sources"] and model.provenance["training"]["validation_bits"]
        for agreement in check_proof(model, list(ENGINES)).values():
            assert agreement.near_ties <= 2
