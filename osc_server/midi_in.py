"""A MIDI input: its port, its messages with their times, and its notes as triggers.

Threads: `MidiInput` belongs to the thread that made it; a thread of its own takes messages and calls
the listeners, which must return soon. The port is polled and has no callback: with JACK's MIDI,
rtmidi would call Python on JACK's real-time thread, and all of JACK's sound would wait for the GIL.

`rtmidi` stamps each message when it arrives, as the time since the one before; polling a millisecond
late, or some more when Python is held up, does not blur the stamps.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ghostnote.inference.midi import DRUM_CHANNEL, ROLE_OF_NOTE
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES

from .commands import FRAME_NOW, Command, Op
from .native import monotonic_ns
from .sink import SinkError
from .sink_jack import load_jack

VIRTUAL: Final = "virtual"
"""The name that makes a port of our own, "ghostnote", which others connect to."""
POLL_SECONDS = 0.001
LOOK_SECONDS = 2.0  # between two looks whether the port is still there
LATEST_SECONDS = 0.025  # a message that is taken later has a stamp of its own
DRIFT = 1e-4  # by so much at most the clocks of the stamps and of polling differ

log = logging.getLogger("ghostnote.midi")

Message = Sequence[int]
Listener = Callable[[Message, float], None]
"""Takes a message's bytes and its arrival in seconds of the monotonic clock."""


class ArrivalTimes:
    """Turns times since the last message into times of the monotonic clock. Pure.

    A message cannot arrive after it was taken; the one taken soonest after its arrival sets the
    clock for the others.
    """

    def __init__(self) -> None:
        self._last: float | None = None

    def of(self, since_last: float, taken: float) -> float:
        """Return when a message arrived that was `taken` from the port then."""
        if self._last is None or not 0.0 <= since_last < 1e9:
            self._last = taken
            return taken
        arrived = self._last + since_last
        late = taken - arrived
        if late < 0.0 or late > LATEST_SECONDS:
            arrived = taken
        else:
            arrived += min(late, DRIFT * since_last)
        self._last = arrived
        return arrived


