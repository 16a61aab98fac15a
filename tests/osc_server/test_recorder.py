"""The recorder: exact ranges, valid files, full disks, overruns."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from ghostnote.osc_server.paths import PathError
from ghostnote.osc_server.recorder import Recorder, Recording, RecordingError
from ghostnote.osc_server.ring import TapRing, tap_write

Frames = NDArray[np.float32]


def ramp(first: int, n: int) -> Frames:
    left = ((np.arange(first, first + n) % 2**20) / 2**20).astype(np.float32)
    return np.stack([left, -left], axis=1)


def engine(tap: TapRing, frames: int) -> None:
    """Write so many more frames to the tap, in hops of 24."""
    first = tap.written
    block = ramp(first, frames)
    for k in range(0, frames, 24):
        hop = block[k : k + 24]
        tap_write(tap.header, tap.data, hop, len(hop))


def sound(path: Path) -> Frames:
    read, _ = soundfile.read(path, dtype="float32", always_2d=True)
    return np.asarray(read)


def finished(recorder: Recorder) -> Recording:
    result = recorder.wait(20)
    assert result is not None
    return result


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_24"])
def test_a_range_is_recorded_to_the_sample(tmp_path: Path, subtype: str) -> None:
    tap = TapRing(1 << 17)
    engine(tap, 10_007)
    ended: list[Recording] = []
    recorder = Recorder(tap, 48000, tmp_path, subtype=subtype, on_done=ended.append)
    path = recorder.start("takes/one", first_frame=9_001)  # a little in the past
    assert path == tmp_path.resolve() / "takes" / "one.wav"
    engine(tap, 30_001)
    recorder.stop(end_frame=45_003)  # in the future
    engine(tap, 10_000)
    result = finished(recorder)
    assert result == Recording(path, 9_001, 36_002, 0, None)
    assert ended == [result]
    np.testing.assert_array_equal(sound(path), ramp(9_001, 36_002))
    assert not recorder.active


def test_now_is_the_default_and_a_past_end_cuts(tmp_path: Path) -> None:
    tap = TapRing(1 << 17)
    engine(tap, 500)
    recorder = Recorder(tap, 48000, tmp_path)
    recorder.start("a.wav")
    engine(tap, 1000)
    recorder.stop()
    assert finished(recorder).frames == 1000
    path = recorder.start("b.wav")
    engine(tap, 1000)
    wait_for_frames(path, 1000)
    recorder.stop(end_frame=1800)
    assert finished(recorder).frames == 300
    np.testing.assert_array_equal(sound(path), ramp(1500, 300))


def wait_for_frames(path: Path, frames: int) -> None:
    """Until the file's own header tells of so many; it never says more than there are."""
    deadline = time.monotonic() + 20
    while soundfile.info(path).frames < frames:
        assert time.monotonic() < deadline, "the header was not kept up to date"
        time.sleep(0.01)


def test_the_file_is_valid_while_it_grows(tmp_path: Path) -> None:
    tap = TapRing(1 << 17)
    recorder = Recorder(tap, 48000, tmp_path)
    path = recorder.start("a")
    for k in range(1, 4):
        engine(tap, 5000)
        wait_for_frames(path, k * 5000)
        np.testing.assert_array_equal(sound(path), ramp(0, k * 5000))
    recorder.close()
    assert soundfile.info(path).frames == 15_000


def test_an_overrun_is_silence_in_its_place(tmp_path: Path) -> None:
    tap = TapRing(1 << 15)
    recorder = Recorder(tap, 48000, tmp_path)
    held = threading.Event()
    read = tap.read
    # A disk that stalls: the worker comes only after the engine has gone round the ring.
    tap.read = lambda first, out: (held.wait(20), read(first, out))[1]  # type: ignore[method-assign]
    path = recorder.start("a", first_frame=0)
    engine(tap, 50_000)
    held.set()
    recorder.stop(end_frame=50_000)
    result = finished(recorder)
    assert result.frames == 50_000
    oldest = 50_000 - (1 << 15)
    assert oldest + TapRing.MARGIN <= result.missing <= oldest + 2 * TapRing.MARGIN
    np.testing.assert_array_equal(
        sound(path)[result.missing :], ramp(result.missing, 50_000 - result.missing)
    )
    assert not sound(path)[: result.missing].any()


def test_what_cannot_be_done_is_told(tmp_path: Path) -> None:
    tap = TapRing(1 << 15)
    recorder = Recorder(tap, 48000, tmp_path)
    with pytest.raises(RecordingError, match="nothing"):
        recorder.stop()
    with pytest.raises(PathError):
        recorder.start("../a")
    recorder.start("a")
    with pytest.raises(RecordingError, match="stop it first"):
        recorder.start("b")
    recorder.close()
    with pytest.raises(RecordingError, match="exists"):
        recorder.start("a")
    engine(tap, 40_000)
    with pytest.raises(RecordingError, match="forgotten"):
        recorder.start("c", first_frame=0)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RecordingError, match="choose another place"):
        recorder.start("file/a")


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.osc_server.test_recorder import Recorder, TapRing, engine
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
tap = TapRing(1 << 17)
ended = []
recorder = Recorder(tap, 48000, Path(sys.argv[1]), on_done=ended.append)
recorder.start("a", first_frame=0)
engine(tap, 60_000)
result = recorder.wait(20)
engine(tap, 1000)  # the engine goes on
assert ended == [result] and not recorder.active and tap.written == 61_000
print(result.frames, result.error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_leaves_a_valid_file_and_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    frames, _, error = done.stdout.strip().partition(" ")
    assert 12_000 < int(frames) <= 12_500
    assert "free some space" in error
    assert "\n" not in error
    np.testing.assert_array_equal(sound(tmp_path / "a.wav"), ramp(0, int(frames)))
