"""ModelSpec: every impossible value is refused by the name of its field."""

import json
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.lanes import LANES
from ghostnote.kernels.spec import ROLES, VECTOR, ModelSpec
from ghostnote.kernels.weights import weight_shapes
from tests.kernels.models import SPECS

GOOD = SPECS["odd, width 3, out of order"]
NAMES = st.lists(st.text("abcdefgh ü", min_size=1, max_size=8), unique=True, max_size=5)


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    """Any possible spec of modest size."""
    roles, kits = tuple(draw(NAMES)), tuple(draw(NAMES))
    chokes = draw(st.lists(st.permutations(roles), max_size=3)) if len(roles) > 1 else []
    channels = st.integers(1, 40)
    hidden = draw(st.lists(channels, min_size=1, max_size=4)) if roles or kits else []
    mixtures = draw(st.sampled_from([0, 0, 1, 10, 32]))
    return ModelSpec(
        samplerate=draw(st.integers(1000, 384000)),
        hop=draw(st.integers(1, 4096)),
        dilations=tuple(draw(st.lists(st.integers(1, 600), min_size=1, max_size=12))),
        filter_width=draw(st.integers(2, 3)),
        residual=draw(channels),
        gate=draw(channels),
        skip=draw(channels),
        head=draw(channels),
        levels=65536 if mixtures else draw(st.integers(2, 1024)),
        mixtures=mixtures,
        input_taps=draw(st.integers(1, 8)),
        roles=roles,
        kits=kits,
        ages=draw(st.integers(2, 5000)) if roles else 0,
        age_features=draw(st.integers(1, 64)) if roles else 0,
        cond_hidden=tuple(hidden),
        chokes=tuple((by, what) for by, what, *_ in chokes),
    )


