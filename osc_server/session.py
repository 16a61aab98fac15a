"""What the OSC side remembers between messages: values, voices, clients, what is due later.

Threads: every method needs `lock` held, except `reply`, `done`, `fail` and `guarded`, which any
thread may call. The job given to `in_background` runs on the worker thread without the lock. Two
times come in from outside: `clock()` in seconds for leases and rates, and `control.earliest()`, unix
time, for timetags.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from ghostnote.inference.patterns import parse_steps
from ghostnote.kernels.errors import GhostnoteError

from .budget import Budget
from .clients import Clients, Leases
from .control import Control
from .drummer import Drummers
from .encode import Value, encode
from .endpoint import Endpoint
from .peer import Peer, Silence
from .routes import Route, Routes
from .tap import TapTempo
from .worker import MAX_WAITING, Worker

if TYPE_CHECKING:
    from .handling import Call, Handler
    from .presets import Presets

MAX_LATER: Final = 16384
"""Effects that may wait for their timetag."""
STATE_SECONDS: Final = 0.05
"""How long an answer about a voice's state waits for the state to change."""
MAX_QUIET: Final = 256
"""Clients that have asked not to be told of errors; of more the first is told again."""

Effect: TypeAlias = Callable[[], None]
Watcher: TypeAlias = Callable[[str, tuple[Value, ...], Peer | None], None]
"""Told of a changed value: its address, the values, and who changed it (None: the server)."""
Plans: TypeAlias = tuple[list[float], list[tuple[str, int]]]
"""Of one voice: its entries of `Session.levels` and `Session.patterns`."""
TreeWatcher: TypeAlias = Callable[[frozenset[str], frozenset[str]], None]
"""Told of addresses that have come and of those that have gone."""

log = logging.getLogger("ghostnote.osc.in")


