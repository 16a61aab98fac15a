"""`ghostnote replay`: a session log rendered again."""

from pathlib import Path
from typing import Annotated

import typer

from ghostnote.osc_server.engine import compile_loop
from ghostnote.osc_server.replay import replay as run_replay
from ghostnote.osc_server.session_log import read_log

from .compile_ahead import kernel_compiled_meanwhile


def replay(
    log: Annotated[Path, typer.Argument(help="Session log that `ghostnote serve --log` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="WAV file to write.")] = Path("replay.wav"),
    models: Annotated[
        Path, typer.Option(help="Folder with the models that are not bundled.")
    ] = Path("models"),
    primes: Annotated[
        Path, typer.Option(help="Folder with the sounds that voices were primed with.")
    ] = Path("primes"),
) -> None:
    """Plays a logged session again, offline, to the same bits as live."""
    header, _ = read_log(log)
    if header.inexact:
        typer.echo(f"{log}: {header.inexact}", err=True)
    with kernel_compiled_meanwhile() as meanwhile:
        if meanwhile:
            compile_loop()
    frames = run_replay(log, out, [models], primes=primes)
    typer.echo(f"{out}: {frames} frames")
