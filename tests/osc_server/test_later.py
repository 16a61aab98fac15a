"""Bundles and their timetags: what happens when, and what is told of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ghostnote.osc_server.budget import MAX_WORK
from ghostnote.osc_server.commands import FRAME_NOW, MAX_STEPS, Command, Op
from ghostnote.osc_server.dispatch import LATE_PER_SECOND, Dispatcher
from ghostnote.osc_server.encode import encode, encode_bundle
from ghostnote.osc_server.engine import ROOM_LATER, Engine, EngineOptions
from ghostnote.osc_server.osc import IMMEDIATELY, ntp_from_unix
from tests.osc_server.recorder import (
    RATE,
    Client,
    Clock,
    RecordingControl,
    bundle,
    weights,
)
from tests.osc_server.steady_model import steady_model

HOP = 24


class PlayingControl(RecordingControl):
    """A real engine, offline, and the rest as noted; unix time is what the engine has made."""

    def __init__(self) -> None:
        super().__init__()
        self.packed = steady_model()
        self.engine = Engine(self.packed, EngineOptions(RATE, 2))
        self.begin = self.now
        self.run(0.0)

    def run(self, seconds: float) -> None:
        """Plays on until so many seconds have been made."""
        self.engine.render(round(seconds * RATE))
        self.now = self.begin + (self.engine.frame - HOP // 2) / RATE

    def frame_at(self, unix_seconds: float) -> int:
        return super().frame_at(unix_seconds) - HOP // 2

    def exists(self, voice: int) -> bool:
        return self.engine.exists(voice)

    def submit(self, commands: Sequence[Command], frame: int) -> bool:
        return self.engine.submit(commands, frame)

    def new_voice(self, model: str, voice: int) -> None:
        self.engine.new_voice(self.packed, voice)


@pytest.fixture
def playing(tmp_path: Path) -> Iterator[tuple[Client, PlayingControl]]:
    """A client of a dispatcher with a real engine."""
    control = PlayingControl()
    dispatcher = Dispatcher(control, presets=tmp_path)
    dispatcher.start()
    yield Client(dispatcher), control
    dispatcher.stop()


def make_anew(client: Client, control: PlayingControl) -> None:
    """Frees voice 2 and makes it again, within half a second from the start."""
    assert client.say("/ghost/voice/2/free") == [("/ghost/voice/2/state", "free")]
    control.run(0.25)
    assert client.slow("/ghost/voice/new", "", 2) == [("/done", "/ghost/voice/new", 2)]
    control.run(0.5)
    assert control.exists(1)


def test_a_voice_is_not_freed_for_what_an_earlier_one_was_told(
    playing: tuple[Client, PlayingControl],
) -> None:
    client, control = playing
    client.dispatcher.receive(bundle(control, 1.0, encode("/ghost/voice/2/free")), client)
    make_anew(client, control)
    control.run(1.5)
    client.dispatcher.tick()
    assert client.take() == []
    assert control.exists(1)
    assert client.say("/ghost/voice/2/free") == [("/ghost/voice/2/state", "free")]
    control.run(2.0)
    assert not control.exists(1)


def test_values_of_a_voice_are_not_what_an_earlier_one_was_told(
    playing: tuple[Client, PlayingControl],
) -> None:
    client, control = playing
    later = [encode(f"/ghost/voice/{voice}/gain", -20.0) for voice in (1, 2)]
    later += [encode("/ghost/pattern/2/kick", "x..."), encode("/ghost/tempo", 90.0)]
    client.dispatcher.receive(bundle(control, 1.0, *later), client)
    make_anew(client, control)
    control.engine.log.pop_all()
    control.run(1.5)
    acted = [(op, voice) for _, op, voice, *_ in control.engine.log.pop_all().tolist()]
    assert sorted(acted) == sorted([(Op.GAIN, 0), (Op.TEMPO, 0)])
    assert client.value("/ghost/voice/1/gain") == (-20.0,)
    assert client.value("/ghost/tempo") == (90.0,)
    assert client.value("/ghost/voice/2/gain") == (0.0,)
    assert client.value("/ghost/pattern/2/kick") == ("",)


def test_a_packet_may_be_due_later_however_much_it_means(
    playing: tuple[Client, PlayingControl],
) -> None:
    assert ROOM_LATER >= MAX_WORK
    client, control = playing
    steps = encode("/ghost/pattern/1/kick", "x" * MAX_STEPS)
    messages = [steps] * (MAX_WORK // (MAX_STEPS + 1))
    client.dispatcher.receive(bundle(control, 0.5, *messages), client)
    assert client.take() == []
    control.run(1.0)
    assert client.value("/ghost/pattern/1/kick") == ("x" * MAX_STEPS,)
    assert control.engine.dropped == control.engine.late == 0


def test_faders_scheduled_then_cleared(client: Client, control: RecordingControl) -> None:
    later = bundle(control, 1.0, encode("/ghost/voice/1/weights/1", 1.0))
    client.dispatcher.receive(later, client)
    client.say("/ghost/clearSched")
    client.say("/ghost/voice/1/weights/2", 1.0)
    assert weights(control) == [0.5, 0.0, 0.5]


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
