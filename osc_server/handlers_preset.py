"""Handlers of presets.

Threads: as `handling` says. The jobs run on the worker's thread and take the lock themselves.
"""

from __future__ import annotations

from typing import Final, cast

from .handling import Call, Handler, answer_names, in_background
from .scene import SHARED, capture, mix, put
from .session import Session

_LIST, _SAVE, _LOAD, _MORPH, _DELETE = (
    f"/ghost/preset/{word}" for word in ("list", "save", "load", "morph", "delete")
)


def _list(session: Session, call: Call) -> None:
    def job() -> None:
        names = session.presets.names()
        answer_names(
            session, call, _LIST, names, "presets; delete some, or give them shorter names"
        )

    in_background(session, call, job)


def _save(session: Session, call: Call) -> None:
    name = cast(str, call.values[0])

    def job() -> None:
        with session.lock:
            scene = capture(session, SHARED)
        session.presets.save(name, scene)
        session.done(call.peer, _SAVE, name)

    in_background(session, call, job)


def _load(session: Session, call: Call) -> None:
    name = cast(str, call.values[0])

    def job() -> None:
        put(session, session.presets.load(name))
        session.done(call.peer, _LOAD, name)

    in_background(session, call, job)


def _morph(session: Session, call: Call) -> None:
    def job(number: int) -> None:
        with session.lock:
            newest = session.morphs.pop(number)
        session.guarded(newest.peer, newest.command, lambda: _do_morph(session, newest))

    def begin() -> None:
        # A fader sends faster than files are read and voices set: only its last place counts, and
        # takes one place among what waits. What was asked for after it keeps its turn.
        last = session.jobs
        if last not in session.morphs:
            last += 1
            session.in_background(call.peer, call.command, lambda: job(last))
        session.morphs[last] = call

    call.effects.append(begin)


def _do_morph(session: Session, call: Call) -> None:
    a, b, x = cast("tuple[str, str, float]", call.values)
    presets = session.presets
    put(session, mix(presets.load(a), presets.load(b), x, session.table))
    session.done(call.peer, _MORPH, a, b, x)


def _delete(session: Session, call: Call) -> None:
    name = cast(str, call.values[0])

    def job() -> None:
        session.presets.delete(name)
        session.done(call.peer, _DELETE, name)

    in_background(session, call, job)


HANDLERS: Final[dict[str, Handler]] = {
    _LIST: _list,
    _SAVE: _save,
    _LOAD: _load,
    _MORPH: _morph,
    _DELETE: _delete,
}
