"""Playing and rendering need neither torch nor Triton: importing one ends their process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# An import hook is a better proof than a look into sys.modules afterwards: it also catches a torch
# that is imported and forgotten, and one that is imported in a `try`, as it ends the process.
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "triton"):
            print(name, "was imported", file=sys.stderr, flush=True)
            import os, traceback
            traceback.print_stack()
            os._exit(99)

sys.meta_path.insert(0, Blocker())
"""
RUN = "from ghostnote.cli.main import main; sys.exit(main(sys.argv[1:]))"
MODULES = """
import importlib, pathlib
for folder in ("kernels", "inference", "osc_server", "cli"):
    package = importlib.import_module("ghostnote." + folder)
    for path in sorted(pathlib.Path(package.__path__[0]).glob("*.py")):
        if (folder, path.stem) not in ALLOWED:
            importlib.import_module(f"ghostnote.{folder}.{path.stem}")
            print(folder, path.stem)
"""
# What imports torch or Triton on purpose.
ALLOWED = {
    ("cli", "train"),
    ("kernels", "gpu"),
    ("kernels", "gpu_carry"),
    ("kernels", "gpu_layers"),
    ("kernels", "gpu_live"),
    ("kernels", "gpu_model"),
    ("kernels", "gpu_spread"),
    ("kernels", "gpu_state"),
}


def without_torch(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        # The tests' own stand-in for a GPU, which nobody who plays has set.
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
    )


def test_the_block_holds() -> None:
    """Importing torch, even one that is not installed, ends the process."""
    assert without_torch("try: import torch\nexcept ImportError: pass").returncode == 99


def test_modules() -> None:
    run = without_torch(f"ALLOWED = {ALLOWED!r}\n{MODULES}")
    assert run.returncode == 0, run.stderr
    assert {"kernels __init__", "osc_server __init__", "cli main"} <= set(run.stdout.splitlines())


@pytest.mark.parametrize(("folder", "name"), sorted(ALLOWED))
def test_what_is_allowed_does_it(folder: str, name: str) -> None:
    run = without_torch(f"import ghostnote.{folder}.{name}")
    assert run.returncode == 99, "imports no torch: it need not be allowed"


@pytest.mark.parametrize("command", ["serve", "render", "replay", "doctor", "models", "send"])
def test_help(command: str) -> None:
    run = without_torch(RUN, command, "--help")
    assert run.returncode == 0, run.stderr
    assert f"ghostnote {command}" in run.stdout


def test_render(tmp_path: Path) -> None:
    options = ["--bars", "1", "--bpm", "240", "--count", "1", "--backend", "auto", "--out"]
    run = without_torch(RUN, "render", *options, str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.glob("*.wav"))


def test_serve(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    options = ["--sink", f"file:{out}", "--seconds", "1", "--demo", "--port", "0"]
    run = without_torch(RUN, "serve", *options)
    assert run.returncode == 0, run.stderr
    assert out.stat().st_size > 44
