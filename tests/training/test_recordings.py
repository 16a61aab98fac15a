"""Recordings of every kind become clips; those that cannot be used are listed with the reason."""

import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training.dataset import Dataset, load_dataset
from ghostnote.training.prepare import CLIP_SECONDS
from ghostnote.training.recordings import PEAK, prepare_recordings
from tests.parts import corpus as real_corpus

RATE, HOP = 24000, 24
FORMATS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16")}
FORMATS |= {"ogg": ("OGG", "VORBIS"), "mp3": ("MP3", "MPEG_LAYER_III")}


def tone(hertz: float, seconds: float, rate: int, channels: int = 1) -> npt.NDArray[np.float64]:
    t = np.arange(round(seconds * rate)) / rate
    wave = 0.4 * np.sin(2 * np.pi * hertz * t)
    return np.stack([wave] * channels, axis=1)


def write(path: Path, audio: npt.NDArray[np.float64], rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind, subtype = FORMATS[path.suffix[1:]]
    soundfile.write(path, audio, rate, format=kind, subtype=subtype)


def loudest_hertz(audio: npt.NDArray[np.float32], rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.argmax(spectrum)) * rate / len(audio)


def prepare(folder: Path, out: Path) -> Dataset:
    dataset = prepare_recordings(folder, out, RATE, HOP, "CC0-1.0", ["me"])
    assert load_dataset(out) == dataset
    return dataset


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 24000, 44100, 48000])
@pytest.mark.parametrize("kind", FORMATS)
def test_any_format_rate_and_channels(tmp_path: Path, kind: str, rate: int, channels: int) -> None:
    write(tmp_path / "in" / f"a.{kind}", tone(440.0, 2.0, rate, channels), rate)
    dataset = prepare(tmp_path / "in", tmp_path / "out")
    assert not dataset.skipped and len(dataset.clips) == 1
    clip = dataset.clips[0]
    assert clip.frames % HOP == 0
    assert abs(clip.frames / RATE - 2.0) < 0.1  # mp3 adds some frames of silence
    audio = dataset.audio(clip)
    assert abs(loudest_hertz(audio, RATE) - 440.0) < 1.0
    assert np.abs(audio).max() == pytest.approx(PEAK, abs=0.02)


def test_stereo_is_mixed_and_what_cancels_out_is_silent(tmp_path: Path) -> None:
    left, right = tone(300.0, 1.0, RATE), tone(900.0, 1.0, RATE)
    write(tmp_path / "in" / "wide.wav", np.concatenate([left, right], axis=1), RATE)
    write(tmp_path / "in" / "void.wav", np.concatenate([left, -left], axis=1), RATE)
    dataset = prepare(tmp_path / "in", tmp_path / "out")
    spectrum = np.abs(np.fft.rfft(dataset.audio(dataset.clips[0])))
    assert spectrum[300] == pytest.approx(spectrum[900], rel=0.01)
    assert [s["file"] for s in dataset.skipped] == ["void.wav"]


