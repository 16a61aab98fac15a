"""A soak: everything at once, for a while, and whether anything was lost.

The server runs in this process, so that this process can hold Python's lock; jackd and the clients
(soak_clients.py) are processes of their own. Used by test_soak.py and by benchmarks/soak.py.
Threads: `soak` is for the main thread; a thread of its own holds the lock.
"""

from __future__ import annotations

import collections
import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from ghostnote.inference.loops import BUILT_IN
from ghostnote.osc_server.commands import Op
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.recorder import MASTER, Recording
from ghostnote.osc_server.replay import replay
from ghostnote.osc_server.server import Server
from ghostnote.osc_server.sink import SinkOptions
from tests.osc_server.live import client_of, running
from tests.osc_server.waiting import until

GIL_HELD_MS: Final = (20, 20, 20, 20, 300)
GIL_EVERY_SECONDS: Final = 0.5
SETTLING_SECONDS: Final = 1.0
_BLOCK: Final = 1 << 16


@dataclass(frozen=True)
class SoakOptions:
    """What is soaked: `rate` in messages a second of all eight clients, `warm` in seconds."""

    folder: Path
    seconds: float = 600.0
    rate: float = 5000.0
    voices: int = 4
    ring: int = 0
    warm: float = 120.0
    hold_gil: bool = True
    model: str | None = None
    precision: str = "int8"


@dataclass
class Soaked:
    """What came out; counts are exact, memory in MB, a share of 1 is one core."""

    clients: dict[str, Any]
    seconds: float
    underruns: int
    missing: int
    xruns: int
    lost: dict[str, int]
    unsynced: int
    dropped: int
    late: int
    udp_drops: int
    resident_mb: list[float]
    growth_mb: float
    growth_mb_per_hour: float
    server_cores: float
    engine_load: tuple[float, float]
    gil_held_seconds: float
    recordings: dict[str, Recording]
    replayed_frames: int = 0
    frames_that_differ: int = 0
    load: list[float] = field(default_factory=list)

    @property
    def unaccounted(self) -> int:
        """Messages that the server says it refused whole, but for those that were no packets."""
        return self.dropped - int(self.clients["sent"].get("malformed", 0))


def soak(options: SoakOptions) -> Soaked:
    """Soak a server on the running jackd (JACK_DEFAULT_SERVER), then replay its log."""
    log = options.folder / "session.jsonl"
    serve = ServerOptions(
        model=options.model,
        sink=SinkOptions("jack"),
        ring=options.ring,
        voices=options.voices,
        port=0,
        log=log,
        recordings=options.folder / "recordings",
        precision=options.precision,
    )
    with running(serve) as server:
        soaked = _play(server, options, log)
    soaked.lost = _lost(log, soaked.clients)
    replayed = options.folder / "replayed.wav"
    replay(log, replayed)
    master = soaked.recordings["master"]
    soaked.replayed_frames, soaked.frames_that_differ = _compare(master, replayed)
    return soaked


def _play(server: Server, options: SoakOptions, log: Path) -> Soaked:
    ring = server.engine.ring
    until(lambda: ring.consumed > server.sink.samplerate, "sound")
    with client_of(server.udp.port) as client:
        # A pattern: the strikes of --demo's drummer are logged as triggers, which are counted here.
        for role, steps in BUILT_IN["demo"].items():
            client.send("/ghost/pattern/1", role, steps)
        client.send("/ghost/play")
        assert client.ask("/ghost/record/start", "master")[0] == "/done"
        assert client.ask("/ghost/record/start", "voice", 1)[0] == "/done"
        time.sleep(SETTLING_SECONDS)
        # What is logged up to here are the server's own settings.
        marked = log.stat().st_size
        before = _counters(server)
        resident: list[float] = []
        began, cpu = time.monotonic(), time.process_time()
        with _clients(server, options) as process, _held_gil(options.hold_gil) as held:
            while process.poll() is None:
                resident.append(_resident_mb())
                time.sleep(1.0)
            output = process.communicate()[0]
        assert process.returncode == 0, "the clients failed; their stderr tells why"
        seconds = time.monotonic() - began
        cores = (time.process_time() - cpu) / seconds
        client.send("/ghost/status")
        status = client.expect("/ghost/status.reply")
        time.sleep(SETTLING_SECONDS)
        after = _counters(server)
        recordings = {
            "master": server.recordings.stop(MASTER),
            "voice 1": server.recordings.stop(0),
        }
    clients: dict[str, Any] = json.loads(output)
    clients["marked"] = marked
    growth, per_hour = _growth(resident, options)
    counts = {name: after[name] - before[name] for name in after}
    return Soaked(
        clients=clients,
        seconds=seconds,
        lost={},
        unsynced=clients["sent"]["sync"] - clients["answered"].get("/ghost/synced", 0),
        resident_mb=resident,
        growth_mb=growth,
        growth_mb_per_hour=per_hour,
        server_cores=cores,
        engine_load=(float(str(status[3])), float(str(status[4]))),
        gil_held_seconds=held[0],
        recordings=recordings,
        load=[round(n, 2) for n in os.getloadavg()],
        **counts,
    )


