"""What is told to those who ask for it: meters, beats, errors, the state."""

from __future__ import annotations

import json
import math

import pytest

from ghostnote.osc_server.clients import LEASE_SECONDS, MAX_CLIENTS
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import Value, encode
from tests.osc_server.recorder import Client, Clock, RecordingControl, bundle

MASTER = ("/ghost/master/meter", 0.75, 0.5, 0.25, 0.125, 3)


def run(client: Client, clock: Clock, seconds: float, step: float = 0.01) -> None:
    """Let the server tick for so long."""
    for _ in range(round(seconds / step)):
        clock.now += step
        client.dispatcher.tick()


def test_meters_of_all_voices(client: Client, clock: Clock) -> None:
    assert client.say("/ghost/notify/meters", 1) == [("/done", "/ghost/notify/meters")]
    client.dispatcher.tick()
    assert client.take() == [
        MASTER,
        ("/ghost/meter", 1, 0.5, 0.25),
        ("/ghost/meter", 2, 0.5, 0.25),
    ]
    client.slow("/ghost/voice/new")
    clock.now += 1
    client.dispatcher.tick()
    assert len(client.take()) == 4


@pytest.mark.parametrize("hz", [1, 20, 30])
def test_meters_come_as_often_as_asked(hz: int, client: Client, clock: Clock) -> None:
    client.say("/ghost/notify/meters", 1, hz)
    run(client, clock, 4.0)
    assert abs(client.take().count(MASTER) - 4 * hz) <= 1


def test_meters_never_come_more_often_than_30_times_a_second(client: Client, clock: Clock) -> None:
    address = "/ghost/notify/meters"
    assert client.say(address, 1, 31) == [("/fail", address, "hz: 31 is not within 0.1 to 30 Hz")]
    for _ in range(100):  # asking again and again brings no more
        client.dispatcher.receive(encode(address, 1, 30), client)
        run(client, clock, 0.01)
    assert client.take().count(MASTER) <= 31


def test_meters_end_with_the_lease_or_at_wish(client: Client, clock: Clock) -> None:
    client.say("/ghost/notify/meters", 1)
    clock.now += LEASE_SECONDS
    client.dispatcher.tick()
    assert client.take() == []
    client.say("/ghost/notify/meters", 1)
    assert client.say("/ghost/notify/meters", 0) == [("/done", "/ghost/notify/meters")]
    run(client, clock, 1.0)
    assert client.take() == []


def test_meters_do_not_come_to_others(client: Client, clock: Clock) -> None:
    other = Client(client.dispatcher, "client b")
    client.say("/ghost/notify/meters", 1)
    other.say("/ghost/notify", 1)
    client.dispatcher.tick()
    other.take()
    run(client, clock, 1.0)
    assert other.take() == []


def test_leases_are_bounded(client: Client) -> None:
    for number in range(MAX_CLIENTS):
        Client(client.dispatcher, str(number)).say("/ghost/notify/meters", 1)
    ((fail, _, reason),) = client.say("/ghost/notify/meters", 1)
    assert fail == "/fail"
    assert "follow already" in str(reason)


def test_beat(client: Client, control: RecordingControl, clock: Clock) -> None:
    four = Client(client.dispatcher, "client b")
    client.say("/ghost/notify/beat", 1)
    four.say("/ghost/notify/beat", 1, 4)
    four.take()
    run(client, clock, 0.1)
    assert client.take() == []  # it does not roll
    control.rolling = True
    for tick in range(400):  # 4 s at 60 bpm
        control.beat = tick / 100
        run(client, clock, 0.01)
    told = [answer[1] for answer in client.take()]
    assert told == [0.0, 1.0, 2.0, 3.0]
    assert len(four.take()) == 16
    # A tick that comes late tells where the beat is then, once.
    control.beat = 7.25
    run(client, clock, 0.01)
    assert client.take() == [("/ghost/beat", 7.25)]


def test_a_client_that_wants_no_errors(client: Client, control: RecordingControl) -> None:
    assert client.say("/ghost/error", 0) == []
    assert client.say("/ghost/tempo", 0) == []
    client.dispatcher.receive(bundle(control, -1.0, encode("/ghost/play")), client)
    assert client.take() == []
    other = Client(client.dispatcher, "client b")
    assert other.say("/ghost/tempo", 0)[0][0] == "/fail"
    assert client.slow("/ghost/model/load", "gone") == []
    client.say("/ghost/error", 1)
    assert client.say("/ghost/tempo", 0)[0][0] == "/fail"


