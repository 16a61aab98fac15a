"""UDP with real sockets and liblo's oscsend, a program of somebody else's."""

from __future__ import annotations

import logging
import math
import queue
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.commands import Op
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import encode
from ghostnote.osc_server.osc import Impulse, Midi, OscMessage, parse_packet
from ghostnote.osc_server.peer import Peer
from ghostnote.osc_server.udp import UdpServer
from tests.osc_server.recorder import RecordingControl
from tests.parts import need


class Inbox:
    """What arrives, parsed, with its sender."""

    def __init__(self) -> None:
        self.messages: queue.Queue[tuple[object, Peer]] = queue.Queue()

    def receive(self, data: memoryview, peer: Peer) -> None:
        self.messages.put((parse_packet(data), peer))

    def next(self) -> object:
        return self.messages.get(timeout=10)[0]


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def server(inbox: Inbox) -> Iterator[UdpServer]:
    server = UdpServer(inbox.receive, port=0)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        sender.settimeout(10)
        yield sender


def oscsend(port: int, *words: str) -> None:
    subprocess.run([need("oscsend"), "127.0.0.1", str(port), *words], check=True, timeout=10)


@pytest.mark.parametrize(
    ("types", "words", "args"),
    [
        ("", [], ()),
        ("i", ["-7"], (-7,)),
        ("h", ["1099511627776"], (2**40,)),
        ("f", ["0.5"], (0.5,)),
        ("d", ["0.1"], (0.1,)),
        ("s", ["snare"], ("snare",)),
        ("s", ["Trömmel"], ("Trömmel",)),
        ("S", ["symbol"], ("symbol",)),
        ("c", ["k"], ("k",)),
        ("m", ["01903c7f"], (Midi(1, 0x90, 60, 127),)),
        ("TFNI", [], (True, False, None, Impulse.IMPULSE)),
        ("sifTs", ["a", "1", "2.5", "b"], ("a", 1, 2.5, True, "b")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_type_of_oscsend(
    types: str, words: list[str], args: tuple[object, ...], server: UdpServer, inbox: Inbox
) -> None:
    oscsend(server.port, "/ghost/x", types, *words)
    assert inbox.next() == OscMessage("/ghost/x", types, args)  # type: ignore[arg-type]


def test_oscsend_infinity(server: UdpServer, inbox: Inbox) -> None:
    oscsend(server.port, "/ghost/x", "f", "inf")
    assert inbox.next() == OscMessage("/ghost/x", "f", (math.inf,))


def test_answers_go_to_the_senders_port(
    server: UdpServer, inbox: Inbox, sender: socket.socket
) -> None:
    sender.sendto(encode("/ghost/x"), ("127.0.0.1", server.port))
    _, peer = inbox.messages.get(timeout=10)
    assert peer.name == f"udp 127.0.0.1:{sender.getsockname()[1]}"
    assert peer.is_local
    peer.send(encode("/done", "/ghost/x"))
    data, address = sender.recvfrom(1024)
    assert parse_packet(data) == OscMessage("/done", "s", ("/ghost/x",))
    assert address == ("127.0.0.1", server.port)


def test_sending_never_waits(server: UdpServer) -> None:
    """Not even for a client that has left the network, which no test can: so by its cause."""
    assert server._socket.getblocking() is False


def test_the_system_is_asked_for_room_for_large_answers(server: UdpServer) -> None:
    option = (socket.SOL_SOCKET, socket.SO_SNDBUF)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as usual:
        assert server._socket.getsockopt(*option) > usual.getsockopt(*option)


def test_answers_to_nobody_are_harmless(server: UdpServer, inbox: Inbox) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.sendto(encode("/ghost/x"), ("127.0.0.1", server.port))
    _, peer = inbox.messages.get(timeout=10)
    for _ in range(10):
        peer.send(encode("/done"))
    oscsend(server.port, "/ghost/still", "")
    assert inbox.next() == OscMessage("/ghost/still")


def test_receiver_survives_what_its_handler_raises(caplog: pytest.LogCaptureFixture) -> None:
    arrived: queue.Queue[bytes] = queue.Queue()

    def receive(data: memoryview, peer: Peer) -> None:
        arrived.put(bytes(data))
        raise RuntimeError("a defect")

    server = UdpServer(receive, port=0)
    server.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in (b"one", b"", b"two"):
            sender.sendto(datagram, ("127.0.0.1", server.port))
            assert arrived.get(timeout=10) == datagram
    server.stop()
    assert caplog.text.count("RuntimeError: a defect") == 3


def test_port_in_use_is_told_in_one_line(server: UdpServer) -> None:
    with pytest.raises(GhostnoteError, match=f"UDP port {server.port} .* choose another") as error:
        UdpServer(lambda data, peer: None, port=server.port)
    assert "\n" not in str(error.value)
    with pytest.raises(GhostnoteError, match="UDP port 70000"):
        UdpServer(lambda data, peer: None, port=70000)


def test_stop_gives_the_port_back(inbox: Inbox) -> None:
    first = UdpServer(inbox.receive, port=0)
    first.start()
    first.stop()
    second = UdpServer(inbox.receive, port=first.port)
    second.stop()
    assert "ghostnote-udp" not in [thread.name for thread in threading.enumerate()]


def test_largest_datagram(server: UdpServer, inbox: Inbox, sender: socket.socket) -> None:
    text = "x" * 65000
    sender.sendto(encode("/ghost/x", text), ("127.0.0.1", server.port))
    assert inbox.next() == OscMessage("/ghost/x", "s", (text,))


def test_flood(sender: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    """2,000 triggers with malformed datagrams among them, and none of the triggers is lost."""
    caplog.set_level(logging.ERROR)
    control = RecordingControl()
    dispatcher = Dispatcher(control)
    server = UdpServer(dispatcher.receive, port=0)
    server.start()
    where = ("127.0.0.1", server.port)
    # As many at once as this system's buffers hold; a datagram takes about 1 kB of them.
    at_once = max(server.receive_buffer // 4096, 20)
    hang = b"#bundle\0" + bytes(7) + b"\x01" + b"\xff\xff\xff\xfc"
    junk = [hang, b"", b"/", b"\xff" * 64, b"#bundle\0", bytes(1000), hang * 20]
    hit = encode("/ghost/voice/1/trig/kick", 0.5)
    for n in range(2000):
        sender.sendto(hit, where)
        if n % 20 == 0:
            sender.sendto(junk[n // 20 % len(junk)], where)
        if n % at_once == at_once - 1:
            sender.sendto(encode("/ghost/version"), where)
            sender.recv(1024)
    sender.sendto(encode("/ghost/status"), where)
    status = parse_packet(sender.recv(1024))
    server.stop()
    dispatcher.stop()
    assert isinstance(status, OscMessage)
    assert status.args[6] == 5 + 100
    assert [command.op for command in control.commands] == [Op.TRIG] * 2000
