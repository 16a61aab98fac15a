"""Handlers of voices' life and of their models.

Threads: as `handling` says. The jobs run on the worker's thread and take the lock themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from ghostnote.kernels.errors import GhostnoteError

from .commands import Command, Op
from .encode import encode
from .endpoint import Access
from .handling import (
    Call,
    Handler,
    Setting,
    answer_names,
    apply_patiently,
    in_background,
    voice_numbers,
)
from .peer import Peer, Silence
from .session import Session

_LIST, _LOAD, _INFO = (f"/ghost/model/{word}" for word in ("list", "load", "info"))
_NEW = "/ghost/voice/new"

_BEGUN_WITH: Final = frozenset(
    {
        Op.SEED,
        Op.WEIGHT,
        Op.HOLD,
        Op.PATTERN_LENGTH,
        Op.PATTERN_PROBABILITY,
        Op.PATTERN_SWING,
    }
)
"""What a voice of the engine begins with; told again, these would wait for the quantum."""


def defaults(session: Session, voice: int) -> list[Setting]:
    """Return every parameter of `voice` (-1: those of no voice) with its default."""
    settings: list[Setting] = []
    for route in session.routes.of_voice(voice):
        if route.endpoint.access is Access.SET:
            value = session.default(route.endpoint)
            for_kits = route.endpoint.arguments[0].tag == "si"
            if value is not None and (not for_kits or session.kits[voice]):
                settings.append((route.name, (value,)))
    return settings


def add_voice(session: Session, model: str, number: int | None) -> int:
    """Make a voice (from 0; None: the lowest free) with everything at its default; return it.

    For the worker's thread, without the lock.

    Raises
    ------
    GhostnoteError
        If it is there already, if there are as many as there may be, or if its model cannot be had.
    """
    control = session.control
    with session.lock:
        if number is None:
            number = next(
                (
                    n
                    for n in range(control.max_voices)
                    if n not in session.voices and not control.exists(n)
                ),
                None,
            )
            if number is None:
                raise GhostnoteError(f"there are {control.max_voices} voices; free one first")
        elif number >= control.max_voices:
            raise GhostnoteError(f"id {number + 1} is not within 1 to {control.max_voices}")
        elif number in session.voices:
            raise GhostnoteError(f"voice {number + 1} is there already")
    control.new_voice(model, number)
    with session.lock:
        session.add_voice(number)
        settings = defaults(session, number)
    apply_patiently(session, settings, Silence(), without=_BEGUN_WITH)
    return number


def remove_voice(session: Session, voice: int, peer: Peer) -> None:
    """Let the addresses of a voice go, and tell that it is free; the engine has been told."""
    session.remove_voice(voice)
    address = f"/ghost/voice/{voice + 1}/state"
    session.tell(address, ("free",), peer)
    session.reply(peer, address, "free")


def adopt_kits(session: Session, voices: Sequence[int]) -> None:
    """Learn the kits of newly loaded models, and begin with the same kit name, or the first.

    For the worker's thread, without the lock.
    """
    settings: list[Setting] = []
    with session.lock:
        for voice in sorted(session.voices.intersection(voices)):
            before = session.values.get(f"/ghost/voice/{voice + 1}/kit")
            session.learn_model(voice)
            names = session.kits[voice]
            if names:
                name = before[0] if before and before[0] in names else names[0]
                settings.append((f"/ghost/voice/{voice + 1}/kit", (name,)))
    apply_patiently(session, settings, Silence())


def _new(session: Session, call: Call) -> None:
    model, number = cast("tuple[str, int | None]", call.values)

    def job() -> None:
        voice = add_voice(session, model, None if number is None else number - 1)
        session.done(call.peer, _NEW, voice + 1)

    in_background(session, call, job)


def _free(session: Session, call: Call) -> None:
    voice = call.route.voice
    call.commands.append(Command(Op.VOICE_FREE, voice))
    call.effects.append(lambda: remove_voice(session, voice, call.peer))


def _query(session: Session, call: Call) -> None:
    def reply() -> list[bytes]:
        value = session.value(call.route)
        assert value is not None
        return [encode(call.route.name, *value)]

    call.effects.append(lambda: call.answer(reply))


def _model_list(session: Session, call: Call) -> None:
    def job() -> None:
        names = session.control.models()
        answer_names(session, call, _LIST, names, "models; keep fewer in the folder of --models")

    in_background(session, call, job)


def _model_info(session: Session, call: Call) -> None:
    name = cast(str, call.values[0])

    def job() -> None:
        info = session.control.model_info(name)
        roles, kits = info.roles, info.kits
        session.done(
            call.peer, _INFO, info.name, info.samplerate, info.receptive,
            len(roles), *roles, len(kits), *kits,
        )  # fmt: skip

    in_background(session, call, job)


def _model_load(session: Session, call: Call) -> None:
    name, number = cast("tuple[str, int | None]", call.values)
    voices = voice_numbers(session, number)

    def job() -> None:
        info = session.control.load_model(name, voices)
        adopt_kits(session, voices)
        session.done(call.peer, _LOAD, info.name, *info.kits, info.receptive, info.samplerate)

    in_background(session, call, job)


def _prime(session: Session, call: Call) -> None:
    voice, path = call.route.voice, cast(str, call.values[0])

    def job() -> None:
        with session.lock:
            weights = session.values.get(f"/ghost/voice/{voice + 1}/weights", ())
        session.control.prime(voice, path, [float(weight) for weight in weights])
        session.done(call.peer, call.route.name, path)

    in_background(session, call, job)


def _out(session: Session, call: Call) -> None:
    pair, route, outputs = cast(int, call.values[0]), call.route, session.control.outputs
    if pair > outputs:
        raise GhostnoteError(f"pair {pair} is not within 1 to {outputs} (--outputs of serve)")
    call.commands.append(Command(Op.OUT, route.voice, pair - 1))
    call.effects.append(lambda: session.set(route.name, (pair,), call.peer))


HANDLERS: Final[dict[str, Handler]] = {
    _LIST: _model_list,
    _LOAD: _model_load,
    _INFO: _model_info,
    _NEW: _new,
    "/ghost/voice/{V}/free": _free,
    "/ghost/voice/{V}/state": _query,
    "/ghost/voice/{V}/model": _query,
    "/ghost/rolling": _query,
    "/ghost/voice/{V}/prime": _prime,
    "/ghost/voice/{V}/out": _out,
}
