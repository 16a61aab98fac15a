"""What a test that lacks a part does: it is skipped with the reason, and fails on CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import need, need_module

ROOT = Path(__file__).parents[1]
WITHOUT_LIBRARY = "raise OSError('Error loading JACK library')"  # as JACK-Client has it
AT_THE_TOP = """
from tests.parts import need_module
part = need_module("part")
def test_with_it(): assert part.there
"""


def test_the_first_program_that_is_there_counts() -> None:
    assert Path(need("no-such-program", "sh")).name == "sh"


def test_all_names_of_a_missing_program_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="program no-such or none-such"):
        need("no-such", "none-such")


@pytest.mark.parametrize("code", [WITHOUT_LIBRARY, "import no_such_module", None])
@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_a_module_that_cannot_be_loaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str | None,
    ci: str,
    outcome: type[BaseException],
) -> None:
    if code:
        (tmp_path / "ghostnote_part.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="needs the module ghostnote_part: "):
        need_module("ghostnote_part")


@pytest.mark.parametrize(
    ("code", "ci", "status", "told"),
    [
        ("there = True", "", pytest.ExitCode.OK, "2 passed"),
        (WITHOUT_LIBRARY, "", pytest.ExitCode.OK, "1 passed, 1 skipped"),
        (WITHOUT_LIBRARY, "true", pytest.ExitCode.INTERRUPTED, "needs the module part: Error load"),
    ],
)
def test_a_file_that_needs_it_at_its_top_stops_no_other(
    tmp_path: Path, code: str, ci: str, status: int, told: str
) -> None:
    (tmp_path / "part.py").write_text(code)
    (tmp_path / "test_with.py").write_text(AT_THE_TOP)
    (tmp_path / "test_without.py").write_text("def test_it(): pass")
    path = os.pathsep.join((str(ROOT), str(tmp_path)))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            f"--rootdir={tmp_path}",
            tmp_path,
        ],
        env={**os.environ, "PYTHONPATH": path, "CI": ci},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told in done.stdout, done.stdout
    assert done.returncode == status
