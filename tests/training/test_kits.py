"""Kits: which sample a hit plays, how loud, and what cuts it off."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES
from ghostnote.training.dataset import SILENCE_PEAK
from ghostnote.training.kits import CHOKE_SECONDS, LOUD_PEAK, Kit, load_kit, soft_clip
from tests.parts import corpus as real_corpus
from tests.training.small_corpus import RATE

CHOKES = (("hat", "open"),)


@pytest.fixture(scope="module")
def dry(corpus: Path) -> Kit:
    return load_kit(corpus, "dry", RATE, ROLES)


@pytest.fixture
def own_corpus(corpus: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(corpus, tmp_path / "corpus"))


def test_a_role_is_one_sound_and_what_a_kit_lacks_is_absent(dry: Kit, corpus: Path) -> None:
    assert set(dry.layers) == {"kick", "snare", "hat", "open", "rim"}
    assert [len(dry.layers[role]) for role in ("kick", "snare", "hat")] == [1, 3, 2]
    wet = load_kit(corpus, "wet", RATE, ROLES)
    assert set(wet.layers) == {"kick", "snare", "hat", "clap"}
    assert wet.files >= {"oneshots/clap/wet__clap.flac", "oneshots/kick/wet__kick.flac"}


@pytest.mark.parametrize(
    ("velocity", "name"), [(1, "soft"), (60, "soft"), (61, "mid"), (100, "mid"), (127, "hard")]
)
def test_velocity_chooses_the_layer(dry: Kit, velocity: float, name: str) -> None:
    assert dry.pick("snare", velocity, turn=0).file.endswith(f"snare_{name}.flac")


def test_a_velocity_between_layers_takes_the_nearest(dry: Kit) -> None:
    assert dry.pick("snare", 60.4, turn=0).file.endswith("snare_soft.flac")  # 50 against 90
    assert dry.pick("snare", 100.6, turn=0).file.endswith("snare_mid.flac")  # 90 against 120


def test_samples_take_turns_in_the_order_of_the_table(dry: Kit) -> None:
    played = [dry.pick("hat", 100, turn).file[-6] for turn in range(4)]
    assert played == ["a", "b", "a", "b"]
    hits = [(0, "hat", 0.9), (1000, "kick", 0.9), (4000, "hat", 0.9), (6000, "hat", 0.9)]
    audio = dry.render(hits, 8000)
    first, second, third = audio[0], audio[4000], audio[6000]
    assert first == pytest.approx(third) and first / second == pytest.approx(0.31 / 0.30, rel=1e-3)


def test_velocity_sets_the_level_where_the_table_says_so(dry: Kit) -> None:
    soft, loud = (np.abs(dry.render([(0, "kick", v)], 2000)).max() for v in (0.25, 0.5))
    assert loud / soft == pytest.approx(2**1.6, rel=1e-3)
    # The snare's layers were recorded at their levels: within one, velocity changes nothing.
    one, two = (dry.render([(0, "snare", v)], 2000) for v in (0.55, 0.75))
    np.testing.assert_array_equal(one, two)


def test_kits_are_brought_to_one_level(dry: Kit, corpus: Path) -> None:
    for kit in (dry, load_kit(corpus, "wet", RATE, ROLES)):
        peaks = [np.abs(kit.render([(0, r, 110 / 127)], 2000)).max() for r in ("kick", "snare")]
        assert max(peaks) == pytest.approx(LOUD_PEAK, rel=1e-5)


def test_a_closed_hat_chokes_an_open_one(dry: Kit) -> None:
    fade = round(CHOKE_SECONDS * RATE)
    ringing = dry.render([(0, "open", 0.8)], 4000, CHOKES)
    choked = dry.render([(0, "open", 0.8), (1000, "hat", 0.8)], 4000, CHOKES)
    alone = dry.render([(1000, "hat", 0.8)], 4000, CHOKES)
    np.testing.assert_array_equal(choked[:1000], ringing[:1000])
    np.testing.assert_array_equal(choked[1000 + fade :], alone[1000 + fade :])
    assert np.abs(ringing[1000 + fade : 2000]).max() > 10 * SILENCE_PEAK
    fading = np.abs(choked - alone)[1000 : 1000 + fade]
    assert (fading <= np.abs(ringing[1000 : 1000 + fade]) + 1e-6).all()
    # A kick does not choke, and nothing chokes where no pair is named.
    for hits, pairs in (
        ([(0, "open", 0.8), (1000, "kick", 0.8)], CHOKES),
        ([(0, "open", 0.8), (1000, "hat", 0.8)], ()),
    ):
        assert not np.allclose(
            dry.render(hits, 4000, pairs)[1100:2000], dry.render(hits[1:], 4000)[1100:2000]
        )


def test_hits_at_the_end_are_cut_and_beyond_it_left_out(dry: Kit) -> None:
    audio = dry.render([(1990, "kick", 1.0), (2000, "snare", 1.0), (5000, "kick", 1.0)], 2000)
    assert len(audio) == 2000 and audio[1990] != 0.0 and not audio[:1990].any()


def test_loud_sums_bend_instead_of_clipping() -> None:
    x = np.linspace(-3.0, 3.0, 6001)
    y = soft_clip(x)
    inside = np.abs(x) <= 0.7
    np.testing.assert_array_equal(y[inside], x[inside])
    assert np.abs(y).max() <= 1.0 and (np.diff(y) >= 0).all()
    assert np.abs(np.diff(y, 2)).max() < 1e-4  # no corner


def test_samples_that_cannot_be_used_are_listed(own_corpus: Path) -> None:
    samples = own_corpus / "oneshots"
    (samples / "hat" / "dry__hat_a.flac").unlink()
    (samples / "open" / "dry__open.flac").write_text("not a sound")
    soundfile.write(samples / "snare" / "dry__snare_mid.flac", np.zeros(800), RATE)
    table = own_corpus / "kits" / "dry.csv"
    table.write_text(table.read_text().replace("dry__side.flac,1,127", "dry__side.flac,one,127"))
    kit = load_kit(own_corpus, "dry", RATE, ROLES)
    reasons = {Path(entry["file"]).stem: entry["reason"] for entry in kit.skipped}
    assert set(reasons) == {"dry__hat_a", "dry__open", "dry__snare_mid", "dry__side"}
    assert "cannot be read" in reasons["dry__hat_a"] and "cannot be read" in reasons["dry__open"]
    assert reasons["dry__snare_mid"] == "is silent (peak under -60 dBFS)"
    assert "impossible number" in reasons["dry__side"] and "'one'" in reasons["dry__side"]
    assert set(kit.layers) == {"kick", "snare", "hat"} and len(kit.layers["snare"]) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.unlink(), "cannot read"),
        (lambda t: t.write_text("role,path\nkick,x.flac\n"), "lacks the column 'gain_db'"),
        (lambda t: t.write_bytes(b"\xff\xfe\x00"), "is no CSV table"),
        (lambda t: t.write_text(t.read_text().splitlines()[0]), "no usable kick or snare"),
        (
            lambda t: t.write_text(t.read_text().replace("oneshots/", "gone/")),
            "gone/kick/dry__kick",
        ),
    ],
)
def test_a_useless_table_is_refused_in_one_line(
    own_corpus: Path, change: Callable[[Path], object], told: str
) -> None:
    change(own_corpus / "kits" / "dry.csv")
    with pytest.raises(GhostnoteError, match=r"^kit 'dry': ") as caught:
        load_kit(own_corpus, "dry", RATE, ROLES)
    assert told in str(caught.value)


@pytest.mark.parametrize("name", ["jhd808", "fluid-power", "bobobo-cajon"])
def test_a_hit_with_a_real_kit_begins_within_two_milliseconds(name: str) -> None:
    rate = 24000
    kit = load_kit(real_corpus(), name, rate, ROLES)
    assert not kit.skipped and {"kick", "snare", "hat"} <= set(kit.layers)
    for role in kit.layers:
        audio = np.abs(kit.render([(480, role, 1.0)], rate))
        onset = int(np.argmax(audio > 0.02 * audio.max()))
        # Before the hit there is at most the resampler's ringing, of the sample's own pre-roll.
        assert 480 <= onset <= 480 + 0.003 * rate, f"{role}: {onset - 480} samples late"
