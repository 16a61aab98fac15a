"""The arguments of a message, checked and converted to what the table asks for.

Pure functions; any thread.
"""

from __future__ import annotations

import math

from ghostnote.kernels.errors import GhostnoteError

from .encode import Value
from .endpoint import Argument, Endpoint
from .osc import Impulse, OscMessage
from .table_parts import SILENT_DB

_NUMBERS = frozenset("ifdhTF")
_WANTS = {"s": "a string", "si": "a name or a number"}


def convert(endpoint: Endpoint, message: OscMessage) -> tuple[Value | None, ...]:
    """Return one value per argument of `endpoint`, or more where the last may repeat.

    Numbers i f d h T F are taken for each other: a bool is a number above 0.5, an int is rounded.
    A lone impulse (type I) counts as no argument. An optional argument that is missing becomes
    its default. Levels below SILENT_DB, which are all the same silence, become SILENT_DB.

    Raises
    ------
    GhostnoteError
        For a wrong number or type of arguments, NaN, or a value out of range; the message names
        the argument.
    """
    wanted = endpoint.arguments
    given, tags = message.args, message.typetags
    if len(given) != len(tags):
        raise GhostnoteError("arrays are not taken")
    if given == (Impulse.IMPULSE,):
        given, tags = (), ""
    count = len(given)
    if not endpoint.fewest <= count <= endpoint.most:
        raise GhostnoteError(f"takes {signature(endpoint) or 'no arguments'}; got {count}")
    if count > len(wanted):
        wanted += wanted[-1:] * (count - len(wanted))
    values: tuple[Value | None, ...] = tuple(map(_convert_one, wanted, tags, given))
    if count < len(wanted):
        values += tuple(argument.default for argument in wanted[count:])
    return values


def signature(endpoint: Endpoint) -> str:
    """Return the arguments of `endpoint` as people write them.

    >>> from .protocol import TABLE
    >>> signature(next(e for e in TABLE if e.address == "/ghost/trig"))
    's role [f velocity] [i voice]'
    """
    parts = []
    for argument in endpoint.arguments:
        text = f"{argument.tag.replace('si', 's|i')} {argument.name}{'...' * argument.many}"
        parts.append(f"[{text}]" if argument.optional else text)
    return " ".join(parts)


def _convert_one(argument: Argument, tag: str, value: object) -> Value:
    name = argument.name
    if isinstance(value, str) and tag in "sS" and argument.tag in ("s", "si"):
        if argument.values and value not in argument.values:
            shown = value if len(value) <= 40 else value[:37] + "..."
            raise GhostnoteError(f"{name}: {shown!r} is none of {', '.join(argument.values)}")
        return value
    if argument.tag == "s" or tag not in _NUMBERS or not isinstance(value, int | float):
        wants = _WANTS.get(argument.tag, "a number")
        raise GhostnoteError(f"{name}: wants {wants}, got type {tag}")
    if argument.tag == "T":
        if math.isnan(value):
            raise GhostnoteError(f"{name}: is not a number")
        return value > 0.5
    if not argument.low <= value <= argument.high:  # NaN is in no range
        unit = f" {argument.unit}" if argument.unit else ""
        raise GhostnoteError(
            f"{name}: {value:g} is not within {argument.low:g} to {argument.high:g}{unit}"
        )
    if argument.is_level and value < SILENT_DB:
        return SILENT_DB
    if argument.tag == "f":
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise GhostnoteError(f"{name}: {value:g} is no whole number")
    if not -(2**63) <= value < 2**63:  # which no answer could tell
        raise GhostnoteError(f"{name}: {value:g} is too large")
    return round(value)
