"""All ways to the server together: three ports that fit, and mDNS on the loopback interface."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.discovery import SERVICES, Discovery, own_addresses
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.encode import encode
from ghostnote.osc_server.framing import SlipFraming
from ghostnote.osc_server.network import Network
from ghostnote.osc_server.ring import TapRing
from tests.osc_server.recorder import RecordingControl
from tests.osc_server.waiting import until


@pytest.fixture
def dispatcher() -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(RecordingControl())
    dispatcher.start()
    yield dispatcher
    dispatcher.stop()


def test_every_way_leads_to_the_same_values(dispatcher: Dispatcher, tmp_path: Path) -> None:
    network = Network(dispatcher, "127.0.0.1", 0)
    network.start(TapRing(1 << 14, 2), 48000, tmp_path / "none yet")
    try:
        port = network.udp.port
        assert network.tcp.port == port + 1
        assert network.web and network.web.port == port
        assert network.panel == f"http://127.0.0.1:{port}/"
        with socket.create_connection(("127.0.0.1", port + 1), timeout=10) as one:
            one.sendall(SlipFraming().frame(encode("/ghost/tempo", 77.0)))
            until(lambda: dispatcher.session.values["/ghost/tempo"] == (77.0,), "TCP")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(encode("/ghost/quantum", 4.0), ("127.0.0.1", port))
            until(lambda: dispatcher.session.values["/ghost/quantum"] == (4.0,), "UDP")
        with urllib.request.urlopen(f"{network.panel}ghost/tempo?VALUE", timeout=10) as answer:
            assert json.load(answer) == {"VALUE": [77.0]}
        with urllib.request.urlopen(f"{network.panel}?HOST_INFO", timeout=10) as answer:
            info = json.load(answer)
        assert (info["OSC_PORT"], info["OSC_TCP_PORT"]) == (port, port + 1)
        with urllib.request.urlopen(f"{network.panel}recordings/", timeout=10) as answer:
            assert json.load(answer) == {"recordings": []}
    finally:
        network.stop()


def test_without_http(dispatcher: Dispatcher, tmp_path: Path) -> None:
    network = Network(dispatcher, "127.0.0.1", 0, http=False)
    network.start(TapRing(1 << 14, 2), 48000, tmp_path)
    network.stop()
    assert network.web is None
    assert network.panel == ""


@pytest.mark.parametrize("further", [0, 1])
def test_a_taken_port_is_one_line_and_nothing_stays_open(
    dispatcher: Dispatcher, further: int
) -> None:
    with contextlib.ExitStack() as stack:
        network = Network(dispatcher, "127.0.0.1", 0)
        port = network.udp.port
        network.stop()
        other = stack.enter_context(socket.socket())
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port + further))
        other.listen()
        with pytest.raises(GhostnoteError, match=f"TCP port {port + further} .*--port") as error:
            Network(dispatcher, "127.0.0.1", port)
        assert "\n" not in str(error.value)
    Network(dispatcher, "127.0.0.1", port).stop()


def test_many_at_once_find_ports(dispatcher: Dispatcher) -> None:
    networks = [Network(dispatcher, "127.0.0.1", 0) for _ in range(20)]
    ports = {network.udp.port for network in networks} | {n.tcp.port for n in networks}
    for network in networks:
        network.stop()
    assert len(ports) == 40


class Seen(ServiceListener):
    """What a browser sees come and go."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.gone = threading.Event()

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.names.add(name)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        pass

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.names.discard(name)
        self.gone.set()


def test_it_is_found_on_the_network_with_its_port() -> None:
    discovery = Discovery("127.0.0.1", 12345)
    browser = Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
    seen = Seen()
    try:
        ServiceBrowser(browser, list(SERVICES), seen)
        discovery.start()
        assert discovery.wait()
        names = {f"{discovery.name}.{kind}" for kind in SERVICES}
        until(lambda: names <= seen.names, "both services")
        for kind in SERVICES:
            info = browser.get_service_info(kind, f"{discovery.name}.{kind}", timeout=10_000)
            assert isinstance(info, ServiceInfo)
            assert info.port == 12345
            assert info.parsed_addresses() == ["127.0.0.1"]
        discovery.stop()
        until(lambda: not names & seen.names, "their end")
    finally:
        discovery.stop()
        browser.close()


def test_without_oscquery_only_osc_is_told() -> None:
    discovery = Discovery("127.0.0.1", 12346, http=False)
    browser = Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
    try:
        discovery.start()
        assert discovery.wait()
        queried, osc = SERVICES
        assert browser.get_service_info(osc, f"{discovery.name}.{osc}", timeout=10_000)
        assert not browser.get_service_info(queried, f"{discovery.name}.{queried}", timeout=500)
    finally:
        discovery.stop()
        browser.close()


def test_a_network_that_cannot_be_told_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    discovery = Discovery("192.0.2.1", 12347)  # an address that no machine has
    discovery.start()
    assert not discovery.wait()
    discovery.stop()
    assert len(caplog.records) == 1
    assert "mDNS" in caplog.text
    assert "Traceback" not in caplog.text


def test_loopback_is_not_told(dispatcher: Dispatcher, tmp_path: Path) -> None:
    network = Network(dispatcher, "127.0.0.1", 0)
    network.start(TapRing(1 << 14, 2), 48000, tmp_path)
    assert "ghostnote-mdns" not in [thread.name for thread in threading.enumerate()]
    network.stop()
    assert not any(address.startswith("127.") for address in own_addresses("0.0.0.0"))
