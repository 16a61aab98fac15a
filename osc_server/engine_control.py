"""The running server as the OSC side sees it (`control.Control`).

Threads: as `control` says. What the worker calls may wait for files and for the engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Final

from ghostnote.inference.model_file import (
    DEFAULT,
    ModelFile,
    bundled_models,
    find_model,
    load_model,
)
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.spec import ROLES

from .commands import Command
from .control import (
    Ended,
    Meters,
    ModelInfo,
    Progress,
    Recording,
    StatusReply,
    Transport,
    VersionReply,
)
from .grab import grab
from .music import Music, Source
from .paths import PathError
from .prime import prime
from .protocol import PROTOCOL_VERSION
from .recorder import MASTER, RecordingError
from .session_log import LogLoad, LogPrime

if TYPE_CHECKING:
    from .server import Server

FREE_SECONDS: Final = 2.0
"""How long a new voice waits for an earlier one of its number to fade out."""
_SUBTYPES: Final = {"float": "FLOAT", "24": "PCM_24"}


@dataclass(frozen=True)
class Playing:
    """What a voice plays: a model, ready for the kernels, and the name that it was asked for by."""

    name: str
    file: ModelFile
    packed: Packed


class EngineControl:
    """The engine and its surroundings, told what to do by the dispatcher."""

    roles = ROLES

    def __init__(self, server: Server, own: Playing) -> None:
        self._server, self._own = server, own
        self._playing = dict.fromkeys(range(server.options.voices), own)
        self.max_voices = server.engine.options.places
        self.outputs = server.options.outputs

    def exists(self, voice: int) -> bool:
        """Return whether the engine has a voice of this number."""
        return self._server.engine.exists(voice)

    def kits(self, voice: int) -> tuple[str, ...]:
        """Return the kit names of a voice's model."""
        return self._playing[voice].file.spec.kits

    def submit(self, commands: Sequence[Command], frame: int) -> bool:
        """Hand commands to the engine."""
        return self._server.engine.submit(commands, frame)

    def frame_at(self, unix_seconds: float) -> int:
        """Return the engine frame for what is to leave the sink at a time.

        The engine acts at the first hop from a frame on. Half a hop earlier, that is the hop nearest to
        the time: half a hop off at most, to either side, instead of a whole one late. A beat told
        in a timed bundle is so placed half a hop early, which centres the steps of patterns, as
        they strike up to a hop after their beat.
        """
        self._server.clock.follow(self._server.engine.ring)
        return self._server.clock.frame_at(unix_seconds) - self._server.engine.spec.hop // 2

    def earliest(self) -> float:
        """Return the earliest time that a command given now can still meet."""
        engine = self._server.engine
        self._server.clock.follow(engine.ring)
        return self._server.clock.unix_at(engine.frame - engine.spec.hop // 2)

    def status(self) -> StatusReply:
        """Return the figures of /ghost/status.reply."""
        server = self._server
        engine = server.engine
        return StatusReply(
            voices=sum(map(engine.exists, range(self.max_voices))),
            active=engine.active,
            cpu_avg=server.load.average,
            cpu_peak=server.load.peak,
            xruns=engine.ring.underruns + server.device_xruns,
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
        return VersionReply("ghostnote", major, minor, patch, PROTOCOL_VERSION, "")

    def voice_state(self, voice: int) -> str:
        """Return idle, playing, holding or starved."""
        engine = self._server.engine
        if not engine.exists(voice) or engine.voice_idle(voice):
            return "idle"
        if self._server.starving:
            return "starved"
        return "holding" if engine.voice_holding(voice) else "playing"

    def voice_model(self, voice: int) -> str:
        """Return the name of a voice's model."""
        return self._playing[voice].name

    def transport(self) -> Transport:
        """Return where the music is."""
        engine = self._server.engine
        return Transport(engine.rolling, engine.beat, engine.tempo, self._server.sync.error_ms)

    def meters(self) -> Meters:
        """Return the levels."""
        *voices, (peak_l, peak_r, rms_l, rms_r) = self._server.engine.meters().tolist()
        levels = [(peak, rms) for peak, rms, *_ in voices]
        return Meters(levels, (peak_l, peak_r, rms_l, rms_r), self._server.engine.clips)

    def reprimes(self, voice: int) -> tuple[int, str]:
        """Return how often the watchdog has begun a voice anew, and why the last time."""
        return self._server.engine.reprimes(voice)

    def owns_tempo(self) -> bool:
        """Return whether the tempo comes from the source of time."""
        return self._server.sync.owns_tempo

    def owns_rolling(self) -> bool:
        """Return whether the source of time starts and stops."""
        return self._server.sync.owns_rolling

    def following(self) -> str:
        """Return the source of time."""
        return self._server.sync.source

    def follow_later(self, milliseconds: float) -> None:
        """Play so much later than the source of time says."""
        self._server.sync.set_offset(milliseconds)

    def follow_beat(self, beat: float, unix_seconds: float | None) -> None:
        """Take a beat of the source osc."""
        self._server.sync.beat(beat, unix_seconds)

    def quit(self) -> None:
        """Ask the server to end."""
        self._server.quitting = True

    def models(self) -> tuple[str, ...]:
        """Return the bundled models and those in the models folder."""
        root = self._server.options.models
        own = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.onnx"))
        return (*bundled_models(), *own)

    def model_info(self, name: str) -> ModelInfo:
        """Return what a model is."""
        known = next((one for one in self._playing.values() if one.name == name), None)
        return _info(known.file if known else self._find(name))

    def load_model(self, name: str, voices: Sequence[int]) -> ModelInfo:
        """Let voices cross over to a model."""
        playing = self._get(name)
        for voice in voices:
            self._server.engine.load(playing.packed, voice, note=self._noted(voice, playing))
            self._playing[voice] = playing
            self._server.recordings.mark(f"voice {voice + 1}: model {playing.name}", voice)
        return _info(playing.file)

    def new_voice(self, model: str, voice: int) -> None:
        """Make a voice."""
        engine, playing = self._server.engine, self._get(model or self._own.name)
        deadline = time.monotonic() + FREE_SECONDS
        while engine.exists(voice) and time.monotonic() < deadline:
            time.sleep(0.005)
        engine.new_voice(playing.packed, voice, note=self._noted(voice, playing))
        self._playing[voice] = playing

    def _noted(self, voice: int, playing: Playing) -> Callable[[int], None]:
        """Return what tells the session log of a load."""

        def note(bank: int) -> None:
            session_log = self._server.session_log
            if session_log:
                session_log.load(LogLoad(bank, voice, playing.name, playing.file.sha256))

        return note

    def _get(self, name: str) -> Playing:
        if name == self._own.name:
            return self._own  # which may lie outside the models' folder
        file = self._find(name)
        for known in [*self._playing.values()]:
            if known.file.sha256 == file.sha256:
                return Playing(name, known.file, known.packed)
        return Playing(name, file, pack(file.spec, file.weights, self._server.options.precision))

    def _find(self, name: str) -> ModelFile:
        if not name:
            raise GhostnoteError("model: the name is empty; /ghost/model/list tells the names")
        return load_model(find_model(name, [self._server.options.models]))

    def prime(self, voice: int, path: str, weights: Sequence[float]) -> None:
        """Let a voice go on from the end of a sound file."""
        server = self._server
        primed = prime(self._playing[voice].packed, server.options.primes, path, weights)

        def note(place: int) -> None:
            if server.session_log:
                heard = LogPrime(place, voice, path, primed.sha256, tuple(weights))
                server.session_log.load(heard)

        server.engine.prime(voice, primed.state, note=note)

    def follow(self, source: str) -> None:
        """Take the time from a source."""
        self._server.sync.select(source)

    def source(self, voice: int) -> Source:
        """Return what can be recorded of a voice (MASTER: of everything)."""
        engine = self._server.engine
        if voice == MASTER:
            return Source(engine.tap, self._server.sink.samplerate, engine.tap_frame)
        if not engine.exists(voice):
            raise GhostnoteError(f"voice {voice + 1} is not there")
        born = engine.voice_born(voice)
        return Source(
            engine.voice_tap(voice),
            engine.spec.samplerate,
            int,
            born,
            lambda: engine.voice_ended(voice, born),
        )

    def music(self) -> Music:
        """Return what a recording knows of the music."""
        engine = self._server.engine
        return Music(engine.tempo, int(engine.signature), engine.rolling, tuple(engine.bars()))

    def start_recording(
        self, path: str, voice: int | None, form: str, failed: Callable[[str], None]
    ) -> str:
        """Begin to record below the recordings' folder."""
        number = MASTER if voice is None else voice
        try:
            return str(self._server.recordings.start(path, number, _SUBTYPES[form], failed))
        except (RecordingError, PathError) as error:
            raise GhostnoteError(str(error)) from None

    def is_recording(self, voice: int) -> bool:
        """Return whether a voice is being recorded."""
        return voice in self._server.recordings.active()

    def stop_recording(self, voice: int | None) -> Recording:
        """Close a recording."""
        try:
            done = self._server.recordings.stop(MASTER if voice is None else voice)
        except RecordingError as error:
            raise GhostnoteError(str(error)) from None
        return Recording(str(done.path), done.frames)

    def grab(self, bars: float, path: str, voice: int | None, form: str) -> Recording:
        """Write the last bars to a file."""
        source = self.source(MASTER if voice is None else voice)
        root, subtype = self._server.options.recordings, _SUBTYPES[form]
        done = grab(source, self.music(), bars, root, path or None, subtype)
        return Recording(str(done.path), done.frames)

    def render(self, request: str, progress: Progress, ended: Ended) -> int:
        """Begin to render loops."""
        return self._server.render_jobs.submit(request, progress, ended)

    def cancel_render(self, job: int) -> None:
        """End a job of rendering."""
        self._server.render_jobs.cancel(job)


def own_playing(name: str | None, precision: str) -> Playing:
    """Return the model that a server is started with.

    Raises
    ------
    GhostnoteError
        If it cannot be had.
    """
    file = load_model(find_model(name))
    return Playing(name or DEFAULT, file, pack(file.spec, file.weights, precision))


def _info(model: ModelFile) -> ModelInfo:
    spec = model.spec
    return ModelInfo(model.name, spec.samplerate, spec.receptive_field, spec.roles, spec.kits)
