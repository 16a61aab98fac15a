"""The dispatcher: what a message becomes, what goes back, and when."""

from __future__ import annotations

import logging
import struct
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.osc_server import handlers
from ghostnote.osc_server.commands import FRAME_NOW, MAX_STEPS, Command, Op
from ghostnote.osc_server.dispatch import LATE_PER_SECOND, Dispatcher
from ghostnote.osc_server.encode import Value, encode, encode_bundle
from ghostnote.osc_server.endpoint import Access, Endpoint
from ghostnote.osc_server.osc import IMMEDIATELY, ntp_from_unix
from ghostnote.osc_server.protocol import TABLE
from ghostnote.osc_server.table_parts import DEFAULT_VELOCITY
from tests.osc_server.recorder import KITS, RATE, ROLES, Client, Clock, RecordingControl, bundle


@pytest.mark.parametrize(
    ("address", "values", "expected"),
    [
        ("/ghost/voice/2/trig/snare", (0.5,), [Command(Op.TRIG, 1, 1, 0.5)]),
        ("/ghost/voice/1/trig/kick", (), [Command(Op.TRIG, 0, 0, DEFAULT_VELOCITY)]),
        ("/ghost/voice/1/trig/kick", (0.0,), []),
        ("/ghost/voice/1/trig/kick", (False,), []),
        ("/ghost/voice/1/trig/kick", (True,), [Command(Op.TRIG, 0, 0, 1.0)]),
        ("/ghost/trig", ("hat", 0.25, 2), [Command(Op.TRIG, 1, 2, 0.25)]),
        ("/ghost/trig", ("hat",), [Command(Op.TRIG, v, 2, DEFAULT_VELOCITY) for v in (0, 1)]),
        ("/ghost/trig", ("hat", 0), []),
        ("/ghost/voice/2/play", (), [Command(Op.VOICE_PLAY, 1)]),
        ("/ghost/voice/2/play", (0,), []),
        ("/ghost/voice/2/stop", (1.0,), [Command(Op.VOICE_STOP, 1)]),
        ("/ghost/voice/1/reset", (True,), [Command(Op.VOICE_RESET, 0)]),
        ("/ghost/voice/1/seed", (2**63 - 1,), [Command(Op.SEED, 0, 2**63 - 1)]),
        ("/ghost/voice/1/temperature", (2,), [Command(Op.TEMPERATURE, 0, value=2.0)]),
        ("/ghost/voice/1/topk", (4.0,), [Command(Op.TOPK, 0, 4)]),
        ("/ghost/voice/1/glide", (0.5,), [Command(Op.GLIDE, 0, value=0.5)]),
        ("/ghost/voice/1/gain", (-20,), [Command(Op.GAIN, 0, value=0.1)]),
        ("/ghost/voice/1/gain", (-90.0,), [Command(Op.GAIN, 0, value=0.0)]),
        ("/ghost/voice/1/gain", (-float("inf"),), [Command(Op.GAIN, 0, value=0.0)]),
        ("/ghost/voice/1/pan", (-1,), [Command(Op.PAN, 0, value=-1.0)]),
        ("/ghost/voice/1/mute", (0.6,), [Command(Op.MUTE, 0, value=1.0)]),
        ("/ghost/tempo", (90,), [Command(Op.TEMPO, value=90.0)]),
        ("/ghost/play", (), [Command(Op.PLAY)]),
        ("/ghost/stop", (0.0,), []),
        ("/ghost/stop", (1,), [Command(Op.STOP)]),
        ("/ghost/master/gain", (0.0,), [Command(Op.MASTER_GAIN, value=1.0)]),
        ("/ghost/clearSched", (), [Command(Op.CLEAR_SCHED)]),
        (
            "/ghost/pattern/2",
            ("snare", "x.|X"),
            [
                Command(Op.PATTERN_LENGTH, 1, 1, 3),
                Command(Op.PATTERN_STEP, 1, MAX_STEPS, 0.75),
                Command(Op.PATTERN_STEP, 1, MAX_STEPS + 1, 0.0),
                Command(Op.PATTERN_STEP, 1, MAX_STEPS + 2, 1.0),
            ],
        ),
        ("/ghost/pattern/1/hat", ("",), [Command(Op.PATTERN_LENGTH, 0, 2, 0)]),
        ("/ghost/voice/[!2]/trig/*a*", (1,), [Command(Op.TRIG, 0, r, 1.0) for r in (1, 2)]),
    ],
)
def test_commands(
    address: str,
    values: tuple[Value, ...],
    expected: list[Command],
    client: Client,
    control: RecordingControl,
) -> None:
    answers = client.say(address, *values)
    assert control.commands == [pytest.approx(command) for command in expected]
    assert answers == []
    assert all(frame == FRAME_NOW for frame, _ in control.batches)