def test_what_is_known_of_quiet_clients_is_bounded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostnote.osc_server.session.MAX_QUIET", 3)
    crowd = [Client(client.dispatcher, str(number)) for number in range(5)]
    for one in crowd:
        one.say("/ghost/error", 0)
    heard = [bool(one.say("/ghost/nothing")) for one in crowd]
    assert heard == [True, True, False, False, False]


def test_a_client_that_is_gone_is_told_nothing(client: Client, clock: Clock) -> None:
    for address in ("/ghost/notify", "/ghost/notify/meters", "/ghost/notify/beat"):
        client.say(address, 1)
    client.say("/ghost/voice/1/play")
    client.say("/ghost/error", 0)
    client.dispatcher.gone(client)
    run(client, clock, 1.0)
    assert client.take() == []
    assert client.say("/ghost/nothing")[0][0] == "/fail"


def test_sink_is_told(client: Client, clock: Clock) -> None:
    client.say("/ghost/notify", 1)
    client.dispatcher.tick()
    client.take()
    clock.now += 1
    client.dispatcher.tell("/ghost/sink", "jack: the server was shut down")
    client.dispatcher.tick()
    assert client.take() == [("/ghost/sink", "jack: the server was shut down")]


def test_state_is_everything(client: Client, control: RecordingControl) -> None:
    client.say("/ghost/voice/2/gain", -math.inf)
    client.say("/ghost/voice/1/weights/1", 3.0)
    client.say("/ghost/pattern/1", "hat", "x.x.")
    client.say("/ghost/tempo", 90.0)
    control.rolling, control.beat, control.tempo = True, 5.5, 90.0
    ((address, text),) = client.say("/ghost/state")
    assert address == "/ghost/state.reply"
    state = json.loads(str(text))
    assert state["version"] == "0.1.0"
    assert state["transport"] == {"rolling": True, "beat": 5.5, "tempo": 90.0}
    assert state["settings"]["tempo"] == 90.0
    assert state["settings"]["master/limiter"] is True
    assert state["settings"]["sync/source"] == "internal"
    one, two = state["voices"]["1"], state["voices"]["2"]
    assert one["model"] == "default"
    assert one["settings"]["weights"] == [1.0, 3.0, 0.0]
    assert one["settings"]["pattern/hat"] == "x.x."
    assert two["settings"]["gain"] == -90.0
    assert "pattern/kick" not in two["settings"]


