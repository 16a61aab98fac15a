"""`benchmarks.adapt`: what it measures of a kit that a model learns; the training itself is not run."""

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training import likeness
from ghostnote.training.adapt import take_over
from ghostnote.training.ears_lessons import kit_splits
from ghostnote.training.evaluate import Played
from ghostnote.training.kits import load_kit
from ghostnote.training.wavenet import WaveNet
from tests.training import small_corpus, tiny_drums

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # as `python -m benchmarks.adapt` finds it
try:
    from benchmarks import adapt
finally:
    sys.path.remove(str(ROOT))

RATE = tiny_drums.RATE
SPEC = tiny_drums.spec()


def model(**provenance: Any) -> ModelFile:
    weights = tiny_drums.weights(SPEC)
    return ModelFile(Path("tiny.onnx"), 0, "", SPEC, weights, {"name": "tiny", **provenance}, {})


def test_before_it_plays_the_kit_as_the_training_begins() -> None:
    begun = WaveNet(replace(SPEC, kits=("mine",)))
    take_over(begun, None, model())
    before = adapt.with_kit(model(), "mine", [1.0, 1.0])
    assert before.spec == begun.spec
    for name, weight in begun.state_dict().items():
        np.testing.assert_allclose(before.weights[name], weight.numpy(), rtol=1e-6)
    as_second = adapt.with_kit(model(), "mine", [0.0, 1.0])
    known = model().weights["cond_weight.0"]
    np.testing.assert_array_equal(as_second.weights["cond_weight.0"][:, -1], known[:, -1])


def test_a_kit_that_the_model_knows_is_refused(tmp_path: Path) -> None:
    corpus = small_corpus.write_corpus(tmp_path)
    manifest = corpus / "manifest.csv"
    dry = load_kit(corpus, "dry", RATE, SPEC.roles)
    adapt.refuse_known(model(), dry, manifest)
    other = {"source": "kit dry", "licence": "CC0-1.0", "authors": ["somebody else"]}
    adapt.refuse_known(model(sources=[other]), dry, manifest)
    theirs = {**other, "authors": ["author of dry's kick http://example.org/sounds/1"]}
    with pytest.raises(GhostnoteError, match="author of dry's kick from kit dry"):
        adapt.refuse_known(model(sources=[theirs]), dry, manifest)
    with pytest.raises(GhostnoteError, match="knows kit 'first'"):
        adapt.refuse_known(model(), tiny_drums.kit("first"), manifest)
    with pytest.raises(GhostnoteError, match="cannot read"):
        adapt.refuse_known(model(), dry, corpus / "none.csv")


def test_ears_are_taught_the_kit(tmp_path: Path) -> None:
    corpus = tiny_drums.write_corpus(tmp_path / "corpus")
    with (corpus / "kits" / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("kit", "split"), ("first", "train"), ("second", "validation")])
    taught = adapt.teaching(corpus, "second", tmp_path / "taught")
    assert taught == adapt.teaching(corpus, "second", tmp_path / "taught")  # again: no harm
    assert kit_splits(taught) == {"first": "train", "second": "train"}
    assert kit_splits(corpus)["second"] == "validation"
    assert load_kit(taught, "second", RATE, SPEC.roles).files
    assert (taught / "grooves" / "info.csv").is_file()


def test_a_training_goes_on_from_where_it_is() -> None:
    assert adapt.sitting(0.0, 2.0, 10.0) == ["--minutes", "10", "--stop-after", "2"]
    assert adapt.sitting(2.5, 5.0, 10.0) == ["--resume", "--stop-after", "2.5"]
    assert adapt.sitting(5.5, 10.0, 10.0) == ["--resume"]
    assert adapt.sitting(0.0, 10.0, 10.0) == ["--minutes", "10"]


def test_spectra_that_are_6_db_apart_are_told_as_such() -> None:
    snare = tiny_drums.shot("snare")
    assert adapt.spectra_apart_db(snare, snare, RATE) == 0.0
    assert adapt.spectra_apart_db(snare, 0.5 * snare, RATE) == pytest.approx(6.0, abs=1.0)
    silence = np.zeros_like(snare)
    assert adapt.spectra_apart_db(silence, silence, RATE) == 0.0
    assert adapt.spectra_apart_db(snare, tiny_drums.shot("hat"), RATE) > 10.0


def test_the_nearest_kit_is_the_one_that_sounds_alike() -> None:
    kit = tiny_drums.kit()
    swapped = replace(kit, layers={**kit.layers, "kick": kit.layers["hat"]})
    assert adapt.shots_apart_db(kit, kit) == 0.0 < adapt.shots_apart_db(kit, swapped)


class Loud(likeness.KitJudge):
    """Names hits by their loudness."""

    def name(self, seen: Any, roles: Any) -> list[str]:
        return ["loud" if patch.mean() > -0.1 else "soft" for patch in seen]


def test_hits_are_named_and_compared_beside_the_truth() -> None:
    hits = (*tiny_drums.beat(1.0),)
    truth = tiny_drums.render(list(hits), 1.0)
    heard = [Played(hits, truth, (0.001 * truth).astype(np.float32))]
    empty = np.zeros(0, np.float32)
    judge = Loud(("loud", "soft"), SPEC.roles, empty, ())
    told = adapt.named(heard, "loud", judge, RATE)
    assert told == {"named": 0.0, "truth_named": 1.0, "named_else": "soft"}
    apart = adapt.apart_db(heard, RATE)
    assert set(apart) == {role for _, role, _ in hits} and min(apart.values()) > 15.0


def test_the_page_tells_all() -> None:
    scores = {"precision": 0.5, "recall": None, "truth_precision": 0.9, "truth_recall": 0.8}
    row = {
        "named": 0.25,
        "truth_named": 0.95,
        "named_else": "first",
        "apart_db": {"kick": 3.0, "hat": 5.0},
        "bits_per_sample": 3.5,
        "roles": {"kick": scores},
    }
    page = adapt.page(
        {
            "kit": "mine",
            "model": "tiny",
            "nearest": "first",
            "steps": 7,
            "kits_of_model": ["first", "second"],
            "kits_kept": [],
            "rows": {"after 10 min": row},
            "its_own_kit": row,
        }
    )
    assert "| after 10 min | 25% | first | 3.50 | 0.50 / - | - | - | 4.0 |" in page
    assert "| truth | 95% | - | - | 0.90 / 0.80 |" in page
    assert "kept: none of 2" in page
