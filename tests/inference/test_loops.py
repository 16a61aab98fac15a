"""Loop plans: what is played in how many bars, from patterns and grooves."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.inference import loops as loops_module
from ghostnote.inference.loops import (
    BUILT_IN,
    DEFAULT_PATTERN,
    LoopPlan,
    Pattern,
    built_in_pattern,
    plan_groove,
    plan_pattern,
    read_pattern,
)
from ghostnote.inference.midi import MAX_HITS, Groove, Hit
from ghostnote.inference.patterns import parse_steps
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES


def groove(*beats: float, bpm: float = 100.0, role: str = "kick") -> Groove:
    hits = tuple((beat, role, 0.5) for beat in beats)
    return Groove("g", hits, tuple((beat * 60 / bpm, r, v) for beat, r, v in hits), bpm)


def beats(plan: LoopPlan, role: str = "kick") -> list[float]:
    return [beat for beat, name, _ in plan.hits if name == role]


@pytest.mark.parametrize(
    ("bars", "bpm", "samplerate", "frames"),
    [
        (4, 128, 48000, 360000),
        (1, 97.3, 44100, 108777),  # 108776.978
        (3, 97.3, 24000, 177595),  # 177595.067
        (1, 1000, 44100, 10584),
        (2, 73.21, 22050, 144570),  # 144570.413
    ],
)
def test_frames(bars: int, bpm: float, samplerate: int, frames: int) -> None:
    assert LoopPlan("x", bars, bpm).frames(samplerate) == frames


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((0, 120.0), "bars must be"),
        ((5000, 120.0), "bars must be"),
        ((1, 9.9), "bpm must be"),
        ((1, float("nan")), "bpm must be"),
        ((1024, 10.0), "at most 1800 s"),
        ((1, 120.0, ((4.0, "kick", 1.0),)), "beat 4 is out"),
        ((1, 120.0, ((2.0, "kick", 1.0), (1.0, "kick", 1.0))), "beat 1 is out"),
        ((1, 120.0, ((float("nan"), "kick", 1.0),)), "beat nan"),
        ((1, 120.0, ((0.0, "kick", 0.0),)), "velocity"),
    ],
)
def test_impossible_plans(
    arguments: tuple[int, float] | tuple[int, float, tuple[Hit, ...]], reason: str
) -> None:
    with pytest.raises(GhostnoteError, match=reason):
        LoopPlan("x", *arguments)


def test_more_hits_than_a_manifest_lists_are_refused_before_there_are_any() -> None:
    """And what is refused is counted to the hit."""
    full = Pattern("full", dict.fromkeys(ROLES, (1.0,)), steps_per_beat=24, bpm=1000.0)
    with pytest.raises(GhostnoteError, match=r"full: 884736 hits in 1024 bars; .* 200000"):
        plan_pattern(full, 1024)
    dense = groove(*(4 * i / MAX_HITS for i in range(MAX_HITS)))
    assert len(plan_groove(dense, 1).hits) > 0.97 * MAX_HITS
    with pytest.raises(GhostnoteError, match=r"g: 2[0-9]{8} hits in 1024 bars"):
        plan_groove(dense, 1024, 1000.0)
    with pytest.raises(GhostnoteError, match="hits in 1 bars"):
        LoopPlan("x", 1, 120.0, tuple((0.0, "kick", 1.0) for _ in range(MAX_HITS + 1)))


@given(
    st.lists(st.sampled_from([0.0, 0.5]), min_size=1, max_size=9), st.integers(1, 7), st.integers(0)
)
def test_the_hits_of_a_pattern_are_counted_to_the_last(
    steps: list[float], bars: int, less: int
) -> None:
    whole = plan_pattern(Pattern("p", {"kick": tuple(steps)}), bars)
    most = max(0, len(whole.hits) - less % 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops_module, "MAX_HITS", most)
        if less % 2 and whole.hits:
            with pytest.raises(GhostnoteError, match=f"p: {len(whole.hits)} hits"):
                plan_pattern(Pattern("p", {"kick": tuple(steps)}), bars)
        else:
            assert plan_pattern(Pattern("p", {"kick": tuple(steps)}), bars) == whole


@given(st.lists(st.integers(0, 47), min_size=1, max_size=12), st.integers(1, 9))
def test_a_groove_is_not_refused_for_hits_that_are_not_played(
    sixteenths: list[int], bars: int
) -> None:
    played = groove(*sorted(time / 4 for time in sixteenths + sixteenths))
    whole = plan_groove(played, bars)
    with pytest.MonkeyPatch.context() as patch:
        # What the seam of the whole loop takes away is counted still: one hit at most.
        patch.setattr(loops_module, "MAX_HITS", len(whole.hits) + 1)
        assert plan_groove(played, bars) == whole


def test_only() -> None:
    plan = LoopPlan("x", 1, 120.0, ((0.0, "kick", 1.0), (0.0, "ride", 1.0), (1.0, "ride", 1.0)))
    kept, lost = plan.only(["kick"])
    assert kept.hits == ((0.0, "kick", 1.0),)
    assert lost == {"ride": 2}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in(name: str) -> None:
    pattern = built_in_pattern(name)
    assert set(pattern.steps) <= set(ROLES)
    assert {len(steps) % 16 for steps in pattern.steps.values()} == {0}
    plan = plan_pattern(pattern, 4)
    assert plan.bpm == 120.0
    assert plan.hits[0][:2] == (0.0, "kick")
    # A closed hat on the same step would cut the open one off at once.
    assert not set(beats(plan, "hat")) & set(beats(plan, "open"))


def test_the_default_is_built_in() -> None:
    assert DEFAULT_PATTERN in BUILT_IN


def test_a_pattern_fills_the_bars() -> None:
    pattern = Pattern("p", {"kick": parse_steps("x...o..."), "hat": parse_steps("x..")}, 90.0)
    plan = plan_pattern(pattern, 2)
    assert (plan.name, plan.bars, plan.bpm) == ("p", 2, 90.0)
    assert beats(plan) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert [v for _, role, v in plan.hits if role == "kick"][:2] == [0.75, 0.35]
    assert beats(plan, "hat") == [step / 4 for step in range(0, 32, 3)]
    assert plan_pattern(pattern, 2, 140.0).bpm == 140.0
    assert list(plan.hits) == sorted(plan.hits, key=lambda hit: hit[0])


def test_swing_delays_every_other_step() -> None:
    pattern = Pattern("p", {"kick": parse_steps("xxx")}, steps_per_beat=2, swing=1 / 3)
    assert beats(plan_pattern(pattern, 1)) == pytest.approx(
        [0, 2 / 3, 1, 1 + 2 / 3, 2, 2 + 2 / 3, 3, 3 + 2 / 3]
    )


def test_a_longer_groove_is_cut() -> None:
    assert beats(plan_groove(groove(0, 1, 3.9, 4.1, 20), 1)) == [0, 1, 3.9]


def test_a_shorter_groove_is_repeated_by_whole_bars() -> None:
    assert beats(plan_groove(groove(0, 1.5, 5), 5)) == [0, 1.5, 5, 8, 9.5, 13, 16, 17.5]


def test_a_last_hit_on_a_bar_begins_that_bar() -> None:
    assert beats(plan_groove(groove(0, 4), 4)) == [0, 4, 8, 12]


def test_empty_bars_before_a_groove_are_left_out() -> None:
    assert beats(plan_groove(groove(9, 10), 2)) == [1, 2, 5, 6]


def test_a_first_hit_just_before_its_bar_is_on_it() -> None:
    assert beats(plan_groove(groove(7.98, 9), 2)) == [0, 1, 4, 5]


def test_a_downbeat_at_the_seam_is_struck_once() -> None:
    """The early downbeat of the bar that is cut off is the late one at the start once more."""
    assert beats(plan_groove(groove(0.02, 2, 3.97, 6), 1)) == [0.02, 2]
    assert beats(plan_groove(groove(0, 2, 3.875, 6), 1)) == [0, 2, 3.875]  # a 32nd is a stroke
    two = Groove("g", ((0.0, "kick", 1.0), (3.97, "snare", 1.0), (5.0, "kick", 1.0)), (), 100.0)
    assert beats(plan_groove(two, 1), "snare") == [3.97]  # another drum


def test_the_tempo_of_a_groove_may_change() -> None:
    assert plan_groove(groove(0, 1, 2, 3), 1).bpm == 100.0
    assert plan_groove(groove(0, 1, 2, 3), 1, 50.0).bpm == 50.0
    assert plan_groove(groove(0, 1, 2, 3), 1, 50.0).hits == plan_groove(groove(0, 1, 2, 3), 1).hits


def test_notes_of_one_role_at_one_time_are_one_hit() -> None:
    both = Groove("g", ((0.0, "kick", 0.3), (0.0, "kick", 0.8), (0.0, "hat", 0.1)), (), 100.0)
    assert plan_groove(both, 1).hits == ((0.0, "kick", 0.8), (0.0, "hat", 0.1))


@given(st.lists(st.floats(0, 40), min_size=1, max_size=20), st.integers(1, 12))
def test_any_groove_makes_a_loop(times: list[float], bars: int) -> None:
    plan = plan_groove(groove(*sorted(times)), bars)
    assert plan.bars == bars
    assert plan.hits


PATTERN = """
# a comment
bpm: 97.5
steps_per_beat: 3   # triplets
swing: 0.1
kick:  x..|...
snare: .  # silent
"""


def test_a_pattern_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(PATTERN)
    assert read_pattern(path, ROLES) == Pattern(
        "mine", {"kick": (0.75, 0, 0, 0, 0, 0), "snare": (0.0,)}, 97.5, 3, 0.1
    )


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "rendering.md").read_text()
    path = tmp_path / "shuffle.txt"
    path.write_text(text[text.index("# shuffle.txt") :].split("```")[0])
    pattern = read_pattern(path, ROLES)
    assert (pattern.bpm, pattern.swing, len(pattern.steps["kick"])) == (97.5, 0.33, 16)
    assert all(name in text for name in BUILT_IN)


def test_a_file_from_another_editor(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(b"\xef\xbb\xbfkick: x.\r\nhat:o\r\n")
    assert read_pattern(path, ROLES).steps == {"kick": (0.75, 0.0), "hat": (0.35,)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kick: x...\nkik: x...", r"line 2: no role is called 'kik'; .* kick, snare"),
        ("kick x...", "line 1: expected `role: steps`"),
        ("kick: x...q", "line 1: .*'q' at position 5"),
        ("kick: x... x...", "line 1: a space"),
        ("kick: x\n\nkick: x", "line 3: kick is there twice"),
        ("bpm: 90\nbpm: 91\nkick: x", "line 2: bpm is there twice"),
        ("bpm: fast\nkick: x", "line 1: bpm must be a number, 10 to 1000: 'fast'"),
        ("bpm: nan\nkick: x", "line 1: bpm must be"),
        ("bpm: 5\nkick: x", "line 1: bpm must be"),
        ("steps_per_beat: 2.5\nkick: x", "line 1: steps_per_beat must be a whole number"),
        ("swing: 0.9\nkick: x", "line 1: swing must be"),
        ("kick: " + "x" * 65, "line 1: pattern of 65 steps"),
        ("kick: ....", "no hit in it"),
        ("", "no hit in it"),
        ("#" * 70000, "over 65536 bytes"),
    ],
)
def test_wrong_files_are_told_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text(text)
    with pytest.raises(GhostnoteError, match=rf"wrong\.txt.*{reason}") as caught:
        read_pattern(path, ROLES)
    assert len(str(caught.value)) < 300


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(GhostnoteError, match="cannot be read"):
        read_pattern(tmp_path / "none.txt", ROLES)
    with pytest.raises(GhostnoteError, match="cannot be read"):
        read_pattern(tmp_path, ROLES)
    (tmp_path / "a.wav").write_bytes(b"RIFF\xff\xfe\x00\x00")
    with pytest.raises(GhostnoteError, match="not text"):
        read_pattern(tmp_path / "a.wav", ROLES)


def test_a_role_is_one_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("kick: x")
    with pytest.raises(GhostnoteError, match="roles are none"):
        read_pattern(tmp_path / "a.txt", ())
