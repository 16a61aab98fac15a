"""Real programs that tests play with: found and started, or the test says why it cannot run."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skips the running test with `reason`; on CI (`CI=true`) fails it, as nothing may be missing.

    Must be called from a test or a fixture.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def need(program: str) -> str:
    """Returns the path of `program`; without it the test is skipped, or fails under `CI=true`."""
    path = shutil.which(program)
    if path is None:
        missing(f"needs the program {program}, which is not on the PATH (see CONTRIBUTING.md)")
    return path


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


def _realtime_allowed() -> bool:
    chrt = shutil.which("chrt")
    if chrt is None:
        return False
    return (
        subprocess.run([chrt, "-f", "10", "true"], check=False, capture_output=True).returncode == 0
    )
