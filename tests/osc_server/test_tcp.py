"""OSC over TCP with real sockets: both framings, and clients that misbehave."""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator

import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.commands import Op
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import encode
from ghostnote.osc_server.framing import Framing, LengthFraming, SlipFraming
from ghostnote.osc_server.osc import MAX_DATAGRAM, OscMessage, parse_packet
from ghostnote.osc_server.peer import Peer
from ghostnote.osc_server.tcp import FRAME_SECONDS, MAX_CONNECTIONS, MAX_OUTGOING, TcpServer
from tests.osc_server.recorder import RecordingControl
from tests.osc_server.waiting import until

FRAMINGS = [LengthFraming, SlipFraming]


class Inbox:
    """A door that keeps what comes through it."""

    def __init__(self) -> None:
        self.packets: queue.Queue[tuple[bytes, Peer]] = queue.Queue()
        self.ended: queue.Queue[str] = queue.Queue()
        self.troubles: queue.Queue[str] = queue.Queue()

    def receive(self, data: bytes | memoryview, peer: Peer) -> None:
        self.packets.put((bytes(data), peer))

    def gone(self, peer: Peer) -> None:
        self.ended.put(peer.name)

    def malformed(self, peer: Peer, reason: object) -> None:
        self.troubles.put(str(reason))


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(inbox: Inbox, clock: Clock) -> Iterator[TcpServer]:
    server = TcpServer(inbox, port=0, clock=clock)
    server.start()
    yield server
    server.stop()


@contextlib.contextmanager
def connected(server: TcpServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as one:
        yield one


def is_closed(one: socket.socket) -> bool:
    """Whether the server ends the connection, once what it sent before is read."""
    with contextlib.suppress(ConnectionError):
        while one.recv(65536):
            pass
    return True


def next_packet(one: socket.socket, framing: Framing) -> bytes:
    while True:
        for packet in framing.feed(one.recv(4096)):
            return packet


@pytest.mark.parametrize("framing", FRAMINGS)
def test_packets_in_and_answers_out_in_the_same_framing(
    server: TcpServer, inbox: Inbox, framing: type[Framing]
) -> None:
    with connected(server) as one:
        form = framing()
        packets = [encode("/ghost/x", n, "\xc0\xdb") for n in range(3)]
        one.sendall(b"".join(map(form.frame, packets)))
        for packet in packets:
            data, peer = inbox.packets.get(timeout=10)
            assert data == packet
        assert peer.name == f"tcp 127.0.0.1:{one.getsockname()[1]}"
        assert peer.is_local
        peer.send(packets[1])
        assert next_packet(one, framing()) == packets[1]
    assert inbox.ended.get(timeout=10) == peer.name
    peer.send(packets[0])  # to nobody
    assert inbox.troubles.empty()


@pytest.mark.parametrize("framing", FRAMINGS)
def test_byte_by_byte(server: TcpServer, inbox: Inbox, framing: type[Framing]) -> None:
    with connected(server) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in framing().frame(encode("/ghost/x", 1)):
            one.sendall(bytes([byte]))
        assert inbox.packets.get(timeout=10)[0] == encode("/ghost/x", 1)


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">i", MAX_DATAGRAM + 1) + b"x" * 100,
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\xc0" + b"x" * (3 * MAX_DATAGRAM),
        b"\xc0/a\xdb\xdb\xc0",
    ],
    ids=["http", "oversized", "huge", "negative", "empty", "endless", "escape"],
)
def test_nonsense_is_counted_and_ends_the_connection(
    server: TcpServer, inbox: Inbox, stream: bytes
) -> None:
    with connected(server) as one:
        with contextlib.suppress(ConnectionError):
            one.sendall(stream)
        assert is_closed(one)
    assert inbox.troubles.get(timeout=10)
    assert inbox.packets.empty()
    assert inbox.ended.get(timeout=10)
    until(lambda: server.connections == 0, "no connection")


