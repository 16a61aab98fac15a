"""Whole servers for tests: in this process or as `ghostnote serve`, and a client on real UDP."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ghostnote.osc_server.encode import Value, encode
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.osc import by_time, parse_packet
from ghostnote.osc_server.server import Server
from tests.osc_server.recorder import flat

Answer = tuple[Value, ...]


class Client:
    """One OSC client on a UDP socket of its own."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self._taken: list[Answer] = []

    def send(self, address: str, *values: Value) -> None:
        """Sends one message."""
        self.raw(encode(address, *values))

    def raw(self, datagram: bytes) -> None:
        """Sends any bytes."""
        self.socket.send(datagram)

    def answers(self, seconds: float) -> list[Answer]:
        """Returns what comes within `seconds`, as (address, argument, ...)."""
        found, self._taken = self._taken, []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                found += self._receive()
            except TimeoutError:
                break
        return found

    def expect(self, *beginning: Value, seconds: float = 30.0) -> Answer:
        """Returns the next answer that begins so; those before it are left out."""
        deadline = time.monotonic() + seconds
        seen = []
        while True:
            while self._taken:
                answer = self._taken.pop(0)
                seen.append(answer)
                if answer[: len(beginning)] == beginning:
                    return answer
            left = deadline - time.monotonic()
            assert left > 0, f"no {beginning} within {seconds:g} s, only {seen}"
            self.socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                self._taken += self._receive()

    def ask(self, address: str, *values: Value) -> Answer:
        """Sends a message and returns the /done or /fail that it brings."""
        self.send(address, *values)
        deadline = time.monotonic() + 30
        while True:
            answer = self.expect(seconds=deadline - time.monotonic())
            if answer[0] in ("/done", "/fail") and answer[1] == address:
                return answer

    def synced(self, number: int = 1) -> None:
        """Waits until the server has done all slow work asked for before."""
        self.send("/ghost/sync", number)
        self.expect("/ghost/synced", number)

    def close(self) -> None:
        """Gives the port back."""
        self.socket.close()

    def _receive(self) -> list[Answer]:
        packet = parse_packet(self.socket.recv(1 << 16))
        return [flat(message) for _, group in by_time(packet) for message in group]


@contextmanager
def client_of(port: int) -> Iterator[Client]:
    """A client of the server at `port`."""
    client = Client(port)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def running(options: ServerOptions) -> Iterator[Server]:
    """A server in this process, its housekeeping in a thread; ended on leaving."""
    with Server(options) as server:
        server.start()
        keeper = threading.Thread(target=server.run)
        keeper.start()
        try:
            yield server
        finally:
            server.quitting = True
            keeper.join()


class Process:
    """A running `ghostnote serve`, past its "ready"."""

    def __init__(self, process: subprocess.Popen[str], lines: list[str], log: Path) -> None:
        self.process, self.lines, self._log = process, lines, log
        self.port = int(next(line for line in lines if "udp://" in line).rpartition(":")[2])

    @property
    def log(self) -> str:
        """What it has written to stderr so far."""
        return self._log.read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


GHOSTNOTE = str(Path(sys.executable).parent / "ghostnote")


@contextmanager
def serving(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[Process]:
    """`ghostnote serve --port 0 ARGUMENTS` as a process, ended on leaving if it still runs."""
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        process = subprocess.Popen(
            [GHOSTNOTE, "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.rstrip())
                if line.startswith("ready"):
                    break
            else:
                status = process.wait()
                raise AssertionError(f"status {status}: {Path(log.name).read_text()}")
            yield Process(process, lines, Path(log.name))
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
