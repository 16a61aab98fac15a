"""Our WAV files, read by libsndfile, by Python's `wave` and by a strict reader of our own."""

import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.osc_server import wav
from ghostnote.osc_server.wav import MAX_MARKERS, Marker, Tempo, WavWriter
from tests.osc_server.wav_chunks import Loop, chunks, labels, libsndfile_cues, libsndfile_loop

NOISE = np.random.default_rng(5).uniform(-1, 1, (1001, 2)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_float_is_exact(tmp_path: Path, channels: int) -> None:
    noise = np.random.default_rng(1).normal(0, 2, (1001, channels)).astype(np.float32)
    with WavWriter(tmp_path / "a.wav", 44100, channels) as file:
        file.write(noise[:1])
        file.write(noise[1:])
    read, rate = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    assert rate == 44100
    np.testing.assert_array_equal(read, noise)
    assert soundfile.info(tmp_path / "a.wav").subtype == "FLOAT"


def test_24_bit_is_rounded_and_clipped(tmp_path: Path) -> None:
    block = np.array([[0.0], [0.5], [1.0], [-1.0], [7.0], [-np.inf], [np.nan], [2**-23]], "f4")
    with WavWriter(tmp_path / "a.wav", 48000, 1, "PCM_24") as file:
        file.write(block)
        file.write(NOISE[:, :1])
    read, _ = soundfile.read(tmp_path / "a.wav", dtype="int32")
    full = 2**23 - 1
    assert (read[:8] >> 8).tolist() == [0, 2**22, full, -(2**23), full, -(2**23), 0, 1]
    np.testing.assert_array_equal(
        read[8:] >> 8, np.rint(NOISE[:, 0].astype(np.float64) * 2**23).clip(max=full)
    )
    assert soundfile.info(tmp_path / "a.wav").subtype == "PCM_24"


def test_after_each_sync_the_file_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    file = WavWriter(path, 48000, 2)
    assert soundfile.info(path).frames == 0
    for k in range(3):
        file.write(NOISE)
        assert soundfile.info(path).frames == k * 1001
        file.sync()
        assert soundfile.info(path).frames == (k + 1) * 1001
    file.cut(1500)
    file.close()
    file.close()
    read, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(read, np.concatenate([NOISE, NOISE])[:1500])


def test_the_same_sound_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        with WavWriter(tmp_path / name, 48000, 2) as file:
            file.write(NOISE)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_over_4_gib_it_becomes_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wav, "_LARGEST_RIFF", 0x7FFF)  # 4 GiB would take too long
    path = tmp_path / "a.wav"
    file = WavWriter(path, 48000, 2, tempo=Tempo(120.0))
    for count in range(1, 11):
        file.write(NOISE)
        file.sync()
        assert path.read_bytes()[:4] == (b"RIFF" if count <= 4 else b"RF64")
        assert len(chunks(path)["data"]) == count * 1001 * 8
        assert soundfile.info(path).frames == count * 1001
    file.close([Marker(5, "five")])
    assert labels(chunks(path)) == [(5, "five")]
    read, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(read, np.concatenate([NOISE] * 10))


@pytest.mark.skipif(sys.platform != "linux", reason="needs files with holes, not to fill the disk")
def test_five_gib_are_read_by_libsndfile(tmp_path: Path) -> None:
    path, frames = tmp_path / "a.wav", 5 * 2**30 // 8
    with WavWriter(path, 48000, 2) as file:
        file.write(NOISE)
        os.truncate(path, file._head_bytes + frames * 8)
        file.write(NOISE)  # after which the file tells how long it is
        file.sync()
        assert soundfile.info(path).frames == frames
    assert path.stat().st_size == file._head_bytes + frames * 8
    with soundfile.SoundFile(path) as read:
        read.seek(1000)
        np.testing.assert_array_equal(read.read(1002, dtype="float32")[:1], NOISE[1000:])
        read.seek(frames - 1)
        assert len(read.read(2)) == 1


