"""Bytes of a file that are neither weights nor texts: counted as protobuf itself writes them."""

import onnx
import pytest

from ghostnote.inference.graph import METADATA_KEY, build_graph, build_model
from ghostnote.inference.model_file import MAX_STRUCTURE
from ghostnote.inference.structure import structure_bytes
from ghostnote.kernels.spec import MAX_LAYERS, MAX_NAMES, ModelSpec
from ghostnote.kernels.weights import random_weights
from tests.inference.small_models import MIXTURES, SMALL, SPECS

ALL = {**SPECS, **MIXTURES}
LARGEST = ModelSpec(
    24000,
    24,
    (65536, 1) * 2 + (32,) * (MAX_LAYERS - 4),
    filter_width=2,
    levels=65536,
    mixtures=32,
    input_taps=8,
    roles=tuple(f"role {i}" for i in range(MAX_NAMES)),
    kits=tuple(f"kit {i}" for i in range(MAX_NAMES)),
    ages=50,
    age_features=64,
    cond_hidden=(8,) * 4,
)


@pytest.mark.parametrize("name", ALL)
def test_all_but_weights_and_texts_is_structure(name: str) -> None:
    model = build_model(ALL[name], random_weights(ALL[name], 1), {"notes": "x" * 1000})
    plain = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    plain += len(model.metadata_props[0].value)
    data = model.SerializeToString()
    assert structure_bytes(data, len(data)) == len(data) - plain


def test_the_largest_graph_is_allowed() -> None:
    for width in (2, 3):
        spec = ModelSpec(
            **{**vars(LARGEST), "filter_width": width, "dilations": (32,) * MAX_LAYERS}
        )
        for one in (LARGEST, spec):
            data = build_graph(one).SerializeToString()
            assert structure_bytes(data, MAX_STRUCTURE) == len(data) < MAX_STRUCTURE // 2


def test_counting_ends_where_there_is_too_much() -> None:
    data = onnx.GraphProto(node=[onnx.NodeProto()] * 50_000).SerializeToString()
    whole = onnx.ModelProto(graph=onnx.GraphProto.FromString(data)).SerializeToString()
    assert structure_bytes(whole, len(whole)) == len(whole)
    assert 100 < structure_bytes(whole, 100) < 110


def test_every_kind_of_field_is_passed_over() -> None:
    node = onnx.NodeProto(name="n")
    node.attribute.add(name="a", f=1.5, floats=[1.0, 2.0], i=-1, s=b"text")
    tensor = onnx.TensorProto(name="t", double_data=[1.0], raw_data=b"12345")
    model = onnx.ModelProto(ir_version=8, graph=onnx.GraphProto(node=[node], initializer=[tensor]))
    model.metadata_props.add(key=METADATA_KEY, value="123")
    unknown = b"\xf9\x07" + bytes(8) + b"\xfd\x07" + bytes(4)  # field 127, of 8 and of 4 bytes
    data = model.SerializeToString() + unknown
    onnx.ModelProto.FromString(data)
    assert structure_bytes(data, 1000) == len(data) - 8


@pytest.mark.parametrize(
    "data",
    [
        b"\x3a",  # a graph without a length
        b"\x3a\x05\x0a\x00",  # of 5 bytes, of which 2 are there
        b"\x3a\x02\x0a\x01\x00",  # whose node is longer than itself
        b"\x08" + b"\xff" * 11,  # a number of more than 10 bytes
        b"\x09\x00",  # of 8 bytes, cut short
        b"\x0b\x0c",  # a group
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|number"):
        structure_bytes(data, 1000)


def test_the_start_of_a_message_is_none() -> None:
    data = build_model(SMALL, random_weights(SMALL, 1), {}).SerializeToString()
    for length in range(1, len(data) - 1, 997):
        with pytest.raises(ValueError, match=r"field|number"):
            structure_bytes(data[:length], len(data))
