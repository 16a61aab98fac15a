"""What time brings on the OSC side: effects that are due, states, the beat, meters, updates.

Threads: one at a time, with the session's lock held.
"""

from __future__ import annotations

import math
from typing import Final

from .control import Transport
from .encode import encode, pack
from .session import Session

ERROR_SECONDS: Final = 1.0
"""How often the error of the beat is told at most."""
TEMPO_STEP: Final = 0.05
"""Smaller changes of a tempo that follows another clock are not told, as it is never quite still."""
TEMPO_SECONDS: Final = 0.1
"""So long must a tempo be another than the one that is known."""


class Pulse:
    """Looks at the engine every 10 to 20 ms and tells the clients what has become of it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._rolling = False
        self._error_told = -math.inf
        self._tempo_other = session.clock()  # since when it is another than told
        self._reprimes: dict[int, int] = {}

    def tick(self) -> None:
        """Do what time brings."""
        session = self._session
        session.run_due()
        now = session.clock()
        session.tell_states(now)
        self._tell_reprimes()
        self._tell_transport(session.control.transport(), now)
        self._tell_meters(now)
        session.clients.update(now)

    def _tell_reprimes(self) -> None:
        session = self._session
        for voice in session.voices:
            count, reason = session.control.reprimes(voice)
            before = self._reprimes.get(voice, 0)
            self._reprimes[voice] = count
            if count > before:  # a new voice of the same number counts from 0 again
                session.tell(f"/ghost/voice/{voice + 1}/reprimed", (reason,), None)

    def _tell_transport(self, transport: Transport, now: float) -> None:
        session = self._session
        if transport.rolling != self._rolling:
            self._rolling = transport.rolling
            session.tell("/ghost/rolling", (transport.rolling,), None)
        self._tell_tempo(transport.tempo, now)
        error = transport.error_ms
        if error is not None and now - self._error_told >= ERROR_SECONDS:
            self._error_told = now
            session.tell("/ghost/sync/error", (error,), None)
        if transport.rolling:
            for peer in session.beats.due(transport.beat, now):
                session.reply(peer, "/ghost/beat", transport.beat, tags="d")

    def _tell_tempo(self, tempo: float, now: float) -> None:
        """Tell a tempo that the source has set: one that a client sets takes a moment to be heard."""
        session = self._session
        (known,) = session.values.get("/ghost/tempo", (tempo,))
        if session.source() == "internal" or abs(float(known) - tempo) < TEMPO_STEP:
            self._tempo_other = now
        elif now - self._tempo_other >= TEMPO_SECONDS:
            session.set("/ghost/tempo", (tempo,), None)

    def _tell_meters(self, now: float) -> None:
        session = self._session
        peers = session.meters.due(now, now)
        if not peers:
            return
        meters = session.control.meters()
        datagrams = [encode("/ghost/master/meter", *meters.master, meters.clips)]
        for voice in sorted(session.voices):
            datagrams.append(encode("/ghost/meter", voice + 1, *meters.voices[voice]))
        packets = list(pack(datagrams))
        for peer in peers:
            for packet in packets:
                peer.send(packet)
