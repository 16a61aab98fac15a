"""Export: a checkpoint becomes a model file that every engine plays alike, or nothing at all."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ghostnote.cli.main import main
from ghostnote.inference.model_file import load_model
from ghostnote.inference.proof import ENGINES, Proof, check_proof
from ghostnote.kernels import control, mulaw
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec
from ghostnote.training import export as exporting
from ghostnote.training.body import Body
from ghostnote.training.checkpoint import NAME, save_checkpoint
from ghostnote.training.config import TrainConfig
from ghostnote.training.dataset import Dataset
from ghostnote.training.export import check_export, export, torch_logits
from ghostnote.training.train import train
from ghostnote.training.wavenet import WaveNet
from tests.inference.small_models import MIXTURES, SPECS
from tests.training.small_corpus import config

TRAINED = ["long", "width 3, out of order", "unconditional", "one long layer", *MIXTURES]


def make_run(folder: Path, spec: ModelSpec, spoil: str = "") -> dict[str, torch.Tensor]:
    """Leaves the checkpoint of a run that took 40 steps; returns its mean weights."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(3)
    model = WaveNet(spec)
    mean = {name: p.detach() + 0.05 * torch.randn_like(p) for name, p in model.named_parameters()}
    if spoil:
        mean[spoil].view(-1)[0] = float("nan")
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # a checkpoint holds the moments of every parameter
    facts: dict[str, Any] = {
        "seconds": 1800.0,
        "samples": spec.samplerate * 90,
        "history": [],
        "sources": [{"source": "drums", "licence": "CC0-1.0", "authors": ["someone"]}],
        "train_minutes": 3.0,
        "validation_minutes": 1.0,
        "validation_bits": 4.25,
    }
    body = Body(spec) if spec.body else None
    config = TrainConfig(steps=100)
    save_checkpoint(folder, 40, config, model, mean, optimizer, spec, facts, body)
    told = {name: torch.from_numpy(array) for name, array in body.weights().items()} if body else {}
    return mean | told


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_becomes_a_model_file(name: str, tmp_path: Path) -> None:
    spec = {**SPECS, **MIXTURES}[name]
    mean = make_run(tmp_path / "run", spec)
    out = tmp_path / "models" / "mine.onnx"
    model = export(tmp_path / "run", out, notes="thin cymbals")
    assert model.path == out and model.spec == spec
    for key, tensor in mean.items():
        np.testing.assert_array_equal(model.weights[key], tensor.numpy())
    if not spec.mixtures:
        np.testing.assert_array_equal(model.weights["mulaw_table"], mulaw.decode_table(spec.levels))
    if spec.roles:
        np.testing.assert_array_equal(model.weights["age_table"], control.age_table(spec))
    assert [path.name for path in out.parent.iterdir()] == ["mine.onnx"]


def test_all_engines_agree_closely(tmp_path: Path) -> None:
    spec = SPECS["width 3, out of order"]
    make_run(tmp_path / "run", spec)
    model = export(tmp_path / "run", tmp_path / "a.onnx")
    agreed = check_export(model, Proof.from_json(model.proof, spec))
    assert set(agreed) == {"reference", "numba", "onnx", "torch"}
    for agreement in agreed.values():
        assert 0.0 < agreement.logit_error < 1e-4


@pytest.mark.parametrize("head", [{"levels": 1024}, {"mixtures": 4}])
def test_a_training_with_another_head_becomes_a_model_that_passes_its_proof(
    head: dict[str, int], hits: Dataset, tmp_path: Path
) -> None:
    settings = config(steps=40, learning_rate=0.01, ema=0.9, **head)
    facts = train(hits.root, tmp_path / "run", settings, validate_every=10)
    scores = [score for _, score in facts["history"]]
    assert scores[-1] < scores[0] - 0.1  # not by more: these drums are noise
    model = load_model(export(tmp_path / "run", tmp_path / "a.onnx").path)
    assert (model.spec.levels, model.spec.mixtures) == (
        head.get("levels", 65536),
        head.get("mixtures", 0),
    )
    agreed = check_proof(model, list(ENGINES))
    assert list(agreed) == ["reference", "numba", "onnx"]
    for agreement in agreed.values():
        assert agreement.near_ties < 0.1 * agreement.samples


