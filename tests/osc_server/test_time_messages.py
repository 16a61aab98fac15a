"""Tempo, beat, taps, transport, and a source of time that takes them away."""

from __future__ import annotations

import math

import pytest

from ghostnote.osc_server.commands import FRAME_NOW, Command, Op
from ghostnote.osc_server.encode import Value, encode
from tests.osc_server.recorder import RATE, Client, Clock, RecordingControl, bundle


@pytest.mark.parametrize(
    ("address", "values", "expected"),
    [
        ("/ghost/continue", (), Command(Op.ROLL)),
        ("/ghost/quantum", (4,), Command(Op.QUANTUM, value=4.0)),
        ("/ghost/signature", (3.0,), Command(Op.SIGNATURE, value=3.0)),
        ("/ghost/beat", (16,), Command(Op.BEAT, value=16.0)),
        ("/ghost/master/limiter", (0,), Command(Op.LIMITER, value=0.0)),
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
    assert control.batches == [(FRAME_NOW, [expected])]


@pytest.mark.parametrize("tempo", [0, -120.0, math.nan, 1e9, math.inf, -math.inf, 9.99, 1001])
def test_impossible_tempi(tempo: float, client: Client, control: RecordingControl) -> None:
    ((fail, address, reason),) = client.say("/ghost/tempo", tempo)
    assert (fail, address) == ("/fail", "/ghost/tempo")
    assert str(reason).endswith("is not within 10 to 1000 bpm")
    assert control.batches == []
    assert client.value("/ghost/tempo") == (120.0,)


@pytest.mark.parametrize(
    ("address", "value", "reason"),
    [
        ("/ghost/beat", -1.0, "beat: -1 is not within 0 to 1e+09 beats"),
        ("/ghost/beat", math.nan, "beat: nan is not within 0 to 1e+09 beats"),
        ("/ghost/quantum", -1, "quantum: -1 is not within 0 to 64 beats"),
        ("/ghost/signature", 0, "beats: 0 is not within 1 to 16 beats"),
        ("/ghost/sync/source", "sun", "source: 'sun' is none of internal, osc, jack, midi, link"),
        ("/ghost/sync/source", 1, "source: wants a string, got type i"),
        ("/ghost/sync/offset", 1e4, "offset: 10000 is not within -1000 to 1000 ms"),
        ("/ghost/record/format", "16", "format: '16' is none of float, 24"),
    ],
)
def test_refusals(
    address: str, value: Value, reason: str, client: Client, control: RecordingControl
) -> None:
    before = dict(client.dispatcher.session.values)
    assert client.say(address, value) == [("/fail", address, reason)]
    assert control.batches == []
    assert client.dispatcher.session.values == before


def test_beat_at_a_timetag(client: Client, control: RecordingControl) -> None:
    client.dispatcher.receive(bundle(control, 0.5, encode("/ghost/beat", 8.0)), client)
    assert control.batches == [(RATE // 2, [Command(Op.BEAT, value=8.0)])]


def test_taps_give_the_tempo(client: Client, control: RecordingControl, clock: Clock) -> None:
    client.say("/ghost/notify", 1)
    client.say("/ghost/tap")
    assert control.batches == []
    for seconds in (0.5, 0.4, 0.6):
        clock.now += seconds
        client.say("/ghost/tap")
        client.say("/ghost/tap", 0)  # the button let go
    tempi = [command.value for command in control.commands]
    assert tempi == pytest.approx([120.0, 60 / 0.45, 120.0])
    assert client.value("/ghost/tempo") == pytest.approx((120.0,))
    clock.now += 10
    client.say("/ghost/tap")  # the first of new ones
    clock.now += 1
    client.say("/ghost/tap")
    assert control.commands[-1].value == pytest.approx(60.0)
    client.dispatcher.tick()
    assert ("/ghost/tempo", 60.0) in client.take()  # the one who taps, too


def test_taps_of_no_tempo(client: Client, control: RecordingControl, clock: Clock) -> None:
    client.say("/ghost/tap")
    client.say("/ghost/tap")  # at the same moment
    assert control.batches == []
    clock.now += 0.001
    client.say("/ghost/tap")
    assert control.commands[-1].value == 1000.0


def test_source_of_time(client: Client, control: RecordingControl) -> None:
    assert client.value("/ghost/sync/source") == ("internal",)
    assert client.slow("/ghost/sync/source", "jack") == []
    assert control.followed == ["jack"]
    assert client.value("/ghost/sync/source") == ("jack",)
    for address in ("/ghost/tempo", "/ghost/beat", "/ghost/play", "/ghost/stop", "/ghost/tap"):
        assert client.say(address, 100) == [
            ("/fail", address, "the transport follows jack; see /ghost/sync/source")
        ]
    assert client.say("/ghost/continue")[0][0] == "/fail"
    assert control.batches == []
    assert client.slow("/ghost/sync/source", "link") == [
        (
            "/fail",
            "/ghost/sync/source",
            "Ableton Link is not installed: pip install ghostnote[link]",
        )
    ]
    assert client.value("/ghost/sync/source") == ("jack",)
    client.slow("/ghost/sync/source", "internal")
    assert client.say("/ghost/play") == []
    client.say("/ghost/sync/offset", -5.0)
    assert control.offset == -5.0


def test_beats_of_the_source_osc_are_smoothed(client: Client, control: RecordingControl) -> None:
    client.slow("/ghost/sync/source", "osc")
    client.say("/ghost/beat", 4.0)
    client.dispatcher.receive(bundle(control, 0.5, encode("/ghost/beat", 5.0)), client)
    (first, (beat, unix)) = control.beats
    assert first == (4.0, None)
    assert beat == 5.0
    assert unix == pytest.approx(control.now + 0.5)
    assert control.batches == []
    assert client.say("/ghost/tempo", 90.0) == []


def test_followers_hear_of_the_transport(
    client: Client, control: RecordingControl, clock: Clock
) -> None:
    client.say("/ghost/notify", 1)
    client.dispatcher.tick()
    client.take()
    assert client.value("/ghost/rolling") == (False,)
    control.rolling = True
    clock.now += 1
    client.dispatcher.tick()
    assert client.take() == [("/ghost/rolling", True)]
    assert client.value("/ghost/rolling") == (True,)
    control.beat = 2.5
    assert client.value("/ghost/beat") == (2.5,)


def test_followers_hear_the_sources_tempo_and_error(
    client: Client, control: RecordingControl, clock: Clock
) -> None:
    client.slow("/ghost/sync/source", "jack")
    client.say("/ghost/notify", 1, 1, 100.0)
    control.tempo, control.error_ms = 133.0, 0.5
    for _ in range(30):
        clock.now += 0.1
        client.dispatcher.tick()
    told = client.take()
    assert told.count(("/ghost/tempo", 133.0)) == 1
    assert 2 <= told.count(("/ghost/sync/error", 0.5)) <= 4
    assert client.value("/ghost/tempo") == (133.0,)


def test_own_tempo_is_not_taken_back_before_the_engine_has_it(
    client: Client, control: RecordingControl, clock: Clock
) -> None:
    client.slow("/ghost/sync/source", "osc")
    client.say("/ghost/tempo", 90.0)
    for _ in range(3):
        clock.now += 0.02
        client.dispatcher.tick()
    assert client.value("/ghost/tempo") == (90.0,)