def _counters(server: Server) -> dict[str, int]:
    ring, session = server.engine.ring, server.dispatcher.session
    return {
        "underruns": ring.underruns,
        "missing": ring.missing,
        "xruns": ring.xruns,
        "dropped": session.dropped + server.engine.dropped,
        "late": session.late + server.engine.late,
        "udp_drops": _udp_drops(server.udp.port),
    }


@contextmanager
def _clients(server: Server, options: SoakOptions) -> Iterator[subprocess.Popen[str]]:
    numbers = (server.udp.port, options.seconds, options.rate, options.voices)
    command = [sys.executable, "-m", "tests.osc_server.soak_clients", *map(str, numbers)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@contextmanager
def _held_gil(really: bool) -> Iterator[list[float]]:
    """Hold Python's lock in pieces, as a C extension may; yields the seconds held so far."""
    usleep = ctypes.PyDLL(None).usleep  # PyDLL, unlike CDLL, keeps the GIL during the call
    ended = threading.Event()
    held = [0.0]

    def hold() -> None:
        for turn in range(1 << 30):
            if ended.wait(GIL_EVERY_SECONDS):
                return
            piece = GIL_HELD_MS[turn % len(GIL_HELD_MS)]
            usleep(piece * 1000)
            held[0] += piece * 1e-3

    thread = threading.Thread(target=hold)
    if really:
        thread.start()
    try:
        yield held
    finally:
        ended.set()
        if really:
            thread.join()


def _lost(log: Path, clients: dict[str, Any]) -> dict[str, int]:
    """Return by command how many that were sent are not in the log; negative: more than sent."""
    acted: collections.Counter[str] = collections.Counter()
    with log.open() as file:
        file.seek(clients.pop("marked"))
        for line in file:
            if line.startswith("["):
                _, op, voice, _, _ = json.loads(line)
                acted[f"{Op(op).name} {voice}"] += 1
    sent = collections.Counter({k: n for k, n in clients["sent"].items() if " " in k})
    sent.subtract({name: n for name, n in acted.items() if name in sent})
    return {name: n for name, n in sent.items() if n}


def _growth(resident: list[float], options: SoakOptions) -> tuple[float, float]:
    """Return by how many MB memory grew after the warm-up, and by a straight line in an hour."""
    values = np.array(resident[int(options.warm) :])
    if len(values) < 10:
        return 0.0, 0.0
    edge = max(1, len(values) // 10)
    slope = np.polyfit(np.arange(len(values)), values, 1)[0]
    return float(values[-edge:].mean() - values[:edge].mean()), float(slope) * 3600


def _compare(recording: Recording, replayed: Path) -> tuple[int, int]:
    """Return how many recorded frames were compared with the replay, and how many differ."""
    compared = differ = 0
    with soundfile.SoundFile(recording.path) as live, soundfile.SoundFile(replayed) as again:
        again.seek(recording.first_frame)
        while len(block := live.read(_BLOCK, "float32")):
            other = again.read(len(block), "float32")
            same = block[: len(other)] == other
            differ += int((~same.all(axis=1)).sum()) + len(block) - len(other)
            compared += len(block)
    return compared, differ


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _udp_drops(port: int) -> int:
    """Return how many datagrams the system has dropped at a port because nobody took them."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        words = line.split()
        if int(words[1].rpartition(":")[2], 16) == port:
            return int(words[-1])
    return 0
