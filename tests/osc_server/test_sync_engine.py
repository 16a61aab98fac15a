"""The engine as the sync sees it: a frame and the beat of that very frame."""

import time

from ghostnote.kernels.packing import pack
from ghostnote.kernels.weights import random_weights
from ghostnote.osc_server.clock import OfflineClock
from ghostnote.osc_server.commands import Command, Op
from ghostnote.osc_server.engine import ROOM_LATER, Engine, EngineOptions
from ghostnote.osc_server.ring import ring_read
from ghostnote.osc_server.sync_engine import EngineTransport
from tests.osc_server.noisy_model import NOISY

RATE = 24000


def test_frame_and_beat_belong_together_while_a_hop_is_being_made() -> None:
    packed = pack(NOISY, random_weights(NOISY, 3))
    player = Engine(packed, EngineOptions(RATE, 8))  # so many that hops take most of the time
    transport = EngineTransport(player, OfflineClock(RATE, 0.0), lambda: 0.0, lambda: 0.0)
    player.submit([Command(Op.TEMPO, value=120.0), Command(Op.PLAY)])
    player.render(player.frame + 24)
    block = player.ring.data[:256].copy()
    beats: dict[int, set[float]] = {}
    player.start()
    try:
        deadline = time.monotonic() + 20
        while len(beats) < 300 and time.monotonic() < deadline:
            ring_read(player.ring.header, player.ring.data, block, 256)
            for _ in range(50):
                place = transport.now()
                beats.setdefault(place.frame, set()).add(place.beat)
    finally:
        player.stop()
    assert len(beats) >= 300
    off = [abs(beat - frame * 2.0 / RATE) for frame, told in beats.items() for beat in told]
    assert max(off) < 1e-9


def test_a_full_schedule_of_clients_does_not_keep_a_host_from_starting() -> None:
    player = Engine(pack(NOISY, random_weights(NOISY, 3)), EngineOptions(RATE))
    transport = EngineTransport(player, OfflineClock(RATE, 0.0), lambda: 0.0, lambda: 0.0)
    assert player.submit([Command(Op.TRIG)] * ROOM_LATER, 10 * RATE)
    player.render(24)
    due = player.frame + transport.lead_frames
    assert not player.submit([Command(Op.ROLL)], due)
    assert transport.submit([Command(Op.BEAT, value=8.0), Command(Op.ROLL)], due)
    player.render(due + 48)
    assert player.rolling
    assert 8.0 < player.beat < 8.01
