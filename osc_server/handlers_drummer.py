"""Handlers of the drummers.

Threads: as `handling` says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, cast

from ghostnote.inference.drummer import DrummerSettings
from ghostnote.inference.drummer_file import read_spec
from ghostnote.inference.drummer_spec import parse_style

from .handling import Call, Handler, answer_names, in_background
from .session import Session
from .table_drummer import DRUMMERS

_STYLES: Final = "/ghost/drummer/styles"


def _start(session: Session, call: Call) -> None:
    _play(session, call, on=True)


def _stop(session: Session, call: Call) -> None:
    _play(session, call, on=False)


def _playing(session: Session, call: Call) -> None:
    _play(session, call, on=bool(call.values[0]))


def _play(session: Session, call: Call, *, on: bool) -> None:
    voice = call.route.voice
    if on:
        read_spec()  # a drummer that cannot be had is told now

    def act() -> None:
        if voice not in session.voices:
            return
        (session.drummers.start if on else session.drummers.stop)(voice)
        address = f"/ghost/voice/{voice + 1}/drummer/playing"
        known_to = call.peer if call.route.name == address else None
        session.set(address, (on,), known_to)

    call.effects.append(act)


def _set(session: Session, call: Call) -> None:
    """Set what a drummer's settings call as the address ends."""
    (value,), voice = call.values, call.route.voice
    name = call.route.name.rpartition("/")[2]
    assert value is not None
    endpoint = call.route.endpoint
    replace(
        DrummerSettings(), **cast(Any, {name: value})
    )  # refuses what no drummer can be asked for
    if name == "style" and value != session.default(endpoint):
        parse_style(read_spec(), cast(str, value))

    def act() -> None:
        if voice in session.voices:
            session.drummers.set(voice, name, value)
            session.set(call.route.name, (value,), call.peer)

    call.effects.append(act)


def _styles(session: Session, call: Call) -> None:
    def job() -> None:
        answer_names(session, call, _STYLES, read_spec().labels, "styles")

    in_background(session, call, job)


HANDLERS: Final[dict[str, Handler]] = {
    **{endpoint.address: _set for endpoint in DRUMMERS},
    "/ghost/voice/{V}/drummer/start": _start,
    "/ghost/voice/{V}/drummer/stop": _stop,
    "/ghost/voice/{V}/drummer/playing": _playing,
    _STYLES: _styles,
}
