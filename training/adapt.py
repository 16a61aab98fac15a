"""`ghostnote train --from`: a network begins with the weights of a model, to learn kits of one's own.

What a drum sounds like after a hit, and how to fall silent, it knows; new is only how these drums
differ. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec

from .body import Body, Waves
from .config import TrainConfig
from .wavenet import WaveNet

FLOATS = npt.NDArray[np.float32]

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

LEARNING: dict[str, Any] = {
    "minutes": 10.0,
    "learning_rate": 1e-3,
    "decay": 0.6,
    "body_steps": 1500,
}
"""What differs from a training from nothing, where nothing else is asked for."""

GROWING = ("age_features", "cond_hidden")
"""Settings of the network in which it may have more than the model that it begins with."""


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
    found = {name: getattr(spec, name) for name in _OF_NETWORK}
    found |= {"cycle": cycle, "cycles": cycles}
    # What a spec has not, a training's own settings stay for.
    if spec.roles:
        found["age_features"] = spec.age_features
    if spec.body:
        lasting = spec.body_ages * spec.hop * 1e3 / spec.samplerate
        found |= {"body": spec.body, "body_knots": spec.body_knots, "body_ms": lasting}
    if spec.transient:
        lasting = spec.transient_ages * spec.hop * 1e3 / spec.samplerate
        found |= {"transient": spec.transient, "transient_ms": lasting}
    return found


def take_over(network: WaveNet, body: Body | None, model: ModelFile) -> None:
    """Give a network and its body the weights of a model that differs in kits and conditioning only.

    A kit of the same name is the same kit; a new one begins as the mean of the model's. Where the
    network's conditioning is wider, the model's units are its first ones and hear nothing new; the
    others keep what they begin with, and nothing listens to them yet, so that it plays the same.

    Raises
    ------
    GhostnoteError
        If they differ in more; the message names the first field that does.
    """
    spec = network.spec
    _same_but_for_conditioning(spec, model)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            known = np.array(model.weights[name])
            if name == "cond_weight.0":
                known = _inputs(spec, model.spec, known)
            if name.startswith("cond_weight"):
                parameter[: len(known)] = 0.0
            elif name == "cond_out_weight":
                parameter.zero_()
            parameter[tuple(slice(n) for n in known.shape)] = torch.from_numpy(known)
        if body and model.spec.body:
            value = model.weights["body_wave"][..., 0]  # without slopes
            _take_waves(body.low, value, "body", spec, model)
        if body and body.transient and model.spec.transient:
            value = model.weights["transient_wave"]
            _take_waves(body.transient, value, "transient", spec, model)


def _take_waves(waves: Waves, value: FLOATS, name: str, spec: ModelSpec, model: ModelFile) -> None:
    """Give waves the values [R, A, K, P] that are heard in a model, and how its kits mix them."""
    # The last value has faded to nothing, and stays there.
    found = torch.from_numpy(np.array(value))
    waves.value.copy_(found / waves.fade[:, None, None].clamp(min=1e-6))
    first = np.array(model.weights[f"{name}_gain0_weight"])
    theirs = model.spec.kits
    inputs = gain_inputs(model.spec, first, lambda kits: _of_kits(theirs, kits, spec.kits))
    waves.gain0_weight.copy_(torch.from_numpy(inputs))
    for part in ("gain0_bias", "gain1_weight"):
        found = torch.from_numpy(np.array(model.weights[f"{name}_{part}"]))
        getattr(waves, part).copy_(found)


def gain_inputs(spec: ModelSpec, first: FLOATS, mix: Callable[[FLOATS], FLOATS]) -> FLOATS:
    """Return what a body's gains read, [R, 48, 2 kits + 1], with other kits in place of a spec's.

    `mix` makes the weights of those, [R, 48, kits], of the weights of these.
    """
    count = len(spec.kits)
    plain, velocity, loud = np.split(first, [count, count + 1], axis=-1)
    return np.concatenate([mix(plain), velocity, mix(loud)], axis=-1).astype(np.float32)


def _of_kits(theirs: tuple[str, ...], known: FLOATS, ours: tuple[str, ...]) -> FLOATS:
    """Return weights of our kits [..., kits] by those of theirs: by name, else as their mean."""
    columns = dict(zip(theirs, np.moveaxis(known, -1, 0), strict=True))
    mean = known.mean(axis=-1) if theirs else np.zeros(known.shape[:-1], np.float32)
    found = [columns.get(kit, mean) for kit in ours]
    return np.stack(found, axis=-1) if found else known[..., :0]


def _inputs(spec: ModelSpec, theirs: ModelSpec, known: FLOATS) -> FLOATS:
    """Return the first dense layer's weights [E, C] with the columns of another spec."""
    features, kits = np.split(known, [theirs.conditioning - len(theirs.kits)], axis=1)
    # A column per role, plain or times the velocity, and feature.
    wider = np.zeros((len(known), 2 * len(spec.roles), spec.age_features), np.float32)
    if spec.roles:
        wider[:, :, : theirs.age_features] = features.reshape(*wider.shape[:2], -1)
    ours = _of_kits(theirs.kits, kits, spec.kits)
    return np.concatenate([wider.reshape(len(known), -1), ours], axis=1)


def _same_but_for_conditioning(spec: ModelSpec, model: ModelFile) -> None:
    theirs = replace(model.spec, kits=spec.kits) if spec.conditioning else model.spec
    if spec.conditioning and _wider(spec, theirs):
        theirs = replace(theirs, age_features=spec.age_features, cond_hidden=spec.cond_hidden)
    if not theirs.body:
        ours = {name: getattr(spec, name) for name in ("body", "body_knots", "body_ages")}
        theirs = replace(theirs, **ours)
    if not theirs.transient:
        ours = {name: getattr(spec, name) for name in ("transient", "transient_ages")}
        theirs = replace(theirs, **ours)
    for field in fields(spec):
        wanted, found = getattr(theirs, field.name), getattr(spec, field.name)
        if wanted != found:
            raise GhostnoteError(
                f"train --from {model.path}: the model's {field.name} is {wanted!r}, the dataset "
                f"makes it {found!r}; prepare the data as the model's was"
            )


def _wider(spec: ModelSpec, theirs: ModelSpec) -> bool:
    """Whether the conditioning of a spec holds another's: as many layers, each as wide or wider."""
    ours, known = spec.cond_hidden, theirs.cond_hidden
    return (
        len(ours) == len(known)
        and all(wide >= narrow for wide, narrow in zip(ours, known, strict=True))
        and spec.age_features >= theirs.age_features
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
        if name in given and name not in GROWING:
            option = "--" + name.replace("_", "-")
            raise GhostnoteError(f"{option} cannot be given with --from: the model brings it along")
    learning = dict(LEARNING)
    if "steps" in given:
        learning["minutes"] = 0.0
    return TrainConfig(**{**learning, **network, **given})
