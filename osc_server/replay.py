"""Playing a session log again, offline, to the bits that it gave live.

Single-threaded: the engine runs in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ghostnote.inference.model_file import find_model, load_model
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed, pack

from .commands import Op
from .engine import Engine, EngineOptions
from .session_log import LogEnd, LogEntry, LogLoad, read_log
from .wav import WavWriter

CHUNK_SECONDS = 1


def replay(
    log: Path,
    out: Path,
    roots: Sequence[Path] = (),
    progress: Callable[[float], None] | None = None,
) -> int:
    """Render a logged session to a 32-bit float WAV file; return its number of frames.

    Parameters
    ----------
    roots : sequence of Path
        Folders in which models that are not bundled are looked for.
    progress : callable, optional
        Called with the seconds rendered so far.

    Raises
    ------
    GhostnoteError
        If the log is damaged, a model is missing or is not the one that was played, or `out`
        cannot be written. No file is left behind then.
    """
    header, entries = read_log(log)
    models = _Models(roots, header.precision)
    packed = models.same(header.model, header.sha256)
    options = EngineOptions(header.samplerate, header.voices, header.seed)
    part = out.with_name(out.name + ".part")
    try:
        with WavWriter(part, header.samplerate, 2, "FLOAT") as file:
            _play(Engine(packed, options), entries, models, file, progress or (lambda _: None))
        part.replace(out)
    except OSError as error:
        raise GhostnoteError(f"replay: {out}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return file.frames


def _play(
    engine: Engine,
    entries: Iterator[LogEntry],
    models: _Models,
    file: WavWriter,
    progress: Callable[[float], None],
) -> None:
    """Do what the log says, at the frames that it says, and write what sounds."""
    loads: dict[int, LogLoad] = {}
    rate = engine.spec.samplerate
    for entry in entries:
        if isinstance(entry, LogLoad):
            loads[entry.slot] = entry
            continue
        # Up to the very frame, so that the queue never holds more than one hop's commands.
        while engine.frame < entry.frame:
            file.write(engine.render(min(entry.frame, engine.frame + CHUNK_SECONDS * rate)))
            engine.log.pop_all()
            progress(engine.frame / rate)
        if isinstance(entry, LogEnd):
            return
        command = entry.command
        if command.op == Op.MODEL:
            loaded = loads.get(command.index)
            if loaded is None or loaded.voice != command.voice:
                raise GhostnoteError(f"replay: frame {entry.frame}: a model is not in the log")
            packed = models.same(loaded.model, loaded.sha256)
            engine.load(packed, command.voice, entry.frame)
        elif not engine.submit([command], entry.frame):
            raise GhostnoteError(f"replay: frame {entry.frame}: more commands than can have acted")


class _Models(NamedTuple):
    """Where models are looked for, and how they were played."""

    roots: Sequence[Path]
    precision: str

    def same(self, name: str, sha256: str) -> Packed:
        """Return the model that was played."""
        try:
            path = find_model(name, self.roots)
        except GhostnoteError:
            path = find_model(name)  # a path, as it was typed at the server's start
        model = load_model(path)
        if model.sha256 != sha256:
            raise GhostnoteError(
                f"replay: model {name!r} is not the one of the session: its SHA-256 begins with "
                f"{model.sha256[:12]}, the log's with {sha256[:12]}"
            )
        return pack(model.spec, model.weights, self.precision)
