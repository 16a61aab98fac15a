"""Voices that come and go: their addresses, their defaults, what is said of those not there."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from ghostnote.osc_server.commands import FRAME_NOW, Command, Op
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import Value, encode
from tests.osc_server.recorder import KITS, RATE, Client, Clock, RecordingControl, bundle


def test_new_voice_takes_the_lowest_free_number(client: Client, control: RecordingControl) -> None:
    assert client.say("/ghost/voice/3/gain", -6) == [
        ("/fail", "/ghost/voice/3/gain", "unknown voice 3; there are 1, 2")
    ]
    assert client.slow("/ghost/voice/new") == [("/done", "/ghost/voice/new", 3)]
    assert client.slow("/ghost/voice/new", "other") == [("/done", "/ghost/voice/new", 4)]
    assert client.value("/ghost/voice/3/model") == ("default",)
    assert client.value("/ghost/voice/4/model") == ("other",)
    assert client.say("/ghost/voice/3/gain", -6) == []
    assert client.say("/ghost/voice/4/kit", "new") == []
    assert client.slow("/ghost/voice/new") == [
        ("/fail", "/ghost/voice/new", "there are 4 voices; free one first")
    ]


def test_new_voice_of_a_number(client: Client) -> None:
    assert client.slow("/ghost/voice/new", "", 4) == [("/done", "/ghost/voice/new", 4)]
    for number, reason in ((4, "voice 4 is there already"), (5, "id 5 is not within 1 to 4")):
        assert client.slow("/ghost/voice/new", "", number) == [
            ("/fail", "/ghost/voice/new", reason)
        ]
    assert client.say("/ghost/trig", "kick", 1.0, 3) == [
        ("/fail", "/ghost/trig", "unknown voice 3; there are 1, 2, 4")
    ]


def test_new_voice_of_an_unknown_model_changes_nothing(
    client: Client, control: RecordingControl
) -> None:
    before = dict(client.dispatcher.session.values)
    assert client.slow("/ghost/voice/new", "gone") == [
        ("/fail", "/ghost/voice/new", "no model 'gone'")
    ]
    assert client.dispatcher.session.values == before
    assert control.batches == []
    assert not client.dispatcher.session.routes.find("/ghost/voice/3/gain")


def test_new_voice_begins_with_the_defaults(client: Client, control: RecordingControl) -> None:
    client.slow("/ghost/voice/new")
    (new, told) = control.batches
    assert new == (FRAME_NOW, [Command(Op.VOICE_NEW, 2)])
    assert {Op.TEMPERATURE, Op.GLIDE, Op.GAIN, Op.OUT, Op.SOLO} <= {c.op for c in told[1]}
    assert {c.voice for c in told[1]} == {2}
    # These the engine begins with by itself; told, they would wait for the quantum.
    assert not {Op.SEED, Op.WEIGHT, Op.HOLD, Op.PATTERN_LENGTH} & {c.op for c in told[1]}
    for name, value in (("gain", 0.0), ("kit", "dusty"), ("seed", 0), ("out", 1)):
        assert client.value(f"/ghost/voice/3/{name}") == (value,)
    assert client.value("/ghost/pattern/3/kick") == ("",)


def test_defaults_of_the_server_are_those_of_new_voices_too() -> None:
    control = RecordingControl()
    dispatcher = Dispatcher(control, own_defaults={"/ghost/voice/{V}/seed": 7})
    dispatcher.start()
    assert Command(Op.SEED, 1, 7) in control.commands
    client = Client(dispatcher)
    client.slow("/ghost/voice/new")
    assert client.value("/ghost/voice/3/seed") == (7,)
    dispatcher.stop()


def test_freed_voice_is_gone_at_once(client: Client, control: RecordingControl) -> None:
    follower = Client(client.dispatcher, "client b")
    follower.say("/ghost/notify", 1)
    follower.take()
    client.say("/ghost/voice/2/gain", -6)
    assert client.say("/ghost/voice/2/free") == [("/ghost/voice/2/state", "free")]
    assert control.commands[-1] == Command(Op.VOICE_FREE, 1)
    client.dispatcher.tick()
    assert ("/ghost/voice/2/state", "free") in follower.take()
    assert client.say("/ghost/voice/2/gain", 0) == [
        ("/fail", "/ghost/voice/2/gain", "unknown voice 2; there are 1")
    ]
    assert client.say("/ghost/pattern/2", "kick", "x") == [
        ("/fail", "/ghost/pattern/2", "unknown voice 2; there are 1")
    ]
    assert not any(
        address.startswith(("/ghost/voice/2/", "/ghost/pattern/2/"))
        for address in client.dispatcher.session.values
    )
    # All voices are those that are left.
    client.say("/ghost/trig", "kick", 1.0)
    assert control.commands[-1] == Command(Op.TRIG, 0, 0, 1.0)


def test_number_of_a_freed_voice_waits_until_the_engine_lets_it_go(
    client: Client, control: RecordingControl
) -> None:
    client.say("/ghost/voice/1/free")
    assert client.slow("/ghost/voice/new") == [("/done", "/ghost/voice/new", 3)]
    control.leaving.clear()
    assert client.slow("/ghost/voice/new") == [("/done", "/ghost/voice/new", 1)]
    assert client.value("/ghost/voice/1/gain") == (0.0,)


def test_free_in_a_bundle_happens_when_it_is_due(client: Client, control: RecordingControl) -> None:
    client.dispatcher.receive(bundle(control, 0.5, encode("/ghost/voice/2/free")), client)
    assert control.batches == [(RATE // 2, [Command(Op.VOICE_FREE, 1)])]
    assert client.say("/ghost/voice/2/gain", -3) == []
    control.now += 0.5
    client.dispatcher.tick()
    assert client.take() == [("/ghost/voice/2/state", "free")]
    assert client.say("/ghost/voice/2/gain", -3)[0][0] == "/fail"


def test_what_comes_due_for_a_voice_that_is_gone_is_nobodys(
    client: Client, control: RecordingControl
) -> None:
    later = [encode("/ghost/voice/2/gain", -3.0), encode("/ghost/voice/2/play")]
    client.dispatcher.receive(bundle(control, 0.5, *later, encode("/ghost/voice/2/free")), client)
    client.say("/ghost/voice/2/free")
    control.now += 0.5
    client.dispatcher.tick()
    client.dispatcher.tick()
    assert client.take() == []
    assert "/ghost/voice/2/gain" not in client.dispatcher.session.values


def test_the_last_voice_can_be_freed_and_one_made(
    client: Client, control: RecordingControl
) -> None:
    client.say("/ghost/voice/*/free")
    assert client.say("/ghost/voice/1/gain", 0) == [
        ("/fail", "/ghost/voice/1/gain", "unknown voice 1; there are none")
    ]
    assert client.say("/ghost/trig", "kick") == []
    control.leaving.clear()
    assert client.slow("/ghost/voice/new", "other") == [("/done", "/ghost/voice/new", 1)]


def test_tree_watchers_hear_of_voices(client: Client) -> None:
    told: list[tuple[frozenset[str], frozenset[str]]] = []
    client.dispatcher.session.watch_tree(lambda added, removed: told.append((added, removed)))
    client.slow("/ghost/voice/new")
    client.say("/ghost/voice/3/free")
    ((added, nothing), (nothing_too, removed)) = told
    assert added == removed
    assert not nothing
    assert not nothing_too
    assert {"/ghost/voice/3/gain", "/ghost/pattern/3/kick/length", "/ghost/voice/3/weights/2"} <= (
        added
    )
    assert all("/3" in address for address in added)


@pytest.mark.parametrize(
    ("address", "values", "expected"),
    [
        ("/ghost/voice/2/rewind", (), Command(Op.VOICE_REWIND, 1)),
        ("/ghost/voice/2/hold", (1,), Command(Op.HOLD, 1, value=1.0)),
        ("/ghost/voice/2/solo", (True,), Command(Op.SOLO, 1, value=1.0)),
        ("/ghost/voice/2/out", (2,), Command(Op.OUT, 1, 1)),
        ("/ghost/voice/2/out", (1.0,), Command(Op.OUT, 1, 0)),
    ],
)
def test_commands(
    address: str,
    values: tuple[Value, ...],
    expected: Command,
    client: Client,
    control: RecordingControl,
) -> None:
    assert client.say(address, *values) == []
    assert control.commands == [expected]


@pytest.mark.parametrize(
    ("address", "values", "reason"),
    [
        ("/ghost/voice/1/out", (3,), "pair 3 is not within 1 to 2 (--outputs of serve)"),
        ("/ghost/voice/1/out", (0,), "pair: 0 is not within 1 to 32"),
        ("/ghost/voice/1/hold", (float("nan"),), "hold: is not a number"),
        ("/ghost/voice/9/free", (), "unknown voice 9; there are 1, 2"),
        ("/ghost/voice/00000000001/free", (), "unknown address"),
        ("/ghost/voice/1/gong", (), "unknown address"),
        ("/ghost/voice/new", ("", 0), "id: 0 is not within 1 to inf"),
    ],
)
def test_refusals(
    address: str, values: tuple[Value, ...], reason: str, client: Client, control: RecordingControl
) -> None:
    before = dict(client.dispatcher.session.values)
    assert client.say(address, *values) == [("/fail", address, reason)]
    assert control.batches == []
    assert client.dispatcher.session.values == before


def test_state_of_a_holding_voice(client: Client, control: RecordingControl, clock: Clock) -> None:
    client.say("/ghost/notify", 1)
    client.dispatcher.tick()
    client.take()
    client.say("/ghost/voice/1/hold", 1)
    control.states[0] = "holding"
    clock.now += 1
    client.dispatcher.tick()
    assert client.take() == [("/ghost/voice/1/state", "holding")]
    assert client.value("/ghost/voice/1/state") == ("holding",)


def test_a_voice_that_stops_lets_go_of_its_loop(client: Client, control: RecordingControl) -> None:
    control.states[0] = "holding"
    client.say("/ghost/voice/1/hold", 1)
    client.dispatcher.tick()
    assert client.value("/ghost/voice/1/hold") == (True,)
    control.states[0] = "idle"
    client.dispatcher.tick()
    assert client.value("/ghost/voice/1/hold") == (False,)
    client.say("/ghost/voice/1/hold", 1)  # idle, it has nothing to repeat
    client.dispatcher.tick()
    assert client.value("/ghost/voice/1/hold") == (False,)


def test_hold_that_waited_with_play_for_the_line_is_told(
    client: Client, control: RecordingControl
) -> None:
    client.dispatcher.tick()
    client.say("/ghost/voice/1/play")
    client.say("/ghost/voice/1/hold", 1)
    client.dispatcher.tick()  # the voice is idle until the line
    control.states[0] = "holding"
    client.dispatcher.tick()
    assert client.value("/ghost/voice/1/hold") == (True,)
    client.say("/ghost/voice/1/hold", 0)  # and this waits too
    client.dispatcher.tick()
    assert client.value("/ghost/voice/1/hold") == (False,)
    control.states[0] = "playing"
    client.dispatcher.tick()
    assert client.value("/ghost/voice/1/hold") == (False,)


def test_hold_let_go_of_just_as_it_began_is_told_in_the_end(
    client: Client, control: RecordingControl
) -> None:
    control.states[0] = "playing"
    client.dispatcher.tick()
    client.say("/ghost/voice/1/hold", 1)
    control.states[0] = "holding"
    client.say("/ghost/voice/1/hold", 0)  # before the server has looked
    client.dispatcher.tick()
    control.states[0] = "starved"
    client.dispatcher.tick()
    control.states[0] = "holding"
    client.dispatcher.tick()
    control.states[0] = "playing"
    client.dispatcher.tick()
    assert client.value("/ghost/voice/1/hold") == (False,)


def test_new_voice_and_model_wait_for_room_in_the_queue(
    client: Client, control: RecordingControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        control.full = len(naps) % 3 != 0

    # Its own clock, not the module that all threads share.
    clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    monkeypatch.setattr("ghostnote.osc_server.handling.time", clock)
    control.full = True
    assert client.slow("/ghost/voice/new") == [("/done", "/ghost/voice/new", 3)]
    assert len(naps) == 3
    control.full = True
    assert client.slow("/ghost/model/load", "other")[0][0] == "/done"
    assert len(naps) == 6
    assert client.value("/ghost/voice/3/kit") == ("tape",)


def test_reprimed_voice_is_told(client: Client, control: RecordingControl, clock: Clock) -> None:
    client.say("/ghost/notify", 1)
    client.dispatcher.tick()
    client.take()
    control.reprime_counts[1] = (1, "noise")
    clock.now += 1
    client.dispatcher.tick()
    assert client.take() == [("/ghost/voice/2/reprimed", "noise")]
    clock.now += 1
    client.dispatcher.tick()
    assert client.take() == []


def test_prime_hears_the_file_with_the_voices_kits(
    client: Client, control: RecordingControl
) -> None:
    client.say("/ghost/voice/2/weights", 1.0, 1.0, 0.0)
    assert client.slow("/ghost/voice/2/prime", "break.wav") == [
        ("/done", "/ghost/voice/2/prime", "break.wav")
    ]
    assert control.primed == [(1, "break.wav", (0.5, 0.5, 0.0))]
    assert client.slow("/ghost/voice/2/prime", "../x") == [
        ("/fail", "/ghost/voice/2/prime", "file name: '..' is not allowed")
    ]


def test_many_voices_at_once(client: Client, control: RecordingControl) -> None:
    """A voice that goes while its model loads is not called back."""
    control.loading.clear()
    client.say("/ghost/model/load", "other")
    client.say("/ghost/voice/2/free")
    control.loading.set()
    assert client.slow("/ghost/status")[-1] == (
        "/done", "/ghost/model/load", "other", "tape", "new", 2047, RATE,
    )  # fmt: skip
    assert client.say("/ghost/voice/2/gain", 0)[0][0] == "/fail"
    assert KITS[0] not in client.dispatcher.session.kits[0]
