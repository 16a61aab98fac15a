"""The option --precision, the same for all commands that play a model."""

from typing import Annotated

import typer

from ghostnote.kernels.products import PRECISIONS


def _checked(value: str | None) -> str | None:
    if value not in (None, *PRECISIONS):
        raise typer.BadParameter(f"{value!r} is none of {', '.join(PRECISIONS)}")
    return value


Precision = Annotated[
    str,
    typer.Option(callback=_checked, help="Weights in fp32 (as trained), bf16 or int8 (fastest)."),
]

AnyPrecision = Annotated[
    str | None,
    typer.Option(
        callback=_checked,
        help="Weights in fp32 (as trained), bf16 or int8 (fastest, CPU only).",
        show_default="int8, on a GPU fp32",
    ),
]
"""Of commands that may play on a GPU, where another is the default."""