def test_state_too_long_for_a_packet(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostnote.osc_server.handlers_server.LONGEST_ANSWER", 100)
    ((fail, _, reason),) = client.say("/ghost/state")
    assert (fail, reason) == ("/fail", "too long for one packet; ask for parts with /ghost/get")


def test_get_of_what_has_a_value_without_being_set(client: Client) -> None:
    assert client.value("/ghost/rolling") == (False,)
    assert client.value("/ghost/voice/1/model") == ("default",)
    assert client.say("/ghost/voice/2/model") == [("/ghost/voice/2/model", "default")]
    assert client.say("/ghost/rolling") == [("/ghost/rolling", False)]


def test_state_is_answered_when_it_changes(
    client: Client, control: RecordingControl, clock: Clock
) -> None:
    client.dispatcher.tick()
    client.say("/ghost/voice/1/play")
    client.dispatcher.tick()
    assert client.take() == []
    control.states[0] = "playing"
    client.dispatcher.tick()
    assert client.take() == [("/ghost/voice/1/state", "playing")]
    client.say("/ghost/voice/1/play")  # changes nothing, but is answered all the same
    clock.now += 1
    client.dispatcher.tick()
    assert client.take() == [("/ghost/voice/1/state", "playing")]
    client.dispatcher.tick()
    assert client.take() == []


def test_followers_hear_states(client: Client, control: RecordingControl, clock: Clock) -> None:
    client.say("/ghost/notify", 1)
    client.dispatcher.tick()
    client.take()
    control.states[1] = "starved"
    clock.now += 1
    client.dispatcher.tick()
    assert client.take() == [("/ghost/voice/2/state", "starved")]


def test_notify(client: Client, control: RecordingControl, clock: Clock) -> None:
    follower = Client(client.dispatcher, "client b")
    assert client.say("/ghost/notify", 1) == [("/done", "/ghost/notify", 1, 32)]
    assert follower.say("/ghost/notify", 1, 5, 100.0) == [("/done", "/ghost/notify", 5, 32)]
    client.dispatcher.tick()
    client.take()
    follower.take()
    client.say("/ghost/voice/1/gain", -3)
    client.say("/ghost/voice/1/gain", -6)
    clock.now += 1
    client.dispatcher.tick()
    assert client.take() == []  # no echo
    assert follower.take() == [("/ghost/voice/1/gain", -6.0)]
    client.say("/ghost/voice/1/gain", -6)  # no change
    clock.now += 1
    client.dispatcher.tick()
    assert follower.take() == []
    assert follower.say("/ghost/notify", 0) == [("/done", "/ghost/notify", 5, 32)]


def test_a_level_far_below_silence_is_told_as_silence(client: Client, clock: Clock) -> None:
    """A 64-bit number that 32 bits do not hold was kept as it was, and could be told to nobody."""
    follower = Client(client.dispatcher, "client b")
    follower.say("/ghost/notify", 1)
    for address in ("/ghost/voice/1/gain", "/ghost/master/gain"):
        assert client.say(address, -1e300, tags="d") == []
        assert client.value(address) == (-90.0,)
    clock.now += 1
    client.dispatcher.tick()
    assert set(follower.take()) >= {("/ghost/voice/1/gain", -90.0), ("/ghost/master/gain", -90.0)}


def test_followers_hear_of_a_model(client: Client, clock: Clock) -> None:
    follower = Client(client.dispatcher, "client b")
    for one in (client, follower):
        one.say("/ghost/notify", 1)

    def told() -> list[tuple[Value, ...]]:
        clock.now += 1
        client.dispatcher.tick()
        heard = follower.take()
        return [answer for answer in heard if str(answer[0]).endswith("/model")]

    told()
    client.slow("/ghost/model/load", "other", 2)
    assert told() == [("/ghost/voice/2/model", "other")]
    client.slow("/ghost/model/load", "other", 2)
    assert told() == []
    client.slow("/ghost/voice/new", "kit", 3)
    assert told() == [("/ghost/voice/3/model", "kit")]
    client.slow("/ghost/preset/save", "a")
    client.slow("/ghost/model/load", "default")
    told()
    client.slow("/ghost/preset/load", "a")
    assert told() == [("/ghost/voice/2/model", "other"), ("/ghost/voice/3/model", "kit")]


def test_watchers_are_told_changes_and_who_made_them(
    dispatcher: Dispatcher, control: RecordingControl
) -> None:
    told: list[tuple[object, ...]] = []
    dispatcher.session.watch(
        lambda address, values, peer: told.append((address, *values, peer and peer.name))
    )
    client = Client(dispatcher, "client w")
    client.say("/ghost/voice/1/pan", 0.5)
    client.say("/ghost/voice/1/pan", 0.5)
    control.states[1] = "playing"
    dispatcher.tick()
    dispatcher.tick()
    assert told[0] == ("/ghost/voice/1/pan", 0.5, "client w")
    assert [entry for entry in told if entry[1] == "playing"] == [
        ("/ghost/voice/2/state", "playing", None)
    ]
    assert sum(entry[0] == "/ghost/voice/1/pan" for entry in told) == 1


def test_tree_watchers_are_told_what_comes_and_goes(dispatcher: Dispatcher, client: Client) -> None:
    told: list[tuple[frozenset[str], frozenset[str]]] = []
    dispatcher.session.watch_tree(lambda added, removed: told.append((added, removed)))
    client.say("/ghost/model/load", "other", 1)
    dispatcher.stop()
    assert told == [(frozenset(), frozenset({"/ghost/voice/1/weights/2"}))]


def test_a_client_that_is_gone_has_no_lease(dispatcher: Dispatcher) -> None:
    client = Client(dispatcher, "client g")
    client.say("/ghost/notify", 1)
    dispatcher.gone(client)
    Client(dispatcher, "another").say("/ghost/voice/1/pan", 0.5)
    dispatcher.tick()
    assert client.take() == []
    dispatcher.gone(client)
