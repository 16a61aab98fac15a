"""Kits by name, and mixtures of them: what a person types becomes weights.

Pure functions; any thread.
"""

from __future__ import annotations

import math

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec

TEXTURE = "texture"
"""The mixture of no kit at all: what a model plays of itself."""

HEAVIEST = 1000.0


def default_kit(spec: ModelSpec) -> str:
    """Return the first kit of a model, TEXTURE if it has none."""
    return spec.kits[0] if spec.kits else TEXTURE


def parse_kit(spec: ModelSpec, text: str) -> tuple[float, ...]:
    """Return the weight of each kit of a model, with sum 1 or all 0.

    Parameters
    ----------
    spec : ModelSpec
    text : str
        A kit's name; names with weights, "jazz:2,rock:1"; or "texture".

    Raises
    ------
    GhostnoteError
        If the model has no such kit or a weight is no number from 0 to 1000.
    """
    if text not in spec.kits and text == TEXTURE:
        return (0.0,) * len(spec.kits)
    parts = [(text, 1.0)] if text in spec.kits else [_part(part) for part in text.split(",")]
    weights = dict.fromkeys(spec.kits, 0.0)
    for name, weight in parts:
        if name not in weights:
            known = ", ".join((*spec.kits, TEXTURE))
            raise GhostnoteError(f"kit {name!r}: the model has no such kit; it has {known}")
        weights[name] += weight
    total = sum(weights.values())
    return tuple(weight / total if total else 0.0 for weight in weights.values())


def _part(text: str) -> tuple[str, float]:
    name, colon, weight = text.rpartition(":")
    if not colon:
        return text.strip(), 1.0
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not 0.0 <= number <= HEAVIEST:
        raise GhostnoteError(f"kit {name.strip()!r}: weight must be 0 to {HEAVIEST:g}: {weight!r}")
    return name.strip(), number
