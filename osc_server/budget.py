"""What one packet may cause: so much work, so many answers.

All of it happens with the session's lock held, and a packet of 64 kB can ask for very much: a
pattern of steps for every voice, hundreds of times, or the whole state. Threads: one at a time,
with the session's lock held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ghostnote.kernels.errors import GhostnoteError

from .encode import encode
from .peer import Peer

MAX_WORK: Final = 3000
"""Addresses that the messages of one packet may mean; one that is several commands for the engine
counts as so many. Its queue has room for them, now or for later."""
MAX_ANSWERS: Final = 256 << 10
"""Bytes of answers to one packet."""
TOO_MUCH: Final = "too much for one packet"


class TooMuch(GhostnoteError):
    """A packet asks for more than it may."""

    def __init__(self) -> None:
        super().__init__(TOO_MUCH)


class Budget:
    """What one packet may still cause. What goes beyond ends it: the rest is refused, too."""

    __slots__ = ("_answers", "_silent", "_work")

    def __init__(self) -> None:
        self._work = MAX_WORK
        self._answers = MAX_ANSWERS
        self._silent = False

    def spend(self, work: int) -> None:
        """Account for work, before it is done where that can be.

        Raises
        ------
        TooMuch
            If there is too much of it.
        """
        self._work -= work
        if self._work < 0:
            raise TooMuch

    def answer(self, peer: Peer, make: Callable[[], Iterable[bytes]]) -> None:
        """Send `peer` the datagrams that `make` returns, all or none.

        Raises
        ------
        TooMuch
            If they are too many; later ones are not even made.
        """
        if self._answers < 0:
            raise TooMuch
        datagrams = list(make())
        self._answers -= sum(map(len, datagrams))
        if self._answers < 0:
            raise TooMuch
        for datagram in datagrams:
            peer.send(datagram)

    def refuse(self, peer: Peer, command: str, reason: str) -> None:
        """Tell `peer` of a refusal; where there are too many answers, that, once."""
        if self._silent:
            return
        datagram = encode("/fail", command, reason)
        self._answers -= len(datagram)
        if self._answers < 0:
            self._silent = True
            datagram = encode("/fail", command, TOO_MUCH)
        peer.send(datagram)
