"""Checkpoints: whole or not at all, and refused in one line where damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training.checkpoint import NAME, load_checkpoint, restore, save_checkpoint
from ghostnote.training.dataset import Dataset
from ghostnote.training.muon import Muon
from ghostnote.training.wavenet import WaveNet
from tests.training.small_corpus import HOP, RATE, config

FACTS = {"seconds": 1.5, "samples": 7, "history": [[3, 4.5]], "sources": []}


class Trained:
    """A network that has done one step, with all that belongs to it."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.config = config(seed=seed)
        self.spec = self.config.spec(Dataset(Path(), RATE, HOP, ("kick",), ("one",)))
        self.model = WaveNet(self.spec)
        self.optimizer = Muon(self.model.named_parameters(), lr=0.01)
        for parameter in self.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        self.optimizer.step()
        self.mean = {name: torch.randn_like(p) for name, p in self.model.named_parameters()}

    def save(self, run: Path, step: int = 3) -> None:
        run.mkdir(exist_ok=True)
        save_checkpoint(
            run, step, self.config, self.model, self.mean, self.optimizer, self.spec, FACTS
        )


def test_it_comes_back_bit_for_bit(tmp_path: Path) -> None:
    trained, other = Trained(), Trained(seed=9)
    trained.save(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    assert (checkpoint.step, checkpoint.config, checkpoint.spec, checkpoint.facts) == (
        3,
        trained.config,
        trained.spec,
        FACTS,
    )
    mean = restore(checkpoint, other.model, other.optimizer)
    for (name, one), two in zip(
        trained.model.named_parameters(), other.model.parameters(), strict=True
    ):
        assert torch.equal(one, two) and torch.equal(mean[name], trained.mean[name])
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(trained.optimizer.state[one][key], other.optimizer.state[two][key])
        assert other.optimizer.state[two]["step"] == 3


def test_a_full_disk_leaves_the_old_one_whole(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full, a file on which no byte fits (Linux)")
    Trained().save(tmp_path)
    before = (tmp_path / NAME).read_bytes()
    (tmp_path / (NAME + ".part")).symlink_to(full)
    with pytest.raises(GhostnoteError, match=r"step 4 cannot be written \(No space left") as caught:
        Trained(seed=1).save(tmp_path, step=4)
    assert "make room, then go on with --resume" in str(caught.value)
    assert (tmp_path / NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_no_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(GhostnoteError, match=r"no checkpoint in .*: train first"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "half", "text", "flipped header", "no metadata"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    Trained().save(tmp_path)
    path = tmp_path / NAME
    data = path.read_bytes()
    if damage == "no metadata":
        save_file(load_file(path), path)
    else:
        path.write_bytes(
            {
                "empty": b"",
                "half": data[: len(data) // 2],
                "text": b"not a checkpoint" * 100,
                "flipped header": bytes(255 - b for b in data[:64]) + data[64:],
            }[damage]
        )
    with pytest.raises(GhostnoteError, match=r"checkpoint .*: damaged") as caught:
        load_checkpoint(tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a.update(format=99), "made by another version"),
        (lambda a: a.pop("step"), "damaged ('step')"),
        (lambda a: a.update(facts=None), "damaged"),
        (lambda a: a.update(config=[1]), "are no object"),
        (lambda a: a["config"].update(surprise=1), "unknown setting 'surprise'"),
        (lambda a: a["config"].update(windows=0), "windows must be 1 to 4096"),
        (lambda a: a["config"].update(windows="two"), "damaged"),
        (lambda a: a["spec"].update(hop=0), "hop must be"),
    ],
)
def test_foreign_metadata_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    Trained().save(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    about: dict[str, Any] = {
        "format": 1,
        "step": 3,
        "config": checkpoint.config.to_json(),
        "spec": checkpoint.spec.to_json(),
        "facts": FACTS,
    }
    change(about)
    save_file(checkpoint.tensors, tmp_path / NAME, metadata={"ghostnote": json.dumps(about)})
    with pytest.raises(GhostnoteError) as caught:
        load_checkpoint(tmp_path)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["weights", "mean", "adam1", "adam2"])
def test_missing_or_misshapen_arrays_are_refused(tmp_path: Path, prefix: str) -> None:
    trained = Trained()
    trained.save(tmp_path)
    for change in ("gone", "other"):
        checkpoint = load_checkpoint(tmp_path)
        name = f"{prefix}.skip_bias"
        tensor = checkpoint.tensors.pop(name)
        if change == "other":
            checkpoint.tensors[name] = tensor[1:]
        with pytest.raises(GhostnoteError, match="'skip_bias' is missing or misshapen"):
            restore(checkpoint, trained.model, trained.optimizer)
