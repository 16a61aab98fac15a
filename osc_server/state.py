"""The server's whole state as one JSON text, and the file that a restart resumes it from.

Threads: `snapshot` needs the session's lock; `StateFile.tick` is for one thread, `close` for the
same when the worker has ended. The file is written by the worker's thread.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

from ghostnote.inference.manifest import remove_stale_parts
from ghostnote.kernels.errors import GhostnoteError

from .encode import Value
from .handling import apply_patiently
from .peer import Peer, Silence
from .presets import read_json, write_json
from .scene import SERVER, Scene, as_json, capture, check, from_json, put
from .session import Session

FORMAT: Final = 1
EVERY_SECONDS: Final = 5.0
"""The file is written so often at most."""

log = logging.getLogger("ghostnote.server")


def default_path(port: int) -> Path:
    """Return where the state of the server at `port` is kept for its user."""
    if sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return home / "ghostnote" / f"state-{port}.json"


def snapshot(session: Session) -> dict[str, Any]:
    """Return everything that the server is set to, as JSON values."""
    transport = session.control.transport()
    return {
        "ghostnote_state": FORMAT,
        "version": ".".join(str(part) for part in astuple(session.control.version())[1:4]),
        **as_json(capture(session, SERVER, playing=True)),
        "transport": {
            "rolling": transport.rolling,
            "beat": transport.beat,
            "tempo": transport.tempo,
        },
    }


def as_text(state: dict[str, Any]) -> str:
    """Return a state as JSON text on one line."""
    return json.dumps(state, separators=(",", ":"), allow_nan=False)


def resume(session: Session, path: Path) -> bool:
    """Set everything to what the file at `path` holds; tell whether that could be done.

    What cannot is one warning, everything is as it was, and the file is moved aside, so that what
    is kept from now on does not take its place. If the transport rolled it is played from its first
    beat. A source of time is taken up only where the server has been started with none but itself;
    one that is not there now is one warning. A file of an earlier version, which does not tell
    which voices play, lets all of them.
    """
    if not os.path.lexists(path):
        log.info("nothing to resume: %s is not there yet", path)
        return False
    try:
        scene, rolling = _read(path)
        check(session, scene)
        _follow(session, scene)
        put(session, scene, exactly=True)
        if rolling and not session.control.owns_rolling():
            apply_patiently(session, [("/ghost/play", ())], Silence())
    except Exception as error:  # noqa: BLE001  (whatever is in it, the server starts)
        reason = error if isinstance(error, GhostnoteError) else f"is damaged ({error!r})"
        log.warning(
            "--resume: %s: %s; %s; beginning with the defaults", path, reason, _set_aside(path)
        )
        return False
    return True


def _set_aside(path: Path) -> str:
    """Give a file that is not understood another name, and return what to say of that."""
    names = (path.with_name(f"{path.name}.refused{n or ''}") for n in itertools.count())
    aside = next(name for name in names if not os.path.lexists(name))
    try:
        path.rename(aside)
    except OSError as error:
        return f"it cannot be moved aside ({error.strerror})"
    return f"kept as {aside.name}, to be put back once it can be taken"


def _follow(session: Session, scene: Scene) -> None:
    """Take the time from the scene's source, or leave the source out of the scene."""
    (source,) = scene.shared.pop("sync/source", ("internal",))
    if session.control.following() == "internal":
        try:
            session.control.follow(str(source))
            scene.shared["sync/source"] = (source,)
        except GhostnoteError as error:
            log.warning("--resume: %s", error)


def _read(path: Path) -> tuple[Scene, bool]:
    data = read_json(path)
    if not isinstance(data, dict) or data.get("ghostnote_state") != FORMAT:
        raise GhostnoteError("is no state of this version")
    scene = from_json(data)
    transport = data.get("transport")
    if not isinstance(transport, dict):
        raise GhostnoteError("is damaged")
    return scene, transport.get("rolling") is True


class StateFile:
    """Keeps the state in a file: soon after every change, and at the end.

    What servers that were killed in the midst of that have left beside it is removed.
    """

    def __init__(self, session: Session, path: Path) -> None:
        self._session, self._path = session, path
        remove_stale_parts(path)
        self._changed = True
        self._written = session.clock()
        self._trouble = ""
        with session.lock:
            session.watch(self._note)
            session.watch_tree(self._note_tree)

    def tick(self) -> None:
        """Have the file written if it is time."""
        now = self._session.clock()
        if self._changed and now - self._written >= EVERY_SECONDS:
            self._written, self._changed = now, False
            if not self._session.worker.submit(self._write):
                self._changed = True

    def close(self) -> None:
        """Write the file a last time, if anything has changed."""
        if self._changed:
            self._write()

    def _note(self, _: str, __: tuple[Value, ...], ___: Peer | None) -> None:
        self._changed = True

    def _note_tree(self, _: frozenset[str], __: frozenset[str]) -> None:
        self._changed = True

    def _write(self) -> None:
        with self._session.lock:
            state = snapshot(self._session)
        try:
            write_json(self._path, state)
            self._trouble = ""
        except GhostnoteError as error:
            if str(error) != self._trouble:
                log.warning("--state: %s; the state is not kept", error)
            self._trouble = str(error)
