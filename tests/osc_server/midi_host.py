"""A drum machine's MIDI clock, as a program, over JACK's MIDI.

`python midi_host.py PORT`, then lines on stdin: `tempo BPM` (the clock runs from the first on),
`start`, `stop`, `continue`, `position SIXTEENTHS`, `note CHANNEL NUMBER VELOCITY`. It answers each
with the monotonic time in seconds at which what it asked for was sent: for start and continue that
of the tick which followed.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any


def main() -> None:
    import rtmidi

    out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, "machine")
    out.open_virtual_port("out")
    lines: SimpleQueue[list[str]] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line.split())
        lines.put(["end"])

    threading.Thread(target=read, daemon=True).start()
    print("ready", flush=True)
    period, due = 0.0, time.monotonic()
    waiting = False
    while True:
        try:
            word, *rest = lines.get(timeout=max(0.0, due - time.monotonic()) if period else None)
        except Empty:
            out.send_message([0xF8])
            if waiting:
                # The grid's time and not that of sending: lateness is the clock's, not the song's.
                print(due, flush=True)
                waiting = False
            due += period
            continue
        now = time.monotonic()
        if word == "end":
            break
        if word == "tempo":
            period, due = 60 / float(rest[0]) / 24, due if period else now
        elif word in ("start", "continue"):
            out.send_message([{"start": 0xFA, "continue": 0xFB}[word]])
            waiting = True
            continue
        elif word == "stop":
            out.send_message([0xFC])
        elif word == "position":
            out.send_message([0xF2, int(rest[0]) % 128, int(rest[0]) // 128])
        elif word == "note":
            channel, number, velocity = map(int, rest)
            out.send_message([0x90 + channel - 1, number, velocity])
        print(now, flush=True)
    out.close_port()


class Machine:
    """The running program."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def say(self, line: str) -> float:
        """Gives it a line; returns when that was done."""
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def kill(self) -> None:
        """Ends it at once, whose JACK server is gone."""
        self._process.kill()


@contextmanager
def midi_machine() -> Iterator[Machine]:
    """Runs the program on the JACK server of this environment; its port is "machine:out"."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield Machine(process)
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


if __name__ == "__main__":
    main()
