"""The drummers of the voices: they think a bar or two ahead and tell the engine their strikes.

Strikes wait in the engine for their beat, so tempo, transport and micro-timing are the engine's
matter, and nothing here has to be in time.
Threads: `start`, `stop`, `set` and `forget` may be called from any thread and return at once;
`load` too, but takes a while; `close` is for the one that ends the server. All thinking is done in
one thread of our own, which begins with the first drummer (tests call `tick` themselves).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ghostnote.inference.drummer import Drummer, DrummerSettings
from ghostnote.inference.drummer_file import DrummerFile, DrummerState, load_drummer
from ghostnote.inference.midi import Hit
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES

from .commands import FRAME_NOW, Command, Op, strike_index
from .control import Control, Transport

AHEAD: Final = 2
"""Whole bars that are thought of beyond the one that sounds."""
EARLY: Final = 0.125
"""Beats before a bar line from which on a stroke may belong to the next bar."""
SOON_SECONDS: Final = 0.05
"""A bar that begins sooner is not changed any more."""
TICK_SECONDS: Final = 0.01
BACK_BEATS: Final = 0.25
"""Who goes so far back has jumped; less is a source of time that is caught up with."""

log = logging.getLogger("ghostnote.osc.drummer")


@dataclass
class _Bar:
    """A bar that has been sent: its hits by the transport's beat, and the memory before it."""

    hits: list[Hit]
    memory: tuple[DrummerState, bool]


@dataclass
class _Player:
    """A voice's drummer."""

    voice: int
    settings: DrummerSettings = field(default_factory=DrummerSettings)
    on: bool = False
    drummer: Drummer | None = None
    bars: dict[int, _Bar] = field(default_factory=dict)
    next_bar: int = 0
    thought: tuple[list[Hit], tuple[DrummerState, bool]] | None = None
    """The next bar's hits, and the memory after it, where the engine had no room for them."""
    changed: bool = False
    rolling: bool = False
    beat: float = 0.0
    beats: int = 4  # in a bar


