"""The session log: what the engine did, frame by frame, so that it can do it again.

One JSON value per line. First the header; then, as they happened, `[frame, op, voice, index,
value]` for each command at the frame where it acted; before a command that leads a voice to a bank
`{"bank": n, "voice": v, "model": ..., "sha256": ...}`, and before one that primes a voice
`{"place": n, "voice": v, "prime": path, "sha256": ..., "weights": [...]}`; at the end
`{"end": frame}`.
Threads: `SessionLog` has a lock; `read_log` is for one thread.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ghostnote.kernels.errors import GhostnoteError

from .commands import Command, Op

FORMAT = 4
"""Before 2 the kernel's arithmetic was another, before 3 there was no limiter, before 4 voices changed
their lanes within a hop: what such a log tells is played again, but to other bits."""
MAX_LINE = 16384
MAX_WEIGHTS = 64


@dataclass(frozen=True)
class LogHeader:
    """How the engine was built."""

    model: str
    sha256: str
    samplerate: int
    voices: int
    seed: int
    precision: str = "fp32"
    max_voices: int = 16
    outputs: int = 1
    ghostnote_log: int = FORMAT
    backend: str = "cpu"

    @property
    def inexact(self) -> str:
        """Why a replay may give other bits; empty: it gives the same."""
        if self.ghostnote_log != FORMAT:
            return "of an earlier version, which played other bits"
        if self.backend != "cpu":
            return "played on a GPU, which parts from the CPU where two levels are as good as tied"
        return ""


@dataclass(frozen=True)
class LogLoad:
    """A model was made ready in a bank for a voice."""

    bank: int
    voice: int
    model: str
    sha256: str


@dataclass(frozen=True)
class LogPrime:
    """A file was heard for a voice, under these kit weights, and waits in a place."""

    place: int
    voice: int
    prime: str
    sha256: str
    weights: tuple[float, ...]


@dataclass(frozen=True)
class LogEnd:
    """The session ended at this frame."""

    frame: int


@dataclass(frozen=True)
class LogCommand:
    """A command acted at this frame."""

    frame: int
    command: Command


LogEntry = LogCommand | LogLoad | LogPrime | LogEnd

_DAMAGE = (KeyError, TypeError, ValueError, OverflowError)


class SessionLog:
    """Writes a log; a full disk ends the log, never the sound."""

    def __init__(self, path: Path, header: LogHeader) -> None:
        self.path = path
        self.failure: str | None = None
        self._lock = threading.Lock()
        try:
            self._file = path.open("w")
        except OSError as error:
            raise GhostnoteError(f"--log {path}: {error.strerror}") from None
        self._write([json.dumps(vars(header))])

    def commands(self, records: npt.NDArray[Any]) -> None:
        """Append commands that the engine has carried out."""
        if len(records):
            self._write([json.dumps(list(record.tolist())) for record in records])

    def load(self, load: LogLoad | LogPrime) -> None:
        """Append what was loaded; before the command that plays it is submitted."""
        self._write([json.dumps(vars(load))])

    def close(self, frame: int) -> None:
        """Append the end and close the file."""
        self._write([json.dumps({"end": frame})])
        # After a write that failed, closing tries once more and fails again.
        with self._lock, contextlib.suppress(OSError):
            self._file.close()

    def _write(self, lines: list[str]) -> None:
        with self._lock:
            if self.failure is None:
                try:
                    self._file.write("\n".join(lines) + "\n")
                    self._file.flush()
                except OSError as error:
                    self.failure = f"--log {self.path}: {error.strerror}; the log ends here"


def read_log(path: Path) -> tuple[LogHeader, Iterator[LogEntry]]:
    """Return a log's header and its entries, read as they are asked for.

    Raises
    ------
    GhostnoteError
        If it is no session log or a line is damaged; the message names the line.
    """
    lines = _lines(path)
    try:
        first = next(lines)
        header = LogHeader(
            str(first["model"]),
            str(first["sha256"]),
            _whole(first["samplerate"]),
            _whole(first["voices"]),
            _whole(first["seed"]),
            str(first.get("precision", "fp32")),
            _whole(first.get("max_voices", first["voices"])),
            _whole(first.get("outputs", 1)),
            _whole(first["ghostnote_log"]),
            str(first.get("backend", "cpu")),
        )
        if not 1 <= header.ghostnote_log <= FORMAT:
            raise GhostnoteError(f"{path}: a session log of another version")
    except (StopIteration, *_DAMAGE):
        raise GhostnoteError(f"{path}: is no ghostnote session log") from None
    return header, _entries(path, lines)


def _lines(path: Path) -> Iterator[Any]:
    try:
        with path.open(encoding="utf-8") as file:
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) < MAX_LINE and not line.endswith("\n"):
                    return  # the session was cut off here
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    raise _damaged(path, number) from None
                yield value
    except OSError as error:
        raise GhostnoteError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise GhostnoteError(f"{path}: is no ghostnote session log") from None


def _entries(path: Path, lines: Iterator[Any]) -> Iterator[LogEntry]:
    for number, line in enumerate(lines, start=2):
        try:
            entry = _entry(line)
        except _DAMAGE:
            raise _damaged(path, number) from None
        yield entry


def _entry(line: Any) -> LogEntry:
    """Return what a line says; raises one of _DAMAGE where it says nothing that can be."""
    if isinstance(line, list):
        frame, op, voice, index, value = line
        if not math.isfinite(value):
            raise ValueError("no number")
        return LogCommand(
            _whole(frame), Command(Op(op), _whole(voice), _whole(index), float(value))
        )
    if "end" in line:
        return LogEnd(_whole(line["end"]))
    if "place" in line:
        weights = tuple(float(weight) for weight in line["weights"][:MAX_WEIGHTS])
        return LogPrime(
            _whole(line["place"]),
            _whole(line["voice"]),
            str(line["prime"]),
            line["sha256"],
            weights,
        )
    bank = line["bank"] if "bank" in line else line["slot"]  # as it was called before format 3
    return LogLoad(_whole(bank), _whole(line["voice"]), line["model"], line["sha256"])


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("no whole number")
    return value


def _damaged(path: Path, number: int) -> GhostnoteError:
    return GhostnoteError(f"{path} line {number}: damaged; cut the file before it to replay so far")
