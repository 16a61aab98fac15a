"""File names that come over OSC, kept inside the folder that was given for them at start."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

_LONGEST_NAME = 255  # bytes in one part, on all usual file systems
_LONGEST_PATH = 1024


class PathError(ValueError):
    """A name that is not accepted; the message is one line that says which and why."""


def resolve_inside(root: Path, name: str) -> Path:
    """The real path of `name` below the folder `root`, where nothing needs to exist yet.

    Both kinds of slashes separate. Raises PathError for names that are empty, absolute or too long,
    contain NUL or other control characters or `..`, or lead out of `root` by a link.

    >>> resolve_inside(Path("recordings"), "one/take.wav").relative_to(Path.cwd()).as_posix()
    'recordings/one/take.wav'
    """
    shown = repr(name if len(name) <= 80 else name[:77] + "...")

    def refuse(reason: str) -> PathError:
        return PathError(f"file name {shown}: {reason}")

    if not name.strip():
        raise refuse("is empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise refuse("contains a control character")
    # Strings from the network may hold half a surrogate pair, which no file system takes.
    encoded = name.encode("utf-8", "surrogatepass")
    if encoded.decode("utf-8", "replace") != name:
        raise refuse("is not valid Unicode")
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        raise refuse("must be relative to the folder given at start")
    parts = name.replace("\\", "/").split("/")
    if ".." in parts:
        raise refuse("'..' is not allowed")
    if len(encoded) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in parts):
        raise refuse(f"is too long (at most {_LONGEST_NAME} bytes in each part)")
    real_root = root.resolve()
    try:
        path = real_root.joinpath(*parts).resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise refuse("cannot be followed") from error
    if not path.is_relative_to(real_root) or path == real_root:
        raise refuse("leads out of the folder given at start")
    return path
