"""Where a packet came from, and how to answer there: the same for every transport."""

from __future__ import annotations

from typing import Protocol


class Peer(Protocol):
    """One client's address and port (later also one TCP or WebSocket connection)."""

    @property
    def name(self) -> str:
        """The peer, as told to people, and its identity: "udp 127.0.0.1:57120"."""

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""

    def send(self, datagram: bytes) -> None:
        """Send one packet there. Any thread; never raises, never waits long."""


class Silence:
    """The peer of messages that the server sends to itself: nobody to answer."""

    name = "this server"
    is_local = True

    def send(self, datagram: bytes) -> None:
        """Drop the packet."""
