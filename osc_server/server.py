"""The server: model, engine, sink and OSC wired together, from start to end.

Threads: `Server` belongs to the main thread, which sleeps and does the housekeeping. Sound is made
by the engine's thread and taken by the sink's native callback; OSC comes in on the network's
threads; slow work is done on the dispatcher's worker thread. What the OSC side sees is `EngineControl`.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Self

from ghostnote.inference.loops import BUILT_IN
from ghostnote.kernels.errors import GhostnoteError

from .audio import choose_sink
from .clock import AudioClock, OfflineClock
from .dispatch import Dispatcher
from .encode import Value
from .engine import Engine, EngineOptions
from .engine_control import EngineControl, own_playing
from .gpu_bank import Gpu
from .midi_in import VIRTUAL, MidiInput, MidiTriggers
from .native import fine_sleep
from .network import Network
from .options import ServerOptions
from .paths import PathError
from .peer import Peer
from .recorder import MASTER, Recorder, Recording, RecordingError, Recordings
from .render_job import RenderJobs
from .render_request import Folders
from .session_log import LogHeader, SessionLog
from .sink import AudioSink, SinkError, SinkOptions
from .sink_keeper import SinkKeeper
from .state import StateFile, resume
from .sync import Source, Sync
from .sync_engine import EngineTransport
from .sync_jack import JackTransport
from .sync_link import LinkSource
from .sync_midi import MidiSource

TICK_SECONDS = 0.01
DEMO: dict[str, Value] = {"style": "funk", "density": 0.6, "fill": 4}
"""What the drummer of --demo is asked for."""
STARVED_SECONDS = 1.0

log = logging.getLogger("ghostnote.server")


@dataclass
class _Load:
    """How busy the engine was, measured by the housekeeping."""

    average: float = 0.0
    peak: float = 0.0


class Server:
    """A running server; use it as a context, then call `run`."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        # A plain word, which any thread may set, and a signal handler too: an event has a lock, which
        # the main thread may hold just when the signal comes.
        self.quitting = False
        self.load = _Load()
        self.starving = False
        self._closed = False
        self._underruns = 0
        self._starved_at = -STARVED_SECONDS
        self._log_trouble = ""
        self._busy_at = (time.monotonic(), 0)
        self._own_recorder: Recorder | None = None
        self._state_file: StateFile | None = None
        self.session_log: SessionLog | None = None

        own = own_playing(options.model, options.precision)
        self.model = own.file
        sink_options = _sink_options(options)
        try:
            sink, self.sink_reason = choose_sink(sink_options)
        except SinkError as error:
            raise GhostnoteError(str(error)) from None
        self._sinks = SinkKeeper(
            sink, sink_options, lambda line: self.dispatcher.tell("/ghost/sink", line)
        )
        self._burst = sink.burst_frames
        with contextlib.ExitStack() as opened:
            opened.callback(self._sinks.close)
            gpu = Gpu() if options.backend == "gpu" else None
            self.engine = Engine(own.packed, self._engine_options(), gpu)
            opened.callback(self.engine.close)
            self.clock = self._make_clock()
            self.control = EngineControl(self, own)
            control = self.control
            self.recordings = Recordings(control.source, options.recordings, control.music)
            folders = Folders(options.models, options.primes, options.recordings, own.file.path)
            self.render_jobs = RenderJobs(folders, options.precision)
            self.sync = self._make_sync()
            self.dispatcher = Dispatcher(
                control,
                own_defaults={
                    "/ghost/voice/{V}/seed": options.seed,
                    "/ghost/voice/{V}/drummer/seed": options.seed,
                },
                presets=options.presets,
            )
            opened.callback(self.dispatcher.stop)
            self.dispatcher.session.watch(self._mark_kits)
            self.network = Network(self.dispatcher, options.bind, options.port, http=options.http)
            opened.callback(self.network.stop)
            self.udp = self.network.udp
            self._midi = self._open_midi()
            if self._midi:
                opened.callback(self._midi.close)
            if options.log:
                header = LogHeader(
                    own.name,
                    self.model.sha256,
                    self.sink.samplerate,
                    options.voices,
                    options.seed,
                    options.precision,
                    self.engine.options.places,
                    options.outputs,
                    backend=options.backend,
                )
                self.session_log = SessionLog(options.log, header)
            opened.pop_all()

    def _make_sync(self) -> Sync:
        engine = self.engine
        transport = EngineTransport(
            engine,
            self.clock,
            lambda: self._burst / self.sink.samplerate,
            lambda: self.sink.latency_seconds,
        )
        sources: dict[str, Callable[[], Source]] = {
            "jack": JackTransport,
            "midi": lambda: MidiSource(self._midi_input),
            "link": lambda: LinkSource(lambda: engine.tempo, lambda: engine.signature),
        }
        if not self.sink.realtime:
            sources = {}
        return Sync(transport, sources, lambda bar: self.dispatcher.note("/ghost/signature", bar))

    def _open_midi(self) -> MidiInput | None:
        return None if self.options.midi is None else self._make_midi(self.options.midi)

    def _make_midi(self, name: str) -> MidiInput:
        midi = MidiInput(name)
        session = self.dispatcher.session
        midi.listeners.append(MidiTriggers(self.control.submit, lambda: sorted(session.voices)))
        return midi

    def _midi_input(self) -> MidiInput:
        """Return the input that --midi names, or else a port of our own; on the worker's thread."""
        if self._midi is None:
            self._midi = self._make_midi(VIRTUAL)
            self._midi.start()
        return self._midi

    def _engine_options(self) -> EngineOptions:
        options = self.options
        ring = self._ring_for(self._burst)
        if options.ring and options.ring < ring:
            log.warning("--ring %d is too small for this sink: %d is used", options.ring, ring)
        return EngineOptions(
            self.sink.samplerate,
            options.voices,
            options.seed,
            ring,
            outputs=options.outputs,
            burst=self._burst if self.sink.steady else 0,
        )

    def _ring_for(self, burst: int) -> int:
        """Return how many frames are kept ahead of a sink that takes `burst` of them at once."""
        spec, burst = self.model.spec, max(burst, 64)
        hop_frames = -(-spec.hop * self.sink.samplerate // spec.samplerate) + 1
        least = burst + 3 * hop_frames // 2 if self.sink.realtime else 8192
        # Half a block more lets a machine that is busy elsewhere come back in time.
        usual = burst + burst // 2 + 2 * hop_frames
        return max(self.options.ring or usual, least)

    def _make_clock(self) -> AudioClock | OfflineClock:
        rate = self.model.spec.samplerate
        if not self.sink.realtime:
            return OfflineClock(rate, time.time())
        delay = float(self.engine.resampler.delay)
        clock = AudioClock(self.sink.samplerate, rate, engine_delay=delay)
        clock.follow(self.engine.ring)
        return clock

    @property
    def sink(self) -> AudioSink:
        """What takes the frames now."""
        return self._sinks.sink

    @property
    def device_xruns(self) -> int:
        """Times a device was not served in time."""
        return self._sinks.xruns()

    @property
    def latency_seconds(self) -> float:
        """From a command's arrival to the device: the ring, the resampler, the sink."""
        resampler = self.engine.resampler.delay / self.model.spec.samplerate
        ring = self.engine.target / self.sink.samplerate
        return ring + resampler + self.sink.latency_seconds

    def start(self) -> None:
        """Begin to sound and to listen."""
        if self.options.record:
            path = self.options.record
            master, music = self.control.source(MASTER), self.control.music
            self._own_recorder = Recorder(
                master, path.parent, music=music, on_done=_tell_of_recording
            )
            try:
                self._own_recorder.start(path.name, first_frame=0)
            except (RecordingError, PathError) as error:
                raise GhostnoteError(f"--record {path}: {error}") from None
        self.dispatcher.start()
        session, options = self.dispatcher.session, self.options
        if options.resume and options.state and not self.sink.realtime:
            resume(session, options.state)
        if options.demo:
            self._play_demo()
        self.engine.start(urgent=self.sink.realtime)
        self.sink.start(self.engine.ring)
        # Only now: before, a source would have refused the table's own tempo.
        self.sync.select(options.sync)
        self.dispatcher.note("/ghost/sync/source", options.sync)
        if options.resume and options.state and self.sink.realtime:
            resume(session, options.state)  # now the engine takes commands, however many
        if options.state:
            self._state_file = StateFile(session, options.state)
        if self._midi:
            self._midi.start()
        self.network.start(self.engine.tap, self.sink.samplerate, options.recordings)
        # What lives now lives to the end: no collection needs to look at it again.
        gc.collect()
        gc.freeze()

    def _play_demo(self) -> None:
        """Let the drummer play; where it cannot be had, a pattern."""
        drummers = self.dispatcher.session.drummers
        for name, value in DEMO.items():
            self.dispatcher.send(f"/ghost/voice/1/drummer/{name}", value)
        self.dispatcher.send("/ghost/voice/1/drummer/start")
        drummers.tick()  # its first bars wait in the engine before the transport runs
        if not drummers.plays(0):
            for role, steps in BUILT_IN["demo"].items():
                self.dispatcher.send("/ghost/pattern/1", role, steps)
        self.dispatcher.send("/ghost/play")

    def run(self) -> None:
        """Keep house until quit, a signal, the end of `seconds` or the loss of the sink."""
        while not self.quitting:
            self.tick()
            if self._finished():
                break
            time.sleep(TICK_SECONDS)

    def _finished(self) -> bool:
        last = self._last_frame()
        return last is not None and self.engine.ring.consumed >= last

    def _last_frame(self) -> int | None:
        """Return the frame, at the sink's rate, at which `seconds` are over."""
        seconds = self.options.seconds
        return None if seconds is None else round(seconds * self.sink.samplerate)

    def tick(self) -> None:
        """Do the housekeeping of one moment; the main thread calls it a hundred times a second."""
        self.clock.follow(self.engine.ring)
        self.dispatcher.tick()
        if self._state_file:
            self._state_file.tick()
        records = self.engine.log.pop_all()
        if self.session_log:
            self.session_log.commands(records)
            self._watch_log(self.session_log)
        self._watch_load()
        self._watch_sink()
        self._watch_gpu()

    def _watch_log(self, session_log: SessionLog) -> None:
        trouble = session_log.failure
        if trouble is None and self.engine.unlogged:
            trouble = f"--log {session_log.path}: commands came too fast; it cannot be replayed"
        if trouble and not self._log_trouble:
            log.warning("%s", trouble)
            self._log_trouble = trouble

    def _watch_load(self) -> None:
        now = time.monotonic()
        then, busy_then = self._busy_at
        if now - then >= 0.5:
            busy, peak = self.engine.busy_ns()
            self._busy_at = (now, busy)
            hop_ns = 1e9 * self.model.spec.hop / self.model.spec.samplerate
            self.load = _Load((busy - busy_then) / (now - then) / 1e7, 100.0 * peak / hop_ns)
        underruns = self.engine.ring.underruns
        if underruns > self._underruns:
            if not self.starving:
                log.warning(
                    "the ring ran empty (%d times so far): free the machine or raise --ring",
                    underruns,
                )
            self._underruns, self._starved_at = underruns, now
        self.starving = now - self._starved_at < STARVED_SECONDS

    def _watch_sink(self) -> None:
        trouble = self._sinks.tick(self.engine.ring)
        if trouble:
            log.error("%s", trouble)
            self.quitting = True
        burst = max(self.sink.burst_frames, self.engine.ring.largest_block)
        if burst > self._burst:
            self._widen(burst)

    def _watch_gpu(self) -> None:
        for line in self.engine.gpu.news() if self.engine.gpu else ():
            log.warning("%s", line)
            self.dispatcher.tell("/ghost/backend", line)

    def _widen(self, burst: int) -> None:
        """Keep more frames ahead, of a sink that now takes so many at once."""
        self._burst = burst
        self.engine.widen(self._ring_for(burst), burst if self.sink.steady else 0)
        line = (
            f"{self.sink.name} takes {burst} frames at once now: "
            f"{self.engine.target} are kept ahead, the latency is {1e3 * self.latency_seconds:.0f} ms"
        )
        log.warning("%s", line)
        self.dispatcher.tell("/ghost/sink", line)

    def _mark_kits(self, address: str, values: Sequence[Value], _: Peer | None) -> None:
        """Let recordings tell of a change of kits."""
        if address.startswith("/ghost/voice/") and address.endswith("/kit") and values[0]:
            voice = address.split("/")[3]
            self.recordings.mark(f"voice {voice}: kit {values[0]}", int(voice) - 1)

    def close(self) -> None:
        """End the sound, finish all files, give ports and device back. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self.network.stop()
        if self._midi:
            self._midi.close()
        self.sync.close()
        self.dispatcher.stop()
        self.render_jobs.close()
        if self._state_file:
            self._state_file.close()
        self.engine.close()
        self._sinks.close()
        self._end_recordings()
        if self.session_log:
            self.session_log.commands(self.engine.log.pop_all())
            self.session_log.close(self.engine.frame)

    def _end_recordings(self) -> None:
        own, last = self._own_recorder, self._last_frame()
        if own and own.active and last is not None:
            with contextlib.suppress(RecordingError):  # it has just ended by itself
                own.stop(min(last, self.engine.tap.written))
                own.wait()
        if own:
            own.close()
        self.recordings.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(options: ServerOptions, ready: Callable[[Server], None] | None = None) -> None:
    """Run a server until it ends; `ready` is called once it sounds and listens.

    Raises
    ------
    GhostnoteError
        If the model, the sink, a port or a file cannot be had.
    """
    with fine_sleep(), Server(options) as server:
        server.start()
        with _ended_by_signals(server):
            if ready:
                ready(server)
            server.run()


@contextlib.contextmanager
def _ended_by_signals(server: Server) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM ask for a clean end; another does what it usually does."""
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def end(number: int, _: FrameType | None) -> None:
        log.info("ended by %s", signal.Signals(number).name)
        server.quitting = True
        restore()

    for number in usual:
        signal.signal(number, end)
    try:
        yield
    finally:
        restore()


def _sink_options(options: ServerOptions) -> SinkOptions:
    settings = replace(options.sink, channels=2 * options.outputs)
    if settings.kind == "file" and options.seconds is not None:
        rate = settings.samplerate or 48000
        settings = replace(settings, samplerate=rate, frames=round(options.seconds * rate))
    return settings


def _tell_of_recording(done: Recording) -> None:
    """Tell why the recording of --record ended early; called by its thread."""
    if done.error:
        log.warning("%s", done.error)
