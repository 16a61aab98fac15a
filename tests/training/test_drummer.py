"""Training the drummer: what takes become, that it learns, that it is repeatable; its figures."""

import csv
from pathlib import Path

import mido
import numpy as np
import pytest

from ghostnote.inference.drummer import Drummer, DrummerSettings
from ghostnote.inference.drummer_file import load_drummer, save_drummer
from ghostnote.inference.drummer_steps import BAR_STEPS, Stroke
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES
from ghostnote.training.drummer import DrummerConfig, train_drummer
from ghostnote.training.drummer_data import (
    LEAD_BARS,
    Take,
    densities,
    density_measure,
    labels_of,
    read_takes,
)
from ghostnote.training.drummer_figures import (
    StyleJudge,
    copies,
    distances,
    repetition,
    wasserstein,
)

KICK, SNARE, TOM = 36, 38, 45


def write_take(path: Path, bars: int, fill: int | None = None) -> None:
    """Kick and snare on their beats, a little late; toms on all sixteenths of one bar."""
    file, track = mido.MidiFile(ticks_per_beat=480), mido.MidiTrack()
    file.tracks.append(track)
    now = 0
    for bar in range(bars):
        for step in range(16):
            note = TOM if bar == fill else {0: KICK, 4: SNARE, 8: KICK, 12: SNARE}.get(step)
            if note:
                at = bar * 1920 + step * 120 + 10
                track.append(
                    mido.Message("note_on", channel=9, note=note, velocity=90, time=at - now)
                )
                now = at
    track.append(mido.Message("note_on", channel=9, note=KICK, velocity=90, time=bars * 1920 - now))
    file.save(path)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    (root / "grooves").mkdir()
    rows = [
        ("a", "train", "rock", "beat", 24, 11, "4-4"),
        ("b", "train", "rock/slow", "beat", 20, None, "4-4"),
        ("c", "train", "rock", "fill", 1, 0, "4-4"),
        ("d", "validation", "rock", "beat", 8, None, "4-4"),
        ("e", "train", "waltz", "beat", 30, None, "3-4"),
        ("f", "train", "polka", "beat", 3, None, "4-4"),
    ]
    (root / "manifest.csv").write_text(
        "path,source,licence\ngrooves/a.mid,Some Grooves,CC0-1.0\noneshots/x.flac,Other,MIT\n"
    )
    with (root / "grooves" / "info.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = "path,split,drummer,session,style,bpm,beat_type,time_signature"
        writer.writerow(names.split(","))
        for name, split, style, kind, bars, fill, metre in rows:
            write_take(root / "grooves" / f"{name}.mid", bars, fill)
            path = f"grooves/{name}.mid"
            writer.writerow([path, split, "drummer1", "one", style, "100", kind, metre])
    return root


def test_takes_are_whole_bars_with_their_fills(corpus: Path) -> None:
    takes = {take.name: take for take in read_takes(corpus, "train")}
    assert set(takes) == {"a", "b", "c", "f"}
    assert takes["a"].bars == 24
    assert np.flatnonzero(takes["a"].fills).tolist() == [11]
    assert [[role for role, _, _ in step] for step in takes["a"].bar(0)[:5]] == [
        [ROLES.index("kick")], [], [], [], [ROLES.index("snare")],
    ]  # fmt: skip
    spliced = takes["c"]
    assert np.flatnonzero(spliced.counts).tolist() == [LEAD_BARS]
    assert len(spliced.bar(LEAD_BARS)[3]) == 1
    assert [len(step) for step in spliced.bar(0)].count(1) == 4
    assert labels_of([*takes.values()]) == ("rock", "rock/slow")


def test_density_is_the_share_of_bars_that_are_sparser(corpus: Path) -> None:
    takes = read_takes(corpus, "train")
    measure = density_measure(takes)
    strokes: list[list[Stroke]] = [[(0, 5, 5)] * 2 for _ in range(BAR_STEPS)]
    flags = np.zeros(1, np.bool_)
    assert densities(Take("x", "rock", 100, strokes, flags, ~flags), measure).tolist() == [1.0]
    empty: list[list[Stroke]] = [[] for _ in range(BAR_STEPS)]
    assert densities(Take("x", "rock", 100, empty, flags, ~flags), measure).tolist() == [0.0]


def test_no_list_of_grooves_is_told(tmp_path: Path) -> None:
    with pytest.raises(GhostnoteError, match="no list of grooves"):
        read_takes(tmp_path, "train")


def test_it_learns_and_the_same_again(corpus: Path, tmp_path: Path) -> None:
    config = DrummerConfig(steps=60, windows=4, channels=16, width=24, learning_rate=0.01, ema=0.9)
    told: list[str] = []
    spec, weights, facts = train_drummer(corpus, config, told.append)
    assert facts["bars"] == 24 + 20 + 1 + 3
    assert facts["validation_bits_per_bar"]["role"] < 25
    again = train_drummer(corpus, config, told.append)[1]
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    save_drummer(tmp_path / "d.onnx", spec, weights, facts)
    file = load_drummer(tmp_path / "d.onnx")
    drummer = Drummer(file, DrummerSettings(fill=0))
    played = [role for bar in range(8) for _, role, _ in drummer.bar(bar, 100.0)]
    assert min(played.count("kick"), played.count("snare")) > 8
    assert file.facts["training"]["steps"] == 60
    assert file.facts["sources"] == [{"source": "Some Grooves", "licence": "CC0-1.0"}]


def test_figures_tell_what_is_alike_from_what_is_not() -> None:
    one: list[list[Stroke]] = [[(0, 20, 16)] if at % 4 == 0 else [] for at in range(16)]
    two: list[list[Stroke]] = [[(1, 28, 18)] if at % 4 == 2 else [] for at in range(16)]
    rock, jazz = [one] * 60, [two] * 60
    assert wasserstein([0, 0], [1, 3]) == 2.0
    same = distances([rock], [rock])
    assert same["velocity"] == same["offset"] == same["strokes_per_bar"] == 0.0
    assert same["places_kl"] == pytest.approx(0.0)
    assert distances([rock], [jazz])["places_kl"] > 3
    assert copies([[one, two]], [rock]) == 0.5
    assert copies([rock], [jazz], 4) == 0.0
    told = repetition([[one, two, one, two]])
    assert told["alike"][1] == 0.0
    assert told["same"][2] == 1.0
    assert told["new"] == 0.5
    judge = StyleJudge([("rock", rock), ("jazz", jazz)])
    assert [judge.style(rock), judge.style(jazz)] == ["rock", "jazz"]
