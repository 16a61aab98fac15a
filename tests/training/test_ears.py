"""The ears: they name what begins, are trained once, and are kept as plain arrays."""

from pathlib import Path

import numpy as np
import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training import ears_training
from ghostnote.training.audibility import audible, beginning, surroundings
from ghostnote.training.ears import (
    Ears,
    candidates_of,
    hearing_rate,
    load_ears,
    matches,
    to_hearing_rate,
)
from ghostnote.training.ears_lessons import find_teachers, kit_splits, lessons, load_kits
from ghostnote.training.ears_training import fingerprint, get_ears, label
from ghostnote.training.mel import band_edges, levels
from ghostnote.training.pieces import Piece
from tests.training.tiny_drums import KITS, NOTES, RATE, beat, kit, render, write_corpus


def test_every_role_is_named_at_its_time(ears: Ears) -> None:
    heard = ears.hear(render(beat(), 4.0))
    for role in NOTES:
        asked = [t for t, r, _ in beat() if r == role]
        assert len(heard[role]) == len(asked)
        assert all(matches(heard[role], t) for t in asked)


def test_two_at_once_are_both_heard(ears: Ears) -> None:
    hits = [(0.3, "kick", 0.8), (0.3, "hat", 0.8)]
    heard = ears.hear(render(hits, 1.0))
    assert [role for role in NOTES if heard[role]] == ["kick", "hat"]


def test_noise_and_silence_are_no_drums(ears: Ears) -> None:
    assert not any(ears.hear(np.zeros(RATE, np.float32)).values())
    hiss = 0.03 * np.random.default_rng(1).standard_normal(4 * RATE).astype(np.float32)
    assert sum(len(times) for times in ears.hear(hiss).values()) <= 2  # its own beginning


def test_the_same_corpus_gives_the_same_ears_and_they_are_kept(
    ears: Ears, cache: Path, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    again = get_ears([corpus], RATE, tuple(NOTES), KITS, [], tmp_path / "cache")
    for (weight, bias), (other, other_bias) in zip(ears.layers, again.layers, strict=True):
        assert np.array_equal(weight, other) and np.array_equal(bias, other_bias)
    kept = load_ears(next((tmp_path / "cache").glob("ears-*.npz")))
    assert kept is not None and np.array_equal(kept.mean, ears.mean)
    assert np.array_equal(kept.thresholds, ears.thresholds)
    with pytest.MonkeyPatch.context() as patch:  # they are not trained again
        patch.setattr(ears_training, "train_ears", lambda *_: pytest.fail("trained"))
        get_ears([corpus], RATE, tuple(NOTES), KITS, [], tmp_path / "cache")


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path: Path, ears: Ears) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    corpus = write_corpus(tmp_path / "corpus")
    found = get_ears([corpus], RATE, tuple(NOTES), KITS, [], tmp_path / "cache")
    assert np.array_equal(found.thresholds, ears.thresholds)