def test_bad_files_are_listed_with_the_reason_and_the_others_used(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "good.wav", tone(200.0, 1.0, 44100), 44100)
    write(folder / "silent.wav", np.zeros((44100, 2)), 44100)
    write(folder / "short.wav", tone(200.0, 0.3, 44100), 44100)
    (folder / "text.wav").write_text("this is not a sound")
    (folder / "empty.flac").write_bytes(b"")
    write(folder / "cut.flac", tone(200.0, 3.0, 44100) + 0.01, 44100)
    data = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(data[: len(data) // 2])
    nan = tone(200.0, 1.0, 44100)
    nan[1000] = np.nan
    soundfile.write(folder / "nan.wav", nan, 44100, subtype="FLOAT")
    (folder / "readme.txt").write_text("no sound file, so not even looked at")
    (folder / "folder.wav").mkdir()
    dataset = prepare(folder, tmp_path / "out")
    reasons = {entry["file"]: entry["reason"] for entry in dataset.skipped}
    assert reasons["silent.wav"] == "is silent (peak under -60 dBFS)"
    assert reasons["short.wav"] == "is too short (0.30 s, at least 0.5 s)"
    assert reasons["text.wav"].startswith("cannot be read (")
    assert reasons["empty.flac"].startswith("cannot be read (")
    assert reasons["nan.wav"] == "holds values that are not numbers"
    used = 1 + ("cut.flac" not in reasons)
    assert len(dataset.clips) == used
    assert set(reasons) - {"cut.flac"} == {
        "silent.wav",
        "short.wav",
        "text.wav",
        "empty.flac",
        "nan.wav",
    }


def test_a_cut_off_wav_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    write(tmp_path / "in" / "cut.wav", tone(200.0, 4.0, 48000), 48000)
    data = (tmp_path / "in" / "cut.wav").read_bytes()
    (tmp_path / "in" / "cut.wav").write_bytes(data[: len(data) // 2])
    dataset = prepare(tmp_path / "in", tmp_path / "out")
    assert dataset.seconds("train") == pytest.approx(2.0, abs=0.01)


def test_only_bad_files_end_it_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(GhostnoteError, match=r"nothing to train on; no file ends in \.wav \.flac"):
        prepare(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "a.wav").write_text("text")
    (tmp_path / "in" / "b.wav").write_text("text")
    with pytest.raises(GhostnoteError, match=r"first reason: a\.wav cannot be read"):
        prepare(tmp_path / "in", tmp_path / "out")
    with pytest.raises(GhostnoteError, match="no dataset in"):
        load_dataset(tmp_path / "out")
    with pytest.raises(GhostnoteError, match="is not a folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out")


def test_sub_folders_are_kits(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("jungle/one.wav", "jungle/live/two.wav", "techno/three.wav", "loose.wav"):
        write(folder / name, tone(200.0, 1.0, RATE), RATE)
    (folder / "broken").mkdir()
    (folder / "broken" / "four.wav").write_text("text")
    dataset = prepare(folder, tmp_path / "out")
    assert dataset.kits == ("jungle", "techno")  # none of which nothing could be used
    assert sorted("".join(clip.kits) for clip in dataset.clips) == [
        "",
        "jungle",
        "jungle",
        "techno",
    ]
    assert dataset.sources == [{"source": "in", "licence": "CC0-1.0", "authors": ["me"]}]


def test_long_recordings_are_cut_and_a_tenth_is_held_back(tmp_path: Path) -> None:
    rate = 8000
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.9, 0.9, (int(12.5 * CLIP_SECONDS * rate), 1))
    write(tmp_path / "in" / "long.wav", noise, rate)
    write(tmp_path / "in" / "z-rest.wav", noise[: int(20.4 * rate)], rate)
    out = tmp_path / "out"
    dataset = prepare_recordings(tmp_path / "in", out, rate, 8)
    seconds = [clip.frames / rate for clip in dataset.clips]
    # The 0.4 s that remain of the second file are too short for a clip.
    assert seconds == [CLIP_SECONDS] * 12 + [CLIP_SECONDS / 2] + [CLIP_SECONDS]
    split = [clip.split for clip in dataset.clips]
    assert [i + 1 for i, name in enumerate(split) if name == "validation"] == [5]
    joined = np.concatenate([dataset.audio(clip) for clip in dataset.clips[:13]])
    gain = PEAK / np.abs(noise).max()
    np.testing.assert_allclose(joined, noise[: len(joined), 0] * gain, atol=1e-4)


def test_cut_and_resampled_is_as_resampled_whole(tmp_path: Path) -> None:
    """No click where two clips meet: a tone stays a tone across the seam."""
    write(tmp_path / "in" / "long.wav", tone(440.0, 2 * CLIP_SECONDS, 44100), 44100)
    dataset = prepare(tmp_path / "in", tmp_path / "out")
    joined = np.concatenate([dataset.audio(clip) for clip in dataset.clips])
    seam = dataset.clips[0].frames
    t = np.arange(seam - 2000, seam + 2000) / RATE
    expected = PEAK * np.sin(2 * np.pi * 440.0 * t)
    np.testing.assert_allclose(joined[seam - 2000 : seam + 2000], expected, atol=2e-3)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    minutes = 4
    write(tmp_path / "in" / "a.wav", np.full((minutes * 60 * 48000, 2), 0.5), 48000)
    whole = minutes * 60 * 48000 * 2 * 4
    tracemalloc.start()
    try:
        prepare(tmp_path / "in", tmp_path / "out")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < whole / 4, f"{peak} bytes for {whole} of sound"


def test_impossible_models_are_refused_before_any_work(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.wav", tone(200.0, 1.0, RATE), RATE)
    with pytest.raises(GhostnoteError, match="samplerate must be"):
        prepare_recordings(tmp_path / "in", tmp_path / "out", samplerate=10)
    for i in range(70):
        write(tmp_path / "in" / f"kit{i}" / "a.wav", tone(200.0, 1.0, RATE), RATE)
    with pytest.raises(GhostnoteError, match=r"kits .*must be 0 to 64, found 70"):
        prepare(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_loops_of_the_real_corpus(tmp_path: Path) -> None:
    dataset = prepare(real_corpus() / "loops", tmp_path / "out")
    assert not dataset.skipped
    assert dataset.seconds("train") + dataset.seconds("validation") == pytest.approx(102, abs=3)
