"""The tables: every kit and role has its row, and what was not measured is a dash."""

from pathlib import Path

import pytest

from ghostnote.training.evaluate import EvalOptions, evaluate
from ghostnote.training.scoreboard import markdown, tables
from tests.training.test_evaluate import model
from tests.training.tiny_drums import KITS, NOTES, write_corpus


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> str:
    options = EvalOptions(grooves=1, seconds=2.0, bits_seconds=0.0, threads=1, cache=cache)
    result = evaluate(model(), write_corpus(tmp_path_factory.mktemp("corpus")), options)
    kits, roles, ears, targets = tables(result)
    assert ears.rows == () and targets.rows
    assert [row[0] for row in kits.rows] == [*KITS, "all kits"]
    assert [row[0] for row in roles.rows] == list(NOTES)
    return markdown(result)


def test_tables_are_whole(text: str) -> None:
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) > 2 * 2 + len(KITS) + 1 + len(NOTES)
    assert {row.count("|") for row in rows[:5]} == {14}


def test_figures_stand_beside_the_truths(text: str) -> None:
    assert "1 grooves of 2 s x 2 kits" in text
    assert "weights in int8" in text
    assert "(1.00)" in text  # what the detector hears of the truth


def test_what_was_not_measured_is_a_dash(text: str) -> None:
    assert "| all kits | - |" in text
