"""Throws damaged OSC packets and streams at the server's OSC side, until something gives way.

    .venv/bin/python -m benchmarks.fuzz [--packets 1000000] [--seed 0] [--atheris SECONDS]

From bytes to engine commands, in one process, with nothing behind it (tests/osc_server/fuzzing.py).
One in ten goes by a stream. Checks: no exception, none logged either; no packet takes a second; memory
flat. --atheris lets Google's coverage-guided fuzzer (`pip install atheris`) find packets instead of
the seeded one. Takes 3 minutes. Exit status 1 if anything is wrong.
"""

import argparse
import faulthandler
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.osc_server.fuzzing import Fuzzer, Target, target

HANG_SECONDS = 30
SLOW_SECONDS = 1.0
GROWTH_KB = 4096


def main() -> None:
    """Fuzzes and prints."""
    parser = argparse.ArgumentParser(description="Damaged packets and streams for the OSC side.")
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", type=int, metavar="SECONDS", default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, target(Path(folder)) as made:
        if chosen.atheris:
            _guided(made, chosen.atheris, chosen.seed)
            return
        found = _seeded(made, chosen.packets, chosen.seed)
    print(json.dumps(found))
    print("| packets | of these streams | exceptions | slowest, ms | packets/s | memory, kB |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(
        f"| {found['packets']} | {found['streams']} | 0 | {found['slowest_ms']} | "
        f"{found['packets_per_s']} | {found['growth_kb']:+} |"
    )
    if found["growth_kb"] > GROWTH_KB or found["slowest_ms"] > 1e3 * SLOW_SECONDS:
        sys.exit("the server's OSC side grows, or hangs")


def _seeded(made: Target, packets: int, seed: int) -> dict[str, Any]:
    fuzzer = Fuzzer(seed, made.addresses)
    streams, slowest, slowest_of = 0, 0.0, b""
    warm = max(1, packets // 5)
    before = 0
    began = time.monotonic()
    for number in range(packets):
        if number % 1000 == 0:
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        if number == warm:
            gc.collect()
            before = resident_kb()
        if number % 10 == 9:
            chunks = fuzzer.stream()
            data, streams = b"".join(chunks), streams + 1
        else:
            data = fuzzer.packet()
        since = time.thread_time()
        try:
            if number % 10 == 9:
                made.stream(chunks, number)
            else:
                made.packet(data, number)
        except BaseException:
            print(f"packet {number} of seed {seed}: {data.hex()}", file=sys.stderr)
            raise
        took = time.thread_time() - since
        if took > slowest:
            slowest, slowest_of = took, data
    faulthandler.cancel_dump_traceback_later()
    gc.collect()
    return {
        "packets": packets,
        "streams": streams,
        "seed": seed,
        "slowest_ms": round(1e3 * slowest, 1),
        "slowest_hex": slowest_of[:80].hex(),
        "packets_per_s": round(packets / (time.monotonic() - began)),
        "growth_kb": resident_kb() - before,
        "resident_kb": resident_kb(),
    }


def _guided(made: Target, seconds: int, seed: int) -> None:
    """Let atheris, which ends the process, look for packets that reach code not yet reached."""
    import atheris  # type: ignore[import-not-found, unused-ignore]

    modules = [m for name, m in sys.modules.items() if name.startswith("ghostnote.osc_server.")]
    for module in modules:
        for value in [*vars(module).values()]:
            if getattr(value, "__module__", "") == module.__name__ and hasattr(value, "__code__"):
                atheris.instrument_func(value)
            elif isinstance(value, type) and value.__module__ == module.__name__:
                for method in vars(value).values():
                    if hasattr(method, "__code__"):
                        atheris.instrument_func(method)
    fuzzer = Fuzzer(seed, made.addresses)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(500):
            Path(folder, f"p{number}").write_bytes(b"p" + fuzzer.packet())
            Path(folder, f"s{number}").write_bytes(b"s" + b"".join(fuzzer.stream()))

        def once(data: bytes) -> None:
            if data[:1] == b"s":
                made.stream([data[1 : 1 + len(data) // 2], data[1 + len(data) // 2 :]])
            else:
                made.packet(data[1:])

        options = [f"-max_total_time={seconds}", f"-timeout={HANG_SECONDS}", f"-seed={seed + 1}"]
        options += [f"-artifact_prefix={tempfile.gettempdir()}/"]
        atheris.Setup([sys.argv[0], *options, "-max_len=2000", "-rss_limit_mb=1024", folder], once)
        atheris.Fuzz()


def resident_kb() -> int:
    """Return how much memory this process has, on Linux; else 0."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


if __name__ == "__main__":
    main()
