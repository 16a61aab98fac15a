"""The sinks that need no device, and how one is chosen."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ghostnote.osc_server.audio import choose_sink
from ghostnote.osc_server.ring import (
    DRAINING,
    RUNNING,
    FrameRing,
    ring_set_state,
    ring_write,
)
from ghostnote.osc_server.sink import SinkError, SinkOptions
from ghostnote.osc_server.sink_file import FileSink
from ghostnote.osc_server.sink_null import NullSink
from tests.osc_server.producer import hold_the_gil, ramp, ramp_producer
from tests.parts import unfit

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "settings",
    [
        {"sink": "alsa"},
        {"sink": "file"},
        {"sink": "file:"},
        {"sink": "null:x"},
        {"samplerate": 10},
        {"blocksize": -1},
        {"blocksize": 10_000},
        {"channels": 0},
        {"frames": -1},
    ],
)
def test_options_refuse_nonsense_in_one_line(settings: dict[str, object]) -> None:
    with pytest.raises(SinkError) as refusal:
        SinkOptions(**settings)  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)


def test_null_is_paced_by_the_clock_and_counts() -> None:
    sink = NullSink(SinkOptions(sink="null", samplerate=48000, blocksize=240))
    ring = FrameRing(1 << 15)
    with ramp_producer(ring):
        sink.start(ring)
        threading.Event().wait(0.5)
        sink.stop()
        stamps, count = ring.stamps_since(0)
        callbacks = ring.callbacks
        threading.Event().wait(0.05)
        assert ring.callbacks == callbacks == count > 10
    assert ring.underruns == 0
    assert ring.consumed == callbacks * 240
    assert [stamp.position for stamp in stamps] == [240 * k for k in range(callbacks)]
    # Never ahead of the clock, and behind it by no more than it says itself.
    for stamp in stamps:
        due = stamps[0].ns + stamp.position * 1_000_000_000 // 48000
        assert stamp.ns >= due - 5_000_000 or ring.xruns
        if ring.xruns == 0:
            assert stamp.ns <= due + 5_000_000
    assert sink.xruns() == ring.xruns
    assert sink.failure() is None


def test_null_plays_on_while_python_is_held() -> None:
    sink = NullSink(SinkOptions(sink="null"))
    ring = FrameRing(1 << 14)
    with ramp_producer(ring):
        sink.start(ring)
        before = ring.callbacks
        hold_the_gil(3)
        after = ring.callbacks
        sink.close()
    stamps, _ = ring.stamps_since(0)
    gaps = np.diff([stamp.ns for stamp in stamps])
    assert after > before
    assert gaps.max() < 300_000_000  # a Python loop would have stood still for each hold
    assert ring.underruns == 0


def test_file_is_the_frames_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sink, reason = choose_sink(SinkOptions(sink=f"file:{path}", samplerate=44100, frames=100_003))
    assert isinstance(sink, FileSink)
    assert "asked for" in reason
    assert not sink.realtime
    ring = FrameRing(1 << 12)
    with ramp_producer(ring):
        sink.start(ring)
        assert sink.wait(20)
        sink.close()
    read, rate = soundfile.read(path, dtype="float32")
    assert rate == 44100
    np.testing.assert_array_equal(read, ramp(0, 100_003))
    assert ring.underruns == 0


def test_file_ends_when_the_engine_ends(tmp_path: Path) -> None:
    sink = FileSink(SinkOptions(sink=f"file:{tmp_path}/a.wav"))
    ring = FrameRing(1 << 12)
    sink.start(ring)
    ring_write(ring.header, ring.data, ramp(0, 1000), 1000)
    ring_set_state(ring.header, RUNNING)
    assert not sink.wait(0.05)
    ring_set_state(ring.header, DRAINING)
    assert sink.wait(20)
    assert soundfile.info(tmp_path / "a.wav").frames == 1000  # before close
    sink.close()
    sink.close()


FULL_DISK = """
import resource, sys
from ghostnote.osc_server.audio import choose_sink
from ghostnote.osc_server.sink import SinkOptions
from ghostnote.osc_server.ring import FrameRing
from tests.osc_server.producer import ramp_producer
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
sink, _ = choose_sink(SinkOptions(sink="file:" + sys.argv[1]))
ring = FrameRing(1 << 12)
with ramp_producer(ring):
    sink.start(ring)
    assert sink.wait(20) and ring.lost
    sink.close()
print(sink.failure())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_file_on_a_full_disk_ends_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    done = run_python(FULL_DISK, str(path))
    assert "free some space" in done.stdout
    assert done.stdout.count("\n") == 1
    frames = soundfile.info(path).frames
    assert 24_000 < frames <= 25_000
    np.testing.assert_array_equal(soundfile.read(path, dtype="float32")[0], ramp(0, frames))


def test_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for path, word in ((tmp_path, "folder"), (tmp_path / "no" / "a.wav", "no folder")):
        with pytest.raises(SinkError, match=word):
            FileSink(SinkOptions(sink=f"file:{path}"))


def test_a_ring_of_other_channels_is_refused(tmp_path: Path) -> None:
    for sink in (NullSink(SinkOptions()), FileSink(SinkOptions(sink=f"file:{tmp_path}/a.wav"))):
        with pytest.raises(ValueError, match="channels"):
            sink.start(FrameRing(64, channels=3))
        sink.close()


def run_python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=REPOSITORY,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done


NO_DEVICE = """
import json
from ghostnote.osc_server.audio import choose_sink, list_devices
from ghostnote.osc_server.sink import SinkError, SinkOptions
sink, reason = choose_sink(SinkOptions())
refusals = []
for name in ("jack", "portaudio"):
    try:
        choose_sink(SinkOptions(sink=name))
    except SinkError as error:
        refusals.append(str(error))
devices, problems = list_devices()
print(json.dumps([sink.name, reason, refusals, (len(devices), problems)]))
"""


def test_with_no_device_auto_is_null_and_says_how_to_get_sound() -> None:
    done = run_python(NO_DEVICE, JACK_DEFAULT_SERVER="nobody-here")
    name, reason, refusals, (devices, problems) = json.loads(done.stdout)
    if name == "portaudio":
        unfit("needs a machine without a sound card")
    assert name == "null"
    assert "no audio device" in reason
    assert "to hear it" in reason
    assert "\n" not in reason
    assert len(refusals) == len(problems) == 2
    assert devices == 0
    assert done.stderr == ""  # not a word of libjack's


def test_importing_opens_nothing() -> None:
    run_python(
        "import sys, threading, ghostnote.osc_server.audio;"
        "assert not {'jack', 'sounddevice', 'soundfile'} & set(sys.modules);"
        "assert threading.active_count() == 1"
    )


@pytest.mark.parametrize("kind", ["null", "file"])
def test_a_crash_elsewhere_ends_the_program(tmp_path: Path, kind: str) -> None:
    """A sink that nobody stopped neither hangs nor crashes the interpreter's end."""
    sink = kind if kind == "null" else f"file:{tmp_path}/a.wav"
    run_python(
        "import sys\n"
        "from ghostnote.osc_server.audio import *\n"
        "from ghostnote.osc_server.ring import FrameRing\n"
        "choose_sink(SinkOptions(sink=sys.argv[1]))[0].start(FrameRing(64))",
        sink,
    )
