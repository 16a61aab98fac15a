"""Playing a session log again, offline, to the bits that it gave live.

Single-threaded: the engine runs in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ghostnote.inference.model_file import ModelFile, find_model, load_model
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack

from .commands import Command, Op
from .engine import Engine, EngineOptions
from .session_log import LogEnd, LogLoad, read_log
from .wav import WavWriter

CHUNK_SECONDS = 1.0
MAX_PENDING = 2000  # commands handed to the engine at a time, well under its queue


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
        If the log is damaged or a model is missing or is not the one that was played.
    """
    header, entries = read_log(log)
    model = _same_model(header.model, header.sha256, roots)
    options = EngineOptions(header.samplerate, header.voices, header.seed)
    engine = Engine(pack(model.spec, model.weights), options)
    rate = engine.spec.samplerate
    slots: dict[int, int] = {}
    pending = 0
    part = out.with_name(out.name + ".part")
    with WavWriter(part, header.samplerate, 2, "FLOAT") as file:

        def advance(frame: int) -> None:
            nonlocal pending
            while engine.frame < frame:
                step = min(frame, engine.frame + int(CHUNK_SECONDS * rate))
                file.write(engine.render(step))
                engine.log.pop_all()
                if progress:
                    progress(engine.frame / rate)
            pending = 0

        frame = 0
        for entry in entries:
            if isinstance(entry, LogEnd):
                frame = max(frame, entry.frame)
                break
            if isinstance(entry, LogLoad):
                # The slot is taken when it is prepared, so play up to here first.
                advance(frame)
                packed_from = _same_model(entry.model, entry.sha256, roots)
                packed = pack(packed_from.spec, packed_from.weights)
                slots[entry.slot] = engine.prepare(packed, entry.voice)
                continue
            record = entry[0]
            frame = max(frame, int(record["frame"]))
            if pending >= MAX_PENDING:
                advance(frame)
            index = int(record["index"])
            if record["op"] == Op.MODEL:
                index = slots.get(index, -1)
            command = Command(
                Op(int(record["op"])), int(record["voice"]), index, float(record["value"])
            )
            engine.submit([command], frame)
            pending += 1
        advance(frame)
        frames = file.frames
    part.replace(out)
    return frames


def _same_model(name: str, sha256: str, roots: Sequence[Path]) -> ModelFile:
    try:
        path = find_model(name, roots)
    except GhostnoteError:
        path = find_model(name)  # a path, as it was typed at the server's start
    model = load_model(path)
    if model.sha256 != sha256:
        raise GhostnoteError(
            f"replay: model {name!r} is not the one of the session: its SHA-256 begins with "
            f"{model.sha256[:12]}, the log's with {sha256[:12]}"
        )
    return model
