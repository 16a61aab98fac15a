"""Everything at once for some seconds: nothing is lost, and the recording is what the log replays.

benchmarks/soak.py does the same for ten minutes, and looks at memory too.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ghostnote.inference.model_file import save_model
from ghostnote.osc_server.commands import Op
from ghostnote.osc_server.encode import encode
from ghostnote.osc_server.framing import LengthFraming
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.session_log import LogCommand, read_log
from ghostnote.osc_server.sink import SinkOptions
from tests.osc_server.live import client_of, running
from tests.osc_server.soak import SoakOptions, soak
from tests.osc_server.steady_model import SPEC, steady_weights
from tests.parts import JackServer, need_module

BURST = 2000
RING = 8192  # 170 ms: what is tested is that nothing is lost, not how soon it is heard


def test_nothing_is_lost_when_everything_happens_at_once(
    jackd_realtime: JackServer, tmp_path: Path
) -> None:
    need_module("jack")
    soaked = soak(SoakOptions(tmp_path, seconds=20, rate=1500, voices=2, ring=RING))
    sent = soaked.clients["sent"]
    assert sum(sent.values()) > 10000
    assert sent["malformed"] > 1000
    assert soaked.gil_held_seconds > 1
    assert soaked.lost == {}
    assert soaked.unsynced == 0
    assert soaked.unaccounted == 0
    assert soaked.clients["panel"]["/ghost/master/meter"] > 50
    assert soaked.underruns == soaked.missing == 0
    for recording in soaked.recordings.values():
        assert recording.missing == 0
        assert recording.error is None
    assert soaked.replayed_frames == soaked.recordings["master"].frames > 20 * 48000
    assert soaked.frames_that_differ == 0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_burst_of_thousands_of_messages_is_all_taken(transport: str, tmp_path: Path) -> None:
    model, log = tmp_path / "step.onnx", tmp_path / "log"
    save_model(model, SPEC, steady_weights(128, 240), {"name": "step"}, {})
    options = ServerOptions(model=str(model), sink=SinkOptions("null"), port=0, log=log)
    levels = [0.5 + n / (2 * BURST) for n in range(BURST)]
    packets = [encode("/ghost/voice/1/temperature", level) for level in levels]
    with running(options) as server, client_of(server.udp.port) as client:
        if transport == "udp":
            # As many at once as this system holds for a socket; one takes less than 1 kB of that.
            at_once = server.udp.receive_buffer // 1024
            for first in range(0, BURST, at_once):
                for packet in packets[first : first + at_once]:
                    client.raw(packet)
                client.synced()
        else:
            stream = b"".join(LengthFraming().frame(packet) for packet in packets)
            with socket.create_connection(("127.0.0.1", server.udp.port + 1)) as connection:
                connection.sendall(stream + LengthFraming().frame(encode("/ghost/sync", 7)))
                assert b"/ghost/synced" in connection.recv(1 << 16)
        client.send("/ghost/status")
        assert client.expect("/ghost/status.reply")[7] == 0  # dropped
    taken = [
        entry.command.value
        for entry in read_log(log)[1]
        if isinstance(entry, LogCommand) and entry.command.op == Op.TEMPERATURE
    ]
    assert taken[-BURST:] == pytest.approx(levels, abs=1e-6)
