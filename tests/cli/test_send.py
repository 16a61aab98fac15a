"""`ghostnote send` against a real UDP socket, and its guesses of types."""

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from ghostnote.cli.main import main
from ghostnote.cli.send import decode, encode
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.peer import Peer
from ghostnote.osc_server.tcp import TcpServer


@pytest.mark.parametrize(
    ("words", "types", "params"),
    [
        (["1", "-2"], None, [1, -2]),
        (["0.5", "-6.0", "25e-2"], None, [0.5, -6.0, 0.25]),
        (["kick", "x..."], None, ["kick", "x..."]),
        ([str(2**40)], None, [2**40]),
        (["1"], "f", [1.0]),
        (["1"], "s", ["1"]),
        (["--weird"], "s", ["--weird"]),
        (["3"], "TiF", [True, 3, False]),
    ],
)
def test_encode(words: list[str], types: str | None, params: list[object]) -> None:
    message = OscMessage(encode("/a", words, types))
    assert message.address == "/a"
    assert message.params == params
    assert [type(value) for value in message.params] == [type(value) for value in params]


@given(st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers_survive(value: int) -> None:
    assert OscMessage(encode("/a", [str(value)], None)).params == [value]


@pytest.mark.parametrize(
    "words",
    [
        ["a"],
        ["/a", "x", "-t", "f"],
        ["/a", "x", "-t", "ss"],
        ["/a", "x", "y", "-t", "s"],
        ["/a", "x", "-t", "?"],
        ["/a", str(2**70)],
        ["/a", "1e39"],
        ["/a", "--prot", "3"],
    ],
)
def test_what_cannot_be_sent_is_misuse(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        free = udp.getsockname()[1]
    assert main(["send", "/a", "--port", str(free), "--wait", "10"]) == 1
    assert "ghostnote serve" in capsys.readouterr().err


def test_replies_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(30)
        heard: list[OscMessage] = []

        def answer() -> None:
            datagram, sender = udp.recvfrom(1024)
            heard.append(OscMessage(datagram))
            reply = OscMessageBuilder("/done")
            for value in ("a b", 3, 0.1):
                reply.add_arg(value)
            bundle = OscBundleBuilder(IMMEDIATELY)
            bundle.add_content(reply.build())
            bundle.add_content(reply.build())
            udp.sendto(bundle.build().dgram, sender)

        server = threading.Thread(target=answer)
        server.start()
        status = main(["send", "/gain", "-6.5", "--port", str(udp.getsockname()[1])])
        server.join()
    assert status == 0
    assert (heard[0].address, heard[0].params) == ("/gain", [-6.5])
    assert capsys.readouterr().out == "/done 'a b' 3 0.1\n" * 2


class Echo:
    """A door that says what came, and that it came."""

    def receive(self, data: bytes | memoryview, peer: Peer) -> None:
        """Answer one packet."""
        peer.send(encode("/done", [OscMessage(bytes(data)).address, peer.name], None))

    def gone(self, peer: Peer) -> None:
        """Nothing is kept of it."""

    def malformed(self, peer: Peer, reason: object) -> None:
        """Answer what is no packet."""
        peer.send(encode("/fail", [str(reason)], None))


def test_over_tcp(capsys: pytest.CaptureFixture[str]) -> None:
    server = TcpServer(Echo(), port=0)
    server.start()
    port = server.port - 1
    assert main(["send", "/a/b", "1", "--tcp", "--port", str(port), "--wait", "1"]) == 0
    server.stop()
    assert capsys.readouterr().out.startswith("/done /a/b 'tcp 127.0.0.1:")
    assert main(["send", "/a", "--tcp", "--port", str(port)]) == 1
    assert "ghostnote serve" in capsys.readouterr().err


def test_a_reply_that_is_not_osc() -> None:
    with pytest.raises(GhostnoteError, match="is not OSC"):
        decode(b"HTTP/1.1 400 Bad Request\r\n")
