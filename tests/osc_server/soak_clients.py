"""The clients of a soak: eight on UDP, TCP and WebSocket, and one that listens as the panel does.

    python -m tests.osc_server.soak_clients PORT SECONDS RATE VOICES

One process, one thread: every few milliseconds each client sends its share and reads what has come.
At the end it prints as JSON what was sent, by the engine's command, and what was answered.
"""

from __future__ import annotations

import base64
import collections
import json
import random
import socket
import struct
import sys
import time
from typing import Final, Protocol

from ghostnote.osc_server.commands import Op
from ghostnote.osc_server.encode import Value, encode
from ghostnote.osc_server.framing import Framing, LengthFraming, SlipFraming
from ghostnote.osc_server.osc import OscMessage, by_time, parse_packet
from tests.osc_server.fuzzing import Fuzzer

TICK_SECONDS: Final = 0.004
MOST_AT_ONCE: Final = 400  # messages of one client in one tick, when it has been held up
MALFORMED: Final = 0.1
REFUSED: Final = 0.1
ANSWER_SECONDS: Final = 20.0
_REFUSED: Final[tuple[tuple[str, Value], ...]] = (
    ("/ghost/voice/1/gain", "loud"),
    ("/ghost/voice/99/gain", 0.5),
    ("/ghost/voice/1/temperature", -3.0),
    ("/ghost/nothing/there", 1),
)
SET: Final = ((Op.GAIN, "gain"), (Op.PAN, "pan"), (Op.TEMPERATURE, "temperature"))


class Link(Protocol):
    """A way to the server, without waiting."""

    def send(self, packet: bytes) -> None:
        """Send a packet, or keep it until the network takes it."""

    def receive(self) -> list[bytes]:
        """Return the packets that have come."""


