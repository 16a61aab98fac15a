"""The conditioning is taught what the hits tell of the low end, before it is trained."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ghostnote.inference.model_file import load_model
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec
from ghostnote.training.adapt import config_from
from ghostnote.training.checkpoint import load_checkpoint
from ghostnote.training.dataset import Clip, Dataset
from ghostnote.training.export import export
from ghostnote.training.foretell import foretell, low_end
from ghostnote.training.train import train
from ghostnote.training.wavenet import WaveNet
from tests.training.small_corpus import HOP, RATE, config, tone_dataset

SPEC = ModelSpec(RATE, HOP, (1, 2))


@pytest.fixture(scope="module")
def booms(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Drums that boom, as low as they are hard, struck at random."""
    dataset = Dataset(tmp_path_factory.mktemp("booms"), RATE, HOP, ("kick", "tom"), ("boomy",))
    dataset.begin()
    rng = np.random.default_rng(1)
    t = np.arange(RATE // 2) / RATE
    for i, split in enumerate(("train", "train", "train", "validation")):
        sound = np.zeros(4 * RATE, np.float32)
        hits = []
        for hop in range(0, 3500, 500):
            at, role = (hop + int(rng.integers(100))) * HOP, int(rng.integers(2))
            boom = np.sin(2 * np.pi * (40.0, 90.0)[role] * t) * np.exp(-t / 0.1)
            velocity = float(rng.uniform(0.3, 1.0))
            sound[at : at + len(t)] += velocity * 0.9 * boom
            hits.append((at // HOP, role, velocity))
        dataset.add(sound, Clip(f"{i}.flac", len(sound), split, {"boomy": 1.0}, hits))
    dataset.save()
    return dataset


def test_the_low_end_is_what_lies_below_half_the_hops_rate() -> None:
    t = np.arange(RATE) / RATE
    low, high = (0.5 * np.sin(2 * np.pi * hertz * t) for hertz in (100.0, 2000.0))
    found = low_end(SPEC, (low + high).astype(np.float32))
    wanted = np.arcsinh(30.0 * low[::HOP])
    assert found.shape == (1000,)
    np.testing.assert_allclose(found[50:-50], wanted[50:-50], atol=0.05)


@pytest.mark.parametrize(("features", "least", "most"), [(27, 0.6, 1.0), (15, -0.5, 0.5)])
def test_waves_foretell_a_tone(booms: Dataset, features: int, least: float, most: float) -> None:
    """Of hits that were never heard; the plain age tells little of where a tone is."""
    torch.manual_seed(2)
    spec = config(age_features=features, cond_hidden=(48, 24)).spec(booms)
    assert least < (foretell(WaveNet(spec), booms, 400, 1) or 0.0) < most


def test_what_is_known_stays_and_nothing_but_the_conditioning_learns(booms: Dataset) -> None:
    torch.manual_seed(2)
    model = WaveNet(config(age_features=27, cond_hidden=(16, 8)).spec(booms))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    foretell(model, booms, 5, 1, known=(10, 3))
    for name, parameter in model.named_parameters():
        same = parameter.detach() == before[name]
        if name.startswith(("cond_weight", "cond_bias")):
            known = 10 if name.endswith("0") else 3
            assert same[:known].all() and not same[known:].all()
        else:
            assert same.all()


def test_a_model_grows_by_it_and_plays_the_same_until_it_trains(
    booms: Dataset, tmp_path: Path
) -> None:
    train(booms.root, tmp_path / "base", config(steps=40, learning_rate=0.01))
    base = export(tmp_path / "base", tmp_path / "base.onnx")
    learnt = base.provenance["training"]["validation_bits"]
    wider = {"age_features": 27, "cond_hidden": (40, 20), "foretell": 20}
    with pytest.raises(GhostnoteError, match="the model's cond_hidden is"):
        settings = config_from(base, {"steps": 1, "cond_hidden": (4,)})
        train(booms.root, tmp_path / "narrow", settings, base=base)
    grown_settings = config_from(
        base, {"steps": 1, "learning_rate": 0.0, **wider, "cond_hidden": (40,)}
    )
    facts = train(booms.root, tmp_path / "grown", grown_settings, base=base)
    assert facts["validation_bits"] == pytest.approx(learnt, abs=1e-4)
    assert 0.0 < abs(facts["foretold"]) < 1.0
    log = (tmp_path / "grown" / "log.jsonl").read_text()
    assert '"foretold"' in log.splitlines()[0]
    grown = export(tmp_path / "grown", tmp_path / "grown.onnx")
    assert load_model(grown.path).spec.cond_hidden == (40,)
    taught = load_checkpoint(tmp_path / "grown").part("weights")["cond_weight.0"][8:]
    train(booms.root, tmp_path / "grown", replace(grown_settings, steps=2), resume=True)
    resumed = load_checkpoint(tmp_path / "grown").part("weights")["cond_weight.0"][8:]
    assert torch.equal(taught, resumed)  # a rate of 0, and not taught anew


def test_it_can_be_stopped_and_a_dataset_may_hold_nothing_back(
    booms: Dataset, tmp_path: Path
) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(GhostnoteError, match="stopped before its first step"):
        train(booms.root, tmp_path / "run", config(foretell=10**6), stop=stop)
    assert not (tmp_path / "run").exists()
    alone = replace(booms, clips=booms.split("train"))
    assert foretell(WaveNet(config().spec(alone)), alone, 1, 1) is None


def test_what_cannot_be_taught_is_refused(booms: Dataset, tmp_path: Path) -> None:
    spec = config(cond_hidden=(8,)).spec(booms)
    with pytest.raises(GhostnoteError, match=r"wider layers with --cond-hidden, which are 8"):
        foretell(WaveNet(spec), booms, 1, 1, known=(8,))
    with pytest.raises(GhostnoteError, match="no hits to foretell from"):
        train(tone_dataset(tmp_path / "tone").root, tmp_path / "run", config(foretell=5))
    silent = Dataset(tmp_path / "silent", RATE, HOP, ("kick",), ("one",))
    silent.begin()
    hiss = np.where(np.arange(RATE) % 2, 0.5, -0.5).astype(np.float32)
    silent.add(hiss, Clip("0.flac", RATE, "train", {"one": 1.0}, [(0, 0, 1.0)]))
    silent.save()
    with pytest.raises(GhostnoteError, match="has no low end"):
        foretell(WaveNet(config().spec(silent)), silent, 1, 1)
