"""The JACK sink: output ports of a JACK client, filled by a callback compiled by Numba.

Threads: JACK calls `_process` on its real-time thread, `_xrun` and `_shutdown` on others of its own.
None of them runs Python or takes a lock; `_process` copies from the ring into the ports' buffers.

JACK-Client (the extra `jack`) opens the client and registers the ports; the callbacks are set
through its private `_lib`, `_ffi` and `_ptr`, which a test holds.
"""

from __future__ import annotations

import atexit
import functools
import re
import sys
from typing import Any, NamedTuple

import numpy as np
from numba import carray, cfunc, types

from ghostnote.kernels.lanes import as_pointer

from .native import call_pointer_i32, monotonic_ns
from .ring import HEADER_WORDS, LOST, XRUNS, FrameRing, consume_at
from .sink import SinkError, SinkOptions, check_channels

MAX_BLOCK = 8192  # JACK's own largest buffer

# Words of the link, the user data of the callbacks: what they need to find everything else.
_RING, _GET_BUFFER, _SCRATCH, _PORTS, _FIRST_PORT = range(5)
_LINK_WORDS = _FIRST_PORT + 64


def _process(frames, user):  # type: ignore[no-untyped-def]
    now = monotonic_ns()
    link = carray(user, (_LINK_WORDS,), np.int64)
    n = np.int64(frames)
    ports = link[_PORTS]
    block = carray(as_pointer(link[_SCRATCH]), (MAX_BLOCK, ports), np.float32)
    consume_at(link[_RING], link[_SCRATCH], n, now)
    for port in range(ports):
        address = call_pointer_i32(link[_GET_BUFFER], link[_FIRST_PORT + port], frames)
        out = carray(as_pointer(address), (n,), np.float32)
        for k in range(n):
            out[k] = block[k, port]
    return 0


def _xrun(user):  # type: ignore[no-untyped-def]
    header = carray(user, (HEADER_WORDS,), np.int64)
    header[XRUNS] += 1
    return 0


def _shutdown(unused_code, unused_reason, user):  # type: ignore[no-untyped-def]
    header = carray(user, (HEADER_WORDS,), np.int64)
    header[LOST] = 1


def _say_nothing(unused_message):  # type: ignore[no-untyped-def]
    return


