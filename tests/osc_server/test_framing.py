"""Both framings of OSC in a stream: the same packets however it is cut, and nothing unbounded."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.osc_server.framing import (
    Framing,
    FramingError,
    LengthFraming,
    SlipFraming,
    framing_of,
)
from ghostnote.osc_server.osc import MAX_DATAGRAM

FRAMINGS = [LengthFraming, SlipFraming]
PACKETS = st.lists(st.binary(min_size=1, max_size=80) | st.just(b"\xc0\xdb\xdc\xdd" * 5))
CUTS = st.lists(st.integers(0, 2000))


def fed(framing: Framing, chunks: Iterable[bytes]) -> tuple[list[bytes], str]:
    """What comes out of the chunks, and the error that ends it."""
    packets: list[bytes] = []
    try:
        for chunk in chunks:
            packets.extend(framing.feed(chunk))
    except FramingError as error:
        return packets, str(error)
    return packets, ""


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("framing", FRAMINGS)
@given(packets=PACKETS, cuts=CUTS)
def test_packets_come_out_as_they_went_in_however_the_stream_is_cut(
    framing: type[Framing], packets: list[bytes], cuts: list[int]
) -> None:
    receiver = framing()
    stream = b"".join(receiver.frame(packet) for packet in packets)
    assert fed(receiver, cut(stream, cuts)) == (packets, "")
    assert not receiver.pending


@pytest.mark.parametrize("framing", FRAMINGS)
@given(stream=st.binary(max_size=400) | st.text("\xc0\xdb\xdc/", max_size=40).map(str.encode))
def test_any_bytes_give_the_same_whole_and_one_by_one(
    framing: type[Framing], stream: bytes
) -> None:
    whole = fed(framing(), [stream])
    assert fed(framing(), [stream[n : n + 1] for n in range(len(stream))]) == whole


@given(stream=st.binary(min_size=1, max_size=200))
def test_no_stream_does_more_than_end_in_an_error(stream: bytes) -> None:
    try:
        framing = framing_of(stream[0])
    except FramingError as error:
        assert "not OSC" in str(error)
    else:
        fed(framing, [stream])


def test_first_bytes_tell_the_framing() -> None:
    assert isinstance(framing_of(0), LengthFraming)
    for first in b"\xc0/#":
        assert isinstance(framing_of(first), SlipFraming)
    for first in b"G\xff\x01":
        with pytest.raises(FramingError):
            framing_of(first)


def test_slip_with_one_end_two_or_many() -> None:
    one = b"/a\0\0\xc0/b\0\0\xc0\xc0\xc0/c\0\0\xc0"
    assert fed(SlipFraming(), [one]) == ([b"/a\0\0", b"/b\0\0", b"/c\0\0"], "")


@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_largest_packet_passes_and_a_larger_one_does_not(framing: type[Framing]) -> None:
    for packet in (b"x" * MAX_DATAGRAM, b"\xc0" * MAX_DATAGRAM):
        receiver = framing()
        assert fed(receiver, [receiver.frame(packet)]) == ([packet], "")
        packets, error = fed(receiver, [receiver.frame(b"ok"), receiver.frame(packet + b"x")])
        assert packets == [b"ok"]
        assert str(MAX_DATAGRAM) in error


@pytest.mark.parametrize(
    ("framing", "endless"),
    [(LengthFraming, b"\0\1\0\0" + b"x" * (1 << 20)), (SlipFraming, b"\xc0" + b"x" * (1 << 20))],
)
def test_what_is_held_is_bounded(framing: type[Framing], endless: bytes) -> None:
    receiver = framing()
    for n in range(0, len(endless), 4096):
        packets, error = fed(receiver, [endless[n : n + 4096]])
        assert all(len(packet) <= MAX_DATAGRAM for packet in packets)
        if error:
            break
    assert error
    assert n <= 2 * MAX_DATAGRAM + 8192


@pytest.mark.parametrize("size", [b"\0\0\0\0", b"\xff\xff\xff\xfc", b"\x7f\xff\xff\xff"])
def test_sizes_that_cannot_be(size: bytes) -> None:
    packets, error = fed(LengthFraming(), [b"\0\0\0\4/a\0\0" + size])
    assert packets == [b"/a\0\0"]
    assert "frame of" in error


def test_an_escape_of_nothing() -> None:
    assert fed(SlipFraming(), [b"\xc0/a\xdb\xc0"])[1]
    assert fed(SlipFraming(), [b"\xc0/a\xdb/\xc0"])[1]
