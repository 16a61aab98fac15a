"""A strict OSC 1.0/1.1 parser: bytes become messages and bundles, or one clear refusal.

Everything here is a pure function of its argument and may run in any thread. Time is linear in
the size of the packet; sizes, counts and depths are bounded before anything is built from them.

Sources: the OSC 1.0 specification (opensoundcontrol.org); Freed and Schmeder, "Features and Future
of Open Sound Control version 1.1", NIME 2009 (types T F N I, arrays). Non-zero padding is refused,
as liblo does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

MAX_DATAGRAM: Final = 65536
"""Bytes in one packet."""
MAX_ELEMENTS: Final = 4096
"""Messages and nested bundles in one packet."""
MAX_DEPTH: Final = 8
"""Bundles within bundles, and arrays within arrays."""
MAX_ADDRESS: Final = 1024
"""Bytes in one address."""
MAX_ARGUMENTS: Final = 1024
"""Type tags in one message, array brackets included."""

IMMEDIATELY: Final = 1
"""The timetag that means now."""

_NTP_TO_UNIX = 2_208_988_800  # seconds from 1900 to 1970
_BUNDLE = b"#bundle\0"
_INT = Struct(">i")
_TIMETAG = Struct(">Q")
_FIXED = {
    "i": _INT,
    "h": Struct(">q"),
    "f": Struct(">f"),
    "d": Struct(">d"),
    "t": _TIMETAG,
    "r": Struct(">I"),
    "c": Struct(">I"),
}


class OscParseError(ValueError):
    """A packet that is not OSC; the text says in one line what is wrong with it."""


class Impulse(Enum):
    """The value of type tag I: an event without a value (OSC 1.1 "impulse" or "bang")."""

    IMPULSE = "I"


class Midi(NamedTuple):
    """The value of type tag m: the four bytes of a MIDI message."""

    port: int
    status: int
    data1: int
    data2: int


Argument: TypeAlias = (
    "int | float | str | bytes | bool | Impulse | Midi | tuple[Argument, ...] | None"
)


@dataclass(frozen=True, slots=True)
class OscMessage:
    """One OSC message.

    `typetags` is without its comma. `args` holds one value per tag, an array being a tuple:
    i h t r are int, f d float, s S c str, b bytes, T F bool, N None, I Impulse, m Midi.
    """

    address: str
    typetags: str = ""
    args: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class OscBundle:
    """Messages and bundles that belong to one moment; `timetag` is 64-bit NTP time."""

    timetag: int
    elements: tuple[OscMessage | OscBundle, ...] = ()


Packet: TypeAlias = OscMessage | OscBundle


def parse_packet(data: bytes | memoryview) -> Packet:
    """Return the message or bundle that `data` holds.

    >>> parse_packet(b"/ghost/tempo\\0\\0\\0\\0,f\\0\\0\\x42\\xf0\\0\\0")
    OscMessage(address='/ghost/tempo', typetags='f', args=(120.0,))

    Raises
    ------
    OscParseError
        For anything else; no other exception leaves this function.
    """
    if len(data) > MAX_DATAGRAM:
        raise OscParseError(f"packet of {len(data)} bytes; at most {MAX_DATAGRAM} are taken")
    data = bytes(data)
    if data.startswith(_BUNDLE):
        return _parse_bundle(data)
    return _parse_message(data, 0, len(data))


def by_time(packet: Packet) -> list[tuple[int, list[OscMessage]]]:
    """Return the messages of `packet` grouped by timetag, each group in the order sent.

    What shares a timetag happens at once, however it is nested. A lone message is IMMEDIATELY.

    >>> by_time(OscBundle(5, (OscMessage("/a"), OscBundle(5, (OscMessage("/b"),)))))
    [(5, [OscMessage(address='/a', typetags='', args=()), OscMessage(address='/b', typetags='', \
args=())])]
    """
    if isinstance(packet, OscMessage):
        return [(IMMEDIATELY, [packet])]
    groups: dict[int, list[OscMessage]] = {}

    def collect(element: Packet, timetag: int) -> None:
        if isinstance(element, OscMessage):
            groups.setdefault(timetag, []).append(element)
        else:
            for inner in element.elements:
                collect(inner, element.timetag)

    collect(packet, IMMEDIATELY)
    return list(groups.items())


def ntp_from_unix_ns(nanoseconds: int) -> int:
    """Return the 64-bit NTP time nearest to exact unix time in nanoseconds (until 2036).

    >>> ntp_from_unix_ns(0) == 2_208_988_800 << 32
    True
    """
    return (_NTP_TO_UNIX << 32) + ((nanoseconds << 32) + 500_000_000) // 1_000_000_000


def unix_ns_from_ntp(timetag: int) -> int:
    """Return the unix time, in whole nanoseconds, of a 64-bit NTP time."""
    return ((timetag - (_NTP_TO_UNIX << 32)) * 1_000_000_000 + (1 << 31)) >> 32


def ntp_from_unix(seconds: float) -> int:
    """Return the 64-bit NTP time of unix time in seconds (a float resolves about 0.2 us)."""
    return (_NTP_TO_UNIX << 32) + round(seconds * 2.0**32)


def unix_from_ntp(timetag: int) -> float:
    """Return the unix time in seconds of a 64-bit NTP time."""
    return (timetag - (_NTP_TO_UNIX << 32)) / 2.0**32


def _parse_bundle(data: bytes) -> OscBundle:
    """Parse a packet that starts as a bundle, with a stack of our own instead of recursion."""
    open_bundles: list[tuple[int, int, list[Packet]]] = []  # timetag, end, elements so far
    open_bundles.append((_bundle_head(data, 0, len(data), open_bundles), len(data), []))
    offset, count = 16, 0
    while True:
        timetag, end, elements = open_bundles[-1]
        if offset == end:
            open_bundles.pop()
            bundle = OscBundle(timetag, tuple(elements))
            if not open_bundles:
                return bundle
            open_bundles[-1][2].append(bundle)
            continue
        size = _element_size(data, offset, end)
        offset += 4
        count += 1
        if count > MAX_ELEMENTS:
            raise OscParseError(f"more than {MAX_ELEMENTS} messages in one packet")
        if data.startswith(_BUNDLE, offset):
            open_bundles.append((_bundle_head(data, offset, size, open_bundles), offset + size, []))
            offset += 16
        else:
            elements.append(_parse_message(data, offset, offset + size))
            offset += size


def _bundle_head(
    data: bytes, offset: int, size: int, enclosing: list[tuple[int, int, list[Packet]]]
) -> int:
    """Return the timetag of the bundle of `size` bytes at `offset`."""
    if size < 16:
        raise OscParseError(f"bundle of {size} bytes; its head alone has 16")
    if len(enclosing) == MAX_DEPTH:
        raise OscParseError(f"bundles nested more than {MAX_DEPTH} deep")
    timetag: int = _TIMETAG.unpack_from(data, offset + 8)[0]
    if enclosing and timetag < enclosing[-1][0]:
        raise OscParseError("timetag of a nested bundle is before that of its enclosing one")
    return timetag


def _element_size(data: bytes, offset: int, end: int) -> int:
    if end - offset < 4:
        raise OscParseError(f"{end - offset} bytes left over at the end of a bundle")
    size: int = _INT.unpack_from(data, offset)[0]
    left = end - offset - 4
    if size <= 0 or size % 4:
        raise OscParseError(f"bundle element of size {size}: must be a positive multiple of 4")
    if size > left:
        raise OscParseError(f"bundle element of size {size} where {left} bytes are left")
    return size


def _parse_message(data: bytes, start: int, end: int) -> OscMessage:
    """Parse the message in data[start:end]; `start` is a multiple of 4."""
    address, offset = _parse_string(data, start, end)
    if not address.startswith("/"):
        raise OscParseError("neither an address that begins with / nor a #bundle")
    if offset - start > MAX_ADDRESS:
        raise OscParseError(f"address of more than {MAX_ADDRESS} bytes")
    if not address.isprintable():
        raise OscParseError("address holds a control character")
    if offset == end:
        return OscMessage(address)  # old senders leave out the type tag string
    if data[offset] != 0x2C:
        raise OscParseError("arguments without a type tag string")
    tags, offset = _parse_string(data, offset, end)
    tags = tags[1:]
    if len(tags) > MAX_ARGUMENTS:
        raise OscParseError(f"message of {len(tags)} arguments; at most {MAX_ARGUMENTS} are taken")
    args, offset = _parse_arguments(data, tags, offset, end)
    if offset != end:
        raise OscParseError(f"{end - offset} bytes left over after the last argument")
    return OscMessage(address, tags, args)


def _parse_arguments(
    data: bytes, tags: str, offset: int, end: int
) -> tuple[tuple[Argument, ...], int]:
    """Return the values of `tags` from data[offset:end], and where they end."""
    args: list[Argument] = []
    outer: list[list[Argument]] = []  # the lists around an open array
    for tag in tags:
        if tag in _FIXED:
            form = _FIXED[tag]
            if end - offset < form.size:
                raise OscParseError(f"argument of type {tag} is cut off")
            (value,) = form.unpack_from(data, offset)
            offset += form.size
            args.append(_character(value) if tag == "c" else value)
        elif tag in "sS":
            text, offset = _parse_string(data, offset, end)
            args.append(text)
        elif tag in "TF":
            args.append(tag == "T")
        elif tag == "b":
            blob, offset = _parse_blob(data, offset, end)
            args.append(blob)
        elif tag == "N":
            args.append(None)
        elif tag == "I":
            args.append(Impulse.IMPULSE)
        elif tag == "m":
            if end - offset < 4:
                raise OscParseError("argument of type m is cut off")
            args.append(Midi(*data[offset : offset + 4]))
            offset += 4
        elif tag == "[":
            if len(outer) == MAX_DEPTH:
                raise OscParseError(f"arrays nested more than {MAX_DEPTH} deep")
            outer.append(args)
            args = []
        elif tag == "]":
            if not outer:
                raise OscParseError("array closed that was never opened")
            array = tuple(args)
            args = outer.pop()
            args.append(array)
        else:
            raise OscParseError(f"unknown type tag {tag!r}")
    if outer:
        raise OscParseError("array never closed")
    return tuple(args), offset


def _parse_string(data: bytes, start: int, end: int) -> tuple[str, int]:
    """Return the zero-terminated string at `start`, and where its padding ends."""
    stop = data.find(0, start, end)
    if stop < 0:
        raise OscParseError("string without its closing zero")
    after = (stop | 3) + 1
    _check_padding(data, stop, after, end)
    try:
        return data[start:stop].decode(), after
    except UnicodeDecodeError:
        raise OscParseError("string is not UTF-8") from None


def _parse_blob(data: bytes, start: int, end: int) -> tuple[bytes, int]:
    if end - start < 4:
        raise OscParseError("argument of type b is cut off")
    (size,) = _INT.unpack_from(data, start)
    start += 4
    if not 0 <= size <= end - start:
        raise OscParseError(f"blob of size {size} where {end - start} bytes are left")
    stop = start + size
    after = (stop + 3) & ~3
    _check_padding(data, stop, after, end)
    return data[start:stop], after


def _check_padding(data: bytes, stop: int, after: int, end: int) -> None:
    if after > end:
        raise OscParseError("padding is cut off: sizes must be multiples of 4")
    if data[stop:after].strip(b"\0"):
        raise OscParseError("padding is not zero")


def _character(code: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise OscParseError(f"argument of type c holds {code}, which is no character")
    return chr(code)