def test_every_table_entry_has_one_way_to_be_handled() -> None:
    addresses = {endpoint.address for endpoint in TABLE}
    assert set(handlers.SPECIAL) <= addresses
    stub = Endpoint("/ghost/later", Access.COMMAND, "")
    with pytest.raises(ValueError, match="no handler for /ghost/later"):
        Dispatcher(RecordingControl(), (*TABLE, stub))


def test_start_tells_the_engine_every_default() -> None:
    control = RecordingControl()
    dispatcher = Dispatcher(control)
    dispatcher.start()
    per_voice = [Op.SEED, Op.TEMPERATURE, Op.TOPK, Op.GLIDE, Op.GAIN, Op.PAN, Op.MUTE]
    for voice in (0, 1):
        ops = [command.op for command in control.commands if command.voice == voice]
        assert set(per_voice) <= set(ops)
        assert Command(Op.WEIGHT, voice, 0, 1.0) in control.commands
        lengths = [command for command in control.commands if command.op is Op.PATTERN_LENGTH]
        assert {length.index for length in lengths} == set(range(len(ROLES)))
    assert Command(Op.TEMPO, value=120.0) in control.commands
    client = Client(dispatcher)
    assert client.say("/ghost/get", "/ghost/tempo") == [("/ghost/tempo", 120.0)]
    dispatcher.stop()


def weights(control: RecordingControl, voice: int = 0) -> list[float]:
    last = {c.index: c.value for c in control.commands if c.op is Op.WEIGHT and c.voice == voice}
    return [last[kit] for kit in sorted(last)]


def test_kit_by_name_and_number(client: Client, control: RecordingControl) -> None:
    client.say("/ghost/voice/1/kit", "tape")
    assert weights(control) == [0.0, 0.0, 1.0]
    client.say("/ghost/voice/1/kit", 1.0)
    assert weights(control) == [0.0, 1.0, 0.0]
    assert client.say("/ghost/get", "/ghost/voice/1/kit") == [("/ghost/voice/1/kit", "vinyl")]
    assert client.say("/ghost/get", "/ghost/voice/2/kit") == [("/ghost/voice/2/kit", "dusty")]


def test_weights_are_scaled(client: Client, control: RecordingControl) -> None:
    client.say("/ghost/voice/1/weights", 1.0, 2, 1.0)
    assert weights(control) == [0.25, 0.5, 0.25]
    assert client.say("/ghost/get", "/ghost/voice/1/weights") == [
        ("/ghost/voice/1/weights", 0.25, 0.5, 0.25)
    ]
    assert client.say("/ghost/get", "/ghost/voice/1/kit") == [("/ghost/voice/1/kit", "")]
    client.say("/ghost/voice/1/weights", 0, 0, 0)
    assert weights(control) == [0.0, 0.0, 0.0]


def test_one_fader_per_kit(client: Client, control: RecordingControl) -> None:
    client.say("/ghost/voice/1/weights/0", 0.5)
    client.say("/ghost/voice/1/weights/tape", 1.5)
    assert weights(control) == [0.25, 0.0, 0.75]
    assert client.say("/ghost/get", "/ghost/voice/1/weights/2") == [
        ("/ghost/voice/1/weights/2", 1.5)
    ]
    client.say("/ghost/voice/*/weights/{dusty,0}", 0)
    assert weights(control) == [0.0, 0.0, 1.0]


def test_faders_within_one_bundle_add_up(client: Client, control: RecordingControl) -> None:
    faders = [encode(f"/ghost/voice/1/weights/{kit}", 1.0) for kit in range(3)]
    client.dispatcher.receive(encode_bundle(faders), client)
    assert weights(control) == pytest.approx([1 / 3] * 3)


