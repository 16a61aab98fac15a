"""Adapting: a training that begins with a model knows what the model knew."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ghostnote.cli.main import main
from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training.adapt import config_from, take_over
from ghostnote.training.dataset import Dataset
from ghostnote.training.export import export
from ghostnote.training.train import train
from ghostnote.training.wavenet import WaveNet
from tests.training.small_corpus import config


@pytest.fixture(scope="module")
def base(hits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """A model that has learnt a little."""
    folder = tmp_path_factory.mktemp("base")
    train(hits.root, folder / "run", config(steps=60, learning_rate=0.01))
    return export(folder / "run", folder / "base.onnx")


def renamed(dataset: Dataset, kits: tuple[str, ...]) -> Dataset:
    return dataclasses.replace(dataset, kits=kits, clips=[])


def test_the_same_kit_is_the_same_and_a_new_one_begins_as_the_mean(
    hits: Dataset, base: ModelFile
) -> None:
    settings = config_from(base, {"steps": 1})
    network = WaveNet(settings.spec(renamed(hits, ("mine", "wet"))))
    take_over(network, None, base)
    before = np.asarray(base.weights["cond_weight.0"])
    after = network.state_dict()["cond_weight.0"].numpy()
    np.testing.assert_array_equal(after[:, :-2], before[:, :-2])
    np.testing.assert_array_equal(after[:, -1], before[:, -1])
    np.testing.assert_allclose(after[:, -2], before[:, -2:].mean(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(network.state_dict()["skip_weight"], base.weights["skip_weight"])


def test_it_begins_where_the_model_was(hits: Dataset, base: ModelFile, tmp_path: Path) -> None:
    """And not at the 8 bits of one that knows nothing."""
    settings = config_from(base, {"steps": 1, "learning_rate": 0.0, "window_hops": 60})
    adapted = train(hits.root, tmp_path / "adapted", settings, base=base)
    fresh = train(hits.root, tmp_path / "fresh", settings)
    learnt = base.provenance["training"]["validation_bits"]
    assert adapted["validation_bits"] == pytest.approx(learnt, abs=1e-4)
    assert fresh["validation_bits"] > learnt + 0.5
    assert adapted["from"]["sha256"] == base.sha256
    model = export(tmp_path / "adapted", tmp_path / "adapted.onnx")
    assert model.provenance["training"]["from"]["name"] == "base"
    assert model.provenance["sources"] == hits.sources  # told once, though it is both's


def test_the_network_is_the_models_also_where_that_is_no_default(base: ModelFile) -> None:
    waved = dataclasses.replace(base.spec, age_features=27, ages=4000)
    assert config_from(dataclasses.replace(base, spec=waved), {}).age_features == 27
    without: dict[str, Any] = {"roles": (), "chokes": (), "ages": 0, "age_features": 0}
    mute = dataclasses.replace(base.spec, **without)
    assert config_from(dataclasses.replace(base, spec=mute), {}).age_features == 15


def test_it_can_be_resumed_without_the_model(
    hits: Dataset, base: ModelFile, tmp_path: Path
) -> None:
    settings = config_from(base, {"steps": 2, "window_hops": 60})
    train(hits.root, tmp_path / "run", settings, base=base)
    longer = dataclasses.replace(settings, steps=4)
    facts = train(hits.root, tmp_path / "run", longer, resume=True)
    assert facts["steps"] == 4 and facts["from"]["sha256"] == base.sha256


def test_what_does_not_fit_is_refused(hits: Dataset, base: ModelFile) -> None:
    with pytest.raises(GhostnoteError, match="--residual cannot be given with --from"):
        config_from(base, {"residual": 8})
    assert config_from(base, {}).minutes == 10.0 and config_from(base, {"steps": 5}).minutes == 0.0
    settings = config_from(base, {})
    other = dataclasses.replace(renamed(hits, ("mine",)), samplerate=2 * hits.samplerate)
    with pytest.raises(
        GhostnoteError, match="the model's samplerate is 8000, the dataset makes it"
    ):
        take_over(WaveNet(settings.spec(other)), None, base)
    odd = dataclasses.replace(base, spec=dataclasses.replace(base.spec, dilations=(3, 1)))
    with pytest.raises(GhostnoteError, match=r"not 1, 2, 4, \.\.\. repeated"):
        config_from(odd, {})


def test_the_command(
    hits: Dataset, base: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, asked = tmp_path / "run", ["train", "--data", str(hits.root), "--from", str(base.path)]
    assert main([*asked, "--run", str(run), "--steps", "1", "--window-hops", "60"]) == 0
    assert torch.get_num_threads() == 1
    assert main([*asked, "--run", str(run), "--resume"]) == 2
    assert "--from begins a run" in " ".join(capsys.readouterr().err.split())
