"""From an address as sent to the endpoints it means.

Threads: one at a time; the dispatcher calls everything here with its lock held.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from .patterns import is_pattern, matches
from .protocol import Endpoint

CACHED_PATTERNS: Final = 256


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


class Routes:
    """All addresses of a table: a dictionary for plain ones, a cached search for patterns.

    Parameters
    ----------
    kits : sequence of sequence of str
        Per voice, the kit names of its model.
    """

    def __init__(
        self, table: Iterable[Endpoint], roles: Sequence[str], kits: Sequence[Sequence[str]]
    ) -> None:
        self._routes: dict[str, Route] = {}
        self._found: dict[str, tuple[Route, ...]] = {}
        for endpoint in table:
            self._add(endpoint, roles, kits)

    def all(self) -> tuple[Route, ...]:
        """Return every route once."""
        return tuple(route for address, route in self._routes.items() if address == route.name)

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
            return ()
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

    def _add(self, endpoint: Endpoint, roles: Sequence[str], kits: Sequence[Sequence[str]]) -> None:
        template = endpoint.address
        for voice in range(len(kits)) if "{V}" in template else (-1,):
            address = template.replace("{V}", str(voice + 1))
            if "{ROLE}" in address:
                for role, word in enumerate(roles):
                    name = address.replace("{ROLE}", word)
                    self._routes[name] = Route(endpoint, name, voice, role)
            elif "{KIT}" in address:
                for kit, word in enumerate(kits[voice]):
                    name = address.replace("{KIT}", str(kit))
                    route = Route(endpoint, name, voice, kit=kit)
                    self._routes[name] = route
                    self._routes.setdefault(address.replace("{KIT}", word), route)
            else:
                self._routes[address] = Route(endpoint, address, voice)