class MidiInput:
    """The first MIDI input port whose name contains `name`, or one of our own (`virtual`).

    "jack:NAME" and "alsa:NAME" look there only. The listeners get all messages from `start` on. A
    port that goes away is told, and taken again when it is back.

    Raises
    ------
    GhostnoteError
        If python-rtmidi is not installed, or there is no MIDI or no such port.
    """

    def __init__(self, name: str, client_name: str = "ghostnote-midi") -> None:
        self.name, self._client_name = name, client_name
        self.listeners: list[Listener] = []
        self._rtmidi = _load_rtmidi()
        self._port: Any = None
        self._jack: _JackServer | None = None  # whose port it is
        self.port_name = ""
        self.grain = 0.0
        """Seconds; messages arrive in steps of so much: JACK hands them out once a block."""
        self._thread: threading.Thread | None = None
        self._end = threading.Event()
        self._open()

    def _open(self) -> None:
        where, _, rest = self.name.rpartition(":")
        wanted = rest if where in ("jack", "alsa") else self.name
        seen: list[str] = []
        apis = _apis(self._rtmidi, where)
        for api in apis:
            try:
                port = self._rtmidi.MidiIn(api, self._client_name, 4096)
                names = [] if wanted == VIRTUAL else port.get_ports()
            except self._rtmidi.RtMidiError:
                continue
            seen += names
            port.ignore_types(sysex=False, timing=False, active_sense=False)
            found = next((n for n in names if wanted.lower() in n.lower()), None)
            try:
                if found is not None:
                    port.open_port(names.index(found), "in")
                elif wanted == VIRTUAL:
                    port.open_virtual_port("ghostnote")
                else:
                    port.delete()
                    continue
            except (self._rtmidi.RtMidiError, NotImplementedError):
                port.delete()
                continue
            self._port, self.port_name = port, found or "ghostnote"
            self._jack = _jack_server() if api == self._rtmidi.API_UNIX_JACK else None
            self.grain = self._jack.block_seconds if self._jack else 0.0
            return
        if not apis:
            raise GhostnoteError(
                f"--midi {self.name}: no MIDI here: neither ALSA's sequencer nor a JACK server"
            )
        if wanted == VIRTUAL:
            raise GhostnoteError(f"--midi {self.name}: this system makes no ports; name one of its")
        there = ", ".join(seen) or "none at all"
        raise GhostnoteError(
            f"--midi {self.name}: no input port has such a name; there are: {there}"
        )

    def start(self) -> None:
        """Begin to take messages."""
        self._thread = threading.Thread(target=self._run, name="ghostnote-midi", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the port back."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._drop()

    def _drop(self) -> None:
        if self._port is not None:
            self._port.close_port()
            self._port.delete()
            self._port = None
        if self._jack is not None:
            self._jack.close()
            self._jack = None

    def _run(self) -> None:
        times, look = ArrivalTimes(), _seconds() + LOOK_SECONDS
        while not self._end.wait(POLL_SECONDS if self._port else LOOK_SECONDS):
            if self._port is None:
                self._return()
                times = ArrivalTimes()
                continue
            while (taken := self._port.get_message()) is not None:
                message, since_last = taken
                arrived = times.of(since_last, _seconds())
                for listener in tuple(self.listeners):
                    listener(message, arrived)
            if _seconds() >= look:
                look = _seconds() + LOOK_SECONDS
                self._watch()

    def _watch(self) -> None:
        """Find out whether the port is still there: rtmidi does not tell."""
        if self._jack is not None and self._jack.gone():
            log.warning("MIDI: the JACK server is gone; waiting for it")
        elif self.port_name == "ghostnote" or self.port_name in self._port.get_ports():
            return
        else:
            log.warning("MIDI: the port %s is gone; waiting for it", self.port_name)
        self._drop()

    def _return(self) -> None:
        try:
            self._open()
        except GhostnoteError:
            return
        log.info("MIDI: the port %s is back", self.port_name)


class MidiTriggers:
    """Strikes drums by MIDI notes: General MIDI's drum map, velocity in 127ths.

    Channel 10 strikes all of `voices()`; any other channel the voice of its number.
    """

    def __init__(
        self,
        submit: Callable[[Sequence[Command], int], bool],
        voices: Callable[[], Sequence[int]],
    ) -> None:
        self._submit, self._voices = submit, voices

    def __call__(self, message: Message, seconds: float) -> None:
        """Take a message; all but the beginnings of notes that have a drum are left alone."""
        if len(message) != 3 or message[0] & 0xF0 != 0x90 or not 0 < message[2] <= 127:
            return
        role = ROLE_OF_NOTE.get(message[1])
        if role is None:
            return
        channel = message[0] & 0x0F
        voices = self._voices() if channel == DRUM_CHANNEL else (channel,)
        index, velocity = ROLES.index(role), message[2] / 127.0
        commands = [Command(Op.TRIG, voice, index, velocity) for voice in voices]
        if commands:
            self._submit(commands, FRAME_NOW)


def _load_rtmidi() -> Any:
    try:
        import rtmidi
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError):
            raise GhostnoteError(
                f"python-rtmidi is not installed: {sys.executable} -m pip install python-rtmidi"
            ) from None
        raise GhostnoteError(f"python-rtmidi cannot be loaded: {error}") from None
    return rtmidi


def _apis(rtmidi: Any, only: str) -> list[int]:
    """Return the APIs that may be there; asking one that is not makes it write to stderr."""
    there = {
        rtmidi.API_LINUX_ALSA: ("alsa", Path("/dev/snd/seq").exists),
        rtmidi.API_UNIX_JACK: ("jack", _jack_answers),
    }
    found = []
    for api in rtmidi.get_compiled_api():
        name, answers = there.get(api, ("", lambda: True))
        if (only == name or only not in ("alsa", "jack")) and answers():
            found.append(api)
    return found


class _JackServer:
    """The JACK server that runs, seen through a client of our own; raises SinkError without one."""

    def __init__(self) -> None:
        jack = load_jack()
        try:
            self._client = jack.Client("ghostnote-look", no_start_server=True)
        except jack.JackError as error:
            raise SinkError("no JACK server answers") from error
        self.block_seconds = float(self._client.blocksize / self._client.samplerate)
        self._frame = -1

    def gone(self) -> bool:
        """Tell whether its time has stood still since the last call, some blocks ago."""
        before, self._frame = self._frame, int(self._client.last_frame_time)
        return self._frame == before

    def close(self) -> None:
        """Leave the server."""
        self._client.close(ignore_errors=True)


def _jack_server() -> _JackServer | None:
    """Return the JACK server that runs, if one does."""
    if sys.platform == "win32":
        return None
    try:
        return _JackServer()
    except SinkError:
        return None


def _jack_answers() -> bool:
    server = _jack_server()
    if server is None:
        return False
    server.close()
    return True


def _seconds() -> float:
    return float(monotonic_ns() * 1e-9)