def test_faders_scheduled_then_cleared(client: Client, control: RecordingControl) -> None:
    later = bundle(control, 1.0, encode("/ghost/voice/1/weights/1", 1.0))
    client.dispatcher.receive(later, client)
    client.say("/ghost/clearSched")
    client.say("/ghost/voice/1/weights/2", 1.0)
    assert weights(control) == [0.5, 0.0, 0.5]


@given(st.lists(st.floats(0, 1000, width=32), min_size=3, max_size=3))
def test_weights_sum_to_one_or_are_all_zero(levels: list[float]) -> None:
    control = RecordingControl()
    dispatcher = Dispatcher(control)
    Client(dispatcher).say("/ghost/voice/1/weights", *levels)
    dispatcher.stop()
    assert sum(weights(control)) == pytest.approx(1.0 if any(levels) else 0.0)
    assert all(0.0 <= weight <= 1.0 for weight in weights(control))


def test_model_without_kits() -> None:
    control = RecordingControl()
    control.kit_names = [(), KITS]
    dispatcher = Dispatcher(control)
    dispatcher.start()
    client = Client(dispatcher)
    for address in ("/ghost/voice/1/kit", "/ghost/voice/1/weights"):
        assert client.say(address, 0) == [("/fail", address, "the model of voice 1 has no kits")]
    dispatcher.stop()


@pytest.mark.parametrize(
    ("address", "values", "reason"),
    [
        ("/ghost/nothing", (), "unknown address"),
        ("/live/song/tempo", (1.0,), "unknown address"),
        ("/ghost/voice/3/gain", (0.0,), "unknown voice 3; there are 1, 2"),
        ("/ghost/voice/0/gain", (0.0,), "unknown voice 0; there are 1, 2"),
        ("/ghost/voice/1/trig/gong", (1.0,), "unknown role 'gong'; there are kick, snare, hat"),
        ("/ghost/voice/1/weights/gong", (1.0,),
         "unknown kit 'gong'; there are dusty, vinyl, tape"),
        ("/ghost/voice/1/nothing", (1.0,), "unknown address"),
        ("/ghost/voice/[1/gain", (0.0,), "address pattern: [ is not closed by ]"),
        ("/ghost/nothing*", (), "unknown address"),
        ("/ghost/trig", ("gong", 1.0), "unknown role 'gong'; there are kick, snare, hat"),
        ("/ghost/trig", ("kick", 1.0, 3), "unknown voice 3; there are 1, 2"),
        ("/ghost/voice/1/kit", ("gong",), "unknown kit 'gong'; there are dusty, vinyl, tape"),
        ("/ghost/voice/1/kit", (3,), "kit 3 is not within 0 to 2"),
        ("/ghost/voice/1/kit", (-1,), "kit -1 is not within 0 to 2"),
        ("/ghost/voice/1/weights", (1.0,), "1 weights for 3 kits: dusty, vinyl, tape"),
        ("/ghost/voice/1/trig/kick", (1.5,), "velocity: 1.5 is not within 0 to 1"),
        ("/ghost/voice/1/trig/kick", (-0.1,), "velocity: -0.1 is not within 0 to 1"),
        ("/ghost/voice/1/gain", (12.5,), "gain: 12.5 is not within -inf to 12 dB"),
        ("/ghost/tempo", (0,), "tempo: 0 is not within 10 to 1000 bpm"),
        ("/ghost/tempo", (float("nan"),), "tempo: nan is not within 10 to 1000 bpm"),
        ("/ghost/tempo", (), "takes f tempo; got 0"),
        ("/ghost/tempo", ("fast",), "tempo: wants a number, got type s"),
        ("/ghost/pattern/1", ("kick", "xyz"),
         "pattern 'xyz': 'y' at position 2 is none of x X o 1-9 . - |"),
        ("/ghost/get", ("/ghost/nothing",), "unknown address '/ghost/nothing'"),
        ("/ghost/get", ("/ghost/play",), "'/ghost/play' has no value to tell"),
        ("/ghost/model/load", ("default", 3), "unknown voice 3; there are 1, 2"),
        ("/ghost/notify", (2,), "on: 2 is not within 0 to 1"),
        ("/ghost/dumpOSC", (4,), "mode: 4 is not within 0 to 3"),
        ("/ghost/sync", (2**40,), "id: must fit type i"),
    ],
)  # fmt: skip
def test_refusals(
    address: str,
    values: tuple[Value, ...],
    reason: str,
    client: Client,
    control: RecordingControl,
) -> None:
    before = dict(client.dispatcher.session.values)
    other = Client(client.dispatcher, "client b")
    assert client.say(address, *values) == [("/fail", address, reason)]
    assert other.take() == []
    assert control.batches == []
    assert client.dispatcher.session.values == before


