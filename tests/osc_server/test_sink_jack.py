"""The JACK and PortAudio sinks on a real jackd (dummy driver)."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from ghostnote.osc_server.audio import choose_sink, list_devices
from ghostnote.osc_server.clock import AudioClock
from ghostnote.osc_server.ring import FrameRing
from ghostnote.osc_server.sink import AudioSink, SinkError, SinkOptions
from ghostnote.osc_server.sink_jack import JackSink
from tests.osc_server.producer import PERIOD, hold_the_gil, ramp_producer
from tests.osc_server.test_sinks import run_python
from tests.parts import JackServer, need, need_module

jack = need_module("jack")


def recorded(server: JackServer, path: Path, ports: list[str], seconds: int) -> NDArray[np.float32]:
    """What JACK's own recorder, another process, hears on `ports`; [frames, ports]."""
    command = [need("jack_rec"), "-f", str(path), "-d", str(seconds), "-b", "24", *ports]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == server.samplerate
    return np.asarray(sound)


def test_a_ramp_arrives_in_jack_bit_for_bit(jackd: JackServer, tmp_path: Path) -> None:
    sink = JackSink(SinkOptions(sink="jack", device="none"))
    assert (sink.samplerate, sink.blocksize) == (48000, 256)
    ring = FrameRing(1 << 15)
    with ramp_producer(ring):
        sink.start(ring)
        sound = recorded(jackd, tmp_path / "a.wav", sink.port_names, 1)
        sink.stop()
        callbacks = ring.callbacks
        time.sleep(0.05)
        assert ring.callbacks == callbacks
        sink.close()
    assert len(sound) >= 48000 - 256
    index = np.rint(sound[:, 0] * PERIOD).astype(int)
    playing = index > 0
    assert playing[playing.argmax() :].all()
    steps = np.diff(index[playing])
    # Every frame is the next one, or (were the dummy server itself late) a whole block is left out.
    assert set(steps[steps != 1] % 256) <= {1}
    assert (steps == 1).mean() > 0.99
    np.testing.assert_array_equal(sound[:, 1], -sound[:, 0])
    np.testing.assert_array_equal(sound[playing][:, 0], (index[playing] / PERIOD).astype("f4"))
    assert ring.underruns == 0


def test_no_underrun_while_python_is_held(jackd_realtime: JackServer) -> None:
    sink = JackSink(SinkOptions(sink="jack"))
    ring = FrameRing(1 << 14)
    with ramp_producer(ring):
        sink.start(ring)
        before, began = ring.callbacks, time.monotonic()
        hold_the_gil(5)
        made, seconds = ring.callbacks - before, time.monotonic() - began
        sink.close()
    assert ring.underruns == ring.missing == 0
    # A Python callback makes one per hold.
    assert made > 0.9 * seconds * sink.samplerate / sink.blocksize


def test_ports_are_connected_as_asked(jackd: JackServer) -> None:
    client = jack.Client("probe", no_start_server=True)
    try:
        for name in ("right", "left", "in_10", "in_2"):
            client.inports.register(name)
        client.activate()
        for device, target in (
            (None, "system:playback_1"),
            ("probe:(left|right)", "probe:left"),
            ("probe:in_.*", "probe:in_2"),
        ):
            sink = JackSink(SinkOptions(sink="jack", device=device))
            sink.start(FrameRing(64))
            connected = [port.name for port in client.get_all_connections(target)]
            assert connected == [sink.port_names[0]]
            sink.close()
        with pytest.raises(SinkError, match="jack_lsp"):
            sink = JackSink(SinkOptions(sink="jack", device="nobody:.*"))
            try:
                sink.start(FrameRing(64))
            finally:
                sink.close()
    finally:
        client.close()


def test_what_the_server_does_not_give_is_refused(jackd: JackServer) -> None:
    with pytest.raises(SinkError, match="48000 Hz"):
        JackSink(SinkOptions(sink="jack", samplerate=44100))
    with pytest.raises(SinkError, match="256"):
        JackSink(SinkOptions(sink="jack", blocksize=64))


def test_auto_is_jack_and_it_is_listed(jackd: JackServer) -> None:
    sink, reason = choose_sink(SinkOptions())
    try:
        assert sink.name == "jack"
        assert "JACK" in reason
        devices, _ = list_devices()
        (system,) = (device for device in devices if device.sink == "jack")
        assert (system.device, system.channels, system.samplerate) == ("system", 2, 48000)
    finally:
        sink.close()


