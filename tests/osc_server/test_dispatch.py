"""The dispatcher: what a message becomes, what goes back, and when."""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.osc_server import handlers
from ghostnote.osc_server.commands import FRAME_NOW, MAX_STEPS, Command, Op
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import Value, encode, encode_bundle
from ghostnote.osc_server.endpoint import Access, Endpoint
from ghostnote.osc_server.protocol import TABLE
from ghostnote.osc_server.table_parts import DEFAULT_VELOCITY
from tests.osc_server.recorder import (
    KITS,
    ROLES,
    Client,
    Clock,
    RecordingControl,
    bundle,
    weights,
)


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
