"""The first start: the kernel is compiled elsewhere meanwhile, and nothing of it in the engine."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ghostnote.cli import compile_ahead
from ghostnote.cli.compile_ahead import is_cold, kernel_compiled_meanwhile

LISTEN = """
from numba.core import event
class Listener(event.Listener):
    def on_start(self, heard): print(heard.data["dispatcher"].py_func.__qualname__,
                                     heard.data["dispatcher"].py_func.__module__)
    def on_end(self, heard): pass
event.register("numba:compile", Listener())
"""
LOOP = f"{LISTEN}from ghostnote.osc_server.engine import compile_loop; compile_loop()"


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    return tmp_path


def compiled(code: str) -> list[str]:
    """Returns what a fresh process compiles: function and module."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_loop_is_compiled_without_the_kernel_and_once(cold: Path) -> None:
    """And the folder is cold as long as there is no kernel in it."""
    first = compiled(LOOP)
    assert "run ghostnote.osc_server.core" in first
    assert "resample ghostnote.osc_server.resample" in first
    of_kernels = [line for line in first if "kernels" in line]
    # The chances of a pattern's steps are drawn by the kernels' generator, three small functions.
    assert [line for line in of_kernels if not line.endswith("kernels.rng")] == []
    ours = [line for line in first if "ghostnote" in line]
    assert sorted(ours) == sorted(set(ours)), "a function is compiled for two types"
    assert is_cold()
    assert compiled(LOOP) == []


def test_the_kernel_is_compiled_by_another_process(
    cold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cold / "kernels_0" / "cpu.step-7.nbi"
    code = f"import pathlib; at = pathlib.Path({str(made)!r}); at.parent.mkdir(); at.touch()"
    monkeypatch.setattr(compile_ahead, "_COMPILE", code)
    with kernel_compiled_meanwhile() as meanwhile:
        assert meanwhile
    assert made.exists()
    assert not is_cold()
    with kernel_compiled_meanwhile() as meanwhile:
        assert not meanwhile


FOR_EVER = "import signal; signal.pause()"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started from now on."""
    processes: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        processes.append(popen(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return processes


@pytest.mark.parametrize(
    ("code", "status"), [("raise SystemExit(1)", 1), (FOR_EVER, -signal.SIGKILL)]
)
def test_a_process_that_fails_or_hangs_stops_nothing(
    cold: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: list[subprocess.Popen[bytes]],
    code: str,
    status: int,
) -> None:
    monkeypatch.setattr(compile_ahead, "_COMPILE", code)
    if status < 0:
        monkeypatch.setattr(compile_ahead, "MOST_SECONDS", 0.5)
    with kernel_compiled_meanwhile() as meanwhile:
        assert meanwhile
    assert [process.returncode for process in started] == [status]


def test_it_ends_with_us(
    cold: Path, monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[bytes]]
) -> None:
    monkeypatch.setattr(compile_ahead, "_COMPILE", FOR_EVER)
    with pytest.raises(KeyboardInterrupt), kernel_compiled_meanwhile():
        raise KeyboardInterrupt
    assert [process.returncode for process in started] == [-signal.SIGKILL]


@pytest.mark.parametrize("cores", [1, None])
def test_one_core_has_nothing_to_share(
    cold: Path, monkeypatch: pytest.MonkeyPatch, cores: int | None
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    with kernel_compiled_meanwhile() as meanwhile:
        assert not meanwhile


def test_without_a_folder_nothing_is_cold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert not is_cold()
