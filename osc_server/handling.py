"""How a message becomes engine commands and effects: what all handlers share.

Threads: one at a time, with the session's lock held. A handler checks everything and raises
GhostnoteError before it touches anything; it never waits. What a bundle with a timetag must not do
early (replies, values, slow work) it leaves in `Call.effects`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast

from ghostnote.kernels.errors import GhostnoteError

from .arguments import convert
from .budget import Budget
from .commands import FRAME_NOW, Command, Op
from .encode import Value, encode
from .endpoint import Access
from .osc import OscMessage, parse_packet
from .peer import Peer
from .routes import Route
from .session import Effect, Session
from .table_parts import SILENT_DB

FULL_SECONDS: Final = 5.0
"""How long settings of our own wait for room in the engine's queue."""
LONGEST_ANSWER: Final = 60_000
"""Bytes of a text, or of texts: what fits a datagram, with room for the rest of the message."""


@dataclass(slots=True)
class Call:
    """One message on one of the addresses that it means, and what it comes to.

    `values` are the table's arguments; `command` is the address as sent; `when` is the unix time of
    its timetag, None where it is due now. Answers go out by `budget`, that of its packet.
    """

    route: Route
    values: tuple[Value | None, ...]
    peer: Peer
    command: str
    when: float | None = None
    budget: Budget = field(default_factory=Budget)
    commands: list[Command] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def answer(self, make: Callable[[], Iterable[bytes]]) -> None:
        """Send the datagrams that `make` returns to where the message came from, now.

        Raises
        ------
        TooMuch
            If the answers to its packet are too many by now.
        """
        self.budget.answer(self.peer, make)


Handler: TypeAlias = Callable[[Session, Call], None]
Setting: TypeAlias = "tuple[str, Sequence[Value]]"
"""An address and what to set it to."""


def in_background(session: Session, call: Call, job: Effect) -> None:
    """Leave `job` to the worker's thread, once the moment of `call` has come."""
    call.effects.append(lambda: session.in_background(call.peer, call.command, job))


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
    handler = session.handlers.get(endpoint.address)
    if handler is not None:
        handler(session, call)
    elif endpoint.access is Access.SET:
        parameter(session, call)
    else:
        plain_trigger(session, call)


def apply(
    session: Session,
    settings: Iterable[Setting],
    peer: Peer,
    *,
    without: frozenset[Op] = frozenset(),
) -> None:
    """Set parameters from inside, as one batch, now; the lock must be held.

    The engine is not told of commands in `without`.

    Raises
    ------
    GhostnoteError
        If one of them cannot be taken, or the engine's queue is full; nothing is changed then.
    """
    commands: list[Command] = []
    effects: list[Effect] = []
    try:
        for address, values in settings:
            for route in session.routes.find(address):
                given = convert(route.endpoint, message(address, values))
                call = Call(route, given, peer, address)
                handle(session, call)
                commands += [command for command in call.commands if command.op not in without]
                effects += call.effects
        if commands and not session.control.submit(commands, FRAME_NOW):
            raise QueueFull("the engine's queue is full; try again later")
    except GhostnoteError:
        session.forget_plans()
        raise
    for effect in effects:
        effect()


def apply_patiently(
    session: Session,
    settings: Sequence[Setting],
    peer: Peer,
    *,
    without: frozenset[Op] = frozenset(),
) -> None:
    """Do `apply` without the lock held, waiting a while for room in the engine's queue."""
    deadline = time.monotonic() + FULL_SECONDS
    while True:
        try:
            with session.lock:
                apply(session, settings, peer, without=without)
            return
        except QueueFull:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.005)


class QueueFull(GhostnoteError):
    """The engine's queue has no room for a batch."""


def message(address: str, values: Sequence[Value]) -> OscMessage:
    """Return the message that says so, as if it had come over the network."""
    return cast(OscMessage, parse_packet(encode(address, *values)))


def parameter(session: Session, call: Call) -> None:
    """Set a plain parameter: one engine command with one value."""
    endpoint, route = call.route.endpoint, call.route
    argument, value = endpoint.arguments[0], cast("int | float | bool", call.values[0])
    assert endpoint.op is not None
    voice = max(route.voice, 0)
    if argument.tag in "ih":
        call.commands.append(Command(endpoint.op, voice, index=int(value)))
    else:
        number = linear(value) if argument.is_level else float(value)
        call.commands.append(Command(endpoint.op, voice, max(route.role, 0), number))
    call.effects.append(lambda: session.set(route.name, (value,), call.peer))


def plain_trigger(session: Session, call: Call) -> None:
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


def answer_names(
    session: Session, call: Call, command: str, names: Sequence[str], many: str
) -> None:
    """Answer a command with names, from the worker's thread.

    Raises
    ------
    GhostnoteError
        If one packet cannot hold them; `many` says what there are too many of, and what to do.
    """
    size = sum(len(name.encode()) + 5 for name in names)  # with its tag and its padding
    if size > LONGEST_ANSWER:
        raise GhostnoteError(f"too long for one packet: {len(names)} {many}")
    with session.lock:
        call.answer(lambda: [encode("/done", command, *names)])


def role_number(session: Session, name: str) -> int:
    """Return the engine's number of a role."""
    roles = session.control.roles
    if name not in roles:
        raise GhostnoteError(unknown_name("role", name, roles))
    return roles.index(name)


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """Return what to say of a role's or kit's name that is not there."""
    return f"unknown {kind} {name!r}; there are {', '.join(known) or 'none'}"


def voice_numbers(session: Session, number: int | None) -> Sequence[int]:
    """Return the voices, from 0, that a voice argument means; None means all."""
    if number is None:
        return sorted(session.voices)
    if number - 1 not in session.voices:
        raise GhostnoteError(session.unknown_voice(number))
    return (number - 1,)
