"""Patterns by step, length, probability and swing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.inference.patterns import parse_steps
from ghostnote.osc_server.commands import FRAME_NOW, MAX_STEPS, Command, Op
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import Value, encode, encode_bundle
from ghostnote.osc_server.handlers_pattern import step_letter
from tests.osc_server.recorder import ROLES, Client, Clock, RecordingControl, bundle

KICK = "/ghost/pattern/1/kick"


def steps(control: RecordingControl) -> list[float]:
    """Return what the engine plays of the first role, from all that it was told."""
    velocities, length = [0.0] * MAX_STEPS, 0
    for command in control.commands:
        if command.op is Op.PATTERN_LENGTH and (command.voice, command.index) == (0, 0):
            length = int(command.value)
        elif command.op is Op.PATTERN_STEP and command.voice == 0 and command.index < MAX_STEPS:
            velocities[command.index] = command.value
    return velocities[:length]


def test_a_single_step(client: Client, control: RecordingControl) -> None:
    client.say(KICK, "x...")
    control.batches.clear()
    assert client.say(f"{KICK}/3", 1.0) == []
    assert control.batches == [
        (FRAME_NOW, [Command(Op.PATTERN_LENGTH, 0, 0, 4), Command(Op.PATTERN_STEP, 0, 2, 1.0)])
    ]
    assert client.value(KICK) == ("x.X.",)
    client.say(f"{KICK}/1", 0)
    assert client.value(KICK) == ("..X.",)
    client.say(f"{KICK}/2")
    assert client.value(KICK) == (".7X.",)  # 0.8 is nearest to 7 ninths


def test_a_step_beyond_the_end_makes_a_whole_bar(client: Client, control: RecordingControl) -> None:
    client.say(f"{KICK}/5", 0.75)
    assert client.value(KICK) == ("....x...........",)
    assert client.value(f"{KICK}/length") == (16,)
    assert steps(control) == [0, 0, 0, 0, 0.75] + [0] * 11
    client.say("/ghost/signature", 3)
    client.say(f"{KICK}/17", 1.0)
    assert client.value(f"{KICK}/length") == (24,)
    client.say(f"{KICK}/64", 1.0)
    assert client.value(f"{KICK}/length") == (64,)
    assert len(steps(control)) == 64


def test_bars_marked_in_the_text_do_not_count_as_steps(client: Client) -> None:
    client.say(KICK, "x...|x...")
    client.say(f"{KICK}/6", 1.0)
    assert client.value(KICK) == ("x...xX..",)


@pytest.mark.parametrize("address", [f"{KICK}/0", f"{KICK}/65", f"{KICK}/01", f"{KICK}/-1"])
def test_no_such_step(address: str, client: Client, control: RecordingControl) -> None:
    assert client.say(address, 1.0) == [("/fail", address, "unknown address")]
    assert control.batches == []


def test_steps_are_not_meant_by_patterns(client: Client, control: RecordingControl) -> None:
    client.say(f"{KICK}/*", 1.0)
    assert steps(control) == [0.0]  # a length of 1


def test_steps_of_one_bundle_add_up(client: Client, control: RecordingControl) -> None:
    messages = [encode(f"{KICK}/{step}", 1.0) for step in (1, 5, 9)]
    client.dispatcher.receive(encode_bundle(messages), client)
    assert client.value(KICK) == ("X...X...X.......",)
    later = bundle(control, 1.0, encode(f"{KICK}/2", 1.0))
    client.dispatcher.receive(later, client)
    client.say("/ghost/clearSched")
    client.say(f"{KICK}/3", 1.0)
    assert client.value(KICK) == ("X.X.X...X.......",)


def test_length(client: Client, control: RecordingControl) -> None:
    client.say(KICK, "x.X.")
    assert client.value(f"{KICK}/length") == (4,)
    client.say(f"{KICK}/length", 2)
    assert client.value(KICK) == ("x.X.",)  # kept, for when it is lengthened again
    assert steps(control) == [0.75, 0.0]
    client.say(f"{KICK}/length", 6)
    assert client.value(KICK) == ("x.X...",)
    assert steps(control) == [0.75, 0.0, 1.0, 0.0, 0.0, 0.0]
    client.say(f"{KICK}/length", 0)
    assert client.value(KICK) == ("",)
    assert steps(control) == []
    assert client.say(f"{KICK}/length", 65) == [
        ("/fail", f"{KICK}/length", "steps: 65 is not within 0 to 64 steps")
    ]


@pytest.mark.parametrize(
    ("name", "op"),
    [("probability", Op.PATTERN_PROBABILITY), ("swing", Op.PATTERN_SWING)],
)
def test_probability_and_swing(
    name: str, op: Op, client: Client, control: RecordingControl
) -> None:
    address = f"/ghost/pattern/2/snare/{name}"
    assert client.say(address, 0.25) == []
    assert control.commands == [Command(op, 1, 1, 0.25)]
    assert client.value(address) == (0.25,)
    for wrong in (-0.1, 1.5, float("nan")):
        assert client.say(address, wrong)[0][0] == "/fail"
    assert client.value(address) == (0.25,)


def test_clear(client: Client, control: RecordingControl) -> None:
    client.say(KICK, "x")
    client.say("/ghost/pattern/1/hat", "x")
    client.say("/ghost/pattern/2/hat", "x")
    client.say("/ghost/pattern/1/clear", 0)
    assert client.value(KICK) == ("x",)
    control.batches.clear()
    client.say("/ghost/pattern/1/clear", 1)
    assert control.commands == [Command(Op.PATTERN_LENGTH, 0, r, 0) for r in range(len(ROLES))]
    assert client.value("/ghost/pattern/1/hat") == ("",)
    assert client.value("/ghost/pattern/2/hat") == ("x",)


def test_followers_hear_the_text_that_a_step_makes(client: Client, clock: Clock) -> None:
    client.say("/ghost/notify", 1)
    client.dispatcher.tick()
    client.take()
    clock.now += 1
    client.say(f"{KICK}/1", 1.0)
    client.dispatcher.tick()
    told = client.take()
    assert (KICK, "X" + "." * 15) in told  # the one who set the step did not know it


@pytest.mark.parametrize(
    ("address", "values", "reason"),
    [
        (f"{KICK}/1", (1.5,), "velocity: 1.5 is not within 0 to 1"),
        (f"{KICK}/1", ("loud",), "velocity: wants a number, got type s"),
        ("/ghost/pattern/1/gong", ("x",), "unknown role 'gong'; there are kick, snare, hat"),
        ("/ghost/pattern/1/gong/1", (1.0,), "unknown role 'gong'; there are kick, snare, hat"),
        ("/ghost/pattern/7/kick/1", (1.0,), "unknown voice 7; there are 1, 2"),
        ("/ghost/pattern/1", ("gong", "x"), "unknown role 'gong'; there are kick, snare, hat"),
    ],
)
def test_refusals(
    address: str, values: tuple[Value, ...], reason: str, client: Client, control: RecordingControl
) -> None:
    before = dict(client.dispatcher.session.values)
    assert client.say(address, *values) == [("/fail", address, reason)]
    assert control.batches == []
    assert client.dispatcher.session.values == before


@given(st.floats(0, 1))
def test_letter_is_the_nearest(velocity: float) -> None:
    (told,) = parse_steps(step_letter(velocity))
    assert abs(told - velocity) <= 1 / 9
    assert (told == 0) == (velocity == 0)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(1, 64), st.sampled_from([0.0, 0.35, 0.75, 1.0])),
            st.tuples(st.just(0), st.integers(0, 64)),
        ),
        max_size=12,
    )
)
def test_the_engine_plays_what_is_read(changes: list[tuple[int, float]]) -> None:
    control = RecordingControl()
    dispatcher = Dispatcher(control)
    dispatcher.start()
    client = Client(dispatcher)
    for step, value in changes:
        client.say(f"{KICK}/{step or 'length'}", value)
    (text,), (length,) = client.value(KICK), client.value(f"{KICK}/length")
    assert list(parse_steps(str(text))[: int(length)]) == steps(control)
    dispatcher.stop()
