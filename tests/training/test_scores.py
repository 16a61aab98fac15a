"""Scores: each kind of disobedience lowers the figure that tells of it, and no other's."""

import math
from typing import Any

import numpy as np
import pytest

from ghostnote.inference.midi import Hit
from ghostnote.training.ears import Ears
from ghostnote.training.hearing import KitHearing
from ghostnote.training.scores import Tally, correlation_within, judge
from tests.training.tiny_drums import AUDIO, NOTES, RATE, beat, kit, render

SECONDS = 4.0


@pytest.fixture(scope="module")
def hearing(ears: Ears) -> KitHearing:
    return KitHearing(kit(), ears)


def score(hearing: KitHearing, hits: list[Hit], generated: AUDIO) -> dict[str, Any]:
    return judge(hits, render(hits, SECONDS), generated, hearing).score()


def test_the_truth_itself_is_perfect(hearing: KitHearing) -> None:
    found = score(hearing, beat(), render(beat(), SECONDS))
    assert found["truth_timing_ms_p95"] < 0.2  # what the measuring itself is wrong by
    assert found["timing_hits"] == len(beat())
    for role in NOTES:
        assert found["roles"][role]["recall"] == 1.0
        assert found["roles"][role]["truth_recall"] == 1.0
        assert found["roles"][role]["precision"] == 1.0
        assert found["roles"][role]["masked"] == 0
    assert found["false_onsets_per_minute"] == 0.0
    assert found["timing_ms_p95"] == found["truth_timing_ms_p95"]
    assert found["seconds"] == SECONDS


def test_a_role_that_is_not_played_is_not_heard(hearing: KitHearing) -> None:
    found = score(hearing, beat(), render([h for h in beat() if h[1] != "snare"], SECONDS))
    recall = {role: found["roles"][role]["recall"] for role in NOTES}
    assert recall == {"kick": 1.0, "snare": 0.0, "hat": 1.0}
    assert found["roles"]["snare"]["truth_recall"] == 1.0


def test_hits_that_nobody_asked_for_are_counted(hearing: KitHearing) -> None:
    asked = beat()
    played = sorted([*asked, (1.0, "hat", 0.8), (2.5, "hat", 0.8)])
    found = score(hearing, asked, render(played, SECONDS))
    hats = sum(role == "hat" for _, role, _ in asked)
    assert found["false_onsets_per_minute"] == pytest.approx(2 * 60.0 / SECONDS)
    assert found["truth_false_onsets_per_minute"] == 0.0
    assert found["roles"]["hat"]["precision"] == pytest.approx(hats / (hats + 2))
    assert found["roles"]["kick"]["precision"] == 1.0
    assert found["roles"]["hat"]["recall"] == 1.0


def test_another_role_in_its_place_counts_against_both(hearing: KitHearing) -> None:
    swap = {"kick": "snare", "snare": "kick", "hat": "hat"}
    found = score(hearing, beat(), render([(t, swap[r], v) for t, r, v in beat()], SECONDS))
    assert found["roles"]["kick"]["recall"] == found["roles"]["snare"]["recall"] == 0.0
    assert found["roles"]["kick"]["precision"] == found["roles"]["snare"]["precision"] == 0.0
    assert found["roles"]["hat"]["recall"] == 1.0


@pytest.mark.parametrize("delay", [0.005, -0.004])
def test_lateness_is_measured(hearing: KitHearing, delay: float) -> None:
    found = score(hearing, beat(), render([(t + delay, r, v) for t, r, v in beat()], SECONDS))
    assert found["timing_ms_p95"] == pytest.approx(1000 * abs(delay), abs=0.2)
    assert found["timing_ms_median"] == pytest.approx(1000 * delay, abs=0.2)
    assert found["roles"]["hat"]["recall"] == 1.0


def test_a_hit_that_comes_too_late_is_lost_and_false(hearing: KitHearing) -> None:
    found = score(hearing, beat(), render([(t + 0.04, r, v) for t, r, v in beat()], SECONDS))
    assert found["roles"]["hat"]["recall"] == found["roles"]["hat"]["precision"] == 0.0


def test_velocities_are_correlated_within_a_role(hearing: KitHearing) -> None:
    drawn = np.random.default_rng(5).uniform(0.3, 1.0, len(beat()))
    hits = [(t, role, float(v)) for (t, role, _), v in zip(beat(), drawn, strict=True)]
    heard = score(hearing, hits, render(hits, SECONDS))["velocity_correlation"]
    assert heard == pytest.approx(1.0, abs=0.005)  # levels of a fortieth
    softer = [(t, role, v / 2) for t, role, v in hits]
    assert score(hearing, hits, render(softer, SECONDS))["velocity_correlation"] > 0.95
    shuffled = [(t, role, float(v)) for (t, role, _), v in zip(beat(), drawn[::-1], strict=True)]
    assert score(hearing, hits, render(shuffled, SECONDS))["velocity_correlation"] < 0.7


def test_hits_drowned_by_others_are_left_out(hearing: KitHearing) -> None:
    hits: list[Hit] = sorted(
        [*beat(), *((t + 0.01, "kick", 0.1) for t, r, _ in beat() if r == "kick")]
    )
    found = score(hearing, hits, render(hits, SECONDS))["roles"]["kick"]
    kicks = sum(role == "kick" for _, role, _ in beat())
    # Each soft kick lies 10 ms after a loud one; nobody could tell whether it sounds.
    assert found["masked"] == kicks
    assert found["asked"] == kicks
    assert found["recall"] == 1.0


def test_a_one_shot_that_strikes_twice_is_no_false_onset(ears: Ears) -> None:
    twice = kit()
    layer = twice.layers["hat"][0]
    audio = np.concatenate([layer.audio[:800], layer.audio])
    twice.layers["hat"] = (type(layer)("hat.wav", audio, 1, 127, 1, True, 110.0),)
    hits: list[Hit] = [(0.1 + 0.5 * i, "hat", 0.8) for i in range(6)]
    sound = twice.render([(round(t * RATE), r, v) for t, r, v in hits], int(SECONDS * RATE))
    tally = judge(hits, sound, sound, KitHearing(twice, ears))
    assert tally.score()["roles"]["hat"]["precision"] == 1.0
    assert tally.roles["hat"].right == 2 * len(hits)


def test_tallies_add_up(hearing: KitHearing) -> None:
    one = judge(beat(), render(beat(), SECONDS), np.zeros(int(SECONDS * RATE), np.float32), hearing)
    both = Tally()
    both.add(one)
    both.add(judge(beat(), render(beat(), SECONDS), render(beat(), SECONDS), hearing))
    found = both.score()
    assert found["roles"]["kick"]["recall"] == 0.5
    assert found["seconds"] == 2 * SECONDS


def test_nothing_measured_is_none() -> None:
    found = Tally().score()
    assert found["bits_per_sample"] is found["timing_ms_p95"] is found["floor_db"] is None
    assert found["velocity_correlation"] is found["low_correlation"] is None


def test_the_levels_of_groups_do_not_count_as_correlation() -> None:
    rng = np.random.default_rng(2)
    groups = {
        name: [(level + a, level + b) for a, b in rng.standard_normal((200, 2))]
        for name, level in (("kick", 0.0), ("hat", -40.0))
    }
    within = correlation_within(groups)
    assert within is not None and abs(within) < 0.2
    assert correlation_within({"kick": [(1.0, 1.0), (1.0, 2.0)]}) is None
    assert math.isclose(correlation_within({"kick": [(0.0, 1.0), (1.0, 3.0)]}) or 0.0, 1.0)
