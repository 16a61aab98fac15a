"""Presets: scenes under names, one JSON file each in one folder.

Threads: one at a time; the worker's.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

from ghostnote.inference.manifest import part_of
from ghostnote.kernels.errors import GhostnoteError

from .paths import PathError, resolve_inside
from .scene import Scene, as_json, from_json

FORMAT: Final = 1
MAX_BYTES: Final = 1 << 20
"""Of one file."""
MAX_PRESETS: Final = 500
_SUFFIX: Final = ".json"


class Presets:
    """The presets in the folder `root`, which need not be there yet."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[Path, tuple[tuple[int, int], Scene]] = {}  # as the file was, what it held

    def names(self) -> list[str]:
        """Return the names of all presets, MAX_PRESETS of them at most."""
        try:
            files = [path for path in self._root.rglob(f"*{_SUFFIX}") if path.is_file()]
        except OSError as error:
            raise GhostnoteError(f"{self._root}: {error.strerror}") from None
        found = (path.relative_to(self._root).as_posix() for path in files)
        return sorted(name.removesuffix(_SUFFIX) for name in found)[:MAX_PRESETS]

    def save(self, name: str, scene: Scene) -> None:
        """Keep a scene, in place of one of that name.

        Raises
        ------
        GhostnoteError
            If the name is not allowed, or the file cannot be written.
        """
        path = self._path(name)
        if not path.exists() and len(self.names()) >= MAX_PRESETS:
            raise GhostnoteError(f"there are {MAX_PRESETS} presets; delete one first")
        write_json(path, {"ghostnote_preset": FORMAT, **as_json(scene)})

    def load(self, name: str) -> Scene:
        """Return the scene of a preset.

        Raises
        ------
        GhostnoteError
            If there is none of that name, or its file is damaged.
        """
        path = self._path(name)
        try:
            status = path.stat()
        except FileNotFoundError:
            raise GhostnoteError(
                f"no preset {name!r}; /ghost/preset/list tells those there are"
            ) from None
        except OSError as error:
            raise GhostnoteError(f"preset {name!r}: {error.strerror}") from None
        mark = (status.st_mtime_ns, status.st_size)
        known = self._read.get(path)
        if known and known[0] == mark:
            return known[1]
        try:
            data = read_json(path)
            if not isinstance(data, dict) or data.get("ghostnote_preset") != FORMAT:
                raise GhostnoteError("is none of this version")
            scene = from_json(data)
        except GhostnoteError as error:
            raise GhostnoteError(f"preset {name!r}: {error}; save it anew or delete it") from None
        if len(self._read) >= 2:  # as many as a morph goes between
            self._read.pop(next(iter(self._read)))
        self._read[path] = (mark, scene)
        return scene

    def delete(self, name: str) -> None:
        """Forget a preset."""
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            raise GhostnoteError(f"no preset {name!r}") from None
        except OSError as error:
            raise GhostnoteError(f"preset {name!r}: {error.strerror}") from None

    def _path(self, name: str) -> Path:
        try:
            resolve_inside(self._root, name)  # of an empty name, too
            return resolve_inside(self._root, name + _SUFFIX)
        except PathError as error:
            raise GhostnoteError(str(error)) from None


def read_json(path: Path) -> Any:
    """Return what a JSON file of at most MAX_BYTES holds.

    Raises
    ------
    GhostnoteError
        If it cannot be read, is too large or is no JSON; the text does not name the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise GhostnoteError(str(error.strerror)) from None
    if len(content) > MAX_BYTES:
        raise GhostnoteError(f"is larger than {MAX_BYTES} bytes")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise GhostnoteError("is damaged") from None


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file, whole or not at all.

    Raises
    ------
    GhostnoteError
        If it cannot be written.
    """
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("x", encoding="utf-8") as file:
            json.dump(data, file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise GhostnoteError(f"{path}: {error.strerror}") from None
