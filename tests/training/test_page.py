"""The page and the texture's measuring: whole, and all that it names is beside it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training import texture
from ghostnote.training.endurance import Minute, measure_minute
from ghostnote.training.evaluate import EvalOptions, evaluate
from ghostnote.training.page import write_page
from ghostnote.training.scoreboard import markdown, targets
from ghostnote.training.texture import evaluate_texture
from tests.training.test_evaluate import model
from tests.training.tiny_drums import KITS, RATE, beat, render, spec, write_corpus

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
    corpus, playing = write_corpus(tmp_path / "corpus"), model(spec(kits=("a", "b"), roles=()))
    told: list[str] = []
    result = evaluate_texture(playing, corpus, OPTIONS, lambda what, *_: told.append(what))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["bits_per_sample"] == pytest.approx(8.0)
    assert result["frechet"] > 10.0  # white noise
    assert result["frechet_real"] == pytest.approx(0.0, abs=1e-6)  # both kits sound the same
    assert set(result["per_kit"]) == {"a", "b"}
    assert result["per_kit"]["a"]["flatness_db"] > -4.0 > result["truth"]["flatness_db"]
    assert result == evaluate_texture(playing, corpus, OPTIONS)
    assert set(told) == {"real grooves", "playing"}
    assert result["real_kits"] == list(KITS)
    seconds, grooves = OPTIONS.seconds, len(result["grooves"])
    assert (
        f"{grooves} grooves of {seconds:.0f} s x 2 kits, beside as long of each of 2 textures"
        in (markdown(result))
    )
    assert not any(one["met"] for one in targets(result))
    assert "**Targets**" in markdown(result)
    page = write_page(playing, corpus, OPTIONS, result, tmp_path / "page")
    check_page(page, figures=2)


def test_much_sound_is_measured_a_minute_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def measure(audio: np.ndarray, samplerate: int) -> Minute:
        lengths.append(len(audio))
        return measure_minute(audio, samplerate)

    sounds = [render(beat(20.0), 20.0) for _ in range(7)] + [np.zeros(20 * RATE, np.float32)]
    whole = measure_minute(np.concatenate(sounds), RATE)
    monkeypatch.setattr(texture, "measure_minute", measure)
    found = texture._listen(iter(sounds), 2, RATE)
    assert lengths == [60 * RATE, 60 * RATE, 40 * RATE]
    assert found.figures["level_db"] == pytest.approx(whole.level_db, abs=0.01)
    assert found.figures["onsets"] == pytest.approx(whole.onsets, rel=0.02)
    assert found.figures["silence_s"] == pytest.approx(20.0, abs=0.5)
    assert [len(half) for half in found.halves] == [4, 4] and found.seconds == 160.0


def test_a_corpus_without_kits_is_told(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    for table in (corpus / "kits").glob("*.csv"):
        table.unlink()
    with pytest.raises(GhostnoteError, match="no kit in"):
        evaluate_texture(model(spec(kits=(), roles=())), corpus, OPTIONS)
