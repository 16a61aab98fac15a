"""From a packet to engine commands: the one door for every transport.

Threads: `receive`, `send` and `tick` may be called from any thread; a lock lets one in at a time.
None waits for anything but that lock. `start` comes before the first of them, `stop` after the
last. Call `tick` every 10 to 20 ms from one thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from ghostnote.kernels.errors import GhostnoteError

from .arguments import convert
from .budget import Budget, TooMuch
from .commands import FRAME_NOW, Command
from .control import Control
from .encode import Value, encode
from .endpoint import Endpoint
from .handlers import SPECIAL
from .handlers_voice import defaults
from .handling import Call, apply, handle, unknown_name
from .osc import (
    IMMEDIATELY,
    OscMessage,
    OscParseError,
    Packet,
    by_time,
    parse_packet,
    unix_from_ntp,
)
from .peer import Peer, Silence
from .presets import Presets
from .protocol import MAX_AHEAD_SECONDS, TABLE
from .pulse import Pulse
from .session import Effect, Plans, Session

LATE_PER_SECOND: Final = 20
"""At most so many /ghost/late go out; all are counted."""
FULL: Final = "the engine's queue is full; try again later"
TOO_MUCH_LATER: Final = "too much is scheduled; send /ghost/clearSched or wait"
FULL_OR_LATER: Final = (
    "the engine's queue is full or too much is scheduled; send /ghost/clearSched or wait"
)

log = logging.getLogger("ghostnote.osc.in")


class Dispatcher:
    """Takes packets from clients, hands commands to the engine and answers.

    Parameters
    ----------
    control : Control
        The engine and the server.
    table : iterable of Endpoint
        The protocol.
    clock : callable
        Seconds that never go back, for leases, rates and logging.
    own_defaults : mapping
        Defaults of this server, by the address in the table, where they are not the table's.
    presets : Path
        The folder of the presets.

    Raises
    ------
    ValueError
        If an endpoint of the table has neither a handler nor an engine command.
    """

    def __init__(
        self,
        control: Control,
        table: Iterable[Endpoint] = TABLE,
        clock: Callable[[], float] = time.monotonic,
        own_defaults: Mapping[str, Value] | None = None,
        presets: Path = Path("presets"),
    ) -> None:
        table = tuple(table)
        for endpoint in table:
            if endpoint.op is None and endpoint.address not in SPECIAL:
                raise ValueError(f"no handler for {endpoint.address}")
        self.session = Session(control, table, SPECIAL, clock, own_defaults or {}, Presets(presets))
        self._pulse = Pulse(self.session)
        self._told_malformed = -1.0
        self._untold_malformed = 0
        self._late_second = -1
        self._late_told = 0

    def start(self) -> None:
        """Set every parameter, in the engine too, to its default."""
        with self.session.lock:
            for voice in (-1, *sorted(self.session.voices)):
                apply(self.session, defaults(self.session, voice), Silence())

    def stop(self) -> None:
        """Finish the slow work that was asked for and end its thread."""
        self.session.drummers.close()
        self.session.worker.stop()

    def send(self, address: str, *values: Value) -> None:
        """Do what a message says that comes from nobody; a refusal goes to the log."""
        self.receive(encode(address, *values), Silence())

    def tick(self) -> None:
        """Do what time brings: effects that are due, changed states, meters, updates to clients."""
        with self.session.lock:
            self._pulse.tick()

    def receive(self, data: bytes | memoryview, peer: Peer) -> None:
        """Do what the packet `data` from `peer` says. Never raises."""
        session = self.session
        with session.lock:
            try:
                packet = parse_packet(data)
            except OscParseError as error:
                self._malformed(peer, error)
                packet = None
            if session.dump_mode:
                self._dump(bytes(data), packet, peer)
            if packet is not None:
                session.run_due()
                budget = Budget()
                for timetag, messages in by_time(packet):
                    self._perform(timetag, messages, peer, budget)

    def gone(self, peer: Peer) -> None:
        """Forget `peer`, whose connection has ended."""
        with self.session.lock:
            self.session.forget(peer)

    def note(self, address: str, *values: Value) -> None:
        """Note a parameter's value that the server itself has changed. Any thread."""
        with self.session.lock:
            self.session.set(address, values, None)

    def tell(self, address: str, *values: Value) -> None:
        """Tell all followers of something that has happened in the server."""
        with self.session.lock:
            self.session.tell(address, values, None)

    def malformed(self, peer: Peer, reason: object) -> None:
        """Count something from `peer` that is no packet at all; tell it once a second at most."""
        with self.session.lock:
            self._malformed(peer, reason)

    def _perform(
        self, timetag: int, messages: list[OscMessage], peer: Peer, budget: Budget
    ) -> None:
        """Do all `messages` at the moment `timetag`, as one batch of engine commands."""
        session = self.session
        when = None
        if timetag != IMMEDIATELY:
            when = unix_from_ntp(timetag)
            ahead = when - session.control.earliest()
            if ahead > MAX_AHEAD_SECONDS:
                reason = f"timetag is {ahead:.1f} s ahead; at most {MAX_AHEAD_SECONDS:g} s"
                for message in messages:
                    session.fail(peer, message.address, reason, budget)
                return
            if ahead < 0:
                when = None
                if messages:
                    self._late(messages[0].address, -ahead, peer)
        commands: list[Command] = []
        effects: list[tuple[Effect, str, int]] = []  # of which command as sent and which voice
        for message in messages:
            resolve = partial(self._resolve, message, peer, when, budget, commands, effects)
            session.guarded(peer, message.address, resolve, budget)
        if when is not None and not session.room_later(len(effects)):
            self._refuse(messages, peer, TOO_MUCH_LATER, budget)
            return
        if commands:
            frame = FRAME_NOW if when is None else session.control.frame_at(when)
            if not session.control.submit(commands, frame):
                self._refuse(messages, peer, FULL if when is None else FULL_OR_LATER, budget)
                return
        for effect, address, voice in effects:
            if when is None:
                session.guarded(peer, address, effect, budget)
            else:
                guarded = partial(session.guarded, peer, address, effect, budget)
                session.run_at(when, guarded, voice)

    def _resolve(
        self,
        message: OscMessage,
        peer: Peer,
        when: float | None,
        budget: Budget,
        commands: list[Command],
        effects: list[tuple[Effect, str, int]],
    ) -> None:
        """Add to `commands` and `effects` what `message` means at every address it matches.

        What is too much adds nothing, and leaves all plans as they were.
        """
        session = self.session
        budget.spend(session.routes.effort(message.address))
        routes = session.routes.find(message.address)
        if not routes:
            budget.spend(1)
            raise GhostnoteError(self._unknown(message.address))
        calls: list[Call] = []
        refusals: list[str] = []
        before: dict[int, Plans] = {}
        for route in routes:
            if route.voice >= 0 and route.voice not in before:
                before[route.voice] = session.plans(route.voice)
            try:
                budget.spend(1)
                values = convert(route.endpoint, message)
                call = Call(route, values, peer, message.address, when, budget)
                handle(session, call)
                budget.spend(max(0, len(call.commands) - 1))
            except TooMuch:
                session.return_to(before)
                raise
            except GhostnoteError as error:
                refusals.append(f"{route.name}: {error}" if len(routes) > 1 else str(error))
                continue
            calls.append(call)
        for call in calls:
            commands.extend(call.commands)
            of = (message.address, call.route.voice)
            effects.extend((effect, *of) for effect in call.effects)
        if refusals:
            more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
            raise GhostnoteError(refusals[0] + more)

    def _unknown(self, address: str) -> str:
        """Return what to say of an address that is not there."""
        _, root, kind, number, word, name, *_ = (*address.split("/", 6), "", "", "", "", "")
        if root != "ghost" or kind not in ("voice", "pattern"):
            return "unknown address"
        session = self.session
        if number.isascii() and number.isdigit() and len(number) < 10:
            voice = int(number) - 1
            if voice not in session.voices:
                return session.unknown_voice(voice + 1)
            role = name if word == "trig" else word if kind == "pattern" else ""
            if role and role not in session.control.roles:
                return unknown_name("role", role, session.control.roles)
            if word == "weights" and name not in session.kits[voice]:
                return unknown_name("kit", name, session.kits[voice])
        return "unknown address"

    def _refuse(self, messages: list[OscMessage], peer: Peer, reason: str, budget: Budget) -> None:
        self.session.dropped += len(messages)
        self.session.forget_plans()
        for message in messages:
            self.session.fail(peer, message.address, reason, budget)

    def _late(self, address: str, seconds: float, peer: Peer) -> None:
        session = self.session
        session.late += 1
        second = int(session.clock())
        if second != self._late_second:
            self._late_second, self._late_told = second, 0
        if self._late_told < LATE_PER_SECOND and session.wants_errors(peer):
            self._late_told += 1
            session.reply(peer, "/ghost/late", address, seconds)

    def _malformed(self, peer: Peer, error: object) -> None:
        """Count a malformed packet; tell once a second at most."""
        session = self.session
        session.dropped += 1
        self._untold_malformed += 1
        now = session.clock()
        if now - self._told_malformed >= 1.0 or self._told_malformed < 0:
            log.warning(
                "%d malformed packet(s) dropped, the last from %s: %s",
                self._untold_malformed,
                peer.name,
                error,
            )
            self._told_malformed, self._untold_malformed = now, 0

    def _dump(self, data: bytes, packet: Packet | None, peer: Peer) -> None:
        mode = self.session.dump_mode
        if mode & 1 and packet is not None:
            for timetag, messages in by_time(packet):
                at = "" if timetag == IMMEDIATELY else f" @{unix_from_ntp(timetag):.6f}"
                for message in messages:
                    values = " ".join(map(repr, message.args))
                    log.info(
                        "%s%s: %s ,%s %s", peer.name, at, message.address, message.typetags, values
                    )
        if mode & 2:
            log.info("%s: %s", peer.name, data.hex(" ", -4))
