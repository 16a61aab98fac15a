"""Which sink to play to, and what there is to choose from.

Importing this opens nothing and loads neither libjack nor PortAudio.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .sink import AudioSink, SinkError, SinkOptions
from .sink_file import FileSink
from .sink_jack import JackSink, load_jack
from .sink_null import NullSink
from .sink_portaudio import PortAudioSink, load_sounddevice

_OPENERS: dict[str, Callable[[SinkOptions], AudioSink]] = {
    "jack": JackSink,
    "portaudio": PortAudioSink,
    "null": NullSink,
    "file": FileSink,
}


def choose_sink(options: SinkOptions) -> tuple[AudioSink, str]:
    """Open the sink that `options` ask for; returns it and one line that says why this one.

    `auto` takes JACK if a server answers, else PortAudio's default output, else null. Raises
    SinkError where a sink that was asked for by name cannot be had.
    """
    if options.kind != "auto":
        return _OPENERS[options.kind](options), f"asked for: --sink {options.sink}"
    reasons = []
    for kind, line in (
        ("jack", "a JACK server answers"),
        ("portaudio", "no JACK server; PortAudio has an output device"),
    ):
        try:
            return _OPENERS[kind](options), line
        except SinkError as error:
            reasons.append(str(error))
    return NullSink(options), (
        f"no audio device, so nothing will be heard ({'; '.join(reasons)}); "
        "to hear it: start JACK or plug in a sound card, or write a file with --sink file:PATH"
    )


@dataclass(frozen=True)
class Device:
    """One output that `--sink` and `--device` can name; rate in Hz, latency in seconds."""

    sink: str
    device: str
    name: str
    host_api: str
    channels: int
    samplerate: int
    latency_seconds: float
    default: bool


def list_devices() -> tuple[list[Device], list[str]]:
    """All outputs there are, and one line for each kind of sink that has none."""
    devices: list[Device] = []
    problems: list[str] = []
    for kind, finder in (("jack", _jack_ports), ("portaudio", _portaudio_devices)):
        try:
            devices += finder()
        except SinkError as error:
            problems.append(f"{kind}: {error}")
    return devices, problems


def _jack_ports() -> list[Device]:
    """The clients with audio inputs on the running JACK server."""
    jack = load_jack()
    try:
        client = jack.Client("ghostnote-list", no_start_server=True)
    except jack.JackOpenError as error:
        raise SinkError("no server answers") from error
    try:
        inputs: dict[str, list[bool]] = {}
        for port in client.get_ports(is_audio=True, is_input=True):
            physical = any(p.name == port.name for p in client.get_ports(is_physical=True))
            inputs.setdefault(port.name.rpartition(":")[0], []).append(physical)
        rate, block = int(client.samplerate), int(client.blocksize)
    finally:
        client.close()
    return [
        Device("jack", owner, owner, "JACK", len(ports), rate, block / rate, all(ports))
        for owner, ports in inputs.items()
    ]


def _portaudio_devices() -> list[Device]:
    sounddevice = load_sounddevice()
    default = sounddevice.default.device[1]
    found = [
        Device(
            "portaudio",
            str(device["index"]),
            device["name"],
            sounddevice.query_hostapis(device["hostapi"])["name"],
            device["max_output_channels"],
            round(device["default_samplerate"]),
            device["default_low_output_latency"],
            device["index"] == default,
        )
        for device in sounddevice.query_devices()
        if device["max_output_channels"] > 0
    ]
    if not found:
        raise SinkError("no output device")
    return found
