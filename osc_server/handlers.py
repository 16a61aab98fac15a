"""What each address does: engine commands now, effects on our side when they are due.

Threads: one at a time, with the session's lock held. A handler checks everything and raises
GhostnoteError before it touches anything; it never waits. What a bundle with a timetag must not do
early (replies, values, slow work) it leaves in `Call.effects`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Final, TypeAlias, cast

from ghostnote.inference.patterns import parse_steps
from ghostnote.kernels.errors import GhostnoteError

from .clients import MAX_CLIENTS
from .commands import FRAME_NOW, MAX_STEPS, Command, Op
from .control import ModelInfo
from .encode import Value, encode, pack
from .peer import Peer, Silence
from .protocol import SILENT_DB, Access
from .routes import Route
from .session import Effect, Session

STATUS_TAGS: Final = "iiffiiiddff"
VERSION_TAGS: Final = "siiiis"
_MODEL_LIST, _MODEL_LOAD, _MODEL_INFO = (
    f"/ghost/model/{word}" for word in ("list", "load", "info")
)
_RECORD_START, _RECORD_STOP = "/ghost/record/start", "/ghost/record/stop"


@dataclass(slots=True)
class Call:
    """One message on one of the addresses that it means, and what it comes to.

    `values` are the table's arguments; `command` is the address as sent.
    """

    route: Route
    values: tuple[Value | None, ...]
    peer: Peer
    command: str
    commands: list[Command] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)


Handler: TypeAlias = Callable[[Session, Call], None]


def handle(session: Session, call: Call) -> None:
    """Fill in the commands and effects of `call`.

    Raises
    ------
    GhostnoteError
        If its values cannot be taken; nothing is changed then.
    """
    endpoint = call.route.endpoint
    if endpoint.access is Access.TRIGGER and call.values[0] == 0:
        return  # a button let go
    handler = SPECIAL.get(endpoint.address)
    if handler is not None:
        handler(session, call)
    elif endpoint.access is Access.SET:
        _parameter(session, call)
    else:
        _trigger(session, call)


def adopt_kits(session: Session, voices: Sequence[int]) -> None:
    """Learn the kits of newly loaded models, and begin with the same kit name, or the first."""
    before = {voice: session.values.get(f"/ghost/voice/{voice + 1}/kit") for voice in voices}
    session.learn_kits()
    for voice in voices:
        names = session.kits[voice]
        if names:
            kit = before[voice]
            name = kit[0] if kit and kit[0] in names else names[0]
            (route,) = session.routes.find(f"/ghost/voice/{voice + 1}/kit")
            call = Call(route, (name,), Silence(), route.name)
            handle(session, call)
            if not session.control.submit(call.commands, FRAME_NOW):
                raise GhostnoteError("the model plays, but its kit could not be set: queue full")
            for effect in call.effects:
                effect()


def _parameter(session: Session, call: Call) -> None:
    """Set a plain parameter: one engine command with one value."""
    endpoint, route = call.route.endpoint, call.route
    argument, value = endpoint.arguments[0], cast("int | float | bool", call.values[0])
    assert endpoint.op is not None
    voice = max(route.voice, 0)
    if argument.tag in "ih":
        call.commands.append(Command(endpoint.op, voice, index=int(value)))
    else:
        number = linear(value) if argument.unit == "dB" else float(value)
        call.commands.append(Command(endpoint.op, voice, value=number))
    call.effects.append(lambda: session.set(route.name, (value,), call.peer))


def _trigger(session: Session, call: Call) -> None:
    """Do a plain thing: one engine command without a value."""
    op, voice = call.route.endpoint.op, call.route.voice
    assert op is not None
    call.commands.append(Command(op, max(voice, 0)))
    if voice >= 0:
        call.effects.append(lambda: session.answer_state(voice, call.peer))
    elif op is Op.CLEAR_SCHED:
        call.effects.append(session.clear_scheduled)


def linear(decibels: float) -> float:
    """Return a gain as a factor; SILENT_DB and below is 0.

    >>> linear(-20.0), linear(-90.0)
    (0.1, 0.0)
    """
    return 0.0 if decibels <= SILENT_DB else math.pow(10.0, decibels / 20.0)


def _status(session: Session, call: Call) -> None:
    def reply() -> None:
        status = session.control.status()
        status = replace(
            status, late=status.late + session.late, dropped=status.dropped + session.dropped
        )
        session.reply(call.peer, "/ghost/status.reply", *astuple(status), tags=STATUS_TAGS)

    call.effects.append(reply)


def _version(session: Session, call: Call) -> None:
    def reply() -> None:
        version = astuple(session.control.version())
        session.reply(call.peer, "/ghost/version.reply", *version, tags=VERSION_TAGS)

    call.effects.append(reply)


def _sync(session: Session, call: Call) -> None:
    number = cast(int, call.values[0])
    if not -(2**31) <= number < 2**31:
        raise GhostnoteError("id: must fit type i")
    call.effects.append(
        lambda: session.in_background(
            call.peer, call.command, lambda: session.reply(call.peer, "/ghost/synced", number)
        )
    )


def _notify(session: Session, call: Call) -> None:
    on, number, hz = cast("tuple[int, int | None, float]", call.values)

    def change() -> None:
        if on:
            given = session.clients.follow(call.peer, number, hz, session.clock())
        else:
            given = session.clients.leave(call.peer)
        session.done(call.peer, call.route.name, given, MAX_CLIENTS)

    call.effects.append(change)


def _dump(session: Session, call: Call) -> None:
    def change() -> None:
        session.dump_mode = cast(int, call.values[0])

    call.effects.append(change)


def _get(session: Session, call: Call) -> None:
    address = cast(str, call.values[0])
    routes = session.routes.find(address)
    if not routes:
        raise GhostnoteError(f"unknown address {address!r}")

    def reply() -> None:
        answers = []
        for route in routes:
            if route.endpoint.access is Access.QUERY:
                answers.append(encode(route.name, session.control.voice_state(route.voice)))
            elif route.name in session.values:
                answers.append(encode(route.name, *session.values[route.name]))
        if not answers:
            raise GhostnoteError(f"{address!r} has no value to tell")
        for datagram in pack(answers):
            call.peer.send(datagram)

    call.effects.append(reply)


def _quit(session: Session, call: Call) -> None:
    if not call.peer.is_local:
        raise GhostnoteError("taken only from the server's own machine")

    def end() -> None:
        session.done(call.peer, call.route.name)
        session.control.quit()

    call.effects.append(end)


def _model_list(session: Session, call: Call) -> None:
    def job() -> None:
        session.done(call.peer, _MODEL_LIST, *session.control.models())

    call.effects.append(lambda: session.in_background(call.peer, call.command, job))


def _model_info(session: Session, call: Call) -> None:
    name = cast(str, call.values[0])

    def job() -> None:
        info = session.control.model_info(name)
        roles, kits = info.roles, info.kits
        session.done(
            call.peer, _MODEL_INFO, info.name, info.samplerate, info.receptive,
            len(roles), *roles, len(kits), *kits,
        )  # fmt: skip

    call.effects.append(lambda: session.in_background(call.peer, call.command, job))


def _model_load(session: Session, call: Call) -> None:
    name, number = cast("tuple[str, int | None]", call.values)
    voices = _voices(session, number)

    def job() -> None:
        voice = None if number is None else number - 1
        info: ModelInfo = session.control.load_model(name, voice)
        with session.lock:
            adopt_kits(session, voices)
        session.done(call.peer, _MODEL_LOAD, info.name, *info.kits, info.receptive, info.samplerate)

    call.effects.append(lambda: session.in_background(call.peer, call.command, job))


def _record_start(session: Session, call: Call) -> None:
    path = cast(str, call.values[0])

    def job() -> None:
        written = session.control.start_recording(
            path, lambda reason: session.fail(call.peer, _RECORD_START, reason)
        )
        session.done(call.peer, _RECORD_START, written)

    call.effects.append(lambda: session.in_background(call.peer, call.command, job))


def _record_stop(session: Session, call: Call) -> None:
    def job() -> None:
        recording = session.control.stop_recording()
        session.done(call.peer, _RECORD_STOP, recording.path, recording.frames)

    call.effects.append(lambda: session.in_background(call.peer, call.command, job))


def _state(session: Session, call: Call) -> None:
    voice = call.route.voice
    call.effects.append(
        lambda: session.reply(call.peer, call.route.name, session.control.voice_state(voice))
    )


def _kit(session: Session, call: Call) -> None:
    voice, kit = call.route.voice, call.values[0]
    names = _kit_names(session, voice)
    if isinstance(kit, str):
        if kit not in names:
            raise GhostnoteError(f"unknown kit {kit!r}; there are {', '.join(names)}")
        number = names.index(kit)
    else:
        number = int(cast(int, kit))
        if not 0 <= number < len(names):
            raise GhostnoteError(f"kit {number} is not within 0 to {len(names) - 1}")
    _mix(session, call, [float(index == number) for index in range(len(names))])


def _weights(session: Session, call: Call) -> None:
    names = _kit_names(session, call.route.voice)
    levels = [float(cast(float, value)) for value in call.values]
    if len(levels) != len(names):
        raise GhostnoteError(f"{len(levels)} weights for {len(names)} kits: {', '.join(names)}")
    _mix(session, call, levels)


def _weight(session: Session, call: Call) -> None:
    levels = list(session.levels[call.route.voice])
    levels[call.route.kit] = float(cast(float, call.values[0]))
    _mix(session, call, levels)


def _mix(session: Session, call: Call, levels: list[float]) -> None:
    """Give the call's voice a mixture of kits; `levels` need not sum to 1."""
    voice, names = call.route.voice, session.kits[call.route.voice]
    total = sum(levels)
    shares = [level / total if total else 0.0 for level in levels]
    for kit, share in enumerate(shares):
        call.commands.append(Command(Op.WEIGHT, voice, kit, share))
    session.levels[voice] = levels
    prefix = f"/ghost/voice/{voice + 1}"

    def note() -> None:
        session.set(f"{prefix}/weights", shares, call.peer)
        for kit, level in enumerate(levels):
            session.set(f"{prefix}/weights/{kit}", (level,), call.peer)
        pure = names[shares.index(1.0)] if 1.0 in shares else ""
        session.set(f"{prefix}/kit", (pure,), call.peer)

    call.effects.append(note)


