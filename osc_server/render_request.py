"""What a client may ask to have rendered: a JSON object, checked to the last value.

Its keys are the options of `ghostnote render`. Pure but for the files it looks at; any thread.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from ghostnote.inference.drummer import parse_settings
from ghostnote.inference.drummer_file import read_spec
from ghostnote.inference.drummer_spec import parse_style
from ghostnote.inference.kit_mix import parse_kit
from ghostnote.inference.loops import (
    BUILT_IN,
    DEFAULT_BPM,
    HIGHEST_BPM,
    LOWEST_BPM,
    MAX_BARS,
    LoopPlan,
    choose_plan,
)
from ghostnote.inference.model_file import find_model, load_model
from ghostnote.kernels.errors import GhostnoteError

from .paths import PathError, resolve_inside

MAX_JSON: Final = 32 * 1024
MAX_TEXT: Final = 1024
MAX_COUNT: Final = 1000
MAX_SECONDS: Final = 4 * 3600.0
"""Of sound that one job may make: 4 GB at the highest rate."""
OUT: Final = "renders"
"""The folder below the recordings where loops go if none is named."""

_BARS, _COUNT = 4, 8  # as the command has them
_ROLE = re.compile(r"[a-z_]{1,32}")


class _Number(NamedTuple):
    """What a number of a request must be."""

    lowest: float
    highest: float
    whole: bool = True


_NUMBERS: Final[dict[str, _Number]] = {
    "bars": _Number(1, MAX_BARS),
    "bpm": _Number(LOWEST_BPM, HIGHEST_BPM, whole=False),
    "count": _Number(1, MAX_COUNT),
    "seed": _Number(0, 2**63 - 1 - MAX_COUNT),
    "samplerate": _Number(8000, 96_000),
    "temperature": _Number(0.01, 10.0, whole=False),
    "top_k": _Number(0, 65536),
}
_TEXTS: Final = ("model", "kit", "groove", "drummer", "out")
_KEYS: Final = (*_TEXTS, "pattern", *_NUMBERS)


@dataclass(frozen=True)
class Folders:
    """Where a request's names are looked for: models, MIDI grooves, and where loops go.

    `model` is the one that plays where none is named; None is the bundled default.
    """

    models: Path
    grooves: Path
    out: Path
    model: Path | None = None


class Order(NamedTuple):
    """A request that was accepted.

    `options` are those of the command, but for a pattern that came along: its text is in `pattern`
    (empty: none did).
    """

    options: list[str]
    pattern: str
    out: Path


def read_order(text: str, folders: Folders, precision: str) -> Order:
    """Return what a request in JSON asks for; what the command would refuse is refused here.

    Raises
    ------
    GhostnoteError
        If it is no JSON object, has an unknown key, an impossible value or a name that leads out
        of its folder, or asks for too much.
    """
    request = read_request(text)
    model = folders.model
    if model is None or "model" in request:
        model = find_model(request.get("model"), [folders.models])
    spec = load_model(model).spec
    kit, pattern, groove = (request.get(key) for key in ("kit", "pattern", "groove"))
    texture = kit is not None and not any(parse_kit(spec, kit))
    values: dict[str, Any] = {"model": model, "out": _inside(folders.out, request.get("out", OUT))}
    values |= {key: request[key] for key in ("kit", *_NUMBERS) if key in request}
    values["precision"] = precision
    if groove is not None:
        if pattern is not None:
            raise GhostnoteError("pattern or groove, not both")
        values["groove"] = _inside(folders.grooves, groove)
        if not values["groove"].is_file():  # a pipe would be waited for
            raise GhostnoteError(f"groove {groove!r}: there is no such file")
    drummer = request.get("drummer")
    if drummer is not None:
        if pattern is not None or groove is not None:
            raise GhostnoteError("one of pattern, groove and drummer, not both")
        parse_style(read_spec(), parse_settings(drummer).style)
        values["drummer"] = drummer
    steps = ""
    if isinstance(pattern, dict):
        steps = _pattern_text(pattern)
    elif pattern is not None:
        values["pattern"] = pattern
    each = _seconds(spec.roles, request, steps, values.get("groove"), texture)
    hours = each * request.get("count", _COUNT) / 3600.0
    if hours * 3600.0 > MAX_SECONDS:
        most = MAX_SECONDS / 3600.0
        raise GhostnoteError(
            f"{hours:.1f} hours of sound are asked for; a job makes up to {most:g}"
        )
    options = [f"--{key.replace('_', '-')}={value}" for key, value in values.items()]
    return Order(options, steps, values["out"])


def read_request(text: str) -> dict[str, Any]:
    """Return what a request in JSON says, each value of the right kind and size."""
    if len(text) > MAX_JSON:
        raise GhostnoteError(
            f"the request has {len(text)} characters; at most {MAX_JSON} are taken"
        )
    try:
        request = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise GhostnoteError(f"the request is not JSON ({str(error)[:100]})") from None
    if not isinstance(request, dict):
        raise GhostnoteError(f"the request must be a JSON object, found {type(request).__name__}")
    return {key: _checked(key, value) for key, value in request.items()}


def write_pattern(folder: Path, text: str) -> Path:
    """Write a pattern file into a folder of its own; its name is that of the loops. OSError."""
    path = folder / "pattern.txt"
    path.write_text(text, encoding="utf-8")
    return path


def _checked(key: str, value: object) -> object:
    if key in _NUMBERS:
        return _number(key, value, _NUMBERS[key])
    if key in _TEXTS:
        if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
            raise GhostnoteError(f"{key}: must be a text of 1 to {MAX_TEXT} characters")
        if not value.isprintable():
            raise GhostnoteError(f"{key}: contains a control character")
        return value
    if key != "pattern":
        raise GhostnoteError(f"unknown key {key[:40]!r}; there are {', '.join(_KEYS)}")
    if not isinstance(value, dict) and not (isinstance(value, str) and value in BUILT_IN):
        known = ", ".join(BUILT_IN)
        raise GhostnoteError(f"pattern: must be one of {known}, or an object of steps by role")
    return value


def _number(key: str, value: object, wanted: _Number) -> int | float:
    # Some clients know no whole numbers.
    if wanted.whole and isinstance(value, float) and value.is_integer():
        value = int(value)
    right = _is_number(value) and (isinstance(value, int) or not wanted.whole)
    if not right or not wanted.lowest <= value <= wanted.highest:  # type: ignore[operator]
        what = "a whole number" if wanted.whole else "a number"
        raise GhostnoteError(
            f"{key}: must be {what}, {wanted.lowest:g} to {wanted.highest:g}, "
            f"found {str(value)[:40]!r}"
        )
    return value  # type: ignore[return-value]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pattern_text(pattern: Mapping[str, object]) -> str:
    """Return a pattern in JSON as the text of a pattern file."""
    lines = []
    for name, value in pattern.items():
        if not _ROLE.fullmatch(name):
            raise GhostnoteError(f"pattern: {name[:40]!r} is no role")
        steps = isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()
        if not steps and not _is_number(value):
            raise GhostnoteError(f"pattern: {name}: must be steps, or a number")
        lines.append(f"{name}: {value}\n")
    return "".join(lines) or "\n"


def _seconds(
    roles: tuple[str, ...],
    request: Mapping[str, Any],
    steps: str,
    groove: Path | None,
    texture: bool,
) -> float:
    """Return how long a loop will be; raises GhostnoteError for what cannot be played."""
    bars, bpm, pattern = request.get("bars", _BARS), request.get("bpm"), request.get("pattern")
    if "drummer" in request:
        return LoopPlan("drummer", bars, DEFAULT_BPM if bpm is None else bpm).seconds
    try:
        with tempfile.TemporaryDirectory(prefix="ghostnote-") as folder:
            try:
                if steps:
                    pattern = str(write_pattern(Path(folder), steps))
                plan, _ = choose_plan(roles, groove, pattern, bars, bpm, texture)
            except GhostnoteError as error:
                raise GhostnoteError(str(error).replace(folder + os.sep, "")) from None
    except OSError as error:
        raise GhostnoteError(f"the request cannot be looked at: {error.strerror}") from None
    return plan.seconds


def _inside(root: Path, name: str) -> Path:
    try:
        return resolve_inside(root, name)
    except PathError as error:
        raise GhostnoteError(str(error)) from None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")
