"""`ghostnote train --from`: a network begins with the weights of a model, to learn kits of one's own.

What a drum sounds like after a hit, and how to fall silent, it knows; new is only how these drums
differ. Any thread.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch

from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec

from .config import TrainConfig
from .wavenet import WaveNet

_OF_NETWORK = (
    "residual",
    "gate",
    "skip",
    "head",
    "filter_width",
    "levels",
    "mixtures",
    "emphasis",
    "cond_hidden",
)

LEARNING: dict[str, Any] = {"minutes": 10.0, "learning_rate": 1e-3, "decay": 0.6}
"""What differs from a training from nothing, where nothing else is asked for."""


def settings_of(model: ModelFile) -> dict[str, Any]:
    """Return the settings of `TrainConfig` that make a network of a model's shape.

    Raises
    ------
    GhostnoteError
        If its dilations are none that a training makes.
    """
    spec = model.spec
    cycle = max(spec.dilations).bit_length()
    cycles = len(spec.dilations) // cycle
    if spec.dilations != tuple(2**i for i in range(cycle)) * cycles:
        raise GhostnoteError(f"model {model.path}: its dilations are not 1, 2, 4, ... repeated")
    # Without roles a spec has no ages (0 features), and a training's setting of them stays what it is.
    names = (*_OF_NETWORK, "age_features") if spec.roles else _OF_NETWORK
    return {name: getattr(spec, name) for name in names} | {"cycle": cycle, "cycles": cycles}


def take_over(network: WaveNet, model: ModelFile) -> None:
    """Give a network the weights of a model that differs from it in the kits only.

    A kit of the same name is the same kit; a new one begins as the mean of the model's.

    Raises
    ------
    GhostnoteError
        If they differ in more; the message names the first field that does.
    """
    spec, theirs = network.spec, model.spec
    _same_but_for_kits(spec, model)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            known = np.array(model.weights[name])
            if name == "cond_weight.0":
                features, kits = np.split(known, [theirs.conditioning - len(theirs.kits)], axis=1)
                columns = dict(zip(theirs.kits, kits.T, strict=True))
                mean = kits.mean(axis=1) if kits.size else np.zeros(len(known), np.float32)
                ours = [columns.get(kit, mean) for kit in spec.kits]
                known = np.column_stack([features, *ours])
            parameter.copy_(torch.from_numpy(known))


def _same_but_for_kits(spec: ModelSpec, model: ModelFile) -> None:
    theirs = replace(model.spec, kits=spec.kits) if spec.conditioning else model.spec
    for field in fields(spec):
        wanted, found = getattr(theirs, field.name), getattr(spec, field.name)
        if wanted != found:
            raise GhostnoteError(
                f"train --from {model.path}: the model's {field.name} is {wanted!r}, the dataset "
                f"makes it {found!r}; prepare the data as the model's was"
            )


def inherited(model: ModelFile) -> dict[str, Any]:
    """Return what a run tells of the model that it began with."""
    told = model.provenance
    return {"name": told.get("name"), "sha256": model.sha256, "sources": told.get("sources", [])}


def config_from(model: ModelFile, given: dict[str, Any]) -> TrainConfig:
    """Return the settings of an adaptation: the model's network, and what is given.

    Raises
    ------
    GhostnoteError
        As `settings_of`, if the network's own settings are given too, or if a value is impossible.
    """
    network = settings_of(model)
    for name in network:
        if name in given:
            option = "--" + name.replace("_", "-")
            raise GhostnoteError(f"{option} cannot be given with --from: the model brings it along")
    learning = dict(LEARNING)
    if "steps" in given:
        learning["minutes"] = 0.0
    return TrainConfig(**{**learning, **given, **network})
