"""Checkpoints of a training run: one safetensors file, nothing pickled.

RUN/checkpoint.safetensors holds the weights, their running mean and Adam's moments; its metadata
holds the step, the settings and the model spec as JSON. Written beside the old one and renamed,
so a kill at any moment leaves a whole file.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec

from .config import TrainConfig

NAME = "checkpoint.safetensors"
FORMAT = 1


@dataclass
class Checkpoint:
    """Everything that a run needs to go on, or an export to begin.

    `tensors` bears the prefixes "weights.", "mean.", "adam1.", "adam2.".
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
) -> None:
    """Write the state of a run; `facts` (hours, validation, sources) go along as JSON."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors["weights." + name] = parameter.detach().clone()
        tensors["mean." + name] = mean[name].clone()
        state = optimizer.state.get(parameter)
        if state:
            tensors["adam1." + name] = state["exp_avg"].clone()
            tensors["adam2." + name] = state["exp_avg_sq"].clone()
    about = {
        "format": FORMAT,
        "step": step,
        "config": config.to_json(),
        "spec": spec.to_json(),
        "facts": facts,
    }
    run.mkdir(parents=True, exist_ok=True)
    part = run / (NAME + ".part")
    save_file(tensors, part, metadata={"ghostnote": json.dumps(about)})
    os.replace(part, run / NAME)


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
        return Checkpoint(int(about["step"]), config, spec, about["facts"], tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise GhostnoteError(f"checkpoint {path}: damaged ({error})") from None


def restore(
    checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Put a checkpoint's weights and moments into place; return the running mean."""
    weights, first, second = (checkpoint.part(p) for p in ("weights", "adam1", "adam2"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
            if name in first:
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(checkpoint.step)),
                    "exp_avg": first[name].clone(),
                    "exp_avg_sq": second[name].clone(),
                }
    return {name: tensor.clone() for name, tensor in checkpoint.part("mean").items()}
