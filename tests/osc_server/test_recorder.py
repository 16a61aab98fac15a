"""The recorder: exact ranges, valid files, full disks, overruns."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from ghostnote.osc_server.music import Music, Source
from ghostnote.osc_server.paths import PathError
from ghostnote.osc_server.recorder import (
    MASTER,
    Recorder,
    Recording,
    RecordingError,
    Recordings,
)
from ghostnote.osc_server.ring import TapRing, tap_write
from ghostnote.osc_server.wav import MAX_MARKERS
from tests.osc_server.wav_chunks import chunks, labels, libsndfile_cues, libsndfile_loop

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


def of(tap: TapRing) -> Source:
    return Source(tap, 48000, lambda frame: 2 * frame)


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
    recorder = Recorder(of(tap), tmp_path, on_done=ended.append)
    path = recorder.start("takes/one", first_frame=9_001, subtype=subtype)  # a little in the past
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
    recorder = Recorder(of(tap), tmp_path)
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


def test_a_source_that_ends_is_recorded_to_its_end(tmp_path: Path) -> None:
    tap, ended = TapRing(1 << 17), list[int]()
    engine(tap, 500)
    source = of(tap)._replace(ended=lambda: ended[0] if ended else None)
    recorder = Recorder(source, tmp_path)
    path = recorder.start("a.wav")
    engine(tap, 1000)
    ended.append(1200)  # and what follows is another's
    result = finished(recorder)
    assert result.frames == 700 and "its voice was freed" in str(result.error)
    np.testing.assert_array_equal(sound(path), ramp(500, 700))


def wait_for_frames(path: Path, frames: int) -> None:
    """Until the file's own header tells of so many; it never says more than there are."""
    deadline = time.monotonic() + 20
    while soundfile.info(path).frames < frames:
        assert time.monotonic() < deadline, "the header was not kept up to date"
        time.sleep(0.01)


def test_the_file_is_valid_while_it_grows(tmp_path: Path) -> None:
    tap = TapRing(1 << 17)
    recorder = Recorder(of(tap), tmp_path)
    path = recorder.start("a")
    for k in range(1, 4):
        engine(tap, 5000)
        wait_for_frames(path, k * 5000)
        np.testing.assert_array_equal(sound(path), ramp(0, k * 5000))
    recorder.close()
    assert soundfile.info(path).frames == 15_000


def test_an_overrun_is_silence_in_its_place(tmp_path: Path) -> None:
    tap = TapRing(1 << 15)
    recorder = Recorder(of(tap), tmp_path)
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
    recorder = Recorder(of(tap), tmp_path)
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
from tests.osc_server.test_recorder import Recorder, TapRing, engine, of
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
tap = TapRing(1 << 17)
ended = []
recorder = Recorder(of(tap), Path(sys.argv[1]), on_done=ended.append)
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


def still() -> Music:
    return Music(120.0, 4, False, ())


def bars(*lines: tuple[int, int], tempo: float = 120.0) -> Callable[[], Music]:
    return lambda: Music(tempo, 4, True, lines)


def test_bar_lines_and_notes_become_markers(tmp_path: Path) -> None:
    tap = TapRing(1 << 17)
    engine(tap, 1000)
    lines = [(400, 0), (1000, 1), (2500, 2), (4000, 3)]  # half as many engine frames as tap frames
    recorder = Recorder(of(tap), tmp_path, music=bars(*lines))
    path = recorder.start("a", first_frame=1000)
    engine(tap, 4500)
    recorder.mark("voice 1: kit tape")
    engine(tap, 500)
    recorder.stop()  # before the last bar line
    assert finished(recorder).frames == 5000
    expected = [(1000, "bar 2"), (4000, "bar 3"), (4500, "voice 1: kit tape")]
    assert labels(chunks(path)) == libsndfile_cues(path) == expected
    loop = libsndfile_loop(path)
    assert loop is not None and (loop.bpm, loop.numerator, loop.beats) == (120.0, 4, 0)


def markers(recorder: Recorder) -> list[tuple[int, str]]:
    worker = recorder._worker
    assert worker is not None
    return [*worker._markers()]


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_a_new_tempo_is_told_at_its_first_bar(tmp_path: Path) -> None:
    tap = TapRing(1 << 17)
    lines, tempo = [(0, 0)], [120.0]
    recorder = Recorder(of(tap), tmp_path, music=lambda: Music(tempo[0], 4, True, (*lines,)))
    path = recorder.start("a")
    wait_until(lambda: len(markers(recorder)) == 1)
    tempo[0] = 128.5
    lines += [(1000, 1), (2000, 2)]
    engine(tap, 8000)
    recorder.close()
    assert labels(chunks(path)) == [(0, "bar 1"), (2000, "bar 2, 128.5 bpm"), (4000, "bar 3")]


