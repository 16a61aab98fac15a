"""The server told to the local network by mDNS: for OSCQuery browsers and for OSC senders.

Threads: `start` and `stop` belong to the thread that made the server. Telling takes seconds, and so
does importing what tells, so that a thread of its own does both; a network that does not let itself
be told is one warning.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf

SERVICES: Final = ("_oscjson._tcp.local.", "_osc._udp.local.")
_TEXT: Final = {"txtvers": "1", "version": "1.1", "types": "ifsbhdtcrmTFNI"}

log = logging.getLogger("ghostnote.server")


class Discovery:
    """Tells that OSC is taken at UDP port `port` of `bind`, and OSCQuery at the TCP port.

    Parameters
    ----------
    bind : str
        An address of this machine, or 0.0.0.0 for all of them.
    port : int
    http : bool
        Whether there is OSCQuery.
    """

    def __init__(self, bind: str, port: int, http: bool = True) -> None:
        self._bind, self._port = bind, port
        self._services = SERVICES if http else SERVICES[1:]
        self._thread = threading.Thread(target=self._tell, name="ghostnote-mdns", daemon=True)
        self._zeroconf: Zeroconf | None = None
        self._stopping = False

    @property
    def name(self) -> str:
        """The name under which people see the server."""
        host = socket.gethostname().partition(".")[0][:40] or "here"
        return f"ghostnote {host} {self._port}"

    def start(self) -> None:
        """Begin to tell; returns at once."""
        self._thread.start()

    def wait(self) -> bool:
        """Wait until all is told; False if it cannot be."""
        self._thread.join()
        return self._zeroconf is not None

    def stop(self) -> None:
        """Tell that the server goes."""
        self._stopping = True
        if self._thread.ident is not None and self.wait() and self._zeroconf:
            self._zeroconf.close()

    def _tell(self) -> None:
        try:
            from zeroconf import Error, IPVersion, Zeroconf
        except ImportError as error:
            self._warn(error)
            return
        zeroconf = None
        try:
            addresses = own_addresses(self._bind)
            if not addresses:
                raise OSError("this machine has no address on any network")
            zeroconf = Zeroconf(interfaces=addresses, ip_version=IPVersion.V4Only)
            for kind in self._services:
                if not self._stopping:
                    zeroconf.register_service(
                        self._service(kind, addresses), allow_name_change=True
                    )
        except (OSError, RuntimeError, Error) as error:
            self._warn(error)
            if zeroconf:
                zeroconf.close()
        else:
            self._zeroconf = zeroconf

    def _service(self, kind: str, addresses: list[str]) -> ServiceInfo:
        from zeroconf import ServiceInfo

        return ServiceInfo(
            kind,
            f"{self.name}.{kind}",
            port=self._port,
            properties=_TEXT,
            # A name of its own: the machine's belongs to the system, which may tell it too.
            server=f"{self.name.replace(' ', '-')}.local.",
            parsed_addresses=addresses,
        )

    def _warn(self, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        log.warning("the network is not told of this server (mDNS: %s); all else works", reason)


def own_addresses(bind: str) -> list[str]:
    """Return the IPv4 addresses at which other machines reach a server that listens at `bind`."""
    if bind != "0.0.0.0":
        return [bind]
    import ifaddr  # zeroconf's own

    found = (ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4)
    return [str(ip) for ip in found if not ipaddress.ip_address(str(ip)).is_loopback]
