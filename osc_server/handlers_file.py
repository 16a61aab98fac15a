"""Handlers of what is written to disk: recordings and rendered loops.

Threads: as `handling` says. The jobs run on the worker's thread.
"""

from __future__ import annotations

from typing import Final, cast

from .handling import Call, Handler, in_background, voice_numbers
from .session import Session

_START, _STOP, _GRAB, _FORMAT = (
    f"/ghost/record/{word}" for word in ("start", "stop", "grab", "format")
)
_RENDER, _CANCEL = "/ghost/render", "/ghost/render/cancel"
_PROGRESS: Final = "/ghost/render/progress"


def _record_start(session: Session, call: Call) -> None:
    path, number = cast("tuple[str, int | None]", call.values)
    voice = _recorded(session, number)

    def job() -> None:
        written = session.control.start_recording(
            path, voice, _format(session), lambda reason: session.fail(call.peer, _START, reason)
        )
        session.done(call.peer, _START, written)

    in_background(session, call, job)


def _record_stop(session: Session, call: Call) -> None:
    number = cast("int | None", call.values[0])

    def job() -> None:
        # A button sends 1, and means what is being recorded.
        alone = number is not None and session.control.is_recording(number - 1)
        recording = session.control.stop_recording(number - 1 if alone and number else None)
        session.done(call.peer, _STOP, recording.path, recording.frames)

    in_background(session, call, job)


def _grab(session: Session, call: Call) -> None:
    bars, path, number = cast("tuple[float, str, int | None]", call.values)
    voice = _recorded(session, number)

    def job() -> None:
        recording = session.control.grab(bars, path, voice, _format(session))
        session.done(call.peer, _GRAB, recording.path, recording.frames)

    in_background(session, call, job)


def _set_format(session: Session, call: Call) -> None:
    name = cast(str, call.values[0])
    call.effects.append(lambda: session.set(_FORMAT, (name,), call.peer))


def _format(session: Session) -> str:
    (name,) = session.values.get(_FORMAT, ("float",))
    return str(name)


def _recorded(session: Session, number: int | None) -> int | None:
    return None if number is None else voice_numbers(session, number)[0]


def _render(session: Session, call: Call) -> None:
    request, peer = cast(str, call.values[0]), call.peer

    def progress(job: int, done: float) -> None:
        session.reply(peer, _PROGRESS, job, done)

    def ended(job: int, manifest: str, failure: str) -> None:
        if failure:
            session.fail(peer, _RENDER, f"job {job}: {failure}")
        else:
            session.done(peer, _RENDER, job, manifest)

    def start() -> None:
        session.control.render(request, progress, ended)

    in_background(session, call, start)


def _cancel(session: Session, call: Call) -> None:
    number = cast(int, call.values[0])

    def job() -> None:
        session.control.cancel_render(number)
        session.done(call.peer, _CANCEL, number)

    in_background(session, call, job)


HANDLERS: Final[dict[str, Handler]] = {
    _START: _record_start,
    _STOP: _record_stop,
    _GRAB: _grab,
    _FORMAT: _set_format,
    _RENDER: _render,
    _CANCEL: _cancel,
}
