"""How far an engine in float32 may be from the reference: of outputs, and of what is drawn of them.

A mixture's draws are rounded to 16 bit, so that an error of 1e-6 in a mean moves one draw in thirty
over an edge. Pure functions; any thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.kernels.reference import cumulative, levels_off, margin
from ghostnote.kernels.spec import ModelSpec

DOUBLES = npt.NDArray[np.float64]

NEAR_TIE = 1e-4
"""Share of the total by which a draw may miss the edge of its level in float32 and differ."""

NEAR_LEVEL = 0.5
"""Levels by which a mixture's draw, before it is rounded, may miss those that are rounded to the one
wanted: an error of 1.5e-5 in a mean. A component may be another within NEAR_TIE of an edge."""

NEAR_SHARE = 0.25
"""Share of the draws that may be near ties. Ours stay below one in twenty; an engine that rounds
wrongly, though each time by no more than NEAR_LEVEL, has one in two."""

LOGIT_ABSOLUTE, LOGIT_RELATIVE = 1e-3, 1e-3
"""Error allowed of a float32 engine's logits; met with room by all of ours."""

MEAN_ABSOLUTE, MEAN_RELATIVE = 1e-5, 1e-5
"""Error allowed of the means of a mixture, of which 3e-5 is a level."""


def tolerance(spec: ModelSpec, outputs: npt.NDArray[np.floating[Any]]) -> DOUBLES:
    """Return the error [.., O] that a float32 engine's outputs may have beside the reference's."""
    absolute = np.full(spec.outputs, LOGIT_ABSOLUTE)
    relative = np.full(spec.outputs, LOGIT_RELATIVE)
    if spec.mixtures:
        means = slice(spec.mixtures, 2 * spec.mixtures)
        absolute[means], relative[means] = MEAN_ABSOLUTE, MEAN_RELATIVE
    return np.asarray(absolute + relative * np.abs(outputs))


def missed(
    spec: ModelSpec,
    outputs: npt.NDArray[np.floating[Any]],
    level: int,
    uniforms: npt.ArrayLike,
    temperature: float,
) -> tuple[bool, str]:
    """Return whether a draw that did not give `level` was a near tie, and in words how near."""
    doubles = np.asarray(outputs, np.float64)
    if spec.mixtures:
        off = levels_off(doubles, level, uniforms, NEAR_TIE, temperature)
        return off <= NEAR_LEVEL, f"{off:.2g} levels"
    off = margin(cumulative(doubles, temperature), float(np.asarray(uniforms)))
    return off <= NEAR_TIE, f"{off:.2g} of the total"


def output_name(spec: ModelSpec, at: int, value: float) -> str:
    """Return in words what one of the outputs is."""
    if not spec.mixtures:
        return f"logit {value:.6g} of level {at}"
    kind = ("logit", "mean", "log-scale")[at // spec.mixtures]
    return f"{kind} {value:.9g} of component {at % spec.mixtures}"
