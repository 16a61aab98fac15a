"""Models set by hand whose sound is a number, so that any click is ours."""

import numpy as np

from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import Weights, random_weights

SPEC = ModelSpec(
    24000,
    24,
    (1,),
    residual=1,
    gate=1,
    skip=1,
    head=1,
    input_taps=1,
    roles=("kick",),
    kits=("one", "two"),
    ages=4000,
    age_features=3,
    cond_hidden=(1,),
)
SHORT, LONG = 0, 2
"""Which envelope of a hit holds the other level: for some 40 ms, or for some 2 s."""


def steady_weights(rest: int, struck: int, envelope: int = LONG) -> Weights:
    """Weights of a model that plays mu-law level `rest`, and `struck` for a while after a kick."""
    weights = {name: np.zeros_like(array) for name, array in random_weights(SPEC, 0).items()}
    for name in ("mulaw_table", "age_table"):
        weights[name] = random_weights(SPEC, 0)[name]
    weights["cond_weight.0"][0, envelope] = 20.0  # times the envelope, whatever the velocity
    weights["cond_out_weight"][0, 0, 0] = 1.0
    weights["filter_bias"][0, 1] = 20.0  # the gate is open
    for name in ("skip_weight", "head0_weight"):
        weights[name][...] = 1.0
    weights["head1_bias"][rest] = 100.0
    weights["head1_weight"][struck, 0] = 250.0
    return weights


def steady_model(rest: int = 240, struck: int = 240, envelope: int = LONG) -> Packed:
    """The same, packed."""
    return pack(SPEC, steady_weights(rest, struck, envelope))


def value(level: int) -> float:
    """The sample that a level stands for."""
    return float(steady_weights(0, 0)["mulaw_table"][level])