class Drummers:
    """All drummers of a server.

    Parameters
    ----------
    control : Control
        Its `submit` and `transport` are used.
    signature : callable
        Returns the beats in a bar.
    read : callable
        Returns the drummer's file.
    alone : bool
        Think in a thread of its own; else `tick` has to be called.
    """

    def __init__(
        self,
        control: Control,
        signature: Callable[[], float],
        read: Callable[[], DrummerFile] = load_drummer,
        *,
        alone: bool = True,
    ) -> None:
        self._control, self._signature, self._read = control, signature, read
        self._asked: dict[tuple[int, str], Any] = {}  # by voice and name, in order
        self._asking = threading.Lock()
        self._players: dict[int, _Player] = {}
        self._file: DrummerFile | None = None
        self._loading, self._thinking = threading.Lock(), threading.Lock()
        self._alone = alone
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def load(self) -> DrummerFile:
        """Read the drummer's file, once.

        Raises
        ------
        GhostnoteError
            If it cannot be had.
        """
        with self._loading:
            if self._file is None:
                self._file = self._read()
            return self._file

    def set(self, voice: int, name: str, value: Any) -> None:
        """Change one of a drummer's settings, by its name in DrummerSettings; from the next bar on."""
        self._ask(voice, name, value)

    def start(self, voice: int) -> None:
        """Let a voice's drummer play while the transport runs, from the next bar on."""
        self._ask(voice, "on", True)
        if self._thread is None and self._alone and not self._closed:
            self._thread = threading.Thread(target=self._run, name="ghostnote-drummer", daemon=True)
            self._thread.start()

    def stop(self, voice: int) -> None:
        """Let a voice's drummer play no more, at once."""
        self._ask(voice, "on", False)

    def forget(self, voice: int) -> None:
        """Forget a voice that is no more, with all settings."""
        with self._asking:
            self._asked = {key: value for key, value in self._asked.items() if key[0] != voice}
        self._ask(voice, "gone", True)

    def plays(self, voice: int) -> bool:
        """Tell whether a voice's drummer is at it, as of the last `tick`."""
        player = self._players.get(voice)
        return player is not None and player.on

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._wake.set()
        if self._thread:
            self._thread.join()

    def tick(self) -> None:
        """Do what has been asked, and think as far ahead as is due."""
        with self._thinking:
            self._tick()

    def _tick(self) -> None:
        with self._asking:
            asked, self._asked = self._asked, {}
        for (voice, name), value in asked.items():
            player = self._players.setdefault(voice, _Player(voice))
            if name == "gone":
                # The engine has forgotten its strikes; not those that were thought of meanwhile.
                self._clear(player, 0.0)
                del self._players[voice]
            elif name == "on":
                player.on = value
            elif getattr(player.settings, name) != value:
                player.settings = replace(player.settings, **{name: value})
                player.changed = True
        for player in self._players.values():
            if player.on or player.drummer:
                try:
                    self._follow(
                        player, self._control.transport(), max(1, round(self._signature()))
                    )
                except Exception as error:
                    # Once, not a hundred times a second; the other drummers play on.
                    if not isinstance(error, GhostnoteError):
                        log.exception("a drummer stumbled")
                    log.error("%s; the drummer of voice %d is off", error, player.voice + 1)
                    player.on, player.drummer = False, None
                    self._clear(player, 0.0)

    def _ask(self, voice: int, name: str, value: Any) -> None:
        with self._asking:
            self._asked[voice, name] = value
        self._wake.set()

    def _run(self) -> None:
        while not self._closed:
            playing = True
            try:
                self.tick()
                with self._thinking:
                    playing = any(player.on or player.drummer for player in self._players.values())
            except Exception:
                log.exception("the drummers stumbled")
            self._wake.wait(TICK_SECONDS if playing else None)
            self._wake.clear()

    def _follow(self, player: _Player, transport: Transport, beats: int) -> None:
        """Bring what the engine has of a drummer's strikes to what it is to have."""
        here = transport.beat if transport.rolling else 0.0
        if not player.on:
            if self._clear(player, 0.0):
                player.drummer = None
            return
        if player.drummer is None:
            player.drummer = Drummer(self.load(), player.settings, player.voice)
            first = int(here // beats) + 1 if transport.rolling else 0
            self._go(player, player.drummer, first)
        elif self._has_jumped(player, transport, beats, here):
            if not self._clear(player, 0.0):
                return
            self._go(player, player.drummer, int(here // beats))
        player.rolling, player.beat, player.beats = transport.rolling, here, beats
        if player.changed and not self._change(player, player.drummer, transport):
            return
        self._send(player, player.drummer, transport.tempo, here)

    def _has_jumped(self, player: _Player, transport: Transport, beats: int, here: float) -> bool:
        stopped = player.rolling and not transport.rolling
        back = transport.rolling and here < player.beat - BACK_BEATS
        beyond = here // beats > player.next_bar
        return stopped or back or beyond or beats != player.beats

    def _go(self, player: _Player, drummer: Drummer, bar: int) -> None:
        """Let a drummer play from a bar on: the first as at the start, others from where it is."""
        player.next_bar, player.bars, player.thought = bar, {}, None
        if bar == 0:
            drummer.begin()

    def _change(self, player: _Player, drummer: Drummer, transport: Transport) -> bool:
        """Play with new settings from the next bar on; tell whether that could be done."""
        bar = 0
        if transport.rolling:
            soon = SOON_SECONDS * transport.tempo / 60.0 + EARLY
            bar = int((player.beat + soon) // player.beats) + 1
        memory, settings = drummer.memory, drummer.settings
        drummer.settings = player.settings
        if bar < player.next_bar:
            since = max(0.0, bar * player.beats - EARLY)
            drummer.memory = player.bars[bar].memory
            hits = self._think(player, drummer, bar, transport.tempo)
            # Late strokes of the bar before, and early ones of this, lie on both sides of the line.
            before = player.bars[bar - 1].hits if bar - 1 in player.bars else []
            again = [hit for hit in before if hit[0] >= since]
            # At once, and when it has been thought of: however slow we are, there is no gap.
            if not self._submit(player, again + hits, since):
                drummer.memory, drummer.settings = memory, settings
                return False
            player.bars[bar].hits, player.next_bar = hits, bar + 1
        player.changed, player.thought = False, None
        return True

    def _think(self, player: _Player, drummer: Drummer, bar: int, tempo: float) -> list[Hit]:
        """Let a drummer play a bar; return its hits by the transport's beat."""
        begin = bar * player.beats
        return [
            (max(0.0, begin + beat), role, velocity)
            for beat, role, velocity in drummer.bar(bar, tempo, player.beats)
        ]

    def _send(self, player: _Player, drummer: Drummer, tempo: float, here: float) -> None:
        """Think of bars and send them, until there are enough."""
        playing = int(here // player.beats)
        for gone in [bar for bar in player.bars if bar < playing - 1]:
            del player.bars[gone]
        while player.next_bar <= playing + AHEAD:
            bar, before = player.next_bar, drummer.memory
            if player.thought is None:
                player.thought = self._think(player, drummer, bar, tempo), drummer.memory
            hits, drummer.memory = player.thought
            if not self._submit(player, [hit for hit in hits if hit[0] >= here]):
                drummer.memory = before
                return  # the engine has no room now
            player.bars[bar] = _Bar(hits, before)
            player.next_bar, player.thought = bar + 1, None

    def _submit(self, player: _Player, hits: list[Hit], since: float | None = None) -> bool:
        """Send strikes, in place of those `since` a beat; tell whether the engine had room."""
        commands = [
            Command(Op.STRIKE, player.voice, strike_index(ROLES.index(role), beat), velocity)
            for beat, role, velocity in hits
        ]
        if since is not None:
            commands.insert(0, Command(Op.STRIKE_CLEAR, player.voice, value=since))
        return not commands or self._control.submit(commands, FRAME_NOW)

    def _clear(self, player: _Player, beat: float) -> bool:
        return self._submit(player, [], beat)
