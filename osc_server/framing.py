"""OSC packets within a stream of bytes: both framings in use, told apart by their first byte.

Pure classes without sockets or clocks; one thread at a time each. What they hold is bounded by
MAX_DATAGRAM, whatever comes.

Sources: OSC 1.0 specification (packets of a stream begin with an int32 size); Freed and Schmeder,
"Features and Future of Open Sound Control version 1.1", NIME 2009 (SLIP, RFC 1055, with an END on
both sides).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import Struct
from typing import Final, Protocol

from .osc import MAX_DATAGRAM

_SIZE = Struct(">i")
_END, _ESC = b"\xc0", b"\xdb"
_ESC_END, _ESC_ESC = b"\xdb\xdc", b"\xdb\xdd"
_BAD_ESCAPE: Final = re.compile(rb"\xdb(?![\xdc\xdd])")


class FramingError(ValueError):
    """Bytes that are no frames; the text says in one line what is wrong. Nothing can follow."""


class Framing(Protocol):
    """How packets lie in a stream, with the frame that has begun and not ended."""

    @property
    def pending(self) -> bool:
        """Whether a frame has begun."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the stream's next bytes and yield every packet that they complete.

        Must be iterated to its end. Raises FramingError where the stream turns to nonsense, after
        the packets before that place.
        """

    def frame(self, packet: bytes) -> bytes:
        """Return `packet` as it goes into a stream."""


class LengthFraming:
    """OSC 1.0: an int32 that counts the bytes of the packet behind it.

    >>> list(LengthFraming().feed(b"\\0\\0\\0\\4/a\\0\\0\\0\\0\\0"))
    [b'/a\\x00\\x00']
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> bool:
        """Whether a frame has begun."""
        return bool(self._buffer)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """See `Framing.feed`."""
        buffer = self._buffer
        buffer += chunk
        offset = 0
        while len(buffer) - offset >= 4:
            size: int = _SIZE.unpack_from(buffer, offset)[0]
            if not 0 < size <= MAX_DATAGRAM:
                raise FramingError(f"frame of {size} bytes; 1 to {MAX_DATAGRAM} are taken")
            if len(buffer) - offset - 4 < size:
                break
            yield bytes(buffer[offset + 4 : offset + 4 + size])
            offset += 4 + size
        del buffer[:offset]

    def frame(self, packet: bytes) -> bytes:
        """Return `packet` behind its size."""
        return _SIZE.pack(len(packet)) + packet


class SlipFraming:
    """OSC 1.1: packets between END bytes, with END and ESC escaped.

    Empty frames are skipped, so that one END between packets is as good as two.

    >>> list(SlipFraming().feed(b"\\xc0/a\\0\\0\\xc0\\xc0/b\\0\\0\\xc0/c"))
    [b'/a\\x00\\x00', b'/b\\x00\\x00']
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> bool:
        """Whether a frame has begun."""
        return bool(self._buffer)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """See `Framing.feed`."""
        *ended, rest = chunk.split(_END)
        for part in ended:
            self._hold(part)
            if self._buffer:
                packet = _unescaped(bytes(self._buffer))
                self._buffer.clear()
                yield packet
        self._hold(rest)

    def frame(self, packet: bytes) -> bytes:
        """Return `packet` between two END bytes."""
        return _END + packet.replace(_ESC, _ESC_ESC).replace(_END, _ESC_END) + _END

    def _hold(self, part: bytes) -> None:
        # Every byte may be escaped, and then takes two.
        if len(self._buffer) + len(part) > 2 * MAX_DATAGRAM:
            raise FramingError(f"frame of more than {MAX_DATAGRAM} bytes")
        self._buffer += part


def framing_of(first: int) -> Framing:
    """Return the framing of a stream whose first byte is `first`.

    A size of at most MAX_DATAGRAM begins with a zero byte; SLIP with END, or with a packet's own
    first byte where the sender leaves that out.

    Raises
    ------
    FramingError
        If it is neither.
    """
    if first == 0:
        return LengthFraming()
    if first in b"\xc0/#":
        return SlipFraming()
    raise FramingError(f"a stream that begins with byte {first} is not OSC")


def _unescaped(frame: bytes) -> bytes:
    if _ESC in frame:
        if _BAD_ESCAPE.search(frame):
            raise FramingError("a SLIP escape of nothing that needs one")
        frame = frame.replace(_ESC_END, _END).replace(_ESC_ESC, _ESC)
    if len(frame) > MAX_DATAGRAM:
        raise FramingError(f"frame of {len(frame)} bytes; at most {MAX_DATAGRAM} are taken")
    return frame