def _trig_role(session: Session, call: Call) -> None:
    velocity = float(cast(float, call.values[0]))
    call.commands.append(Command(Op.TRIG, call.route.voice, call.route.role, velocity))


def _trig(session: Session, call: Call) -> None:
    name, velocity, number = cast("tuple[str, float, int | None]", call.values)
    role = _role(session, name)
    for voice in _voices(session, number):
        if velocity > 0:
            call.commands.append(Command(Op.TRIG, voice, role, velocity))


def _pattern(session: Session, call: Call) -> None:
    name, steps = cast("tuple[str, str]", call.values)
    _set_steps(session, call, _role(session, name), steps)


def _pattern_role(session: Session, call: Call) -> None:
    _set_steps(session, call, call.route.role, cast(str, call.values[0]))


def _set_steps(session: Session, call: Call, role: int, text: str) -> None:
    voice = call.route.voice
    steps = parse_steps(text)
    call.commands.append(Command(Op.PATTERN_LENGTH, voice, role, len(steps)))
    for index, velocity in enumerate(steps):
        call.commands.append(Command(Op.PATTERN_STEP, voice, role * MAX_STEPS + index, velocity))
    address = f"/ghost/pattern/{voice + 1}/{session.control.roles[role]}"
    call.effects.append(lambda: session.set(address, (text,), call.peer))


