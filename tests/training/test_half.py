"""The network in bfloat16 says what the one in float32 says, as near as bfloat16 holds it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ghostnote.kernels.spec import ModelSpec
from ghostnote.training.half import half_outputs
from ghostnote.training.wavenet import WaveNet
from tests.training.test_wavenet import SPECS, random_model


def inputs(spec: ModelSpec) -> tuple[Tensor, Tensor | None]:
    """Levels and rows of many hops: rounding may switch a unit off, which shows in a few samples."""
    rng = np.random.default_rng(2)
    levels = torch.from_numpy(rng.integers(0, spec.levels, 150 * spec.hop))
    rows = rng.standard_normal((150, spec.conditioning)).astype(np.float32)
    return levels, torch.from_numpy(rows) if spec.conditioning else None


def gradients(model: WaveNet, outputs: Tensor) -> dict[str, Tensor]:
    """The gradient of every parameter, for a mean of the outputs with random signs."""
    torch.manual_seed(4)
    loss = (outputs * torch.randn(len(outputs), 1)).mean()
    found = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    return dict(zip((name for name, _ in model.named_parameters()), found, strict=True))


@pytest.mark.parametrize("name", SPECS)
def test_outputs_and_gradients_are_those_of_float32(name: str) -> None:
    """Rounded to 8 bits at every layer, a sum of many is off by a share of a hundredth or two."""
    torch.manual_seed(3)
    spec = SPECS[name]
    model = random_model(spec)
    heard, control = inputs(spec)
    context = spec.receptive_field // spec.hop * spec.hop
    expected = model(heard, control)[:, context:]
    found = half_outputs(model, heard, control, context)
    assert found.dtype == torch.float32
    off = float((found - expected).norm().detach() / expected.norm().detach())
    assert off < 0.03, f"outputs off by {off}"
    assert off > 1e-5, "nothing was rounded: this is not bfloat16"
    of_half, of_single = gradients(model, found), gradients(model, expected)
    # What all weights have in common is the direction of the step.
    one = torch.cat([of_half[key].flatten() for key in of_half])
    other = torch.cat([of_single[key].flatten() for key in of_half])
    assert float((one - other).norm() / other.norm()) < 0.05
    for key, gradient in of_single.items():
        if float(gradient.norm()) > 1e-3 * float(other.norm()):
            cosine = torch.cosine_similarity(gradient.flatten(), of_half[key].flatten(), 0)
            assert float(cosine) > 0.95, f"gradient of {key} points elsewhere: {cosine}"


def test_a_ragged_last_hop_is_refused() -> None:
    model = random_model(SPECS["width 2"])
    levels, rows = inputs(SPECS["width 2"])
    with pytest.raises(ValueError, match="are not whole hops"):
        half_outputs(model, levels[:-1], rows, 8)
