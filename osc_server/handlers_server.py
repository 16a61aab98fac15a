"""Handlers of the server itself: status, leases, values, state, the end.

Threads: as `handling` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from typing import Final, cast

from ghostnote.kernels.errors import GhostnoteError

from .clients import MAX_CLIENTS
from .encode import encode, pack
from .handling import LONGEST_ANSWER, Call, Handler, in_background
from .session import Session
from .state import as_text, snapshot

STATUS_TAGS: Final = "iiffiiiddff"
VERSION_TAGS: Final = "siiiis"


def _status(session: Session, call: Call) -> None:
    def reply() -> list[bytes]:
        status = session.control.status()
        status = replace(
            status, late=status.late + session.late, dropped=status.dropped + session.dropped
        )
        return [encode("/ghost/status.reply", *astuple(status), tags=STATUS_TAGS)]

    call.effects.append(lambda: call.answer(reply))


def _version(session: Session, call: Call) -> None:
    def reply() -> list[bytes]:
        version = astuple(session.control.version())
        return [encode("/ghost/version.reply", *version, tags=VERSION_TAGS)]

    call.effects.append(lambda: call.answer(reply))


def _state(session: Session, call: Call) -> None:
    def reply() -> list[bytes]:
        text = as_text(snapshot(session))
        if len(text.encode()) > LONGEST_ANSWER:
            raise GhostnoteError("too long for one packet; ask for parts with /ghost/get")
        return [encode("/ghost/state.reply", text)]

    call.effects.append(lambda: call.answer(reply))


def _sync(session: Session, call: Call) -> None:
    number = cast(int, call.values[0])
    if not -(2**31) <= number < 2**31:
        raise GhostnoteError("id: must fit type i")
    in_background(session, call, lambda: session.reply(call.peer, "/ghost/synced", number))


def _notify(session: Session, call: Call) -> None:
    on, number, hz = cast("tuple[int, int | None, float]", call.values)

    def change() -> None:
        if on:
            given = session.clients.follow(call.peer, number, hz, session.clock())
        else:
            given = session.clients.leave(call.peer)
        session.done(call.peer, call.route.name, given, MAX_CLIENTS)

    call.effects.append(change)


def _notify_meters(session: Session, call: Call) -> None:
    on, hz = cast("tuple[int, float]", call.values)

    def change() -> None:
        if on:
            session.meters.follow(call.peer, hz, session.clock())
        else:
            session.meters.leave(call.peer)
        session.done(call.peer, call.route.name)

    call.effects.append(change)


def _notify_beat(session: Session, call: Call) -> None:
    on, per_beat = cast("tuple[int, int]", call.values)

    def change() -> None:
        if on:
            session.beats.follow(call.peer, float(per_beat), session.clock())
        else:
            session.beats.leave(call.peer)
        session.done(call.peer, call.route.name)

    call.effects.append(change)


def _error(session: Session, call: Call) -> None:
    on = bool(call.values[0])
    call.effects.append(lambda: session.tell_errors(call.peer, on))


def _dump(session: Session, call: Call) -> None:
    def change() -> None:
        session.dump_mode = cast(int, call.values[0])

    call.effects.append(change)


def _get(session: Session, call: Call) -> None:
    address = cast(str, call.values[0])
    call.budget.spend(session.routes.effort(address))
    routes = session.routes.find(address)
    if not routes:
        raise GhostnoteError(f"unknown address {address!r}")
    call.budget.spend(len(routes) - 1)

    def reply() -> Iterator[bytes]:
        answers = []
        for route in routes:
            value = session.value(route)
            if value is not None:
                arguments = route.endpoint.arguments
                exact = bool(arguments) and arguments[0].tag == "d"
                answers.append(encode(route.name, *value, tags="d" if exact else ""))
        if not answers:
            raise GhostnoteError(f"{address!r} has no value to tell")
        return pack(answers)

    call.effects.append(lambda: call.answer(reply))


def _quit(session: Session, call: Call) -> None:
    if not call.peer.is_local:
        raise GhostnoteError("taken only from the server's own machine")

    def end() -> None:
        session.done(call.peer, call.route.name)
        session.control.quit()

    call.effects.append(end)


HANDLERS: Final[dict[str, Handler]] = {
    "/ghost/status": _status,
    "/ghost/version": _version,
    "/ghost/state": _state,
    "/ghost/sync": _sync,
    "/ghost/notify": _notify,
    "/ghost/notify/meters": _notify_meters,
    "/ghost/notify/beat": _notify_beat,
    "/ghost/error": _error,
    "/ghost/dumpOSC": _dump,
    "/ghost/get": _get,
    "/ghost/quit": _quit,
}
