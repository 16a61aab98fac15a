"""TrainConfig refuses nonsense and plans the learning rate."""

import json
from pathlib import Path
from typing import Any

import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training.config import TrainConfig
from ghostnote.training.dataset import Dataset


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("windows", 0),
        ("window_hops", 0),
        ("cycles", 0),
        ("cycle", 17),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("warmup", -1),
        ("decay", 1.1),
        ("ema", 1.0),
        ("drop_control", 2.0),
        ("input_noise", -0.1),
        ("drift", -0.1),
        ("clean", 1.5),
        ("age_features", 28),
        ("onset_weight", -1.0),
        ("silence_weight", -1.0),
        ("near_hits", -0.5),
        ("seed", -1),
    ],
)
def test_nonsense_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(GhostnoteError, match=f"training: {field} must be .*, found {value}"):
        TrainConfig(**{field: value})


def test_a_mixture_speaks_16_bit_and_takes_no_levels_of_mu_law() -> None:
    dataset = Dataset(Path(), 24000, 24)
    spec = TrainConfig(mixtures=10).spec(dataset)
    assert (spec.levels, spec.mixtures, spec.outputs) == (65536, 10, 30)
    assert TrainConfig(mixtures=10, levels=65536).spec(dataset) == spec
    assert TrainConfig(levels=1024).spec(dataset).outputs == 1024
    with pytest.raises(
        GhostnoteError, match=r"levels 1024 are of the softmax head.*one of the two"
    ):
        TrainConfig(mixtures=10, levels=1024)


def test_settings_of_before_there_were_mixtures_have_none() -> None:
    old = TrainConfig(steps=5).to_json()
    del old["mixtures"]
    assert TrainConfig.from_json(old) == TrainConfig(steps=5)


def test_it_survives_json() -> None:
    config = TrainConfig(steps=77, cond_hidden=(5, 4, 3), learning_rate=1e-3)
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    config = TrainConfig(steps=1000, learning_rate=0.01, warmup=100, decay=0.4)
    rates = [config.rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.0001) and rates[99] == 0.01
    assert set(rates[99:600]) == {0.01}
    assert rates[800] == pytest.approx(0.005)
    assert 0 < rates[999] < 0.0001
    assert TrainConfig(steps=10, warmup=0, decay=0.0).rate(9) == TrainConfig().learning_rate


def test_by_the_clock_the_rate_falls_over_the_last_minutes() -> None:
    config = TrainConfig(minutes=10.0, learning_rate=0.01, warmup=100, decay=0.4)
    assert config.rate(0, 0.0) == pytest.approx(0.0001)
    assert config.rate(99, 5.0) == config.rate(10**6, 360.0) == 0.01  # whatever the steps
    assert config.rate(500, 480.0) == pytest.approx(0.005)
    assert config.rate(500, 600.0) == config.rate(500, 700.0) == 0.0
    assert config.share(10**9, 300.0) == 0.5 and TrainConfig(steps=8).share(2, 1e9) == 0.25
    assert TrainConfig(minutes=1.0, warmup=0, decay=0.0).rate(9, 59.0) == TrainConfig.learning_rate


@pytest.mark.parametrize("roles", [(), ("kick", "hat")])
@pytest.mark.parametrize("kits", [(), ("one",)])
def test_the_model_fits_the_dataset(roles: tuple[str, ...], kits: tuple[str, ...]) -> None:
    spec = TrainConfig(cycles=3, cycle=4).spec(Dataset(Path(), 24000, 24, roles, kits))
    assert (spec.samplerate, spec.hop, spec.roles, spec.kits) == (24000, 24, roles, kits)
    assert spec.dilations == (1, 2, 4, 8) * 3
    assert spec.ages == (4000 if roles else 0)
    assert bool(spec.conditioning) == bool(roles or kits)
