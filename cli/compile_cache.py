"""Where compiled kernels are kept, so that only the first start compiles.

Numba, left alone, asks only whether the file of a function has changed, not what the function
calls: after an update it would play on with old code of another file inside. So every version of
our compiled code gets a folder of its own. For the main thread, before numba is imported.
"""

import atexit
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ghostnote.kernels

VARIABLE = "NUMBA_CACHE_DIR"
OPTIMISATION = "NUMBA_OPT"
KEEP = 3  # versions: going back and forth between some costs nothing, and disks stay small

_PREFIX = "compiled-"
_FOLDERS = ("kernels", "inference", "training", "osc_server")
_USES_NUMBA = re.compile(r"^(?:import|from) numba\b", re.MULTILINE)
_IMPORT = re.compile(
    r"^(?:from (?P<of>[.\w]+) import (?P<names>\([^)]*\)|[^\n]*)|import (?P<whole>[.\w]+))",
    re.MULTILINE,
)


def use_compile_cache() -> Path | None:
    """Makes Numba keep compiled code in this version's folder; returns that folder.

    Has it compile with -O2, unless the person has chosen otherwise: the inner loops are written
    vector by vector, and what -O3 does beyond that costs a fifth more time and makes nothing faster.
    Does nothing else and returns None where the person has chosen a folder (NUMBA_CACHE_DIR) or numba is
    there already. Where nothing can be written, a temporary folder serves this process.
    """
    os.environ.setdefault(OPTIMISATION, "2")
    if os.environ.get(VARIABLE) or "numba" in sys.modules:
        return None
    folder = user_cache() / "ghostnote" / f"{_PREFIX}{version_of_compiled_code()}"
    try:
        new = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError
        os.utime(folder)
        if new:
            prune(folder.parent)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="ghostnote-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = str(folder)
    return folder


def user_cache() -> Path:
    """Returns the folder that this system has for a person's caches."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def version_of_compiled_code() -> str:
    """Returns 16 hexadecimal digits of all that compiled code is made of.

    That is our files that use numba, our files that those import (their constants are compiled
    in), and the versions of what compiles them.
    """
    root = Path(ghostnote.kernels.__file__).parent.parent
    digest = hashlib.sha256(f"{platform.python_implementation()} {sys.version}".encode())
    for package in ("numba", "llvmlite", "numpy"):
        try:
            digest.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:
            digest.update(f"no {package}".encode())
    for name, source in sorted(sources_of_compiled_code(root).items()):
        digest.update(name.encode() + b"\0" + source.encode() + b"\0")
    return digest.hexdigest()[:16]


def sources_of_compiled_code(root: Path) -> dict[str, str]:
    """Returns the text of each file that can have a part in compiled code, by "folder/module"."""
    texts = {
        f"{folder}/{file.stem}": file.read_text(encoding="utf-8")
        for folder in _FOLDERS
        for file in (root / folder).glob("*.py")
    }
    found: dict[str, str] = {}
    wanted = [name for name, text in texts.items() if _USES_NUMBA.search(text)]
    while wanted:
        name = wanted.pop()
        if name in texts and name not in found:
            found[name] = texts[name]
            wanted += _imports(texts[name], name.partition("/")[0])
    return found


def _imports(text: str, folder: str) -> list[str]:
    """Returns the modules of ours that a text imports, and names that may be modules."""
    modules = []
    for match in _IMPORT.finditer(text):
        whole = match["whole"] or match["of"]
        if whole.startswith("."):
            whole = f"{folder}.{whole[1:]}".rstrip(".")
        elif whole.startswith("ghostnote."):
            whole = whole.removeprefix("ghostnote.")
        else:
            continue
        names = re.findall(r"\w+", match["names"] or "")
        modules += [whole.replace(".", "/"), *(f"{whole}/{name}" for name in names)]
    return modules


def prune(parent: Path, keep: int = KEEP) -> None:
    """Removes all but the versions last used."""
    versions = [path for path in parent.glob(f"{_PREFIX}*") if path.is_dir()]
    versions.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in versions[keep:]:
        shutil.rmtree(old, ignore_errors=True)
