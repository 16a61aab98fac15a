"""Outgoing OSC packets, built by python-osc.

Pure functions; any thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from .osc import IMMEDIATELY, unix_from_ntp

Value: TypeAlias = "int | float | str | bool"

PLAIN_MESSAGES = 4
"""Up to so many messages go out one by one: the simplest clients cannot read bundles."""
BUNDLE_BYTES = 1200
"""Bundles of many messages stay below this, so that no network splits them."""
_MAX_FLOAT: Final = (2.0 - 2.0**-23) * 2.0**127
"""The largest number of type f."""


def encode(address: str, *args: Value, tags: str = "") -> bytes:
    """Return the datagram of one message.

    `tags` gives the type tags; without it int is i, float f, str s, bool T or F. What is too large
    for 32 bits goes as h or d.

    >>> encode("/ghost/synced", 7)
    b'/ghost/synced\\x00\\x00\\x00,i\\x00\\x00\\x00\\x00\\x00\\x07'
    """
    builder = OscMessageBuilder(address)
    for index, value in enumerate(args):
        tag = tags[index] if tags else None
        if tag == "i":
            tag = None  # a count of frames outgrows 32 bits after half a day
        elif tag != "d" and isinstance(value, float) and _MAX_FLOAT < abs(value) < math.inf:
            tag = "d"
        builder.add_arg(value, tag)
    return builder.build().dgram


def encode_bundle(datagrams: Iterable[bytes], timetag: int = IMMEDIATELY) -> bytes:
    """Return the datagram of one bundle of messages given as datagrams."""
    # python-osc writes the timetag 1 for the "time" 0.
    builder = OscBundleBuilder(0 if timetag == IMMEDIATELY else unix_from_ntp(timetag))  # type: ignore[arg-type]
    for datagram in datagrams:
        builder.add_content(OscMessage(datagram))
    return builder.build().dgram


def pack(datagrams: list[bytes]) -> Iterator[bytes]:
    """Yield what to send for `datagrams`: themselves where few, else bundles of bounded size.

    UDP loses long runs of small datagrams; one big answer arrives whole or not at all.
    """
    if len(datagrams) <= PLAIN_MESSAGES:
        yield from datagrams
        return
    batch: list[bytes] = []
    size = 16
    for datagram in datagrams:
        if batch and size + 4 + len(datagram) > BUNDLE_BYTES:
            yield encode_bundle(batch)
            batch, size = [], 16
        batch.append(datagram)
        size += 4 + len(datagram)
    yield encode_bundle(batch)
