"""Everything at once for ten minutes: prints a table for docs/benchmarks.md, and the same as JSON.

    .venv/bin/python -m benchmarks.soak [--minutes 10] [--rate 5000] [--voices 4] [--ring FRAMES]

jackd (dummy driver, real-time, blocks of 256 at 48 kHz); the server with the bundled model and the
demo pattern, master and one voice recorded, a session log; eight clients (four UDP, two TCP in both
framings, two WebSocket) and one that listens as the panel does. 10 % of the messages are malformed,
10 % are refused. Python's lock is held for 20 ms four times, then 300 ms, every half second.
Exit status 1 if anything was lost. Afterwards the log is replayed: allow half as much time again.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.live_latency import header
from tests.osc_server.soak import Soaked, SoakOptions, soak
from tests.parts import jack_server

GROWTH_MB = 4.0


def main() -> None:
    """Soaks and prints."""
    parser = argparse.ArgumentParser(description="Everything at once, for long.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=5000.0)
    parser.add_argument("--voices", type=int, default=4)
    parser.add_argument("--ring", type=int, default=0)
    parser.add_argument("--no-gil", action="store_true", help="do not hold Python's lock")
    chosen = parser.parse_args()
    print(header("benchmarks.soak"))
    with tempfile.TemporaryDirectory() as folder, jack_server(realtime=True) as server:
        os.environ["JACK_DEFAULT_SERVER"] = server.name
        seconds = 60 * chosen.minutes
        options = SoakOptions(
            Path(folder),
            seconds=seconds,
            rate=chosen.rate,
            voices=chosen.voices,
            ring=chosen.ring,
            warm=min(120.0, 0.4 * seconds),
            hold_gil=not chosen.no_gil,
        )
        soaked = soak(options)
    told = _told(soaked)
    print(json.dumps({**told, "clients": soaked.clients, "load": soaked.load}))
    print("| what | figure |\n| --- | --- |")
    for name, figure in told.items():
        print(f"| {name} | {figure} |")
    if wrong := _wrong(soaked):
        sys.exit("; ".join(wrong))


def _told(soaked: Soaked) -> dict[str, Any]:
    clients, master = soaked.clients, soaked.recordings["master"]
    sent = sum(clients["sent"].values())
    return {
        "seconds": round(soaked.seconds, 1),
        "messages sent": sent,
        "a second, achieved": clients["per_second"],
        "of them malformed / refused": (
            f"{clients['sent']['malformed']} / {clients['sent']['refused']}"
        ),
        "ring underruns / frames missing": f"{soaked.underruns} / {soaked.missing}",
        "xruns of jackd": soaked.xruns,
        "valid commands lost": sum(map(abs, soaked.lost.values())),
        "syncs unanswered": soaked.unsynced,
        "refused for want of room": soaked.unaccounted,
        "datagrams dropped by the system": soaked.udp_drops,
        "late commands": soaked.late,
        "memory at the end, growth after warm-up, MB": (
            f"{soaked.resident_mb[-1]:.1f}, {soaked.growth_mb:+.2f}"
        ),
        "growth by a straight line, MB an hour": round(soaked.growth_mb_per_hour, 2),
        "cores used: server / clients": (
            f"{soaked.server_cores:.2f} / {clients['cpu_seconds'] / soaked.seconds:.2f}"
        ),
        "engine's load, mean / longest hop, %": (
            f"{soaked.engine_load[0]:.0f} / {soaked.engine_load[1]:.0f}"
        ),
        "lock held, s": round(soaked.gil_held_seconds, 1),
        "recorded frames / missing": f"{master.frames} / {master.missing}",
        "voice's frames / missing": (
            f"{soaked.recordings['voice 1'].frames} / {soaked.recordings['voice 1'].missing}"
        ),
        "frames compared with the replay / that differ": (
            f"{soaked.replayed_frames} / {soaked.frames_that_differ}"
        ),
    }


def _wrong(soaked: Soaked) -> list[str]:
    """Return what must not be."""
    faults = {
        "the ring ran empty": soaked.underruns,
        "commands were lost": len(soaked.lost),
        "syncs were not answered": soaked.unsynced,
        "messages were refused": soaked.unaccounted,
        "a recording has gaps": sum(one.missing for one in soaked.recordings.values()),
        "the replay differs": soaked.frames_that_differ,
        "memory grows": soaked.growth_mb > GROWTH_MB,
    }
    return [text for text, fault in faults.items() if fault]


if __name__ == "__main__":
    main()
