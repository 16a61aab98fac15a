"""What goes out is what our own parser reads back."""

import math
import struct

from ghostnote.osc_server.encode import BUNDLE_BYTES, PLAIN_MESSAGES, encode, encode_bundle, pack
from ghostnote.osc_server.osc import (
    IMMEDIATELY,
    OscBundle,
    OscMessage,
    by_time,
    ntp_from_unix,
    parse_packet,
)


def test_types_by_value_and_by_tag() -> None:
    assert parse_packet(encode("/a", 1, 0.5, "s", True, False)) == OscMessage(
        "/a", "ifsTF", (1, 0.5, "s", True, False)
    )
    assert parse_packet(encode("/a", 1, 2, tags="df")) == OscMessage("/a", "df", (1.0, 2.0))


def test_int_that_outgrows_32_bits() -> None:
    assert parse_packet(encode("/a", 2**31, -(2**31) - 1, tags="ii")) == OscMessage(
        "/a", "hh", (2**31, -(2**31) - 1)
    )


def test_float_that_outgrows_32_bits() -> None:
    largest = struct.unpack(">f", b"\x7f\x7f\xff\xff")[0]
    packet = parse_packet(encode("/a", 1e300, -1e300, largest, -math.inf, 1e-300, tags="fffff"))
    assert packet == OscMessage("/a", "ddfff", (1e300, -1e300, largest, -math.inf, 0.0))
    beyond = math.nextafter(largest, math.inf)
    assert parse_packet(encode("/a", beyond)) == OscMessage("/a", "d", (beyond,))


def test_bundle() -> None:
    message = OscMessage("/a", "i", (1,))
    datagram = encode("/a", 1)
    assert parse_packet(encode_bundle([datagram])) == OscBundle(IMMEDIATELY, (message,))
    timetag = ntp_from_unix(1_700_000_000.25)
    assert parse_packet(encode_bundle([datagram] * 2, timetag)) == OscBundle(
        timetag, (message,) * 2
    )


def test_pack_keeps_few_plain_and_bundles_many() -> None:
    few = [encode(f"/{n}") for n in range(PLAIN_MESSAGES)]
    assert list(pack(few)) == few
    many = [encode(f"/{n}", "x" * 50) for n in range(100)]
    packets = list(pack(many))
    assert all(len(packet) <= BUNDLE_BYTES for packet in packets)
    assert len(packets) < 10
    messages = [
        m for packet in packets for _, group in by_time(parse_packet(packet)) for m in group
    ]
    assert messages == [parse_packet(datagram) for datagram in many]
