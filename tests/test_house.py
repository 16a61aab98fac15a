"""The parts that other tests stand on: jackd as a fixture, and the search for lost processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import left_behind
from tests.parts import JackServer, jack_server, need


def ports(server: JackServer) -> list[str]:
    listing = subprocess.run(
        [need("jack_lsp"), "-s", server.name], capture_output=True, text=True, check=True
    )
    return listing.stdout.split()


def test_jackd_of_its_own(jackd: JackServer) -> None:
    assert "system:playback_1" in ports(jackd)
    assert os.environ["JACK_DEFAULT_SERVER"] == jackd.name


def test_two_servers_side_by_side(jackd: JackServer) -> None:
    with jack_server(realtime=False) as second:
        assert second.name != jackd.name
        assert "system:playback_1" in ports(second)
    assert second.process.returncode is not None
    assert "system:playback_1" in ports(jackd)


def test_a_killed_server_leaves_its_place_to_others() -> None:
    with jack_server(realtime=False) as server:
        server.process.kill()
        server.process.wait()
    left = [path.name for path in Path("/dev/shm").glob("*jack*") if server.name in path.name]
    assert left == []
    registry = Path("/dev/shm/jack-shm-registry")
    assert not registry.exists() or server.name.encode() not in registry.read_bytes()


def test_realtime_server(jackd_realtime: JackServer) -> None:
    policies = {
        os.sched_getscheduler(int(thread.name))
        for thread in Path(f"/proc/{jackd_realtime.process.pid}/task").iterdir()
    }
    assert os.SCHED_FIFO in policies


def test_a_missing_program_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        need("no-such-program")


def test_a_missing_program_fails_on_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        need("no-such-program")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_lost_process_is_found() -> None:
    environment = {**os.environ, "GHOSTNOTE_TEST_LOST": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert [line.split()[0] for line in left_behind("GHOSTNOTE_TEST_LOST=1")] == [
            str(process.pid)
        ]
    finally:
        process.communicate()
    assert left_behind("GHOSTNOTE_TEST_LOST=1") == []
