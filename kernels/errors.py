"""The one exception that a person sees: what went wrong, where, and what to do about it."""

import sys


class GhostnoteError(Exception):
    """A refusal told in one line: what, where, what to do.

    Every folder raises it for bad input (a file, an option, a device, a message). The command line
    prints it as it stands and ends with status 1; the server sends it back with `/fail`. Anything
    else that escapes is a defect of ours.
    """


def how_to_install(extra: str) -> str:
    """Return what to do to have what an extra brings; ghostnote is on no package index."""
    return f"in ghostnote's folder, {sys.executable} -m pip install -e '.[{extra}]'"
