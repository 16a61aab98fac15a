"""The sink that plays, through the loss and the return of its device.

Threads: `tick`, `close` and `sink` are for the main thread. While a device is missing, a thread of
its own knocks at it, since opening one may take long; what it has opened `tick` takes over. The
engine and its ring do not hear of any of it: only who takes the frames changes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from .audio import choose_sink
from .ring import LARGEST, LOST, FrameRing
from .sink import AudioSink, SinkError, SinkOptions
from .sink_null import NullSink

KNOCK_SECONDS = 1.0

log = logging.getLogger("ghostnote.server")


class SinkKeeper:
    """Keeps a ring's frames taken: by the sink, by the null sink while its device is gone.

    Parameters
    ----------
    sink : AudioSink
        What plays at first, opened with `options`.
    tell : callable
        Given one line about every loss and return, for the clients.
    knock_seconds : float
        Between two tries to open the device again.
    """

    def __init__(
        self,
        sink: AudioSink,
        options: SinkOptions,
        tell: Callable[[str], None],
        knock_seconds: float = KNOCK_SECONDS,
    ) -> None:
        self.sink = sink
        self._options = replace(options, sink=sink.name if sink.realtime else options.sink)
        self._tell = tell
        self._knock_seconds = knock_seconds
        self._samplerate, self._burst = sink.samplerate, sink.burst_frames
        self._refusal = ""
        self._found: AudioSink | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def xruns(self) -> int:
        """Times any device was not served in time, by its own count."""
        return self.sink.xruns()  # the ring's, which all of them count on

    def tick(self, ring: FrameRing) -> str | None:
        """Look after the sink; returns why nothing more can be played, where that is so."""
        failure = self.sink.failure()
        if failure is not None and not self.sink.realtime:
            return failure
        if failure is not None:
            self._lose(failure, ring)
        elif self._found is not None:
            self._return_to(self._found, ring)
        return None

    def close(self) -> None:
        """Give the device back, and stop looking for one."""
        self._closing.set()
        self._end_knocking()
        for sink in (self._found, self.sink):
            if sink is not None:
                sink.close()

    def _lose(self, failure: str, ring: FrameRing) -> None:
        self._refusal = ""
        self._warn(f"{failure}; playing on to the null sink")
        self._change_to(self._null(), ring)
        self._begin_knocking()

    def _return_to(self, sink: AudioSink, ring: FrameRing) -> None:
        self._end_knocking()
        self._found = None
        try:
            self._change_to(sink, ring)
        except SinkError as error:  # gone again already, or the ports to connect to are not there
            if str(error) != self._refusal:
                self._refusal = str(error)
                self._warn(f"{sink.name} is back, but {error}; playing on to the null sink")
            self._change_to(self._null(), ring)
            self._begin_knocking()
            return
        self._warn(f"{sink.name} is back: {sink.describe()}")

    def _warn(self, line: str) -> None:
        log.warning("%s", line)
        self._tell(line)

    def _null(self) -> NullSink:
        """Return a null sink with the blocks of the first sink, for which the ring was made."""
        return NullSink(
            replace(self._options, sink="null", samplerate=self._samplerate, blocksize=self._burst)
        )

    def _change_to(self, sink: AudioSink, ring: FrameRing) -> None:
        self.sink.close()
        ring.header[[LOST, LARGEST]] = 0  # of the sink before; none takes frames now
        self.sink = sink
        sink.start(ring)

    def _begin_knocking(self) -> None:
        self._thread = threading.Thread(target=self._knock, name="ghostnote-sink", daemon=True)
        self._thread.start()

    def _end_knocking(self) -> None:
        """Wait for the thread that knocks; it has found what it looked for, or is told to end."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _knock(self) -> None:
        """Try to open the device, until it has been opened as it was."""
        told = ""
        while not self._closing.wait(self._knock_seconds):
            try:
                sink, _ = choose_sink(self._options)
            except SinkError:
                continue
            misfit = self._misfit(sink)
            if not misfit:
                self._found = sink
                return
            sink.close()
            if misfit != told:
                log.warning("%s", misfit)
                told = misfit

    def _misfit(self, sink: AudioSink) -> str:
        """Return why an opened device cannot take over, or nothing."""
        if sink.samplerate != self._samplerate:
            return (
                f"{sink.name} is back at {sink.samplerate} Hz; this server plays at "
                f"{self._samplerate} Hz: start ghostnote again"
            )
        return ""
