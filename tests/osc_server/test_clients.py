"""Leases: numbers, expiry, rates, no echo."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.clients import LEASE_SECONDS, MAX_CLIENTS, Clients
from ghostnote.osc_server.osc import by_time, parse_packet


class Ear:
    """A peer that keeps what it is sent."""

    is_local = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.datagrams: list[bytes] = []

    def send(self, datagram: bytes) -> None:
        self.datagrams.append(datagram)

    def heard(self) -> list[tuple[str, object]]:
        datagrams, self.datagrams = self.datagrams, []
        return [
            (message.address, message.args[0])
            for datagram in datagrams
            for _, group in by_time(parse_packet(datagram))
            for message in group
        ]


def test_numbers() -> None:
    clients = Clients()
    a, b, c = Ear("a"), Ear("b"), Ear("c")
    assert clients.follow(a, None, 30, 0) == 1
    assert clients.follow(b, 1 + 1, 30, 0) == 2
    assert clients.follow(c, None, 30, 0) == 3
    assert clients.follow(a, None, 30, 1) == 1  # renewed
    assert clients.follow(a, 7, 30, 1) == 7
    with pytest.raises(GhostnoteError, match="id 7 belongs to another"):
        clients.follow(b, 7, 30, 1)
    assert clients.leave(b) == 2
    assert clients.leave(b) == 0


def test_bounded() -> None:
    clients = Clients()
    for n in range(MAX_CLIENTS):
        assert clients.follow(Ear(str(n)), None, 30, 0) == n + 1
    with pytest.raises(GhostnoteError, match="32 clients follow already"):
        clients.follow(Ear("late"), None, 30, 0)
    assert clients.follow(Ear("late"), None, 30, LEASE_SECONDS) == 1


def test_lease_ends_unless_renewed() -> None:
    clients = Clients()
    a, b = Ear("a"), Ear("b")
    clients.follow(a, None, 30, 0)
    clients.follow(b, None, 30, 0)
    clients.follow(b, None, 30, 50)
    clients.push("/x", (1.0,), None)
    clients.update(LEASE_SECONDS)
    assert a.heard() == []
    assert b.heard() == [("/x", 1.0)]


def test_no_echo_and_what_the_originator_overruled_is_not_sent() -> None:
    clients = Clients()
    a, b = Ear("a"), Ear("b")
    clients.follow(a, None, 30, 0)
    clients.follow(b, None, 30, 0)
    clients.push("/x", (1.0,), a)
    clients.push("/x", (2.0,), b)
    clients.update(0)
    assert a.heard() == [("/x", 2.0)]
    assert b.heard() == []


def test_rate_and_newest_value() -> None:
    clients = Clients()
    a = Ear("a")
    clients.follow(a, None, 8, 0)
    for n in range(128):
        clients.push("/x", (n,), None)
        clients.update(n / 128)
    assert [value for _, value in a.heard()] == list(range(0, 128, 16))


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["follow", "leave", "push", "wait"])),
        max_size=60,
    ),
    st.sampled_from([0.5, 30.0, 100.0]),
)
def test_every_follower_ends_with_the_newest_value(steps: list[tuple[str, str]], hz: float) -> None:
    clients = Clients()
    ears = {name: Ear(name) for name in "abcd"}
    following: set[str] = set()
    known: dict[str, object] = {}
    now = 0.0
    for count, (name, step) in enumerate(steps):
        if step == "follow":
            clients.follow(ears[name], None, hz, now)
            if name not in following:
                known[name] = None
            following.add(name)
        elif step == "leave":
            clients.leave(ears[name])
            following.discard(name)
        elif step == "push":
            clients.push("/x", (count,), ears[name])
            for follower in following:
                known[follower] = None if follower == name else count
        else:
            now += 0.01
            clients.update(now)
        for ear, peer in ears.items():
            for _, value in peer.heard():
                assert ear in following
                assert value == known[ear]
                known[ear] = None
    clients.update(now + 10)
    for name in following:
        assert [value for _, value in ears[name].heard()] == (
            [] if known[name] is None else [known[name]]
        )
