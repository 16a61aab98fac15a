"""Pictures: one per kit, small, with the sound in them."""

from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from ghostnote.training.evaluate import EvalOptions, Played
from ghostnote.training.pictures import ROWS, draw_pictures, draw_piece, log_spectrogram
from tests.training.test_evaluate import model
from tests.training.tiny_drums import KITS, RATE, beat, render, write_corpus


def test_one_picture_and_one_sound_per_kit(tmp_path: Path) -> None:
    options = EvalOptions(grooves=1, seconds=4.0)
    paths = draw_pictures(model(), write_corpus(tmp_path / "corpus"), options, tmp_path / "out")
    assert [path.name for path in paths] == [f"{name}.png" for name in KITS]
    for path in paths:
        sound, rate = soundfile.read(path.with_suffix(".flac"))
        assert rate == RATE and len(sound) == round(8.5 * RATE)
        truth, played = sound[: 4 * RATE], sound[-4 * RATE :]
        assert truth.std() > 0.01 and played.std() > 0.01 and np.corrcoef(truth, played)[0, 1] < 0.9


def test_even_noise_stays_under_150_kb(tmp_path: Path) -> None:
    # Noise is the worst that a PNG can be given.
    loud = np.random.default_rng(0).uniform(-1.0, 1.0, 4 * RATE).astype(np.float32)
    path = tmp_path / "noise.png"
    draw_piece(Played(tuple(beat()), loud, loud), RATE, "noise", path)
    assert path.stat().st_size < 150_000


def test_the_generated_sound_is_below_the_truth(tmp_path: Path) -> None:
    silence = np.zeros(4 * RATE, np.float32)
    pictures = []
    for name, generated in (("silent", silence), ("beat", render(beat(), 4.0))):
        draw_piece(Played((), render(beat(), 4.0), generated), RATE, "x", tmp_path / f"{name}.png")
        pictures.append(np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"), float))
    changed = np.abs(pictures[0] - pictures[1]).mean(axis=1) > 3.0
    half = len(changed) // 2
    assert changed[half:].mean() > 0.3
    assert changed[:half].mean() < 0.1


def test_rows_are_octaves() -> None:
    t = np.arange(RATE) / RATE
    tops = []
    for hertz in (100.0, 400.0, 1600.0):
        sine = np.sin(2.0 * np.pi * hertz * t).astype(np.float32)
        levels = log_spectrogram(sine, RATE)
        assert levels.shape[0] == ROWS
        middle = levels[:, levels.shape[1] // 2]
        tops.append(int(np.argmax(middle)))
        assert abs(middle.max()) < 1.0  # a full-scale sine is at 0 dBFS
    assert abs((tops[2] - tops[1]) - (tops[1] - tops[0])) <= 2
