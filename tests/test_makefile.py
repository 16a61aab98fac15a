"""What `make test` holds to be missing, on systems made of empty programs."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALL = "jackd jack_capture oscsend pd sclang node"
WANTED = ["Missing:", "sudo", "apt-get", "install"]


def missing(folder: Path, system: str, programs: str) -> list[str]:
    """Returns what `make parts-test` asks a person for where only `programs` are there."""
    for tool in ("make", "tr"):
        path = shutil.which(tool)
        if path is None:
            pytest.skip(f"needs {tool}")
        (folder / tool).symlink_to(path)
    says = {"uname": system, "id": "1000", "apt-get": ""}
    for name in (*says, *programs.split()):
        (folder / name).write_text(f"#!/bin/sh\necho {says.get(name, '')}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        [folder / "make", "parts-test", "PYTHON=:"],
        cwd=ROOT,
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stderr.split()
    assert words[:1] in ([], ["Missing:"]), done.stderr
    return [word for word in words if word != "pd-osc"]  # a folder, not a program


@pytest.mark.parametrize("ardour", ["ardour7-lua", "ardour8-lua", "ardour12-lua"])
@pytest.mark.parametrize("chromium", ["chromium", "google-chrome", "chromium-browser"])
def test_any_ardour_and_any_chromium_will_do(tmp_path: Path, ardour: str, chromium: str) -> None:
    assert missing(tmp_path, "Linux", f"{ALL} {ardour} {chromium}") in ([], WANTED)


def test_what_is_missing_on_debian_is_told(tmp_path: Path) -> None:
    found = missing(tmp_path, "Linux", "jackd sclang")
    assert found[:4] == WANTED
    packages = {"jack-capture", "liblo-tools", "puredata-core", "ardour", "chromium", "nodejs"}
    assert set(found[4:]) == packages


def test_on_macos_only_what_brew_has_is_asked_for(tmp_path: Path) -> None:
    assert missing(tmp_path, "Darwin", "jackd node") == ["Missing:", "brew", "install", "liblo"]


def test_on_macos_with_all_of_it_nothing_is_said(tmp_path: Path) -> None:
    assert missing(tmp_path, "Darwin", "jackd node oscsend") == []
