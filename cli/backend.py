"""The option --backend, the same for all commands that play a model, and what `auto` has measured.

The rates are kept in the user's cache folder, so that only the first start with a model measures:
JSON, so many at most, written beside the file and renamed into place. Any thread.
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import ghostnote.kernels
from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels import backends
from ghostnote.kernels.backends import ENOUGH, PLAYING, Choice, Rates, version_of
from ghostnote.kernels.packing import pack

from .compile_cache import user_cache, version_of_compiled_code
from .machine import cpu_name, jit_target

NAME = "backends.json"
MAX_ENTRIES = 200
MAX_BYTES = 1 << 18


def _checked(value: str | None) -> str | None:
    if value not in (None, "auto", *PLAYING):
        raise typer.BadParameter(f"{value!r} is none of auto, {', '.join(PLAYING)}")
    return value


def _option(default: str | bool) -> Any:
    text = "cpu; gpu: NVIDIA's, by Triton; auto: the faster one, measured once for a model."
    return typer.Option(callback=_checked, help=text, show_default=default)


Backend = Annotated[str, _option(True)]
BackendOfLoops = Annotated[str | None, _option("cpu; with --manifest what it tells")]


def choice_of(
    asked: str,
    precision: str | None,
    model: Callable[[], ModelFile],
    streams: int,
    threads: int = 1,
    *,
    on_gpu: int | None = None,
    live: bool = False,
    fresh: bool = False,
) -> Choice:
    """Returns what to play a model on, and in which precision.

    Parameters
    ----------
    asked : str
        "auto", "cpu" or "gpu".
    precision : str or None
        The one asked for, if any.
    model : callable
        Loads the model; called only where there is something to measure.
    streams, threads : int
        Played side by side, and the CPU's threads for them.
    on_gpu : int or None
        As many as the GPU would play side by side, if not so many.
    live : bool
        They are to be played in time, no faster.
    fresh : bool
        Measures even what was measured before.
    """

    def measured(ours: str, theirs: str) -> Choice:
        loaded = model()
        needed = float(streams * loaded.spec.samplerate) if live else 0.0
        counts = streams, threads, on_gpu or streams
        key = _key(loaded, ours, theirs, counts, live)
        found = None if fresh else recall(cache_file()).get(key)
        if found is None:
            packed = pack(loaded.spec, loaded.weights, ours)
            enough = ENOUGH * needed
            found = backends.rates(packed, loaded.weights, theirs, *counts, enough)
            keep(cache_file(), key, found)
        return backends.faster(found, ours, theirs, needed)

    return backends.choose(asked, precision, measured)


def cache_file() -> Path:
    """Returns the file of what was measured."""
    return user_cache() / "ghostnote" / NAME


def recall(file: Path) -> dict[str, Rates]:
    """Returns what was measured before, oldest first; nothing of a file that is not ours."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        entries = json.loads(data) if len(data) <= MAX_BYTES else None
    except (OSError, ValueError, RecursionError):
        return {}
    found: dict[str, Rates] = {}
    for key, pair in entries.items() if isinstance(entries, dict) else ():
        if isinstance(pair, list) and len(pair) == 2 and all(type(x) in (int, float) for x in pair):
            found[key] = Rates(float(pair[0]), float(pair[1]))
    return found


def keep(file: Path, key: str, rates: Rates) -> None:
    """Notes what was measured, forgetting the oldest; where nothing can be written, nothing."""
    known = recall(file)
    known.pop(key, None)
    known[key] = rates
    entries = dict([*known.items()][-MAX_ENTRIES:])
    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}.part")
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            part.write_text(json.dumps(entries), encoding="utf-8")
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)


def _key(model: ModelFile, ours: str, theirs: str, counts: tuple[int, int, int], live: bool) -> str:
    """Returns what a measurement holds for: machine, code, model and what is played of it."""
    root = Path(ghostnote.kernels.__file__).parent
    code = "".join(file.read_text(encoding="utf-8") for file in sorted(root.glob("gpu*.py")))
    parts = [
        *(cpu_name(), *jit_target(), os.cpu_count(), backends.cuda_name()),
        *(version_of_compiled_code(), hashlib.sha256(code.encode()).hexdigest()),
        *(version_of("torch"), version_of("triton")),
        *(model.sha256, ours, theirs, counts, live),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
