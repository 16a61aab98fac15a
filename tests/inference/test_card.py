"""Cards: what they tell, and that a file cannot use one to write to a terminal."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ghostnote.inference.card import card
from tests.inference.small_models import SPECS, write_model

PROVENANCE: dict[str, Any] = {
    "name": "test kit",
    "notes": "Cymbals are blurred.\nTails are noisy.",
    "ghostnote": "0.1.0",
    "commit": "abc",
    "command": "ghostnote export",
    "sources": [{"source": "Drums|1", "licence": "CC0-1.0", "authors": ["A", "B"]}],
    "training": {"steps": 1200, "hours": 0.25, "validation_bits": 3.123456},
}


def test_a_card_tells_what_is_known(tmp_path: Path) -> None:
    model = replace(write_model(tmp_path / "a.onnx"), provenance=PROVENANCE)
    lines = card(model).splitlines()
    assert lines[0] == "# test kit"
    for line in (
        "| roles | kick, hat, open |",
        "| kits | one, two |",
        "| hop | 24 samples (1 ms) |",
        "| layers | 5, dilations 1 40 3 32 31 |",
        f"| file | {model.size} bytes, SHA-256 {model.sha256} |",
        "| steps | 1200 |",
        "| validation (bits per sample) | 3.1235 |",
        "| commit | abc |",
        "| Drums/1 | CC0-1.0 | A, B |",
        "Cymbals are blurred.",
        "Tails are noisy.",
    ):
        assert line in lines


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    model = write_model(tmp_path / "plain.onnx", SPECS["unconditional"])
    text = card(replace(model, provenance={}))
    assert text.startswith("# plain\n")
    assert "none (texture only)" in text
    assert "## " not in text


@pytest.mark.parametrize(
    "provenance",
    [
        {"name": "a\x1b[31m\nb\u202e", "notes": "\x1b]0;x\x07", "commit": "\r\x00"},
        {"name": 7, "notes": ["x"], "training": [1], "sources": {"source": 1}},
        {"sources": [None, 3, {"authors": [[["deep"]]], "source": {"a": 1}}]},
        {"sources": [{}] * 100_000, "notes": "x" * 10**6, "name": "y" * 10**6},
    ],
)
def test_a_hostile_card_stays_text(provenance: dict[str, Any], tmp_path: Path) -> None:
    model = replace(write_model(tmp_path / "a.onnx"), provenance=provenance)
    text = card(model)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert len(text) < 100_000
