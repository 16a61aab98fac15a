"""Kits x grooves: every hit where the index says, and a job that bad files do not end."""

import dataclasses
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostnote.inference.midi import read_groove
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES
from ghostnote.training.dataset import Clip, Dataset, load_dataset
from ghostnote.training.kits import load_kit
from ghostnote.training.prepare import CLIP_SECONDS, prepare_grooves
from tests.training.small_corpus import HOP, PRE_ROLL, RATE, options


@pytest.fixture
def own_corpus(corpus: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(corpus, tmp_path / "corpus"))


def clips_of(dataset: Dataset, kit: str) -> list[Clip]:
    return [clip for clip in dataset.clips if clip.kits == {kit: 1.0}]


def test_what_is_asked_for_is_rendered(prepared: Dataset) -> None:
    assert load_dataset(prepared.root) == prepared
    # A tenth of a minute is one clip; half of it, for the drills held back, as well.
    count = Counter((*clip.kits, clip.split) for clip in prepared.clips)
    assert count == {(k, s): 2 for k in ("dry", "wet") for s in ("train", "validation")}
    assert prepared.seconds("train") == 4 * CLIP_SECONDS
    assert prepared.roles == ROLES and prepared.kits == ("dry", "wet")
    assert prepared.chokes == (("hat", "open"),)
    heard = {role for role, n in prepared.hits_per_role("train").items() if n}
    assert heard == {"kick", "snare", "rim", "clap", "hat", "open"}
    open_hat = ROLES.index("open")
    assert not any(role == open_hat for c in clips_of(prepared, "wet") for _, role, _ in c.hits)


def test_a_hit_begins_at_its_hop_boundary_to_the_sample(prepared: Dataset) -> None:
    """With samples that begin at their loudest, at the dataset's rate: no tolerance at all."""
    checked = 0
    for clip in clips_of(prepared, "dry"):
        audio = prepared.audio(clip)
        last = 0
        for hop, _, _ in clip.hits:
            start = hop * HOP
            if start - last > 0.7 * RATE and start + 1 < clip.frames:
                assert not audio[start - 40 : start].any(), "silence up to the boundary"
                assert audio[start] != 0.0, "sound from the boundary on"
                checked += 1
            last = start
    assert checked > 5


def test_after_resampling_it_begins_within_the_pre_roll(prepared: Dataset) -> None:
    checked = 0
    for clip in clips_of(prepared, "wet"):
        audio = np.abs(prepared.audio(clip))
        last = 0
        for hop, _, _ in clip.hits:
            start = hop * HOP
            if start - last > 0.4 * RATE and start + 0.02 * RATE < clip.frames:
                begun = audio[start : start + int(0.02 * RATE)]
                onset = int(np.argmax(begun > 0.2 * begun.max()))
                assert onset <= PRE_ROLL / 44100 * RATE + 1
                assert audio[start - 40 : start].max() < 0.01
                checked += 1
            last = start
    assert checked > 5


def test_a_clip_is_the_rendering_of_its_listed_hits(corpus: Path, prepared: Dataset) -> None:
    """Nothing sounds that is not listed, chokes and turns included."""
    for name in ("dry", "wet"):
        kit = load_kit(corpus, name, RATE, ROLES)
        for clip in clips_of(prepared, name):
            hits = [(hop * HOP, ROLES[role], velocity) for hop, role, velocity in clip.hits]
            expected = kit.render(hits, clip.frames, prepared.chokes)
            # The index rounds velocities, the file rounds to 16 bits.
            np.testing.assert_allclose(prepared.audio(clip), expected, atol=1e-3)


def test_grooves_keep_their_time_and_their_split(corpus: Path, prepared: Dataset) -> None:
    groove = read_groove(corpus / "grooves" / "other.mid").in_seconds
    clip = next(c for c in prepared.clips if c.file.startswith("dry-validation-groove"))
    asked = [t for t, role, _ in groove if role in ("kick", "snare", "hat", "open")]
    found = [hop * HOP / RATE for hop, _, _ in clip.hits]
    assert len(found) == len(asked)
    late = np.array(found) - np.array(asked)
    assert late.min() >= -1e-9 and late.max() < HOP / RATE  # the next boundary, never an earlier


def test_the_same_seed_gives_the_same_dataset(
    corpus: Path, prepared: Dataset, tmp_path: Path
) -> None:
    again = prepare_grooves(corpus, tmp_path / "again", options())
    assert again.clips == prepared.clips
    for clip in again.clips:
        name = Path("clips") / clip.file
        assert (again.root / name).read_bytes() == (prepared.root / name).read_bytes()
    other = prepare_grooves(corpus, tmp_path / "other", options(seed=2))
    assert [c.hits for c in other.clips] != [c.hits for c in prepared.clips]


def test_sources_are_those_that_sound(corpus: Path, prepared: Dataset, tmp_path: Path) -> None:
    by_source = {entry["source"]: entry for entry in prepared.sources}
    assert set(by_source) == {"kit dry", "kit wet", "grooves"}
    assert by_source["kit wet"]["licence"] == "CC-BY-4.0"
    assert "author of wet's clap" in by_source["kit wet"]["authors"]  # in no table, but played
    assert by_source["grooves"]["authors"] == [f"drummer of {n}" for n in ("fill", "long", "short")]
    drilled = prepare_grooves(
        corpus, tmp_path / "drills", options(kits=("dry",), groove_minutes=0.0)
    )
    assert [entry["source"] for entry in drilled.sources] == ["kit dry"]
    assert {clip.split for clip in drilled.clips} == {"train", "validation"}


