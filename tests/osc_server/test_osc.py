"""The parser: what OSC is comes through whole, what is not is refused and never raises else."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from ghostnote.osc_server.osc import (
    IMMEDIATELY,
    MAX_ARGUMENTS,
    MAX_DATAGRAM,
    MAX_DEPTH,
    MAX_ELEMENTS,
    Impulse,
    Midi,
    OscBundle,
    OscMessage,
    OscParseError,
    Packet,
    by_time,
    ntp_from_unix,
    ntp_from_unix_ns,
    parse_packet,
    unix_from_ntp,
    unix_ns_from_ntp,
)

MESSAGE = b"/a\0\0,\0\0\0"
HEAD = b"#bundle\0"
NOW = struct.pack(">Q", IMMEDIATELY)


def string(text: bytes) -> bytes:
    return text + bytes(4 - len(text) % 4)


def element(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


def nested(depth: int, timetag: bytes = NOW) -> bytes:
    data = HEAD + timetag
    for _ in range(depth - 1):
        data = HEAD + timetag + element(data)
    return data


def test_every_type() -> None:
    tags = b",ifsSbhdtcrmTFNI[i[f]]"
    values = b"".join(
        [
            struct.pack(">if", -7, 0.5),
            string("ünï".encode()),
            string(b"symbol"),
            struct.pack(">i", 5) + b"blob!" + bytes(3),
            struct.pack(">qdQ", -(2**40), math.pi, 2**63 + 1),
            struct.pack(">I", ord("€")),
            struct.pack(">I", 0xFF8000FF),
            bytes([1, 0x90, 60, 127]),
            struct.pack(">if", 3, 0.25),
        ]
    )
    message = parse_packet(string(b"/all") + string(tags) + values)
    assert message == OscMessage(
        "/all",
        tags[1:].decode(),
        (
            *(-7, 0.5, "ünï", "symbol", b"blob!", -(2**40), math.pi, 2**63 + 1, "€", 0xFF8000FF),
            *(Midi(1, 0x90, 60, 127), True, False, None, Impulse.IMPULSE, (3, (0.25,))),
        ),
    )


def test_missing_type_tag_string() -> None:
    assert parse_packet(b"/a\0\0") == OscMessage("/a")
    assert parse_packet(MESSAGE) == OscMessage("/a")
    with pytest.raises(OscParseError, match="without a type tag"):
        parse_packet(b"/a\0\0" + struct.pack(">f", 1.0))


def test_datagram_that_hangs_python_osc() -> None:
    datagram = HEAD + NOW + struct.pack(">i", -4)
    assert len(datagram) == 20
    with pytest.raises(OscParseError, match="size -4"):
        parse_packet(datagram)


BAD = {
    "nothing": (b"", "closing zero"),
    "no slash": (string(b"a") + string(b","), "neither an address"),
    "other protocol": (b"GET / HTTP/1.1\r\n\r\n", "closing zero"),
    "control character": (string(b"/a\nb") + string(b","), "control character"),
    "long address": (string(b"/" + b"a" * 1100) + string(b","), "address of more than"),
    "unclosed address": (b"/abc", "closing zero"),
    "length not of fours": (b"/a\0", "cut off"),
    "dirty padding": (b"/a\0x,\0\0\0", "padding is not zero"),
    "dirty blob padding": (string(b"/a") + string(b",b") + b"\0\0\0\x01x\0\0y", "not zero"),
    "address not utf-8": (string(b"/\xff\xfe") + string(b","), "not UTF-8"),
    "string not utf-8": (string(b"/a") + string(b",s") + string(b"\xc3("), "not UTF-8"),
    "unknown tag": (string(b"/a") + string(b",iQ") + bytes(8), "unknown type tag 'Q'"),
    "short i": (string(b"/a") + string(b",i"), "type i is cut off"),
    "short d": (string(b"/a") + string(b",d") + bytes(4), "type d is cut off"),
    "short m": (string(b"/a") + string(b",m"), "type m is cut off"),
    "short b": (string(b"/a") + string(b",b"), "type b is cut off"),
    "short s": (string(b"/a") + string(b",s"), "closing zero"),
    "negative blob": (string(b"/a") + string(b",b") + struct.pack(">i", -4), "blob of size -4"),
    "huge blob": (string(b"/a") + string(b",b") + b"\x7f\xff\xff\xff", "blob of size 2147483647"),
    "left over": (MESSAGE + bytes(4), "left over"),
    "no character": (string(b"/a") + string(b",c") + b"\xff\xff\xff\xff", "no character"),
    "surrogate": (string(b"/a") + string(b",c") + b"\0\0\xd8\0", "no character"),
    "array open": (string(b"/a") + string(b",[["), "never closed"),
    "array closed": (string(b"/a") + string(b",]"), "never opened"),
    "deep arrays": (string(b"/a") + string(b"," + b"[" * 9 + b"]" * 9), "arrays nested"),
    "many arguments": (string(b"/a") + string(b"," + b"T" * (MAX_ARGUMENTS + 1)), "arguments"),
    "short head": (HEAD + bytes(4), "bundle of 12 bytes"),
    "bare head": (HEAD, "bundle of 8 bytes"),
    "cut size": (HEAD + NOW + b"\0\0", "2 bytes left over"),
    "size too big": (HEAD + NOW + struct.pack(">i", 12) + MESSAGE, "size 12 where 8"),
    "size too small": (HEAD + NOW + struct.pack(">i", 4) + MESSAGE, "size 738197504"),
    "size odd": (HEAD + NOW + struct.pack(">i", 7) + MESSAGE, "size 7"),
    "size 0": (HEAD + NOW + struct.pack(">i", 0) + MESSAGE, "size 0"),
    "size -2^31": (HEAD + NOW + b"\x80\0\0\0", "size -2147483648"),
    "1000 deep": (nested(1000), "nested more than 8"),
    "too deep": (nested(MAX_DEPTH + 1), "nested more than 8"),
    "nested head cut": (HEAD + NOW + element(HEAD), "bundle of 8 bytes"),
    "too many": (HEAD + NOW + element(MESSAGE) * (MAX_ELEMENTS + 1), "more than 4096"),
    "too many empty": (HEAD + NOW + element(string(b"/")) * 8000, "more than 4096"),
    "over 64 kB": (bytes(MAX_DATAGRAM + 4), "at most 65536"),
    "64 kB of zeros": (bytes(MAX_DATAGRAM), "neither an address"),
    "64 kB of slashes": (b"/" * MAX_DATAGRAM, "closing zero"),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD.keys())
def test_malformed(data: bytes, reason: str) -> None:
    with pytest.raises(OscParseError, match=reason) as refusal:
        parse_packet(data)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 120


def test_deepest_and_longest_that_pass() -> None:
    packet = parse_packet(nested(MAX_DEPTH))
    for _ in range(MAX_DEPTH - 1):
        assert isinstance(packet, OscBundle)
        (packet,) = packet.elements
    assert packet == OscBundle(IMMEDIATELY)
    many = parse_packet(HEAD + NOW + element(MESSAGE) * MAX_ELEMENTS)
    assert isinstance(many, OscBundle)
    assert len(many.elements) == MAX_ELEMENTS


@pytest.mark.parametrize("outer", [5, 4])
def test_nested_timetag_not_before_outer(outer: int) -> None:
    data = HEAD + struct.pack(">Q", outer) + element(HEAD + struct.pack(">Q", 4))
    if outer == 4:
        assert parse_packet(data) == OscBundle(4, (OscBundle(4),))
    else:
        with pytest.raises(OscParseError, match="before that of its enclosing"):
            parse_packet(data)


def test_by_time_keeps_moments_together_and_order_within() -> None:
    a, b, c, d = (OscMessage(f"/{name}") for name in "abcd")
    packet = OscBundle(5, (a, OscBundle(9, (b,)), c, OscBundle(5, (d,))))
    assert by_time(packet) == [(5, [a, c, d]), (9, [b])]
    assert by_time(a) == [(IMMEDIATELY, [a])]
    assert by_time(OscBundle(5)) == []


@given(st.binary(max_size=400))
def test_arbitrary_bytes(data: bytes) -> None:
    only_refused(data)


@given(
    st.lists(
        st.sampled_from([HEAD, NOW, MESSAGE, b",ifs", b"/a\0\0", bytes(4), b"[]TF"])
        | st.binary(max_size=8)
        | st.integers(-8, 64).map(lambda n: struct.pack(">i", n)),
        max_size=40,
    )
)
def test_bytes_that_look_like_osc(pieces: list[bytes]) -> None:
    only_refused(b"".join(pieces))


def only_refused(data: bytes) -> None:
    try:
        packet = parse_packet(data)
    except OscParseError:
        return
    assert isinstance(packet, OscMessage | OscBundle)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(width=32, allow_nan=False)
VALUES = st.one_of(
    st.tuples(st.just("i"), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just("h"), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just("f"), FLOATS),
    st.tuples(st.just("d"), st.floats(allow_nan=False)),
    st.tuples(st.just("s"), TEXT),
    st.tuples(st.just("b"), st.binary(min_size=1, max_size=20)),
    st.tuples(st.just("m"), st.tuples(*[st.integers(0, 255)] * 4)),
    st.tuples(st.just("T"), st.just(True)),
    st.tuples(st.just("F"), st.just(False)),
    st.tuples(st.just("N"), st.none()),
)
ADDRESSES = st.lists(st.text("abcXYZ019_*?[]", min_size=1, max_size=8), min_size=1, max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)
MESSAGES = st.builds(
    lambda address, pairs: OscMessage(
        address, "".join(tag for tag, _ in pairs), tuple(value for _, value in pairs)
    ),
    ADDRESSES,
    st.lists(VALUES, max_size=8),
)


def built(packet: Packet) -> bytes:
    """The same packet as python-osc writes it."""
    if isinstance(packet, OscMessage):
        builder = OscMessageBuilder(packet.address)
        for tag, value in zip(packet.typetags, packet.args, strict=True):
            builder.add_arg(value, tag)  # type: ignore[arg-type]
        return builder.build().dgram
    bundle = HEAD + struct.pack(">Q", packet.timetag)
    return bundle + b"".join(element(built(inner)) for inner in packet.elements)


@given(MESSAGES)
def test_messages_of_python_osc_come_back_equal(message: OscMessage) -> None:
    assert parse_packet(built(message)) == message
    assert parse_packet(memoryview(built(message))) == message


PACKETS: st.SearchStrategy[Packet] = st.recursive(
    MESSAGES,
    lambda inner: st.builds(lambda elements: OscBundle(77, tuple(elements)), st.lists(inner)),
    max_leaves=6,
)


@given(PACKETS, st.data())
def test_damaged_packets(packet: Packet, data: st.DataObject) -> None:
    whole = bytearray(built(packet))
    only_refused(bytes(whole))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    only_refused(bytes(whole))
    only_refused(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


def test_bundle_of_python_osc() -> None:
    inner = OscMessageBuilder("/a")
    inner.add_arg(1)
    builder = OscBundleBuilder(1_700_000_000.5)  # type: ignore[arg-type]
    builder.add_content(inner.build())
    bundle = parse_packet(builder.build().dgram)
    assert isinstance(bundle, OscBundle)
    assert bundle.elements == (OscMessage("/a", "i", (1,)),)
    assert unix_from_ntp(bundle.timetag) == 1_700_000_000.5


@given(st.integers(0, 2_085_978_495 * 10**9))  # up to the end of NTP's first era
def test_nanoseconds_survive_ntp(nanoseconds: int) -> None:
    timetag = ntp_from_unix_ns(nanoseconds)
    assert 0 <= timetag < 2**64
    assert unix_ns_from_ntp(timetag) == nanoseconds


@given(st.floats(0, 2_000_000_000))
def test_seconds_survive_ntp(seconds: float) -> None:
    assert abs(unix_from_ntp(ntp_from_unix(seconds)) - seconds) <= 2**-32 + 2e-7 * (seconds > 1)
    assert abs(ntp_from_unix(seconds) - ntp_from_unix_ns(round(seconds * 1e9))) <= 2**32 // 10**6
