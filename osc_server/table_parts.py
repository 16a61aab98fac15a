"""What the tables of the protocol have in common: limits, and entries of a usual kind.

Plain values; any thread.
"""

from __future__ import annotations

from typing import Final

from .commands import Op
from .encode import Value
from .endpoint import Access, Argument, Endpoint

DEFAULT_VELOCITY: Final = 0.8
SILENT_DB: Final = -90.0
"""Gains at or below it are silence."""

BUTTON: Final = Argument(
    "on", "f", "0 is ignored, as the release of a button", default=1, optional=True
)
VOICE: Final = Argument("voice", "i", "from 1; none: all", low=1, optional=True)
RECORDED: Final = Argument("voice", "i", "from 1; none: the master", low=1, optional=True)
ROLE: Final = Argument("role", "s", "a drum role of the model, such as kick")
MODEL: Final = Argument("name", "s", "a name of /ghost/model/list")
STATE_REPLY: Final = "/ghost/voice/V/state s"


def gain(of: str, address: str, op: Op) -> Endpoint:
    """Return the entry of a level."""
    decibels = Argument(
        "gain", "f", f"{SILENT_DB:g} and below is silence", unit="dB", high=12, default=0.0
    )
    return Endpoint(address, Access.SET, f"Level of {of}.", (decibels,), (-6.0,), op=op)


def trigger(address: str, meaning: str, op: Op | None = None, reply: str = "") -> Endpoint:
    """Return the entry of a plain button."""
    return Endpoint(address, Access.TRIGGER, meaning, (BUTTON,), reply=reply, op=op)


def one(
    address: str, meaning: str, argument: Argument, example: Value, op: Op | None = None
) -> Endpoint:
    """Return the entry of a parameter."""
    return Endpoint(address, Access.SET, meaning, (argument,), (example,), op=op)


def switch(address: str, meaning: str, name: str, op: Op, *, default: bool = False) -> Endpoint:
    """Return the entry of something that is on or off."""
    on = Argument(name, "T", "above 0.5 is on", default=default)
    return one(address, meaning, on, not default, op)
