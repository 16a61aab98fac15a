"""Our WAV files, read by libsndfile."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from ghostnote.osc_server import wav
from ghostnote.osc_server.wav import WavWriter

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
    with WavWriter(tmp_path / "a.wav", 48000, 2) as file:
        for _ in range(10):
            file.write(NOISE)
    head = (tmp_path / "a.wav").read_bytes()[:48]
    assert head[:4] == b"RF64" and head[12:16] == b"ds64"
    assert int.from_bytes(head[28:36], "little") == 10 * 1001 * 8
    # libsndfile looks for 0xFFFFFFFF in the short fields, as the standard wants.
    whole = bytearray((tmp_path / "a.wav").read_bytes())
    whole[4:8] = b"\xff" * 4
    place = whole.index(b"data")
    whole[place + 4 : place + 8] = b"\xff" * 4
    (tmp_path / "b.wav").write_bytes(whole)
    read, _ = soundfile.read(tmp_path / "b.wav", dtype="float32")
    np.testing.assert_array_equal(read, np.concatenate([NOISE] * 10))


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
