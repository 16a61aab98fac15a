"""Engine: voices, schedule and mixer, live in a thread of its own or offline in the caller's.

Threads: `submit` and `load` may be called from any thread (a lock makes them one producer).
`start`, `stop` and `close` are for the owner. The thread that `start` makes runs `core.run`,
one compiled call without the GIL, from start to stop. `render` is the same engine with no thread:
the caller's thread is then the engine's.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import typeof

from ghostnote.kernels import cpu
from ghostnote.kernels import packing as p
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed
from ghostnote.kernels.spec import ROLES
from ghostnote.kernels.state import State

from . import core as c
from .commands import COMMAND, FRAME_NOW, Command, Op
from .resample import Resampler
from .ring import DRAINING, IDLE, FrameRing, RecordRing, TapRing, ring_set_state

MAX_VOICES = 64
QUEUE = 4096
TAP_SECONDS = 20

Frames = npt.NDArray[np.float32]
SlotNote = Callable[[int], None]


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is built; two engines of equal options and commands make equal bits.

    Parameters
    ----------
    samplerate : int
        The device's rate in Hz.
    voices : int
        1 to 64.
    seed : int
        Seed of every voice; the voices differ by their stream number.
    ring : int
        Frames kept ahead of the device: the latency. Does not change the bits.
    """

    samplerate: int
    voices: int = 1
    seed: int = 0
    ring: int = 512

    def __post_init__(self) -> None:
        if not 8000 <= self.samplerate <= 384000:
            raise GhostnoteError(f"samplerate must be 8000 to 384000 Hz, found {self.samplerate}")
        if not 1 <= self.voices <= MAX_VOICES:
            raise GhostnoteError(f"voices must be 1 to {MAX_VOICES}, found {self.voices}")
        if not 0 <= self.seed < 2**63:
            raise GhostnoteError(f"seed must be 0 to 2^63 - 1, found {self.seed}")
        if not 32 <= self.ring <= 65536:
            raise GhostnoteError(f"ring must be 32 to 65536 frames, found {self.ring}")