def test_xruns_are_counted(jackd: JackServer) -> None:
    sink = JackSink(SinkOptions(sink="jack"))
    ring = FrameRing(64)
    lazy = jack.Client("lazy", no_start_server=True)
    lazy.set_process_callback(lambda frames: time.sleep(0.03))
    sink.start(ring)
    try:
        with lazy:
            deadline = time.monotonic() + 20
            while sink.xruns() == 0 and time.monotonic() < deadline:
                time.sleep(0.01)
        assert sink.xruns() > 0
    finally:
        sink.close()


def test_a_server_that_goes_away_is_told(jackd: JackServer) -> None:
    sink = JackSink(SinkOptions(sink="jack"))
    sink.start(FrameRing(64))
    assert sink.failure() is None
    jackd.process.terminate()
    jackd.process.wait(20)
    deadline = time.monotonic() + 20
    while sink.failure() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    failure = sink.failure()
    assert failure is not None
    assert "gone away" in failure
    sink.close()


def test_the_clock_follows_jack(jackd_realtime: JackServer) -> None:
    sink = JackSink(SinkOptions(sink="jack"))
    ring = FrameRing(1 << 14)
    clock = AudioClock(sink.samplerate, 24000)
    with ramp_producer(ring):
        sink.start(ring)
        for _ in range(40):
            time.sleep(0.05)
            clock.follow(ring)
        now = time.time()
        heard, consumed = clock.frame_at(now), ring.consumed
        sink.close()
    # The frame that leaves now is the last that was taken, within two callbacks.
    assert consumed / 2 - 256 <= heard <= consumed / 2 + 256
    # The dummy driver counts the same clock, so there is nothing to drift.
    assert abs(clock.drift_ppm) < 200


PORTAUDIO = """
import json, time
from ghostnote.osc_server.audio import choose_sink, list_devices
from ghostnote.osc_server.ring import FrameRing
from ghostnote.osc_server.sink import SinkError, SinkOptions
from tests.osc_server.producer import hold_the_gil, ramp_producer
sink, reason = choose_sink(SinkOptions(sink="portaudio", device="system"))
ring = FrameRing(1 << 14)
with ramp_producer(ring):
    sink.start(ring)
    before, began = ring.callbacks, time.monotonic()
    hold_the_gil(3)
    made, seconds = ring.callbacks - before, time.monotonic() - began
    failure = sink.failure()
    sink.stop()
    after = ring.callbacks
    time.sleep(0.05)
    assert ring.callbacks == after
    sink.start(ring)
    sink.close()
refusals = []
for settings in ({"device": "nobody"}, {"samplerate": 44100}, {"channels": 64}):
    try:
        choose_sink(SinkOptions(sink="portaudio", **settings))
    except SinkError as error:
        refusals.append(str(error))
names = [device.name for device in list_devices()[0] if device.sink == "portaudio"]
print(json.dumps([made, seconds, ring.underruns, failure, refusals, sink.describe(), names]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PortAudio plays into JACK on Linux")
def test_portaudio_plays_while_python_is_held(jackd_realtime: JackServer) -> None:
    """In a process of its own: PortAudio looks for devices once, when it is loaded."""
    done = run_python(PORTAUDIO)
    made, seconds, underruns, failure, refusals, line, names = json.loads(done.stdout)
    assert underruns == 0
    assert made > 0.9 * seconds * 48000 / 256
    assert failure is None
    assert len(refusals) == 3
    assert not any("\n" in refusal for refusal in refusals)
    assert "system" in line
    assert "system" in names


@pytest.mark.parametrize("kind", ["jack", "portaudio"])
def test_a_crash_elsewhere_ends_the_program(jackd: JackServer, kind: str) -> None:
    """A callback that still runs when the interpreter ends must not meet freed memory."""
    run_python(
        "import sys, time\n"
        "from ghostnote.osc_server.audio import *\n"
        "from ghostnote.osc_server.ring import FrameRing\n"
        "choose_sink(SinkOptions(sink=sys.argv[1]))[0].start(FrameRing(64))\n"
        "time.sleep(0.1)",
        kind,
    )


def test_every_sink_keeps_the_promise(jackd: JackServer, tmp_path: Path) -> None:
    """The protocol, checked by the type checker here and by use."""
    sinks: list[AudioSink] = [
        choose_sink(SinkOptions(sink=name))[0]
        for name in ("jack", "null", f"file:{tmp_path}/a.wav")
    ]
    for sink in sinks:
        assert sink.samplerate == 48000
        assert sink.latency_seconds >= 0
        assert sink.burst_frames >= sink.blocksize
        assert sink.xruns() == 0
        assert "\n" not in sink.describe()
        sink.close()
        sink.close()
