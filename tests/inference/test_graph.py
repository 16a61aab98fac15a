"""The ONNX graph, run by onnxruntime, against the float64 reference."""

import json

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from ghostnote.inference.graph import build_graph, build_model, graph_inputs, graph_outputs
from ghostnote.inference.onnx_stream import Controls, OnnxStream
from ghostnote.kernels import rng
from ghostnote.kernels.body import knots_of, transients_of, with_body
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.high_pass import high_pass
from ghostnote.kernels.reference import Reference, cumulative, draw, levels_off, margin
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import random_weights, weight_shapes
from tests.inference.small_models import MIXTURES, SMALL, SPECS

ALL = {**SPECS, **MIXTURES}

ABSOLUTE, RELATIVE = 1e-5, 1e-5
NEAR_TIE = 1e-5
HITS = [(0, 0, 0.9), (3, 1, 0.4), (5, 2, 1.0), (9, 1, 0.7), (9, 0, 0.5)]


class Truth:
    """What the reference does with the same hits, kit and uniform numbers."""

    def __init__(self, spec: ModelSpec, samples: int, seed: int = 3) -> None:
        self.spec, self.samples = spec, samples
        self.weights = random_weights(spec, seed)
        self.hops = -(-samples // spec.hop)
        self.kit = [0.75, 0.5][: len(spec.kits)]
        hits = [hit for hit in HITS if hit[1] < len(spec.roles)]
        self.controls = Controls.of_hits(spec, hits, self.hops, self.kit)
        self.uniforms = rng.uniforms_of(spec, 11, 2, 0, samples)
        self.reference = Reference(spec, self.weights)

    def play(
        self, forced: npt.NDArray[np.int64] | None, temperature: float = 1.0, top_k: int = 0
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Returns levels [n], outputs [n, O] and each draw's distance from an edge [n]."""
        spec = self.spec
        table = self.weights.get("age_table")
        rows = self.controls.rows(table)
        silent = Controls.of_hits(spec, [], 1, self.kit).rows(table)
        state = self.reference.start(silent[0])
        level = spec.silence
        levels, logits, margins = [], [], []
        for at in range(self.samples):
            if at % spec.hop == 0:
                self.reference.set_control(state, rows[at // spec.hop])
            logits.append(self.reference.step(state, level))
            u = self.uniforms[at]
            if forced is None:
                level = draw(spec, logits[-1], u, temperature, top_k)
            else:
                level = int(forced[at])
            levels.append(level)
            running = cumulative(logits[-1][: spec.choices], temperature, top_k)
            margins.append(margin(running, float(u if u.ndim == 0 else u[0])))
        return np.array(levels), np.array(logits), np.array(margins)

    def stream(self) -> OnnxStream:
        model = build_model(self.spec, self.weights, {})
        return OnnxStream(model.SerializeToString(), self.spec, self.kit)

    def stream_in_chunks(
        self,
        chunk: int,
        forced: npt.NDArray[np.int64] | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        stream, hop = self.stream(), self.spec.hop
        parts = []
        for first in range(0, self.samples, chunk):
            last = min(first + chunk, self.samples)
            controls = self.controls.part(first // hop, (last - 1) // hop + 1)
            fed = None if forced is None else forced[first:last]
            uniforms = self.uniforms[first:last]
            parts.append(stream.process(uniforms, controls, fed, temperature, top_k))
        levels, samples, logits = (np.concatenate(p) for p in zip(*parts, strict=True))
        return levels, samples, logits


def near(spec: ModelSpec) -> float:
    """Returns by how much a sound may be off: by nothing, or by the rounding of a body."""
    return 1e-5 if spec.body else 0.0


def assert_same_draws(
    found: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.int64],
    margins: npt.NDArray[np.float64],
) -> None:
    apart = np.nonzero(found != wanted)[0]
    if len(apart):
        at = int(apart[0])
        assert margins[at] < NEAR_TIE, f"part at {at}, {margins[at]:.2g} from an edge"


def heard_of(truth: Truth, levels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Returns the sound that levels stand for in a truth's model."""
    table = truth.weights.get("mulaw_table", np.arange(-32768, 32768) / 32768)
    sound, heard = np.float32(0.0), []
    for amplitude in table.astype(np.float32)[levels]:
        sound = amplitude + np.float32(truth.spec.emphasis) * sound
        heard.append(sound)
    found = np.array(heard, np.float32)
    if truth.spec.body:
        asked = truth.controls
        knots = knots_of(truth.spec, truth.weights, asked.ages, asked.velocities, asked.kits)
        span = truth.spec.hop // truth.spec.body_knots
        with_body(found, high_pass(truth.spec), np.zeros(2, np.float32), knots, span, 0)
    if truth.spec.transient:
        found += transients_of(truth.weights, asked.ages, asked.velocities, asked.kits)[
            : len(found)
        ]
    return found


@pytest.mark.parametrize("name", ALL)
def test_forced_logits_are_those_of_the_reference(name: str) -> None:
    spec = ALL[name]
    samples = max(3 * spec.receptive_field, 4 * spec.hop) + 5
    truth = Truth(spec, samples)
    forced = np.random.default_rng(1).integers(0, spec.levels, samples)
    _, wanted, _ = truth.play(forced)
    levels, heard, found = truth.stream_in_chunks(2048, forced)
    assert np.abs(wanted).max() > 0.5  # or agreement would mean nothing
    np.testing.assert_allclose(found, wanted, RELATIVE, ABSOLUTE)
    np.testing.assert_array_equal(levels, forced)
    np.testing.assert_allclose(heard, heard_of(truth, forced), 0.0, atol=near(spec))


@pytest.mark.parametrize("name", SPECS)
def test_free_levels_are_those_of_the_reference(name: str) -> None:
    truth = Truth(SPECS[name], 500)
    wanted, _, margins = truth.play(None)
    found, heard, _ = truth.stream_in_chunks(500)
    assert len(set(wanted)) > 10
    assert_same_draws(found, wanted, margins)
    np.testing.assert_allclose(heard, heard_of(truth, found), 0.0, atol=near(truth.spec))


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 0), (0.6, 0), (1.0, 2), (2.0, 100)])
@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_draws_what_the_reference_draws(
    name: str, temperature: float, top_k: int
) -> None:
    """Each level from what the graph itself put out before it, as float32 parts them soon."""
    spec = MIXTURES[name]
    truth = Truth(spec, 600)
    wanted = truth.play(None, temperature, top_k)[0]
    found, heard, outputs = truth.stream_in_chunks(600, None, temperature, top_k)
    assert (found[:10] == wanted[:10]).all() and len(set(found)) > 100
    np.testing.assert_allclose(heard, heard_of(truth, found), 0.0, atol=near(spec))
    off = [
        levels_off(row.astype(np.float64), int(level), u, 1e-6, temperature, top_k)
        for row, level, u in zip(outputs, found, truth.uniforms, strict=True)
    ]
    assert max(off) < 0.05 and np.mean(np.array(off) > 0.0) < 0.02


def test_a_mixture_of_16_bit_reaches_both_ends() -> None:
    spec = MIXTURES["mixture, one layer"]
    truth = Truth(spec, 40)
    for mean, level in ((3.0, 65535), (-3.0, 0)):
        truth.weights["head1_bias"][3:6] = mean
        levels, heard, _ = truth.stream_in_chunks(40)
        assert (levels == level).all() and np.abs(heard).max() <= 1.0


def test_temperature_and_top_k_are_those_of_the_reference() -> None:
    truth = Truth(SMALL, 300)
    wanted, _, margins = truth.play(None, temperature=1.7, top_k=4)
    found, _, _ = truth.stream_in_chunks(300, temperature=1.7, top_k=4)
    assert_same_draws(found, wanted, margins)
    assert len({*found}) > 4  # the four likeliest are others from sample to sample
    likeliest = truth.stream_in_chunks(300, top_k=1)[0]
    np.testing.assert_array_equal(likeliest, truth.play(None, top_k=1)[0])


@pytest.mark.parametrize("chunk", [1, 7, 31, 32, 33, 2048])
@pytest.mark.parametrize("name", ["long", "width 3, out of order", "one long layer", "mixture"])
def test_chunks_give_what_the_whole_gives(name: str, chunk: int) -> None:
    truth = Truth(ALL[name], 200 if chunk == 1 else 700)
    whole = truth.stream_in_chunks(truth.samples)
    pieces = truth.stream_in_chunks(chunk)
    np.testing.assert_array_equal(pieces[0], whole[0])
    np.testing.assert_allclose(pieces[1], whole[1], 0.0, atol=near(truth.spec))
    np.testing.assert_allclose(pieces[2], whole[2], 1e-5, 1e-5)


def test_no_samples_leave_the_state_as_it_is() -> None:
    truth = Truth(SMALL, 40)
    stream = truth.stream()
    none = stream.process(truth.uniforms[:0], truth.controls.part(0, 1))
    assert none.levels.shape == (0,) and none.logits.shape == (0, SMALL.levels)
    after = stream.process(truth.uniforms, truth.controls)
    np.testing.assert_array_equal(after.levels, truth.stream_in_chunks(40)[0])


def test_state_taken_out_and_put_back_goes_on_alike() -> None:
    truth = Truth(SMALL, 5 * SMALL.hop)
    whole = truth.stream_in_chunks(truth.samples)[0]
    stream, hop = truth.stream(), SMALL.hop
    stream.process(truth.uniforms[:hop], truth.controls.part(0, 1))
    saved = stream.history.copy(), stream.past.copy()
    stream.process(truth.uniforms[:hop][::-1].copy(), truth.controls.part(2, 3))
    stream.history, stream.past = saved
    again = stream.process(truth.uniforms[hop:], truth.controls.part(1, 5))
    np.testing.assert_array_equal(again.levels, whole[hop:])


@pytest.mark.parametrize("name", ALL)
def test_the_file_is_valid_onnx_with_the_weights_by_name(name: str) -> None:
    spec = ALL[name]
    weights = random_weights(spec, 1)
    model = build_model(spec, weights, {"format": 1})
    onnx.checker.check_model(model)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert list(stored) == list(weight_shapes(spec))
    for key, array in stored.items():
        np.testing.assert_array_equal(array, weights[key])
    assert json.loads(model.metadata_props[0].value) == {"format": 1}
    assert {node.domain for node in model.graph.node} == {""}
    assert [value.name for value in model.graph.input] == list(graph_inputs(spec))
    assert [value.name for value in model.graph.output] == list(graph_outputs(spec))


def test_the_graph_is_a_function_of_the_spec() -> None:
    one, two = (build_graph(SMALL).SerializeToString(deterministic=True) for _ in range(2))
    assert one == two
    assert one != build_graph(SPECS["long"]).SerializeToString(deterministic=True)


def test_weights_that_do_not_fit_are_refused() -> None:
    weights = random_weights(SMALL, 1)
    del weights["skip_bias"]
    with pytest.raises(GhostnoteError, match="'skip_bias' is missing"):
        build_model(SMALL, weights, {})
