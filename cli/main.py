"""The command `ghostnote`: a table of sub-commands, each loaded when it is used.

Loading only the one that was asked for keeps `ghostnote --help` fast, and `serve` and `render`
free of torch, which only the sub-commands for training import.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple

import typer

from .compile_cache import use_compile_cache
from .errors import explain


class Command(NamedTuple):
    """Where a sub-command lives, and the line that lists it."""

    module: str  # in this folder; a command whose module is absent is not listed
    function: str  # its parameters, annotated for typer, are the options
    help: str


# The names are what people type; "data prepare" is `prepare` in the group `data`.
COMMANDS: dict[str, Command] = {
    "serve": Command("serve", "serve", "Plays a model live, driven over OSC."),
    "render": Command(
        "render", "render", "Renders loops to WAV files, from a pattern or a groove."
    ),
    "replay": Command("replay", "replay", "Plays a logged OSC session again, to the same bits."),
    "data prepare": Command("data", "prepare", "Makes training material of drums and grooves."),
    "train": Command("train", "train", "Trains a model, or goes on with a training that stopped."),
    "export": Command("export", "export", "Turns a training checkpoint into a model file (.onnx)."),
    "eval": Command("eval", "evaluate", "Measures how well a model plays what it is asked for."),
    "bench": Command("bench", "bench", "Measures the speed of a model on this machine."),
    "doctor": Command("doctor", "doctor", "Tells what this machine has and lacks for playing."),
    "models": Command("models", "models", "Lists the models at hand and what they know."),
    "send": Command("send", "send", "Sends one OSC message and prints the replies."),
}

GROUPS = {"data": "Makes and inspects training material."}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's own) and returns its exit status.

    0 done, 1 failed, 2 misused, 130 interrupted. An error is one line on stderr; a traceback
    comes before it only with `--debug`, which may stand anywhere before a lone `--`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    options = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in options
    if debug:
        words.remove("--debug")
    use_compile_cache()  # before a sub-command imports numba
    try:
        command = typer.main.get_command(build(words))
        status = command.main(words or ["--help"], prog_name="ghostnote", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the last place to tell it)
        if debug:
            traceback.print_exc()
        line, failure = explain(error)
        if line:
            print(line, file=sys.stderr)
        return failure
    return status if isinstance(status, int) else 0


def build(words: Sequence[str]) -> typer.Typer:
    """Returns the application for one command line, of which only the command named is loaded."""
    app = typer.Typer(add_completion=False)
    app.callback()(_root)
    groups: dict[str, typer.Typer] = {}
    called = [word for word in words if not word.startswith("-")]
    for name, command in COMMANDS.items():
        if importlib.util.find_spec(f"ghostnote.cli.{command.module}") is None:
            continue
        *group, leaf = name.split()
        parent = app
        if group:
            if group[0] not in groups:
                groups[group[0]] = typer.Typer()
                app.add_typer(groups[group[0]], name=group[0], help=GROUPS[group[0]])
            parent = groups[group[0]]
        if called[: len(group) + 1] == [*group, leaf]:
            _add(parent, leaf, _load(command), None)
        else:
            _add(parent, leaf, _not_loaded, command.help)
    return app


def _add(app: typer.Typer, name: str, function: Callable[..., Any], help: str | None) -> None:
    # A function may carry context settings for its parser, as `send` does for negative numbers.
    settings = getattr(function, "context_settings", None)
    app.command(name, help=help, context_settings=settings)(function)


def _load(command: Command) -> Callable[..., Any]:
    module = importlib.import_module(f"ghostnote.cli.{command.module}")
    function: Callable[..., Any] = getattr(module, command.function)
    return function


def _not_loaded() -> None:
    raise AssertionError("a command was chosen that the command line did not name")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ghostnote {version('ghostnote')}")
        raise typer.Exit()


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Tell the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print a traceback with an error; works anywhere.")
    ] = False,
) -> None:
    """Play a neural network like a drum machine."""
