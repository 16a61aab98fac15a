"""Compiled code is kept by version: a change in what is compiled in never meets an old cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ghostnote.kernels
from ghostnote.cli import compile_cache
from ghostnote.cli.compile_cache import VARIABLE, prune, sources_of_compiled_code

ROOT = Path(ghostnote.kernels.__file__).parent.parent

USE = "from ghostnote.cli.compile_cache import use_compile_cache; print(use_compile_cache())"


def use(code: str = USE, **environment: str) -> str:
    """Returns what a fresh process prints; its cache belongs to the test."""
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_every_file_with_compiled_code_and_its_constants_count() -> None:
    found = sources_of_compiled_code(ROOT)
    assert {"kernels/cpu", "kernels/products", "osc_server/core", "osc_server/ring"} <= found.keys()
    assert {"kernels/packing", "kernels/spec", "osc_server/commands"} <= found.keys()
    assert "osc_server/osc" not in found, "editing the parser must not cost a compilation"


def test_a_constant_in_a_file_without_numba_makes_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("kernels", "inference", "training", "osc_server"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.onnx"))
    monkeypatch.setattr(ghostnote.kernels, "__file__", str(tmp_path / "kernels" / "__init__.py"))
    before = compile_cache.version_of_compiled_code()
    commands, parser = tmp_path / "osc_server" / "commands.py", tmp_path / "osc_server" / "osc.py"
    parser.write_text(parser.read_text() + "\n# another\n")
    assert compile_cache.version_of_compiled_code() == before
    assert "numba" not in commands.read_text()
    commands.write_text(commands.read_text() + "\nFRAME_NOW = -2\n")
    assert compile_cache.version_of_compiled_code() != before


def test_optimisation_is_ours_unless_chosen() -> None:
    code = f"{USE}; import numba; print(int(numba.config.OPT))"
    kept = os.environ.pop("NUMBA_OPT", None)
    try:
        assert use(code).splitlines()[-1] == "2"
        assert use(code, NUMBA_OPT="3").splitlines()[-1] == "3"
    finally:
        if kept is not None:
            os.environ["NUMBA_OPT"] = kept


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is Linux's")
def test_the_folder_is_made_private_and_numba_uses_it(tmp_path: Path) -> None:
    code = f"{USE}; import numba; print(numba.config.CACHE_DIR)"
    ours, numbas = use(code, XDG_CACHE_HOME=str(tmp_path)).splitlines()
    folder = Path(ours)
    assert ours == numbas
    assert folder.parent == tmp_path / "ghostnote"
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o077 == 0, "others could plant code here"


def test_a_folder_of_the_persons_own_is_left_alone(tmp_path: Path) -> None:
    code = f"{USE}; import os; print(os.environ['{VARIABLE}'])"
    assert use(code, **{VARIABLE: str(tmp_path)}).splitlines() == ["None", str(tmp_path)]


def test_numba_already_there_is_left_alone(tmp_path: Path) -> None:
    code = f"import numba; {USE}; import os; print('{VARIABLE}' in os.environ)"
    assert use(code, XDG_CACHE_HOME=str(tmp_path)).splitlines() == ["None", "False"]


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is Linux's")
def test_where_nothing_can_be_written_a_temporary_folder_serves(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    code = f"{USE}; import os; print(os.path.isdir(os.environ['{VARIABLE}']))"
    folder, there = use(code, XDG_CACHE_HOME=str(in_the_way)).splitlines()
    assert there == "True"
    assert not Path(folder).exists(), "it goes with the process"


def test_only_the_versions_last_used_stay(tmp_path: Path) -> None:
    for age in range(5):
        folder = tmp_path / f"compiled-{age}"
        folder.mkdir()
        (folder / "code").touch()
        os.utime(folder, (1000.0 - age, 1000.0 - age))
    (tmp_path / "mine").mkdir()
    prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "compiled-0",
        "compiled-1",
        "compiled-2",
        "mine",
    ]


def test_help_does_not_import_numba() -> None:
    code = (
        "import sys; from ghostnote.cli.main import main; main(['--help']); "
        "print('numba' in sys.modules)"
    )
    assert use(code).splitlines()[-1] == "False"
