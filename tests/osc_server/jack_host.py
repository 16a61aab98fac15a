"""A host of JACK's transport, as a program: it says bar, beat and tempo, as a DAW does.

`python jack_host.py BPM BEATS_PER_BAR BEAT_TYPE`, then lines on stdin: `start`, `stop`, `locate
FRAME`, `tempo BPM`. It answers each with `ok`. The tempo counts quarters, as Ardour's does.
"""

import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

TICKS = 1920


def main() -> None:
    import jack

    tempo, per_bar, unit = float(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    client = jack.Client("host", no_start_server=True)
    rate = client.samplerate
    # The tempo from a frame on, at which that beat is.
    piece = (0, 0.0, tempo)

    def timebase(state: int, blocksize: int, pos: Any, new_pos: bool) -> None:
        frame, beat, bpm = piece
        beat += (pos.frame - frame) / rate * bpm / 60 * unit / 4
        bar = int(beat // per_bar)
        rest = beat - bar * per_bar
        pos.bar, pos.beat = bar + 1, int(rest) + 1
        pos.tick = int((rest - int(rest)) * TICKS)
        pos.beats_per_bar, pos.beat_type, pos.ticks_per_beat = per_bar, unit, TICKS
        pos.beats_per_minute = bpm
        pos.bar_start_tick = bar * per_bar * TICKS
        pos.valid = jack._lib.JackPositionBBT

    client.activate()
    client.set_timebase_callback(timebase)
    print("ready", flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "start":
            client.transport_start()
        elif word == "stop":
            client.transport_stop()
        elif word == "locate":
            client.transport_frame = int(rest[0])
        elif word == "tempo":
            frame, beat, bpm = piece
            now = client.transport_frame
            beat += (now - frame) / rate * bpm / 60 * unit / 4
            piece = (now, beat, float(rest[0]))
        print("ok", flush=True)
    client.deactivate()
    client.close()


class Host:
    """The running program."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def say(self, line: str) -> None:
        """Gives it a line and waits until it has done so."""
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "ok\n"


@contextmanager
def jack_host(bpm: float, per_bar: int = 4, unit: int = 4) -> Iterator[Host]:
    """Runs the program on the JACK server of this environment."""
    import subprocess

    process = subprocess.Popen(
        [sys.executable, __file__, str(bpm), str(per_bar), str(unit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield Host(process)
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


class Watch:
    """Asks JACK's transport where it is, in this process: (monotonic seconds, frame) while it rolls."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []
        self._apart: list[float] = []
        self._end = threading.Event()

    @property
    def places(self) -> list[tuple[float, int]]:
        """What was seen so far. JACK's clock is not ours: how far apart they are is the median."""
        apart = statistics.median(self._apart)
        return [(seconds + apart, frame) for seconds, frame in self._seen]

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        import jack

        client = jack.Client("watch", no_start_server=True)
        while not self._end.is_set():
            state, pos = client.transport_query_struct()
            if state == jack._lib.JackTransportRolling:
                seconds = pos.usecs * 1e-6
                since = client.frames_since_cycle_start / pos.frame_rate
                self._apart.append(time.monotonic() - since - seconds)
                self._seen.append((seconds, pos.frame))
            time.sleep(0.003)
        client.close()


if __name__ == "__main__":
    main()
