"""The manifest of rendered loops: everything that is needed to make each of them again.

JSON, one loop a line, written beside its old version and renamed into place. One thread at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ghostnote.kernels.backends import PLAYING
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.products import PRECISIONS

from .midi import MAX_HITS, Hit

MANIFEST = "manifest.json"
MAX_BYTES = 256 * 1024 * 1024
MAX_NAME_BYTES = 255  # of a file, on the usual file systems

UNTOLD = {"precision": "fp32", "backend": "cpu"}
"""What a loop's entry means that has not these fields: they came later."""

_FILE_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}\.wav")
_PART_END = re.compile(r"[0-9a-f]{16}\.part")


@dataclass(frozen=True)
class Loop:
    """One rendered loop: its file, and the recipe.

    Attributes
    ----------
    file : str
        Name of the WAV file, in the folder of the manifest.
    frames, samplerate : int
    bars : int
        Of four beats.
    bpm : float
    kit : str
        As `kit_mix.parse_kit` reads it.
    seed : int
    model_sha256, model : str
        Of the model file, and its name.
    temperature : float
    top_k : int
        0 is all.
    plan : str
        Name of the pattern or groove.
    hits : tuple of (beat, role, velocity)
    ghostnote : str
        Version that made it.
    sha256 : str
        Of the WAV file; empty while there is none.
    precision : str
        Of the model's weights, one of `PRECISIONS`; manifests that do not tell it mean fp32.
    backend : str
        On what it was made, one of `PLAYING`; manifests that do not tell it mean the CPU.
    """

    file: str
    frames: int
    samplerate: int
    bars: int
    bpm: float
    kit: str
    seed: int
    model_sha256: str
    model: str
    temperature: float
    top_k: int
    plan: str
    hits: tuple[Hit, ...]
    ghostnote: str
    sha256: str = ""
    precision: str = "fp32"
    backend: str = "cpu"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: object) -> Loop:
        """Build a loop from `to_json`'s form; keys that it does not know are passed over.

        Raises
        ------
        GhostnoteError
            If a field is missing, of the wrong type or impossible; the message names it.
        """
        if not isinstance(entry, dict):
            raise GhostnoteError(f"expected an object, found {type(entry).__name__}")
        values: dict[str, Any] = {}
        entry = {**UNTOLD, **entry}
        for field in fields(cls):
            if field.name not in entry:
                raise GhostnoteError(f"field {field.name!r} is missing")
            values[field.name] = _checked(field.name, str(field.type), entry[field.name])
        if not _FILE_NAME.fullmatch(values["file"]):
            raise GhostnoteError(
                f"field 'file': {values['file'][:80]!r} is no plain .wav file name"
            )
        for name, known in (("precision", PRECISIONS), ("backend", PLAYING)):
            if values[name] not in known:
                raise GhostnoteError(
                    f"field {name!r}: {values[name][:80]!r} is none of {', '.join(known)}"
                )
        return cls(**values)


