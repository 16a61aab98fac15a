"""Step patterns as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.inference.patterns import MAX_STEPS, parse_steps
from ghostnote.kernels.errors import GhostnoteError


def test_every_character() -> None:
    assert parse_steps("xXo.- 19") == (0.75, 1.0, 0.35, 0.0, 0.0, 0.0, 1 / 9, 1.0)


def test_bars_do_not_count() -> None:
    assert parse_steps("x...|x...") == parse_steps("x...x...")
    assert parse_steps("|") == ()


def test_empty() -> None:
    assert parse_steps("") == ()


@pytest.mark.parametrize("text", ["x0", "k", "x\n", "xé", "x/"])
def test_other_characters_are_refused(text: str) -> None:
    with pytest.raises(GhostnoteError, match="is none of"):
        parse_steps(text)


def test_length() -> None:
    assert len(parse_steps("x" * MAX_STEPS + "|" * 16)) == MAX_STEPS
    with pytest.raises(GhostnoteError, match="65 steps; at most 64"):
        parse_steps("x" * (MAX_STEPS + 1))
    with pytest.raises(GhostnoteError, match="100000 characters"):
        parse_steps("x" * 100_000)


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        steps = parse_steps(text)
    except GhostnoteError:
        return
    assert len(steps) == len(text.replace("|", "")) <= MAX_STEPS
    assert all(0.0 <= step <= 1.0 for step in steps)
