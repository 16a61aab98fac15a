"""A model of random weights that is quickly played."""

from pathlib import Path

from ghostnote.inference.model_file import save_model
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import random_weights

NOISY = ModelSpec(
    24000,
    24,
    (1, 2, 4, 64),
    residual=9,
    gate=7,
    skip=11,
    head=13,
    roles=("kick", "hat", "open"),
    kits=("one", "two"),
    ages=300,
    age_features=5,
    cond_hidden=(7, 5),
    chokes=(("hat", "open"),),
)
"""In this shape random weights sound on, and every event changes every later sample."""


def write_noisy(path: Path, seed: int = 3, spec: ModelSpec = NOISY) -> Path:
    """Writes a model that hisses and takes little time; where drums must be heard it will not do."""
    save_model(path, spec, random_weights(spec, seed), {"name": path.stem}, {})
    return path
