"""The option --precision, the same for all commands that play a model."""

from typing import Annotated

import typer

from ghostnote.kernels.products import PRECISIONS


def _checked(value: str) -> str:
    if value not in PRECISIONS:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(PRECISIONS)}")
    return value


Precision = Annotated[
    str,
    typer.Option(callback=_checked, help="Weights in fp32 (as trained), bf16 or int8 (fastest)."),
]
