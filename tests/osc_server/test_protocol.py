"""The table: every example is taken, every address is documented, none is a stub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from ghostnote.osc_server.control import StatusReply, VersionReply
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.endpoint import Access, Endpoint
from ghostnote.osc_server.handlers_server import STATUS_TAGS, VERSION_TAGS
from ghostnote.osc_server.protocol import REPLIES, TABLE
from ghostnote.osc_server.reference import example, page
from ghostnote.osc_server.scene import Scene
from tests.osc_server.recorder import KITS, Client, RecordingControl

DOCS = Path(__file__).parents[2] / "docs" / "osc.md"


@pytest.fixture
def control() -> RecordingControl:
    return RecordingControl()


@pytest.fixture
def client(control: RecordingControl, tmp_path: Path) -> Iterator[Client]:
    dispatcher = Dispatcher(control, clock=lambda: 0.0, presets=tmp_path)
    dispatcher.start()
    for name in ("verse", "chorus"):
        dispatcher.session.presets.save(name, Scene())
    control.batches.clear()
    yield Client(dispatcher)
    dispatcher.stop()


@pytest.mark.parametrize("endpoint", TABLE, ids=lambda e: e.address)
def test_example_is_taken(endpoint: Endpoint, client: Client, control: RecordingControl) -> None:
    values = endpoint.example
    if endpoint.arguments and endpoint.arguments[-1].many:
        values = values[:1] * len(KITS)
    answers = client.say(example(endpoint), *values)
    client.dispatcher.stop()  # runs what is left to the worker
    client.dispatcher.tick()
    answers += client.take()
    assert not [answer for answer in answers if answer[0] == "/fail"]
    if endpoint.reply.startswith("/done"):
        assert [answer[:2] for answer in answers].count(("/done", example(endpoint))) == 1
    assert answers or control.batches or not (endpoint.reply or endpoint.op is not None)


@pytest.mark.parametrize("endpoint", TABLE, ids=lambda e: e.address)
def test_wrong_types_are_refused(
    endpoint: Endpoint, client: Client, control: RecordingControl
) -> None:
    if not endpoint.arguments:
        answers = client.say(example(endpoint), 1, 2, 3)
    else:
        wrong = 1 if endpoint.arguments[0].tag == "s" else "wrong"
        answers = client.say(example(endpoint), wrong)
    assert [answer[:2] for answer in answers] == [("/fail", example(endpoint))]
    assert control.batches == []


def test_reference_page_is_up_to_date() -> None:
    assert DOCS.read_text() == page(), (
        "python -m ghostnote.osc_server.protocol > docs/osc.md was not run"
    )


def test_reference_page_has_every_address() -> None:
    for endpoint in TABLE:
        address = endpoint.address.replace("{", "").replace("}", "")
        assert re.search(rf"^### `{re.escape(address)}[ `]", page(), re.MULTILINE)


def test_addresses_are_legal_and_unique() -> None:
    addresses = [endpoint.address for endpoint in TABLE]
    assert len(set(addresses)) == len(addresses)
    for address in addresses:
        assert re.fullmatch(r"(/[a-zA-Z]+|/\{(V|ROLE|KIT|STEP)\})+", address)


def test_every_parameter_can_be_set_by_one_argument() -> None:
    for endpoint in TABLE:
        if endpoint.access is Access.SET:
            assert len(endpoint.arguments) == 1


def test_defaults_lie_in_their_ranges() -> None:
    for endpoint in TABLE:
        for argument in endpoint.arguments:
            if isinstance(argument.default, int | float):
                assert argument.low <= argument.default <= argument.high


@pytest.mark.parametrize(
    ("kind", "address", "tags"),
    [
        (StatusReply, "/ghost/status.reply", STATUS_TAGS),
        (VersionReply, "/ghost/version.reply", VERSION_TAGS),
    ],
)
def test_replies_are_as_documented(kind: type, address: str, tags: str) -> None:
    (documented,) = (arguments for a, arguments, _ in REPLIES if a == address)
    names = [field.name for field in fields(kind)]
    assert documented == " ".join(f"{tag} {name}" for tag, name in zip(tags, names, strict=True))
