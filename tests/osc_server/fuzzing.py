"""A fuzzer for what comes from the network: packets and streams, damaged at random from a seed.

`Target` is the whole OSC side, from bytes to engine commands, with nothing behind it. Whatever
raises in there is a defect: it is raised again here, though the server itself would only log it.
Used by test_fuzz.py and by benchmarks/fuzz.py. One thread at a time; slow commands (presets) run on
the dispatcher's worker thread.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.commands import Command, Op
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import Value, encode
from ghostnote.osc_server.framing import FramingError, LengthFraming, SlipFraming, framing_of
from ghostnote.osc_server.osc import (
    IMMEDIATELY,
    MAX_DATAGRAM,
    OscParseError,
    ntp_from_unix,
    parse_packet,
)
from tests.osc_server.recorder import RecordingControl

SIZES: Final = (-(2**31), -8, -4, -1, 0, 1, 3, 4, 8, 12, 16, 255, 65535, 65536, 65540, 2**31 - 1)
ODD: Final[tuple[Value, ...]] = (
    *(0, 1, -1, 2**31 - 1, -(2**31), 0.0, 0.5, 1.0, -1.0, 1e9, 1e-30, 1e300, -1e300, 1e-300),
    *(float("nan"), float("inf"), True, False, "", "kick", "dusty", "x.x.", "../../etc/passwd"),
    *("/ghost/tempo", "{", "[a-", "\u00fc" * 40, "x" * 900),
)
PATTERNS: Final = (
    *("/*", "/ghost/*", "/ghost/voice/*/gain", "/ghost/voice/[1-9]/{gain,pan,kit}"),
    *("/ghost//tempo", "/ghost/voice/1/trig/?ick", "/ghost/{", "/ghost/[!a-", "/" + "*" * 200),
)
CLIENTS: Final = 300
PRESETS: Final = 8  # of which names are made, or the disk would fill


class _Errors(logging.Handler):
    """Keeps the exceptions that are logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.found.append(record.exc_info[1])


class _Client:
    """A sender that forgets what it is told."""

    def __init__(self, number: int) -> None:
        self.name = f"fuzz {number}"
        self.is_local = bool(number % 3)

    def send(self, datagram: bytes) -> None:
        """Take an answer; what the server says must be OSC."""
        parse_packet(datagram)


class _Control(RecordingControl):
    """Refuses as the engine does what the stand-in for tests takes for a defect of the test."""

    def submit(self, commands: Sequence[Command], frame: int) -> bool:
        self.there |= {command.voice for command in commands if command.op is Op.VOICE_FREE}
        return super().submit(list(dict.fromkeys(commands)), frame)

    def new_voice(self, model: str, voice: int) -> None:
        if self.exists(voice):
            raise GhostnoteError(f"voice {voice + 1} exists")
        super().new_voice(model, voice)


