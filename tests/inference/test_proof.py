"""Proofs: every engine keeps to them, and an engine that is wrong is found out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostnote.inference import proof as proofs
from ghostnote.inference.model_file import ModelFile, load_model, save_model
from ghostnote.inference.proof import ENGINES, Proof, Replay, check_proof, make_proof
from ghostnote.inference.tolerance import NEAR_TIE
from ghostnote.kernels import rng
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.reference import cumulative, position
from ghostnote.kernels.weights import random_weights
from tests.inference.small_models import MIXTURES, SMALL, SPECS, write_model


@pytest.mark.parametrize("name", SPECS)
def test_every_engine_keeps_to_the_proof(name: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "a.onnx", SPECS[name])
    agreed = check_proof(model, list(ENGINES))
    assert list(agreed) == ["reference", "numba", "onnx"]
    for agreement in agreed.values():
        assert agreement.samples == proofs.SAMPLES
        assert agreement.near_ties <= 1
        assert 0.0 < agreement.logit_error < 1e-4  # six digits are written, so never quite 0


def test_a_proof_comes_back_from_its_file(tmp_path: Path) -> None:
    model = write_model(tmp_path / "a.onnx")
    assert Proof.from_json(model.proof, SMALL) == _listed(make_proof(SMALL, model.weights))


def _listed(proof: Proof) -> Proof:
    return replace(proof, hits=[(hop, role, float(v)) for hop, role, v in proof.hits])


@pytest.mark.parametrize("weight", ["skip_bias", "input_weight", "cond_out_weight", "age_table"])
@pytest.mark.parametrize("engine", ENGINES)
def test_weights_that_were_changed_do_not_pass(engine: str, weight: str, tmp_path: Path) -> None:
    good = write_model(tmp_path / "good.onnx")
    weights = {name: array.copy() for name, array in good.weights.items()}
    weights[weight] *= 1.05
    path = tmp_path / "bad.onnx"
    save_model(path, SMALL, weights, good.provenance, good.proof)
    with pytest.raises(GhostnoteError, match=f"proof: {engine} gives logit .* at forced position"):
        check_proof(load_model(path), [engine])


def test_an_engine_that_draws_otherwise_is_told_with_position_and_margin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "a.onnx")
    proof = Proof.from_json(model.proof, SMALL)
    right = ENGINES["numba"](model, proof)

    def judged(replay: Replay) -> Any:
        monkeypatch.setitem(ENGINES, "broken", lambda model, proof: replay)
        return check_proof(model, ["broken"])["broken"]

    assert right.free is not None
    assert judged(right).near_ties == 0
    free = right.free.copy()
    free[700] = (free[700] + 1) % SMALL.levels
    with pytest.raises(GhostnoteError, match=r"broken plays level \d+ at sample 700, expected"):
        judged(right._replace(free=free))
    guided = right.guided.copy()
    guided[500] = -50.0
    guided[500, (proof.levels[500] + 1) % SMALL.levels] = 50.0
    with pytest.raises(GhostnoteError, match=r"broken draws level \d+ at sample 500, expected"):
        judged(right._replace(guided=guided))
    for field in ("guided", "forced"):
        poisoned = np.full_like(right.guided, np.nan)
        with pytest.raises(GhostnoteError, match="broken"):
            judged(right._replace(**{field: poisoned}))


def test_a_near_tie_is_counted_and_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path / "a.onnx")
    proof = Proof.from_json(model.proof, SMALL)
    right = ENGINES["reference"](model, proof)
    # Move the edge of a drawn level to just above the uniform number that drew it.
    u = float(rng.uniforms(proof.seed, proof.stream, 0, 301)[300])
    level = proof.levels[300]
    share = np.diff(cumulative(right.guided[300]), prepend=0.0)
    below, above = share[:level].sum(), share[level:].sum()
    edge = u + NEAR_TIE / 2
    share[:level] *= edge / below
    share[level:] *= (1.0 - edge) / above
    guided = right.guided.copy()
    guided[300] = np.log(share)
    free = np.array(proof.levels)
    free[300:] = 0  # what follows a parting tells nothing
    replay = Replay(free, guided, right.forced)
    monkeypatch.setitem(ENGINES, "near", lambda model, proof: replay)
    assert check_proof(model, ["near"])["near"].near_ties == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seed": -1}, "'seed': expected a whole number from 0"),
        ({"seed": 1.5}, "'seed'"),
        ({"temperature": 0.0}, "'temperature'"),
        ({"temperature": "1"}, "'temperature'"),
        ({"kit": [1.0]}, "'kit': expected a list of 2 numbers"),
        ({"hits": [[0, 3, 1.0]]}, "'hits': expected a whole number from 0 to 2"),
        ({"hits": [[0, 1]]}, "'hits': expected .hop, role, velocity."),
        ({"hits": None}, "'hits'"),
        ({"levels": [33]}, "'levels': expected a whole number from 0 to 32, found 33"),
        ({"levels": [0] * 100_000}, "'levels': expected a list of"),
        ({"forced_at": [10**9]}, "'forced_at'"),
        ({"forced_at": [96, 0, 0, 0, 0]}, "'forced_at': beyond the end"),
        ({"forced_logits": []}, "'forced_logits': expected 5 rows"),
        ({"forced_logits": [[1.0]] * 5}, "'forced_logits': expected a list of 33 numbers"),
        ({"forced_logits": [["1"] * 33] * 5}, "'forced_logits': expected a number"),
    ],
)
def test_an_impossible_proof_is_refused_by_its_field(
    change: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "a.onnx")
    changed = replace(model, proof={**model.proof, **change})
    with pytest.raises(GhostnoteError, match=f"proof field {expected}"):
        check_proof(changed)
    for field in change:
        lacking = {name: value for name, value in model.proof.items() if name != field}
        with pytest.raises(GhostnoteError, match=f"proof field '{field}'"):
            check_proof(replace(model, proof=lacking))


def test_a_model_without_a_proof_says_so(tmp_path: Path) -> None:
    model: ModelFile = replace(write_model(tmp_path / "a.onnx"), proof={})
    with pytest.raises(GhostnoteError, match="has no proof to replay"):
        check_proof(model)


def test_the_proof_feeds_loud_and_soft_levels() -> None:
    proof = make_proof(SMALL, random_weights(SMALL, 1))
    assert min(proof.forced_levels) < 3 and max(proof.forced_levels) > SMALL.levels - 4
    assert proof.forced_levels[-1] in (SMALL.silence - 1, SMALL.silence, SMALL.silence + 1)


@pytest.mark.parametrize("name", MIXTURES)
def test_engines_keep_to_the_proof_of_a_mixture(name: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "a.onnx", MIXTURES[name])
    proof = Proof.from_json(model.proof, MIXTURES[name])
    assert len(set(proof.levels)) > 500 and min(proof.forced_levels) < 6000
    agreed = check_proof(model, list(ENGINES))
    for agreement in agreed.values():
        assert agreement.samples == proofs.SAMPLES
        assert agreement.near_ties <= 20
        assert 0.0 < agreement.logit_error < 1e-5
    assert agreed["reference"].near_ties == 0


@pytest.mark.parametrize("engine", ["numba", "onnx"])
def test_a_mixture_is_told_apart_by_its_means_and_by_every_draw(
    engine: str, tmp_path: Path
) -> None:
    spec = MIXTURES["mixture"]
    model = write_model(tmp_path / "a.onnx", spec)
    proof = Proof.from_json(model.proof, spec)
    right = ENGINES[engine](model, proof)
    assert right.free is not None
    assert proofs.judge("x", right, proof, spec).near_ties <= 20
    # One level in the mean is nothing beside the noise, and yet another model.
    forced = right.forced.copy()
    forced[proof.forced_at[2], spec.mixtures + 4] += 1 / 32768
    with pytest.raises(GhostnoteError, match=r"x gives mean \S+ of component 4 at forced position"):
        proofs.judge("x", right._replace(forced=forced), proof, spec)
    for at in (23, 24, 700, 959):  # the ends of a hop too
        free = right.free.copy()
        free[at] += 3
        with pytest.raises(
            GhostnoteError, match=rf"x plays level \d+ at sample {at}, expected .*lev"
        ):
            proofs.judge("x", right._replace(free=free), proof, spec)
    guided = right.guided.copy()
    guided[500, spec.mixtures : 2 * spec.mixtures] += 2 / 32768
    with pytest.raises(
        GhostnoteError, match=r"x draws level \d+ at sample 500, expected .* by \S+ l"
    ):
        proofs.judge("x", right._replace(guided=guided), proof, spec)


def test_rounding_that_is_wrong_by_half_a_level_is_found_out(tmp_path: Path) -> None:
    spec = MIXTURES["one logistic, width 3, one tap"]
    model = write_model(tmp_path / "a.onnx", spec)
    proof = Proof.from_json(model.proof, spec)
    right = ENGINES["reference"](model, proof)
    uniforms = rng.uniforms_of(spec, proof.seed, proof.stream, 0, proofs.SAMPLES)
    down = [
        int(position(outputs, 0, float(u[1])))
        for outputs, u in zip(right.guided, uniforms, strict=True)
    ]
    with pytest.raises(GhostnoteError, match=r"x draws otherwise .* too often for near ties"):
        proofs.judge("x", right._replace(free=np.array(down)), proof, spec)
    guided = right.guided.copy()
    guided[:, 1] -= 0.45 / 32768
    with pytest.raises(GhostnoteError, match=r"x draws otherwise .* too often for near ties"):
        proofs.judge("x", right._replace(guided=guided), proof, spec)
