"""Endurance: runs that stay as they began pass, and every way of going astray is told."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ghostnote.inference.generator import Take
from ghostnote.kernels.packing import pack
from ghostnote.training import endurance
from ghostnote.training.endurance import Minute, endure, faults, measure_minute, minute_of
from ghostnote.training.pieces import Piece
from tests.training.tiny_drums import RATE, beat, render, spec, weights

GOOD = Minute(-20.0, 0.5, 120.0, 0.0, 1.0, -12.0)


def test_a_minute_of_drums_is_measured() -> None:
    found = measure_minute(render(beat(20.0), 20.0), RATE)
    assert found.onsets == pytest.approx(3 * len(beat(20.0)), rel=0.3)
    assert -40.0 < found.level_db < -10.0
    assert abs(found.dc) < 2e-3 and found.silence_s < 0.5
    assert 0.1 < found.entropy < 0.95


def test_silence_and_noise_are_known() -> None:
    silent = measure_minute(np.zeros(4 * RATE, np.float32), RATE)
    assert silent.silence_s == 4.0 and silent.level_db == -120.0 and silent.onsets == 0.0
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32)
    found = measure_minute(noise, RATE)
    assert found.flatness_db == pytest.approx(-2.5, abs=0.3)
    assert found.entropy > 0.9 and found.onsets < 60.0
    assert faults([found]) == [f"minute 1: flatness {found.flatness_db:.3g} not in -99 to -4"]


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("level", {"level_db": -24.0}),
        ("entropy", {"entropy": 0.7}),
        ("onsets", {"onsets": 80.0}),
        ("mean", {"dc": 0.02}),
        ("silence", {"silence_s": 4.0}),
        ("flatness", {"flatness_db": -5.0}),
    ],
)
def test_every_fault_is_told(what: str, change: dict[str, Any]) -> None:
    assert faults([GOOD, GOOD, GOOD]) == []
    found = faults([GOOD, GOOD, replace(GOOD, **change)])
    assert len(found) == 1 and found[0].startswith(f"minute 3: {what} ")


def test_a_minute_is_filled_with_pieces_in_their_order() -> None:
    pieces = [Piece("a", 25.0, ((1.0, "kick", 0.5),)), Piece("b", 20.0, ((2.0, "hat", 0.5),))]
    found = minute_of(pieces, [1, 0])
    assert found == [(2.0, "hat", 0.5), (21.0, "kick", 0.5), (47.0, "hat", 0.5)]


def test_runs_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endurance, "MINUTE", 2.0)
    packed = pack(spec(), weights(spec()))
    pieces = [Piece("beat", 2.0, tuple(beat(2.0)))]
    told: list[int] = []
    one = endure(packed, 3, 2, pieces, Take(1), 1, lambda _, done, of: told.append(done * 100 + of))
    assert one == endure(packed, 3, 2, pieces, Take(1), 2)
    assert told[-1] == 3 * 2 * 2 * 100 + 12
    assert one["kind"] == "groove" and one["of"] == 3 and one["passed"] == 0  # it plays noise
    assert [run["kit"] for run in one["runs"]] == ["first", "second", "first"]
    assert all(len(run["minutes"]) == 2 and run["why"] for run in one["runs"])
    assert one["runs"][0]["minutes"] != one["runs"][2]["minutes"]


def test_a_model_without_roles_plays_its_texture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endurance, "MINUTE", 2.0)
    of = spec(kits=(), roles=())
    found = endure(pack(of, weights(of)), 1, 1, [], Take(1), 1)
    assert found["kind"] == "texture" and found["runs"][0]["kit"] is None


def test_who_is_interrupted_does_not_wait_for_the_other_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endurance, "MINUTE", 2.0)
    of = spec(kits=(), roles=())
    told: list[int] = []

    def interrupt(_: str, done: int, of: int) -> None:
        told.append(done)
        if len(told) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        endure(pack(of, weights(of)), 2, 1000, [], Take(1), 2, interrupt)
    assert len(told) < 100