def test_pattern_that_suits_some_addresses_only(client: Client, control: RecordingControl) -> None:
    control.kit_names[1] = ("only",)
    client.dispatcher.session.learn_model(1)
    assert client.say("/ghost/voice/*/kit", "tape") == [
        ("/fail", "/ghost/voice/*/kit",
         "/ghost/voice/2/kit: unknown kit 'tape'; there are only")
    ]  # fmt: skip
    assert weights(control) == [0.0, 0.0, 1.0]
    ((_, address, reason),) = client.say("/ghost/voice/1/*", "word")
    assert address == "/ghost/voice/1/*"
    assert str(reason).endswith("more)")


def test_queue_full_changes_nothing(client: Client, control: RecordingControl) -> None:
    control.full = True
    assert client.say("/ghost/tempo", 90.0) == [
        ("/fail", "/ghost/tempo", "the engine's queue is full; try again later")
    ]
    assert client.say("/ghost/voice/1/weights/1", 1.0)[0][0] == "/fail"
    control.full = False
    assert client.say("/ghost/get", "/ghost/tempo") == [("/ghost/tempo", 120.0)]
    client.say("/ghost/voice/1/weights/2", 1.0)
    assert weights(control) == [0.5, 0.0, 0.5]
    (status,) = client.say("/ghost/status")
    assert status[7] == 5 + 2


def test_a_refused_bundle_of_later_changes_nothing(
    client: Client, control: RecordingControl
) -> None:
    control.full = True
    messages = (encode("/ghost/tempo", 90.0), encode("/ghost/voice/1/weights/1", 1.0))
    client.dispatcher.receive(bundle(control, 0.5, *messages), client)
    reason = "the engine's queue is full or too much is scheduled; send /ghost/clearSched or wait"
    assert client.take() == [
        ("/fail", address, reason) for address in ("/ghost/tempo", "/ghost/voice/1/weights/1")
    ]
    control.full = False
    control.now += 1.0
    client.dispatcher.tick()
    assert client.value("/ghost/tempo") == (120.0,)
    client.say("/ghost/voice/1/weights/2", 1.0)
    assert weights(control) == [0.5, 0.0, 0.5]


def test_our_own_defect_ends_neither_the_message_nor_the_server(
    client: Client, control: RecordingControl, caplog: pytest.LogCaptureFixture
) -> None:
    control.roles = ()  # the engine breaks its promise that roles are constant
    answers = client.say("/ghost/pattern/1/kick", "x")
    assert answers == [
        ("/fail", "/ghost/pattern/1/kick", "internal error; the server's log has the details")
    ]
    assert "IndexError" in caplog.text
    client.say("/ghost/tempo", 90.0)
    assert control.commands == [Command(Op.TEMPO, value=90.0)]