def test_a_damaged_file_is_no_ears(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 not an archive")
    assert load_ears(tmp_path / "x.npz") is None
    assert load_ears(tmp_path / "none.npz") is None
    np.savez(tmp_path / "y.npz", json=np.array([object()], dtype=object))  # would be unpickled
    assert load_ears(tmp_path / "y.npz") is None


def test_another_sound_makes_other_ears(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    before = fingerprint(corpus, RATE, ("kick",), KITS)
    assert before == fingerprint(corpus, RATE, ("kick",), KITS)
    assert before != fingerprint(corpus, RATE, ("snare",), KITS)
    shot = next((corpus / "oneshots").glob("*.wav"))
    shot.write_bytes(shot.read_bytes()[:-2] + b"\x01\x01")
    assert before != fingerprint(corpus, RATE, ("kick",), KITS)


def test_kits_of_the_validation_split_are_for_scoring_only(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    (corpus / "kits" / "index.csv").write_text("kit,split\nfirst,train\nsecond,validation\n")
    assert kit_splits(corpus) == {"first": "train", "second": "validation"}
    assert [k.name for k in find_teachers([corpus], RATE, tuple(NOTES), 1).kits] == ["first"]
    assert [k.name for k in load_kits(corpus, "validation", RATE, tuple(NOTES))] == ["second"]
    pieces = [Piece("beat", 4.0, tuple(beat()))]
    told = get_ears([corpus], RATE, tuple(NOTES), KITS, pieces).told
    assert told["unknown_kits"] == ["second"]
    assert told["oneshots"] == {"asked": 3, "right": 3}
    assert set(told["mixtures"]["kick"]) == {"precision", "recall", "asked"}
    assert told["mixtures"]["kick"]["asked"] == 4


def test_without_a_train_split_the_kits_that_are_there_teach_and_it_is_told(
    tmp_path: Path,
) -> None:
    grooves, corpus = tmp_path / "grooves-only", write_corpus(tmp_path / "corpus")
    (corpus / "kits" / "index.csv").write_text("kit,split\nfirst,test\nsecond,validation\n")
    teachers = find_teachers([grooves, corpus], RATE, tuple(NOTES), 1)
    assert [k.name for k in teachers.kits] == ["first", "second"] and teachers.split == "any"
    assert {role: len(layers) for role, layers in teachers.loose.items()} == dict.fromkeys(NOTES, 2)
    pieces = [Piece("beat", 4.0, tuple(beat()))]
    told = get_ears([grooves, corpus], RATE, tuple(NOTES), KITS, pieces).told
    assert told["kits_split"] == "any" and told["unknown_kits"] == []
    with pytest.raises(GhostnoteError, match="no kit in"):
        find_teachers([grooves], RATE, tuple(NOTES), 1)


def test_lessons_tell_only_what_can_be_heard(tmp_path: Path) -> None:
    teachers = find_teachers([write_corpus(tmp_path / "corpus")], RATE, tuple(NOTES), 1)
    made = list(lessons(teachers, KITS, 4, np.random.default_rng(1)))
    assert len(made) == 4  # no grooves of the train split: drills alone
    for lesson in made:
        assert lesson.hits and not set(lesson.hits) & set(lesson.masked)
    again = list(lessons(teachers, KITS, 4, np.random.default_rng(1)))
    assert all(np.array_equal(a.audio, b.audio) for a, b in zip(made, again, strict=True))


def test_a_hit_belongs_to_the_nearest_candidate() -> None:
    times = np.array([0.1, 0.2, 0.215])
    found = label(times, [(0.202, "a", 1.0), (0.09, "b", 1.0), (0.5, "a", 1.0)], ("a", "b"))
    assert found.tolist() == [[False, True], [True, False], [False, False]]


def test_what_lies_under_a_louder_one_is_masked() -> None:
    hat = beginning(render([(0.0, "hat", 0.2)], 0.2), 0.0, RATE)
    for others, heard in (
        ([(0.3, "kick", 0.9)], True),
        ([(0.3, "hat", 1.0)], False),
        ([(0.27, "hat", 1.0)], False),  # just over
        ([(0.1, "hat", 1.0)], True),
    ):
        mixture = render(sorted([*others, (0.3, "hat", 0.2)]), 1.0)
        assert (audible(hat, surroundings(mixture, 0.3, RATE)) is not None) == heard
    assert audible(1e-5 * hat, 0.0 * hat) is None


def test_all_rates_are_listened_to_alike() -> None:
    assert [hearing_rate(rate) for rate in (8000, 24000, 48000)] == [8000, 24000, 24000]
    clicks = np.zeros(48000, np.float32)
    clicks[[12000, 30000]] = 1.0
    heard = candidates_of(to_hearing_rate(clicks, 48000), 24000)
    assert heard == pytest.approx([0.25, 0.625], abs=0.006)


def test_times_do_not_drift_where_a_step_is_no_whole_number_of_samples() -> None:
    rate = 22050
    sound = np.zeros(20 * rate, np.float32)
    click = 0.5 * np.random.default_rng(0).standard_normal(200).astype(np.float32)
    for seconds in (1, 19):
        sound[seconds * rate : seconds * rate + len(click)] = click
    first, last = candidates_of(sound, rate)
    assert last - first == pytest.approx(18.0, abs=0.006)


def test_levels_are_those_of_the_root_mean_square() -> None:
    sine = 0.1 * np.sqrt(2.0) * np.sin(2.0 * np.pi * 440.0 * np.arange(RATE) / RATE)
    edges = band_edges(RATE, 1.0)
    found = levels(sine.astype(np.float32), RATE, edges, 0.01, 0.05)[50]
    assert found.max() == pytest.approx(-20.0, abs=0.1)
    assert edges[int(found.argmax())] < 440.0 < edges[int(found.argmax()) + 1]


def test_a_role_of_two_names_is_taught_by_its_first(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    table = corpus / "kits" / "first.csv"
    table.write_text(table.read_text().replace("first__snare", "first__kick"))
    assert [set(k.layers) for k in load_kits(corpus, "train", RATE, tuple(NOTES))] == [
        {"kick", "hat"},
        set(NOTES),
    ]
    assert set(kit().layers) == set(NOTES)
