"""A signal ends the server whatever the main thread is doing just then."""

import subprocess
import sys
from pathlib import Path

# Runs the server's loop and raises SIGTERM after the n-th instruction of it and of all that it calls.
SCRIPT = """
import signal, sys
from ghostnote.osc_server import server as module

class Quiet(module.Server):
    def __init__(self):
        self.quitting = False
    def tick(self):
        pass
    def _finished(self):
        return False

module.TICK_SECONDS = 0.001
for count in range(1, 150):
    left = count
    def trace(frame, event, argument):
        global left
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGTERM)
        return trace
    quiet = Quiet()
    with module._ended_by_signals(quiet):
        sys.settrace(trace)
        quiet.run()
        sys.settrace(None)
print("ended", count)
"""


def test_a_signal_at_any_instruction_ends_the_loop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ended 149\n"
