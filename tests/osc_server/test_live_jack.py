"""Played from outside into JACK: jackd, oscsend and `ghostnote serve` as separate processes.

What is asserted about time is relative to the hop; the figures are printed (pytest -s), and
benchmarks/live_latency.py prints them for docs/benchmarks.md.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from ghostnote.inference.model_file import find_model, save_model
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.sink import SinkOptions
from tests.osc_server.latency import HEADER, Measured, Seconds, measure, table
from tests.osc_server.live import client_of, running, serving
from tests.osc_server.producer import hold_the_gil
from tests.osc_server.steady_model import SHORT, SPEC, steady_weights
from tests.osc_server.waiting import until
from tests.parts import JackServer, need_module, stolen, unfit

need_module("jack")

HITS = 50
HOP = 0.001
SOON = 0.06  # seconds in which a hit must be heard


def delays(measured: Measured, times: Seconds) -> Seconds:
    """Times from each hit to its onset; every hit has one of its own, in order."""
    found = measured.onsets_after(times, SOON)
    lost = int(np.isnan(found).sum())
    assert not lost, f"{lost} of {len(found)} not heard; {measured.log}"
    assert (np.diff(found) > 0).all()
    return found - times


def played_undisturbed(
    arguments: list[str], hits: int, spacing: float, floor: float, kept: Callable[[Measured], bool]
) -> Measured:
    """Measures; again, thrice at most, where the ring ran dry or times were not kept.

    A machine that stands still for longer than the ring lasts says nothing of the server, which
    would fail each time by a fault of its own. Where it has not its processors to itself for
    a thousandth of the time, nothing of this can be told.
    """
    arguments = [*arguments, "--ring", "1024"]  # see the test of the GIL
    for _ in range(3):
        before, began = stolen(), time.monotonic()
        measured = measure(arguments, hits, hits, spacing, floor)
        if measured.status[4] == 0 and kept(measured):
            return measured
        lost = (stolen() - before) / (time.monotonic() - began)
    if lost > 0.001:
        unfit(f"needs a machine of its own: its host kept {lost:.3f} processors for others")
    return measured


def all_heard(measured: Measured) -> bool:
    """Returns whether each hit has an onset."""
    found = [measured.onsets_after(times, SOON) for times in (measured.datagrams, measured.tags)]
    return not np.isnan(np.concatenate(found)).any()


def on_time(measured: Measured) -> bool:
    """Returns whether bundles were heard at their timetags, wherever jackd kept its own time."""
    timing = (measured.onsets_after(measured.tags, SOON) - measured.tags)[measured.steady]
    if len(timing) < HITS // 4:
        return False
    # A bundle acts at the hop nearest to its timetag: half a hop to either side, and what the two
    # maps of time (the server's and this test's) are off by.
    return bool(np.ptp(timing) < 1.5 * HOP and abs(np.median(timing)) < HOP / 2)


def show(latency: Seconds, timing: Seconds) -> None:
    """Prints both distributions."""
    rows = table("datagram to onset", latency), table("timetag to onset", timing)
    print("", HEADER, *rows, sep="\n")


def test_every_hit_is_heard_and_a_bundle_is_heard_at_its_timetag(
    jackd_realtime: JackServer, tmp_path: Path
) -> None:
    """With a model set by hand whose hits begin at once, so that all scatter is the server's."""
    model = tmp_path / "step.onnx"
    save_model(model, SPEC, steady_weights(128, 240, SHORT), {"name": "step"}, {})
    measured = played_undisturbed(
        ["--model", str(model)], HITS, 0.1, 0.25, lambda it: all_heard(it) and on_time(it)
    )
    latency, timing = (delays(measured, times) for times in (measured.datagrams, measured.tags))
    assert len(measured.onsets) == 2 * HITS  # and nothing else is heard
    steady = timing[measured.steady]
    show(latency, steady)
    if len(steady) < HITS // 4:
        unfit("needs a machine on which jackd's dummy driver keeps its time")
    assert on_time(measured)
    assert latency.min() > 0
    assert measured.status[5:7] == (0, 0)  # late, dropped


def test_the_bundled_model_is_heard_at_every_hit(jackd_realtime: JackServer) -> None:
    """Real drums: an onset at each of 20 triggers and 20 bundles."""
    arguments = ["--model", str(find_model(None))]
    measured = played_undisturbed(arguments, 20, 0.4, 0.05, all_heard)
    latency, timing = (delays(measured, times) for times in (measured.datagrams, measured.tags))
    show(latency, timing)
    assert measured.status[5:7] == (0, 0)  # late, dropped


def test_no_underrun_while_the_gil_is_held(jackd_realtime: JackServer) -> None:
    """21 ms are ahead of JACK, far less than a hold, enough for a machine that has other work."""
    options = ServerOptions(sink=SinkOptions("jack"), ring=1024, port=0, demo=True)
    with running(options) as server:
        ring = server.engine.ring
        until(lambda: ring.consumed > 4800, "sound")
        underruns, callbacks, frame = ring.underruns, ring.callbacks, server.engine.frame
        began = time.monotonic()
        hold_the_gil(10)
        seconds = time.monotonic() - began
        assert ring.underruns == underruns == 0
        assert ring.missing == 0
        # It did play meanwhile.
        assert ring.callbacks - callbacks > 0.9 * seconds * 48000 / server.sink.burst_frames
        assert server.engine.frame - frame > 0.9 * seconds * 24000


def test_when_jackd_dies_it_plays_on_to_null_and_says_so(jackd: JackServer, tmp_path: Path) -> None:
    model, take = tmp_path / "step.onnx", tmp_path / "take.wav"
    save_model(model, SPEC, steady_weights(128, 240, SHORT), {"name": "step"}, {})
    arguments = ["--model", str(model), "--sink", "jack", "--record", str(take), "--demo"]
    with serving(*arguments) as process, client_of(process.port) as client:
        client.send("/ghost/status")
        assert client.expect("/ghost/status.reply")[2] == 1
        jackd.process.terminate()
        jackd.process.wait(20)
        until(lambda: "null sink" in process.log, "a word about it")
        assert "gone away" in process.log
        frames = soundfile.info(take).frames
        until(lambda: soundfile.info(take).frames > frames + 48000, "more sound")
        client.send("/ghost/status")
        assert client.expect("/ghost/status.reply")[2] == 1
        assert process.end() == 0
        assert "Traceback" not in process.log
    sound, _ = soundfile.read(take)
    assert np.abs(sound[-48000:]).max() > 0.3
