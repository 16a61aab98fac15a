"""Handlers of the kits' mixture: one kit, weights, faders, morph and a point of a square.

Threads: as `handling` says.
"""

from __future__ import annotations

import math
from typing import Final, cast

from ghostnote.kernels.errors import GhostnoteError

from .commands import Command, Op
from .handling import Call, Handler, unknown_name
from .session import Session

ON_THE_POINT: Final = 1e-4
"""So near to a kit's point it plays pure: a point in 32-bit floats never quite meets it."""


def xy_weights(x: float, y: float, kits: int) -> list[float]:
    """Return the weights of `kits` kits at a point of the unit square, in sum 1.

    They stand evenly on the circle of radius 0.5 about (0.5, 0.5), the first at the top and on
    clockwise, and weigh the inverse of their squared distances.

    >>> xy_weights(0.5, 1.0, 4), xy_weights(0.5, 0.5, 4)
    ([1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25])
    """
    angles = [2.0 * math.pi * kit / kits for kit in range(kits)]
    distances = [
        math.hypot(x - 0.5 - 0.5 * math.sin(a), y - 0.5 - 0.5 * math.cos(a)) for a in angles
    ]
    nearest = min(distances)
    if nearest < ON_THE_POINT:
        return [float(kit == distances.index(nearest)) for kit in range(kits)]
    shares = [(nearest / distance) ** 2 for distance in distances]
    return [share / sum(shares) for share in shares]


def _kit(session: Session, call: Call) -> None:
    names = _kit_names(session, call.route.voice)
    number = _kit_number(names, call.values[0])
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


def _morph(session: Session, call: Call) -> None:
    names = _kit_names(session, call.route.voice)
    a, b = (_kit_number(names, value) for value in call.values[:2])
    x = float(cast(float, call.values[2]))
    levels = [0.0] * len(names)
    levels[a] += 1.0 - x
    levels[b] += x
    _mix(session, call, levels)


def _xy(session: Session, call: Call) -> None:
    names = _kit_names(session, call.route.voice)
    x, y = (float(cast(float, value)) for value in call.values)
    _mix(session, call, xy_weights(x, y, len(names)))
    call.effects.append(lambda: session.set(call.route.name, (x, y), call.peer))


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


def _kit_number(names: tuple[str, ...], kit: object) -> int:
    if isinstance(kit, str):
        if kit not in names:
            raise GhostnoteError(unknown_name("kit", kit, names))
        return names.index(kit)
    number = int(cast(int, kit))
    if not 0 <= number < len(names):
        raise GhostnoteError(f"kit {number} is not within 0 to {len(names) - 1}")
    return number


def _kit_names(session: Session, voice: int) -> tuple[str, ...]:
    names = session.kits[voice]
    if not names:
        raise GhostnoteError(f"the model of voice {voice + 1} has no kits")
    return names


HANDLERS: Final[dict[str, Handler]] = {
    "/ghost/voice/{V}/kit": _kit,
    "/ghost/voice/{V}/weights": _weights,
    "/ghost/voice/{V}/weights/{KIT}": _weight,
    "/ghost/voice/{V}/morph": _morph,
    "/ghost/voice/{V}/xy": _xy,
}
