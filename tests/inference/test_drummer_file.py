"""A drummer's file is as safe to read as a model's: onnxruntime sees only the graph that we write."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ghostnote.inference.drummer_file import FORMAT, load_drummer, read_spec
from ghostnote.inference.drummer_graph import build_drummer
from ghostnote.inference.drummer_spec import DrummerSpec, weight_shapes
from ghostnote.inference.model_file import MAX_BYTES
from ghostnote.kernels.errors import GhostnoteError

SPEC = DrummerSpec(("jazz", "rock"), channels=8, width=16, dilations=(1, 2))


def made(spec: DrummerSpec = SPEC) -> onnx.ModelProto:
    chance = np.random.default_rng(1)
    weights = {
        name: chance.normal(0, 0.5, shape).astype(np.float32)
        for name, shape in weight_shapes(spec).items()
    }
    about = {"drummer": FORMAT, "spec": spec.to_json(), "facts": {}}
    return build_drummer(spec, weights, about)


def outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tensor.ClearField("raw_data")


def other_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Sign", ["controls"], ["more"]))


def endless(model: onnx.ModelProto) -> None:
    """A constant of the graph, not its shape, differs: as many strokes as fill the memory."""
    loop = next(node for node in model.graph.node if node.op_type == "Loop")
    of = {node.output[0]: node for node in model.graph.node}
    count = np.array(1 << 40, np.int64).tobytes()
    of[loop.input[0]].attribute[0].t.raw_data = count


def no_number(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.raw_data = np.full(list(tensor.dims), np.nan, "<f4").tobytes()


def one_less(model: onnx.ModelProto) -> None:
    del model.graph.initializer[3]


def told(text: str) -> Callable[[onnx.ModelProto], None]:
    def tell(model: onnx.ModelProto) -> None:
        model.metadata_props[0].value = text

    return tell


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (outside, "data outside the file is not read"),
        (other_operator, "operator 'Sign' is none"),
        (endless, "expected the graph that ghostnote writes"),
        (no_number, "no number"),
        (one_less, "missing"),
        (told("[]"), "expected an object"),
        (told('{"drummer": 99}'), "of this version"),
        (told('{"drummer": 1, "spec": {"labels": ["a"], "channels": 1e400}}'), "no spec"),
    ],
)
def test_what_we_did_not_write_is_refused(
    tmp_path: Path, spoil: Callable[[onnx.ModelProto], None], why: str
) -> None:
    model, path = made(), tmp_path / "d.onnx"
    path.write_bytes(model.SerializeToString())
    assert load_drummer(path).spec == read_spec(path) == SPEC
    spoil(model)
    path = tmp_path / "other.onnx"
    path.write_bytes(model.SerializeToString())
    for read in (load_drummer, read_spec):
        with pytest.raises(GhostnoteError, match=why):
            read(path)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.onnx"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(GhostnoteError, match="at most"):
        load_drummer(path)
    path.write_bytes(b"\x08\x07nonsense")
    with pytest.raises(GhostnoteError, match="not an ONNX file"):
        load_drummer(path)