@given(specs())
def test_json_and_back(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@given(specs())
def test_what_follows_from_the_fields(spec: ModelSpec) -> None:
    shapes = weight_shapes(spec)
    assert spec.layers == len(spec.dilations) == shapes["filter_weight"][0]
    assert spec.silence == spec.levels // 2
    macs = 0
    for name in ("filter", "residual", "skip", "head0", "head1"):
        size = 1
        for length in shapes[f"{name}_weight"]:
            size *= length
        macs += size
    assert spec.macs_per_sample == macs
    if spec.conditioning:
        assert shapes["cond_weight.0"][1] == spec.conditioning
    for by, what in spec.choke_pairs:
        assert (spec.roles[by], spec.roles[what]) in spec.chokes


def test_receptive_field_of_the_paper() -> None:
    """Ten layers of width 2 up to dilation 512 see 1024 inputs, of which each here holds 2."""
    spec = ModelSpec(16000, 16, tuple(2**i for i in range(10)), input_taps=1)
    assert spec.receptive_field == 1024
    assert replace(spec, input_taps=2).receptive_field == 1025
    assert replace(spec, filter_width=3).receptive_field == 2047


BAD: list[tuple[str, dict[str, Any]]] = [
    ("samplerate", {"samplerate": 999}),
    ("emphasis", {"emphasis": -0.1}),
    ("emphasis", {"emphasis": 0.99}),
    ("emphasis", {"emphasis": float("nan")}),
    ("emphasis", {"emphasis": "0.85"}),
    ("emphasis", {"emphasis": True}),
    ("samplerate", {"samplerate": 24000.0}),
    ("samplerate", {"samplerate": True}),
    ("hop", {"hop": 0}),
    ("hop", {"hop": 4097}),
    ("dilations", {"dilations": ()}),
    ("dilations", {"dilations": (1,) * 129}),
    ("dilations", {"dilations": (1, 0)}),
    ("dilations", {"dilations": (65537,)}),
    ("dilations", {"dilations": [1, 2]}),
    ("dilations", {"dilations": (1.0,)}),
    ("dilations reach too far back: 262146 samples", {"dilations": (65536, 65536, 1)}),
    ("dilations reach too far back: 8388608", {"dilations": (32768,) * 128, "residual": 1}),
    # 161 channels lie in 176: 34.6 million numbers.
    ("dilations reach too far back for 161", {"dilations": (49152, 49152), "residual": 161}),
    ("filter_width", {"filter_width": 1}),
    ("filter_width", {"filter_width": 4}),
    ("residual", {"residual": 0}),
    ("gate", {"gate": -3}),
    ("skip", {"skip": 1025}),
    ("head", {"head": "128"}),
    ("levels", {"levels": 1}),
    ("levels", {"levels": 1025}),
    ("levels must be 2 to 1024", {"levels": 65536}),
    ("levels must be 65536 with mixtures", {"mixtures": 10}),
    ("mixtures", {"mixtures": -1}),
    ("mixtures", {"mixtures": 33, "levels": 65536}),
    ("mixtures", {"mixtures": True, "levels": 65536}),
    ("input_taps", {"input_taps": 0}),
    ("input_taps", {"input_taps": 9}),
    ("roles", {"roles": ("kick", "hat", "open", "kick")}),
    ("roles", {"roles": ("kick", "hat", "open", "")}),
    ("roles", {"roles": ("kick", "hat", "open", "a\nb")}),
    ("roles", {"roles": tuple(f"role {i}" for i in range(65)), "chokes": ()}),
    ("kits", {"kits": ("one", "one")}),
    ("kits", {"kits": ("x" * 65,)}),
    ("kits", {"kits": (3,)}),
    ("ages", {"ages": 1}),
    ("ages", {"ages": 65537}),
    ("age_features", {"age_features": 0}),
    ("age_features", {"age_features": 65}),
    ("ages and age_features need roles", {"roles": (), "chokes": ()}),
    ("cond_hidden", {"cond_hidden": ()}),
    ("cond_hidden", {"cond_hidden": (1,) * 5}),
    ("cond_hidden", {"cond_hidden": (0,)}),
    (
        "cond_hidden needs roles or kits",
        {"roles": (), "kits": (), "chokes": (), "ages": 0, "age_features": 0},
    ),
    ("body must be 0 to 64", {"body": -1}),
    ("body must be 0 to 64", {"body": 65}),
    ("body_knots must be 1 to 7", {"body_knots": 0}),
    ("body_knots must be 1 to 7", {"body_knots": 8}),
    ("body_knots must divide the hop of 7", {"body_knots": 6}),
    ("body_ages must be 1 to 19", {"body_ages": 0}),
    ("body_ages must be 1 to 19", {"body_ages": 20}),
    ("body_knots and body_ages need a body", {"body": 0}),
    ("body needs roles", {"roles": (), "chokes": (), "ages": 0, "age_features": 0}),
    ("transient must be 0 to 64", {"transient": 65}),
    ("transient_ages must be 1 to 19", {"transient_ages": 0}),
    ("transient_ages must be 1 to 19", {"transient_ages": 20}),
    ("transient_ages needs transient", {"transient": 0}),
    ("transient needs a body", {"body": 0, "body_knots": 0, "body_ages": 0}),
    ("chokes", {"chokes": (("hat", "cowbell"),)}),
    ("chokes", {"chokes": (("hat",),)}),
    ("chokes lets 'hat' silence itself", {"chokes": (("hat", "hat"),)}),
]


@pytest.mark.parametrize(("message", "changes"), BAD)
def test_impossible_values_are_refused(message: str, changes: dict[str, Any]) -> None:
    with pytest.raises(GhostnoteError, match=f"^model spec: {message}"):
        replace(GOOD, **changes)


def test_the_longest_reach_is_allowed() -> None:
    spec = replace(GOOD, dilations=(65536, 65536), residual=128)
    assert spec.receptive_field == 2**18 + GOOD.input_taps
    assert replace(GOOD, dilations=(49152, 49152), residual=160).residual == 160


def test_channels_are_counted_in_the_vectors_that_hold_them() -> None:
    assert VECTOR == LANES


def test_every_field_has_a_refusal() -> None:
    refused = {name for _, changes in BAD for name in changes}
    assert refused == {field.name for field in fields(ModelSpec)}


BAD_JSON: list[tuple[str, object]] = [
    ("expected an object", [1, 2]),
    ("unknown field 'colour'", {**GOOD.to_json(), "colour": 3}),
    ("field 'hop' is missing", {k: v for k, v in GOOD.to_json().items() if k != "hop"}),
    ("gate must be a whole number", {**GOOD.to_json(), "gate": 7.0}),
    ("gate must be a whole number", {**GOOD.to_json(), "gate": True}),
    ("dilations must be a list", {**GOOD.to_json(), "dilations": 3}),
    ("dilations must hold int", {**GOOD.to_json(), "dilations": ["1"]}),
    ("dilations has 5000 entries", {**GOOD.to_json(), "dilations": [1] * 5000}),
    ("kits must hold str", {**GOOD.to_json(), "kits": [1]}),
    ("chokes must hold pairs", {**GOOD.to_json(), "chokes": [["hat"]]}),
]


@pytest.mark.parametrize(("message", "values"), BAD_JSON)
def test_json_that_is_no_spec_is_refused(message: str, values: object) -> None:
    with pytest.raises(GhostnoteError, match=f"^model spec: {message}"):
        ModelSpec.from_json(values)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@given(st.sampled_from([field.name for field in fields(ModelSpec)]), JSON)
def test_any_json_gives_a_spec_or_one_line(field: str, value: object) -> None:
    try:
        spec = ModelSpec.from_json({**asdict(GOOD), field: value})
    except GhostnoteError as error:
        assert "\n" not in str(error)
    else:
        assert ModelSpec.from_json(spec.to_json()) == spec


def test_a_softmax_model_is_written_as_before_there_were_mixtures() -> None:
    written = GOOD.to_json()
    assert list(written) == [field.name for field in fields(ModelSpec) if field.name != "mixtures"]
    mixture = replace(GOOD, levels=65536, mixtures=10)
    assert mixture.to_json() == {**written, "levels": 65536, "mixtures": 10}
    assert (GOOD.outputs, GOOD.choices) == (100, 100)
    assert (mixture.outputs, mixture.choices, mixture.silence) == (30, 10, 32768)


def test_roles_are_told_apart_by_name() -> None:
    assert len(set(ROLES)) == len(ROLES)
