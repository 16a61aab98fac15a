"""The atomics, the clock and the sleep, and that compiled code which uses them stays on disk."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from numba import njit

from ghostnote.osc_server.native import (
    load_acquire,
    load_acquire_at,
    monotonic_ns,
    sleep_us,
    store_release,
    store_release_at,
)

USER = """
import numpy as np
from numba import njit
from ghostnote.osc_server.native import load_acquire, monotonic_ns, sleep_us, store_release

@njit(cache=True, nogil=True)
def user(flags):
    sleep_us(10)
    store_release(flags, 0, monotonic_ns())
    return load_acquire(flags, 0)

if __name__ == "__main__":
    assert user(np.zeros(1, np.int64)) > 0
    print(sum(user.stats.cache_hits.values()), sum(user.stats.cache_misses.values()))
"""


def test_atomics_by_index_and_by_address() -> None:
    @njit
    def exchange(words, address):  # type: ignore[no-untyped-def]
        store_release(words, 1, 5)
        store_release_at(address + 16, 7)
        return load_acquire_at(address + 8), load_acquire(words, 2)

    words = np.zeros(3, np.int64)
    assert exchange(words, words.ctypes.data) == (5, 7)
    assert words.tolist() == [0, 5, 7]


def test_clock_is_pythons_monotonic_clock_and_sleep_takes_time() -> None:
    if sys.platform != "win32":
        before = time.monotonic_ns()
        assert before <= monotonic_ns() <= time.monotonic_ns()
    start = monotonic_ns()
    sleep_us(2000)
    assert monotonic_ns() - start >= 1_000_000


def test_sleep_and_clock_run_without_the_gil() -> None:
    @njit(nogil=True)
    def wait_for(flag):  # type: ignore[no-untyped-def]
        while load_acquire(flag, 0) == 0:
            sleep_us(100)
        return monotonic_ns()

    flag = np.ones(1, np.int64)
    wait_for(flag)
    flag[0] = 0
    waiter = threading.Thread(target=wait_for, args=(flag,))
    waiter.start()
    # Were the GIL held, this line would never come.
    flag[0] = 1
    waiter.join(10)
    assert not waiter.is_alive()


def test_a_second_process_loads_the_compiled_code_from_disk(tmp_path: Path) -> None:
    script = tmp_path / "user.py"
    script.write_text(USER)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run() -> str:
        command = [sys.executable, str(script)]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, timeout=120
        ).stdout.strip()

    assert run() == "0 1"
    assert run() == "1 0"