class Udp:
    """Datagrams."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setblocking(False)
        self._waiting: collections.deque[bytes] = collections.deque()

    def send(self, packet: bytes) -> None:
        """See Link."""
        self._waiting.append(packet)
        self._flush()

    def receive(self) -> list[bytes]:
        """See Link."""
        self._flush()
        found = []
        try:
            while True:
                found.append(self._socket.recv(65536))
        except BlockingIOError:
            return found

    def _flush(self) -> None:
        try:
            while self._waiting:
                self._socket.send(self._waiting[0])
                self._waiting.popleft()
        except BlockingIOError:
            pass


class Stream:
    """A TCP connection; raises ConnectionError where the server ends it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._outgoing = bytearray()

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them until the network takes them."""
        self._outgoing += data
        self.socket.setblocking(False)
        try:
            while self._outgoing:
                del self._outgoing[: self.socket.send(self._outgoing)]
        except BlockingIOError:
            pass

    def read(self) -> bytes:
        """Return the bytes that have come."""
        self.write(b"")
        found = bytearray()
        try:
            while True:
                chunk = self.socket.recv(65536)
                if not chunk:
                    raise ConnectionError("the server has closed a connection")
                found += chunk
        except BlockingIOError:
            return bytes(found)


class Tcp:
    """OSC over TCP in one of the two framings."""

    def __init__(self, port: int, framing: Framing) -> None:
        self._stream, self._framing = Stream(port), framing

    def send(self, packet: bytes) -> None:
        """See Link."""
        self._stream.write(self._framing.frame(packet))

    def receive(self) -> list[bytes]:
        """See Link."""
        return list(self._framing.feed(self._stream.read()))


class WebSocket:
    """Binary frames hold packets; `texts` counts the others."""

    def __init__(self, port: int) -> None:
        self._stream = Stream(port)
        self._incoming = bytearray()
        self.texts = 0
        key = base64.b64encode(random.Random(port).randbytes(16)).decode()
        head = (
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        one = self._stream.socket
        one.sendall(head.encode())
        answer = bytearray()
        while not answer.endswith(b"\r\n\r\n"):
            answer += one.recv(1)
        if b" 101 " not in answer[:40]:
            raise ConnectionError(answer.decode(errors="replace"))

    def send(self, packet: bytes) -> None:
        """See Link."""
        self._frame(2, packet)

    def listen(self, address: str) -> None:
        """Ask to be told of a value, as OSCQuery's clients do."""
        self._frame(1, json.dumps({"COMMAND": "LISTEN", "DATA": address}).encode())

    def receive(self) -> list[bytes]:
        """See Link."""
        buffer = self._incoming
        buffer += self._stream.read()
        found = []
        while len(buffer) >= 2:
            size, begin = buffer[1] & 127, 2
            if size > 125:
                begin = 4 if size == 126 else 10
                if len(buffer) < begin:
                    break
                size = int.from_bytes(buffer[2:begin], "big")
            if len(buffer) < begin + size:
                break
            kind, content = buffer[0] & 15, bytes(buffer[begin : begin + size])
            del buffer[: begin + size]
            if kind == 2:
                found.append(content)
            elif kind == 9:
                self._frame(10, content)
            elif kind == 8:
                raise ConnectionError("the server has closed a WebSocket")
            else:
                self.texts += 1
        return found

    def _frame(self, kind: int, content: bytes) -> None:
        size = len(content)
        length = bytes([128 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        # A mask of zeros is one too.
        self._stream.write(bytes([128 | kind]) + length + bytes(4) + content)


class Client:
    """Sends sound commands, malformed packets and refused ones, in fixed shares, from a seed."""

    def __init__(self, link: Link, number: int, voices: int) -> None:
        self.link = link
        self.sent: collections.Counter[str] = collections.Counter()
        self.answered: collections.Counter[str] = collections.Counter()
        self._random = random.Random(number)
        self._voices = voices
        addresses = [f"/ghost/voice/{v + 1}/{name}" for v in range(voices) for _, name in SET]
        fuzzer = Fuzzer(number, addresses)
        self._malformed = [p for p in (fuzzer.malformed() for _ in range(300)) if p]

    def send(self) -> None:
        """Send one message of a kind that the shares say."""
        draw, kind = self._random, self._random.random()
        if kind < MALFORMED:
            packet, told = draw.choice(self._malformed), "malformed"
        elif kind < MALFORMED + REFUSED:
            packet, told = encode(*draw.choice(_REFUSED)), "refused"
        elif kind < MALFORMED + REFUSED + 0.02:
            voice = draw.randrange(self._voices)
            address = f"/ghost/voice/{voice + 1}/trig/kick"
            packet, told = encode(address, draw.uniform(0.2, 1.0)), f"{Op.TRIG.name} {voice}"
        else:
            voice, (op, name) = draw.randrange(self._voices), draw.choice(SET)
            packet = encode(f"/ghost/voice/{voice + 1}/{name}", draw.uniform(0.2, 0.9))
            told = f"{op.name} {voice}"
        self.link.send(packet)
        self.sent[told] += 1

    def sync(self, number: int) -> None:
        """Ask for an answer."""
        self.link.send(encode("/ghost/sync", number))
        self.sent["sync"] += 1

    def read(self) -> None:
        """Count what has come."""
        for packet in self.link.receive():
            if packet.startswith(b"/fail\0"):
                self.answered["/fail"] += 1
                continue
            for _, messages in by_time(parse_packet(packet)):
                self._count(messages)

    def _count(self, messages: list[OscMessage]) -> None:
        for message in messages:
            self.answered[message.address] += 1


def run(port: int, seconds: float, rate: float, voices: int) -> dict[str, object]:
    """Play the clients; returns what they sent and got. Raises ConnectionError if one is cut off."""
    links: list[Link] = [Udp(port) for _ in range(4)]
    links += [Tcp(port + 1, LengthFraming()), Tcp(port + 1, SlipFraming())]
    links += [WebSocket(port), WebSocket(port)]
    clients = [Client(link, number, voices) for number, link in enumerate(links)]
    panel = WebSocket(port)
    watcher = Client(panel, -1, voices)
    for voice in range(voices):
        for name in ("gain", "pan", "temperature", "state", "kit", "seed"):
            panel.listen(f"/ghost/voice/{voice + 1}/{name}")
    for address in ("/ghost/notify", "/ghost/notify/meters", "/ghost/notify/beat"):
        panel.send(encode(address, 1))
    for client in clients:
        client.sync(0)
    began, done, second, behind = time.monotonic(), 0, 0, 0
    while (now := time.monotonic() - began) < seconds:
        due = int(now * rate / len(clients)) - done
        behind = max(behind, due)
        for _ in range(min(due, MOST_AT_ONCE)):
            done += 1
            for client in clients:
                client.send()
        if int(now) > second:
            second = int(now)
            for client in clients:
                client.sync(second)
        for client in (*clients, watcher):
            client.read()
        time.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - began - now)))
    sending = time.monotonic() - began
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline and any(
        client.answered["/ghost/synced"] < client.sent["sync"] for client in clients
    ):
        for client in (*clients, watcher):
            client.read()
        time.sleep(TICK_SECONDS)
    sent: collections.Counter[str] = collections.Counter()
    answered: collections.Counter[str] = collections.Counter()
    for client in clients:
        sent += client.sent
        answered += client.answered
    return {
        "sent": dict(sent),
        "answered": dict(answered),
        "panel": dict(watcher.answered),
        "seconds": round(sending, 3),
        "per_second": round(len(clients) * done / sending, 1),
        "most_behind": behind * len(clients),
        "cpu_seconds": round(time.process_time(), 2),
    }


if __name__ == "__main__":
    port, seconds, rate, voices = map(float, sys.argv[1:])
    json.dump(run(int(port), seconds, rate, int(voices)), sys.stdout)
