"""The one exception that a person sees: what went wrong, where, and what to do about it."""


class GhostnoteError(Exception):
    """A refusal told in one line: what, where, what to do.

    Every folder raises it for bad input (a file, an option, a device, a message). The command line
    prints it as it stands and ends with status 1; the server sends it back with `/fail`. Anything
    else that escapes is a defect of ours.
    """
