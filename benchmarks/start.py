"""From the start of `ghostnote serve` to its first sound: a table, and the same as JSON.

    .venv/bin/python -m benchmarks.start [--warm 5] [--no-cold]

With everything on (UDP, TCP, HTTP, WebSocket, OSCQuery) and the demo pattern, into jackd (dummy
driver, real-time, blocks of 256 at 48 kHz), which is there already. The first start has an empty
cache for compiled code and for models, the others have what the first left. Linux, with jackd2.
"""

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import asdict, astuple
from pathlib import Path

from benchmarks.live_latency import header
from tests.osc_server.start import Start, first_sound
from tests.parts import jack_server

AIM_SECONDS = 3.0


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="From start to first sound.")
    parser.add_argument("--warm", type=int, default=5, help="starts after the first")
    parser.add_argument("--no-cold", action="store_true", help="use the cache that is there")
    chosen = parser.parse_args()
    print(header("benchmarks.start"))
    with tempfile.TemporaryDirectory() as folder, jack_server(realtime=True) as server:
        environment = {"JACK_DEFAULT_SERVER": server.name}
        os.environ.update(environment)
        if not chosen.no_cold:
            environment["XDG_CACHE_HOME"] = folder
        log = Path(folder) / "log"
        starts = [first_sound(environment, log) for _ in range(chosen.warm + 1)]
    first, *others = starts
    told = {
        "first" if not chosen.no_cold else "warm up": first,
        **{f"start {n}": one for n, one in enumerate(others, 2)},
        "median of these": Start(*map(statistics.median, zip(*map(astuple, others), strict=True))),
    }
    print(json.dumps({"load": os.getloadavg(), **{k: asdict(v) for k, v in told.items()}}))
    print("| start | first sound, s | says ready | OSCQuery answers | CPU, s |")
    print("| --- | --- | --- | --- | --- |")
    for name, one in told.items():
        print(f"| {name} | {one.sound:.2f} | {one.ready:.2f} | {one.http:.2f} | {one.cpu:.2f} |")
    if told["median of these"].sound > AIM_SECONDS:
        raise SystemExit(f"later starts take more than {AIM_SECONDS:g} s")


if __name__ == "__main__":
    main()
