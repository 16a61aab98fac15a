"""The command line: what is listed, what is loaded, how errors and statuses come out."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ghostnote.cli import main as program
from ghostnote.cli.main import Command, main
from ghostnote.kernels.errors import GhostnoteError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of a sub-command `try`, which does what the test sets as its `run`."""
    module = ModuleType("ghostnote.cli.try")
    module.__spec__ = program.__spec__
    monkeypatch.setitem(sys.modules, "ghostnote.cli.try", module)
    monkeypatch.setitem(program.COMMANDS, "try", Command("try", "run", "Tries."))
    monkeypatch.setitem(program.COMMANDS, "group try", Command("try", "run", "Tries in a group."))
    monkeypatch.setitem(program.GROUPS, "group", "Has one command.")
    return module


def set_run(module: ModuleType, error: BaseException | None) -> None:
    def run(value: int = 0) -> None:
        """Does it."""
        print("ran", value)
        if error:
            raise error

    module.__dict__["run"] = run


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "send" in out
    assert "Sends one OSC message" in out


def test_no_argument_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Usage: ghostnote" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ghostnote 0.")


def test_a_command_without_its_module_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(program.COMMANDS, "later", Command("no_such_module", "f", "Comes later."))
    assert main(["--help"]) == 0
    assert "later" not in capsys.readouterr().out
    assert main(["later"]) == 2


@pytest.mark.parametrize("words", [["try"], ["group", "try"]])
def test_it_runs(command: ModuleType, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    set_run(command, None)
    assert main([*words, "--value", "3"]) == 0
    assert capsys.readouterr().out == "ran 3\n"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (GhostnoteError("a.onnx: field hop is 0,\nexpected 1 or more"), 1, "hop is 0, expected"),
        (FileNotFoundError(2, "No such file or directory", "x.wav"), 1, "x.wav: No such file"),
        (ZeroDivisionError("division by zero"), 1, "defect of ours, ZeroDivisionError"),
    ],
)
def test_an_error_is_one_line(
    command: ModuleType,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    line: str,
) -> None:
    set_run(command, error)
    assert main(["try"]) == status
    shown = capsys.readouterr().err
    assert line in shown
    assert shown.count("\n") == 1
    assert shown.startswith("ghostnote: ")


def test_debug_shows_where(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    set_run(command, GhostnoteError("no"))
    assert main(["try", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_debug_after_two_dashes_is_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "no-slash", "--", "--debug"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["sned"], ["try", "--valeu", "3"], ["try", "--value", "x"], ["group"], ["--nothing"]]
)
def test_misuse_is_one_line_and_status_2(
    command: ModuleType, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    set_run(command, None)
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.startswith("ghostnote")


def test_interruption_is_silent(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    set_run(command, KeyboardInterrupt())
    assert main(["try"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_ends_the_process_with_130() -> None:
    """A real SIGINT to a real process that waits for a reply which never comes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(60)
        port = str(silent.getsockname()[1])
        process = subprocess.Popen(
            [
                Path(sys.executable).parent / "ghostnote",
                "send",
                "/x",
                "--wait",
                "60",
                "--port",
                port,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.recv(100)  # from here on it waits
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate()
    assert process.returncode == 130
    assert shown == ""


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from ghostnote.cli.main import main
main(["--help"])
print({"torch", "numba", "numpy", "onnxruntime"} & set(sys.modules), file=sys.stderr)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == "set()\n"