def test_bundle_is_one_batch_without_its_bad_messages(
    client: Client, control: RecordingControl
) -> None:
    datagram = bundle(
        control,
        0.5,
        encode("/ghost/voice/1/trig/kick", 1.0),
        encode("/ghost/tempo", "fast"),
        encode("/ghost/nothing"),
        encode("/ghost/voice/2/trig/hat", 1.0),
    )
    client.dispatcher.receive(datagram, client)
    assert control.batches == [
        (RATE // 2, [Command(Op.TRIG, 0, 0, 1.0), Command(Op.TRIG, 1, 2, 1.0)])
    ]
    assert [answer[1] for answer in client.take()] == ["/ghost/tempo", "/ghost/nothing"]


def test_nested_bundles_have_their_own_time(client: Client, control: RecordingControl) -> None:
    kick = encode("/ghost/voice/1/trig/kick", 1.0)
    inner = bundle(control, 1.0, kick)
    head = b"#bundle\0" + struct.pack(">Q", ntp_from_unix(control.now + 0.5))
    outer = head + b"".join(struct.pack(">i", len(part)) + part for part in (kick, inner, kick))
    client.dispatcher.receive(outer, client)
    hit = Command(Op.TRIG, 0, 0, 1.0)
    assert control.batches == [(RATE // 2, [hit, hit]), (RATE, [hit])]


@pytest.mark.parametrize("timetag", [IMMEDIATELY])
def test_immediate_bundle(timetag: int, client: Client, control: RecordingControl) -> None:
    client.dispatcher.receive(encode_bundle([encode("/ghost/play")], timetag), client)
    assert control.batches == [(FRAME_NOW, [Command(Op.PLAY)])]
    assert client.take() == []


def test_late_bundle_plays_now_and_is_told_and_counted(
    client: Client, control: RecordingControl
) -> None:
    client.dispatcher.receive(bundle(control, -0.25, encode("/ghost/play")), client)
    assert control.batches == [(FRAME_NOW, [Command(Op.PLAY)])]
    assert client.take() == [("/ghost/late", "/ghost/play", 0.25)]
    (status,) = client.say("/ghost/status")
    assert status[6] == 4 + 1


def test_late_is_told_so_many_times_a_second(
    client: Client, control: RecordingControl, clock: Clock
) -> None:
    late = bundle(control, -0.25, encode("/ghost/play"))
    for _ in range(LATE_PER_SECOND + 10):
        client.dispatcher.receive(late, client)
    assert len(client.take()) == LATE_PER_SECOND
    clock.now += 1
    client.dispatcher.receive(late, client)
    assert len(client.take()) == 1
    assert client.dispatcher.session.late == LATE_PER_SECOND + 11


def test_too_far_ahead(client: Client, control: RecordingControl) -> None:
    client.dispatcher.receive(bundle(control, 61.0, encode("/ghost/play")), client)
    assert control.batches == []
    assert client.take() == [("/fail", "/ghost/play", "timetag is 61.0 s ahead; at most 60 s")]
    client.dispatcher.receive(bundle(control, 59.0, encode("/ghost/play")), client)
    assert control.batches == [(59 * RATE, [Command(Op.PLAY)])]


@pytest.mark.parametrize("timetag", [0, 2, 2**63, 2**64 - 1])
def test_extreme_timetags(timetag: int, client: Client, control: RecordingControl) -> None:
    play = encode("/ghost/play")
    datagram = b"#bundle\0" + struct.pack(">Qi", timetag, len(play)) + play
    client.dispatcher.receive(datagram, client)
    ((answer, *_),) = client.take()
    assert answer == ("/fail" if timetag > 2**63 else "/ghost/late")


def test_values_change_when_they_are_due(
    client: Client, control: RecordingControl, clock: Clock
) -> None:
    follower = Client(client.dispatcher, "client b")
    follower.say("/ghost/notify", 1)
    client.dispatcher.tick()
    follower.take()
    client.dispatcher.receive(bundle(control, 0.5, encode("/ghost/tempo", 90.0)), client)
    client.dispatcher.tick()
    assert client.say("/ghost/get", "/ghost/tempo") == [("/ghost/tempo", 120.0)]
    assert follower.take() == []
    control.now += 0.5
    assert client.say("/ghost/get", "/ghost/tempo") == [("/ghost/tempo", 90.0)]
    client.dispatcher.tick()
    assert follower.take() == []  # not before its rate allows
    clock.now += 1
    client.dispatcher.tick()
    assert follower.take() == [("/ghost/tempo", 90.0)]


def test_queries_in_a_bundle_are_answered_when_due(
    client: Client, control: RecordingControl
) -> None:
    client.dispatcher.receive(bundle(control, 0.5, encode("/ghost/version")), client)
    assert client.take() == []
    control.now += 0.5
    client.dispatcher.tick()
    assert client.take() == [("/ghost/version.reply", "ghostnote", 0, 1, 0, 1, "abc1234")]


def test_clear_sched_forgets_effects_too(client: Client, control: RecordingControl) -> None:
    client.dispatcher.receive(bundle(control, 0.5, encode("/ghost/tempo", 90.0)), client)
    client.say("/ghost/clearSched")
    assert control.batches[-1] == (FRAME_NOW, [Command(Op.CLEAR_SCHED)])
    control.now += 1
    assert client.say("/ghost/get", "/ghost/tempo") == [("/ghost/tempo", 120.0)]


def test_what_waits_is_bounded(
    client: Client, control: RecordingControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostnote.osc_server.session.MAX_LATER", 3)
    later = bundle(control, 0.5, encode("/ghost/tempo", 90.0), encode("/ghost/tempo", 91.0))
    client.dispatcher.receive(later, client)
    assert client.take() == []
    client.dispatcher.receive(later, client)
    assert [answer[0] for answer in client.take()] == ["/fail", "/fail"]
    assert len(control.batches) == 1


def test_status_and_version(client: Client) -> None:
    assert client.say("/ghost/status") == [
        ("/ghost/status.reply", 2, 1, 12.5, 50.0, 3, 4, 5, 48000.0, 48000.25, 8.5, 0.75)
    ]
    assert client.say("/ghost/version") == [
        ("/ghost/version.reply", "ghostnote", 0, 1, 0, 1, "abc1234")
    ]


def test_get_many(client: Client) -> None:
    answers = client.say("/ghost/get", "/ghost/voice/1/*")
    assert ("/ghost/voice/1/gain", 0.0) in answers
    assert ("/ghost/voice/1/state", "idle") in answers
    assert not any(str(answer[0]).startswith("/ghost/voice/2") for answer in answers)
    client.say("/ghost/pattern/1", "kick", "x..")
    assert client.say("/ghost/get", "/ghost/pattern/1/kick") == [("/ghost/pattern/1/kick", "x..")]


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


def test_sync_waits_for_slow_work(client: Client, control: RecordingControl) -> None:
    control.loading.clear()
    assert client.say("/ghost/model/load", "default") == []
    assert client.say("/ghost/sync", 7) == []
    assert client.say("/ghost/tempo", 90.0) == []  # nothing waits for the worker
    assert control.commands == [Command(Op.TEMPO, value=90.0)]
    control.loading.set()
    client.dispatcher.stop()
    assert client.take() == [
        ("/done", "/ghost/model/load", "default", *KITS, 2047, RATE),
        ("/ghost/synced", 7),
    ]


def test_loading_brings_new_kits(client: Client, control: RecordingControl) -> None:
    client.say("/ghost/voice/1/kit", "tape")
    client.say("/ghost/voice/2/kit", "vinyl")
    client.say("/ghost/model/load", "other")
    client.dispatcher.stop()
    assert client.take() == [("/done", "/ghost/model/load", "other", "tape", "new", 2047, RATE)]
    assert client.say("/ghost/get", "/ghost/voice/?/kit") == [
        ("/ghost/voice/1/kit", "tape"),
        ("/ghost/voice/2/kit", "tape"),
    ]
    assert control.batches[-1] == (
        FRAME_NOW,
        [Command(Op.WEIGHT, voice, kit, float(kit == 0)) for voice in (0, 1) for kit in (0, 1)],
    )
    assert client.say("/ghost/voice/1/kit", "new") == []
    assert client.say("/ghost/voice/1/weights/2", 1.0)[0][0] == "/fail"


def test_loading_one_voice(client: Client, control: RecordingControl) -> None:
    client.say("/ghost/model/load", "other", 2)
    client.dispatcher.stop()
    assert control.kit_names[:2] == [KITS, ("tape", "new")]


def test_model_queries(client: Client) -> None:
    client.say("/ghost/model/list")
    client.say("/ghost/model/info", "other")
    client.say("/ghost/model/info", "none")
    client.dispatcher.stop()
    assert client.take() == [
        ("/done", "/ghost/model/list", "default", "other"),
        ("/done", "/ghost/model/info", "other", RATE, 2047, 3, *ROLES, 2, "tape", "new"),
        ("/fail", "/ghost/model/info", "no model 'none'"),
    ]


def test_more_models_than_a_packet_can_name_are_refused(
    client: Client, control: RecordingControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "models", lambda: ("x" * 100,) * 700)
    ((fail, _, reason),) = client.slow("/ghost/model/list")
    assert fail == "/fail"
    assert str(reason).startswith("too long for one packet: 700 models; ")


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


def test_record(client: Client, control: RecordingControl) -> None:
    client.say("/ghost/record/start", "take1.wav")
    client.say("/ghost/record/stop")
    client.dispatcher.stop()
    assert client.take() == [
        ("/done", "/ghost/record/start", "/recordings/take1.wav"),
        ("/done", "/ghost/record/stop", "/recordings/take1.wav", 3_000_000_000),
    ]
    assert control.recording_failed is not None
    control.recording_failed("the disk is full")
    assert client.take() == [("/fail", "/ghost/record/start", "the disk is full")]


def test_quit_is_for_this_machine_and_never_by_pattern(
    client: Client, control: RecordingControl
) -> None:
    stranger = Client(client.dispatcher, "stranger", local=False)
    assert stranger.say("/ghost/quit") == [
        ("/fail", "/ghost/quit", "taken only from the server's own machine")
    ]
    client.say("/ghost/q*")
    client.say("/ghost/quit", 0)
    assert not control.has_quit
    assert client.say("/ghost/quit") == [("/done", "/ghost/quit")]
    assert control.has_quit


def test_dump(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ghostnote.osc.in")
    wanted = {0: [], 1: ["text"], 2: ["hex"], 3: ["text", "hex"]}
    for mode, kinds in wanted.items():
        client.say("/ghost/dumpOSC", mode)
        caplog.clear()
        client.say("/ghost/tempo", 90.0)
        found = {
            "text": "client a: /ghost/tempo ,f 90.0" in caplog.messages,
            "hex": any("2f67686f" in message for message in caplog.messages),
        }
        assert [kind for kind, there in found.items() if there] == kinds


def test_malformed_packets_are_counted_and_told_once_a_second(
    client: Client, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        client.dispatcher.receive(b"#bundle\0" + bytes(8) + b"\xff\xff\xff\xfc", client)
    assert len(caplog.messages) == 1
    assert "size -4" in caplog.text
    clock.now += 1
    client.dispatcher.receive(b"junk", client)
    assert caplog.messages[1].startswith("100 malformed packet(s)")
    assert client.take() == []
    (status,) = client.say("/ghost/status")
    assert status[7] == 5 + 101


def test_messages_of_our_own(
    dispatcher: Dispatcher, control: RecordingControl, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher.send("/ghost/play")
    dispatcher.send("/ghost/status")
    assert control.commands == [Command(Op.PLAY)]
    dispatcher.send("/ghost/tempo", -1.0)
    assert "tempo: -1 is not within" in caplog.text


def test_many_threads(dispatcher: Dispatcher, control: RecordingControl) -> None:
    def hammer(name: str) -> None:
        client = Client(dispatcher, name)
        for n in range(200):
            client.say("/ghost/voice/1/gain", -float(n % 50))
            client.say("/ghost/voice/*/weights/1", n / 200)
            dispatcher.tick()

    threads = [threading.Thread(target=hammer, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(command.op is Op.GAIN for command in control.commands) == 4 * 200


ANYTHING = (
    st.integers(-(2**63), 2**63 - 1)
    | st.floats(width=32)
    | st.text(max_size=8).filter(lambda text: "\0" not in text)
    | st.booleans()
    | st.sampled_from(["kick", "dusty", "x...", "/ghost/*/*/*", "/ghost/tempo"])
)
ADDRESSES = st.sampled_from(
    [
        endpoint.address.replace("{V}", voice).replace("{ROLE}", "kick").replace("{KIT}", "0")
        for endpoint in TABLE
        for voice in ("1", "*", "9")
    ]
)


@given(st.lists(st.tuples(ADDRESSES, st.lists(ANYTHING, max_size=4)), max_size=6), st.booleans())
def test_any_arguments_are_taken_or_refused_and_commands_are_sane(
    messages: list[tuple[str, list[Value]]], later: bool
) -> None:
    control = RecordingControl()
    folder = tempfile.TemporaryDirectory()
    dispatcher = Dispatcher(control, clock=lambda: 0.0, presets=Path(folder.name))
    client = Client(dispatcher)
    datagrams = [encode(address, *values) for address, values in messages]
    dispatcher.receive(bundle(control, float(later), *datagrams), client)
    control.now += 2
    dispatcher.tick()
    dispatcher.stop()
    folder.cleanup()
    assert not any("internal error" in str(answer) for answer in client.take())
    for command in control.commands:
        assert 0 <= command.voice < control.max_voices
        assert 0 <= command.index < 2**63
        assert abs(command.value) <= 1000


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
