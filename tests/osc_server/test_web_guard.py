"""Who may ask over HTTP: hosts and origins, told apart by strings alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.osc_server.web_guard import (
    host_allowed,
    origin_allowed,
    own_names,
    security_headers,
)

NAMES = frozenset({"studio", "studio.local"})


@pytest.mark.parametrize(
    ("host", "loopback", "network"),
    [
        ("localhost", True, True),
        ("LOCALHOST:9770", True, True),
        ("panel.localhost", True, True),
        ("127.0.0.1:9770", True, True),
        ("127.8.8.8", True, True),
        ("[::1]:9770", True, True),
        ("192.168.1.5:9770", False, True),
        ("studio:9770", False, True),
        ("Studio.local", False, True),
        ("studio.evil.example", False, False),
        ("evil.example", False, False),
        ("localhost.evil.example", False, False),
        ("", False, False),
        (":9770", False, False),
        ("localhost:", False, False),
        ("localhost:port", False, False),
        ("localhost:99999", False, False),
        ("user@localhost", False, False),
        ("localhost/path", False, False),
        ("localhost?x", False, False),
        ("localhost#x", False, False),
        ("[::1", False, False),
        ("localhost ; script-src *", False, False),
        ("127.0.0.1:80:80", False, False),
    ],
)
def test_hosts(host: str, loopback: bool, network: bool) -> None:
    assert host_allowed(host, "127.0.0.1", NAMES) == loopback
    assert host_allowed(host, "0.0.0.0", NAMES) == network


@given(host=st.text(st.characters(codec="latin-1"), max_size=40))
def test_any_host_is_judged_and_none_breaks_out_of_a_header(host: str) -> None:
    if host_allowed(host, "0.0.0.0", NAMES):
        policy = security_headers(host)["Content-Security-Policy"]
        assert policy.count(";") == security_headers("x")["Content-Security-Policy"].count(";")
        assert not set(host) & set(" ;,\r\n\t\"'")


@given(origin=st.text(max_size=40))
def test_no_origin_but_the_own_one(origin: str) -> None:
    assert origin_allowed(origin, "localhost:9770") == (
        origin.lower() in ("http://localhost:9770", "https://localhost:9770")
    )


def test_no_page_at_all_is_allowed() -> None:
    assert origin_allowed(None, "localhost")


def test_own_names_are_names() -> None:
    assert own_names()
    assert all(name and "/" not in name for name in own_names())
