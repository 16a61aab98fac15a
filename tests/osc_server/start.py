"""How long `ghostnote serve` takes from its start to its first sound in JACK. Linux.

Used by benchmarks/start.py. For one thread.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.osc_server.jack_capture import capture
from tests.osc_server.live import GHOSTNOTE

LONGEST_SECONDS = 120.0
_STEP_SECONDS = 0.005
_EAR = "capture:ear"


@dataclass(frozen=True)
class Start:
    """Seconds from the program's start; `cpu` is what all its threads and children had used.

    `ready` is when it said so, `sound` when the first frame that is not silence came, `http` when
    the OSCQuery tree had been read.
    """

    ready: float
    sound: float
    http: float
    cpu: float


def first_sound(environment: dict[str, str], log: Path) -> Start:
    """Start a server with everything on and the demo pattern, and end it when it has sounded."""
    port = free_port()
    command = [GHOSTNOTE, "serve", "--sink", "jack", "--device", _EAR, "--demo"]
    command += ["--port", str(port), "--state", str(log.with_suffix(".state"))]
    with capture(None, LONGEST_SECONDS + 10) as kept, log.open("w") as file:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )
        try:
            ready = sound = http = cpu = 0.0
            while not (ready and sound and http):
                now = time.monotonic() - began
                assert now < LONGEST_SECONDS, log.read_text()
                assert process.poll() is None, log.read_text()
                if not ready and "\nready" in log.read_text():
                    ready = now
                if not sound and np.any(kept.sound):
                    sound, cpu = now, _cpu_seconds(process.pid)
                if not http and _answers(port):
                    http = time.monotonic() - began
                time.sleep(_STEP_SECONDS)
            return Start(ready, sound, http, cpu)
        finally:
            process.terminate()
            process.wait(60)


def free_port() -> int:
    """Return a UDP port that is free, with the TCP port of its number and the next."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket() as http,
            socket.socket() as tcp,
        ):
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            try:
                http.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def _answers(port: int) -> bool:
    """Tell whether the OSCQuery tree can be read."""
    try:
        with socket.create_connection(("127.0.0.1", port), 0.05) as one:
            one.settimeout(0.05)
            head = (
                f"GET /?HOST_INFO HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
            )
            one.sendall(head.encode())
            return b" 200 " in one.recv(64)
    except OSError:
        return False


def _cpu_seconds(pid: int) -> float:
    """Return what a process and those of its children that have ended have used so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / float(os.sysconf("SC_CLK_TCK"))
