"""Playing a session log again, offline, to the bits that it gave live.

Single-threaded: the engine runs in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from ghostnote.inference.manifest import part_of
from ghostnote.inference.model_file import find_model, load_model
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.state import State

from .commands import Op
from .engine import Engine, EngineOptions
from .paths import resolve_inside
from .prime import file_sha256, primed_state
from .session_log import LogCommand, LogEnd, LogEntry, LogLoad, LogPrime, read_log
from .wav import WavWriter

CHUNK_SECONDS = 1
AT_ONCE = 1024  # commands of one hop that are handed over together


def replay(
    log: Path,
    out: Path,
    roots: Sequence[Path] = (),
    progress: Callable[[float], None] | None = None,
    primes: Path = Path("primes"),
) -> int:
    """Render a logged session to a 32-bit float WAV file; return its number of frames.

    Parameters
    ----------
    roots : sequence of Path
        Folders in which models that are not bundled are looked for.
    progress : callable, optional
        Called with the seconds rendered so far.
    primes : Path
        Folder of the sounds that voices were primed with.

    Raises
    ------
    GhostnoteError
        If the log is damaged, a model is missing or is not the one that was played, or `out`
        cannot be written. No file is left behind then.
    """
    header, entries = read_log(log)
    files = _Files(roots, primes, header.precision)
    packed = files.model(header.model, header.sha256)
    options = EngineOptions(
        header.samplerate,
        header.voices,
        header.seed,
        max_voices=header.max_voices,
        outputs=header.outputs,
    )
    part = part_of(out)
    try:
        with WavWriter(
            part, header.samplerate, 2 * header.outputs, "FLOAT", exclusive=True
        ) as file:
            _play(Engine(packed, options), entries, files, file, progress or (lambda _: None))
        part.replace(out)
    except OSError as error:
        raise GhostnoteError(f"replay: {out}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return file.frames


def _play(
    engine: Engine,
    entries: Iterator[LogEntry],
    files: _Files,
    file: WavWriter,
    progress: Callable[[float], None],
) -> None:
    """Do what the log says, at the frames that it says, and write what sounds."""
    loads: dict[tuple[int, int], LogLoad] = {}  # by bank and voice, which may share a bank
    primes: dict[int, LogPrime] = {}
    rate = engine.spec.samplerate
    for entry in entries:
        if isinstance(entry, LogLoad):
            loads[entry.bank, entry.voice] = entry
            continue
        if isinstance(entry, LogPrime):
            primes[entry.place] = entry
            continue
        # Up to the very frame, so that the queue never holds more than one hop's commands.
        while engine.frame < entry.frame:
            file.write(engine.render(min(entry.frame, engine.frame + CHUNK_SECONDS * rate)))
            engine.log.pop_all()
            progress(engine.frame / rate)
        if isinstance(entry, LogEnd):
            return
        if engine.commands.fill >= AT_ONCE:
            # More may act in one hop than the queue holds, as some wait for a line elsewhere.
            engine.render(engine.frame)  # no hop, but they act
            engine.log.pop_all()
        command = entry.command
        if command.op in (Op.MODEL, Op.VOICE_NEW):
            load = _told(loads.get((command.index, command.voice)), entry, "model")
            packed = files.model(load.model, load.sha256)
            bring = engine.load if command.op == Op.MODEL else engine.new_voice
            bring(packed, command.voice, entry.frame)
            files.plays[command.voice] = packed
        elif command.op == Op.PRIME:
            prime = _told(primes.get(command.index), entry, "prime")
            packed = files.plays.get(command.voice, files.first)
            engine.prime(command.voice, files.primed(packed, prime), entry.frame)
        elif not engine.submit([command], entry.frame):
            raise GhostnoteError(f"replay: frame {entry.frame}: more commands than can have acted")


_Loaded = TypeVar("_Loaded", LogLoad, LogPrime)


def _told(loaded: _Loaded | None, entry: LogCommand, what: str) -> _Loaded:
    """Return what the log told of a command before it."""
    if loaded is None or loaded.voice != entry.command.voice:
        raise GhostnoteError(f"replay: frame {entry.frame}: a {what} is not in the log")
    return loaded


class _Files:
    """The models and sounds of a session, and which voice plays which model."""

    def __init__(self, roots: Sequence[Path], primes: Path, precision: str) -> None:
        self.plays: dict[int, Packed] = {}
        self._roots, self._primes, self._precision = roots, primes, precision
        self._models: dict[str, Packed] = {}

    def model(self, name: str, sha256: str) -> Packed:
        """Return the model that was played."""
        known = self._models.get(sha256)
        if known is not None:
            return known
        try:
            path = find_model(name, self._roots)
        except GhostnoteError:
            path = find_model(name)  # a path, as it was typed at the server's start
        model = load_model(path)
        if model.sha256 != sha256:
            raise GhostnoteError(
                f"replay: model {name!r} is not the one of the session: its SHA-256 begins with "
                f"{model.sha256[:12]}, the log's with {sha256[:12]}"
            )
        packed = self._models[sha256] = pack(model.spec, model.weights, self._precision)
        return packed

    @property
    def first(self) -> Packed:
        """The model that the session began with."""
        return next(iter(self._models.values()))

    def primed(self, packed: Packed, prime: LogPrime) -> State:
        """Return a stream that has heard what a voice was primed with."""
        path = resolve_inside(self._primes, prime.prime)
        if file_sha256(path) != prime.sha256:
            raise GhostnoteError(f"replay: {prime.prime}: is not the sound of the session")
        return primed_state(packed, path, prime.weights)
