"""Drum patterns written as text: "x...X.o-" becomes velocities.

Pure functions; any thread.
"""

from __future__ import annotations

from ghostnote.kernels.errors import GhostnoteError

MAX_STEPS = 64
"""Sixteenths in one pattern (four bars of 4/4)."""

_VELOCITY = {".": 0.0, "-": 0.0, " ": 0.0, "o": 0.35, "x": 0.75, "X": 1.0} | {
    str(ninth): ninth / 9 for ninth in range(1, 10)
}


def parse_steps(text: str) -> tuple[float, ...]:
    """Return the velocity of each sixteenth in `text`; 0 is a rest.

    Parameters
    ----------
    text : str
        One character a sixteenth: `.` `-` space rest, `o` ghost (0.35), `x` normal (0.75),
        `X` accent (1.0), 1 to 9 ninths. `|` may mark bars. Empty: no steps.

    >>> parse_steps("x.X|o9")
    (0.75, 0.0, 1.0, 0.35, 1.0)

    Raises
    ------
    GhostnoteError
        For any other character, or more than MAX_STEPS steps.
    """
    # A text far too long must not be copied around in the message about it.
    if len(text) > 4 * MAX_STEPS:
        raise GhostnoteError(f"pattern of {len(text)} characters; at most {MAX_STEPS} steps")
    steps = []
    for position, char in enumerate(text):
        if char == "|":
            continue
        if char not in _VELOCITY:
            raise GhostnoteError(
                f"pattern {text!r}: {char!r} at position {position + 1} is none of x X o 1-9 . - |"
            )
        steps.append(_VELOCITY[char])
    if len(steps) > MAX_STEPS:
        raise GhostnoteError(f"pattern of {len(steps)} steps; at most {MAX_STEPS}")
    return tuple(steps)
