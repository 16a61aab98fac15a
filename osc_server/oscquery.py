"""The address space as an OSCQuery tree, made from the protocol's one table.

Pure functions; any thread. Source: the OSCQuery proposal, github.com/Vidvox/OSCQueryProposal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from .encode import Value
from .endpoint import Access, Argument, Endpoint
from .routes import Route
from .table_parts import BUTTON, SILENT_DB

Node: TypeAlias = dict[str, Any]
"""What JSON calls an object."""

ATTRIBUTES: Final = (
    "FULL_PATH",
    "CONTENTS",
    "TYPE",
    "ACCESS",
    "VALUE",
    "RANGE",
    "DESCRIPTION",
    "TAGS",
    "EXTENDED_TYPE",
    "UNIT",
    "CRITICAL",
    "CLIPMODE",
    "OVERLOADS",
)
OPTIONAL: Final = (*ATTRIBUTES[3:], "HTML", "LISTEN", "PATH_CHANGED", "PATH_ADDED", "PATH_REMOVED")

_ACCESS = {Access.SET: 3, Access.TRIGGER: 2, Access.COMMAND: 2, Access.QUERY: 1}
_UNITS = {
    "dB": "gain.db",
    "s": "time.second",
    "ms": "time.ms",
    "Hz": "time.hz",
    "bpm": "time.bpm",
}
_NUMBERS = "fidhT"
_ROOT = "ghostnote: a neural network played like a drum machine"

_Form: TypeAlias = tuple[tuple[Argument, str], ...]  # arguments, each with one tag


@dataclass(frozen=True)
class Space:
    """All that a tree is made of: what exists, what its values are, and what names there are.

    `kits` holds the kit names by voice, from 0. `outputs` is how many pairs of them there are.
    """

    routes: Sequence[Route]
    values: Mapping[str, tuple[Value, ...]]
    roles: Sequence[str]
    kits: Mapping[int, Sequence[str]]
    outputs: int


@dataclass(frozen=True)
class Host:
    """Where the server is reached."""

    name: str
    address: str
    udp_port: int
    tcp_port: int
    http_port: int


def host_info(host: Host) -> Node:
    """Return the answer to ?HOST_INFO; OSC_TCP_PORT is ours, for TCP beside UDP."""
    return {
        "NAME": host.name,
        "EXTENSIONS": dict.fromkeys(OPTIONAL, True),
        "OSC_IP": host.address,
        "OSC_PORT": host.udp_port,
        "OSC_TRANSPORT": "UDP",
        "OSC_TCP_PORT": host.tcp_port,
        "WS_IP": host.address,
        "WS_PORT": host.http_port,
    }


def answer(space: Space, path: str, attributes: Sequence[str]) -> tuple[int, Node | None]:
    """Return the HTTP status and, with 200, the JSON object for a node or some of its attributes.

    204: a value that cannot be read; 400: an unknown attribute; 404: no such node.
    """
    node = tree(space, path, deep=not attributes or "CONTENTS" in attributes)
    if node is None:
        return 404, None
    if not attributes:
        return 200, node
    if not set(attributes) <= set(ATTRIBUTES):
        return 400, None
    if "VALUE" in attributes and not node["ACCESS"] & 1:
        return 204, None
    return 200, {name: node[name] for name in attributes if name in node}


def tree(space: Space, path: str = "/", *, deep: bool = True) -> Node | None:
    """Return the node at `path` with all below it (unless not `deep`), None where there is none."""
    path = path.rstrip("/")
    root: Node | None = None
    for route in space.routes:
        if route.name == path or route.name.startswith(path + "/"):
            root = root or _container(path)
            parts = route.name[len(path) + 1 :].split("/")
            if route.name == path:
                root |= _method(route, space)
            elif deep:
                _attach(root, path, parts, _method(route, space))
    return root


def nodes(addresses: Iterable[str]) -> set[str]:
    """Return the paths of `addresses` and of everything above them but the root.

    >>> sorted(nodes(["/a/b/c", "/a/d"]))
    ['/a', '/a/b', '/a/b/c', '/a/d']
    """
    found: set[str] = set()
    for address in addresses:
        while address and address not in found:
            found.add(address)
            address = address.rpartition("/")[0]
    return found


def _container(path: str) -> Node:
    node: Node = {"FULL_PATH": path or "/", "ACCESS": 0}
    return node if path else {"DESCRIPTION": _ROOT, **node}


def _attach(node: Node, path: str, parts: list[str], method: Node) -> None:
    """Put `method` where `parts` lead from `node`; what was put there before keeps its contents."""
    for part in parts:
        path = f"{path}/{part}"
        node = node.setdefault("CONTENTS", {}).setdefault(part, _container(path))
    node |= method


def _method(route: Route, space: Space) -> Node:
    endpoint = route.endpoint
    kits = space.kits.get(route.voice, ())
    first, *others = _forms(endpoint, len(kits))
    tags = [endpoint.access.value, *route.name.split("/")[2:3]]
    node: Node = {
        "FULL_PATH": route.name,
        "DESCRIPTION": _description(endpoint),
        "ACCESS": _ACCESS[endpoint.access],
        "TAGS": tags,
        **_form(first, space, kits),
    }
    if others:
        # One that only converts its single argument needs no more than its type.
        bare = len(first) == 1
        node["OVERLOADS"] = [
            {"TYPE": form[0][1]}
            if bare and len(form) == 1 and endpoint.arguments[0].tag != "si"
            else _form(form, space, kits)
            for form in others
        ]
    if endpoint.reply.startswith("/done"):
        node["CRITICAL"] = True  # it does something slow, or for good, and says so
    if route.name in space.values:
        node["ACCESS"] |= 1
        node["VALUE"] = list(space.values[route.name])
    return node


def _description(endpoint: Endpoint) -> str:
    told = [f"{a.name}: {a.meaning}." for a in endpoint.arguments if a is not BUTTON]
    return " ".join([endpoint.meaning, *told])


def _forms(endpoint: Endpoint, kits: int) -> list[_Form]:
    """Return the types of arguments that an endpoint takes, the usual ones first."""
    if endpoint.access is Access.QUERY:
        _, *tags = endpoint.reply.split()
        return [tuple((Argument("value", tag, endpoint.meaning), tag) for tag in tags)]
    impulse: _Form = ((Argument("impulse", "I", ""), "I"),)
    arguments = endpoint.arguments
    if arguments == (BUTTON,):
        return [impulse, *(((BUTTON, tag),) for tag in "fiT")]
    if arguments[-1].many:
        arguments += arguments[-1:] * (kits - len(arguments))
    forms: list[_Form] = []
    for count in range(max(endpoint.fewest, 1), len(arguments) + 1):
        if arguments[0].many and count < len(arguments):
            continue
        given = arguments[:count]
        forms.append(tuple((argument, argument.tag[0]) for argument in given))
        if any(argument.tag == "si" for argument in given):
            forms.append(tuple((argument, argument.tag[-1]) for argument in given))
        if count == 1 and given[0].tag in _NUMBERS:
            one = given[0]
            as_switch = one.low <= 0 and one.high >= 1  # else neither T nor F is in its range
            others = _NUMBERS if as_switch else _NUMBERS[:-1]
            forms += [((one, tag),) for tag in others if tag != one.tag]
    return [*forms, impulse] if endpoint.fewest == 0 else forms


def _form(form: _Form, space: Space, kits: Sequence[str]) -> Node:
    """Return the attributes that have one entry per argument."""
    columns: Node = {
        "RANGE": [_range(argument, tag, space, kits) for argument, tag in form],
        "UNIT": [_UNITS.get(a.unit, a.unit) or None for a, _ in form],
        "CLIPMODE": ["low" if a.is_level and tag != "T" else None for a, tag in form],
        "EXTENDED_TYPE": [a.name if tag != "I" else None for a, tag in form],
    }
    told = {name: column for name, column in columns.items() if any(column)}
    return {"TYPE": "".join(tag for _, tag in form), **told}


def _range(argument: Argument, tag: str, space: Space, kits: Sequence[str]) -> Node | None:
    if argument.tag == "si":
        return {"VALS": list(kits)} if tag == "s" else {"MIN": 0, "MAX": len(kits) - 1}
    if argument.values or argument.name == "role":
        return {"VALS": list(argument.values or space.roles)}
    if tag not in "fidh":
        return None
    low, high = argument.low, argument.high
    if argument.is_level:
        low = SILENT_DB
    if argument.name == "pair":
        high = space.outputs
    whole = argument.tag in "ih"
    ends = (("MIN", low), ("MAX", high))
    return {k: int(v) if whole else float(v) for k, v in ends if math.isfinite(v)} or None