def test_bad_files_are_listed_and_the_job_goes_on(own_corpus: Path, tmp_path: Path) -> None:
    (own_corpus / "grooves" / "long.mid").write_bytes(b"MThd, but not really")
    (own_corpus / "oneshots" / "hat" / "wet__hat.flac").write_bytes(b"")
    (own_corpus / "kits" / "dry.csv").write_text("nothing here\n")
    dataset = prepare_grooves(own_corpus, tmp_path / "out", options())
    reasons = {entry["file"]: entry["reason"] for entry in dataset.skipped}
    assert set(reasons) == {
        "kits/dry.csv",
        "oneshots/hat/wet__hat.flac",
        "grooves/long.mid",
        "grooves/fill.mid",
    }
    assert "lacks the column" in reasons["kits/dry.csv"]
    assert "too short" in reasons["grooves/fill.mid"]
    assert dataset.kits == ("wet",) and all(clip.kits == {"wet": 1.0} for clip in dataset.clips)
    assert load_dataset(tmp_path / "out").skipped == dataset.skipped


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("grooves/*.mid", "no groove of the train split is usable; first reason"),
        ("grooves/info.csv", "cannot read grooves/info.csv"),
        ("manifest.csv", "cannot read manifest.csv"),
        ("oneshots/*/*.flac", "no usable kick or snare"),
        ("kits/wet.csv", "has no kit 'wet'; it has dry"),
    ],
)
def test_nothing_usable_ends_it_in_one_line(
    own_corpus: Path, tmp_path: Path, gone: str, told: str
) -> None:
    for path in own_corpus.glob(gone):
        path.unlink()
    with pytest.raises(GhostnoteError) as caught:
        prepare_grooves(own_corpus, tmp_path / "out", options())
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kits": ()}, "name at least one kit"),
        ({"kits": ("dry", "dry")}, "named twice"),
        ({"groove_minutes": 0.0, "drill_minutes": 0.0}, "some minutes"),
        ({"groove_minutes": -1.0}, "groove_minutes must be"),
        ({"validation_minutes": float("nan")}, "validation_minutes must be"),
        ({"seed": -1}, "seed must be"),
        ({"samplerate": 100}, "samplerate must be"),
        ({"hop": 0}, "hop must be"),
    ],
)
def test_impossible_options_are_refused_before_any_work(
    corpus: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(GhostnoteError, match=told):
        prepare_grooves(corpus, tmp_path / "out", options(**changes))
    assert not (tmp_path / "out").exists()


def test_options_show_their_defaults() -> None:
    shown = {f.name: f.default for f in dataclasses.fields(options()) if f.name != "kits"}
    assert shown["samplerate"] == 24000 and shown["hop"] == 24


def test_a_blend_is_two_kits_at_their_weights(corpus: Path, tmp_path: Path) -> None:
    """Where nothing is bent by the clipping, its sound is the weighted sum of the two."""
    asked = options(groove_minutes=0.0, blend_minutes=0.5, validation_minutes=0.0)
    dataset = prepare_grooves(corpus, tmp_path / "blends", asked)
    blends = [clip for clip in dataset.clips if len(clip.kits) == 2]
    assert len(blends) == 4
    kits = {name: load_kit(corpus, name, RATE, ROLES) for name in ("dry", "wet")}
    for clip in blends:
        assert set(clip.kits) == {"dry", "wet"} and sum(clip.kits.values()) == pytest.approx(1.0)
        hits = [(hop * HOP, ROLES[role], velocity) for hop, role, velocity in clip.hits]
        expected = sum(
            weight * kits[name].mix(hits, clip.frames, dataset.chokes)
            for name, weight in clip.kits.items()
        )
        calm = np.abs(expected) < 0.69
        assert calm.mean() > 0.5
        assert np.abs(dataset.audio(clip) - expected)[calm].max() < 1e-3
    alone = prepare_grooves(corpus, tmp_path / "one", options(kits=("dry",), blend_minutes=1.0))
    assert all(clip.kits == {"dry": 1.0} for clip in alone.clips)


def test_textures_tell_no_hits_but_how_dense_they_are(corpus: Path, tmp_path: Path) -> None:
    labels = (("dry", "acoustic"), ("wet", "electronic"))
    dataset = prepare_grooves(corpus, tmp_path / "texture", options(labels=labels))
    assert dataset == load_dataset(dataset.root)
    assert dataset.roles == () and dataset.chokes == ()
    assert dataset.kits == (
        "acoustic sparse", "acoustic dense", "electronic sparse", "electronic dense",
    )  # fmt: skip
    assert len(dataset.clips) == 4  # a groove of each kit to train on, and one held back
    triggered = prepare_grooves(corpus, tmp_path / "triggered", options(drill_minutes=0.0))
    grooves = [clip for clip in triggered.clips if "groove" in clip.file]
    for clip, same in zip(dataset.clips, grooves, strict=True):
        np.testing.assert_array_equal(dataset.audio(clip), triggered.audio(same))
        label = dict(labels)[next(iter(same.kits))]
        assert clip.hits == [] and {name.split()[0] for name in clip.kits} == {label}
        assert sum(clip.kits.values()) == pytest.approx(1.0)
        dense = (len(same.hits) / CLIP_SECONDS - 4.0) / 10.0
        assert clip.kits.get(f"{label} dense", 0.0) == pytest.approx(
            min(max(dense, 0.0), 1.0), abs=0.006
        )
    shutil.copytree(corpus, tmp_path / "spoilt")
    table = tmp_path / "spoilt" / "kits" / "wet.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    spoilt = prepare_grooves(tmp_path / "spoilt", tmp_path / "less", options(labels=labels))
    assert spoilt.kits == ("acoustic sparse", "acoustic dense")  # none that no clip teaches
    assert any(entry["file"] == "kits/wet.csv" for entry in spoilt.skipped)
    with pytest.raises(GhostnoteError, match="give each kit one label"):
        options(labels=labels[:1])
