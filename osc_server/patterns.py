"""OSC address patterns: ? * [a-z] [!x] {a,b}, matched part by part in bounded time.

Pure functions; any thread. Source: OSC 1.0 specification, "OSC Message Dispatching and Pattern
Matching". No regular expressions: a pattern comes from outside, and a few stars in a regular
expression can take for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from ghostnote.kernels.errors import GhostnoteError

Token: TypeAlias = "Callable[[str, set[int]], set[int]]"
"""Takes a name and the positions reached in it; returns the positions reached after the token."""

SPECIAL = frozenset("?*[]{}")

MAX_PATTERN = 128
"""Characters in one pattern: it is compared with every address there is."""


def is_pattern(address: str) -> bool:
    """Tell whether `address` holds any pattern character."""
    return not SPECIAL.isdisjoint(address)


def matches(pattern: str, address: str) -> bool:
    """Tell whether the whole of `address` matches `pattern`; wildcards never cross a slash.

    Time is bounded by the product of the two lengths.

    >>> matches("/ghost/voice/[1-3]/{gain,pan}", "/ghost/voice/2/pan")
    True
    >>> matches("/ghost/*", "/ghost/voice/2/pan")
    False

    Raises
    ------
    GhostnoteError
        If `pattern` is malformed or longer than MAX_PATTERN.
    """
    parts = address.split("/")
    tokens = _compile(pattern)
    return len(parts) == len(tokens) and all(map(_matches_part, tokens, parts))


def _matches_part(tokens: tuple[Token, ...], name: str) -> bool:
    reached = {0}
    for token in tokens:
        reached = token(name, reached)
        if not reached:
            return False
    return len(name) in reached


@lru_cache(maxsize=256)
def _compile(pattern: str) -> tuple[tuple[Token, ...], ...]:
    if len(pattern) > MAX_PATTERN:
        raise GhostnoteError(f"address pattern of {len(pattern)} characters; at most {MAX_PATTERN}")
    return tuple(_compile_part(part) for part in pattern.split("/"))


def _compile_part(part: str) -> tuple[Token, ...]:
    tokens: list[Token] = []
    at = 0
    while at < len(part):
        char = part[at]
        closing = {"[": "]", "{": "}"}.get(char)
        if closing:
            stop = part.find(closing, at + 1)
            if stop < 0:
                raise GhostnoteError(f"address pattern: {char} is not closed by {closing}")
            inside = part[at + 1 : stop]
            tokens.append(_one_of(inside) if char == "[" else _alternatives(inside))
            at = stop
        elif char in "]}":
            raise GhostnoteError(f"address pattern: {char} closes nothing")
        elif char == "*":
            tokens.append(_any_run)
        elif char == "?":
            tokens.append(_any_char)
        else:
            tokens.append(_literal(char))
        at += 1
    return tuple(tokens)


def _any_run(name: str, reached: set[int]) -> set[int]:
    return set(range(min(reached), len(name) + 1))


def _any_char(name: str, reached: set[int]) -> set[int]:
    return {at + 1 for at in reached if at < len(name)}


def _literal(text: str) -> Token:
    return lambda name, reached: {at + len(text) for at in reached if name.startswith(text, at)}


def _alternatives(inside: str) -> Token:
    texts = tuple(set(inside.split(",")))
    return lambda name, reached: {
        at + len(text) for text in texts for at in reached if name.startswith(text, at)
    }


def _one_of(inside: str) -> Token:
    """Return the token of [inside]: characters and ranges, a leading ! means none of them."""
    negated = inside.startswith("!")
    chars = inside[negated:]
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(chars):
        if chars[at + 1 : at + 2] == "-" and at + 2 < len(chars):
            ranges.append((chars[at], chars[at + 2]))
            at += 3
        else:
            ranges.append((chars[at], chars[at]))
            at += 1
    return lambda name, reached: {
        at + 1
        for at in reached
        if at < len(name) and any(low <= name[at] <= high for low, high in ranges) != negated
    }
