"""Real programs that tests play with: found and started, or the test says why it cannot run."""

import importlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skips the running test with `reason`; on CI (`CI=true`) fails it, as nothing may be missing.

    Must be called from a test, a fixture, or the top of a test file, all of whose tests it is then.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def unfit(reason: str) -> NoReturn:
    """Skips the running test, on CI too: nothing to install would make this machine fit for it."""
    pytest.skip(reason)


def stolen() -> float:
    """Returns the processor seconds that a virtual machine's host has kept from it so far.

    0 where nothing is told of it. They are missing to whatever keeps time.
    """
    try:
        ticks = (
            Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]
        )  # cpu user nice ... steal
    except (OSError, IndexError):
        return 0.0
    return int(ticks) / os.sysconf("SC_CLK_TCK")


def need(*programs: str) -> str:
    """Returns the path of the first of `programs` that is there.

    They are names of one thing. Without it the test is skipped, or fails under `CI=true`.
    """
    for program in programs:
        if path := shutil.which(program):
            return path
    names = " or ".join(programs)
    missing(f"needs the program {names}, which is not on the PATH (see CONTRIBUTING.md)")


def need_module(name: str) -> Any:
    """Returns the module `name`; without it, or without a library that it loads, as `need` does."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # JACK-Client without libjack: OSError
        missing(f"needs the module {name}: {error} (see CONTRIBUTING.md)")


def corpus() -> Path:
    """Returns the folder of the drum corpus; without it the test is skipped, on CI too.

    It is data, not a program, and no part of this repository: GHOSTNOTE_CORPUS names it, or it
    lies in `shared/corpus` beside the repository's folder.
    """
    beside = Path(__file__).parents[2] / "shared" / "corpus"
    path = Path(os.environ.get("GHOSTNOTE_CORPUS", beside))
    if not path.is_dir():
        pytest.skip(f"needs the drum corpus, which is not at {path} (GHOSTNOTE_CORPUS)")
    return path


_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class JackServer:
    """A running jackd: clients reach it with JACK_DEFAULT_SERVER=`name` in their environment."""

    name: str
    samplerate: int
    blocksize: int
    process: subprocess.Popen[bytes]


@contextmanager
def jack_server(
    realtime: bool, samplerate: int = 48000, blocksize: int = 256, name: str = ""
) -> Iterator[JackServer]:
    """Runs jackd on the dummy driver under a name of its own or `name`, and ends it on leaving.

    Real-time scheduling that the system does not allow counts as a missing part.
    """
    jackd, jack_wait = need("jackd"), need("jack_wait")
    if realtime and not _realtime_allowed():
        missing("needs real-time scheduling, which this system does not allow here")
    name = name or f"ghostnote-{uuid.uuid4().hex[:8]}"
    schedule = ["-R", "-P", "10"] if realtime else ["--no-realtime"]
    # 64 ports keep it at 40 MB of shared memory instead of 100.
    command = [jackd, "-n", name, "-p", "64", *schedule]
    command += ["-d", "dummy", "-r", str(samplerate), "-p", str(blocksize)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            waited = subprocess.run(
                [jack_wait, "-s", name, "-w", "-t", "20"], capture_output=True, check=False
            )
            if waited.returncode != 0 or process.poll() is not None:
                log.seek(0)
                pytest.fail(f"jackd did not start:\n{log.read().decode(errors='replace')}")
            yield JackServer(name, samplerate, blocksize, process)
        finally:
            # SIGTERM lets jackd take its shared memory with it.
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _forget(name)


def _forget(name: str) -> None:
    """Clears away what a jackd leaves behind that was killed.

    JACK keeps a place for it for good, and has eight of them for all servers of a user.
    """
    registry = _SHARED_MEMORY / "jack-shm-registry"
    if not registry.exists():
        return  # not on Linux, or nothing of JACK's
    with registry.open("r+b") as file:
        entry = f":{name}:".encode()
        content = file.read()
        at = content.find(entry)
        if at >= 0:
            begin = content.rfind(b"jack-", 0, at) - 4  # the number of its process stands before
            file.seek(begin)
            file.write(bytes(at + len(entry) - begin))
    for left in [
        *_SHARED_MEMORY.glob(f"jack_{name}_*"),
        *_SHARED_MEMORY.glob(f"jack_sem.*_{name}_*"),
    ]:
        left.unlink(missing_ok=True)


def _realtime_allowed() -> bool:
    chrt = shutil.which("chrt")
    if chrt is None:
        return False
    return (
        subprocess.run([chrt, "-f", "10", "true"], check=False, capture_output=True).returncode == 0
    )
