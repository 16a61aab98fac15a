"""`ghostnote export`: a training becomes a model file."""

from pathlib import Path
from typing import Annotated

import typer

from ghostnote.kernels.errors import GhostnoteError, how_to_install

MAX_NOTES = 100_000


def export(
    run: Annotated[Path, typer.Option(help="Folder of the training.")],
    out: Annotated[Path, typer.Option(help="Model file to write, ending in .onnx.")],
    name: Annotated[
        str, typer.Option(help="Name of the model; where not given, that of the file.")
    ] = "",
    notes: Annotated[
        Path | None,
        typer.Option(help="Text file with what users should know, such as limits heard."),
    ] = None,
) -> None:
    """Turns the last checkpoint of a training into one model file that plays by itself.

    Nothing is written unless torch, the reference, the Numba kernel and onnxruntime agree on it.

    Example: ghostnote export --run runs/mine --out mine.onnx
    """
    if out.suffix != ".onnx":
        raise typer.BadParameter(f"--out {out}: a model file ends in .onnx")
    text = _read(notes) if notes else ""
    try:
        from ghostnote.training.export import export as export_run  # loads torch: seconds
    except ModuleNotFoundError as error:
        raise GhostnoteError(f"export needs {error.name}: {how_to_install('train')}") from None
    model = export_run(run, out, name=name, notes=text)
    print(f"{out}: {model.size} bytes, SHA-256 {model.sha256}")
    print("torch, the reference, the Numba kernel and onnxruntime agree on it")


def _read(notes: Path) -> str:
    try:
        text = notes.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise GhostnoteError(f"notes {notes}: not UTF-8 text") from None
    if len(text) > MAX_NOTES:
        raise GhostnoteError(f"notes {notes}: {len(text)} characters, expected at most {MAX_NOTES}")
    return text