def _role(session: Session, name: str) -> int:
    roles = session.control.roles
    if name not in roles:
        raise GhostnoteError(f"unknown role {name!r}; there are {', '.join(roles) or 'none'}")
    return roles.index(name)


def _voices(session: Session, number: int | None) -> Sequence[int]:
    """Return the voices, from 0, that a voice argument means."""
    count = session.control.voices
    if number is None:
        return range(count)
    if number > count:
        raise GhostnoteError(f"unknown voice {number}; there are 1 to {count}")
    return (number - 1,)


def _kit_names(session: Session, voice: int) -> tuple[str, ...]:
    names = session.kits[voice]
    if not names:
        raise GhostnoteError(f"the model of voice {voice + 1} has no kits")
    return names


SPECIAL: Final[dict[str, Handler]] = {
    "/ghost/status": _status,
    "/ghost/version": _version,
    "/ghost/sync": _sync,
    "/ghost/notify": _notify,
    "/ghost/dumpOSC": _dump,
    "/ghost/get": _get,
    "/ghost/quit": _quit,
    _MODEL_LIST: _model_list,
    _MODEL_LOAD: _model_load,
    _MODEL_INFO: _model_info,
    _RECORD_START: _record_start,
    _RECORD_STOP: _record_stop,
    "/ghost/voice/{V}/state": _state,
    "/ghost/voice/{V}/kit": _kit,
    "/ghost/voice/{V}/weights": _weights,
    "/ghost/voice/{V}/weights/{KIT}": _weight,
    "/ghost/voice/{V}/trig/{ROLE}": _trig_role,
    "/ghost/trig": _trig,
    "/ghost/pattern/{V}": _pattern,
    "/ghost/pattern/{V}/{ROLE}": _pattern_role,
}
"""Handlers of the addresses that are more than one engine command; the others need only their op."""
