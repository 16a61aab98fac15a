"""What a person sees when something fails: one line on stderr and an exit status."""

from typing import Any

import typer

from ghostnote.kernels.errors import GhostnoteError, how_to_install

FAILED = 1  # the work could not be done
MISUSED = 2  # the command line makes no sense
INTERRUPTED = 130  # Ctrl-C, as shells count it: 128 + SIGINT

_OF_TRAINING = ("torch", "safetensors", "mido", "matplotlib", "sklearn")

# Some versions of typer raise click's own class, some a copy of it; both are the base of the one
# that typer exports.
UsageError: Any = typer.BadParameter.__bases__[0]


def explain(error: BaseException) -> tuple[str, int]:
    """Returns the line to print for `error` and the exit status to end with.

    The line is empty for an interruption: who pressed Ctrl-C knows why it stopped.
    """
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "", INTERRUPTED
    if isinstance(error, UsageError):
        command = error.ctx.command_path if error.ctx else "ghostnote"
        return f"{command}: {one_line(error.format_message())} (see `{command} --help`)", MISUSED
    if isinstance(error, GhostnoteError):
        return f"ghostnote: {one_line(str(error))}", FAILED
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"ghostnote: {where}{error.strerror}", FAILED
    if isinstance(error, ModuleNotFoundError) and error.name in _OF_TRAINING:
        return (
            f"ghostnote: this needs {error.name}, which playing does not: {how_to_install('train')}"
        ), FAILED
    what = one_line(f"{type(error).__name__}: {error}")
    return f"ghostnote: a defect of ours, {what} (--debug shows where; please report it)", FAILED


def one_line(text: str) -> str:
    """Returns `text` with every run of white space, line ends too, as one space."""
    return " ".join(text.split())
