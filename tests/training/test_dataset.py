"""A dataset on disk: whole, or none; never one over another."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training.dataset import INDEX, Clip, Dataset, load_dataset
from tests.training.small_corpus import tone_dataset


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    made = Dataset(tmp_path / "d", 8000, 8, ("hat", "open"), ("k",), (("hat", "open"),))
    made.begin()
    audio = np.random.default_rng(0).uniform(-1, 1, 800).astype(np.float32)
    made.add(audio, Clip("a.flac", 800, "train", {"k": 1.0}, [(0, 1, 0.5), (3, 0, 1.0)]))
    made.add(audio, Clip("b.flac", 800, "validation", {}, []))
    made.sources = [{"source": "me", "licence": "mine", "authors": ["I"]}]
    made.skipped = [{"file": "x", "reason": "y"}]
    made.save()
    found = load_dataset(tmp_path / "d")
    assert found == made
    np.testing.assert_allclose(found.audio(found.clips[0]), audio, atol=1 / 32768)
    assert found.seconds("train") == 0.1
    assert found.hits_per_role("train") == {"hat": 1, "open": 1}
    assert found.hits_per_role("validation") == {"hat": 0, "open": 0}


def test_without_its_index_it_is_no_dataset(tmp_path: Path) -> None:
    unfinished = Dataset(tmp_path / "d", 8000, 8)
    unfinished.begin()
    unfinished.add(np.zeros(800, np.float32), Clip("old.flac", 800, "train", {}, []))
    with pytest.raises(GhostnoteError, match=r"no dataset in .*ghostnote data prepare --out"):
        load_dataset(tmp_path / "d")
    tone_dataset(tmp_path / "d")  # what the unfinished one left is taken away
    assert sorted(p.name for p in (tmp_path / "d" / "clips").iterdir()) == ["0.flac", "1.flac"]


@pytest.mark.parametrize("name", ["notes.txt", "clips/song.wav"])
def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path: Path, name: str) -> None:
    precious = tmp_path / name
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("precious")
    with pytest.raises(GhostnoteError, match="is not empty; name a new folder"):
        Dataset(tmp_path, 8000, 8).begin()
    assert precious.read_text() == "precious"


def test_a_dataset_is_not_overwritten(tmp_path: Path) -> None:
    tone_dataset(tmp_path / "d")
    with pytest.raises(GhostnoteError, match="exists already"):
        tone_dataset(tmp_path / "d")
    assert len(load_dataset(tmp_path / "d").clips) == 2


def test_the_fingerprint_is_of_the_clips(tmp_path: Path) -> None:
    one, other = (tone_dataset(tmp_path / name) for name in "ab")
    assert one.fingerprint() == other.fingerprint() == load_dataset(one.root).fingerprint()
    other.clips[0].hits.append((0, 0, 1.0))
    assert one.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(format=99), "made by another version"),
        (lambda d: d.pop("clips"), "KeyError"),
        (lambda d: d.update(clips=[7]), "damaged"),
        (lambda d: d["clips"][0].update(split="test"), "unknown split"),
        (lambda d: d["clips"][0].update(kits={"none": 1.0}), "unknown split or kit"),
        (
            lambda d: (d.update(kits=["k"]), d["clips"][0].update(kits={"k": 1.5})),
            "impossible weight of a kit",
        ),
        (lambda d: d["clips"][0].update(kits=7), "damaged"),
        (lambda d: d["clips"][0].update(frames=0), "no frames"),
        (lambda d: d["clips"][0].update(file="../../secret.flac"), "outside the dataset"),
        (lambda d: d["clips"][0].update(hits=[[0, 0, 0.5]]), "impossible hit"),
    ],
)
def test_a_damaged_index_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    path = tone_dataset(tmp_path / "d").root / INDEX
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))
    with pytest.raises(GhostnoteError) as caught:
        load_dataset(path.parent)
    assert told in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_index_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tone_dataset(tmp_path / "d").root / INDEX
    path.write_text(path.read_text()[:50])
    with pytest.raises(GhostnoteError, match="not valid JSON"):
        load_dataset(path.parent)


def test_a_clip_that_is_gone_or_another_is_told(tmp_path: Path) -> None:
    dataset = tone_dataset(tmp_path / "d")
    first, second = dataset.clips
    (dataset.root / "clips" / first.file).unlink()
    with pytest.raises(GhostnoteError, match=r"0\.flac: cannot be read"):
        dataset.audio(first)
    second.frames += 1
    with pytest.raises(GhostnoteError, match=r"1\.flac: does not fit the index"):
        dataset.audio(second)
