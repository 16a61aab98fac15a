"""Nothing that a network can bring makes the OSC side raise, hang or grow.

benchmarks/fuzz.py does the same with a million packets.
"""

from __future__ import annotations

import faulthandler
import gc
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostnote.osc_server.framing import LengthFraming, SlipFraming
from tests.osc_server.fuzzing import Fuzzer, Target, target
from tests.osc_server.test_osc import MESSAGES, PACKETS, built

HANG_SECONDS = 120
ADDRESSES = ("/ghost/voice/1/trig/kick", "/ghost/pattern/1/kick", "/ghost/voice/1/kit")
SEEDS = st.integers(0, 2**32)
LIST_OF_PACKETS = st.lists(PACKETS.map(built) | st.binary(min_size=1, max_size=60), max_size=6)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One target for all examples, so that what they leave behind adds up."""
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    try:
        with target(tmp_path_factory.mktemp("presets")) as made:
            yield made
    finally:
        faulthandler.cancel_dump_traceback_later()


@given(st.binary(max_size=300))
def test_any_bytes(behind: Target, data: bytes) -> None:
    behind.packet(data)


@given(PACKETS.map(built))
def test_sound_packets_of_any_content(behind: Target, data: bytes) -> None:
    behind.packet(data)


@given(st.sampled_from(ADDRESSES), MESSAGES)
def test_any_arguments_at_addresses_that_are_there(
    behind: Target, address: str, message: object
) -> None:
    data = built(message)  # type: ignore[arg-type]
    arguments = data[data.index(b",") :]
    head = address.encode()
    behind.packet(head + bytes(4 - len(head) % 4) + arguments)


@pytest.mark.parametrize("framing", [LengthFraming, SlipFraming])
@given(packets=LIST_OF_PACKETS, cuts=st.lists(st.integers(0, 2000), max_size=6), data=st.data())
def test_streams_cut_and_damaged_anywhere(
    behind: Target,
    framing: type[LengthFraming | SlipFraming],
    packets: list[bytes],
    cuts: list[int],
    data: st.DataObject,
) -> None:
    stream = bytearray(b"".join(framing().frame(packet) for packet in packets))
    if stream and data.draw(st.booleans()):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    behind.stream([bytes(stream[a:b]) for a, b in itertools.pairwise(edges)])


@settings(max_examples=20)
@given(SEEDS)
def test_a_hundred_damaged_packets_and_streams_of_any_seed(behind: Target, seed: int) -> None:
    fuzzer = Fuzzer(seed, behind.addresses)
    for number in range(100):
        behind.packet(fuzzer.packet(), number)
        behind.stream(fuzzer.stream(), number)


def test_thousands_of_packets_leave_nothing_behind(tmp_path: Path) -> None:
    with target(tmp_path) as made:
        fuzzer = Fuzzer(0, made.addresses)
        counts = []
        for number in range(16000):
            made.packet(fuzzer.packet(), number)
            if number % 4000 == 3999:
                gc.collect()
                counts.append(len(gc.get_objects()))
    # What is remembered (clients, scheduled effects, voices) is bounded, and has been reached.
    assert counts[-1] < 1.2 * counts[1] + 20000


def test_a_defect_would_be_found(behind: Target, tmp_path: Path) -> None:
    with target(tmp_path) as made:
        made.control.submit = None  # type: ignore[assignment, method-assign]
        with pytest.raises(TypeError, match="not callable"):
            made.packet(b"/ghost/stop\0,\0\0\0")
        made.errors.found.clear()
