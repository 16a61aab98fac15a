"""The whole measurement, on a corpus and a model small enough for a test."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels import levels as amplitudes
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.kernels.reference import Reference
from ghostnote.kernels.spec import ModelSpec
from ghostnote.training.evaluate import EvalOptions, bits, evaluate, play
from ghostnote.training.pieces import Piece
from tests.training.tiny_drums import KITS, beat, kit, render, spec, weights, write_corpus

OPTIONS = EvalOptions(grooves=2, seconds=2.0, bits_seconds=0.5, threads=1)


def model(of: ModelSpec | None = None) -> ModelFile:
    of = of or spec()
    return ModelFile(Path("tiny.onnx"), 1, "0" * 64, of, weights(of), {"name": "tiny"}, {})


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[str, Any]:
    corpus = write_corpus(tmp_path_factory.mktemp("corpus"))
    return evaluate(model(), corpus, replace(OPTIONS, cache=cache))


def test_the_keys_that_programs_read_are_there(result: dict[str, Any]) -> None:
    fixed = {"model", "corpus", "split", "bits_per_sample", "roles", "timing_ms_p95"}
    assert fixed | {"velocity_correlation", "floor_db", "truth_floor_db"} <= set(result)
    for role in ("kick", "snare", "hat"):
        assert {"precision", "recall", "truth_precision", "truth_recall"} <= set(
            result["roles"][role]
        )
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_truth_scores_well_and_noise_does_not(result: dict[str, Any]) -> None:
    """A model that finds every level equally likely plays loud white noise."""
    for score in result["roles"].values():
        assert score["asked"] > 0
        assert score["truth_recall"] == 1.0 and score["truth_precision"] == 1.0
        assert score["recall"] < 0.3
    assert result["truth_false_onsets_per_minute"] == 0.0
    assert result["truth_floor_db"] < -60.0 < -20.0 < result["floor_db"]
    assert abs(result["low_correlation"]) < 0.2
    assert all(heard["truth_recall"] == 1.0 for heard in result["alone"].values())


def test_equally_likely_levels_cost_eight_bits(result: dict[str, Any]) -> None:
    assert result["bits_per_sample"] == pytest.approx(8.0)


def test_each_kit_has_its_own_scores(result: dict[str, Any]) -> None:
    assert list(result["per_kit"]) == list(KITS)
    assert result["seconds"] == 2 * 2 * 2.0
    parts = [score["roles"]["hat"]["asked"] for score in result["per_kit"].values()]
    assert sum(parts) == result["roles"]["hat"]["asked"] and min(parts) > 0


def test_the_number_of_threads_changes_nothing(result: dict[str, Any], tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    told: list[tuple[str, int, int]] = []
    other = evaluate(
        model(),
        corpus,
        EvalOptions(grooves=2, seconds=2.0, bits_seconds=0.5, threads=3),
        lambda *step: told.append(step),
    )
    one, two = ({**x, "corpus": "", "ears": {**x["ears"], "source": ""}} for x in (other, result))
    assert one == two
    assert told[-1][1:] == (6, 6)  # 2 kits x (2 grooves + the lone hits)
    assert any(what.startswith("ears") for what, *_ in told)


@pytest.mark.parametrize("head", [{}, {"levels": 1024}, {"levels": 65536, "mixtures": 3}])
def test_bits_are_those_of_the_reference(head: dict[str, Any]) -> None:
    of = replace(spec(), **head)
    trained = weights(of)
    trained["head1_weight"][:] = np.random.default_rng(0).standard_normal((of.outputs, 8))
    audio = render(beat(), 0.4)
    hits = [hit for hit in beat() if hit[0] < 0.4]
    struck = [(round(t * 1000) / 1000, role, v) for t, role, v in hits]
    levels = amplitudes.encode(of, audio)
    # The second kit, hits at 0.1 s and 0.35 s: more than one call of the kernel.
    found, samples = bits(pack(of, trained), [0.0, 1.0], struck, audio)
    expected = reference_bits(of, trained, struck, levels)
    assert samples == len(levels)
    assert found == pytest.approx(expected, rel=1e-4)
    without, _ = bits(pack(of, trained), [0.0, 1.0], [], audio)
    assert abs(without - expected) > 1.0


def reference_bits(of: ModelSpec, trained: Any, hits: Any, levels: Any) -> float:
    from ghostnote.kernels import control

    table, chokes = trained["age_table"], control.choke_array(of)
    struck = np.array([(round(t * 1000), of.roles.index(r), v) for t, r, v in hits], np.float64)
    hops = -(-len(levels) // of.hop)
    ages, velocities = control.ages_of_hits(struck, hops, len(of.roles), chokes, of.ages - 1)
    kits = np.tile(np.array([0.0, 1.0], np.float32), (hops, 1))
    rows = control.control_rows(ages, velocities, kits, table)
    silent = control.control_rows(
        np.full((1, len(of.roles)), of.ages - 1), np.zeros_like(velocities[:1]), kits[:1], table
    )
    reference = Reference(of, trained)
    state = reference.start(silent[0])
    total, before = 0.0, of.silence
    for i, level in enumerate(levels):
        if i % of.hop == 0:
            reference.set_control(state, rows[i // of.hop])
        logits = reference.step(state, before)
        if of.mixtures:
            shift, means, scales = logits.reshape(3, -1)
            scales = np.exp(np.maximum(scales, -14.0))
            edges = (level + np.array([[-0.5], [0.5]]) - 32768) / 32768
            below, above = 1.0 / (1.0 + np.exp((means - edges) / scales))
            share = np.exp(shift) / np.exp(shift).sum()
            total -= np.log2((share * (above - below)).sum())
        else:
            total += np.log2(np.exp(logits - logits[level]).sum())
        before = int(level)
    return float(total)


def test_truth_and_model_are_asked_the_same_on_the_hop_grid() -> None:
    of = spec()
    piece = Piece("one", 0.5, ((0.1004, "kick", 0.8), (0.25, "snare", 0.5), (0.3, "cowbell", 0.9)))
    played = play(pack(of, weights(of)), kit(), piece, OPTIONS)
    assert played.hits == ((0.101, "kick", 0.8), (0.25, "snare", 0.5))
    assert np.flatnonzero(played.truth)[0] in (808, 809)  # a sine begins with a zero
    assert len(played.truth) == len(played.generated) == 4000


def test_a_model_of_16_bits_at_48_khz_is_heard_by_the_ears_of_24(tmp_path: Path) -> None:
    of = replace(spec(), samplerate=48000, hop=48, levels=65536, mixtures=2)
    options = EvalOptions(grooves=1, seconds=1.0, bits_seconds=0.05, threads=1)
    found = evaluate(model(of), write_corpus(tmp_path), options)
    assert found["samplerate"] == 48000
    assert found["roles"]["kick"]["truth_recall"] == found["roles"]["hat"]["truth_recall"] == 1.0
    assert found["truth_timing_ms_p95"] < 0.3
    assert found["bits_per_sample"] > 0.0


def test_kits_may_come_from_another_corpus_and_missing_ones_are_told(tmp_path: Path) -> None:
    corpus, other = write_corpus(tmp_path / "corpus"), write_corpus(tmp_path / "other")
    for name in KITS:
        (corpus / "kits" / f"{name}.csv").unlink()
    with pytest.raises(GhostnoteError, match=r"none of the model's kits .* with --kits"):
        evaluate(model(), corpus, OPTIONS)
    (other / "kits" / "second.csv").unlink()
    options = EvalOptions(kits=other, grooves=1, seconds=1.0, bits_seconds=0.0, threads=1)
    found = evaluate(model(), corpus, options)
    assert list(found["per_kit"]) == ["first"]
    assert [entry["kit"] for entry in found["kits_missing"]] == ["second"]
    assert found["bits_per_sample"] is None


def test_a_model_without_triggers_is_refused(tmp_path: Path) -> None:
    texture = model(spec(kits=(), roles=()))
    with pytest.raises(GhostnoteError, match="takes no triggers"):
        evaluate(texture, tmp_path, OPTIONS)


@pytest.mark.parametrize("wrong", [{"grooves": 0}, {"seconds": 0.5}, {"temperature": 0.0}])
def test_impossible_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(GhostnoteError, match=next(iter(wrong))):
        EvalOptions(**wrong)


def test_torch_is_not_needed() -> None:
    wanted = "import sys, ghostnote.cli.eval, ghostnote.training.pictures"
    code = f"{wanted}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
