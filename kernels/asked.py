"""What may be asked of streams: the checks that the states of the CPU and of the GPU share.

Each refuses by a GhostnoteError, whose message tells the value and what is possible. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .errors import GhostnoteError
from .spec import ModelSpec

MAX_KIT_WEIGHT = 10.0


def check_streams(streams: int, most: int, stream: int) -> None:
    """Refuse a number of streams beyond `most`, and numbers of theirs beyond 2^63."""
    if not 1 <= streams <= most:
        raise GhostnoteError(f"streams must be 1 to {most}, found {streams}")
    if not 0 <= stream <= 2**63 - streams:
        raise GhostnoteError(f"stream must be 0 to 2^63 - {streams}, found {stream}")


def check_seed(seed: int, stream: int | None) -> None:
    """Refuse what chooses no random numbers."""
    for name, value in (("seed", seed), ("stream", stream or 0)):
        if not 0 <= value < 2**63:
            raise GhostnoteError(f"{name} must be 0 to 2^63 - 1, found {value}")


def check_sampling(temperature: float, top_k: int, attack: float | None) -> None:
    """Refuse what no level can be drawn by."""
    for name, value in (("temperature", temperature), ("attack", attack)):
        if value is not None and not 0.01 <= value <= 10.0:
            raise GhostnoteError(f"{name} must be 0.01 to 10, found {value}")
    if top_k < 0:
        raise GhostnoteError(f"top_k must be 0 (all) or more, found {top_k}")


def check_kit(spec: ModelSpec, weights: Sequence[float]) -> None:
    """Refuse kit weights that are too many, too few or too large."""
    kits = len(spec.kits)
    if len(weights) != kits:
        raise GhostnoteError(f"kit weights: expected {kits}, found {len(weights)}")
    if not all(-MAX_KIT_WEIGHT <= weight <= MAX_KIT_WEIGHT for weight in weights):
        raise GhostnoteError(
            f"kit weights: must be -{MAX_KIT_WEIGHT:g} to {MAX_KIT_WEIGHT:g}, found {[*weights]}"
        )


def check_hit(spec: ModelSpec, role: int, velocity: float) -> None:
    """Refuse a role that the model has not, and a velocity that is none."""
    roles = len(spec.roles)
    if not 0 <= role < roles:
        raise GhostnoteError(f"hit: role {role} of a model with {roles} roles; count from 0")
    if not 0.0 <= velocity <= 1.0:
        raise GhostnoteError(f"hit: velocity must be 0 to 1, found {velocity}")


def check_beginning(spec: ModelSpec, index: int) -> None:
    """Refuse a sample at which no hop begins."""
    if index < 0 or index % spec.hop:
        raise GhostnoteError(f"begin_at: sample {index} is no hop boundary")


def check_drawn(drawn: npt.NDArray[np.int64], out: npt.NDArray[np.float32]) -> None:
    """Refuse what the levels of samples `out` cannot be written into."""
    if drawn.dtype != np.int64 or drawn.shape != out.shape or not drawn.flags.carray:
        raise GhostnoteError("generate: levels must be contiguous int64 of the output's shape")


def rows_of(lane: int | None, lanes: int) -> slice:
    """Return where a lane's settings lie; None is all of them."""
    if lane is None:
        return slice(0, lanes)
    if not 0 <= lane < lanes:
        raise GhostnoteError(f"lane {lane} of {lanes}; count from 0")
    return slice(lane, lane + 1)


def count_of(shape: tuple[int, ...], lanes: int) -> int:
    """Return the samples a lane of an array [n] or [lanes, n]."""
    if len(shape) == 2 and shape[0] == lanes:
        return shape[1]
    if len(shape) == 1 and lanes == 1:
        return shape[0]
    raise GhostnoteError(f"state of {lanes} lanes: found an array of shape {[*shape]}")
