"""Model files: what is written comes back, and nothing else is let in."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ghostnote.inference import model_file
from ghostnote.inference.graph import build_model
from ghostnote.inference.model_file import (
    MAX_STRUCTURE,
    bundled_models,
    find_model,
    load_model,
    save_model,
)
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.weights import random_weights
from tests.inference.small_models import MIXTURES, SMALL, SPECS, write_model

ABOUT = {"format": 1, "spec": SMALL.to_json(), "provenance": {"name": "x"}, "proof": {}}


def a_model() -> onnx.ModelProto:
    return build_model(SMALL, random_weights(SMALL, 3), ABOUT)


def refusal(path: Path) -> str:
    """Returns the one line with which a file is refused."""
    with pytest.raises(GhostnoteError) as error:
        load_model(path)
    line = str(error.value)
    assert "\n" not in line and len(line) < 600
    assert line.startswith(f"model {path}: ")
    return line


@pytest.mark.parametrize("name", [*SPECS, *MIXTURES])
def test_what_is_saved_comes_back(name: str, tmp_path: Path) -> None:
    spec, path = {**SPECS, **MIXTURES}[name], tmp_path / "a.onnx"
    weights = random_weights(spec, 5)
    save_model(path, spec, weights, {"name": "Ä", "steps": 3}, {"seed": 1})
    model = load_model(path)
    assert model.spec == spec
    assert model.name == "Ä"
    assert (dict(model.provenance), dict(model.proof)) == ({"name": "Ä", "steps": 3}, {"seed": 1})
    assert set(model.weights) == set(weights)
    for key, array in model.weights.items():
        np.testing.assert_array_equal(array, weights[key])
        assert array.dtype == np.float32 and not array.flags.writeable
    assert model.size == path.stat().st_size
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]  # nothing left beside it


def test_files_of_before_there_were_mixtures_load_and_are_written_alike(tmp_path: Path) -> None:
    """The bundled model was exported then; its bytes are those that are written today."""
    kit = load_model(find_model())
    assert kit.spec.mixtures == 0
    save_model(tmp_path / "a.onnx", kit.spec, kit.weights, kit.provenance, kit.proof)
    assert (tmp_path / "a.onnx").read_bytes() == kit.path.read_bytes()


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    one, two = (write_model(tmp_path / name) for name in ("a.onnx", "b.onnx"))
    assert one.sha256 == two.sha256
    assert one.sha256 != write_model(tmp_path / "c.onnx", seed=4).sha256


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    old = write_model(tmp_path / "a.onnx")
    weights = random_weights(SMALL, 1)
    weights["skip_bias"][0] = np.inf
    with pytest.raises(GhostnoteError, match="'skip_bias' holds NaN or infinity"):
        save_model(old.path, SMALL, weights, {}, {})
    assert load_model(old.path).sha256 == old.sha256


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    assert "cannot be read: No such file" in refusal(path)
    path.touch()
    assert "is empty" in refusal(path)
    assert "is no file" in refusal(tmp_path)
    path.write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ")
    assert "not an ONNX file" in refusal(path)
    path.write_text("<html>")
    assert "not an ONNX file" in refusal(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with path.open("wb") as file:
        file.truncate(200 * 1024 * 1024)  # sparse
    assert f"at most {model_file.MAX_BYTES}" in refusal(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "whole.onnx").path.read_bytes()
    path = tmp_path / "cut.onnx"
    for share in range(1, 100):
        path.write_bytes(whole[: len(whole) * share // 100])
        refusal(path)
    path.write_bytes(whole[:-1])
    refusal(path)


def test_a_foreign_model_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]))
    path = tmp_path / "a.onnx"
    onnx.save(model, path)
    assert "metadata 'ghostnote': expected once, found 0 times" in refusal(path)
    helper.set_model_props(model, {"ghostnote": json.dumps(ABOUT)})
    onnx.save(model, path)
    line = refusal(path)
    assert "graph: expected the inputs uniforms, forced" in line


Change = Callable[[onnx.ModelProto], object]


def weight(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    found: onnx.TensorProto = next(t for t in model.graph.initializer if t.name == name)
    return found


def swap(model: onnx.ModelProto, name: str, array: object) -> None:
    weight(model, name).CopyFrom(numpy_helper.from_array(np.asarray(array), name))


def tell(model: onnx.ModelProto, text: str) -> None:
    model.metadata_props[0].value = text


def about(**changes: object) -> str:
    return json.dumps({**ABOUT, **changes})


def outside(model: onnx.ModelProto) -> None:
    tensor = weight(model, "head0_weight")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def poison(model: onnx.ModelProto) -> None:
    array = numpy_helper.to_array(weight(model, "filter_weight")).copy()
    array.flat[17] = np.nan
    swap(model, "filter_weight", array)


def claim(model: onnx.ModelProto) -> None:
    """Claims a petabyte that the file does not hold."""
    weight(model, "skip_weight").dims[:] = [2**20, 2**20, 2**10]


DAMAGE: dict[str, tuple[Change, str]] = {
    "NaN": (poison, "'filter_weight' holds NaN"),
    "shape": (
        lambda m: swap(m, "skip_bias", np.zeros(12, np.float32)),
        "initializer 'skip_bias': expected shape [11], found [12]",
    ),
    "type": (
        lambda m: swap(m, "skip_bias", np.zeros(11)),
        "initializer 'skip_bias': expected FLOAT, found 'DOUBLE'",
    ),
    "claimed shape": (claim, "initializer 'skip_weight': expected shape [5, 11, 7]"),
    "few bytes": (
        lambda m: setattr(weight(m, "skip_bias"), "raw_data", b"\0" * 40),
        "initializer 'skip_bias': expected 44 bytes of raw_data, found 40",
    ),
    "outside": (outside, "initializer 'head0_weight': data outside the file"),
    "missing": (lambda m: m.graph.initializer.pop(), "weight 'transient_gain1_weight' is missing"),
    "twice": (
        lambda m: m.graph.initializer.append(m.graph.initializer[0]),
        "initializer 'mulaw_table': there twice",
    ),
    "unknown": (
        lambda m: m.graph.initializer.append(
            numpy_helper.from_array(np.zeros(3, np.float32), "other")
        ),
        "initializer 'other': no such weight",
    ),
    "function": (
        lambda m: m.functions.add(name="f", domain="evil"),
        "graph: expected no functions",
    ),
    "foreign operator": (
        lambda m: m.graph.node.add(op_type="Run", domain="evil", input=["x"], output=["y"]),
        "graph: operator 'evil.Run'",
    ),
    "other attribute": (
        lambda m: setattr(m.graph.node[-1], "name", "renamed"),
        "graph: expected the graph that ghostnote writes",
    ),
    "training graph": (
        lambda m: m.training_info.add(),
        "graph: expected the graph that ghostnote writes",
    ),
    "extra input": (
        lambda m: m.graph.input.add(name="more"),
        "graph: expected the inputs uniforms",
    ),
    "no metadata": (lambda m: m.metadata_props.pop(), "found 0 times"),
    "metadata twice": (
        lambda m: m.metadata_props.append(m.metadata_props[0]),
        "found 2 times",
    ),
    "no JSON": (lambda m: tell(m, "{"), "metadata: expected JSON"),
    "NaN in JSON": (lambda m: tell(m, about(proof={"a": float("nan")})), "NaN is no JSON"),
    "a list": (lambda m: tell(m, "[1]"), "metadata: expected an object, found list"),
    "deep JSON": (lambda m: tell(m, "[" * 100_000), "metadata: expected JSON"),
    "much JSON": (lambda m: tell(m, " " * 2_000_000), "metadata: 2000000 characters"),
    "format": (lambda m: tell(m, about(format=2)), "field 'format': expected 1, found '2'"),
    "format true": (lambda m: tell(m, about(format=True)), "field 'format': expected 1"),
    "no spec": (lambda m: tell(m, about(spec=None)), "'spec': expected an object"),
    "no proof": (lambda m: tell(m, about(proof=[])), "'proof': expected an object, found list"),
    "spec field": (
        lambda m: tell(m, about(spec={**SMALL.to_json(), "hop": 0})),
        "model spec: hop must be 1 to 4096, found 0",
    ),
    "spec type": (
        lambda m: tell(m, about(spec={**SMALL.to_json(), "skip": "11"})),
        "model spec: skip must be a whole number",
    ),
    "other spec": (
        lambda m: tell(m, about(spec={**SMALL.to_json(), "skip": 12})),
        "initializer 'skip_weight': expected shape [5, 12, 7], found [5, 11, 7]",
    ),
    "mixtures of another head": (
        lambda m: tell(m, about(spec={**SMALL.to_json(), "levels": 65536, "mixtures": 11})),
        "initializer 'mulaw_table': no such weight in this spec",
    ),
    "levels of 16 bit": (
        lambda m: tell(m, about(spec={**SMALL.to_json(), "levels": 65536})),
        "model spec: levels must be 2 to 1024, found 65536",
    ),
    "other dilations": (
        lambda m: tell(m, about(spec={**SMALL.to_json(), "dilations": [1, 2, 3, 4, 5]})),
        "graph: expected the graph that ghostnote writes",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_model_is_refused_by_what_is_wrong_in_it(name: str, tmp_path: Path) -> None:
    damage, expected = DAMAGE[name]
    model = a_model()
    damage(model)
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    assert expected in refusal(path)


def test_a_file_of_many_empty_messages_is_refused_unparsed(tmp_path: Path) -> None:
    """Parsed, two bytes of an empty node or weight take some 150."""
    path = tmp_path / "a.onnx"
    for field in ("node", "initializer"):
        graph = onnx.GraphProto()
        for _ in range(MAX_STRUCTURE // 2 + 1):
            getattr(graph, field).add()
        path.write_bytes(onnx.ModelProto(graph=graph).SerializeToString())
        assert f"over {MAX_STRUCTURE} bytes besides weights and metadata" in refusal(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert "not an ONNX file, or cut short" in refusal(path)


@cache
def whole_file() -> bytes:
    return bytes(a_model().SerializeToString())


@given(st.data())
def test_a_changed_byte_is_refused_in_one_line_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    changed = bytearray(whole_file())
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.onnx"
    path.write_bytes(changed)
    try:
        model = load_model(path)
    except GhostnoteError as error:
        assert "\n" not in str(error)
    else:
        assert model.spec == SMALL  # it was in a weight or a word of the card


def test_models_are_found_by_name_and_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"
    monkeypatch.setattr(model_file, "MODELS", bundle)
    assert bundled_models() == {}
    with pytest.raises(GhostnoteError, match="'kit' is missing"):
        find_model()
    for name in ("another", "kit"):
        write_model(bundle / f"{name}.onnx")
    assert list(bundled_models()) == ["kit", "another"]
    assert find_model() == find_model("kit") == find_model(None, []) == bundle / "kit.onnx"
    assert find_model("another", []) == bundle / "another.onnx"
    own = write_model(tmp_path / "own.onnx").path
    assert find_model(str(own)) == own
    with pytest.raises(GhostnoteError, match="no such file; bundled models are kit, another"):
        find_model("nothing")


def test_models_over_osc_stay_inside_the_roots(tmp_path: Path) -> None:
    root = tmp_path / "models"
    (root / "deep").mkdir(parents=True)
    inside, outside = root / "deep" / "a.onnx", tmp_path / "secret.onnx"
    inside.touch()
    outside.touch()
    (root / "link.onnx").symlink_to(outside)
    (root / "loop.onnx").symlink_to(root / "loop.onnx")
    (root / "good.onnx").symlink_to(inside)
    for name in ("deep/a.onnx", "deep/a", str(inside), "good", "deep/../deep/a.onnx"):
        assert find_model(name, [tmp_path / "empty", root]) == inside.resolve()
    for name in (
        "../secret.onnx",
        "deep/../../secret",
        str(outside),
        "link.onnx",
        "link",
        "loop",
        "deep",
        ".",
        "",
        "a\0b",
        "x" * 5000,
        "/etc/passwd",
        "\udcff",
    ):
        with pytest.raises(GhostnoteError) as error:
            find_model(name, [root])
        assert "\n" not in str(error.value) and len(str(error.value)) < 400
