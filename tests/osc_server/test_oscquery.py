"""The OSCQuery tree against the protocol's table, and against what the dispatcher takes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import Value
from ghostnote.osc_server.endpoint import Access
from ghostnote.osc_server.oscquery import ATTRIBUTES, Node, Space, answer, nodes, tree
from ghostnote.osc_server.protocol import TABLE
from tests.osc_server.recorder import KITS, ROLES, Client, RecordingControl

EXAMPLES: dict[str, Value] = {"i": 1, "h": 1, "f": 0.5, "d": 0.5, "T": True, "s": "kick"}


@pytest.fixture
def dispatcher() -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(RecordingControl())
    dispatcher.start()
    yield dispatcher
    dispatcher.stop()


def space_of(dispatcher: Dispatcher) -> Space:
    session = dispatcher.session
    routes = session.routes.all()
    values = {route.name: value for route in routes if (value := session.value(route)) is not None}
    return Space(routes, values, session.control.roles, session.kits, 2)


def methods(node: Node) -> Iterator[Node]:
    """Every node that has a type, from the top down."""
    if "TYPE" in node:
        yield node
    for below in node.get("CONTENTS", {}).values():
        yield from methods(below)


def node_of(dispatcher: Dispatcher, address: str) -> Node:
    node = tree(space_of(dispatcher), address)
    assert node is not None
    return node


def test_every_endpoint_is_in_the_tree_and_nothing_else(dispatcher: Dispatcher) -> None:
    root = node_of(dispatcher, "/")
    found = {node["FULL_PATH"] for node in methods(root)}
    assert found == {route.name for route in dispatcher.session.routes.all()}
    for endpoint in TABLE:
        if "{STEP}" in endpoint.address:
            continue  # 64 for each role: read as one text one level higher
        address = endpoint.address.replace("{V}", "2")
        address = address.replace("{ROLE}", ROLES[0]).replace("{KIT}", "0")
        node = node_of(dispatcher, address)
        assert node["DESCRIPTION"].startswith(endpoint.meaning)
        assert (node["ACCESS"] & 2 > 0) == (endpoint.access is not Access.QUERY)


def test_paths_are_where_they_say_and_the_tree_is_json(dispatcher: Dispatcher) -> None:
    def check(node: Node, path: str) -> None:
        assert node["FULL_PATH"] == (path or "/")
        assert set(node) <= set(ATTRIBUTES)
        for name, below in node.get("CONTENTS", {}).items():
            check(below, f"{path}/{name}")

    root = node_of(dispatcher, "/")
    check(root, "")
    assert json.loads(json.dumps(root, allow_nan=False)) == root


def test_every_part_of_the_tree_is_the_same_alone(dispatcher: Dispatcher) -> None:
    space = space_of(dispatcher)

    def check(node: Node) -> None:
        assert tree(space, node["FULL_PATH"]) == node
        for below in node.get("CONTENTS", {}).values():
            check(below)

    check(node_of(dispatcher, "/"))


def test_attributes_of_arguments_have_one_entry_for_each(dispatcher: Dispatcher) -> None:
    for node in methods(node_of(dispatcher, "/")):
        for form in (node, *node.get("OVERLOADS", ())):
            for name in ("RANGE", "UNIT", "CLIPMODE", "EXTENDED_TYPE", "VALUE"):
                if name in form:
                    assert len(form[name]) == len(form["TYPE"]), (node["FULL_PATH"], name)


def fitting(form: Node, usual: Node) -> list[Value]:
    """Arguments that a form says are right; one that is a type only has the usual form's range."""
    ranges = (usual if len(form) == 1 else form).get("RANGE") or [None] * len(form["TYPE"])
    found: list[Value] = []
    for tag, limits in zip(form["TYPE"], ranges, strict=True):
        if limits and "VALS" in limits:
            found.append(limits["VALS"][0])
        elif limits and tag != "T":
            number = limits.get("MIN", limits.get("MAX"))
            found.append(math.ceil(number) if tag in "ih" else number)
        elif tag != "I":
            found.append(EXAMPLES[tag])
    return found


DANGEROUS = ("/ghost/quit", "/ghost/voice/1/free", "/ghost/voice/2/free", "/ghost/voice/new")


def refusal(client: Client, address: str, values: list[Value], tags: str) -> str:
    """Why a message is refused by the table: what files and folders say of it is no matter."""
    answers = client.say(address, *values, tags=tags)
    if address == "/ghost/error":
        client.say(address, 1)  # it may just have been told to be quiet
    for message in answers:
        if message[0] == "/fail" and message[1] == address:
            return str(message[2])
    return ""


