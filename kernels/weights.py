"""The weights of a model: their names and shapes, and how the CPU kernel packs them.

`Weights` are NumPy arrays by the names of the model file. `pack` lays them out in the order in
which the kernel reads them. Immutable once made; may be shared between threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from . import control, mulaw
from .errors import GhostnoteError
from .spec import ModelSpec

FLOATS = npt.NDArray[np.float32]
Weights = Mapping[str, FLOATS]

BODY_HIDDEN = 48
"""Units of the layer that finds how a kit and a velocity mix a role's waves."""

HALVES = ("body_wave", "transient_wave")
"""Weights that a file holds as float16, and that are numbers of float16 anywhere: most of its bytes."""

GAINS = ("gain0_weight", "gain0_bias", "gain1_weight")
"""What finds the gains of waves; the names begin with those of the waves."""

MAX_WEIGHTS = 128 * 1024 * 1024  # 512 MB of float32, twice the largest network of the papers


def weight_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight array of a model, in the order of the file.

    Letters: L layers, k taps, R residual, D gate, S skip, H head channels, Q levels, O outputs,
    C control features, E the last of the dense conditioning layers.
    """
    layers, r, d = spec.layers, spec.residual, spec.gate
    first: dict[str, tuple[int, ...]] = {  # oldest tap first, as everywhere
        "mulaw_table": (spec.levels,),
        "input_weight": (spec.input_taps, spec.levels, r),
    }
    if spec.mixtures:
        first = {"input_weight": (spec.input_taps, r), "input_bias": (r,)}
    shapes: dict[str, tuple[int, ...]] = {
        **first,
        "filter_weight": (layers, spec.filter_width, 2 * d, r),  # D rows of tanh, D of sigmoid
        "filter_bias": (layers, 2 * d),
        "residual_weight": (layers - 1, r, d),  # the last layer's would go nowhere
        "residual_bias": (layers - 1, r),
        "skip_weight": (layers, spec.skip, d),
        "skip_bias": (spec.skip,),
        "head0_weight": (spec.head, spec.skip),
        "head0_bias": (spec.head,),
        "head1_weight": (spec.outputs, spec.head),  # mixtures: K logits, K means, K log-scales
        "head1_bias": (spec.outputs,),
    }
    if spec.conditioning:
        widths = (spec.conditioning, *spec.cond_hidden)
        for i, (fan, width) in enumerate(itertools.pairwise(widths)):
            shapes[f"cond_weight.{i}"] = (width, fan)
            shapes[f"cond_bias.{i}"] = (width,)
        shapes["cond_out_weight"] = (layers, 2 * d, widths[-1])
    if spec.roles:
        shapes["age_table"] = (spec.ages, spec.age_features)
    if spec.body:
        # The value and the slope of each wave where each knot's span ends.
        shapes |= _wave_shapes(spec, "body", spec.body_ages, spec.body, (spec.body_knots, 2))
    if spec.transient:
        ages, waves = spec.transient_ages, spec.transient
        shapes |= _wave_shapes(spec, "transient", ages, waves, (spec.hop,))
    if sum(int(np.prod(shape)) for shape in shapes.values()) > MAX_WEIGHTS:
        raise GhostnoteError(f"model: over {MAX_WEIGHTS} weights; no such network is supported")
    return shapes


def _wave_shapes(
    spec: ModelSpec, name: str, ages: int, waves: int, points: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of waves [roles, ages, waves, points of a hop] and of what finds their gains."""
    roles = len(spec.roles)
    return {
        f"{name}_wave": (roles, ages, waves, *points),
        f"{name}_gain0_weight": (roles, BODY_HIDDEN, 1 + 2 * len(spec.kits)),
        f"{name}_gain0_bias": (roles, BODY_HIDDEN),
        f"{name}_gain1_weight": (roles, waves, BODY_HIDDEN),
    }


def check_weights(spec: ModelSpec, weights: Weights) -> None:
    """Refuse weights that do not fit the spec.

    Raises
    ------
    GhostnoteError
        If an array is missing, of another shape or type, or not finite; names the array.
    """
    for name, shape in weight_shapes(spec).items():
        array = weights.get(name)
        if array is None:
            raise GhostnoteError(f"model: weight {name!r} is missing, expected shape {list(shape)}")
        if array.shape != shape:
            raise GhostnoteError(
                f"model: weight {name!r} has shape {list(array.shape)}, expected {list(shape)}"
            )
        if array.dtype != np.float32:
            raise GhostnoteError(f"model: weight {name!r} is {array.dtype}, expected float32")
        if not np.isfinite(array).all():
            raise GhostnoteError(f"model: weight {name!r} holds NaN or infinity")


def random_weights(spec: ModelSpec, seed: int = 0, gain: float = 1.0) -> dict[str, FLOATS]:
    """Return random weights of a sensible scale, for tests and benchmarks of any shape."""
    rng = np.random.default_rng(seed)
    weights: dict[str, FLOATS] = {}
    for name, shape in weight_shapes(spec).items():
        fan = shape[-1] * (spec.filter_width if name == "filter_weight" else 1)
        scale = 0.1 if "bias" in name else gain / np.sqrt(fan)
        if name == "input_weight":
            scale = 1.0
        if name in HALVES:
            scale = 1.0 / np.sqrt(shape[2])  # of so many waves
        kind = np.float16 if name in HALVES else np.float32
        weights[name] = (rng.standard_normal(shape) * scale).astype(kind).astype(np.float32)
    if spec.mixtures:
        # Means inside the range, and noise that leaves something of them.
        weights["head1_weight"][spec.mixtures : 2 * spec.mixtures] *= np.float32(0.3)
        weights["head1_bias"][2 * spec.mixtures :] -= np.float32(4.0)
    else:
        weights["mulaw_table"] = mulaw.decode_table(spec.levels)
    if spec.roles:
        weights["age_table"] = control.age_table(spec)
    return weights
