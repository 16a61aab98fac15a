"""Ardour, a real DAW: it records what we play to the bit, and its transport and tempo steer us."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.clients.ardour import TRACK_INPUTS, Ardour, ardour
from tests.osc_server.latency import find_onsets
from tests.osc_server.live import client_of, serving
from tests.osc_server.waiting import until
from tests.parts import JackServer, jack_server, need_module, unfit

need_module("jack")

TRIES = 3
TEMPO = 97.5
LATE_SECONDS = 0.008  # of which the drum itself takes some milliseconds to be heard


@pytest.fixture(scope="module")
def server() -> Iterator[JackServer]:
    """JACK in long blocks: Ardour on a busy machine misses short ones, and what was in them."""
    with jack_server(realtime=False, blocksize=1024) as running:
        yield running


@pytest.fixture(scope="module")
def daw(server: JackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ardour]:
    with ardour(server, tmp_path_factory.mktemp("ardour")) as running:
        yield running


@pytest.fixture
def on_jack(server: JackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this test starts finds the JACK server."""
    monkeypatch.setenv("JACK_DEFAULT_SERVER", server.name)


def sound(path: Path) -> NDArray[np.float32]:
    read, rate = soundfile.read(path, dtype="float32")
    assert rate == 48000
    return np.asarray(read)


def record(daw: Ardour, seconds: float) -> list[Path]:
    """Lets Ardour record its track for a while; returns the new files, left and right."""
    before = daw.takes()
    daw.send("/strip/recenable", 1, 1)
    daw.send("/rec_enable_toggle", 1)
    time.sleep(0.3)
    daw.send("/transport_play", 1)
    time.sleep(seconds)
    daw.send("/transport_stop", 1)
    until(lambda: len(daw.takes()) == len(before) + 2, "a take in Ardour's session")
    new = [path for path in daw.takes() if path not in before]
    until(lambda: all(soundfile.info(path).frames > 48000 for path in new), "a whole take")
    time.sleep(0.5)  # it ends the file after the transport has stopped
    return new


def place(part: NDArray[np.float32], whole: NDArray[np.float32]) -> int:
    """Returns the frame of `whole` from which on `part`'s first quarter is in it; -1: nowhere."""
    begin = int(np.flatnonzero(part)[0])
    found = whole.tobytes().find(part[begin : begin + len(part) // 4].tobytes())
    return found // 4 - begin if found >= 0 else -1


@pytest.mark.usefixtures("on_jack")
def test_ardour_records_our_output_to_the_bit(daw: Ardour, tmp_path: Path) -> None:
    master = tmp_path / "master.wav"
    arguments = ["--sink", "jack", "--device", TRACK_INPUTS, "--ring", "4096", "--demo"]
    with serving(*arguments, "--record", str(master)) as process, client_of(process.port) as client:

        def xruns() -> object:
            client.send("/ghost/status")
            return client.expect("/ghost/status.reply")[5]

        for _ in range(TRIES):
            before = xruns()
            left, right = (sound(path) for path in record(daw, 2.0))
            played = sound(master)
            at = place(left, played[:, 0])
            if at >= 0:
                take = np.stack([left, right], axis=1)
                missed = (take != played[at : at + len(take)]).any(axis=1)
                if not missed.any():
                    break
            assert xruns() != before, "other samples, though no block was missed"
        else:
            unfit("needs a machine on which jackd's dummy driver keeps its time")
        assert len(take) > 48000
        assert np.abs(take).max() > 0.1
        assert process.end() == 0


@pytest.mark.usefixtures("on_jack")
def test_ardours_transport_and_tempo_steer_us(daw: Ardour) -> None:
    """What Ardour records of a pattern lies on its own bars, as it is heard and not as it is made."""
    daw.lua(f"tempo({TEMPO})")
    daw.send("/goto_start", 1)
    arguments = ["--sink", "jack", "--device", TRACK_INPUTS, "--sync", "jack"]
    with serving(*arguments) as process, client_of(process.port) as client:

        def value(address: str) -> float:
            client.send("/ghost/get", address)
            found = client.expect(address)[1]
            assert isinstance(found, (bool, int, float))
            return float(found)

        assert not value("/ghost/rolling")
        client.send("/ghost/voice/1/temperature", 0.3)
        client.send("/ghost/pattern/1", "kick", "X...X...X...X...")
        take, _ = record(daw, 5.0)
        until(lambda: value("/ghost/rolling") == 0, "the transport stands")
        assert abs(value("/ghost/tempo") - TEMPO) < 0.01
        onsets = np.array(find_onsets(sound(take), 48000, 0.05)) + daw.frame_of(take)
        beats = onsets / 48000 * TEMPO / 60

        daw.send("/transport_play", 1)
        until(lambda: value("/ghost/rolling") == 1, "the transport rolls")
        daw.lua("tempo(140)")
        until(lambda: abs(value("/ghost/tempo") - 140) < 0.01, "the new tempo, while it rolls")
        daw.send("/transport_stop", 1)
        until(lambda: value("/ghost/rolling") == 0, "the transport stands again")
    steady = beats[beats > 1.5]  # the first beats go while it comes into step
    assert len(steady) >= 4
    late = (steady - np.round(steady)) * 60 / TEMPO
    assert np.abs(late).max() < LATE_SECONDS, late