def test_an_end_within_a_frame_is_counted(server: TcpServer, inbox: Inbox) -> None:
    with connected(server) as one:
        one.sendall(b"\0\0\0\x10/gho")
    assert "within a frame" in inbox.troubles.get(timeout=10)


def test_a_frame_that_never_ends_is_not_waited_for(
    server: TcpServer, inbox: Inbox, clock: Clock
) -> None:
    with connected(server) as idle, connected(server) as half:
        form = LengthFraming()
        idle.sendall(form.frame(encode("/ghost/x")))
        half.sendall(form.frame(encode("/ghost/x")) + b"\0\0")
        for _ in range(2):
            inbox.packets.get(timeout=10)
        # Its first bytes set the time; more of the same frame do not set it back.
        clock.now += FRAME_SECONDS / 2
        half.sendall(b"\0\x40")
        clock.now += FRAME_SECONDS / 2
        assert is_closed(half)
        assert "not complete" in inbox.troubles.get(timeout=10)
        idle.sendall(form.frame(encode("/ghost/still")))
        assert inbox.packets.get(timeout=10)[0] == encode("/ghost/still")


def test_a_slow_reader_is_cut_off_and_told(
    server: TcpServer, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(server) as slow, connected(server) as quick:
        for one in (slow, quick):
            one.sendall(SlipFraming().frame(encode("/ghost/x")))
        slow_name = f"tcp 127.0.0.1:{slow.getsockname()[1]}"
        peers = {peer.name: peer for _, peer in (inbox.packets.get(timeout=10) for _ in range(2))}
        packet = encode("/ghost/long", "x" * 60000)
        for _ in range(600):  # more than the system buffers, and 256 kB
            peers[slow_name].send(packet)
        until(lambda: server.connections == 1, "the slow one is cut off")
        assert inbox.ended.get(timeout=10) == slow_name
        del peers[slow_name]
        (other,) = peers.values()
        other.send(encode("/done"))
        assert next_packet(quick, SlipFraming()) == encode("/done")
    assert f"{slow_name} was cut off" in caplog.text
    assert f"{MAX_OUTGOING >> 10} kB" in caplog.text


def test_a_burst_of_answers_waits_for_a_reader_and_arrives_whole(
    server: TcpServer, inbox: Inbox
) -> None:
    with connected(server) as one:
        one.sendall(LengthFraming().frame(encode("/ghost/x")))
        _, peer = inbox.packets.get(timeout=10)
        packets = [encode("/ghost/n", n) for n in range(5000)]
        sender = threading.Thread(target=lambda: deque(map(peer.send, packets)))
        sender.start()
        received: list[bytes] = []
        form = LengthFraming()
        while len(received) < len(packets):
            received += form.feed(one.recv(4096))
        sender.join()
    assert received == packets


def test_no_more_than_so_many_connections(
    server: TcpServer, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(MAX_CONNECTIONS)]
        until(lambda: server.connections == MAX_CONNECTIONS, "all connected")
        with connected(server) as extra:
            assert is_closed(extra)
        until(lambda: f"{MAX_CONNECTIONS} TCP clients" in caplog.text, "the warning")
        clients[0].close()
        until(lambda: server.connections == MAX_CONNECTIONS - 1, "one place")
        with connected(server) as another:
            another.sendall(SlipFraming().frame(encode("/ghost/x")))
            assert inbox.packets.get(timeout=10)[0] == encode("/ghost/x")


def test_a_flood_of_trouble_is_a_line_or_two(
    server: TcpServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(connected(server))
        until(lambda: server.connections == MAX_CONNECTIONS, "all connected")
        began = time.monotonic()
        for _ in range(100):
            with connected(server) as extra:
                assert is_closed(extra)
        seconds = time.monotonic() - began
    assert 1 <= caplog.text.count("TCP clients") <= seconds + 1


def test_the_receiver_survives_what_its_door_raises(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Inbox):
        def receive(self, data: bytes | memoryview, peer: Peer) -> None:
            super().receive(data, peer)
            raise RuntimeError("a defect")

    inbox = Broken()
    server = TcpServer(inbox, port=0)
    server.start()
    with connected(server) as one:
        one.sendall(SlipFraming().frame(b"/a\0\0") * 2)
        for _ in range(2):
            inbox.packets.get(timeout=10)
    server.stop()
    assert caplog.text.count("RuntimeError: a defect") == 2


def test_a_client_that_is_gone_already_when_it_is_accepted(
    server: TcpServer, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As macOS has it: an option of such a connection cannot be set."""
    original = socket.socket.setsockopt

    def refuses(self: socket.socket, level: int, name: int, value: int) -> None:
        if name == socket.TCP_NODELAY:
            raise OSError(22, "Invalid argument")
        original(self, level, name, value)

    monkeypatch.setattr(socket.socket, "setsockopt", refuses)
    for _ in range(2):
        with connected(server) as one:
            one.sendall(SlipFraming().frame(encode("/ghost/x")))
            assert inbox.packets.get(timeout=10)[0] == encode("/ghost/x")


def test_a_defect_ends_one_connection_only(
    server: TcpServer,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: int) -> Framing:
        raise RuntimeError("a defect")

    with connected(server) as good:
        good.sendall(SlipFraming().frame(encode("/ghost/x")))
        inbox.packets.get(timeout=10)
        with monkeypatch.context() as patch, connected(server) as bad:
            patch.setattr("ghostnote.osc_server.tcp.framing_of", broken)
            bad.sendall(SlipFraming().frame(encode("/ghost/x")))
            assert is_closed(bad)
        good.sendall(SlipFraming().frame(encode("/ghost/y")))
        assert inbox.packets.get(timeout=10)[0] == encode("/ghost/y")
    assert "RuntimeError: a defect" in caplog.text


def test_port_in_use_is_told_in_one_line(server: TcpServer, inbox: Inbox) -> None:
    with pytest.raises(GhostnoteError, match=f"TCP port {server.port} .*--port") as error:
        TcpServer(inbox, port=server.port)
    assert "\n" not in str(error.value)
    with pytest.raises(GhostnoteError, match="TCP port 70000"):
        TcpServer(inbox, port=70000)


def test_start_and_stop_many_times_leave_nothing(inbox: Inbox) -> None:
    threads = threading.active_count()
    port = 0
    for _ in range(20):
        server = TcpServer(inbox, port=port)
        server.start()
        port = server.port
        with connected(server) as one:
            one.sendall(SlipFraming().frame(encode("/ghost/x")))
            inbox.packets.get(timeout=10)
            server.stop()
            assert is_closed(one)
    assert threading.active_count() == threads


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_client_plays_follows_and_leaves(framing: type[Framing]) -> None:
    """Through the real dispatcher: commands, answers, updates, and a lease that ends with it."""
    control = RecordingControl()
    dispatcher = Dispatcher(control)
    server = TcpServer(dispatcher, port=0)
    server.start()
    try:
        with connected(server) as one:
            form = framing()
            one.sendall(
                form.frame(encode("/ghost/voice/1/trig/kick", 0.5))
                + form.frame(encode("/ghost/notify", 1))
                + form.frame(b"nonsense")
            )
            done = parse_packet(next_packet(one, framing()))
            assert isinstance(done, OscMessage)
            assert done.args[0] == "/ghost/notify"
            assert [command.op for command in control.commands] == [Op.TRIG]
            dispatcher.send("/ghost/tempo", 99.0)
            dispatcher.tick()
            update = parse_packet(next_packet(one, framing()))
            assert update == OscMessage("/ghost/tempo", "f", (99.0,))
        until(lambda: server.connections == 0, "the end of the connection")
        assert dispatcher.session.dropped == 1
    finally:
        server.stop()
        dispatcher.stop()
