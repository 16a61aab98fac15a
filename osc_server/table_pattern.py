"""The protocol's addresses of triggers and patterns.

Plain values; any thread.
"""

from __future__ import annotations

from typing import Final

from .commands import MAX_STEPS, Op
from .endpoint import Access, Argument, Endpoint
from .table_parts import DEFAULT_VELOCITY, ROLE, VOICE, one, trigger

_VELOCITY = Argument(
    "velocity",
    "f",
    "how hard; 0 is ignored",
    low=0,
    high=1,
    default=DEFAULT_VELOCITY,
    optional=True,
)
_STEPS = Argument(
    "steps",
    "s",
    f"one character a sixteenth: x normal, X accent, o ghost, 1-9 ninths, . - or space rest, "
    f"| ignored; at most {MAX_STEPS} steps; empty clears",
    default="",
)

TRIGGERS: Final = (
    Endpoint(
        "/ghost/voice/{V}/trig/{ROLE}",
        Access.TRIGGER,
        "Hit a drum, now or at the bundle's timetag.",
        (_VELOCITY,),
        (0.8,),
        op=Op.TRIG,
    ),
    Endpoint(
        "/ghost/trig",
        Access.TRIGGER,
        "Hit a drum: the form for senders with fixed addresses.",
        (ROLE, _VELOCITY, VOICE),
        ("kick", 0.8, 1),
    ),
    Endpoint(
        "/ghost/pattern/{V}",
        Access.COMMAND,
        "Give one role its steps; they play while the transport runs.",
        (ROLE, _STEPS),
        ("kick", "x...x...x...x.o."),
    ),
    Endpoint(
        "/ghost/pattern/{V}/{ROLE}",
        Access.SET,
        "The same with the role in the address; this is where the steps are read.",
        (_STEPS,),
        ("x...x...x...x.o.",),
    ),
    Endpoint(
        "/ghost/pattern/{V}/{ROLE}/length",
        Access.SET,
        "How many of the steps are played before they begin again. New steps set it to their "
        "number.",
        (
            Argument(
                "steps",
                "i",
                "more than there are: rests are added; 0 clears",
                unit="steps",
                low=0,
                high=MAX_STEPS,
                default=0,
            ),
        ),
        (12,),
    ),
    one(
        "/ghost/pattern/{V}/{ROLE}/probability",
        "How likely each step of the role is to be played.",
        Argument("probability", "f", "1: always", low=0, high=1, default=1.0),
        0.75,
        Op.PATTERN_PROBABILITY,
    ),
    one(
        "/ghost/pattern/{V}/{ROLE}/swing",
        "How late every second sixteenth of the role is.",
        Argument(
            "swing", "f", "1: half a sixteenth; 0.67: as triplets", low=0, high=1, default=0.0
        ),
        0.5,
        Op.PATTERN_SWING,
    ),
    Endpoint(
        "/ghost/pattern/{V}/{ROLE}/{STEP}",
        Access.COMMAND,
        f"Set one step, from 1 to {MAX_STEPS}. The velocity becomes the nearest that the steps' "
        "text can tell; a step beyond the end lengthens the pattern to a whole bar.",
        (
            Argument(
                "velocity", "f", "0: a rest", low=0, high=1, default=DEFAULT_VELOCITY, optional=True
            ),
        ),
        (1.0,),
        exact=True,
    ),
    trigger("/ghost/pattern/{V}/clear", "Clear the steps of all roles of the voice."),
)
