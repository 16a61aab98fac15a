"""Kits mixed by a morph between two and by a point of a square."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.osc_server.commands import Command, Op
from ghostnote.osc_server.encode import Value
from ghostnote.osc_server.handlers_kit import xy_weights
from tests.osc_server.recorder import Client, RecordingControl


@pytest.mark.parametrize(
    ("values", "weights"),
    [
        (("dusty", "tape", 0.25), (0.75, 0.0, 0.25)),
        ((0, 2, 0.25), (0.75, 0.0, 0.25)),
        (("tape", 1, 0), (0.0, 0.0, 1.0)),
        (("vinyl", "vinyl", 0.3), (0.0, 1.0, 0.0)),
    ],
)
def test_morph(
    values: tuple[Value, ...],
    weights: tuple[float, ...],
    client: Client,
    control: RecordingControl,
) -> None:
    assert client.say("/ghost/voice/2/morph", *values) == []
    assert control.commands == [
        pytest.approx(Command(Op.WEIGHT, 1, kit, weight)) for kit, weight in enumerate(weights)
    ]
    assert client.value("/ghost/voice/2/weights") == pytest.approx(weights)
    assert client.value("/ghost/voice/2/weights/0") == pytest.approx(weights[:1])


def test_xy_is_told_and_kept(client: Client, control: RecordingControl) -> None:
    follower = Client(client.dispatcher, "client b")
    follower.say("/ghost/notify", 1)
    client.dispatcher.tick()
    follower.take()
    client.say("/ghost/voice/1/xy", 0.5, 1.0)
    assert client.value("/ghost/voice/1/kit") == ("dusty",)
    client.dispatcher.session.clients.update(1e3 - 900 + 1)
    assert ("/ghost/voice/1/xy", 0.5, 1.0) in follower.take()
    assert client.value("/ghost/voice/1/xy") == (0.5, 1.0)


def test_xy_with_one_argument_or_out_of_the_square(client: Client) -> None:
    address = "/ghost/voice/1/xy"
    assert client.say(address, 0.5) == [("/fail", address, "takes f x f y; got 1")]
    assert client.say(address, 0.5, 1.5) == [("/fail", address, "y: 1.5 is not within 0 to 1")]
    assert client.say(address, math.nan, 0.5) == [("/fail", address, "x: nan is not within 0 to 1")]


def test_kits_stand_clockwise_from_the_top() -> None:
    points = [(0.5, 1.0), (1.0, 0.5), (0.5, 0.0), (0.0, 0.5)]
    for kit, (x, y) in enumerate(points):
        assert xy_weights(x, y, 4) == [float(other == kit) for other in range(4)]
    assert xy_weights(0.9, 0.5, 4)[1] > 0.9
    assert xy_weights(0.3, 0.3, 1) == [1.0]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 12))
def test_xy_weights_are_a_mixture_and_the_nearest_weighs_most(
    x: float, y: float, kits: int
) -> None:
    weights = xy_weights(x, y, kits)
    assert sum(weights) == pytest.approx(1.0)
    assert all(0.0 <= weight <= 1.0 for weight in weights)
    angles = [2 * math.pi * kit / kits for kit in range(kits)]
    distances = [
        math.hypot(x - 0.5 - 0.5 * math.sin(a), y - 0.5 - 0.5 * math.cos(a)) for a in angles
    ]
    assert distances[weights.index(max(weights))] == pytest.approx(min(distances), abs=1e-6)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (("gong", "tape", 0.5), "unknown kit 'gong'; there are dusty, vinyl, tape"),
        ((0, 3, 0.5), "kit 3 is not within 0 to 2"),
        ((0, 1, 1.5), "x: 1.5 is not within 0 to 1"),
        ((0, 1), "takes s|i a s|i b f x; got 2"),
    ],
)
def test_refused_morphs(
    values: tuple[Value, ...], reason: str, client: Client, control: RecordingControl
) -> None:
    before = dict(client.dispatcher.session.values)
    address = "/ghost/voice/1/morph"
    assert client.say(address, *values) == [("/fail", address, reason)]
    assert control.batches == []
    assert client.dispatcher.session.values == before
