"""Grabbing: the very frames between bar lines, loops of the tempo's own length, no file lost."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.grab import choose_cut, grab
from ghostnote.osc_server.music import Music, Source
from ghostnote.osc_server.ring import TapRing, tap_write
from tests.osc_server.wav_chunks import chunks, labels, libsndfile_loop

RATE, MODEL_RATE, HOP = 48000, 24000, 24


def played(frames: int, capacity: int = 1 << 20, channels: int = 2) -> Source:
    """Returns a tap to which so many frames were written: each holds its own number."""
    tap = TapRing(capacity, channels)
    for at in range(0, frames, 8000):
        block = numbers(at, min(at + 8000, frames), channels)
        tap_write(tap.header, tap.data, block, len(block))
    return Source(tap, RATE, lambda frame: RATE // MODEL_RATE * frame + 17)


def still(tempo: float = 120.0) -> Music:
    """Returns what the engine tells while no transport rolls."""
    return Music(tempo, 4, False, ())


def numbers(first: int, end: int, channels: int = 2) -> np.ndarray:
    frames = np.arange(first, end, dtype=np.float32) / 2**23
    return np.stack([frames * (1 - 2 * (c % 2)) for c in range(channels)], axis=1)


def rolling(tempo: float, seconds: float, begin: int = 4800, beats: int = 4) -> Music:
    """Returns what the engine tells after so long a time: bar lines at the hops where they fell."""
    bar = beats * 60.0 / tempo * MODEL_RATE
    lines, number = [], 0
    while begin + number * bar < seconds * MODEL_RATE:
        lines.append((int((begin + number * bar) // HOP) * HOP, number))
        number += 1
    return Music(tempo, beats, True, tuple(lines[-64:]))


def test_whole_bars_end_at_the_last_bar_line(tmp_path: Path) -> None:
    source, music = played(8 * RATE), rolling(120.0, 8.0)  # lines each 2 s from 0.2 s on
    path, frames = grab(source, music, 2, tmp_path, "two")
    assert path == tmp_path.resolve() / "two.wav" and frames == 4 * RATE
    heard, rate = soundfile.read(path, dtype="float32")
    begin = 9600 + 17 + 2 * RATE
    np.testing.assert_array_equal(heard, numbers(begin, begin + 4 * RATE))
    assert rate == RATE and soundfile.info(path).subtype == "FLOAT"
    loop = libsndfile_loop(path)
    assert loop is not None and (loop.bpm, loop.beats, loop.numerator) == (120.0, 8, 4)
    assert labels(chunks(path)) == [(0, "bar 2"), (2 * RATE, "bar 3")]
    assert [*tmp_path.iterdir()] == [path]


def test_half_a_bar_in_24_bits(tmp_path: Path) -> None:
    path, frames = grab(played(8 * RATE), rolling(120.0, 8.0), 0.5, tmp_path, subtype="PCM_24")
    assert frames == RATE and soundfile.info(path).subtype == "PCM_24"
    heard, _ = soundfile.read(path, dtype="float32")
    end = 9600 + 17 + 6 * RATE
    np.testing.assert_array_equal(heard, numbers(end - RATE, end))


@given(st.floats(40.0, 300.0), st.integers(1, 3), st.integers(2, 7), st.integers(0, 9999))
def test_a_loop_has_the_tempos_length_and_keeps_its_strokes(
    tempo: float, bars: int, beats: int, begin: int
) -> None:
    """A stroke on a bar line sounds from its hop on: it must be in whole, or not at all."""
    music = rolling(tempo, 20.0, begin, beats)
    if len(music.bars) <= bars:
        return
    source = Source(FINISHED, RATE, lambda frame: 2 * frame)
    cut = choose_cut(source, music, bars)
    first, last = 2 * music.bars[-1 - bars][0], 2 * music.bars[-1][0]
    assert cut.end - cut.first == round(bars * beats * 60.0 / tempo * RATE)
    assert cut.bpm == tempo
    assert first - 2 * HOP - 1 <= cut.first <= first
    assert last - 2 * HOP - 1 <= cut.end <= last


FINISHED = played(20 * RATE).tap


def test_bars_of_a_tempo_that_changed_tell_its_mean(tmp_path: Path) -> None:
    lines = ((0, 0), (48000, 1), (88000, 2))  # a bar of 2 s and one of 1.67 s
    path, frames = grab(played(4 * RATE), Music(150.0, 4, True, lines), 2, tmp_path)
    assert frames == 176_000
    loop = libsndfile_loop(path)
    assert loop is not None and loop.beats == 8
    assert loop.bpm == pytest.approx(8 * 60 * RATE / 176_000)


def test_without_bars_it_ends_now(tmp_path: Path) -> None:
    for music in (still(240.0), rolling(240.0, 8.0)._replace(rolling=False)):
        path, frames = grab(played(8 * RATE), music, 1, tmp_path)
        heard, _ = soundfile.read(path, dtype="float32")
        assert frames == RATE
        np.testing.assert_array_equal(heard, numbers(7 * RATE, 8 * RATE))


def test_more_bars_than_were_played_begin_before_them(tmp_path: Path) -> None:
    music = Music(120.0, 4, True, ((48000, 0), (96000, 1)))
    path, _ = grab(played(6 * RATE), music, 2, tmp_path)
    heard, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(heard, numbers(17, 4 * RATE + 17))


def test_bars_from_before_a_stop_or_a_jump_do_not_count() -> None:
    source = Source(FINISHED, RATE, lambda frame: 2 * frame)
    ends = {
        # Stopped for some seconds and begun again, led to another bar, gone on after a pause.
        ((24000, 0), (72000, 1), (288000, 0), (336000, 1), (384000, 2)): 3,
        ((24000, 0), (72000, 1), (120000, 40), (168000, 41)): 2,
        ((24000, 0), (72000, 1), (384000, 2), (432000, 3)): 2,
    }
    for bars, together in ends.items():
        while bars[-1][0] < 432000:  # up to the present
            bars = (*bars, (bars[-1][0] + 48000, bars[-1][1] + 1))
            together += 1
        music = Music(120.0, 4, True, bars)
        assert choose_cut(source, music, together - 1).first == 2 * bars[-together][0]
        # More of them are counted by the tempo.
        assert choose_cut(source, music, together + 1) == (
            2 * bars[-1][0] - (together + 1) * 96000, 2 * bars[-1][0], 120.0,
        )  # fmt: skip
    old = Music(120.0, 4, True, ((24000, 0), (72000, 1)))
    assert choose_cut(source, old, 1) == (19 * RATE - RATE, 20 * RATE, 120.0)


def test_a_bar_line_that_does_not_sound_yet_is_left_for_later(tmp_path: Path) -> None:
    music = rolling(120.0, 8.2)
    assert music.bars[-1][0] == 8 * MODEL_RATE + 4800 - 2 * MODEL_RATE
    late = music._replace(bars=(*music.bars, (8 * MODEL_RATE, 4)))
    path, _ = grab(played(8 * RATE), late, 1, tmp_path)
    heard, _ = soundfile.read(path, dtype="float32")
    end = 9600 + 17 + 6 * RATE
    np.testing.assert_array_equal(heard, numbers(end - 2 * RATE, end))


def test_names(tmp_path: Path) -> None:
    source, when = played(RATE), datetime(2026, 11, 21, 9, 5, 7)
    found = [grab(source, still(480.0), 1, tmp_path, now=when).path.name for _ in range(3)]
    base = "grab-20261121-090507"
    assert found == [f"{base}.wav", f"{base}-2.wav", f"{base}-3.wav"]
    (tmp_path / "mine.wav").write_bytes(b"precious")
    for name, reason in (("mine", "exists"), ("../a", "not allowed"), ("/a", "relative")):
        with pytest.raises(GhostnoteError, match=reason):
            grab(source, still(480.0), 1, tmp_path, name)
    assert (tmp_path / "mine.wav").read_bytes() == b"precious"
    assert grab(source, still(480.0), 1, tmp_path, "new/folder/a").path.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(GhostnoteError, match="choose another"):
        grab(source, still(480.0), 1, tmp_path, "file/a")


@pytest.mark.parametrize("bars", [0.0, -1.0, float("nan"), float("inf"), 1025.0])
def test_impossible_bars(tmp_path: Path, bars: float) -> None:
    with pytest.raises(GhostnoteError, match="bars: must be above 0"):
        grab(played(RATE), still(), bars, tmp_path)


def test_what_is_not_held_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(GhostnoteError, match=r"bars last 2\.0 s, but only the last 1\.0 s"):
        grab(played(RATE), still(120.0), 1, tmp_path)
    forgot = played(3 * RATE, 1 << 17)  # of 144,000 frames it has 114,688
    with pytest.raises(GhostnoteError, match=r"only the last 2\.4 s"):
        grab(forgot, still(120.0), 1.25, tmp_path)
    grab(forgot, still(120.0), 1, tmp_path)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from ghostnote.kernels.errors import GhostnoteError
from tests.osc_server.test_grab import RATE, grab, played, still
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    grab(played(2 * RATE), still(240.0), 1, Path(sys.argv[1]), "a")
except GhostnoteError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=120, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "choose another place" in done.stdout and done.stdout.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_what_lies_beside_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    outside, beside = tmp_path / "outside", root / "b.wav.part"
    for file in (outside, beside):
        file.write_text("kept")
    (root / "a.wav.part").symlink_to(outside)
    for name in ("a", "b"):
        grab(played(4 * RATE), still(120.0), 1, root, name)
    assert outside.read_text() == beside.read_text() == "kept"
    assert sorted(file.name for file in root.iterdir()) == [
        "a.wav", "a.wav.part", "b.wav", "b.wav.part"
    ]  # fmt: skip


def test_what_an_earlier_voice_played_is_silence(tmp_path: Path) -> None:
    source = played(4 * RATE)._replace(born=3 * RATE)
    path, frames = grab(source, still(120.0), 1, tmp_path)
    heard, _ = soundfile.read(path, dtype="float32")
    assert frames == 2 * RATE
    assert not heard[:RATE].any()
    np.testing.assert_array_equal(heard[RATE:], numbers(3 * RATE, 4 * RATE))
