"""The wheel holds `ghostnote/` only: every module, the type marker, the bundled model."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("kernels", "inference", "training", "osc_server", "cli")
DATA = (".onnx", ".html", ".css", ".js", ".svg")


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel built from a copy, as a build in place would leave stale files."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_nothing_but_ghostnote(contents: set[str]) -> None:
    tops = {name.split("/")[0] for name in contents}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ghostnote"}
    assert {name.split("/")[1] for name in contents if name.startswith("ghostnote/")} == {*FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_of_a_folder(contents: set[str], folder: str) -> None:
    ours = {
        f"ghostnote/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", *DATA) or path.name == "py.typed"
    }
    assert f"ghostnote/{folder}/__init__.py" in ours
    assert f"ghostnote/{folder}/py.typed" in ours
    assert ours - contents == set()


def test_a_bundled_model(contents: set[str]) -> None:
    models = [name for name in contents if name.startswith("ghostnote/inference/models/")]
    assert any(name.endswith(".onnx") for name in models), models
