"""Priming: a stream goes on from a file's end, the same each time, and from no file it should not."""

import dataclasses
import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.kernels import levels as amplitudes
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import random_weights
from ghostnote.osc_server import prime as priming
from ghostnote.osc_server.prime import fed_samples, file_sha256, prime, primed_state, read_end
from tests.inference.small_models import MIXTURES, SPECS

RATE = 24000
NOISE = np.random.default_rng(3).uniform(-0.5, 0.5, (3 * RATE, 2)).astype(np.float32)


def model(name: str = "long") -> Packed:
    spec = {**SPECS, **MIXTURES}[name]
    return pack(spec, random_weights(spec, seed=1, gain=3.0))


def following(state: State, count: int = 500) -> list[float]:
    out = np.empty(count, np.float32)
    state.generate(out)
    return [float(sample) for sample in out]


def levels_of(packed: Packed, sound: np.ndarray) -> np.ndarray:
    return amplitudes.of_sound(packed.spec, sound)


@pytest.mark.parametrize("name", ["long", "one short layer", "mixture", "mixture, one layer"])
def test_it_goes_on_as_if_it_had_played_the_file(tmp_path: Path, name: str) -> None:
    packed = model(name)
    soundfile.write(tmp_path / "a.wav", NOISE, RATE, subtype="FLOAT")
    kit = [0.25, 0.75][: len(packed.spec.kits)]
    state = prime(packed, tmp_path, "a.wav", kit).state
    count = fed_samples(packed.spec)
    assert state.index == count and count % packed.spec.hop == 0
    assert 2 * packed.spec.receptive_field <= count

    heard = State(packed)
    if kit:
        heard.set_kit(kit)
    heard.reset()
    # Twice what it remembers: what came before changes nothing.
    mono = NOISE.astype(np.float64).mean(axis=1).astype(np.float32)
    heard.teacher_force(levels_of(packed, mono[-2 * count :]))
    probe = levels_of(packed, NOISE[:200, 1])
    np.testing.assert_array_equal(state.teacher_force(probe), heard.teacher_force(probe))


def test_the_same_file_makes_the_same_stream_again(tmp_path: Path) -> None:
    packed = model()
    soundfile.write(tmp_path / "a.flac", NOISE, 44100)
    state, sha256 = prime(packed, tmp_path, "a.flac", [0.1, 0.9])
    again = primed_state(packed, tmp_path / "a.flac", (0.1, 0.9))
    assert following(again) == following(state)
    assert sha256 == file_sha256(tmp_path / "a.flac")
    assert sha256 == hashlib.sha256((tmp_path / "a.flac").read_bytes()).hexdigest()


def test_the_kit_counts_while_the_file_is_fed(tmp_path: Path) -> None:
    packed = model()
    soundfile.write(tmp_path / "a.wav", NOISE, RATE)
    one, two = (prime(packed, tmp_path, "a.wav", kit).state for kit in ([1, 0], [0, 1]))
    assert (one.floats != two.floats).any()


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.wav", {"subtype": "PCM_16"}), ("a.flac", {}), ("a.ogg", {}), ("a.rf64", {})],
)
@pytest.mark.parametrize("rate", [8000, RATE, 48000])
def test_formats_and_rates(tmp_path: Path, name: str, options: dict[str, str], rate: int) -> None:
    packed = model()
    time = np.arange(rate) / rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / name, np.stack([tone, tone], 1), rate, **options)
    sound = read_end(tmp_path / name, 0.2)
    assert sound.samplerate == rate and abs(len(sound.samples) - 0.2 * rate) <= 1
    levels = priming.to_levels(packed.spec, sound)
    heard = amplitudes.decode(packed.spec, levels)
    count = fed_samples(packed.spec)
    expected = 0.5 * np.sin(2 * np.pi * 440 * (np.arange(-count, 0) + RATE) / RATE)
    away = np.abs(heard - expected)[: -RATE // 100]  # where the file ends the resampler does, too
    assert away.max() < 0.12  # 33 levels


def test_a_short_file_comes_after_silence(tmp_path: Path) -> None:
    packed = model()
    soundfile.write(tmp_path / "a.wav", NOISE[:10, :1], RATE, subtype="FLOAT")
    levels = priming.to_levels(packed.spec, read_end(tmp_path / "a.wav", 1.0))
    assert (levels[:-10] == packed.spec.silence).all()
    assert levels[-10:].tolist() == levels_of(packed, NOISE[:10, 0]).tolist()


def test_what_is_no_number_is_no_harm(tmp_path: Path) -> None:
    bad = np.array([np.nan, np.inf, -np.inf, 3e38, 0.5], np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([bad, bad], 1), RATE, subtype="FLOAT")
    sound = read_end(tmp_path / "a.wav", 1.0)
    assert sound.samples.tolist() == [0.0, 1.0, -1.0, np.float32(3e38), 0.5]
    prime(model(), tmp_path, "a.wav", [1, 0])


@pytest.mark.parametrize("name", ["../a.wav", "/etc/passwd", "", "a\0b", "link.wav", "x" * 300])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "primes"
    root.mkdir()
    soundfile.write(tmp_path / "a.wav", NOISE, RATE)
    (root / "link.wav").symlink_to(tmp_path / "a.wav")
    with pytest.raises(GhostnoteError, match="file name"):
        prime(model(), root, name, [1, 0])


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes with names")
def test_files_that_are_none_are_refused_in_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("RIFF no sound at all")
    with (tmp_path / "huge.wav").open("wb") as file:
        file.truncate(priming.MAX_BYTES + 1)
    soundfile.write(tmp_path / "none.wav", NOISE[:0], RATE)
    soundfile.write(tmp_path / "long.wav", np.zeros(61 * 8000, np.int16), 8000)
    soundfile.write(tmp_path / "a.aiff", NOISE, RATE)
    for name, reason in (
        ("pipe.wav", "is no file"), ("folder.wav", "is no file"), ("absent.wav", "is no file"),
        ("empty.wav", "no sound file"), ("text.wav", "no sound file"), ("huge.wav", "at most"),
        ("none.wav", r"0\.0 s; must be"), ("long.wav", r"61\.0 s; must be"), ("a.aiff", "is AIFF"),
    ):  # fmt: skip
        with pytest.raises(GhostnoteError, match=reason) as refusal:
            prime(model(), tmp_path, name, [1, 0])
        assert "\n" not in str(refusal.value)


@given(st.binary(max_size=200), st.sampled_from(["wav", "flac", "ogg"]), st.integers(0, 400))
def test_damaged_files_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, damage: bytes, kind: str, place: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / f"a.{kind}"
    soundfile.write(path, NOISE[:2000], RATE)
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + damage + whole[place + len(damage) :])
    try:
        sound = read_end(path, 0.05)
    except GhostnoteError as error:
        assert "\n" not in str(error)
    else:
        assert len(sound.samples) <= np.ceil(0.05 * sound.samplerate)
        assert np.isfinite(sound.samples).all()


def test_at_most_two_seconds_are_fed() -> None:
    spec = dataclasses.replace(SPECS["long"], dilations=(20_000, 20_000), samplerate=16000)
    assert fed_samples(spec) == 32000 // spec.hop * spec.hop
