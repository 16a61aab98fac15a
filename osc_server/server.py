"""The server: model, engine, sink and OSC wired together, from start to end.

Threads: `Server` belongs to the main thread, which sleeps and does the housekeeping. Sound is made
by the engine's thread and taken by the sink's native callback; OSC comes in on the UDP thread;
slow work is done on the dispatcher's worker thread. `EngineControl` is what the OSC side sees.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from types import FrameType
from typing import Self

from ghostnote.inference.model_file import (
    DEFAULT,
    ModelFile,
    bundled_models,
    find_model,
    load_model,
)
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.kernels.spec import ROLES

from .audio import choose_sink
from .clock import AudioClock, OfflineClock
from .commands import Command
from .control import ModelInfo, Recording, StatusReply, VersionReply
from .dispatch import Dispatcher
from .engine import Engine, EngineOptions
from .music import Source
from .native import fine_sleep
from .options import ServerOptions
from .paths import PathError
from .recorder import Recorder, RecordingError
from .recorder import Recording as Recorded
from .session_log import LogHeader, LogLoad, SessionLog
from .sink import AudioSink, SinkError
from .sink_null import NullSink
from .udp import UdpServer

PROTOCOL = 1
TICK_SECONDS = 0.01
STARVED_SECONDS = 1.0

log = logging.getLogger("ghostnote.server")


@dataclass
class _Load:
    """How busy the engine was, measured by the housekeeping."""

    average: float = 0.0
    peak: float = 0.0


class EngineControl:
    """The engine and its surroundings as the dispatcher sees them (`control.Control`)."""

    roles = ROLES

    def __init__(self, server: Server) -> None:
        self._server = server
        self.voices = server.options.voices
        self._failed: Callable[[str], None] | None = None

    def kits(self, voice: int) -> tuple[str, ...]:
        """Return the kit names of a voice's model."""
        return self._server.playing[voice].spec.kits

    def submit(self, commands: Sequence[Command], frame: int) -> bool:
        """Hand commands to the engine."""
        return self._server.engine.submit(commands, frame)

    def frame_at(self, unix_seconds: float) -> int:
        """Return the engine frame that leaves the sink at a time."""
        self._server.clock.follow(self._server.engine.ring)
        return self._server.clock.frame_at(unix_seconds)

    def earliest(self) -> float:
        """Return the earliest time that a command given now can still meet."""
        self._server.clock.follow(self._server.engine.ring)
        return self._server.clock.unix_at(self._server.engine.frame)

    def status(self) -> StatusReply:
        """Return the figures of /ghost/status.reply."""
        server = self._server
        engine = server.engine
        return StatusReply(
            voices=self.voices,
            active=engine.active,
            cpu_avg=server.load.average,
            cpu_peak=server.load.peak,
            xruns=engine.ring.underruns + server.sink.xruns(),
            late=engine.late,
            dropped=engine.dropped,
            sr_nominal=float(server.sink.samplerate),
            sr_actual=server.clock.sr_actual,
            latency_ms=server.latency_seconds * 1e3,
            fill=engine.ring.fill / engine.target,
        )

    def version(self) -> VersionReply:
        """Return what this server is."""
        major, minor, patch = (int(n) for n in installed_version("ghostnote").split(".")[:3])
        return VersionReply("ghostnote", major, minor, patch, PROTOCOL, "")

    def voice_state(self, voice: int) -> str:
        """Return idle, playing or starved."""
        if self._server.engine.voice_idle(voice):
            return "idle"
        return "starved" if self._server.starving else "playing"

    def models(self) -> tuple[str, ...]:
        """Return the bundled models and those in the models folder."""
        root = self._server.options.models
        own = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.onnx"))
        return (*bundled_models(), *own)

    def model_info(self, name: str) -> ModelInfo:
        """Return what a model is."""
        return _info(self._find(name))

    def load_model(self, name: str, voice: int | None) -> ModelInfo:
        """Let one voice or all cross over to a model."""
        server = self._server
        model = self._find(name)
        packed = pack(model.spec, model.weights, server.options.precision)
        for number in range(self.voices) if voice is None else (voice,):

            def note(slot: int, number: int = number) -> None:
                if server.session_log:
                    server.session_log.load(LogLoad(slot, number, name, model.sha256))

            server.engine.load(packed, number, note=note)
            server.playing[number] = model
        return _info(model)

    def _find(self, name: str) -> ModelFile:
        if not name:
            raise GhostnoteError("model: the name is empty; /ghost/model/list tells the names")
        return load_model(find_model(name, [self._server.options.models]))

    def start_recording(self, path: str, failed: Callable[[str], None]) -> str:
        """Begin to record the master below the recordings' folder."""
        before, self._failed = self._failed, failed
        try:
            return str(self._server.recorder.start(path))
        except (RecordingError, PathError) as error:
            self._failed = before  # of the recording that goes on
            raise GhostnoteError(str(error)) from None

    def stop_recording(self) -> Recording:
        """Close the recording."""
        try:
            self._server.recorder.stop()
        except RecordingError as error:
            raise GhostnoteError(str(error)) from None
        done = self._server.recorder.wait()
        assert done is not None
        return Recording(str(done.path), done.frames)

    def recording_ended(self, done: Recorded) -> None:
        """Pass on why a recording ended early; called by the recorder's thread."""
        if done.error:
            log.warning("%s", done.error)
            if self._failed:
                self._failed(done.error)

    def quit(self) -> None:
        """Ask the server to end."""
        self._server.quitting = True


