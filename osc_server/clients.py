"""Clients that follow the changes of parameters, the meters or the beat: leases, ids, rates.

Threads: one at a time; the dispatcher calls everything here with its lock held. Time comes in
from outside, in seconds of any clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ghostnote.kernels.errors import GhostnoteError

from .encode import Value, encode, pack
from .peer import Peer

LEASE_SECONDS: Final = 60.0
MAX_CLIENTS: Final = 32
MAX_HZ: Final = 100.0
MAX_METER_HZ: Final = 30.0
MAX_BEATS: Final = 24
"""Updates of the beat in a beat, as many as MIDI's clock has."""


@dataclass(slots=True)
class _Client:
    peer: Peer
    number: int
    expires: float
    period: float
    next_update: float = 0.0
    pending: dict[str, bytes] = field(default_factory=dict)  # the newest datagram per address


class Clients:
    """The clients that sent /ghost/notify 1 and have not let their lease run out.

    >>> from .peer import Silence
    >>> Clients().follow(Silence(), None, 30.0, now=0.0)
    1
    """

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}

    def follow(self, peer: Peer, number: int | None, hz: float, now: float) -> int:
        """Give or renew the lease of `peer` and return its number.

        Parameters
        ----------
        number : int or None
            The number wanted, 1 to MAX_CLIENTS; None keeps the one it has, or gives a free one.
        hz : float
            Most updates a second.

        Raises
        ------
        GhostnoteError
            If another client holds `number`, or MAX_CLIENTS have leases.
        """
        self._expire(now)
        client = self._clients.get(peer.name)
        taken = {c.number for c in self._clients.values() if c is not client}
        if number is None and client is not None:
            number = client.number
        if number is None:
            number = next((n for n in range(1, MAX_CLIENTS + 1) if n not in taken), None)
            if number is None:
                raise GhostnoteError(f"{MAX_CLIENTS} clients follow already; one must leave first")
        if number in taken:
            raise GhostnoteError(f"id {number} belongs to another client; leave it out to get one")
        if client is None:
            client = self._clients[peer.name] = _Client(peer, number, 0.0, 0.0)
        client.number = number
        client.expires = now + LEASE_SECONDS
        client.period = 1.0 / hz
        return number

    def leave(self, peer: Peer) -> int:
        """End the lease of `peer` and return its number, 0 if it had none."""
        client = self._clients.pop(peer.name, None)
        return client.number if client else 0

    def push(self, address: str, values: Sequence[Value], originator: Peer | None) -> None:
        """Note a change for all clients but `originator`; a newer one replaces it until sent."""
        datagram = b""
        for client in self._clients.values():
            if originator is not None and client.peer.name == originator.name:
                client.pending.pop(address, None)  # what it has just overruled
            else:
                datagram = datagram or encode(address, *values)
                client.pending[address] = datagram

    def update(self, now: float) -> None:
        """Send what has changed to every client whose time has come; drop expired leases."""
        self._expire(now)
        for client in self._clients.values():
            if client.pending and now >= client.next_update:
                client.next_update = now + client.period
                for datagram in pack(list(client.pending.values())):
                    client.peer.send(datagram)
                client.pending.clear()

    def _expire(self, now: float) -> None:
        for name in [name for name, c in self._clients.items() if now >= c.expires]:
            del self._clients[name]


@dataclass(slots=True)
class _Listener:
    peer: Peer
    expires: float
    rate: float
    place: float = -1.0  # where it was last told


class Leases:
    """The clients that follow something that is told again and again, each at its own rate.

    What is due is counted in `place`, which may be seconds or beats: a client is due once in
    every 1 / rate of it.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, _Listener] = {}

    def follow(self, peer: Peer, rate: float, now: float) -> None:
        """Give or renew the lease of `peer`.

        Raises
        ------
        GhostnoteError
            If MAX_CLIENTS have leases.
        """
        self._expire(now)
        if peer.name not in self._listeners and len(self._listeners) >= MAX_CLIENTS:
            raise GhostnoteError(f"{MAX_CLIENTS} clients follow already; one must leave first")
        before = self._listeners.get(peer.name)
        place = before.place if before and before.rate == rate else -1.0
        self._listeners[peer.name] = _Listener(peer, now + LEASE_SECONDS, rate, place)

    def leave(self, peer: Peer) -> None:
        """End the lease of `peer`, if it has one."""
        self._listeners.pop(peer.name, None)

    def due(self, place: float, now: float) -> list[Peer]:
        """Return those who are to be told at `place`; each is named once per span of its rate."""
        if not self._listeners:
            return []
        self._expire(now)
        found = []
        for listener in self._listeners.values():
            span = float(int(place * listener.rate))
            if span != listener.place:
                listener.place = span
                found.append(listener.peer)
        return found

    def _expire(self, now: float) -> None:
        for name in [name for name, one in self._listeners.items() if now >= one.expires]:
            del self._listeners[name]
