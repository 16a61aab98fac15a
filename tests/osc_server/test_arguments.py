"""Arguments: numbers for each other, ranges, optional ones, refusals that say what is wrong."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.arguments import convert, signature
from ghostnote.osc_server.encode import Value
from ghostnote.osc_server.endpoint import Access, Argument, Endpoint
from ghostnote.osc_server.osc import Impulse, Midi, OscMessage
from ghostnote.osc_server.table_parts import SILENT_DB


def endpoint(*arguments: Argument) -> Endpoint:
    return Endpoint("/x", Access.COMMAND, "", arguments)


def one(tag: str, **limits: float) -> Endpoint:
    return endpoint(Argument("x", tag, "", **limits))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "tag", "given_value", "expected"),
    [
        ("f", "i", 3, 3.0),
        ("f", "h", 2**40, float(2**40)),
        ("f", "d", 0.1, 0.1),
        ("f", "T", True, 1.0),
        ("f", "F", False, 0.0),
        ("i", "f", 2.0, 2),
        ("i", "d", 2.6, 3),
        ("h", "i", 7, 7),
        ("i", "T", True, 1),
        ("T", "f", 0.51, True),
        ("T", "f", 0.5, False),
        ("T", "i", 1, True),
        ("T", "F", False, False),
        ("s", "s", "kick", "kick"),
        ("s", "S", "kick", "kick"),
        ("si", "s", "dusty", "dusty"),
        ("si", "f", 1.0, 1),
    ],
)
def test_conversion(wanted: str, tag: str, given_value: Value, expected: Value) -> None:
    (value,) = convert(one(wanted), OscMessage("/x", tag, (given_value,)))
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("wanted", "message", "reason"),
    [
        ("f", OscMessage("/x", "s", ("1",)), "x: wants a number, got type s"),
        ("s", OscMessage("/x", "i", (1,)), "x: wants a string, got type i"),
        ("si", OscMessage("/x", "N", (None,)), "x: wants a name or a number, got type N"),
        ("f", OscMessage("/x", "b", (b"1",)), "got type b"),
        ("i", OscMessage("/x", "t", (1,)), "got type t"),
        ("i", OscMessage("/x", "r", (1,)), "got type r"),
        ("f", OscMessage("/x", "m", (Midi(0, 0, 0, 0),)), "got type m"),
        ("s", OscMessage("/x", "c", ("k",)), "got type c"),
        ("f", OscMessage("/x", "[f]", ((1.0,),)), "arrays are not taken"),
        ("f", OscMessage("/x", "f", (math.nan,)), "nan is not within"),
        ("i", OscMessage("/x", "f", (math.nan,)), "nan is not within"),
        ("i", OscMessage("/x", "f", (math.inf,)), "inf is no whole number"),
        ("h", OscMessage("/x", "d", (1e300,)), "1e.300 is too large"),
        ("i", OscMessage("/x", "d", (-(2.0**63) * 1.001,)), "is too large"),
        ("T", OscMessage("/x", "f", (math.nan,)), "is not a number"),
        ("f", OscMessage("/x"), "takes f x; got 0"),
        ("f", OscMessage("/x", "I", (Impulse.IMPULSE,)), "takes f x; got 0"),
        ("f", OscMessage("/x", "ff", (1.0, 2.0)), "takes f x; got 2"),
    ],
)
def test_refusals(wanted: str, message: OscMessage, reason: str) -> None:
    with pytest.raises(GhostnoteError, match=reason.replace("[", r"\[")):
        convert(one(wanted), message)


def test_range_is_refused_not_clamped() -> None:
    limited = one("f", low=0, high=1)
    assert convert(limited, OscMessage("/x", "ff"[:1], (1.0,))) == (1.0,)
    for value in (1.0000001, -0.0001, math.inf, -math.inf):
        with pytest.raises(GhostnoteError, match="is not within 0 to 1"):
            convert(limited, OscMessage("/x", "f", (value,)))


def test_levels_below_silence_are_silence() -> None:
    level = endpoint(Argument("gain", "f", "", unit="dB", high=12))
    for value in (-90.0, -90.5, -1e300, -math.inf, -(2**62)):
        assert convert(level, OscMessage("/x", "d", (value,))) == (SILENT_DB,)
    assert convert(level, OscMessage("/x", "d", (-89.5,))) == (-89.5,)
    with pytest.raises(GhostnoteError, match=r"1e\+300 is not within -inf to 12 dB"):
        convert(level, OscMessage("/x", "d", (1e300,)))


def test_largest_seed() -> None:
    seed = one("h", low=0, high=2**63 - 1)
    assert convert(seed, OscMessage("/x", "h", (2**63 - 1,))) == (2**63 - 1,)
    with pytest.raises(GhostnoteError, match="not within"):
        convert(seed, OscMessage("/x", "f", (2.0**63,)))


def test_optional_and_repeated() -> None:
    optional = endpoint(
        Argument("a", "i", ""), Argument("b", "f", "", default=0.5, optional=True),
        Argument("c", "i", "", optional=True),
    )  # fmt: skip
    assert convert(optional, OscMessage("/x", "i", (1,))) == (1, 0.5, None)
    assert convert(optional, OscMessage("/x", "if", (1, 2.0))) == (1, 2.0, None)
    assert signature(optional) == "i a [f b] [i c]"
    repeated = endpoint(Argument("a", "f", "", many=True))
    assert convert(repeated, OscMessage("/x", "fif", (1.0, 2, 3.0))) == (1.0, 2.0, 3.0)
    assert signature(repeated) == "f a..."
    with pytest.raises(GhostnoteError, match=r"takes f a\.\.\.; got 0"):
        convert(repeated, OscMessage("/x"))


@given(
    st.sampled_from(["i", "h", "f", "T", "s", "si"]),
    st.sampled_from("ifd"),
    st.integers() | st.floats(),
)
def test_any_number_is_converted_or_refused(wanted: str, tag: str, value: float) -> None:
    try:
        (converted,) = convert(one(wanted), OscMessage("/x", tag, (value,)))
    except GhostnoteError:
        return
    assert type(converted) is {"i": int, "h": int, "si": int, "f": float, "T": bool}[wanted]
