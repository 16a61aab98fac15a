"""Likeness: the distance knows its own scale, and the judge of kits knows kits."""

import numpy as np
import pytest

from ghostnote.training.likeness import (
    AXES,
    cloud,
    distances,
    frechet_distance,
    patches,
    train_kit_judge,
)
from tests.training.tiny_drums import NOTES, RATE, beat, render


def drawn(count: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, size))


def test_the_distance_of_gaussians_is_exact() -> None:
    one = drawn(200_000, 3, 0)
    other = drawn(200_000, 3, 1) * [1.0, 2.0, 3.0] + [0.0, 0.0, 5.0]
    # 25 for the means, (1 - 1)^2 + (1 - 2)^2 + (1 - 3)^2 for the spreads.
    assert frechet_distance(one, other) == pytest.approx(30.0, rel=0.01)
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-6)


def test_what_is_unlike_is_farther_than_real_from_real() -> None:
    real = [drawn(2000, 40, seed).astype(np.float32) for seed in (0, 1)]
    alike = [drawn(2000, 40, seed).astype(np.float32) for seed in (2, 3)]
    same, other = distances(real, alike), distances(real, [half + 1.0 for half in alike])
    assert same is not None and other is not None
    assert same.ratio == pytest.approx(1.0, abs=0.2)
    assert other.ratio is not None and other.ratio > 10.0
    assert distances(real, [half[:AXES] for half in alike]) is None


def test_a_cloud_has_points_at_hits_and_on_a_grid() -> None:
    sound = render(beat(), 4.0)
    points = cloud(sound, RATE, beat())
    assert len(points) == len(beat()) + 40
    assert np.array_equal(points[: len(beat())], patches(sound, RATE, [t for t, _, _ in beat()]))


def test_what_is_looked_at_does_not_drift_at_odd_rates() -> None:
    rate = 11025
    sound = np.zeros(40 * rate, np.float32)
    click = 0.5 * np.random.default_rng(0).standard_normal(200).astype(np.float32)
    for seconds in (1, 39):
        sound[seconds * rate : seconds * rate + len(click)] = click
    one, other = patches(sound, rate, [1.0, 39.0])
    assert np.abs(one - other).max() < 0.5


def test_the_judge_names_kits() -> None:
    sound = {"soft": render(beat(velocity=0.4), 4.0), "loud": render(beat(), 4.0)}
    times, roles = [t for t, _, _ in beat()], [role for _, role, _ in beat()]
    seen = {kit: patches(x, RATE, times) for kit, x in sound.items()}
    every = np.concatenate([np.tile(x, (8, 1)) for x in seen.values()])
    names = [kit for kit in seen for _ in range(8 * len(times))]
    judge = train_kit_judge(every, roles * 16, names, tuple(NOTES))
    assert judge.name(seen["soft"], roles) == ["soft"] * len(roles)
    assert judge.name(seen["loud"], roles) == ["loud"] * len(roles)
