"""A model that renders loops in no time, and forgets a hit in 64 ms."""

from pathlib import Path

from ghostnote.inference.model_file import ModelFile, load_model, save_model
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import random_weights

SPEC = ModelSpec(
    samplerate=8000,
    hop=8,
    dilations=(1, 2, 4),
    residual=8,
    gate=8,
    skip=8,
    head=8,
    levels=64,
    roles=("kick", "snare", "hat", "open"),
    kits=("one", "two"),
    ages=64,
    age_features=5,
    cond_hidden=(8,),
    chokes=(("hat", "open"),),
)


def loop_model(folder: Path, spec: ModelSpec = SPEC) -> ModelFile:
    """Writes the model as `tiny.onnx`, and returns it as read back; its weights are random."""
    path = folder / "tiny.onnx"
    save_model(path, spec, random_weights(spec, seed=1, gain=3.0), {"name": "tiny"}, {})
    return load_model(path)