def test_a_mean_that_torch_gives_otherwise_is_told_by_its_component(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = MIXTURES["mixture, one layer"]
    make_run(tmp_path / "run", spec)

    def otherwise(*args: Any) -> Any:
        outputs = torch_logits(*args).copy()
        outputs[500, 3 + 2] += 2 / 32768
        return outputs

    monkeypatch.setattr(exporting, "torch_logits", otherwise)
    with pytest.raises(GhostnoteError, match=r"torch gives mean \S+ of component 2 at sample 500"):
        export(tmp_path / "run", tmp_path / "a.onnx")


def test_the_card_tells_where_it_comes_from(tmp_path: Path) -> None:
    make_run(tmp_path / "run", SPECS["unconditional"])
    out = tmp_path / "a.onnx"
    about = export(tmp_path / "run", out, name="my kit", notes="thin").provenance
    assert about["name"] == "my kit" and about["notes"] == "thin"
    assert about["sources"] == [{"source": "drums", "licence": "CC0-1.0", "authors": ["someone"]}]
    training = about["training"]
    assert (training["steps"], training["hours"], training["minutes_heard"]) == (40, 0.5, 1.5)
    assert training["validation_bits"] == 4.25
    assert training["settings"]["steps"] == 100
    assert str(tmp_path) not in str(about)  # no paths of the machine
    first = load_model(out).sha256
    assert export(tmp_path / "run", out, name="my kit", notes="thin").sha256 == first


def test_the_commit_is_that_of_the_checkout() -> None:
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        assert exporting.commit() is None
        return
    head = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert exporting.commit() in (head, f"{head}-dirty")


def test_weights_that_are_no_numbers_are_not_exported(tmp_path: Path) -> None:
    make_run(tmp_path / "run", SPECS["long"], spoil="skip_bias")
    out = tmp_path / "a.onnx"
    out.write_text("the old one")
    with pytest.raises(GhostnoteError, match="'skip_bias' holds NaN"):
        export(tmp_path / "run", out)
    assert out.read_text() == "the old one"


def test_a_network_that_torch_plays_otherwise_is_not_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run", SPECS["long"])
    out = tmp_path / "a.onnx"
    out.write_text("the old one")

    def otherwise(*args: Any) -> Any:
        logits = torch_logits(*args).copy()
        logits[500, 3] += 0.05
        return logits

    monkeypatch.setattr(exporting, "torch_logits", otherwise)
    with pytest.raises(GhostnoteError, match=r"torch gives logit .* of level 3 at sample 500"):
        export(tmp_path / "run", out)
    assert out.read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "run"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run", SPECS["kits only"])
    out, notes = tmp_path / "a.onnx", tmp_path / "notes.txt"
    notes.write_text("Für laute Räume.", encoding="utf-8")
    words = ["export", "--run", str(tmp_path / "run"), "--out", str(out)]
    assert main([*words, "--notes", str(notes), "--name", "loud"]) == 0
    model = load_model(out)
    assert (model.name, model.provenance["notes"]) == ("loud", "Für laute Räume.")
    assert model.sha256 in capsys.readouterr().out


def test_what_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", str(tmp_path / "a.onnx")

    def refused(*words: str) -> tuple[int, str]:
        status = main(["export", *words])
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return status, lines[0]

    status, line = refused("--run", str(run), "--out", out)
    assert status == 1 and "no checkpoint in" in line
    run.mkdir()
    (run / NAME).write_bytes(b"nothing")
    status, line = refused("--run", str(run), "--out", out)
    assert status == 1 and "damaged" in line
    make_run(run, SPECS["kits only"])
    status, line = refused("--run", str(run), "--out", str(tmp_path / "a.bin"))
    assert status == 2 and "ends in .onnx" in line
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    notes = ("--notes", str(tmp_path / "binary"))
    status, line = refused("--run", str(run), "--out", out, *notes)
    assert status == 1 and "not UTF-8" in line
    assert not Path(out).exists()
