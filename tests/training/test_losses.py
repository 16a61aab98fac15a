"""The likelihood of levels: a distribution over all of them, alike in NumPy and in torch."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ghostnote.kernels.reference import draw
from ghostnote.kernels.spec import ModelSpec
from ghostnote.training import likelihood, losses

EVERY = np.arange(65536)
SPECS = {
    "256 levels": ModelSpec(8000, 8, (1,)),
    "1024 levels": ModelSpec(8000, 8, (1,), levels=1024),
    "a logistic": ModelSpec(8000, 8, (1,), levels=65536, mixtures=1),
    "mixture": ModelSpec(8000, 8, (1,), levels=65536, mixtures=10),
}
# mean and log-scale: usual, narrower than a level (on it, on the edge of two, at either end), far
# wider than full scale, outside of it.
LOGISTICS = [
    (0.1, -4.0), (0.0, -14.0), (0.5 / 32768, -12.0), (1.0, -11.5), (-1.0, -30.0), (0.2, 3.0),
    (1.4, -2.0), (-3.0, -1.0),
]  # fmt: skip


def outputs_of(spec: ModelSpec, seed: int) -> npt.NDArray[np.float64]:
    """Outputs [O] as a network in training has them."""
    random = np.random.default_rng(seed)
    found = 2.0 * random.standard_normal(spec.outputs)
    if spec.mixtures:
        _, means, log_scales = found.reshape(3, -1)
        means *= 0.2
        log_scales[:] = random.uniform(-13.0, 0.0, spec.mixtures)
    return found


def brute_force(mean: float, log_scale: float) -> npt.NDArray[np.float64]:
    """The share of every level [65536], from the distribution at the bins' edges."""
    scale = np.exp(max(log_scale, -14.0))
    edges = (EVERY[1:] - 32768 - 0.5) / 32768
    below = 0.5 + 0.5 * np.tanh((edges - mean) / scale / 2.0)
    return np.diff(np.concatenate([[0.0], below, [1.0]]))


@pytest.mark.parametrize(("mean", "log_scale"), LOGISTICS)
def test_a_logistic_is_cut_into_levels(mean: float, log_scale: float) -> None:
    outputs = np.array([[0.3, mean, log_scale]]).repeat(65536, 0)
    nats = likelihood.nats(SPECS["a logistic"], outputs, EVERY)
    shares = brute_force(mean, log_scale)
    assert shares.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(np.exp(-nats), shares, rtol=1e-6, atol=1e-12)
    assert np.isfinite(nats).all()  # however unlikely: a gradient leads back from there


@pytest.mark.parametrize("name", SPECS)
def test_the_shares_of_all_levels_sum_to_one(name: str) -> None:
    spec = SPECS[name]
    every = np.arange(spec.levels)
    for seed in range(4):
        outputs = outputs_of(spec, seed)
        nats = likelihood.nats(spec, np.tile(outputs, (spec.levels, 1)), every)
        assert np.exp(-nats).sum() == pytest.approx(1.0, abs=1e-9)
        column = torch.from_numpy(outputs.astype(np.float32))[:, None].expand(-1, spec.levels)
        found = losses.nats(spec, column.contiguous(), torch.from_numpy(every)).double()
        assert float(torch.exp(-found).sum()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", SPECS)
def test_torch_says_the_same(name: str) -> None:
    spec = SPECS[name]
    random = np.random.default_rng(7)
    levels = random.integers(0, spec.levels, 500)
    levels[:4] = [0, spec.levels - 1, spec.silence, 1]
    outputs = np.stack([outputs_of(spec, seed) for seed in range(500)]).astype(np.float32)
    if spec.mixtures:  # half of them near the mean of a component
        near = (outputs[250:, spec.mixtures] * 32768 + 32768).astype(np.int64)
        levels[250:] = np.clip(near + random.integers(-3, 4, 250), 0, 65535)
    wanted = likelihood.nats(spec, outputs, levels)
    found = losses.nats(spec, torch.from_numpy(outputs.T.copy()), torch.from_numpy(levels)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)


def test_a_mixture_is_the_mean_of_its_components() -> None:
    spec = ModelSpec(8000, 8, (1,), levels=65536, mixtures=len(LOGISTICS))
    means, log_scales = np.array(LOGISTICS).T
    logits = np.linspace(-1.0, 2.0, len(LOGISTICS))
    shares = np.exp(logits) / np.exp(logits).sum()
    wanted = sum(
        share * brute_force(*logistic) for share, logistic in zip(shares, LOGISTICS, strict=True)
    )
    outputs = np.concatenate([logits, means, log_scales])
    nats = likelihood.nats(spec, np.tile(outputs, (65536, 1)), EVERY)
    np.testing.assert_allclose(np.exp(-nats), wanted, rtol=1e-6, atol=1e-12)


def test_what_is_drawn_is_as_surprising_as_the_likelihood_says() -> None:
    spec = SPECS["mixture"]
    outputs = outputs_of(spec, 5)
    random = np.random.default_rng(5)
    drawn = np.array([draw(spec, outputs, random.uniform(size=2)) for _ in range(4000)])
    spent = likelihood.nats(spec, np.tile(outputs, (4000, 1)), drawn)
    shares = np.exp(-likelihood.nats(spec, np.tile(outputs, (65536, 1)), EVERY))
    entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum()
    assert spent.mean() == pytest.approx(entropy, abs=4.0 * spent.std() / np.sqrt(4000))


@pytest.mark.parametrize("level", [0, 1, 32768, 40000, 65535])
def test_gradients_are_finite_and_right(level: int) -> None:
    spec = ModelSpec(8000, 8, (1,), levels=65536, mixtures=len(LOGISTICS))
    means, log_scales = np.array(LOGISTICS).T
    outputs = torch.from_numpy(np.concatenate([np.zeros_like(means), means, log_scales]))
    column = outputs[:, None].requires_grad_()
    (gradient,) = torch.autograd.grad(losses.nats(spec, column, torch.tensor([level])), column)
    assert torch.isfinite(gradient).all()
    step = 1e-9
    for at in range(spec.outputs):
        moved = np.tile(outputs.detach().numpy(), (2, 1))
        moved[:, at] += [step, -step]
        up, down = likelihood.nats(spec, moved, np.array([level, level]))
        expected = (up - down) / (2.0 * step)
        assert float(gradient[at, 0]) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    single = column.detach().float().requires_grad_()
    (rough,) = torch.autograd.grad(losses.nats(spec, single, torch.tensor([level])), single)
    assert torch.isfinite(rough).all()