def test_every_form_is_taken(dispatcher: Dispatcher) -> None:
    client = Client(dispatcher)
    for node in methods(node_of(dispatcher, "/")):
        address = node["FULL_PATH"]
        if address in DANGEROUS or not node["ACCESS"] & 2:
            continue
        for form in (node, *node.get("OVERLOADS", ())):
            values = fitting(form, node)
            tags = form["TYPE"].replace("I", "")
            reason = refusal(client, address, values, tags if values else "")
            for word in ("takes", "wants", "not within", "arrays"):
                assert word not in reason, (address, form["TYPE"], values, reason)


def test_ends_of_ranges_are_taken_and_what_lies_beyond_is_not(dispatcher: Dispatcher) -> None:
    client = Client(dispatcher)
    checked = 0
    for node in methods(node_of(dispatcher, "/")):
        address, ranges = node["FULL_PATH"], node.get("RANGE", ())
        if address in DANGEROUS or not node["ACCESS"] & 2:
            continue
        for place, limits in enumerate(ranges):
            for end, step in (("MIN", -1), ("MAX", 1)):
                if not limits or end not in limits:
                    continue
                values = fitting(node, node)
                values[place] = limits[end]
                assert "within" not in refusal(client, address, values, node["TYPE"])
                clipped = (node.get("CLIPMODE") or [None] * len(ranges))[place]
                beyond: Any = limits[end] + step
                if node["TYPE"][place] == "h" and not 0 <= beyond < 2**63:
                    continue  # no message can hold it
                values[place] = beyond
                refused = bool(refusal(client, address, values, node["TYPE"]))
                should = clipped not in ("both", {"MIN": "low", "MAX": "high"}[end])
                assert refused == should, (address, values)
                checked += 1
    assert checked > 50


def test_the_only_values_are_the_only_values(dispatcher: Dispatcher) -> None:
    client = Client(dispatcher)
    checked = 0
    for node in methods(node_of(dispatcher, "/")):
        for place, limits in enumerate(node.get("RANGE", ())):
            if limits and "VALS" in limits and node["ACCESS"] & 2:
                values = fitting(node, node)
                values[place] = "no such value"
                assert refusal(client, node["FULL_PATH"], values, node["TYPE"])
                checked += 1
    assert checked >= 5


def test_usual_nodes(dispatcher: Dispatcher) -> None:
    assert node_of(dispatcher, "/ghost/voice/1/play")["TYPE"] == "I"
    kit = node_of(dispatcher, "/ghost/voice/1/kit")
    assert (kit["TYPE"], kit["RANGE"]) == ("s", [{"VALS": list(KITS)}])
    assert kit["OVERLOADS"][0]["TYPE"] == "i"
    weights = node_of(dispatcher, "/ghost/voice/1/weights")
    assert weights["TYPE"] == "f" * len(KITS)
    assert len(weights["CONTENTS"]) == len(KITS)
    tempo = node_of(dispatcher, "/ghost/tempo")
    assert (tempo["UNIT"], tempo["ACCESS"], tempo["VALUE"]) == (["time.bpm"], 3, [120.0])
    gain = node_of(dispatcher, "/ghost/master/gain")
    assert (gain["UNIT"], gain["CLIPMODE"]) == (["gain.db"], ["low"])
    hit = node_of(dispatcher, "/ghost/voice/1/trig/kick")
    assert (hit["TYPE"], hit["RANGE"], hit["ACCESS"]) == ("f", [{"MIN": 0.0, "MAX": 1.0}], 2)
    state = node_of(dispatcher, "/ghost/voice/1/state")
    assert (state["TYPE"], state["ACCESS"], state["VALUE"]) == ("s", 1, ["idle"])
    assert node_of(dispatcher, "/ghost/record/start")["CRITICAL"] is True
    assert "CRITICAL" not in tempo


def test_outputs_are_those_of_this_server(dispatcher: Dispatcher) -> None:
    assert node_of(dispatcher, "/ghost/voice/1/out")["RANGE"] == [{"MIN": 1, "MAX": 2}]


def test_silence_is_a_number(dispatcher: Dispatcher) -> None:
    Client(dispatcher).say("/ghost/master/gain", float("-inf"))
    assert answer(space_of(dispatcher), "/ghost/master/gain", ["VALUE"]) == (
        200,
        {"VALUE": [-90.0]},
    )


def test_nodes_are_all_that_is_above_an_address() -> None:
    assert nodes([]) == set()
    assert nodes(["/a/b", "/a"]) == {"/a", "/a/b"}
