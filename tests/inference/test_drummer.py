"""The bundled drummer: the same from the same seed, obedient, on the grid where it is asked to."""

from dataclasses import replace

import numpy as np
import pytest

from ghostnote.inference.drummer import (
    LETTERS,
    Drummer,
    DrummerPlans,
    DrummerSettings,
    Place,
    as_hits,
    humanised,
    parse_settings,
)
from ghostnote.inference.drummer_file import DrummerFile, load_drummer, read_spec
from ghostnote.inference.drummer_spec import parse_style
from ghostnote.inference.drummer_steps import features, offset_of, to_steps, velocity_of
from ghostnote.inference.midi import Hit
from ghostnote.inference.model_file import bundled_models
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES

SNARE, TOM = ROLES.index("snare"), ROLES.index("tom")


@pytest.fixture(scope="module")
def file() -> DrummerFile:
    return load_drummer()


def bars(file: DrummerFile, count: int, first: int = 0, **settings: object) -> list[list[Hit]]:
    drummer = Drummer(file, DrummerSettings(**settings))  # type: ignore[arg-type]
    return [drummer.bar(number, 110.0) for number in range(first, first + count)]


def test_it_is_no_model_that_sounds(file: DrummerFile) -> None:
    assert "drummer" not in bundled_models()
    assert read_spec() == file.spec


def test_the_same_seed_plays_the_same_and_another_does_not(file: DrummerFile) -> None:
    one = bars(file, 4, style="funk", seed=7)
    assert one == bars(file, 4, style="funk", seed=7)
    assert one != bars(file, 4, style="funk", seed=8)
    assert sum(map(len, one)) > 20


def test_memory_that_is_put_back_gives_the_same_bars_again(file: DrummerFile) -> None:
    drummer = Drummer(file, DrummerSettings(style="rock"))
    drummer.bar(0)
    kept = drummer.memory
    first = [drummer.bar(1), drummer.bar(2)]
    drummer.memory = kept
    assert [drummer.bar(1), drummer.bar(2)] == first


def test_denser_is_busier_and_fills_are_where_they_are_asked_for(file: DrummerFile) -> None:
    counts = [
        sum(map(len, bars(file, 24, style="funk", density=density, fill=0)))
        for density in (0.1, 0.5, 0.9)
    ]
    assert counts[0] < counts[1] < counts[2]
    assert counts[2] > 1.5 * counts[0]
    busy = np.array(
        [
            sum(role in ("snare", "tom") for _, role, _ in bar)
            for bar in bars(file, 32, style="rock", fill=4)
        ]
    )
    fills = np.arange(32) % 4 == 3
    assert busy[fills].mean() > busy[~fills].mean() + 3


def test_swing_moves_the_second_and_fourth_sixteenth() -> None:
    places = [Place(step, 0.0, 0, 0.5) for step in range(4)]
    beats = [beat for beat, _, _ in as_hits(places, 0.5)]
    assert beats == pytest.approx([0.0, 0.3125, 0.5, 0.8125])
    triplets = [Place(0, 0.0, 0, 0.5), Place(1, 1 / 3, 0, 0.5), Place(3, -1 / 3, 0, 0.5)]
    assert [beat for beat, _, _ in as_hits(triplets, 0.5)] == pytest.approx([0, 1 / 3, 2 / 3])


def test_humanise_goes_from_the_grid_to_what_was_played_and_beyond() -> None:
    straight = [Place(0, 0.1, 0, 0.7), Place(2, -0.2, 1, 0.3)]
    assert humanised(straight, 0.0) == [Place(0, 0.0, 0, 0.75), Place(2, 0.0, 1, 0.35)]
    for place, played in zip(humanised(straight, 1.0), straight, strict=True):
        assert place == pytest.approx(played)
    assert humanised(straight, 2.0)[0] == pytest.approx(Place(0, 0.2, 0, 0.65))
    triplets = [Place(0, 0.02, 0, 0.5), Place(1, 0.3, 0, 0.5), Place(3, -0.36, 0, 0.5)]
    assert [place.offset for place in humanised(triplets, 0.0)] == pytest.approx([0, 1 / 3, -1 / 3])
    flam = [Place(0, -0.1, 1, 0.2), Place(0, 0.02, 1, 0.9)]
    assert humanised(flam, 0.0) == [Place(0, 0.0, 1, 1.0)]


def test_without_humanity_the_drummer_plays_as_if_written(file: DrummerFile) -> None:
    for bar in bars(file, 4, style="rock", humanise=0.0):
        for beat, _, velocity in bar:
            assert velocity in LETTERS
            assert min(abs(beat * 24 - round(beat * 24)), 1) < 1e-6


def test_strokes_keep_what_was_played() -> None:
    hits = [(0.01, "kick", 0.5), (0.26, "snare", 0.1), (0.2, "snare", 0.9), (3.9, "hat", 1.0)]
    steps = to_steps(hits, 16)
    assert [len(step) for step in steps] == [1, 2] + [0] * 14  # the last is the next bar's
    (kick,), snares = steps[0], steps[1]
    assert velocity_of(kick[1]) == pytest.approx(0.5, abs=0.02)
    assert offset_of(kick[2]) / 4 == pytest.approx(0.01, abs=0.005)
    assert [velocity_of(loud) > 0.5 for _, loud, _ in snares] == [True, False]
    assert features(snares)[3 * SNARE] == 2.0


def test_plans_are_those_of_loops_and_differ(file: DrummerFile) -> None:
    plans = DrummerPlans(file, parse_settings("style=jazz/swing,density=0.7", seed=3), 4, 140.0)
    assert (plans.plan().bars, plans.plan().bpm) == (4, 140.0)
    assert len(plans.plan().hits) > 20
    assert plans.plan(1) == plans._replace(settings=replace(plans.settings, seed=4)).plan()
    assert plans.plan(1) != plans.plan()


def test_settings_are_read_from_text_and_refused_in_one_line(file: DrummerFile) -> None:
    read = parse_settings("style=funk:2,jazz:1,density=0.6,fill=4", seed=9)
    assert read == DrummerSettings("funk:2,jazz:1", 0.6, fill=4, seed=9)
    assert parse_style(file.spec, "any") == {}
    mixed = parse_style(file.spec, "funk:3,jazz/swing:1")
    assert mixed == {"funk": 0.75, "jazz": 0.25, "jazz/swing": 0.25}
    for text, why in (
        ("styl=funk", "none of style="),
        ("density=2", "density must be 0 to 1"),
        ("fill=x", "fill is a number"),
        (f"seed={'9' * 400}", "seed must be 0 to 9"),
        ("density=0.5,density=0.6", "each once"),
    ):
        with pytest.raises(GhostnoteError, match=why):
            parse_settings(text)
    for style, why in (("polka", "unknown style 'polka'"), ("funk:0", "above 0")):
        with pytest.raises(GhostnoteError, match=why):
            Drummer(file, DrummerSettings(style=style))


def test_it_plays_for_long_without_falling_silent_or_going_wild(file: DrummerFile) -> None:
    counts = np.array([len(bar) for bar in bars(file, 200, style="hiphop", seed=2)])
    first = counts[:50].mean()
    assert 0.6 * first < counts[-50:].mean() < 1.6 * first
    assert (counts == 0).mean() < 0.02