def test_of_very_many_bar_lines_every_other_is_kept(tmp_path: Path) -> None:
    tap = TapRing(1 << 17)
    engine(tap, 10_000)
    lines = [(frame, frame) for frame in range(3 * MAX_MARKERS)]
    recorder = Recorder(of(tap), tmp_path, music=bars(*lines))
    path = recorder.start("a", first_frame=0)
    recorder.mark("kit")
    recorder.close()
    found = labels(chunks(path))
    assert found[:2] == [(0, "bar 1"), (8, "bar 5")]
    assert len(found) == 3 * MAX_MARKERS // 4


def test_master_and_voices_are_recorded_side_by_side(tmp_path: Path) -> None:
    taps = {MASTER: TapRing(1 << 17, 4), 0: TapRing(1 << 17, 1), 3: TapRing(1 << 17, 1)}
    failures: list[str] = []
    recordings = Recordings(
        lambda voice: Source(taps[voice], 48000 if voice == MASTER else 24000, int), tmp_path, still
    )
    paths = {
        MASTER: recordings.start("all", failed=failures.append),
        0: recordings.start("one", 0, "PCM_24", failures.append),
        3: recordings.start("four", 3, failed=failures.append),
    }
    assert recordings.active() == (MASTER, 0, 3)
    with pytest.raises(RecordingError, match="stop it first"):
        recordings.start("again", 0)
    taps[1] = TapRing(1 << 17, 1)
    with pytest.raises(RecordingError, match="exists"):
        recordings.start("one", 1)
    del taps[1]
    with pytest.raises(RecordingError, match="nothing"):
        recordings.stop(2)
    for number, tap in taps.items():
        block = np.full((1000 + number, tap.data.shape[1]), (number + 2) / 8, np.float32)
        tap_write(tap.header, tap.data, block, len(block))
    recordings.mark("kit", 3)
    for number, path in paths.items():
        done = recordings.stop(number)
        assert (done.path, done.first_frame, done.frames) == (path, 0, 1000 + number)
        heard = sound(path)
        assert heard.shape == (1000 + number, taps[number].data.shape[1])
        assert (heard == (number + 2) / 8).all()
        rate = 48000 if number == MASTER else 24000
        assert soundfile.info(path).samplerate == rate
    assert soundfile.info(paths[0]).subtype == "PCM_24"
    assert recordings.active() == () and failures == []
    recordings.start("five", 3)
    recordings.close()
    assert recordings.active() == ()


def test_a_folder_that_is_taken_away_is_told(tmp_path: Path) -> None:
    tap = TapRing(1 << 17)
    told = threading.Event()
    failures: list[str] = []

    def failed(reason: str) -> None:
        failures.append(reason)
        told.set()

    recordings = Recordings(lambda _: of(tap), tmp_path, still)
    recordings.start("folder/a", failed=failed)
    engine(tap, 5000)
    shutil.rmtree(tmp_path / "folder")
    engine(tap, 5000)
    assert told.wait(20)
    assert len(failures) == 1 and "was taken away" in failures[0]
    with pytest.raises(RecordingError, match="nothing"):
        recordings.stop()
    path = recordings.start("folder/a")
    engine(tap, 100)
    assert recordings.stop().frames == 100 and path.exists()


KILLED = """
import sys
from pathlib import Path
from tests.osc_server.test_recorder import Recorder, TapRing, engine, of, bars
tap = TapRing(1 << 17)
recorder = Recorder(of(tap), Path(sys.argv[1]), music=bars((0, 1)))
recorder.start("a", first_frame=0, subtype="PCM_24")
while True:
    engine(tap, 1001)
"""


def test_kill_9_leaves_a_readable_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        path = tmp_path / "a.wav"
        wait_until(path.exists)
        wait_until(lambda: path.stat().st_size > 1_000_000)
    finally:
        process.kill()
        process.wait()
    found = chunks(path)
    assert len(found["data"]) % 6 == 0 and "acid" in found
    assert soundfile.info(path).frames == len(found["data"]) // 6
    loop = libsndfile_loop(path)
    assert loop is not None and loop.bpm == 120.0