class Server:
    """A running server; use it as a context, then call `run`."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        # A plain word, which any thread may set, and a signal handler too: an event has a lock, which
        # the main thread may hold just when the signal comes.
        self.quitting = False
        self.load = _Load()
        self.starving = False
        self._underruns = 0
        self._starved_at = -STARVED_SECONDS
        self._log_trouble = ""
        self._busy_at = (time.monotonic(), 0)
        self._own_recorder: Recorder | None = None
        self.session_log: SessionLog | None = None

        self.model = load_model(find_model(options.model))
        packed = pack(self.model.spec, self.model.weights, options.precision)
        self.playing = [self.model] * options.voices
        self.sink, self.sink_reason = _open_sink(options)
        with contextlib.ExitStack() as opened:
            opened.callback(self.sink.close)
            self.engine = Engine(packed, self._engine_options())
            self.engine.warm_up()
            self.clock = self._make_clock()
            self.control = EngineControl(self)
            self.recorder = self._make_recorder(options.recordings)
            self.dispatcher = Dispatcher(self.control)
            opened.callback(self.dispatcher.stop)
            self.udp = UdpServer(self.dispatcher.receive, options.bind, options.port)
            opened.callback(self.udp.stop)
            if options.log:
                header = LogHeader(
                    options.model or DEFAULT,
                    self.model.sha256,
                    self.sink.samplerate,
                    options.voices,
                    options.seed,
                    options.precision,
                )
                self.session_log = SessionLog(options.log, header)
            opened.pop_all()

    def _make_recorder(self, root: Path) -> Recorder:
        ended = self.control.recording_ended
        source = Source(self.engine.tap, self.sink.samplerate, int)
        return Recorder(source, root, on_done=ended)

    def _engine_options(self) -> EngineOptions:
        options, spec = self.options, self.model.spec
        hop_frames = -(-spec.hop * self.sink.samplerate // spec.samplerate) + 1
        least = max(self.sink.burst_frames, 64) + 2 * hop_frames
        if not self.sink.realtime:
            least = 8192
        if options.ring and options.ring < least:
            log.warning("--ring %d is too small for this sink: %d is used", options.ring, least)
        # Half a block more than the least lets a machine that is busy elsewhere come back in time.
        ring = max(options.ring, least) if options.ring else least + self.sink.burst_frames // 2
        return EngineOptions(self.sink.samplerate, options.voices, options.seed, ring)

    def _make_clock(self) -> AudioClock | OfflineClock:
        rate = self.model.spec.samplerate
        if not self.sink.realtime:
            return OfflineClock(rate, time.time())
        delay = float(self.engine.resampler.delay)
        clock = AudioClock(self.sink.samplerate, rate, engine_delay=delay)
        clock.follow(self.engine.ring)
        return clock

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
            self._own_recorder = self._make_recorder(path.parent)
            try:
                self._own_recorder.start(path.name, first_frame=0)
            except (RecordingError, PathError) as error:
                raise GhostnoteError(f"--record {path}: {error}") from None
        self.dispatcher.start()
        # The table's default seed must not undo the one that the server was started with.
        self.dispatcher.send("/ghost/voice/*/seed", self.options.seed)
        if self.options.demo:
            self._play_demo()
        self.engine.start(urgent=self.sink.realtime)
        self.sink.start(self.engine.ring)
        self.udp.start()
        # What lives now lives to the end: no collection needs to look at it again.
        gc.collect()
        gc.freeze()

    def _play_demo(self) -> None:
        from ghostnote.inference.loops import BUILT_IN

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
        records = self.engine.log.pop_all()
        if self.session_log:
            self.session_log.commands(records)
            self._watch_log(self.session_log)
        self._watch_load()
        self._watch_sink()

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
        failure = self.sink.failure()
        if failure is None:
            return
        if not self.sink.realtime:
            log.error("%s", failure)
            self.quitting = True
            return
        log.error("%s; playing on to the null sink", failure)
        self.sink.close()
        # With the blocks of the lost one, for which the ring was made.
        self.sink = NullSink(
            replace(
                self.options.sink,
                sink="null",
                samplerate=self.sink.samplerate,
                blocksize=self.sink.burst_frames,
            )
        )
        self.sink.start(self.engine.ring)

    def close(self) -> None:
        """End the sound, finish all files, give ports and device back."""
        self.udp.stop()
        self.dispatcher.stop()
        self.engine.stop()
        self.sink.close()
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
        for recorder in (own, self.recorder):
            if recorder:
                recorder.close()

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


def _open_sink(options: ServerOptions) -> tuple[AudioSink, str]:
    settings = options.sink
    if settings.kind == "file" and options.seconds is not None:
        rate = settings.samplerate or 48000
        settings = replace(settings, samplerate=rate, frames=round(options.seconds * rate))
    try:
        return choose_sink(settings)
    except SinkError as error:
        raise GhostnoteError(str(error)) from None


def _info(model: ModelFile) -> ModelInfo:
    spec = model.spec
    return ModelInfo(model.name, spec.samplerate, spec.receptive_field, spec.roles, spec.kits)
