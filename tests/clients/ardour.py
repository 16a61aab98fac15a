"""Ardour without its window, on JACK: a session with one stereo track, steered over OSC and Lua.

`ardour7-lua` is Ardour's engine with a Lua prompt (tried with 7; later versions have their number
in it). Its standard input is a file, so commands given later go through a file that the script looks
for. Threads: one.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ghostnote.osc_server.encode import Value
from tests.osc_server.live import Client
from tests.osc_server.waiting import until
from tests.parts import JackServer, need

OSC_PORT = 3819
TRIES = 5
CLIENT = "ardour"
TRACK_INPUTS = f"{CLIENT}:drums/audio_in.*"
_NAME = re.compile(r"ardour([0-9]+)-lua")
TICKS_PER_FRAME = 282_240_000 // 48_000  # Ardour's "superclock"

# The default master is MIDI clock; then Ardour takes JACK's tempo over, but neither starts nor
# follows its transport.
_CONFIG = """<?xml version="1.0" encoding="UTF-8"?>
<Ardour>
  <Config/>
  <TransportMasters current="JACK">
    <TransportMaster type="JACK" removeable="0" name="JACK" sclock_synced="1" collect="1"
                     allowed_transport_requests=""/>
  </TransportMasters>
</Ardour>
"""

_MAKE = """
local b = AudioEngine:set_backend("None (Dummy)", "", "")
b:set_device_name("Silence"); b:set_sample_rate(48000); AudioEngine:start(false)
local s = create_session("FOLDER/session", "session", 48000)
s:new_audio_track(2, 2, nil, 1, "drums", ARDOUR.PresentationInfo.max_order,
  ARDOUR.TrackMode.Normal, true)
s:save_state(""); close_session(); quit()
"""

# Ardour asks libjack from several threads while it connects its ports, which libjack does not
# stand: the connection then breaks. So the clock is taken over only when that is done, and where
# it broke all the same, Ardour is started again.
_RUN = """
function tempo(bpm)
  local map = Temporal.TempoMap.write_copy()
  map:set_tempo(Temporal.Tempo(bpm, bpm, 4), Temporal.timepos_t(0))
  Temporal.TempoMap.update(map)
end
AudioEngine:set_backend("JACK", "CLIENT", "")
local s = load_session("FOLDER/session", "session")
sleep(1)
s:cfg():set_external_sync(true)
sleep(0.5)
io.open("FOLDER/ready", "w"):close()
while true do local f = io.open("FOLDER/command"); if f then local text = f:read("a"); f:close(); \
os.remove("FOLDER/command"); if text == "quit" then break end; load(text)() end; sleep(0.05) end
close_session()
quit()
"""


class Ardour:
    """A running Ardour whose transport is JACK's and whose tempo is JACK's timebase."""

    def __init__(self, folder: Path, osc: Client) -> None:
        self._folder, self._osc = folder, osc

    def send(self, address: str, *values: Value) -> None:
        """Sends a message of Ardour's own OSC surface."""
        self._osc.send(address, *values)

    def lua(self, command: str) -> None:
        """Runs a line of Lua, and waits until it has begun."""
        path = self._folder / "command"
        part = path.with_suffix(".part")
        part.write_text(command)
        part.rename(path)
        until(lambda: not path.exists(), f"Ardour took {command!r}")

    def takes(self) -> list[Path]:
        """The sound files recorded so far, oldest first, left before right."""
        return sorted(self._folder.glob("session/interchange/*/audiofiles/*.wav"))

    def frame_of(self, take: Path) -> int:
        """Where on Ardour's timeline a take begins, in frames at 48 kHz, by its saved session."""
        session = self._folder / "session" / "session.ardour"
        entry = f'name="{take.name}" [^>]*natural-position="a([0-9]+)"'

        def found() -> re.Match[str] | None:
            return re.search(entry, session.read_text())

        self.send("/save_state", 1)
        until(lambda: found() is not None, "the take in the saved session")
        told = found()
        assert told
        return int(told[1]) // TICKS_PER_FRAME


def find_ardour() -> str:
    """Returns the path of the newest Ardour's engine with a Lua prompt, or it is missing."""
    found: dict[int, str] = {}
    for folder in os.get_exec_path():
        for path in Path(folder).glob("ardour[0-9]*-lua"):
            if number := _NAME.fullmatch(path.name):
                found.setdefault(int(number[1]), path.name)
    return need(found[max(found)] if found else "ardour7-lua")


def _make_session(folder: Path, program: str, environment: dict[str, str]) -> None:
    script = _MAKE.replace("FOLDER", str(folder))
    subprocess.run(
        [program],
        input=script,
        text=True,
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    path = folder / "session" / "session.ardour"
    text, off = path.read_text(), '<Protocol name="Open Sound Control (OSC)" active="0"/>'
    assert off in text
    on = '<Protocol name="Open Sound Control (OSC)" active="1" feedback="0" debugmode="0"/>'
    path.write_text(text.replace(off, on))
    settings = folder / ".config" / Path(program).name.removesuffix("-lua") / "config"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(_CONFIG)


def _connected(jackd: JackServer) -> bool:
    """Whether Ardour's track is to be seen in JACK."""
    ports = subprocess.run(
        [need("jack_lsp"), "-s", jackd.name], capture_output=True, text=True, check=True
    )
    return f"{CLIENT}:drums/audio_in" in ports.stdout


def _leave_the_sound_card(jackd: JackServer) -> None:
    """Takes the track off the card's inputs, whose latency Ardour would take off all it records."""
    for channel in (1, 2):
        ends = [f"system:capture_{channel}", f"{CLIENT}:drums/audio_in {channel}"]
        left = subprocess.run(
            [need("jack_disconnect"), "-s", jackd.name, *ends],
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        # Where Ardour came to connect neither of the two, there is nothing to leave.
        assert left.returncode == 0 or "already disconnected" in left.stderr, left.stderr


def _start(
    program: str, jackd: JackServer, folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes] | None:
    """Starts Ardour and waits until it is ready; None where it has lost JACK meanwhile."""
    ready, log = folder / "ready", folder / "ardour.log"
    ready.unlink(missing_ok=True)
    with (folder / "run.lua").open() as script, log.open("w") as output:
        process = subprocess.Popen(
            [program], stdin=script, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    # On one core its threads seldom talk to libjack at the same time.
    os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
    try:
        until(lambda: ready.exists() or process.poll() is not None, "Ardour", seconds=60)
        if ready.exists() and _connected(jackd):
            _leave_the_sound_card(jackd)
            return process
    except BaseException:
        process.kill()
        process.wait()
        raise
    process.kill()
    process.wait()
    return None


@contextmanager
def ardour(jackd: JackServer, folder: Path) -> Iterator[Ardour]:
    """Runs Ardour on `jackd` with a new session in `folder`, and ends it on leaving."""
    program = find_ardour()
    environment = {**os.environ, "HOME": str(folder), "JACK_DEFAULT_SERVER": jackd.name}
    _make_session(folder, program, environment)
    script = _RUN.replace("FOLDER", str(folder)).replace("CLIENT", CLIENT)
    (folder / "run.lua").write_text(script)
    for _ in range(TRIES):
        process = _start(program, jackd, folder, environment)
        if process is not None:
            break
    else:
        raise AssertionError((folder / "ardour.log").read_text())
    client = Client(OSC_PORT)
    try:
        running = Ardour(folder, client)
        yield running
        running.lua("quit")
        process.wait(30)
    finally:
        client.close()
        process.kill()
        process.wait()
