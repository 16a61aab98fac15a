"""Engine: voices, schedule and mixer, live in a thread of its own or offline in the caller's.

Threads: `submit` and `load` may be called from any thread (a lock makes them one producer).
`start` and `stop` are for the owner. The thread that `start` makes runs `core.run`,
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
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed
from ghostnote.kernels.state import State

from . import desk as c
from .banks import Banks, next_free
from .commands import COMMAND, FRAME_NOW, WAITING, Command, Op, strikes_fit
from .core import run
from .gpu_bank import Gpu
from .resample import Resampler
from .ring import DRAINING, HEADER_WORDS, IDLE, FrameRing, RecordRing, TapRing, ring_set_state

MAX_OUTPUTS = 32
QUEUE = 8192
INBOX = 256  # commands that the loop takes from the ring at once
ROOM = QUEUE - INBOX  # those just taken are nowhere counted
ROOM_LATER = QUEUE // 2  # so that there is always room for what is due now; a packet's, at least
TAP_SECONDS = 80  # of one pair of outputs; of many it is shorter, for they take as much memory
LEAST_TAP_SECONDS = 10
VOICE_TAP_SECONDS = 40

Frames = npt.NDArray[np.float32]
BankNote = Callable[[int], None]

REASONS = {c.SILENCE: "silence", c.DC: "dc", c.NOISE: "noise"}
"""Why the watch brought a voice back to silence."""


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is built; two engines of equal options and commands make equal bits.

    Parameters
    ----------
    samplerate : int
        The device's rate in Hz.
    voices : int
        1 to 64 that exist from the start and play.
    seed : int
        Seed of every voice; the voices differ by their stream number.
    ring : int
        Frames kept ahead of the device: the latency. Does not change the bits.
    max_voices : int
        Voices that can exist at once, 64 at most; never fewer than `voices`.
    outputs : int
        Pairs of channels, 1 to 32.
    burst : int
        Frames that the sink takes at once, if it does so steadily; 0 if not. `ring` is above it.
    """

    samplerate: int
    voices: int = 1
    seed: int = 0
    ring: int = 512
    max_voices: int = 16
    outputs: int = 1
    burst: int = 0

    def __post_init__(self) -> None:
        if not 8000 <= self.samplerate <= 384000:
            raise GhostnoteError(f"samplerate must be 8000 to 384000 Hz, found {self.samplerate}")
        if not 1 <= self.voices <= c.MAX_VOICES:
            raise GhostnoteError(f"voices must be 1 to {c.MAX_VOICES}, found {self.voices}")
        if not 1 <= self.max_voices <= c.MAX_VOICES:
            raise GhostnoteError(f"max_voices must be 1 to {c.MAX_VOICES}, found {self.max_voices}")
        if not 0 <= self.seed < 2**63:
            raise GhostnoteError(f"seed must be 0 to 2^63 - 1, found {self.seed}")
        if not 32 <= self.ring <= 65536:
            raise GhostnoteError(f"ring must be 32 to 65536 frames, found {self.ring}")
        if not 0 <= self.burst < self.ring:
            raise GhostnoteError(
                f"burst must be 0 to below the ring of {self.ring}, found {self.burst}"
            )
        if not 1 <= self.outputs <= MAX_OUTPUTS:
            raise GhostnoteError(f"outputs must be 1 to {MAX_OUTPUTS} pairs, found {self.outputs}")

    @property
    def places(self) -> int:
        """Voices that can exist at once."""
        return max(self.voices, self.max_voices)


