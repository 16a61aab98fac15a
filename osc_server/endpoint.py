"""What an address of the protocol is: its arguments, its ranges, what a message to it does.

Plain values; any thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from .commands import Op
from .encode import Value


class Access(Enum):
    """What a message to an address does."""

    SET = "set"  # a parameter: has a value, which /ghost/get tells and /ghost/notify follows
    TRIGGER = "trigger"  # happens; a single argument 0 (a button's release) is ignored
    COMMAND = "command"  # does something with its arguments, or answers
    QUERY = "query"  # a value that can only be read


@dataclass(frozen=True)
class Argument:
    """One argument: its name, its type tag, and what it may be.

    Parameters
    ----------
    tag : str
        i, h, f, d, T (bool), s, or si: a name or its number. Numbers of any type are taken for
        each other.
    low, high : float
        The range of a number, both ends included.
    default : value or None
        Of a parameter: what it is at the start. Of an optional argument: what its absence means.
    optional, many : bool
        May be left out; may come any number of times (the last argument only).
    values : tuple of str
        All that a string may be; empty: any.
    """

    name: str
    tag: str
    meaning: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    default: Value | None = None
    optional: bool = False
    many: bool = False
    values: tuple[str, ...] = ()

    @property
    def is_level(self) -> bool:
        """Whether it is a level in dB, which has no lowest one: far down all are silence."""
        return self.unit == "dB" and self.low == -math.inf


@dataclass(frozen=True)
class Endpoint:
    """One address.

    Parameters
    ----------
    address : str
        Template: {V} voice from 1, {ROLE} role name, {KIT} kit name or number from 0, {STEP} step
        from 1.
    example : tuple
        Arguments that it takes.
    reply : str
        What goes back to the sender, besides `/fail`.
    op : Op or None
        The engine command that it becomes, where that is a plain one.
    exact : bool
        Never matched by an address pattern.
    """

    address: str
    access: Access
    meaning: str
    arguments: tuple[Argument, ...] = ()
    example: tuple[Value, ...] = ()
    reply: str = ""
    op: Op | None = None
    exact: bool = False

    @cached_property
    def fewest(self) -> int:
        """How many arguments it takes at least."""
        return sum(not argument.optional for argument in self.arguments)

    @cached_property
    def most(self) -> float:
        """How many arguments it takes at most."""
        repeats = self.arguments and self.arguments[-1].many
        return math.inf if repeats else len(self.arguments)
