"""Models of odd shapes, small enough for the reference, that between them use every feature."""

from pathlib import Path
from typing import Any

from ghostnote.inference.model_file import ModelFile, load_model, save_model
from ghostnote.inference.proof import make_proof
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import random_weights

# Channel counts that no vector width divides, three roles of which one chokes another, two kits.
_ODD: dict[str, Any] = {"residual": 9, "gate": 7, "skip": 11, "head": 13, "levels": 33}
_ASKED: dict[str, Any] = {
    "roles": ("kick", "hat", "open"),
    "kits": ("one", "two"),
    "ages": 50,
    "age_features": 5,
    "cond_hidden": (7, 5),
    "chokes": (("hat", "open"),),
}

SPECS: dict[str, ModelSpec] = {
    "long": ModelSpec(24000, 24, (1, 2, 4, 64, 512), **_ODD, **_ASKED),
    "width 3, out of order": ModelSpec(
        24000,
        24,
        (1, 40, 3, 32, 31),
        filter_width=3,
        emphasis=0.8,
        body=3,
        body_knots=4,
        body_ages=30,
        transient=2,
        transient_ages=7,
        **_ODD,
        **_ASKED,
    ),
    "unconditional": ModelSpec(16000, 16, (1, 2, 4, 8, 40), **_ODD),
    "kits only": ModelSpec(16000, 16, (5, 33), **_ODD, kits=("one",), cond_hidden=(4,)),
    "roles only, one tap": ModelSpec(
        16000, 7, (1, 2, 4), input_taps=1, roles=("kick",), ages=9, age_features=3, cond_hidden=(4,)
    ),
    "one short layer": ModelSpec(24000, 24, (3,), **_ODD, **_ASKED),
    "one long layer": ModelSpec(24000, 24, (70,), **_ODD, **_ASKED),
}

SMALL = SPECS["width 3, out of order"]

_MIXTURE = {**_ODD, "levels": 65536}
MIXTURES: dict[str, ModelSpec] = {
    "mixture": ModelSpec(
        24000,
        24,
        (1, 2, 64, 5),
        mixtures=10,
        emphasis=0.5,
        body=2,
        body_knots=1,
        body_ages=49,
        **_MIXTURE,
        **_ASKED,
    ),
    "one logistic, width 3, one tap": ModelSpec(
        16000, 7, (1, 40, 2), filter_width=3, input_taps=1, mixtures=1, **_MIXTURE
    ),
    "mixture, one layer": ModelSpec(
        24000, 24, (3,), mixtures=3, kits=("one",), cond_hidden=(4,), **_MIXTURE
    ),
}
"""Models of 16 bit."""


def write_model(path: Path, spec: ModelSpec = SMALL, seed: int = 3) -> ModelFile:
    """Writes a model of random weights with its proof, and returns it as read back."""
    weights = random_weights(spec, seed)
    proof = make_proof(spec, weights)
    provenance = {"name": "small", "notes": "random weights"}
    save_model(path, spec, weights, provenance, proof.to_json())
    return load_model(path)
