"""From an address as sent to the endpoints it means.

Threads: one at a time; the dispatcher calls everything here with its lock held.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from .commands import MAX_STEPS
from .endpoint import Endpoint
from .patterns import is_pattern, matches

CACHED_PATTERNS: Final = 256
_COMPARED_AT_ONCE: Final = 32  # addresses, in the time that a message takes


@dataclass(frozen=True, slots=True)
class Route:
    """One address of an endpoint, with the numbers (from 0) that its template's fields became.

    `name` is the address under which the value is kept and told: kits by number, not by name.
    """

    endpoint: Endpoint
    name: str
    voice: int = -1
    role: int = -1
    kit: int = -1
    step: int = -1


class Routes:
    """All addresses of a table: a dictionary for plain ones, a cached search for patterns.

    It begins with those of no voice; those of a voice come and go with it. Those of single steps,
    which are very many, are told by their number.
    """

    def __init__(self, table: Iterable[Endpoint], roles: Sequence[str]) -> None:
        self._roles = tuple(roles)
        self._routes: dict[str, Route] = {}
        self._found: dict[str, tuple[Route, ...]] = {}
        self._of_voice: dict[int, list[str]] = {-1: []}
        self._per_voice: list[Endpoint] = []
        self._steps: dict[str, Endpoint] = {}  # by what comes before and after the voice and role
        for endpoint in table:
            template = endpoint.address
            if "{STEP}" in template:
                self._steps[template.removesuffix("/{STEP}")] = endpoint
            elif "{V}" in template:
                self._per_voice.append(endpoint)
            else:
                self._routes[template] = Route(endpoint, template)
                self._of_voice[-1].append(template)

    def all(self) -> tuple[Route, ...]:
        """Return every route once."""
        return tuple(route for address, route in self._routes.items() if address == route.name)

    def of_voice(self, voice: int) -> tuple[Route, ...]:
        """Return every route of a voice once; of -1 those of no voice."""
        routes = {address: self._routes[address] for address in self._of_voice.get(voice, ())}
        return tuple(route for address, route in routes.items() if address == route.name)

    def add_voice(self, voice: int, kits: Sequence[str]) -> tuple[str, ...]:
        """Make the addresses of a voice, anew if it has any; return their names."""
        self.remove_voice(voice)
        routes: dict[str, Route] = {}
        for endpoint in self._per_voice:
            address = endpoint.address.replace("{V}", str(voice + 1))
            if "{ROLE}" in address:
                for role, word in enumerate(self._roles):
                    name = address.replace("{ROLE}", word)
                    routes[name] = Route(endpoint, name, voice, role)
            elif "{KIT}" in address:
                for kit, word in enumerate(kits):
                    name = address.replace("{KIT}", str(kit))
                    route = Route(endpoint, name, voice, kit=kit)
                    routes[name] = route
                    routes.setdefault(address.replace("{KIT}", word), route)
            else:
                routes[address] = Route(endpoint, address, voice)
        self._routes |= routes
        self._of_voice[voice] = list(routes)
        self._found.clear()
        return tuple(address for address, route in routes.items() if address == route.name)

    def remove_voice(self, voice: int) -> tuple[str, ...]:
        """Forget the addresses of a voice; return their names."""
        gone = [(address, self._routes.pop(address)) for address in self._of_voice.pop(voice, ())]
        self._found.clear()
        return tuple(address for address, route in gone if address == route.name)

    def exact(self, address: str) -> Route | None:
        """Return the route of a plain address; None where it is unknown or a pattern."""
        return self._routes.get(address)

    def find(self, address: str) -> tuple[Route, ...]:
        """Return the routes of a plain address or of a pattern; none if it is unknown.

        Raises
        ------
        GhostnoteError
            If a pattern is malformed.
        """
        route = self._routes.get(address)
        if route is not None:
            return (route,)
        if not is_pattern(address):
            return self._step(address)
        found = self._found.get(address)
        if found is None:
            # By name: a kit is matched by its word or by its number, but meant once.
            named = {
                route.name: route
                for known, route in self._routes.items()
                if not route.endpoint.exact and matches(address, known)
            }
            found = tuple(named.values())
            if len(self._found) >= CACHED_PATTERNS:
                self._found.clear()
            self._found[address] = found
        return found

    def effort(self, address: str) -> int:
        """Return how much work `find` has before it, as a number of plain messages.

        >>> Routes((), ()).effort("/ghost/tempo")
        0
        """
        if address in self._found or not is_pattern(address):
            return 0
        return 1 + len(self._routes) // _COMPARED_AT_ONCE

    def _step(self, address: str) -> tuple[Route, ...]:
        """Return the route of one step of a role."""
        before, _, number = address.rpartition("/")
        role = self._routes.get(before)
        endpoint = self._steps.get(role.endpoint.address) if role else None
        if role is None or endpoint is None or not (number.isascii() and number.isdigit()):
            return ()
        if len(number) > 2 or number.startswith("0") or int(number) > MAX_STEPS:
            return ()
        return (Route(endpoint, address, role.voice, role.role, step=int(number) - 1),)