def read_entries(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a manifest as they stand, whatever keys they have beside 'file'.

    Raises
    ------
    GhostnoteError
        If the file cannot be read or is no manifest.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise GhostnoteError(f"manifest {path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise GhostnoteError(f"manifest {path}: over {MAX_BYTES} bytes")
    try:
        content = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise GhostnoteError(f"manifest {path}: not JSON ({str(error)[:100]})") from None
    entries = content.get("loops") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise GhostnoteError(f"manifest {path}: expected an object with a list 'loops'")
    files = set()
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            raise GhostnoteError(f"manifest {path}, loop {number}: field 'file' is missing")
        if entry["file"] in files:
            raise GhostnoteError(f"manifest {path}, loop {number}: its file is there twice")
        files.add(entry["file"])
    return entries


def read_manifest(path: Path) -> list[Loop]:
    """Return the loops of a manifest.

    Raises
    ------
    GhostnoteError
        If the file cannot be read or a loop is not whole; names the loop and the field.
    """
    loops = []
    for number, entry in enumerate(read_entries(path), start=1):
        try:
            loops.append(Loop.from_json(entry))
        except GhostnoteError as error:
            raise GhostnoteError(f"manifest {path}, loop {number}: {error}") from None
    return loops


def write_manifest(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write the manifest of `entries` whole.

    Raises OSError, or GhostnoteError for one that could not be read again; then the old one stands.
    """
    lines = ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries)
    data = f'{{"loops": [\n{lines}\n]}}\n'.encode()
    if len(data) > MAX_BYTES:
        raise _too_large(path, len(data))
    write_whole(path, data)


def check_room(path: Path, loop: Loop, count: int) -> None:
    """Refuse `count` loops like `loop` that a manifest could not list beside those it has.

    Raises GhostnoteError; OSError if the manifest cannot be looked at.
    """
    longest = replace(loop, file="x" * 200, sha256="0" * 64, seed=2**63)
    size = path.stat().st_size if path.exists() else 0
    size += count * len(json.dumps(longest.to_json()))
    if size > MAX_BYTES:
        raise _too_large(path, size)


def _too_large(path: Path, size: int) -> GhostnoteError:
    return GhostnoteError(
        f"manifest {path}: would have {size} bytes, at most {MAX_BYTES} can be read again; "
        "render fewer or shorter loops, or into another folder"
    )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its old version, then rename it into place, so that it is always whole.

    Raises OSError, and then leaves nothing behind.
    """
    part = part_of(path)
    try:
        with part.open("xb") as file:
            file.write(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def part_of(path: Path) -> Path:
    """Return a name beside `path`, for what is renamed to it once it is whole.

    It begins with the name of `path`, as far as there is room, so that what a killed process leaves
    tells whose it was. Nobody can have guessed it. It is to be opened exclusively ("x"), which
    follows no link, so that neither a link that leads elsewhere nor anybody's file is ever written
    to.
    """
    return path.with_name(f"{_part_name(path)}{secrets.token_hex(8)}.part")


def remove_stale_parts(path: Path) -> None:
    """Remove what writers of `path` that were killed have left; nobody may be writing it now.

    Looks at names alone, and leaves what it may not remove. A name so long that its parts hold only
    the beginning of it shares them with others, and keeps them.
    """
    start = _part_name(path)
    if start != f".{path.name}.":
        return
    with contextlib.suppress(OSError):
        for found in list(path.parent.iterdir()):
            if found.name.startswith(start) and _PART_END.fullmatch(found.name[len(start) :]):
                with contextlib.suppress(OSError):
                    found.unlink()


def _part_name(path: Path) -> str:
    """Return how the names of a file's parts begin; the rest of them has 21 characters."""
    name = os.fsencode(path.name)[: MAX_NAME_BYTES - 23].decode("utf-8", "ignore")
    return f".{name}."


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _checked(name: str, kind: str, value: object) -> Any:
    """Return `value` as the type that a field's annotation names."""
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind == "float" and _is_number(value):
        return float(value)  # type: ignore[arg-type]
    if name == "hits" and isinstance(value, list):
        if len(value) > MAX_HITS:
            raise GhostnoteError(
                f"field 'hits': {len(value)} of them; at most {MAX_HITS} are taken"
            )
        return tuple(_hit(item) for item in value)
    wanted = {"str": "a text", "int": "a whole number", "float": "a number"}.get(kind, "a list")
    raise GhostnoteError(f"field {name!r}: expected {wanted}, found {str(value)[:60]!r}")


def _hit(item: object) -> Hit:
    if isinstance(item, list) and len(item) == 3:
        beat, role, velocity = item
        if _is_number(beat) and isinstance(role, str) and _is_number(velocity):
            return float(beat), role, float(velocity)
    raise GhostnoteError(f"field 'hits': expected [beat, role, velocity], found {str(item)[:60]!r}")


def _is_number(value: object) -> bool:
    # The bounds keep out infinity, NaN and whole numbers too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15
