"""The page and the texture's measuring: whole, and all that it names is beside it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training.evaluate import EvalOptions, evaluate
from ghostnote.training.page import write_page
from ghostnote.training.scoreboard import markdown, targets
from ghostnote.training.texture import evaluate_texture
from tests.training.test_evaluate import model
from tests.training.tiny_drums import RATE, spec, write_corpus

OPTIONS = EvalOptions(grooves=2, seconds=4.0, bits_seconds=0.2, threads=1)


def check_page(page: Path, figures: int) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r'src="([^"]+)"', text)
    assert len(named) == 3 * figures
    for name in named:
        assert (page.parent / name).stat().st_size > 1000
    assert "http" not in text and "<script" not in text
    audio, rate = soundfile.read(page.parent / "01-model.wav")
    assert rate == RATE and len(audio) == 4 * RATE


def test_the_page_of_a_kit_model(tmp_path: Path, cache: Path) -> None:
    corpus, options = write_corpus(tmp_path / "corpus"), replace(OPTIONS, cache=cache)
    result = evaluate(model(), corpus, options)
    page = write_page(model(), corpus, options, result, tmp_path / "page")
    check_page(page, figures=2)
    text = page.read_text(encoding="utf-8")
    assert "<h2>Targets</h2>" in text and "first, groove groove" in text


def test_a_texture_is_measured_beside_real_grooves(tmp_path: Path) -> None:
    corpus, texture = write_corpus(tmp_path / "corpus"), model(spec(kits=("a", "b"), roles=()))
    told: list[str] = []
    result = evaluate_texture(texture, corpus, OPTIONS, lambda what, *_: told.append(what))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["bits_per_sample"] == pytest.approx(8.0)
    assert result["frechet"] > 10.0  # white noise
    assert result["frechet_real"] == pytest.approx(0.0, abs=1e-6)  # both kits sound the same
    assert set(result["per_kit"]) == {"a", "b"}
    assert result["per_kit"]["a"]["flatness_db"] > -4.0 > result["truth"]["flatness_db"]
    assert result == evaluate_texture(texture, corpus, OPTIONS)
    assert set(told) == {"playing", "bits"}
    assert not any(one["met"] for one in targets(result))
    assert "**Targets**" in markdown(result)
    page = write_page(texture, corpus, OPTIONS, result, tmp_path / "page")
    check_page(page, figures=2)


def test_a_corpus_without_kits_is_told(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    for table in (corpus / "kits").glob("*.csv"):
        table.unlink()
    with pytest.raises(GhostnoteError, match="no kit in"):
        evaluate_texture(model(spec(kits=(), roles=())), corpus, OPTIONS)
