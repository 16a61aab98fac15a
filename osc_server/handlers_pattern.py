"""Handlers of triggers and patterns.

The steps of a role are kept as their text, and so many of them as its length says are played. The
text is all that is known of them: a step set by number takes the nearest velocity that it can tell.
Threads: as `handling` says.
"""

from __future__ import annotations

from typing import Final, cast

from ghostnote.inference.patterns import parse_steps

from .commands import MAX_STEPS, Command, Op
from .handling import Call, Handler, role_number, voice_numbers
from .session import Session

STEPS_PER_BEAT: Final = 4
_LETTERS: Final = ".xXo123456789"


def step_letter(velocity: float) -> str:
    """Return the character of a pattern that is nearest to a velocity.

    >>> "".join(map(step_letter, (0.0, 0.01, 0.35, 0.76, 0.8, 1.0)))
    '.1ox7X'
    """
    if velocity <= 0.0:
        return "."
    return min(_LETTERS[1:], key=lambda letter: abs(parse_steps(letter)[0] - velocity))


def _trig_role(session: Session, call: Call) -> None:
    velocity = float(cast(float, call.values[0]))
    call.commands.append(Command(Op.TRIG, call.route.voice, call.route.role, velocity))


def _trig(session: Session, call: Call) -> None:
    name, velocity, number = cast("tuple[str, float, int | None]", call.values)
    role = role_number(session, name)
    for voice in voice_numbers(session, number):
        if velocity > 0:
            call.commands.append(Command(Op.TRIG, voice, role, velocity))


def _pattern(session: Session, call: Call) -> None:
    name, text = cast("tuple[str, str]", call.values)
    _set_steps(session, call, role_number(session, name), text, len(parse_steps(text)))


def _pattern_role(session: Session, call: Call) -> None:
    text = cast(str, call.values[0])
    _set_steps(session, call, call.route.role, text, len(parse_steps(text)))


def _length(session: Session, call: Call) -> None:
    length, role = cast(int, call.values[0]), call.route.role
    text, _ = session.patterns[call.route.voice][role]
    missing = length - len(parse_steps(text))
    if length == 0:
        text = ""
    elif missing > 0:
        text += "." * missing
    _set_steps(session, call, role, text, length)


def _step(session: Session, call: Call) -> None:
    velocity, role, step = float(cast(float, call.values[0])), call.route.role, call.route.step
    text, length = session.patterns[call.route.voice][role]
    letters = _letters(text)
    if step >= length:
        (beats,) = session.values.get("/ghost/signature", (4,))
        bar = STEPS_PER_BEAT * int(beats)
        length = min(MAX_STEPS, -(-(step + 1) // bar) * bar)
        letters += "." * (length - len(letters))
    letters[step] = step_letter(velocity)
    _set_steps(session, call, role, "".join(letters), length)


def _clear(session: Session, call: Call) -> None:
    for role in range(len(session.control.roles)):
        _set_steps(session, call, role, "", 0)


def _set_steps(session: Session, call: Call, role: int, text: str, length: int) -> None:
    """Give the call's voice the steps of a role; so many of them are played."""
    voice, steps = call.route.voice, parse_steps(text)
    before = parse_steps(session.patterns[voice][role][0])
    call.commands.append(Command(Op.PATTERN_LENGTH, voice, role, length))
    for index, velocity in enumerate(steps):
        # One step of a grid is one command, not all of them again.
        if call.route.step < 0 or before[index : index + 1] != (velocity,):
            place = role * MAX_STEPS + index
            call.commands.append(Command(Op.PATTERN_STEP, voice, place, velocity))
    session.patterns[voice][role] = (text, length)
    address = f"/ghost/pattern/{voice + 1}/{session.control.roles[role]}"

    def note() -> None:
        # Of a single step its sender does not know the whole text.
        known_to = call.peer if call.route.step < 0 else None
        session.set(address, (text,), known_to)
        session.set(f"{address}/length", (length,), call.peer)

    call.effects.append(note)


def _letters(text: str) -> list[str]:
    return [letter for letter in text if letter != "|"]


HANDLERS: Final[dict[str, Handler]] = {
    "/ghost/voice/{V}/trig/{ROLE}": _trig_role,
    "/ghost/trig": _trig,
    "/ghost/pattern/{V}": _pattern,
    "/ghost/pattern/{V}/{ROLE}": _pattern_role,
    "/ghost/pattern/{V}/{ROLE}/length": _length,
    "/ghost/pattern/{V}/{ROLE}/{STEP}": _step,
    "/ghost/pattern/{V}/clear": _clear,
}
