"""What is asked: spread evenly over the split, the same each time, whatever cannot be read."""

import itertools
from pathlib import Path

import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training.pieces import ALONE_SECONDS, alone, choose_pieces
from tests.training.tiny_drums import NOTES, kit, write_corpus


def test_pieces_are_spread_and_repeatable(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, grooves=12)
    pieces, skipped = choose_pieces(corpus, "validation", 4, 3.0, seed=1)
    numbers = [int(piece.name.removeprefix("groove")) for piece in pieces]
    assert len(numbers) == 4 and skipped == []
    assert all(b - a == 3 for a, b in itertools.pairwise(numbers))
    assert choose_pieces(corpus, "validation", 4, 3.0, seed=1)[0] == pieces
    assert choose_pieces(corpus, "validation", 4, 3.0, seed=2)[0] != pieces


def test_a_piece_begins_just_before_a_hit_and_ends_after_one(tmp_path: Path) -> None:
    for piece in choose_pieces(write_corpus(tmp_path), "validation", 4, 3.0, seed=3)[0]:
        assert piece.seconds == 3.0
        assert piece.hits[0][0] == pytest.approx(0.1)
        assert 2.5 < piece.hits[-1][0] < 2.9
        # The loudest tenth of a groove is levelled to 0.8.
        assert max(v for _, _, v in piece.hits) == pytest.approx(0.8, abs=0.01)


def test_more_pieces_than_grooves_asks_each_once(tmp_path: Path) -> None:
    pieces, _ = choose_pieces(write_corpus(tmp_path, grooves=2), "validation", 5, 3.0, seed=1)
    assert [piece.name for piece in pieces] == ["groove0", "groove1"]


def test_an_unreadable_groove_is_skipped_and_told(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, grooves=2)
    (corpus / "grooves" / "groove1.mid").write_bytes(b"no MIDI")
    pieces, skipped = choose_pieces(corpus, "validation", 2, 3.0, seed=1)
    assert [piece.name for piece in pieces] == ["groove0"]
    assert skipped[0]["file"] == "grooves/groove1.mid" and skipped[0]["reason"]


def test_no_groove_at_all_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(GhostnoteError, match=r"no groove of split 'test'"):
        choose_pieces(write_corpus(tmp_path / "corpus"), "test", 2, 3.0, seed=1)
    with pytest.raises(GhostnoteError, match=r"cannot read grooves/info\.csv"):
        choose_pieces(tmp_path, "validation", 2, 3.0, seed=1)


def test_every_role_is_asked_alone_loud_and_soft() -> None:
    piece = alone(kit())
    assert sorted(role for _, role, _ in piece.hits) == sorted([*NOTES, *NOTES])
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(piece.hits)]
    assert gaps == pytest.approx([ALONE_SECONDS] * 5)
    assert piece.seconds - piece.hits[-1][0] == pytest.approx(ALONE_SECONDS)
    assert {v for _, _, v in piece.hits} == {0.9, 0.4}