class Engine:
    """Plays one or more voices of a model into a frame ring, or into arrays."""

    def __init__(self, packed: Packed, options: EngineOptions) -> None:
        self.options = options
        self.spec = packed.spec
        hop, rate, voices = packed.spec.hop, packed.spec.samplerate, options.voices
        try:
            self.resampler = Resampler(rate, options.samplerate, hop)
        except ValueError as error:
            raise GhostnoteError(str(error)) from None
        largest = self.resampler.max_out
        # The loop writes a whole hop when there is room for one.
        target = max(options.ring, 2 * largest)
        self.target = target
        capacity = 1 << max(14, (2 * target).bit_length())
        self.ring = FrameRing(capacity)
        self.tap = TapRing(1 << (TAP_SECONDS * options.samplerate - 1).bit_length())
        self.commands = RecordRing(COMMAND, QUEUE)
        self.log = RecordRing(COMMAND, 4 * QUEUE)
        self._slots: dict[int, tuple[Packed, State]] = {}  # keeps alive what the loop reads
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        rings = (self.ring, self.tap, self.commands, self.log)
        self._tables = _tables(hop, voices, self.resampler, *rings)
        self._core = self._tables[0]
        desk, entries = self._core.desk[0], cpu.entry_points()
        desk["hop"], desk["rate"], desk["target"] = hop, rate, target
        desk["run"], desk["prewarm"], desk["hit"] = entries.run, entries.prewarm, entries.hit
        desk["tempo"], desk["master"], desk["master_target"] = 120.0, 1.0, 1.0
        for number in range(voices):
            voice = self._core.voices[number]
            voice["state"], voice["next_slot"], voice["seed"] = c.PLAYING, -1, options.seed
            voice["slot"] = self._new_slot(packed, number)
            for field in ("envelope", "gain", "left", "right", "temperature"):
                voice[field] = 1.0
            voice["weights"][0] = voice["goals"][0] = 1.0  # as a stream's kit is at first

    @property
    def frame(self) -> int:
        """Frames made so far, at the model's rate."""
        return int(self._core.shared[c.FRAME])

    @property
    def active(self) -> int:
        """Number of voices that sound or listen."""
        return int(self._core.shared[c.ACTIVE])

    @property
    def late(self) -> int:
        """Commands that acted a hop or more after their frame."""
        return int(self._core.shared[c.LATE])

    @property
    def dropped(self) -> int:
        """Commands lost because the queue was full."""
        return int(self._core.shared[c.DROPPED])

    @property
    def unlogged(self) -> int:
        """Commands that the log could not take because nobody read it."""
        return int(self._core.shared[c.UNLOGGED])

    @property
    def beat(self) -> float:
        """Position of the transport in beats."""
        return float(self._core.desk[0]["beat"])

    def busy_ns(self) -> tuple[int, int]:
        """Return nanoseconds spent generating so far, and the longest hop since the last call."""
        shared = self._core.shared
        peak = int(shared[c.PEAK_NS])
        shared[c.PEAK_NS] = 0
        return int(shared[c.BUSY_NS]), peak

    def voice_idle(self, voice: int) -> bool:
        """Return whether a voice is stopped."""
        return bool(self._core.voices[voice]["state"] == c.IDLE)

    def submit(self, commands: Sequence[Command], frame: int = FRAME_NOW) -> bool:
        """Hand over commands, all or none, due at `frame`; False where there is no room."""
        batch = np.zeros(len(commands), COMMAND)
        for i, command in enumerate(commands):
            batch[i] = (frame, command.op, command.voice, command.index, command.value)
        with self._lock:
            return self.commands.push_many(batch)

    def load(
        self, packed: Packed, voice: int, frame: int = FRAME_NOW, note: SlotNote | None = None
    ) -> None:
        """Let a voice cross over to another model at the next hop, or at `frame`.

        `note` is called with the slot's number, which the log tells, before the loop hears of it.

        Raises
        ------
        GhostnoteError
            If the model's rate or hop differ from the engine's, earlier loads still fade in, or
            the command queue is full.
        """
        spec = packed.spec
        if (spec.samplerate, spec.hop) != (self.spec.samplerate, self.spec.hop):
            raise GhostnoteError(
                f"model: {spec.samplerate} Hz in hops of {spec.hop}; this server runs at "
                f"{self.spec.samplerate} Hz in hops of {self.spec.hop}: start it with that model"
            )
        with self._lock:
            slot = self._new_slot(packed, voice)
        if note:
            note(slot)
        if not self.submit([Command(Op.MODEL, voice, slot)], frame):
            self._core.shared[c.IN_USE + slot] = 0
            raise GhostnoteError("model: the command queue is full; try again")

    def _new_slot(self, packed: Packed, voice: int) -> int:
        in_use, slots = self._core.shared[c.IN_USE :], self._core.slots
        for number in [n for n in self._slots if not in_use[n]]:
            del self._slots[number]
        free = next((n for n in range(len(slots)) if n not in self._slots), None)
        if free is None:
            raise GhostnoteError("model: earlier loads are still fading in; try again in a second")
        state = State(packed, self.options.seed, stream=voice)
        spec, header, at = packed.spec, packed.header, slots[free]
        ints, floats = state.ints.ctypes.data, state.floats.ctypes.data
        at["header"], at["weights"] = header.ctypes.data, packed.weights.ctypes.data
        at["ints"], at["floats"] = ints, floats
        at["lane"] = ints + 8 * int(header[p.I_LANES])
        at["settings"] = floats + 4 * int(header[p.S_SETTINGS])
        at["kit_weights"] = at["settings"] + 4 * (p.T_VELOCITIES + len(spec.roles))
        at["kits"] = len(spec.kits)
        at["roles"] = [spec.roles.index(r) if r in spec.roles else -1 for r in ROLES]
        in_use[free] = 1
        self._slots[free] = (packed, state)
        return free

    def start(self, *, urgent: bool = False) -> None:
        """Begin to fill the ring, in a thread of the engine's own.

        `urgent` asks the system to run it before ordinary threads, as JACK does with its clients;
        only for a sink with a clock, since without one the engine would never rest.
        """
        if self._thread is not None:
            raise GhostnoteError("the engine runs already")
        self._core.shared[c.STOP] = 0
        ring_set_state(self.ring.header, IDLE)  # until it has been full
        self._thread = threading.Thread(
            target=self._run, args=(urgent,), name="ghostnote-engine", daemon=True
        )
        self._thread.start()

    def _run(self, urgent: bool) -> None:
        if urgent:
            _ask_for_priority()
        self._make_hops(True, np.empty((0, 2), np.float32), 0)

    def _make_hops(self, live: bool, out: Frames, until: int) -> int:
        return int(c.run(*self._tables, live, out, until))

    def stop(self) -> None:
        """End the thread after the present hop."""
        if self._thread is not None:
            self._core.shared[c.STOP] = 1  # one aligned word: the loop sees it whole
            self._thread.join()
            self._thread = None
            ring_set_state(self.ring.header, DRAINING)  # an end is no underrun

    def render(self, until: int) -> Frames:
        """Make hops until frame `until` and return their frames at the device's rate [n, 2]."""
        if self._thread is not None:
            raise GhostnoteError("the engine runs live; it cannot render too")
        hops = max(0, -(-(until - self.frame) // self.spec.hop))
        out = np.empty((hops * self.resampler.max_out, 2), np.float32)
        return out[: self._make_hops(False, out, until)]

    def warm_up(self) -> None:
        """Compile all that the loop needs, so that `start` makes sound at once."""
        self.render(self.frame)


def _tables(
    hop: int,
    voices: int,
    resampler: Resampler,
    ring: FrameRing,
    tap: TapRing,
    commands: RecordRing,
    log: RecordRing,
) -> tuple[c.Core, c.Mail, c.Outlet]:
    """Return what the loop works on, all zero where it is the engine's own."""
    core = c.Core(
        shared=np.zeros(c.IN_USE + 4 * voices, np.int64),
        desk=np.zeros(1, c.DESK),
        voices=np.zeros(voices, c.VOICE),
        slots=np.zeros(4 * voices, c.SLOT),
        mono=np.zeros((2, hop), np.float32),
        mix=np.zeros((hop, 2), np.float32),
    )
    mail = c.Mail(
        queue=np.zeros(QUEUE, COMMAND),
        inbox=np.zeros(256, COMMAND),
        commands_header=commands.header,
        commands=commands.records,
        log_header=log.header,
        log=log.records,
    )
    outlet = c.Outlet(
        table=resampler.table,
        table_state=resampler.state,
        history=resampler.history,
        out=np.zeros((resampler.max_out, 2), np.float32),
        ring_header=ring.header,
        ring=ring.data,
        tap_header=tap.header,
        tap=tap.data,
    )
    return core, mail, outlet


def compile_loop() -> None:
    """Compile the loop, or read it from the cache; this takes no kernel and no model."""
    commands, log = RecordRing(COMMAND, 2), RecordRing(COMMAND, 2)
    tap = TapRing(2 * TapRing.MARGIN)
    tables = _tables(1, 1, Resampler(8000, 8000, 1), FrameRing(2), tap, commands, log)
    arguments = (*tables, True, np.empty((0, 2), np.float32), 0)
    c.run.compile(tuple(typeof(argument) for argument in arguments))


def _ask_for_priority() -> None:
    """Put the calling thread into the real-time class, where the system has one and allows it."""
    if sys.platform == "linux":
        # Above everything ordinary, below all of JACK's: its clients run at the server's priority
        # (10 where low) less 5, and the callback must never wait for a hop.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(3))
