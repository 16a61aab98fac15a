"""What the OSC side remembers between messages: values, clients, what is due later.

Threads: every method needs `lock` held, except `reply`, `done`, `fail` and `in_background`, which
any thread may call. The job given to `in_background` runs on the worker thread without the lock.
Two times come in from outside: `clock()` in seconds for leases and rates, and
`control.earliest()`, unix time, for timetags.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from ghostnote.kernels.errors import GhostnoteError

from .clients import Clients
from .control import Control
from .encode import Value, encode
from .peer import Peer, Silence
from .protocol import Endpoint
from .routes import Routes
from .worker import MAX_WAITING, Worker

MAX_LATER: Final = 16384
"""Effects that may wait for their timetag."""
STATE_SECONDS: Final = 0.05
"""How long an answer about a voice's state waits for the state to change."""

Effect: TypeAlias = Callable[[], None]
Watcher: TypeAlias = Callable[[str, tuple[Value, ...], Peer | None], None]
"""Told of a changed value: its address, the values, and who changed it (None: the server)."""
TreeWatcher: TypeAlias = Callable[[frozenset[str], frozenset[str]], None]
"""Told of addresses that have come and of those that have gone."""

log = logging.getLogger("ghostnote.osc.in")


class Session:
    """The state of the OSC side, shared by the dispatcher and its handlers.

    `values` holds the value of every parameter as of now, by address. `levels` holds, per voice,
    the kit levels (before scaling to sum 1) that the newest message asked for, due or not: the
    next change of one kit starts from them.
    """

    def __init__(
        self, control: Control, table: Iterable[Endpoint], clock: Callable[[], float]
    ) -> None:
        self.control = control
        self.clock = clock
        self.lock = threading.RLock()
        self.clients = Clients()
        self.worker = Worker()
        self.values: dict[str, tuple[Value, ...]] = {}
        self.late = 0
        self.dropped = 0
        self.dump_mode = 0
        self._table = tuple(table)
        self._order = itertools.count()
        self._later: list[tuple[float, int, Effect]] = []
        self._states = [""] * control.voices
        self._asked: list[tuple[float, int, Peer]] = []  # until when, voice, who
        self._watchers: list[Watcher] = []
        self._tree_watchers: list[TreeWatcher] = []
        self._addresses: frozenset[str] = frozenset()
        self.learn_kits()

    def learn_kits(self) -> None:
        """Ask the engine for its kits, and make the addresses anew."""
        control = self.control
        self.kits = [control.kits(voice) for voice in range(control.voices)]
        self.routes = Routes(self._table, control.roles, self.kits)
        self.forget_plans()
        before, self._addresses = self._addresses, frozenset(r.name for r in self.routes.all())
        for watcher in self._tree_watchers:
            watcher(self._addresses - before, before - self._addresses)

    def watch(self, watcher: Watcher) -> None:
        """Have every change of a value or state told to `watcher`.

        It is called with the lock held, must return at once and must not raise.
        """
        self._watchers.append(watcher)

    def watch_tree(self, watcher: TreeWatcher) -> None:
        """Have it told to `watcher`, as by `watch`, when voices or kits come and go.

        Both sets are empty when kits have changed their names only.
        """
        self._tree_watchers.append(watcher)

    def forget_plans(self) -> None:
        """Let the kit levels be what they are now, not what scheduled messages asked for."""
        self.levels = [
            [self._level(f"/ghost/voice/{voice + 1}/weights/{kit}") for kit in range(len(names))]
            for voice, names in enumerate(self.kits)
        ]

    def set(self, address: str, values: Sequence[Value], originator: Peer) -> None:
        """Note a parameter's value; if it changed, tell all clients but `originator`."""
        values = tuple(values)
        if self.values.get(address) != values:
            self.values[address] = values
            self.tell(address, values, originator)

    def tell(self, address: str, values: Sequence[Value], originator: Peer | None) -> None:
        """Tell all clients but `originator`, and all watchers, what is now at `address`."""
        self.clients.push(address, values, originator)
        for watcher in self._watchers:
            watcher(address, tuple(values), originator)

    def room_later(self, effects: int) -> bool:
        """Tell whether so many more effects may wait."""
        return len(self._later) + effects <= MAX_LATER

    def run_at(self, when: float, effect: Effect) -> None:
        """Run `effect` when a command due at unix time `when` is heard."""
        heapq.heappush(self._later, (when, next(self._order), effect))

    def clear_scheduled(self) -> None:
        """Forget all effects that wait for their time."""
        self._later.clear()
        self.forget_plans()

    def run_due(self) -> None:
        """Run the effects whose time has come."""
        if self._later:
            now = self.control.earliest()
            while self._later and self._later[0][0] <= now:
                heapq.heappop(self._later)[2]()

    def answer_state(self, voice: int, peer: Peer) -> None:
        """Tell `peer` the voice's state once it has changed, or after STATE_SECONDS."""
        self._asked.append((self.clock() + STATE_SECONDS, voice, peer))

    def tick(self) -> None:
        """Do what time brings: due effects, changed states, updates to clients."""
        self.run_due()
        now = self.clock()
        asked, self._asked = self._asked, []
        for voice, before in enumerate(self._states):
            state = self.control.voice_state(voice)
            address = f"/ghost/voice/{voice + 1}/state"
            if state != before:
                self._states[voice] = state
                self.tell(address, (state,), None)
            for entry in asked:
                until, of, peer = entry
                if of == voice and (state != before or now >= until):
                    self.reply(peer, address, state)
                elif of == voice:
                    self._asked.append(entry)
        self.clients.update(now)

    def reply(self, peer: Peer, address: str, *values: Value, tags: str = "") -> None:
        """Send one message to `peer`."""
        peer.send(encode(address, *values, tags=tags))

    def done(self, peer: Peer, command: str, *values: Value) -> None:
        """Tell `peer` that `command` is done."""
        self.reply(peer, "/done", command, *values)

    def fail(self, peer: Peer, command: str, reason: object) -> None:
        """Tell `peer` why `command` was refused."""
        if isinstance(peer, Silence):
            log.warning("%s: %s", command, reason)
        self.reply(peer, "/fail", command, str(reason))

    def guarded(self, peer: Peer, command: str, action: Effect) -> None:
        """Run `action`; what it raises becomes a /fail, and a log entry if it is our defect."""
        try:
            action()
        except GhostnoteError as error:
            self.fail(peer, command, error)
        except Exception:
            log.exception("%s from %s failed", command, peer.name)
            self.fail(peer, command, "internal error; the server's log has the details")

    def in_background(self, peer: Peer, command: str, job: Effect) -> None:
        """Run `job` on the worker thread, after all earlier ones."""
        if not self.worker.submit(lambda: self.guarded(peer, command, job)):
            raise GhostnoteError(f"{MAX_WAITING} slow commands wait already; try again later")

    def _level(self, address: str) -> float:
        return float(self.values.get(address, (0.0,))[0])