def test_tempo_and_markers_as_others_read_them(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    names = [
        Marker(48000, "bar 2"),
        Marker(0, "bar 1"),
        Marker(95_999, "Stöße"),
        Marker(96_000, ""),
    ]
    with WavWriter(path, 48000, 1, "PCM_24", tempo=Tempo(120.0, 3, loop=True)) as file:
        file.write(np.zeros((96_001, 1), np.float32))
        file.cut(96_000)
        file.close(names)
    assert libsndfile_cues(path) == [(0, "bar 1"), (48000, "bar 2"), (95_999, "Stöße")]
    assert labels(chunks(path)) == libsndfile_cues(path)
    forward = 801  # SF_LOOP_FORWARD
    assert libsndfile_loop(path) == Loop(3, 4, forward, 4, 120.0, -1)
    with wave.open(str(path)) as other:
        assert (other.getnframes(), other.getsampwidth(), other.getframerate()) == (
            96_000,
            3,
            48000,
        )


def test_no_tempo_and_no_markers_leave_no_chunks(tmp_path: Path) -> None:
    with WavWriter(tmp_path / "a.wav", 48000, 2) as file:
        file.write(NOISE)
    assert [*chunks(tmp_path / "a.wav")] == ["JUNK", "fmt ", "fact", "data"]
    assert libsndfile_cues(tmp_path / "a.wav") == []
    assert libsndfile_loop(tmp_path / "a.wav") is None


def test_libsndfile_takes_as_many_markers_as_we_write(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    file = WavWriter(path, 48000, 2)
    for _ in range(3):
        file.write(NOISE)
    many = [Marker(place, f"bar {place}, 123.4 bpm") for place in range(3000)]
    file.close(many)
    assert libsndfile_cues(path) == many[:MAX_MARKERS]


@given(
    st.sampled_from(["FLOAT", "PCM_24"]),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=6),
    st.lists(st.tuples(st.integers(-5, 60), st.text(max_size=300)), max_size=8),
    st.none() | st.builds(Tempo, st.floats(1, 1000, width=32), st.integers(1, 64), st.booleans()),
)
def test_whatever_is_written_every_chunk_is_whole(
    tmp_path_factory: pytest.TempPathFactory,
    subtype: str,
    channels: int,
    blocks: list[tuple[int, bool]],
    markers: list[tuple[int, str]],
    tempo: Tempo | None,
) -> None:
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    file = WavWriter(path, 48000, channels, subtype, tempo=tempo)
    told = 0
    for size, sync in blocks:
        file.write(np.full((size, channels), 0.25, np.float32))
        if sync:
            file.sync()
            told = file.frames
        assert soundfile.info(path).frames == told
        chunks(path)
    file.close([Marker(*one) for one in markers])
    frames = sum(size for size, _ in blocks)
    found = chunks(path)
    assert len(found["data"]) == frames * channels * wav.SUBTYPES[subtype]
    inside = sorted(place for place, _ in markers if 0 <= place < frames)
    assert [place for place, _ in labels(found)] == inside
    if all("\ud800" <= c <= "\udfff" or c.isprintable() for _, text in markers for c in text):
        assert [place for place, _ in libsndfile_cues(path)] == inside
    read, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert read.shape == (frames, channels) and (read == 0.25).all()
    assert (libsndfile_loop(path) is None) == (tempo is None)


NO_ROOM = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from ghostnote.osc_server.wav import Marker, WavWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
file = WavWriter(Path(sys.argv[1]), 48000, 1)
file.write(np.zeros((2400, 1), np.float32))
file.close([Marker(place, "a long enough name") for place in range(100)])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_markers_that_the_disk_has_no_room_for_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    command = [sys.executable, "-c", NO_ROOM, str(path)]
    subprocess.run(command, check=True, timeout=60, cwd=Path(__file__).parents[2])
    found = chunks(path)
    assert len(found["data"]) == 9600 and "cue " not in found
    assert path.stat().st_size < 9800


def test_exclusive_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        WavWriter(path, 48000, 2, exclusive=True)
    assert path.read_bytes() == b"precious"


def test_wrong_shapes_and_subtypes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="subtype"):
        WavWriter(tmp_path / "a.wav", 48000, 2, "MP3")
    with (
        WavWriter(tmp_path / "a.wav", 48000, 2) as file,
        pytest.raises(ValueError, match=r"must be \[n, 2\]"),
    ):
        file.write(NOISE[:, :1])
