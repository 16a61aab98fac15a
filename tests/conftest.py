"""Fixtures for every test: fixed seeds, a real jackd, and no process left behind."""

import os
import random
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from ghostnote.cli.compile_cache import use_compile_cache
from tests.parts import JackServer, jack_server

# No deadline: how long an example takes says more about the machine's load than about our code.
settings.register_profile("ghostnote", deadline=None, print_blob=True)
settings.load_profile("ghostnote")

# Before anything imports numba, which a folder's own conftest does; the programs that tests start
# inherit it.
use_compile_cache()

# Every process that a test starts inherits this, which is how we know it again at the end.
_MARK = f"GHOSTNOTE_TEST_SESSION={uuid.uuid4().hex}"

GPU = any(Path("/dev").glob("nvidia[0-9]*"))


def pytest_configure() -> None:
    name, value = _MARK.split("=")
    os.environ[name] = value
    # Triton decides when it is imported. Where there is no GPU, its kernels run in the interpreter.
    if not GPU:
        os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not GPU and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run if a process that a test started is still alive (looked up in /proc)."""
    left = left_behind(_MARK)
    if left:
        print("\nprocesses left behind by the tests:", *left, sep="\n  ", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def left_behind(mark: str) -> list[str]:
    """Returns "pid command line" of each process started with `mark` in its environment.

    Empty where there is no /proc. Python's own resource tracker lives as long as its parent, so it
    is not counted.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            command = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:  # it ended meanwhile, or is not ours to read
            continue
        if mark.encode() in environment and command and "resource_tracker" not in command:
            found.append(f"{process.name} {command}")
    return found


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Starts every test from the same random state, whatever ran before it, and torch on one thread.

    Its threads wait for each other by spinning: products as small as the tests' took thirty times as
    long on two busy cores.
    """
    random.seed(0)
    np.random.seed(0)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture
def jackd(monkeypatch: pytest.MonkeyPatch) -> Iterator[JackServer]:
    """A JACK server of this test's own on the dummy driver: 48 kHz, 256 frames, no real time.

    Clients started by the test, in this process or in others, find it by JACK_DEFAULT_SERVER.
    """
    with jack_server(realtime=False) as server:
        monkeypatch.setenv("JACK_DEFAULT_SERVER", server.name)
        yield server


@pytest.fixture
def jackd_realtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[JackServer]:
    """The same with SCHED_FIFO, which xrun counts need; skipped where that is not allowed."""
    with jack_server(realtime=True) as server:
        monkeypatch.setenv("JACK_DEFAULT_SERVER", server.name)
        yield server
