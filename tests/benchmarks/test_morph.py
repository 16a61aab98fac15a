"""`benchmarks.morph`: a plain blend is passed, a doubled attack and a click are caught."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training import morphing
from tests.training import tiny_drums

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # as `python -m benchmarks.morph` finds it
try:
    from benchmarks import morph
finally:
    sys.path.remove(str(ROOT))

AUDIO = npt.NDArray[np.float32]
RATE = 24000
LEAD = round(morph.LEAD * RATE)
LATE = round(morph.COPY_SECONDS * RATE)
SPEC = replace(tiny_drums.spec(), residual=8)


def drum(hertz: float, decay: float, noise: float, seed: int = 0, seconds: float = 0.14) -> AUDIO:
    """A tone and noise that die away together, after the lead of a lone hit."""
    t = np.arange(round(seconds * RATE) - LEAD) / RATE
    hiss = noise * np.random.default_rng(seed).standard_normal(len(t))
    struck = (np.sin(2.0 * np.pi * hertz * t) + hiss) * np.exp(-t / decay)
    return np.concatenate([np.zeros(LEAD), 0.3 * struck]).astype(np.float32)


def low(seed: int = 0) -> AUDIO:
    return drum(150.0, 0.03, 0.05, seed)


def high(seed: int = 0) -> AUDIO:
    return drum(900.0, 0.02, 0.2, 100 + seed)


def test_a_blend_lies_between_and_neither_kit_does() -> None:
    one, other = [low(i) for i in range(3)], [high(i) for i in range(3)]
    blends = [0.5 * a + 0.5 * b for a, b in zip(one, other, strict=True)]
    found = morph.judge(one, other, blends, RATE)
    assert [place.strictly for place in found.places] == [True] and found.doubled == 0
    assert 0.2 < found.places[0].at < 0.8
    beyond = morph.judge(one, other, [drum(3000.0, 0.02, 0.2)], RATE)
    assert not beyond.places[0].between and beyond.places[0].at > 1.0


def test_centroids_are_of_the_tone_that_sounds() -> None:
    tone = drum(440.0, 1.0, 0.0)
    found = morphing.centroid(tone[LEAD:], RATE)
    assert found is not None and 2.0**found == pytest.approx(440.0, rel=0.02)
    assert morphing.centroid(np.zeros(RATE, np.float32), RATE) is None


def test_kits_that_differ_no_more_than_their_takes_tell_nothing() -> None:
    assert morphing.place([8.0, 8.5, 9.0], [8.6, 9.0, 8.2], [8.5]) is None
    assert morphing.place([8.0], [8.05], [8.02]) is None
    place = morphing.place([8.0, 8.01], [9.0, 9.01], [9.05])
    assert place is not None and place.between and not place.strictly
    found = morph.judge([low()], [low()], [low()], RATE)
    assert found.alike == 1 and not found.places


def test_a_copy_20_ms_later_is_a_doubled_attack() -> None:
    one, other = [low(i) for i in range(3)], [high(i) for i in range(3)]
    blend = (0.5 * low(7) + 0.5 * high(7)).astype(np.float32)
    copied = blend + np.pad(blend, (LATE, 0))[: len(blend)]
    apart = 0.5 * low(7) + 0.5 * np.pad(high(7), (LATE, 0))[: len(blend)]
    assert morph.judge(one, other, [copied, apart], RATE).doubled == 2
    found = morph.judge(one, other, [blend], RATE)
    assert found.doubled == 0 and found.caught == 1


def test_strokes_that_a_kit_has_itself_are_no_doubled_attack() -> None:
    clap = high() + np.pad(high(1), (LATE, 0))[: len(high())]
    found = morph.judge([low()], [clap], [0.5 * low() + 0.5 * clap], RATE)
    assert found.doubled == 0


def test_silent_takes_are_told_and_not_measured() -> None:
    silence = np.zeros_like(low())
    found = morph.judge([low(), silence], [silence], [low()], RATE).told()
    assert found["silent"] == 1 and found["hits"] == 0 and found["between"] is None


def played(sound: AUDIO) -> AUDIO:
    """The pattern of the glides with one sound."""
    out = np.zeros(round(morph.SECONDS * RATE), np.float32)
    for t, _, _ in morph.pattern(("kick",)):
        first = round(t * RATE)
        piece = sound[LEAD:][: len(out) - first]
        out[first : first + len(piece)] += piece
    return out


def test_a_cross_fade_is_passed_and_a_click_is_caught() -> None:
    a = played(drum(150.0, 0.1, 0.1, 0, 0.3))
    b = played(drum(900.0, 0.05, 0.2, 1, 0.3))
    share = np.interp(np.arange(len(a)) / RATE, np.ravel(morph.GLIDES), (0.0, 1.0, 1.0, 0.0))
    faded = ((1.0 - share) * a + share * b).astype(np.float32)
    heard = morph.Listened()
    heard.hear(faded, [a, b], RATE)
    assert heard.clicks == [0, 0] and heard.loudest_db is None
    assert heard.seconds == pytest.approx([0.8, 1.0], abs=0.02)

    clicked = faded.copy()
    clicked[round(0.97 * RATE)] += 0.2  # in a tail
    clicked[round(3.0 * RATE)] += 0.01  # in silence
    clicked[round(2.2 * RATE)] += 0.5  # where nothing glides
    clicked[round(0.86 * RATE)] += 0.2  # in the attack of a hit
    heard.hear(clicked, [a, b], RATE)
    assert heard.clicks == [1, 1]
    assert heard.loudest_db is not None and heard.loudest_db > morphing.CLICK_DB
    assert heard.told()["clicks_per_minute"] == pytest.approx(2 * 60 / 3.6, rel=0.03)


def test_a_step_of_the_weights_that_steps_the_sound_is_caught() -> None:
    a = played(drum(150.0, 0.1, 0.0, 0, 0.3))
    stepped = a.copy()
    stepped[round(0.9717 * RATE) :] *= -1.0
    hits = [t for t, _, _ in morph.pattern(("kick",))]
    clicks = morphing.clicks(stepped, [a], hits, morph.TAILS, RATE)
    assert [t for t, _ in clicks] == [pytest.approx(0.9717, abs=0.003)]
    steps = [morphing.largest_step(x, hits, morph.TAILS, RATE) for x in (stepped, a)]
    assert steps[0] > 2.0 * steps[1]


def test_pairs_are_few_and_spread_over_all() -> None:
    names = [f"kit{i}" for i in range(8)]
    pairs = morph.choose_pairs(names, 10)
    assert len(set(pairs)) == 10 and len({name for pair in pairs for name in pair}) == 8
    assert morph.choose_pairs(names[:2], 10) == [("kit0", "kit1")]


def test_weights_go_from_one_kit_to_the_other_and_back_hop_by_hop() -> None:
    shares = list(morph.shares(SPEC))
    hops = SPEC.samplerate // SPEC.hop
    assert [share for _, share in shares[:2]] == [1.0 / hops, 2.0 / hops]
    assert shares[hops - 1][1] == 1.0 and shares[-1][1] == 0.0 and len(shares) == 2 * hops
    assert all(later[0] - one[0] == SPEC.hop for one, later in itertools.pairwise(shares[:hops]))


def tiny() -> ModelFile:
    weights = tiny_drums.weights(SPEC)
    return ModelFile(Path("tiny.onnx"), 0, "", SPEC, weights, {"name": "tiny"}, {})


def test_the_program_measures_any_model(tmp_path: Path) -> None:
    corpus = tiny_drums.write_corpus(tmp_path / "corpus")
    told = morph.measure(tiny(), corpus, most=10, seeds=2)
    assert told["pairs"] == [("first", "second")] and not told["kits_missing"]
    assert set(told["roles"]["model"]) == set(SPEC.roles)
    assert told["all"]["truth"]["alike"] == 3  # the corpus's two kits are one
    assert told["glides"]["glide"]["seconds"] == pytest.approx([1.6, 2.0], abs=0.1)
    page = morph.page(told)
    assert "| kick |" in page and "| gliding |" in page and page.endswith(".")
    without = morph.measure(tiny(), None, most=1, seeds=2)
    assert "truth" not in without["all"] and "one-shots" not in morph.page(without)


def test_what_cannot_be_measured_is_refused() -> None:
    one = replace(SPEC, kits=("first",))
    with pytest.raises(GhostnoteError, match="no two kits"):
        morph.measure(replace(tiny(), spec=one, weights=tiny_drums.weights(one)), None, 1, 2)
    with pytest.raises(GhostnoteError, match="2 seeds"):
        morph.measure(tiny(), None, 1, 1)