def _by_name(port: Any) -> list[int | str]:
    """Return what sorts ports by their names, in_2 before in_10."""
    return [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", port.name)]


class _Callbacks(NamedTuple):
    """The functions above as compiled C functions; `.address` is what libjack is given."""

    process: Any
    xrun: Any
    shutdown: Any
    say_nothing: Any


@functools.cache
def _callbacks() -> _Callbacks:
    """Compile them, at the first use and not at import."""
    pointer = types.voidptr
    return _Callbacks(
        cfunc(types.int32(types.uint32, pointer), cache=True)(_process),
        cfunc(types.int32(pointer), cache=True)(_xrun),
        cfunc(types.void(types.int32, pointer, pointer), cache=True)(_shutdown),
        cfunc(types.void(pointer), cache=True)(_say_nothing),
    )


def load_jack() -> Any:
    """Import JACK-Client and keep libjack from writing to stderr; SinkError says why it cannot.

    libjack prints up to ten lines when no server answers. What it has to say comes as error codes
    too; a Python function in its place would be called, with the GIL, on real-time threads.
    """
    try:
        import jack
    except ImportError as error:
        raise SinkError(
            f"JACK-Client is not installed: {sys.executable} -m pip install JACK-Client"
        ) from error
    except OSError as error:
        raise SinkError(
            "libjack is not installed: install jackd2 or pipewire-jack, or use --sink portaudio"
        ) from error
    for setter in (jack._lib.jack_set_error_function, jack._lib.jack_set_info_function):
        setter(jack._ffi.cast("void (*)(const char *)", _callbacks().say_nothing.address))
    return jack


class JackSink:
    """A client `client_name` with ports out_1, out_2, ... on the running JACK server.

    `device` None connects them to the physical playback ports; "none" leaves them unconnected; else
    it is a regular expression of input ports. JACK sets rate and block.
    """

    name = "jack"
    realtime = True
    steady = True

    def __init__(self, options: SinkOptions) -> None:
        self._jack = load_jack()
        self._client: Any = None
        try:
            self._client = self._jack.Client(options.client_name, no_start_server=True)
        except self._jack.JackOpenError as error:
            raise SinkError(
                "no JACK server answers: start jackd (or QjackCtl, or PipeWire's JACK), "
                "or use --sink portaudio"
            ) from error
        self.samplerate = int(self._client.samplerate)
        self.blocksize = int(self._client.blocksize)
        self.channels = options.channels
        self.burst_frames = self.blocksize
        self._device = options.device
        self._ring: FrameRing | None = None
        self._active = False
        try:
            self._check(options)
            self._ports = [
                self._client.outports.register(f"out_{k + 1}") for k in range(self.channels)
            ]
        except (SinkError, self._jack.JackError) as error:
            self.close()
            raise SinkError(str(error)) from error
        self._scratch = np.zeros((MAX_BLOCK, self.channels), np.float32)
        self._link = np.zeros(_LINK_WORDS, np.int64)

    def _check(self, options: SinkOptions) -> None:
        if options.samplerate not in (None, self.samplerate):
            raise SinkError(
                f"--samplerate {options.samplerate}: the JACK server runs at {self.samplerate} Hz; "
                "leave it out, or start jackd with another -r"
            )
        if options.blocksize not in (0, self.blocksize):
            raise SinkError(
                f"--blocksize {options.blocksize}: the JACK server runs at {self.blocksize}; "
                "leave it out, or start jackd with another -p"
            )
        if self.blocksize > MAX_BLOCK:
            raise SinkError(f"the JACK server's block of {self.blocksize} is over {MAX_BLOCK}")

    @property
    def latency_seconds(self) -> float:
        """One block: what JACK itself adds. JACK-Client does not tell the sound card's share."""
        # The server's block may have grown since this client was opened.
        largest = self._ring.largest_block if self._ring else 0
        return max(self.blocksize, largest) / self.samplerate

    @property
    def port_names(self) -> list[str]:
        """Full names of the output ports, for connecting."""
        return [port.name for port in self._ports]

    def start(self, ring: FrameRing) -> None:
        """Hand the callbacks to JACK, begin to take frames, and connect the ports."""
        check_channels(ring, self.channels)
        self.stop()
        self._ring = ring
        # Keeps this sink, its ring and its memory alive while callbacks may run, and stops them
        # before the interpreter takes the memory down.
        atexit.register(self.close)
        jack, lib, ffi, client = self._jack, self._jack._lib, self._jack._ffi, self._client._ptr
        self._link[_RING] = ring.address
        self._link[_GET_BUFFER] = int(
            ffi.cast("uintptr_t", ffi.addressof(lib, "jack_port_get_buffer"))
        )
        self._link[_SCRATCH] = self._scratch.ctypes.data
        self._link[_PORTS] = self.channels
        for k, port in enumerate(self._ports):
            self._link[_FIRST_PORT + k] = int(ffi.cast("uintptr_t", port._ptr))
        user = ffi.cast("void *", self._link.ctypes.data)
        header = ffi.cast("void *", ring.address)
        try:
            process = ffi.cast("JackProcessCallback", _callbacks().process.address)
            jack._check(lib.jack_set_process_callback(client, process, user), "process callback")
            xrun = ffi.cast("JackXRunCallback", _callbacks().xrun.address)
            jack._check(lib.jack_set_xrun_callback(client, xrun, header), "xrun callback")
            shutdown = ffi.cast("JackInfoShutdownCallback", _callbacks().shutdown.address)
            lib.jack_on_info_shutdown(client, shutdown, header)
            self._client.activate()
            self._active = True
            self._connect()
        except (SinkError, self._jack.JackError) as error:
            self.stop()
            raise SinkError(f"JACK refuses: {error}") from error

    def _connect(self) -> None:
        if self._device == "none":
            return
        if self._device is None:
            targets = self._client.get_ports(is_audio=True, is_input=True, is_physical=True)
        else:
            # JACK lists ports by their places, which it gives anew when a client has gone.
            targets = sorted(
                self._client.get_ports(self._device, is_audio=True, is_input=True), key=_by_name
            )
            if not targets:
                raise SinkError(
                    f"--device {self._device}: no input port has such a name; jack_lsp lists them"
                )
        for port, target in zip(self._ports, targets, strict=False):
            self._client.connect(port, target)

    def stop(self) -> None:
        """Deactivate the client: JACK waits for the last callback. The ports stay."""
        if self._active:
            self._active = False
            self._client.deactivate(ignore_errors=True)
        atexit.unregister(self.close)

    def close(self) -> None:
        """Leave the server."""
        self.stop()
        if self._client is not None:
            self._client.close(ignore_errors=True)
            self._client = None

    def xruns(self) -> int:
        """Times the server told of an xrun while this client was active."""
        return self._ring.xruns if self._ring else 0

    def failure(self) -> str | None:
        """Whether the server has shut down or thrown this client out."""
        if self._active and self._ring is not None and self._ring.lost:
            return "the JACK server has gone away; start it again and ghostnote comes back to it"
        return None

    def describe(self) -> str:
        """One line for people."""
        return (
            f"jack '{self._client.name}': {self.samplerate} Hz, {self.channels} ports, "
            f"blocks of {self.blocksize}"
        )
