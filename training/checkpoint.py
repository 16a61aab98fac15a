"""Checkpoints of a training run: one safetensors file, nothing pickled.

RUN/checkpoint.safetensors holds the weights, their running mean, the optimizer's moments (`muon.py`)
and the body, which does not change; its metadata holds the step, the settings and the model spec as
JSON. Written beside the old one and renamed, so that a kill or a full disk at any moment leaves a
whole file. One thread at a time.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec

from .config import TrainConfig

NAME = "checkpoint.safetensors"
FORMAT = 1
_PREFIXES = ("weights", "mean", "adam1", "adam2")


@dataclass
class Checkpoint:
    """Everything that a run needs to go on, or an export to begin.

    `tensors` bears the prefixes "weights.", "mean.", "adam1.", "adam2.", "body."; `facts` is what the
    training tells of itself (`training.train`).
    """

    step: int
    config: TrainConfig
    spec: ModelSpec
    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors of one prefix, by parameter name."""
        at = len(prefix) + 1
        return {k[at:]: v for k, v in self.tensors.items() if k.startswith(prefix + ".")}


def save_checkpoint(
    run: Path,
    step: int,
    config: TrainConfig,
    model: nn.Module,
    mean: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    spec: ModelSpec,
    facts: dict[str, Any],
    body: nn.Module | None = None,
) -> None:
    """Write the state of a run that has done a step; `facts` go along as JSON.

    Raises
    ------
    GhostnoteError
        If it cannot be written; the checkpoint before it is untouched.
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors["weights." + name] = parameter.detach()
        tensors["mean." + name] = mean[name]
        tensors["adam1." + name] = optimizer.state[parameter]["exp_avg"]
        tensors["adam2." + name] = optimizer.state[parameter]["exp_avg_sq"]
    for name, parameter in body.named_parameters() if body else ():
        tensors["body." + name] = parameter.detach()
    about = {
        "format": FORMAT,
        "step": step,
        "config": config.to_json(),
        "spec": spec.to_json(),
        "facts": facts,
    }
    part = run / (NAME + ".part")
    try:
        with part.open("wb") as file:
            file.write(save(tensors, metadata={"ghostnote": json.dumps(about)}))
            file.flush()
            os.fsync(file.fileno())  # else a crash of the machine could keep the name, not the data
        part.replace(run / NAME)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise GhostnoteError(
            f"run {run}: the checkpoint of step {step} cannot be written ({error.strerror}); "
            "make room, then go on with --resume"
        ) from None


def load_checkpoint(run: Path) -> Checkpoint:
    """Read the checkpoint of a run.

    Raises
    ------
    GhostnoteError
        If there is none or it is damaged.
    """
    path = run / NAME
    if not path.exists():
        raise GhostnoteError(f"no checkpoint in {run}: train first (`ghostnote train`)")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["ghostnote"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about["format"] != FORMAT:
            raise GhostnoteError(f"checkpoint {path}: made by another version; train again")
        config = TrainConfig.from_json(about["config"])
        spec = ModelSpec.from_json(about["spec"])
        return Checkpoint(int(about["step"]), config, spec, dict(about["facts"]), tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise GhostnoteError(f"checkpoint {path}: damaged ({error})") from None


def restore(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    body: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Put a checkpoint's weights, moments and body into place; return the running mean.

    Raises
    ------
    GhostnoteError
        If an array is missing or has another shape than the model's.
    """
    if body is not None:
        restore_body(checkpoint, body)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            found = [checkpoint.tensors.get(f"{prefix}.{name}") for prefix in _PREFIXES]
            arrays = [array for array in found if array is not None]
            if len(arrays) != len(found) or any(a.shape != parameter.shape for a in arrays):
                raise GhostnoteError(f"checkpoint: damaged, {name!r} is missing or misshapen")
            weights, _, first, second = arrays
            parameter.copy_(weights)
            device = parameter.device
            # A fused Adam counts its steps on the device.
            counts = device if optimizer.defaults.get("fused") else torch.device("cpu")
            optimizer.state[parameter] = {
                "step": torch.tensor(float(checkpoint.step), device=counts),
                "exp_avg": first.to(device, copy=True),
                "exp_avg_sq": second.to(device, copy=True),
            }
        devices = {name: parameter.device for name, parameter in model.named_parameters()}
    return {
        name: tensor.to(devices[name], copy=True)
        for name, tensor in checkpoint.part("mean").items()
    }


def restore_body(checkpoint: Checkpoint, body: nn.Module) -> None:
    """Put a checkpoint's body into place.

    Raises
    ------
    GhostnoteError
        If an array is missing or has another shape than the body's.
    """
    with torch.no_grad():
        for name, parameter in body.named_parameters():
            known = checkpoint.tensors.get("body." + name)
            if known is None or known.shape != parameter.shape:
                raise GhostnoteError(f"checkpoint: damaged, {name!r} is missing or misshapen")
            parameter.copy_(known)
