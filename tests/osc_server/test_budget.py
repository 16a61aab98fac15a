"""One packet cannot ask for more than the server does between two others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ghostnote.osc_server import routes
from ghostnote.osc_server.budget import MAX_ANSWERS, MAX_WORK, TOO_MUCH
from ghostnote.osc_server.commands import MAX_STEPS, Op
from ghostnote.osc_server.encode import encode, encode_bundle
from ghostnote.osc_server.osc import MAX_DATAGRAM
from ghostnote.osc_server.patterns import matches
from tests.osc_server.recorder import ROLES, Client, RecordingControl, bundle

EVERY_ROLE = "/ghost/pattern/*/{kick,snare,hat}"


def full(message: Callable[[int], bytes]) -> bytes:
    """Return the largest bundle of message(0), message(1)..."""
    messages: list[bytes] = []
    size = 16
    while size + len(more := message(len(messages))) + 4 <= MAX_DATAGRAM and len(messages) < 4096:
        messages.append(more)
        size += len(more) + 4
    return encode_bundle(messages)


def steps(number: int) -> str:
    """Return the text of a pattern of its own for every number."""
    return format(number, f"0{MAX_STEPS}b").replace("0", "x").replace("1", "X")


def test_patterns_for_all_voices_hundreds_of_times(
    client: Client, control: RecordingControl
) -> None:
    client.say("/ghost/pattern/1", "kick", "xx")
    control.batches.clear()
    packet = full(lambda n: encode(EVERY_ROLE, steps(n)))
    client.dispatcher.receive(packet, client)
    each = len(control.there) * len(ROLES) * (MAX_STEPS + 1)
    done = MAX_WORK // each
    assert len(control.commands) == done * each
    told = client.take()
    assert set(told) == {("/fail", EVERY_ROLE, TOO_MUCH)}
    assert len(told) > 500
    # Of the one that was too much nothing is left: one step is set in the last that was not.
    last = steps(done - 1)
    assert client.value("/ghost/pattern/2/hat") == (last,)
    assert client.say("/ghost/pattern/1/kick/3", 0) == []
    assert client.value("/ghost/pattern/1/kick") == (f"{last[:2]}.{last[3:]}",)
    assert client.say(EVERY_ROLE, steps(0)) == []  # another packet


def test_what_is_too_much_does_not_undo_what_was_not(client: Client) -> None:
    good = encode("/ghost/voice/1/weights/1", 3.0)
    packet = encode_bundle([good] + [encode(EVERY_ROLE, steps(n)) for n in range(9)])
    client.dispatcher.receive(packet, client)
    assert [answer[1] for answer in client.take()] == [EVERY_ROLE] * 2
    assert client.value("/ghost/voice/1/weights") == (0.25, 0.75, 0.0)
    assert client.say("/ghost/voice/1/weights/0", 3.0) == []
    assert client.value("/ghost/voice/1/weights") == (0.5, 0.5, 0.0)


def test_as_many_plain_messages_as_the_engine_takes(
    client: Client, control: RecordingControl
) -> None:
    client.dispatcher.receive(encode_bundle([encode("/ghost/play")] * MAX_WORK), client)
    assert [command.op for command in control.commands] == [Op.PLAY] * MAX_WORK
    assert client.take() == []


@pytest.mark.parametrize("words", [("/ghost/state",), ("/ghost/get", "/ghost/voice/*/*")])
@pytest.mark.parametrize("ahead", [None, 0.5])
def test_answers_are_bounded(
    words: tuple[str, ...], ahead: float | None, client: Client, control: RecordingControl
) -> None:
    messages = [encode(*words)] * 1000
    packet = encode_bundle(messages) if ahead is None else bundle(control, ahead, *messages)
    client.dispatcher.receive(packet, client)
    control.now += 1.0
    client.dispatcher.tick()
    assert sum(map(len, client.datagrams)) <= MAX_ANSWERS + 100
    told = client.take()
    # What is too much to be done is told of each message, that answers are too long once.
    assert [answer for answer in told if answer[0] == "/fail"][-1] == ("/fail", words[0], TOO_MUCH)
    assert len(told) > 10
    assert client.say(*words)[0][0] != "/fail"


def test_refusals_are_bounded(client: Client) -> None:
    name = "/ghost/" + "x" * 200
    packet = full(lambda n: encode(f"{name}{n}"))
    client.dispatcher.receive(packet, client)
    client.dispatcher.receive(full(lambda n: encode("/ghost/tempo", "x", n)), client)
    assert sum(map(len, client.datagrams)) <= 2 * (MAX_ANSWERS + 300)
    assert client.say("/ghost/x") == [("/fail", "/ghost/x", "unknown address")]


def test_searches_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counted(pattern: str, address: str) -> bool:
        compared.append(pattern)
        return matches(pattern, address)

    monkeypatch.setattr(routes, "matches", counted)
    for word in ("/ghost/none/*/{}", "/ghost/voice/*/{}"):
        packet = full(lambda n, word=word: encode(word.format(n)))  # type: ignore[misc]
        client.dispatcher.receive(packet, client)
    client.dispatcher.receive(full(lambda n: encode("/ghost/get", f"/*/*{n}")), client)
    assert 1000 < len(compared) < 3 * 32 * MAX_WORK
