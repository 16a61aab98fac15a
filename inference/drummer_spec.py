"""DrummerSpec: the shape of a drummer's network, its styles, and what it can be asked for.

Pure values and functions; any thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.kernels.errors import GhostnoteError

from .drummer_steps import BAR_STEPS, FEATURES, NO_ROLE, OFFSETS, SUMMARY, VELOCITIES

LAGS = (16, 32, 64)
"""How many sixteenths ago else is heard directly: people repeat bars, pairs and fours of them."""
USUAL_BPM = 120.0
MAX_LABELS = 256
MAX_CHANNELS = 1024
MAX_LAYERS = 64


@dataclass(frozen=True)
class DrummerSpec:
    """The shape of a drummer's network.

    Parameters
    ----------
    labels : tuple of str
        Styles and their kinds: "jazz", "jazz/swing".
    channels, width : int
        Of the layers over sixteenths, and of those that draw a stroke.
    dilations : tuple of int
        In sixteenths.

    Raises
    ------
    GhostnoteError
        If a value is impossible.
    """

    labels: tuple[str, ...]
    channels: int = 96
    width: int = 128
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)

    def __post_init__(self) -> None:
        if not 1 <= len(self.labels) <= MAX_LABELS or len(set(self.labels)) < len(self.labels):
            raise GhostnoteError(f"drummer: 1 to {MAX_LABELS} styles, each once")
        for name, value in (("channels", self.channels), ("width", self.width)):
            if not 1 <= value <= MAX_CHANNELS:
                raise GhostnoteError(f"drummer: {name} must be 1 to {MAX_CHANNELS}, found {value}")
        if not 1 <= len(self.dilations) <= MAX_LAYERS or not all(
            1 <= d <= 1024 for d in self.dilations
        ):
            raise GhostnoteError(f"drummer: 1 to {MAX_LAYERS} dilations of 1 to 1024")

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles that are no kind of another."""
        return tuple(label for label in self.labels if "/" not in label)

    @property
    def controls(self) -> int:
        """Numbers that a sixteenth is asked by."""
        return len(self.labels) + 4 + BAR_STEPS

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Any) -> DrummerSpec:
        """Return the spec that JSON values tell.

        Raises
        ------
        GhostnoteError
            If they are none.
        """
        try:
            labels = tuple(str(label) for label in data["labels"])
            dilations = tuple(int(d) for d in data["dilations"])
            return cls(labels, int(data["channels"]), int(data["width"]), dilations)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise GhostnoteError("drummer: no spec of one") from None


def weight_shapes(spec: DrummerSpec) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight, in order; matrices are [to, from]."""
    channels, width = spec.channels, spec.width
    shapes: dict[str, tuple[int, ...]] = {
        "start.weight": (channels, FEATURES * (1 + len(LAGS)) + spec.controls),
        "start.bias": (channels,),
    }
    for n in range(len(spec.dilations)):
        shapes[f"past.{n}.weight"] = (2 * channels, 2 * channels)
        shapes[f"past.{n}.bias"] = (2 * channels,)
        shapes[f"control.{n}.weight"] = (2 * channels, spec.controls)
        shapes[f"out.{n}.weight"] = (2 * channels, channels)
        shapes[f"out.{n}.bias"] = (2 * channels,)
    for name, size in (("role", NO_ROLE + 1), ("loud", VELOCITIES), ("late", OFFSETS)):
        shapes[f"from_past.{name}.weight"] = (width, channels + spec.controls)
        shapes[f"from_past.{name}.bias"] = (width,)
        shapes[f"from_step.{name}.weight"] = (width, SUMMARY)
        shapes[f"head.{name}.weight"] = (size, width)
        shapes[f"head.{name}.bias"] = (size,)
    shapes["loud_of_role.weight"] = (NO_ROLE, width)
    shapes["late_of_role.weight"] = (NO_ROLE, width)
    shapes["late_of_loud.weight"] = (VELOCITIES, width)
    return shapes


def control_rows(
    spec: DrummerSpec,
    style: Mapping[str, float],
    density: float,
    bpm: float,
    steps: npt.NDArray[np.int64],
    fill: bool,
    filled: bool,
) -> npt.NDArray[np.float32]:
    """Return what is asked of some sixteenths of one bar, float32 [steps, controls].

    Parameters
    ----------
    style : dict of label to weight
        As `parse_style` gives it; empty is any style.
    density : float
        0 to 1; 0.5 is as busy as people usually are.
    bpm : float
    steps : int64 [steps]
        Numbers of the sixteenths in the bar, from 0.
    fill, filled : bool
        Whether the bar is a fill, and whether the one before was.
    """
    count = len(spec.labels)
    rows = np.zeros((len(steps), spec.controls), np.float32)
    for label, weight in style.items():
        rows[:, spec.labels.index(label)] = weight
    rows[:, count : count + 4] = (2 * density - 1, math.log2(bpm / USUAL_BPM), fill, filled)
    rows[np.arange(len(steps)), count + 4 + steps % BAR_STEPS] = 1.0
    return rows


def parse_style(spec: DrummerSpec, text: str) -> dict[str, float]:
    """Return the weights of labels that a style's text means.

    Parameters
    ----------
    text : str
        A style (`funk`), a kind of one (`jazz/swing`), a mixture (`funk:2,jazz:1`), or `any`.

    Raises
    ------
    GhostnoteError
        For a style that the drummer does not know, or an impossible weight.
    """
    if text == "any":
        return {}
    parts: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition(":")
        if name not in spec.labels:
            known = ", ".join(spec.styles)
            raise GhostnoteError(
                f"unknown style {name[:60]!r}; there are {known} and kinds of them"
            )
        try:
            weight = float(number or 1)
        except ValueError:
            weight = math.nan
        if not 0.0 < weight < 1e6:
            raise GhostnoteError(f"style {name}: a weight is a number above 0, not {number[:20]!r}")
        parts[name] = parts.get(name, 0.0) + weight
    total = sum(parts.values())
    found: dict[str, float] = {}
    for name, weight in parts.items():
        for label in {name, name.partition("/")[0]} & set(spec.labels):
            found[label] = found.get(label, 0.0) + weight / total
    return {label: found[label] for label in spec.labels if label in found}
