"""`ghostnote export`: a checkpoint becomes a model file, once every engine agrees on it.

The exported weights are the running mean of the run. Nothing is left at the asked place unless
torch, the reference, the Numba kernel and onnxruntime play the same network. Single-threaded.
"""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ghostnote.inference.model_file import ModelFile, load_model, save_model
from ghostnote.inference.proof import (
    ENGINES,
    Agreement,
    Proof,
    judge,
    make_proof,
)
from ghostnote.inference.tolerance import output_name, tolerance
from ghostnote.kernels import control, mulaw
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import FLOATS, Weights, check_weights

from .body import Body
from .checkpoint import Checkpoint, load_checkpoint, restore_body
from .wavenet import WaveNet


def export(run: Path, out: Path, *, name: str = "", notes: str = "") -> ModelFile:
    """Write the model of a run to a file and return it as read back.

    Parameters
    ----------
    run : Path
        Folder of a training; its last checkpoint is taken, and may be of an unfinished run.
    out : Path
        The .onnx to write; replaced only by a file that has passed every check.
    name : str
        Of the model; the name of the file where it is empty.
    notes : str
        What its users should know, such as limits heard; kept in the file.

    Raises
    ------
    GhostnoteError
        If there is no usable checkpoint, or the engines do not agree.
    """
    checkpoint = load_checkpoint(run)
    weights = mean_weights(checkpoint)
    proof = make_proof(checkpoint.spec, weights)
    facts = provenance(checkpoint, name or out.stem, run, notes)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.unchecked")
    try:
        save_model(part, checkpoint.spec, weights, facts, proof.to_json())
        model = load_model(part)
        check_export(model, proof)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return load_model(out)


def mean_weights(checkpoint: Checkpoint) -> Weights:
    """Return the running mean of a run's weights, its body, and the tables that are not learnt.

    Raises
    ------
    GhostnoteError
        If they do not fit the checkpoint's own spec, or are not finite.
    """
    spec = checkpoint.spec
    weights: dict[str, FLOATS] = {
        name: np.ascontiguousarray(tensor.numpy(), np.float32)
        for name, tensor in checkpoint.part("mean").items()
    }
    if spec.body:
        body = Body(spec)
        restore_body(checkpoint, body)
        weights |= body.weights()
    if not spec.mixtures:
        weights["mulaw_table"] = mulaw.decode_table(spec.levels)
    if spec.roles:
        weights["age_table"] = control.age_table(spec)
    check_weights(spec, weights)
    return weights


def provenance(checkpoint: Checkpoint, name: str, run: Path, notes: str) -> dict[str, Any]:
    """Return what a model file tells about where it comes from; no paths of this machine."""
    facts = checkpoint.facts
    base = facts.get("from", {})
    sources = facts.get("sources", [])
    return {
        "name": name,
        "notes": notes,
        "ghostnote": version("ghostnote"),
        "commit": commit(),
        "command": f"ghostnote export --run {run.resolve().name} --name {name}",
        "sources": sources + [one for one in base.get("sources", []) if one not in sources],
        "training": {
            "steps": checkpoint.step,
            "hours": round(facts.get("seconds", 0.0) / 3600.0, 3),
            "minutes_heard": round(facts.get("samples", 0) / checkpoint.spec.samplerate / 60.0, 1),
            "train_minutes": facts.get("train_minutes"),
            "validation_minutes": facts.get("validation_minutes"),
            "validation_bits": facts.get("validation_bits"),
            "settings": checkpoint.config.to_json(),
            **({"from": {"name": base["name"], "sha256": base["sha256"]}} if base else {}),
        },
    }


def commit() -> str | None:
    """Return the commit of the checkout that this code lies in; None outside of one.

    "-dirty" is added if tracked files differ from it.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        told = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None


def check_export(model: ModelFile, proof: Proof) -> dict[str, Agreement]:
    """Refuse a model file on which torch and the engines do not agree; return how they do.

    Raises
    ------
    GhostnoteError
        Naming the engine, the position and the difference.
    """
    replays = {name: replay(model, proof) for name, replay in ENGINES.items()}
    agreed = {name: judge(name, replay, proof, model.spec) for name, replay in replays.items()}
    wanted = replays["reference"].guided
    found = torch_logits(model.spec, model.weights, proof)
    error = np.abs(found - wanted)
    wrong = ~(error <= tolerance(model.spec, wanted))
    if wrong.any():
        at, output = (int(i) for i in np.argwhere(wrong)[0])
        raise GhostnoteError(
            f"export: torch gives {output_name(model.spec, output, found[at, output])} at sample "
            f"{at}, the reference {wanted[at, output]:.6g}; not exported"
        )
    return agreed | {"torch": Agreement(len(wanted), 0, float(error.max()))}


def torch_logits(spec: ModelSpec, weights: Weights, proof: Proof) -> FLOATS:
    """Return the outputs [n, O] that the network of the training gives before a proof's levels."""
    model = WaveNet(spec)
    state = {name: torch.from_numpy(np.array(weights[name])) for name in model.state_dict()}
    model.load_state_dict(state)
    # Torch sees zeros, not silence, before the start: one receptive field of silence goes first.
    lead = -(-spec.receptive_field // spec.hop)
    hops = -(-len(proof.levels) // spec.hop)
    first, total = lead * spec.hop, (lead + hops) * spec.hop
    inputs = np.full(total, spec.silence, np.int64)
    inputs[first + 1 : first + len(proof.levels)] = proof.levels[:-1]
    rows = None
    if spec.conditioning:
        shifted = [(hop + lead, role, velocity) for hop, role, velocity in proof.hits]
        controls = proof.controls(spec).of_hits(spec, shifted, lead + hops, proof.kit)
        rows = torch.from_numpy(controls.rows(weights.get("age_table")))
    with torch.no_grad():
        logits = model(torch.from_numpy(inputs), rows)[:, first : first + len(proof.levels)]
    found: FLOATS = logits.t().numpy()
    return found
