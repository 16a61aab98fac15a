"""A first start in little more than half the time: another process compiles the kernel meanwhile.

Numba compiles one function at a time in a process, and half of what `serve` needs is the kernel's.
What the other process has compiled lies in the cache; if it fails, all is compiled here. For the
main thread.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .compile_cache import VARIABLE

MOST_SECONDS = 120.0

_COMPILE = "from ghostnote.kernels.cpu import entry_points; entry_points()"


@contextmanager
def kernel_compiled_meanwhile() -> Iterator[bool]:
    """Has the kernel compiled if it never was; on leaving it is. Tells whether it is being done."""
    if not is_cold() or (os.cpu_count() or 1) < 2:
        yield False
        return
    # -P: what lies in the working folder is not imported.
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _COMPILE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield True
        process.wait(MOST_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def is_cold() -> bool:
    """Tells whether Numba has a folder for compiled code and no kernel in it."""
    folder = os.environ.get(VARIABLE)
    return bool(folder) and not any(Path(str(folder)).rglob("cpu.step-*.nbi"))
