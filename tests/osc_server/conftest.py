"""Fixtures of the OSC side: an engine that notes, clocks moved by hand, a client.

A test module that needs other ones of these names has its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostnote.osc_server.dispatch import Dispatcher
from tests.osc_server.recorder import Client, Clock, RecordingControl
from tests.osc_server.stage import Stage, staged


@pytest.fixture
def control() -> RecordingControl:
    """The engine's side: voices 1 and 2 of kits dusty, vinyl and tape."""
    return RecordingControl()


@pytest.fixture
def clock() -> Clock:
    """The dispatcher's clock."""
    return Clock()


@pytest.fixture
def dispatcher(control: RecordingControl, clock: Clock, tmp_path: Path) -> Iterator[Dispatcher]:
    """A dispatcher that has been started; what that told the engine is forgotten."""
    dispatcher = Dispatcher(control, clock=clock, presets=tmp_path / "presets")
    dispatcher.start()
    control.batches.clear()
    yield dispatcher
    dispatcher.stop()


@pytest.fixture
def client(dispatcher: Dispatcher) -> Client:
    """A client of the dispatcher."""
    return Client(dispatcher)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server, and a Chromium that shows its panel."""
    with staged(tmp_path_factory.mktemp("server")) as made:
        yield made
