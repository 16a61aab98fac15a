"""The network in torch is the network of the reference, parameter by parameter."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ghostnote.kernels import control, mulaw
from ghostnote.kernels.reference import Reference
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import weight_shapes
from ghostnote.training.losses import nats
from ghostnote.training.wavenet import WaveNet

ODD: dict[str, Any] = {"residual": 5, "gate": 3, "skip": 7, "head": 6, "levels": 33}
ASKED: dict[str, Any] = {
    "roles": ("kick", "hat", "open"),
    "kits": ("one", "two"),
    "ages": 40,
    "age_features": 5,
    "cond_hidden": (7, 4),
    "chokes": (("hat", "open"),),
}
SPECS = {
    "width 2": ModelSpec(24000, 8, (1, 2, 4, 1, 16), **ODD, **ASKED),
    "width 3": ModelSpec(24000, 8, (4, 1, 9), filter_width=3, input_taps=3, **ODD, **ASKED),
    "unconditional": ModelSpec(24000, 8, (1, 2, 4), **ODD),
    "kits only": ModelSpec(24000, 8, (1, 2, 4), kits=("one",), cond_hidden=(4,), **ODD),
    "one layer": ModelSpec(24000, 8, (3,), input_taps=1, **ODD, **ASKED),
    "1024 levels": ModelSpec(24000, 8, (1, 2, 4), **{**ODD, "levels": 1024}),
    "mixture": ModelSpec(
        24000, 8, (4, 1, 9), input_taps=3, mixtures=4, **{**ODD, "levels": 65536}, **ASKED
    ),
    "one logistic": ModelSpec(24000, 8, (1, 2), mixtures=1, **{**ODD, "levels": 65536}),
}


def random_model(spec: ModelSpec) -> WaveNet:
    """A network none of whose parameters is zero, so that each of them matters."""
    model = WaveNet(spec)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def exported(model: WaveNet) -> dict[str, npt.NDArray[np.float32]]:
    """The parameters by name, with the tables that are not learnt."""
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    if not model.spec.mixtures:
        weights["mulaw_table"] = mulaw.decode_table(model.spec.levels)
    if model.spec.roles:
        weights["age_table"] = control.age_table(model.spec)
    return weights


def inputs(spec: ModelSpec) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Levels of several receptive fields in whole hops, and a control row for each hop."""
    rng = np.random.default_rng(2)
    hops = 3 * spec.receptive_field // spec.hop + 3
    levels = rng.integers(0, spec.levels, hops * spec.hop)
    return levels, rng.standard_normal((hops, spec.conditioning)).astype(np.float32)


@pytest.mark.parametrize("name", SPECS)
def test_parameters_bear_the_names_and_shapes_of_the_model_file(name: str) -> None:
    spec = SPECS[name]
    found = {key: array.shape for key, array in exported(WaveNet(spec)).items()}
    assert found == weight_shapes(spec)


@pytest.mark.parametrize("name", SPECS)
def test_outputs_equal_the_reference_after_the_receptive_field(name: str) -> None:
    spec = SPECS[name]
    model = random_model(spec)
    levels, rows = inputs(spec)
    with torch.no_grad():
        control_rows = torch.from_numpy(rows) if spec.conditioning else None
        found = model(torch.from_numpy(levels), control_rows).numpy().T
    reference = Reference(spec, exported(model))
    state = reference.start()
    expected = np.empty((len(levels), spec.outputs))
    for t, level in enumerate(levels):
        if t % spec.hop == 0 and spec.conditioning:
            reference.set_control(state, rows[t // spec.hop].astype(np.float64))
        expected[t] = reference.step(state, int(level))
    valid = slice(spec.receptive_field - 1, None)
    np.testing.assert_allclose(found[valid], expected[valid], rtol=1e-4, atol=1e-4)
    assert np.abs(expected[valid]).mean() > 0.1, "all but zero: the comparison says nothing"
    # One sample earlier the two see different pasts, zeros here and silence there.
    assert np.abs(found[: valid.start] - expected[: valid.start]).max() > 1e-3


@pytest.mark.parametrize("name", ["width 2", "1024 levels", "mixture"])
def test_a_first_network_finds_all_levels_about_as_likely(name: str) -> None:
    """What makes the first steps of a training sane: hardly above a blind guess."""
    spec = SPECS[name]
    levels, rows = inputs(spec)
    with torch.no_grad():
        outputs = WaveNet(spec)(torch.from_numpy(levels), torch.from_numpy(rows))
        bits = nats(spec, outputs[:, :-1], torch.from_numpy(levels[1:])).mean()
    assert float(bits) / np.log(2) < np.log2(spec.levels) + (4.0 if spec.mixtures else 1.0)
