"""Handlers of time: tempo, beat, transport, and who is in charge of them.

Threads: as `handling` says.
"""

from __future__ import annotations

from typing import Final, cast

from ghostnote.kernels.errors import GhostnoteError

from .commands import Command, Op
from .handling import Call, Handler, parameter, plain_trigger
from .session import Session
from .table_time import FASTEST_TEMPO, SLOWEST_TEMPO

_SOURCE, _OFFSET, _TEMPO = "/ghost/sync/source", "/ghost/sync/offset", "/ghost/tempo"


def _refuse(session: Session, followed: bool) -> None:
    """Raise a GhostnoteError if the transport follows something other than messages."""
    if followed:
        raise GhostnoteError(f"the transport follows {session.source()}; see {_SOURCE}")


def _tempo(session: Session, call: Call) -> None:
    _refuse(session, session.control.owns_tempo())
    parameter(session, call)


def _transport(session: Session, call: Call) -> None:
    _refuse(session, session.control.owns_rolling())
    plain_trigger(session, call)


def _beat(session: Session, call: Call) -> None:
    beat, source = float(cast(float, call.values[0])), session.source()
    _refuse(session, source not in ("internal", "osc"))
    if source == "osc":
        session.control.follow_beat(beat, call.when)
    else:
        call.commands.append(Command(Op.BEAT, value=beat))


def _tap(session: Session, call: Call) -> None:
    _refuse(session, session.control.owns_tempo())
    tempo = session.taps.tap(session.clock())
    if tempo is None:
        return
    tempo = min(max(tempo, SLOWEST_TEMPO), FASTEST_TEMPO)
    call.commands.append(Command(Op.TEMPO, value=tempo))
    # The tempo is news to the one who tapped it, too.
    call.effects.append(lambda: session.set(_TEMPO, (tempo,), None))


def _signature(session: Session, call: Call) -> None:
    beats = cast(int, call.values[0])
    call.commands.append(Command(Op.SIGNATURE, value=float(beats)))
    call.effects.append(lambda: session.set(call.route.name, (beats,), call.peer))


def _source(session: Session, call: Call) -> None:
    source = cast(str, call.values[0])

    def job() -> None:
        session.control.follow(source)
        with session.lock:
            session.set(_SOURCE, (source,), call.peer)

    def change() -> None:
        if source == session.control.following():
            session.set(_SOURCE, (source,), call.peer)
        else:
            session.in_background(call.peer, call.command, job)

    call.effects.append(change)


def _offset(session: Session, call: Call) -> None:
    milliseconds = float(cast(float, call.values[0]))

    def change() -> None:
        session.control.follow_later(milliseconds)
        session.set(_OFFSET, (milliseconds,), call.peer)

    call.effects.append(change)


HANDLERS: Final[dict[str, Handler]] = {
    _TEMPO: _tempo,
    "/ghost/tap": _tap,
    "/ghost/beat": _beat,
    "/ghost/play": _transport,
    "/ghost/stop": _transport,
    "/ghost/continue": _transport,
    "/ghost/signature": _signature,
    _SOURCE: _source,
    _OFFSET: _offset,
}