class Session:
    """The state of the OSC side, shared by the dispatcher and its handlers.

    `values` holds the value of every parameter as of now, by address. `levels` and `patterns` hold
    what the newest message asked for, due or not, since the next change of one kit or one step
    starts from it: per voice the kit levels (before scaling to sum 1), and per voice and role the
    steps' text and how many of them are played. `voices` are those that have addresses.
    """

    def __init__(
        self,
        control: Control,
        table: Iterable[Endpoint],
        handlers: Mapping[str, Handler],
        clock: Callable[[], float],
        defaults: Mapping[str, Value],
        presets: Presets,
    ) -> None:
        self.control = control
        self.presets = presets
        self.handlers = handlers
        self.clock = clock
        self.lock = threading.RLock()
        self.clients = Clients()
        self.meters = Leases()
        self.beats = Leases()
        self.worker = Worker()
        self.drummers = Drummers(
            control, lambda: float(self.values.get("/ghost/signature", (4,))[0])
        )
        self.values: dict[str, tuple[Value, ...]] = {}
        self.voices: set[int] = set()
        self.kits: dict[int, tuple[str, ...]] = {}
        self.levels: dict[int, list[float]] = {}
        self.patterns: dict[int, list[tuple[str, int]]] = {}
        self.taps = TapTempo()
        self.jobs = 0  # given to the worker so far
        self.morphs: dict[int, Call] = {}  # between presets, that wait; by the number of the job
        self.late = 0
        self.dropped = 0
        self.dump_mode = 0
        self.table = tuple(table)
        self.routes = Routes(self.table, control.roles)
        self._defaults = defaults
        self._order = itertools.count()
        self._later: list[
            tuple[float, int, Effect, int]
        ] = []  # when, in what order, of which voice
        self._asked: list[tuple[float, int, Peer]] = []  # until when, voice, who
        self._states: dict[int, str] = {}
        self._models: dict[int, str] = {}
        self._quiet: dict[str, None] = {}
        self._watchers: list[Watcher] = []
        self._tree_watchers: list[TreeWatcher] = []
        for voice in range(control.max_voices):
            if control.exists(voice):
                self.add_voice(voice)

    def default(self, endpoint: Endpoint) -> Value | None:
        """Return what a parameter is at the start, None where it has no value then."""
        own = self._defaults.get(endpoint.address)
        return endpoint.arguments[0].default if own is None else own

    def add_voice(self, voice: int) -> None:
        """Make the addresses of a voice, without values yet."""
        self.voices.add(voice)
        self.patterns[voice] = [("", 0)] * len(self.control.roles)
        self.learn_model(voice)

    def remove_voice(self, voice: int) -> None:
        """Forget a voice: its addresses, its values, what was asked of it.

        That includes what it was asked for later: the engine drops that too, and the next voice of
        its number is another.
        """
        self.voices.discard(voice)
        self.drummers.forget(voice)
        for memory in (self.kits, self.levels, self.patterns, self._states, self._models):
            memory.pop(voice, None)
        gone = frozenset(self.routes.remove_voice(voice))
        for address in gone:
            self.values.pop(address, None)
        self._asked = [entry for entry in self._asked if entry[1] != voice]
        self._later = [entry for entry in self._later if entry[3] != voice]
        heapq.heapify(self._later)
        self._tell_tree(frozenset(), gone)

    def learn_model(self, voice: int) -> None:
        """Ask the engine for a voice's model and its kits, and make the voice's addresses anew."""
        before = {route.name for route in self.routes.of_voice(voice)}
        self.kits[voice] = tuple(self.control.kits(voice))
        now = frozenset(self.routes.add_voice(voice, self.kits[voice]))
        gone = frozenset(before - now)
        for address in gone:
            self.values.pop(address, None)
        self._plan_kits(voice)
        self._tell_tree(now - before, gone)
        model = self.control.voice_model(voice)
        if self._models.get(voice) != model:
            self._models[voice] = model
            self.tell(f"/ghost/voice/{voice + 1}/model", (model,), None)

    def unknown_voice(self, number: int) -> str:
        """Return what to say of a voice, counted from 1, that is not there."""
        there = ", ".join(str(voice + 1) for voice in sorted(self.voices))
        return f"unknown voice {number}; there are {there or 'none'}"

    def forget_plans(self) -> None:
        """Let levels and patterns be what they are now, not what scheduled messages asked for."""
        for voice in self.voices:
            self._plan_kits(voice)
            self.patterns[voice] = [self._pattern(voice, role) for role in self.control.roles]

    def plans(self, voice: int) -> Plans:
        """Return what the newest messages asked of a voice's kits and patterns."""
        return list(self.levels[voice]), list(self.patterns[voice])

    def return_to(self, plans: Mapping[int, Plans]) -> None:
        """Let the plans of some voices be what they were before a message that was refused."""
        for voice, (levels, patterns) in plans.items():
            self.levels[voice], self.patterns[voice] = levels, patterns

    def set(self, address: str, values: Sequence[Value], originator: Peer | None) -> None:
        """Note a parameter's value; if it changed, tell all clients but `originator`.

        What comes due for a voice that has gone meanwhile is nobody's value.
        """
        values = tuple(values)
        if self.values.get(address) != values and self.routes.exact(address):
            self.values[address] = values
            self.tell(address, values, originator)

    def tell(self, address: str, values: Sequence[Value], originator: Peer | None) -> None:
        """Tell all clients but `originator`, and all watchers, of something that has happened."""
        self.clients.push(address, values, originator)
        for watcher in self._watchers:
            watcher(address, tuple(values), originator)

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

    def value(self, route: Route) -> tuple[Value, ...] | None:
        """Return what an address reads as now; None where it has no value."""
        match route.endpoint.address:
            case "/ghost/voice/{V}/state":
                return (self.control.voice_state(route.voice),)
            case "/ghost/voice/{V}/model":
                return (self.control.voice_model(route.voice),)
            case "/ghost/rolling":
                return (self.control.transport().rolling,)
            case "/ghost/beat":
                return (self.control.transport().beat,)
        return self.values.get(route.name)

    def source(self) -> str:
        """Return who says where the beat is."""
        return str(self.values.get("/ghost/sync/source", ("internal",))[0])

    def room_later(self, effects: int) -> bool:
        """Tell whether so many more effects may wait."""
        return len(self._later) + effects <= MAX_LATER

    def run_at(self, when: float, effect: Effect, voice: int) -> None:
        """Run `effect` when a command due at unix time `when` is heard.

        One of a `voice` (-1: of none) is not run if that has been freed by then.
        """
        heapq.heappush(self._later, (when, next(self._order), effect, voice))

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

    def tell_states(self, now: float) -> None:
        """Tell of the states that have changed, and answer those who wait for one."""
        asked, self._asked = self._asked, []
        for voice in self.voices:
            state = self.control.voice_state(voice)
            address = f"/ghost/voice/{voice + 1}/state"
            before = self._states.get(voice, "")
            changed = state != before
            if changed:
                self._states[voice] = state
                self.tell(address, (state,), None)
            hold = f"/ghost/voice/{voice + 1}/hold"
            if state == "idle" and self.values.get(hold) == (True,):
                self.set(hold, (False,), None)  # it lets go of its loop, and takes no new one
            elif changed and "holding" in (before, state) and state != "starved":
                # What waited for a line has acted. Asked for with play, it was told off until now.
                self.set(hold, (state == "holding",), None)
            for entry in asked:
                until, of, peer = entry
                if of == voice and (changed or now >= until):
                    self.reply(peer, address, state)
                elif of == voice:
                    self._asked.append(entry)

    def tell_errors(self, peer: Peer, on: bool) -> None:
        """Let `peer` be told of refusals and late bundles, or not."""
        self._quiet.pop(peer.name, None)
        if not on:
            if len(self._quiet) >= MAX_QUIET:
                del self._quiet[next(iter(self._quiet))]
            self._quiet[peer.name] = None

    def wants_errors(self, peer: Peer) -> bool:
        """Tell whether `peer` is to be told of refusals and late bundles. Any thread."""
        return peer.name not in self._quiet

    def forget(self, peer: Peer) -> None:
        """Forget a client that has gone."""
        self.clients.leave(peer)
        self.meters.leave(peer)
        self.beats.leave(peer)
        self._quiet.pop(peer.name, None)
        self._asked = [entry for entry in self._asked if entry[2].name != peer.name]

    def reply(self, peer: Peer, address: str, *values: Value, tags: str = "") -> None:
        """Send one message to `peer`."""
        peer.send(encode(address, *values, tags=tags))

    def done(self, peer: Peer, command: str, *values: Value) -> None:
        """Tell `peer` that `command` is done."""
        self.reply(peer, "/done", command, *values)

    def fail(self, peer: Peer, command: str, reason: object, budget: Budget | None = None) -> None:
        """Tell `peer` why `command` was refused, unless it wants to hear nothing of that.

        `budget` is that of the packet that the command came with, and belongs to the lock.
        """
        if isinstance(peer, Silence):
            log.warning("%s: %s", command, reason)
        if self.wants_errors(peer):
            (budget or Budget()).refuse(peer, command, str(reason))

    def guarded(
        self, peer: Peer, command: str, action: Effect, budget: Budget | None = None
    ) -> None:
        """Run `action`; what it raises becomes a /fail, and a log entry if it is our defect."""
        try:
            action()
        except GhostnoteError as error:
            self.fail(peer, command, error, budget)
        except Exception:
            log.exception("%s from %s failed", command, peer.name)
            reason = "internal error; the server's log has the details"
            self.fail(peer, command, reason, budget)

    def in_background(self, peer: Peer, command: str, job: Effect) -> None:
        """Run `job` on the worker thread, after all earlier ones."""
        if not self.worker.submit(lambda: self.guarded(peer, command, job)):
            raise GhostnoteError(f"{MAX_WAITING} slow commands wait already; try again later")
        self.jobs += 1

    def _tell_tree(self, added: frozenset[str], removed: frozenset[str]) -> None:
        for watcher in self._tree_watchers:
            watcher(added, removed)

    def _plan_kits(self, voice: int) -> None:
        prefix = f"/ghost/voice/{voice + 1}/weights"
        self.levels[voice] = [
            float(self.values.get(f"{prefix}/{kit}", (0.0,))[0])
            for kit in range(len(self.kits[voice]))
        ]

    def _pattern(self, voice: int, role: str) -> tuple[str, int]:
        address = f"/ghost/pattern/{voice + 1}/{role}"
        text = str(self.values.get(address, ("",))[0])
        (length,) = self.values.get(f"{address}/length", (len(parse_steps(text)),))
        return text, int(length)
