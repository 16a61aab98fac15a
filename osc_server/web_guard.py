"""Who may ask this server over HTTP: against pages of other sites in the player's own browser.

Pure functions; any thread. A page from elsewhere can reach 127.0.0.1 in two ways: by asking it
outright (then the browser names the page's Origin), or by a name of its own that it points to
127.0.0.1 (DNS rebinding: then the Host is that name).
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit


def own_names() -> frozenset[str]:
    """Return the names under which other machines know this one."""
    short = socket.gethostname().lower().partition(".")[0]
    return frozenset({socket.gethostname().lower(), short, f"{short}.local"} - {""})


def host_allowed(host: str, bind: str, names: frozenset[str]) -> bool:
    """Tell whether a Host header names this server, which listens at the address `bind`.

    >>> host_allowed("localhost:9770", "127.0.0.1", frozenset())
    True
    >>> host_allowed("evil.example:9770", "127.0.0.1", frozenset())
    False
    """
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    plain = host if port is None else host.rpartition(":")[0]
    if plain.lower() not in (name, f"[{name}]"):
        return False  # a user, a path, a query: no Host has those
    open_to_network = not ipaddress.ip_address(bind).is_loopback
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        own = name == "localhost" or name.endswith(".localhost")
        return own or (open_to_network and name.rstrip(".") in names)
    # Rebinding needs a name, so that any address will do where any may be this machine's.
    return address.is_loopback or open_to_network


def origin_allowed(origin: str | None, host: str) -> bool:
    """Tell whether a request to `host` comes from its own pages, or from no page at all.

    >>> origin_allowed("http://localhost:9770", "localhost:9770")
    True
    >>> origin_allowed("http://localhost:3000", "localhost:9770")
    False
    """
    return origin is None or origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())


def security_headers(host: str) -> dict[str, str]:
    """Return the headers of every answer: only what lies here is loaded, and nobody may frame it.

    `host` must have been allowed.
    """
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; media-src 'self' blob:; manifest-src 'self'; worker-src 'self'; "
        f"connect-src 'self' ws://{host} wss://{host}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
    }