class Target:
    """The OSC side with nothing behind it."""

    def __init__(self, presets: Path) -> None:
        self.control = _Control(_Control.max_voices)
        self.errors = _Errors()
        self.dispatcher = Dispatcher(self.control, presets=presets)
        self.dispatcher.start()
        self.clients = [_Client(n) for n in range(CLIENTS)]
        self._count = 0

    @property
    def addresses(self) -> list[str]:
        """All addresses that there are."""
        return [route.name for route in self.dispatcher.session.routes.all()]

    def packet(self, data: bytes, client: int = 0) -> None:
        """Hand over one packet; raises what it brings about."""
        self.dispatcher.receive(data, self.clients[client % CLIENTS])
        self._count += 1
        self.control.now += 1e-3
        if self._count % 64 == 0:
            self._housekeeping()
        if self.errors.found:
            raise self.errors.found[0]

    def stream(self, chunks: list[bytes], client: int = 0) -> None:
        """Hand over a connection's bytes as they come; it ends at the first framing error."""
        held = b"".join(chunks)
        if not held:
            return
        with contextlib.suppress(FramingError):
            framing = framing_of(held[0])
            for chunk in chunks:
                for packet in framing.feed(chunk):
                    assert len(packet) <= MAX_DATAGRAM
                    self.packet(packet, client)

    def close(self) -> None:
        """End the worker thread; raises what went wrong in it."""
        self.dispatcher.stop()
        if self.errors.found:
            raise self.errors.found[0]

    def _housekeeping(self) -> None:
        """Do what the server's main thread does, and let nothing pile up in the stand-ins."""
        self.dispatcher.tick()
        control = self.control
        for noted in (control.batches, control.recorded, control.primed, control.beats):
            noted.clear()
        control.followed.clear()
        control.cancelled.clear()
        control.leaving.clear()  # what was freed is silent by now, and is made again
        for voice in range(control.max_voices):
            if voice not in self.dispatcher.session.voices and not control.exists(voice):
                self.dispatcher.send("/ghost/voice/new", "default", voice + 1)
        if self._count % 4096 == 0:
            self.dispatcher.gone(self.clients[self._count // 4096 % CLIENTS])


@contextlib.contextmanager
def target(presets: Path) -> Iterator[Target]:
    """A target that tells of every exception; what the server logs besides is kept quiet."""
    made = Target(presets)
    loggers = [logging.getLogger(name) for name in ("ghostnote", "ghostnote.osc.in")]
    before = [(one, one.level, one.propagate) for one in loggers]
    for one in loggers:
        one.addHandler(made.errors)
        one.setLevel(logging.ERROR)
        one.propagate = False
    try:
        yield made
        made.close()
    finally:
        made.dispatcher.stop()
        for one, level, propagate in before:
            one.removeHandler(made.errors)
            one.setLevel(level)
            one.propagate = propagate


def _wide(values: Sequence[Value]) -> str:
    """Return the type tags of `values` that lose nothing of a number."""
    tags = {bool: "T", int: "h", float: "d", str: "s"}
    return "".join("F" if value is False else tags[type(value)] for value in values)


class Fuzzer:
    """Packets and streams from a seed: sound ones, odd ones, and damaged ones."""

    def __init__(self, seed: int, addresses: Sequence[str]) -> None:
        self.random = random.Random(seed)
        self._addresses = addresses

    def packet(self) -> bytes:
        """Return a packet: one in four is a bundle, half are damaged."""
        chance = self.random.random()
        data = self._bundle(3) if chance < 0.25 else self._message()
        return self._damaged(data) if self.random.random() < 0.5 else data

    def stream(self) -> list[bytes]:
        """Return some packets in a framing, perhaps damaged, cut anywhere."""
        draw = self.random
        framing = draw.choice((LengthFraming, SlipFraming))()
        data = b"".join(framing.frame(self.packet()) for _ in range(draw.randrange(1, 6)))
        if draw.random() < 0.5:
            data = self._damaged(data)
        cuts = sorted(draw.randrange(len(data) + 1) for _ in range(draw.randrange(4)))
        edges = [0, *cuts, len(data)]
        return [data[a:b] for a, b in itertools.pairwise(edges)]

    def malformed(self) -> bytes:
        """Return something that is no packet."""
        while True:
            data = self._damaged(self._message())
            try:
                parse_packet(data)
            except OscParseError:
                return data

    def _message(self) -> bytes:
        draw = self.random
        address = draw.choice(PATTERNS) if draw.random() < 0.1 else draw.choice(self._addresses)
        if "/preset/" in address:
            return encode(address, f"preset{draw.randrange(PRESETS)}", f"preset{draw.randrange(3)}")
        values = [self._value() for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3)))]
        return encode(address, *values, tags=_wide(values) if draw.random() < 0.2 else "")

    def _value(self) -> Value:
        draw = self.random
        kind = draw.randrange(4)
        if kind == 0:
            return draw.choice(ODD)
        if kind == 1:
            return draw.randrange(-4, 65)
        return draw.random() if kind == 2 else draw.choice(("kick", "snare", "tape", "x.X.", "a"))

    def _bundle(self, depth: int) -> bytes:
        draw = self.random
        inner = [
            self._bundle(depth - 1) if depth and draw.random() < 0.2 else self._message()
            for _ in range(draw.randrange(5))
        ]
        ahead = draw.choice((0.0, 0.01, 1.0, 1e4, -5.0))
        when = ntp_from_unix(1_800_000_000.0 + ahead)
        timetag = draw.choice((IMMEDIATELY, when, draw.getrandbits(64)))
        elements = b"".join(struct.pack(">i", len(data)) + data for data in inner)
        return b"#bundle\0" + struct.pack(">Q", timetag) + elements

    def _damaged(self, data: bytes) -> bytes:
        draw, spoilt = self.random, bytearray(data)
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            at = draw.randrange(len(spoilt) + 1)
            kind = draw.randrange(7)
            if kind == 0:
                del spoilt[at:]
            elif kind == 1:
                spoilt[at:at] = draw.randbytes(draw.randrange(9))
            elif kind == 2:
                del spoilt[at : at + draw.randrange(9)]
            elif kind == 3:
                at -= at % 4
                spoilt[at : at + 4] = struct.pack(">i", draw.choice(SIZES))
            elif kind == 4:
                spoilt[at:at] = spoilt[: draw.randrange(64)]
            elif spoilt:
                spoilt[at % len(spoilt)] ^= 1 << draw.randrange(8) if kind == 5 else 0xFF
        return bytes(spoilt[: 2 * MAX_DATAGRAM])
