"""Address patterns: the specification's examples, and a slow matcher that must agree."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.patterns import MAX_PATTERN, is_pattern, matches


@pytest.mark.parametrize(
    ("pattern", "address", "expected"),
    [
        ("/a/b", "/a/b", True),
        ("/a/b", "/a/bc", False),
        ("/?/b", "/a/b", True),
        ("/?/b", "/aa/b", False),
        ("/?", "/", False),
        ("/*/b", "/abc/b", True),
        ("/*", "/a/b", False),
        ("/a*c*e", "/abcde", True),
        ("/a*c*e", "/abcd", False),
        ("/a*", "/a", True),
        ("/voice/[1-3]/gain", "/voice/2/gain", True),
        ("/voice/[1-3]/gain", "/voice/4/gain", False),
        ("/[!a-c]x", "/dx", True),
        ("/[!a-c]x", "/bx", False),
        ("/[!]x", "/ax", True),
        ("/[abc-]", "/-", True),
        ("/[-a]", "/-", True),
        ("/[a-]", "/b", False),
        ("/[z-a]", "/m", False),
        ("/[]", "/a", False),
        ("/{kick,snare}", "/snare", True),
        ("/{kick,snare}", "/hat", False),
        ("/x{,y}z", "/xz", True),
        ("/{a,ab}c", "/abc", True),
        ("/{a,ab}{c,bc}", "/abc", True),
        ("/*{1,2}", "/ab2", True),
        ("/", "/", True),
        ("/a.c", "/abc", False),
        ("/a+", "/aa", False),
    ],
)
def test_examples(pattern: str, address: str, expected: bool) -> None:
    assert matches(pattern, address) is expected


@pytest.mark.parametrize("pattern", ["/[a", "/{a,b", "/a]", "/a}", "/{a/b}", "/[a/b]"])
def test_malformed_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(GhostnoteError, match="address pattern"):
        matches(pattern, "/a")


def test_long_pattern_is_refused() -> None:
    with pytest.raises(GhostnoteError, match="at most 128"):
        matches("/" + "*" * MAX_PATTERN, "/a")


def test_is_pattern() -> None:
    assert not is_pattern("/ghost/voice/1/gain")
    assert all(is_pattern(f"/ghost/{char}") for char in "?*[]{}")


def test_stars_that_ruin_regular_expressions() -> None:
    # A backtracking matcher needs longer than the age of the universe for this.
    assert not matches("/" + "*a" * 60 + "b", "/" + "a" * 2000)


def slow(pattern: str) -> str:
    """The pattern as a regular expression."""
    out = ""
    for token in re.findall(r"\[[^]]*\]|\{[^}]*\}|.", pattern):
        if token == "*":
            out += "[^/]*"
        elif token == "?":
            out += "[^/]"
        elif token[0] == "{":
            out += "(?:" + "|".join(map(re.escape, token[1:-1].split(","))) + ")"
        elif token[0] == "[":
            out += "[" + ("^" if token[1] == "!" else "") + token[1:-1].lstrip("!") + "]"
        else:
            out += re.escape(token)
    return out


TOKENS = st.sampled_from(["a", "b", "c", "/", "?", "*", "[a-b]", "[!a]", "[bc]", "{a,bc}", "{,b}"])


@given(st.lists(TOKENS, max_size=10).map("".join), st.text("abc/", max_size=10))
def test_agrees_with_regular_expressions(pattern: str, address: str) -> None:
    # A negated set must not match the slash that parts are split at.
    expected = re.fullmatch(slow(pattern).replace("[^a]", "[^a/]"), address) is not None
    assert matches(pattern, address) is expected