class Engine:
    """Plays one or more voices of a model into a frame ring, or into arrays.

    A `gpu` plays the models that are packed in fp32 or bf16; until it is there, and where it fails,
    the CPU does. `close` ends it.
    """

    def __init__(self, packed: Packed, options: EngineOptions, gpu: Gpu | None = None) -> None:
        self.options = options
        self.gpu = gpu
        self.spec = packed.spec
        hop, rate, channels = packed.spec.hop, packed.spec.samplerate, 2 * options.outputs
        try:
            self.resampler = Resampler(rate, options.samplerate, hop, channels)
        except ValueError as error:
            raise GhostnoteError(str(error)) from None
        largest = self.resampler.max_out
        # The loop writes a whole hop when there is room for one.
        target = max(options.ring, 2 * largest)
        self.target = target
        capacity = 1 << max(14, (2 * target).bit_length())
        self.ring = FrameRing(capacity, channels)
        seconds = max(LEAST_TAP_SECONDS, TAP_SECONDS // options.outputs)
        self.tap = TapRing(_power(seconds * options.samplerate), channels)
        self.commands = RecordRing(COMMAND, QUEUE)
        self.log = RecordRing(COMMAND, 4 * QUEUE)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        rings = (self.ring, self.tap, self.commands, self.log)
        voice_frames = _power(VOICE_TAP_SECONDS * rate)
        self._tables = _tables(hop, options.places, voice_frames, self.resampler, *rings)
        self._core = self._tables[0]
        self._banks = Banks(self._core, options.places, hop, gpu)
        self._primes: dict[int, State] = {}
        self._last_prime = -1
        desk, entries = self._core.desk[0], cpu.entry_points()
        desk["hop"], desk["rate"], desk["target"] = hop, rate, target
        desk["burst"], desk["device_rate"] = options.burst, options.samplerate
        for entry in ("prewarm", "hit", "copy_lane", "relay"):
            desk[entry] = getattr(entries, entry)
        desk["tempo"], desk["master"], desk["master_target"] = 120.0, 1.0, 1.0
        desk["signature"], desk["limiter"], desk["seed"] = 4.0, 1.0, options.seed
        for number in range(options.voices):
            self._bring(packed, Command(Op.VOICE_NEW, number, value=-1.0), 0, None)
        self.render(0)  # no hop, but the voices exist, and all is compiled

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
    def clips(self) -> int:
        """Samples that were above 1 before the limiter."""
        return int(self._core.shared[c.CLIPS])

    @property
    def rolling(self) -> bool:
        """Whether the transport runs."""
        return bool(self._core.desk[0]["rolling"])

    @property
    def tempo(self) -> float:
        """Beats per minute."""
        return float(self._core.desk[0]["tempo"])

    @property
    def signature(self) -> float:
        """Beats in a bar."""
        return float(self._core.desk[0]["signature"])

    @property
    def beat(self) -> float:
        """Position of the transport in beats, at `frame`."""
        return float(self._core.desk[0]["beat"])

    def bars(self) -> list[tuple[int, int]]:
        """Return the frame and the number of the last bar lines, oldest first; up to 63."""
        shared = self._core.shared
        while True:
            count = int(shared[c.BAR_COUNT])
            first = max(0, count - c.MAX_BARS + 1)  # one more may be overwritten just now
            places = [c.BARS + 2 * (n % c.MAX_BARS) for n in range(first, count)]
            found = [(int(shared[at]), int(shared[at + 1])) for at in places]
            if int(shared[c.BAR_COUNT]) == count:
                return found

    def tap_frame(self, frame: int) -> int:
        """Return at which frame of the master's tap an engine frame is heard."""
        rates = self.options.samplerate / self.spec.samplerate
        return round((frame + self.resampler.delay) * rates)

    def voice_tap(self, voice: int) -> TapRing:
        """Return what a voice plays before gain and pan: mono at the model's rate, by frame."""
        return TapRing.over(self._core.tap_headers[voice], self._core.taps[voice])

    def meters(self) -> npt.NDArray[np.float64]:
        """Return levels from 0 to 1, float64 [voices + 1, 4], of a window of 33 ms.

        A voice's row: peak, rms, 0, 0. The last row is the master's: peaks and rms of both sides.
        """
        return self._core.levels.copy()

    def reprimes(self, voice: int) -> tuple[int, str]:
        """Return how often the watch brought a voice back to silence, and why the last time."""
        row = self._core.voices[voice]
        return int(row["reprimes"]), REASONS.get(int(row["reprime_reason"]), "")

    def busy_ns(self) -> tuple[int, int]:
        """Return nanoseconds spent generating so far, and the longest hop since the last call."""
        shared = self._core.shared
        peak = int(shared[c.PEAK_NS])
        shared[c.PEAK_NS] = 0
        return int(shared[c.BUSY_NS]), peak

    def exists(self, voice: int) -> bool:
        """Return whether a voice is there, be it silent."""
        return bool(self._core.voices[voice]["exists"])

    def voice_born(self, voice: int) -> int:
        """Return the frame from which on a voice's tap is its own."""
        return int(self._core.voices[voice]["born"])

    def voice_ended(self, voice: int, born: int) -> int | None:
        """Return before which frame the voice that was born then ended; None while it is there.

        A later voice of its number may be there already.
        """
        row = self._core.voices[voice]
        there, written = bool(row["exists"]), self.voice_tap(voice).written
        if row["born"] != born:  # looked at last: what was seen before may be the later one's
            return int(row["ended_before"])
        return None if there else written

    def voice_idle(self, voice: int) -> bool:
        """Return whether a voice is stopped."""
        return bool(self._core.voices[voice]["state"] == c.IDLE)

    def voice_holding(self, voice: int) -> bool:
        """Return whether a voice plays a loop of what it played."""
        return bool(self._core.voices[voice]["hold"])

    def submit(
        self, commands: Sequence[Command], frame: int = FRAME_NOW, *, own: bool = False
    ) -> bool:
        """Hand over commands, all or none, due at `frame`; False where there is no room.

        What is due later has half of the queue: were it full of that, "now" would wait for it. The
        server's `own`, which are few and due in some milliseconds, have the room of "now".
        """
        batch = np.zeros(len(commands), COMMAND)
        for i, command in enumerate(commands):
            batch[i] = (frame, command.op, command.voice, command.index, command.value)
        room = ROOM_LATER if frame > self.frame and not own else ROOM
        with self._lock:
            # The ring first: what the loop takes meanwhile is rather counted twice than not at all.
            held = self.commands.fill + int(self._core.shared[c.QUEUED])
            waiting = self.commands.fill + int(self._core.shared[c.WAITING])
            fit = held + len(batch) <= room and strikes_fit(batch, waiting)
            return fit and self.commands.push_many(batch)

    def load(
        self, packed: Packed, voice: int, frame: int = FRAME_NOW, note: BankNote | None = None
    ) -> None:
        """Let a voice cross over to another model at the next hop, or at `frame`.

        `note` is called with the bank's number, which the log tells, before the loop hears of it.

        Raises
        ------
        GhostnoteError
            If the model's rate or hop differ from the engine's, there are too many models at
            once, or the command queue is full.
        """
        self._bring(packed, Command(Op.MODEL, voice), frame, note)

    def new_voice(
        self, packed: Packed, voice: int, frame: int = FRAME_NOW, note: BankNote | None = None
    ) -> None:
        """Let a voice begin to exist and play; as `load`. At a `frame` where it exists, nothing.

        Raises
        ------
        GhostnoteError
            As `load`; also if there is no room for a voice of that number, or it exists.
        """
        if not 0 <= voice < self.options.places:
            raise GhostnoteError(
                f"voice {voice + 1}: there is room for voices 1 to {self.options.places}"
            )
        if frame == FRAME_NOW and self.exists(voice):
            raise GhostnoteError(f"voice {voice + 1} exists; free it first, or name no number")
        self._bring(packed, Command(Op.VOICE_NEW, voice), frame, note)

    def _bring(self, packed: Packed, command: Command, frame: int, note: BankNote | None) -> None:
        """Submit a command that leads a voice to a bank."""
        spec = packed.spec
        if (spec.samplerate, spec.hop) != (self.spec.samplerate, self.spec.hop):
            raise GhostnoteError(
                f"model: {spec.samplerate} Hz in hops of {spec.hop}; this server runs at "
                f"{self.spec.samplerate} Hz in hops of {self.spec.hop}: start it with that model"
            )
        with self._lock:
            bank = self._banks.bring(packed)
        if note:
            note(bank)
        if not self.submit([command._replace(index=bank)], frame):
            with self._lock:
                self._banks.take_back(bank)
            raise GhostnoteError("model: the command queue is full; try again")

    def prime(
        self, voice: int, state: State, frame: int = FRAME_NOW, note: BankNote | None = None
    ) -> None:
        """Let a voice go on from a stream that has heard something; one that is idle does not.

        `state` has one lane, of the model that the voice plays when the command acts. `note` is
        called with the number of its place before the loop hears of it.

        Raises
        ------
        GhostnoteError
            If too many are under way, or the command queue is full.
        """
        with self._lock:
            in_use = self._core.shared[c.PRIMES : c.PRIMES + c.MAX_PRIMES]
            for place in [place for place in self._primes if not in_use[place]]:
                del self._primes[place]
            free = next_free(self._last_prime, c.MAX_PRIMES, self._primes)
            header = self._banks.header_like(state.packed)
            if free is None or header is None:
                raise GhostnoteError("prime: the voice has changed meanwhile; try again")
            self._primes[free], self._last_prime = state, free
            in_use[free] = 1
            arrays = (header, state.ints.ctypes.data, state.floats.ctypes.data)
            self._core.primes[free] = arrays
        if note:
            note(free)
        if not self.submit([Command(Op.PRIME, voice, free)], frame):
            in_use[free] = 0
            raise GhostnoteError("prime: the command queue is full; try again")

    def widen(self, target: int, burst: int) -> None:
        """Keep `target` frames ahead from now on, for a sink that takes `burst` (as in the options).

        It may be called while the engine runs; what the ring cannot hold is left out.
        """
        self.target = min(target, self.ring.capacity - self.resampler.max_out)
        # Two aligned words, each of which the loop sees whole; in between it fills up too much.
        self._core.desk[0]["target"] = self.target
        self._core.desk[0]["burst"] = burst

    def start(self, *, urgent: bool = False) -> None:
        """Begin to fill the ring, in a thread of the engine's own.

        `urgent` asks the system to run it before ordinary threads, as JACK does with its clients;
        only for a sink with a clock, since without one the engine would never rest.
        """
        if self._thread is not None:
            raise GhostnoteError("the engine runs already")
        if self.gpu:
            hop = self.spec.hop / self.spec.samplerate
            ring = self.target / self.options.samplerate
            self.gpu.make_ready(max(2 * hop, ring / 2) if urgent else None)
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
        return int(run(*self._tables, live, out, until))

    def stop(self) -> None:
        """End the thread after the present hop."""
        if self._thread is not None:
            self._core.shared[c.STOP] = 1  # one aligned word: the loop sees it whole
            self._thread.join()
            self._thread = None
            ring_set_state(self.ring.header, DRAINING)  # an end is no underrun

    def close(self) -> None:
        """Stop, and end what runs on a GPU. May be called twice."""
        self.stop()
        if self.gpu:
            self.gpu.close()

    def render(self, until: int) -> Frames:
        """Make hops until frame `until` and return their frames at the device's rate [n, 2]."""
        if self._thread is not None:
            raise GhostnoteError("the engine runs live; it cannot render too")
        hops = max(0, -(-(until - self.frame) // self.spec.hop))
        out = np.empty((hops * self.resampler.max_out, self.ring.channels), np.float32)
        return out[: self._make_hops(False, out, until)]


def _power(frames: int) -> int:
    """Return the least power of two that is not below `frames`."""
    return 1 << (frames - 1).bit_length()


def _tables(
    hop: int,
    voices: int,
    voice_frames: int,
    resampler: Resampler,
    ring: FrameRing,
    tap: TapRing,
    commands: RecordRing,
    log: RecordRing,
) -> tuple[c.Core, c.Mail, c.Outlet]:
    """Return what the loop works on, all zero where it is the engine's own."""
    banks = 2 * voices + 2  # each voice may cross over, and two may be on their way
    core = c.Core(
        shared=np.zeros(c.ARRIVED + 2 * banks, np.int64),
        desk=np.zeros(1, c.DESK),
        voices=np.zeros(voices, c.VOICE),
        banks=np.zeros(banks, c.BANK),
        primes=np.zeros(c.MAX_PRIMES, c.PRIME),
        levels=np.zeros((voices + 1, 4)),
        master_sums=np.zeros(5),
        tap_headers=np.zeros((voices, HEADER_WORDS), np.int64),
        taps=np.zeros((voices, voice_frames), np.float32),
        order=np.zeros(c.MAX_VOICES, np.int64),
        mono=np.zeros((2, hop), np.float32),
        mix=np.zeros((hop, ring.channels), np.float32),
    )
    core.desk[0]["users"] = c.ARRIVED + banks
    mail = c.Mail(
        queue=np.zeros(QUEUE, COMMAND),
        waiting=np.zeros(WAITING, COMMAND),
        inbox=np.zeros(INBOX, COMMAND),
        order=np.zeros(INBOX, np.int64),
        commands_header=commands.header,
        commands=commands.records,
        log_header=log.header,
        log=log.records,
    )
    outlet = c.Outlet(
        table=resampler.table,
        table_state=resampler.state,
        history=resampler.history,
        out=np.zeros((resampler.max_out, ring.channels), np.float32),
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
    tables = _tables(1, 1, 2, Resampler(8000, 8000, 1), FrameRing(2), tap, commands, log)
    arguments = (*tables, True, np.empty((0, 2), np.float32), 0)
    run.compile(tuple(typeof(argument) for argument in arguments))


def _ask_for_priority() -> None:
    """Put the calling thread into the real-time class, where the system has one and allows it."""
    if sys.platform == "linux":
        # Above everything ordinary, below all of JACK's: its clients run at the server's priority
        # (10 where low) less 5, and the callback must never wait for a hop.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(3))
