"""The PortAudio sink: any sound card, by sounddevice and a callback compiled by Numba.

Threads: PortAudio calls `_callback` on a thread of its own. It runs no Python and takes no lock, so
nothing that Python does (a 300 ms C call with the GIL held, a garbage collection) delays it. It
copies from the ring, and counts.

sounddevice is loaded when a sink is opened: importing it starts PortAudio. Its `_StreamBase` takes
the address of a C callback (as python-rtmixer does); the name is private, so a test holds it.
"""

from __future__ import annotations

import atexit
import functools
import sys
from typing import Any

import numpy as np
from numba import carray, cfunc, types

from .native import as_address, monotonic_ns
from .ring import HEADER_WORDS, XRUNS, FrameRing, consume_at
from .sink import SinkError, SinkOptions, check_channels

_OUTPUT_UNDERFLOW = 4  # paOutputUnderflow
_ULONG = types.uint32 if sys.platform == "win32" else types.uint64  # C's unsigned long


def load_sounddevice() -> Any:
    """Import sounddevice, which starts PortAudio; SinkError says why it cannot."""
    try:
        import sounddevice
    except OSError as error:
        hint = "apt install libportaudio2" if sys.platform == "linux" else "reinstall sounddevice"
        raise SinkError(f"PortAudio is not installed ({error}): {hint}") from error
    return sounddevice


def _callback(unused_input, output, frames, unused_times, flags, ring):  # type: ignore[no-untyped-def]
    now = monotonic_ns()
    header = carray(ring, (HEADER_WORDS,), np.int64)
    if flags & _OUTPUT_UNDERFLOW:
        header[XRUNS] += 1
    consume_at(as_address(ring), as_address(output), np.int64(frames), now)
    return 0  # paContinue


@functools.cache
def _compiled_callback() -> Any:
    """`_callback` as a C function of type PaStreamCallback, compiled at the first use."""
    pointer = types.voidptr
    signature = types.int32(pointer, pointer, _ULONG, pointer, _ULONG, pointer)
    return cfunc(signature, cache=True)(_callback)


class PortAudioSink:
    """An output device of PortAudio, opened with its own or the given rate and block."""

    name = "portaudio"
    realtime = True
    steady = False

    def __init__(self, options: SinkOptions) -> None:
        self._sd = load_sounddevice()
        self.channels = options.channels
        self._device = _find_device(self._sd, options.device)
        self.samplerate = options.samplerate or round(self._device["default_samplerate"])
        self.blocksize = options.blocksize
        self._ring: FrameRing | None = None
        self._stream: Any = None
        if self._device["max_output_channels"] < self.channels:
            raise SinkError(
                f"portaudio device '{self._device['name']}' has "
                f"{self._device['max_output_channels']} output channels, {self.channels} needed; "
                "choose another with --device (ghostnote doctor lists them)"
            )
        # Opened once here, so that a wrong rate or a busy device is told before the engine starts.
        stream = self._open(FrameRing(2, self.channels))
        self._latency = float(stream.latency)
        stream.close()

    @property
    def burst_frames(self) -> int:
        """PortAudio may fill all of the device's buffer at once."""
        return max(self.blocksize, round(self._latency * self.samplerate))

    @property
    def latency_seconds(self) -> float:
        """Output latency as PortAudio tells it."""
        return self._latency

    def _open(self, ring: FrameRing) -> Any:
        ffi = self._sd._ffi
        try:
            return self._sd._StreamBase(
                kind="output",
                device=self._device["index"],
                channels=self.channels,
                samplerate=self.samplerate,
                blocksize=self.blocksize,
                dtype="float32",
                latency="low",
                callback=ffi.cast("PaStreamCallback *", _compiled_callback().address),
                userdata=ffi.cast("void *", ring.address),
            )
        except (self._sd.PortAudioError, ValueError) as error:
            raise SinkError(
                f"portaudio device '{self._device['name']}' does not open at {self.samplerate} Hz: "
                f"{_one_line(error)}; try --samplerate or --device (ghostnote doctor lists them)"
            ) from error

    def start(self, ring: FrameRing) -> None:
        """Open the device and begin to take frames."""
        check_channels(ring, self.channels)
        self.stop()
        self._ring = ring
        # Keeps this sink and its ring alive while callbacks may run, and stops them before the
        # interpreter takes the memory down.
        atexit.register(self.close)
        self._stream = self._open(ring)
        self._latency = float(self._stream.latency)
        try:
            self._stream.start()
        except self._sd.PortAudioError as error:
            self.stop()
            raise SinkError(
                f"portaudio device '{self._device['name']}' does not start: {_one_line(error)}"
            ) from error

    def stop(self) -> None:
        """Close the stream; PortAudio waits for the last callback."""
        if self._stream is not None:
            self._stream.abort(ignore_errors=True)
            self._stream.close(ignore_errors=True)
            self._stream = None
        atexit.unregister(self.close)

    def close(self) -> None:
        """Nothing is held between stop and start."""
        self.stop()

    def xruns(self) -> int:
        """Times PortAudio told of an output underflow."""
        return self._ring.xruns if self._ring else 0

    def failure(self) -> str | None:
        """A stream that ended by itself: the device was pulled."""
        if self._stream is not None and not self._stream.active:
            # PortAudio's list of devices is that of the start: one that is new may not be heard.
            return (
                f"portaudio device '{self._device['name']}' has gone away; plug it in again, and if "
                "it stays silent start ghostnote again"
            )
        return None

    def describe(self) -> str:
        """One line for people."""
        api = self._sd.query_hostapis(self._device["hostapi"])["name"]
        block = f"blocks of {self.blocksize}" if self.blocksize else "blocks of any size"
        return (
            f"portaudio '{self._device['name']}' ({api}): {self.samplerate} Hz, "
            f"{self.channels} channels, {block}, latency {self._latency * 1e3:.1f} ms"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _find_device(sounddevice: Any, wanted: str | None) -> dict[str, Any]:
    """The output device by index or part of its name; None: the system's default."""
    choice = int(wanted) if wanted is not None and wanted.isdecimal() else wanted
    try:
        found: dict[str, Any] = sounddevice.query_devices(choice, kind="output")
    except (sounddevice.PortAudioError, ValueError) as error:
        if wanted is None:
            raise SinkError("portaudio sees no output device; plug one in") from error
        raise SinkError(
            f"--device {wanted}: {_one_line(error)}; ghostnote doctor lists the devices"
        ) from error
    return found
