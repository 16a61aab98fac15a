"""What the engine's compiled loop works on: its records, its words, and how its parts are compiled.

Threads: the arrays belong to the engine's thread but for `shared`, whose words anyone may read,
STOP, which anyone may set, `levels`, which anyone may read, the desk's `target` and `burst`, which
Python may raise, and the rows of `banks` and `primes` that are not in use, which are Python's.

A bank is a model with the streams of all voices that play it, as lanes of one state. Lanes come and
go by a new layout in the bank's second pair of arrays, so nothing is allocated. Voice v draws the
random numbers of stream v wherever its lane lies: what sounds does not depend on the banks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ghostnote.kernels.spec import ROLES

from .commands import MAX_STEPS

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

MAX_VOICES = 64
MAX_KITS = 64
MAX_BARS = 64  # bar lines that are remembered
MAX_PRIMES = 16

# Words of `shared`; the engine's thread writes all but STOP. From BARS on there are MAX_BARS pairs
# of frame and bar number; then a word for each place in `primes`, which Python sets before the
# loop hears of it and the loop clears; then for each bank the commands that brought it (carried out
# or dropped) and the voices that play it.
(
    STOP,
    FRAME,
    ACTIVE,
    LATE,
    DROPPED,
    BUSY_NS,
    PEAK_NS,
    QUEUED,
    WAITING,
    UNLOGGED,
    CLIPS,
    BAR_COUNT,
    BARS,
) = range(13)
PRIMES = BARS + 2 * MAX_BARS
ARRIVED = PRIMES + MAX_PRIMES

IDLE, PLAYING, STOPPING = range(3)
SILENCE, DC, NOISE = range(1, 4)  # why a voice was brought back to silence by the watch

# For arguments: of plain numbers Numba would compile a function for each.
ZERO, ONE, LESS = np.int64(0), np.int64(1), np.int64(-1)

DESK = np.dtype(
    [
        # constant while the engine lives
        ("hop", "i8"),
        ("rate", "i8"),
        ("target", "i8"),  # frames that the ring is kept filled to
        ("burst", "i8"),  # frames that the sink takes, once in as much time; 0: not so steadily
        ("device_rate", "i8"),
        ("bursts", "i8"),  # how many have been seen
        ("burst_ns", "i8"),  # when the last of them was due
        ("prewarm", "i8"),  # addresses of the kernel's entries, which are so compiled once
        ("hit", "i8"),
        ("copy_lane", "i8"),
        ("relay", "i8"),
        ("users", "i8"),  # where the users of the banks begin in `shared`
        ("seed", "i8"),  # of new voices
        # the transport
        ("rolling", "i8"),
        ("tempo", "f8"),  # beats a minute
        ("beat", "f8"),
        ("met", "f8"),  # up to which lines and steps have been met
        ("slew", "f8"),  # beats that are still to be caught up
        ("quantum", "f8"),  # beats
        ("signature", "f8"),  # beats in a bar
        # the master
        ("master", "f8"),
        ("master_target", "f8"),
        ("limiter", "f8"),
        ("solos", "i8"),
        ("meter_hops", "i8"),
    ]
)
VOICE = np.dtype(
    [
        ("exists", "i8"),
        ("leaving", "i8"),  # it ceases to exist when it is silent
        ("ended", "i8"),  # it has done so, and what it was told is still to be forgotten
        ("state", "i8"),
        ("bank", "i8"),
        ("lane", "i8"),  # -1: none
        ("next_bank", "i8"),  # fading in; -1: none
        ("next_lane", "i8"),
        ("fade_left", "i8"),  # hops, as the next two
        ("glide_left", "i8"),
        ("tail_left", "i8"),
        ("index", "i8"),  # of its random numbers, while it has no lane
        ("born", "i8"),  # the frame from which on its tap is its own
        ("ended_before", "i8"),  # the frame to which it is that of the voice before
        ("seed", "i8"),
        ("top_k", "i8"),
        ("temperature", "f8"),
        ("glide_seconds", "f8"),
        ("envelope", "f8"),
        ("gain", "f8"),
        ("pan", "f8"),
        ("mute", "f8"),
        ("solo", "f8"),
        ("pair", "i8"),  # of outputs
        ("next_pair", "i8"),  # where it moves next, after a move that is under way
        ("old_pair", "i8"),  # while it moves
        ("pair_left", "i8"),  # hops
        ("left", "f8"),
        ("right", "f8"),
        ("last", "f8"),  # sample
        ("tail", "f8"),
        ("hold", "i8"),
        ("hold_frames", "i8"),  # length of the loop
        ("hold_mix", "f8"),  # share of the loop in what is heard
        # the meter's window and the watch's
        ("peak", "f8"),
        ("power", "f8"),
        ("watch_hops", "i8"),
        ("watch_hits", "i8"),
        ("watch_peak", "f8"),
        ("watch_sum", "f8"),
        ("watch_power", "f8"),
        ("since_hit", "i8"),  # windows
        ("dead", "i8"),  # windows in a row
        ("stuck", "i8"),
        ("noisy", "i8"),
        ("reprimes", "i8"),
        ("reprime_reason", "i8"),
        ("weights", "f8", MAX_KITS),  # of the kits, now
        ("goals", "f8", MAX_KITS),  # where they glide to
        ("lengths", "i8", len(ROLES)),  # of the patterns
        ("chances", "f8", len(ROLES)),
        ("swings", "f8", len(ROLES)),
        ("steps", "f8", len(ROLES) * MAX_STEPS),  # their velocities
    ]
)
BANK = np.dtype(
    [
        # addresses: of the model, of two pairs of arrays for its lanes, of a stream of one lane
        # that is brought to silence where a voice begins, and of samples float32 [lanes, hop]
        ("header", "i8"),
        ("weights", "i8"),
        ("ints", "i8", 2),
        ("floats", "i8", 2),
        ("fresh_ints", "i8"),
        ("fresh_floats", "i8"),
        ("out", "i8"),
        # what plays a hop: the address of the kernel's `run`, or of `gpu_run.run_posted` and its box
        ("run", "i8"),
        ("box", "i8"),  # 0: none
        ("which", "i8"),  # pair of arrays in use
        ("count", "i8"),  # lanes
        # of the model: offsets in a state's floats, ints of a lane, sizes
        ("settings", "i8"),
        ("settings_size", "i8"),
        ("lanes_at", "i8"),
        ("lane_ints", "i8"),
        ("kit_weights", "i8"),  # place in a lane's settings
        ("kits", "i8"),
        ("has_roles", "i8"),
        ("roles", "i8", len(ROLES)),  # each role's number in that model; -1: it has none
        ("members", "i8", MAX_VOICES),  # the voice of each lane
    ]
)
PRIME = np.dtype([("header", "i8"), ("ints", "i8"), ("floats", "i8")])


class Core(NamedTuple):
    """What sounds. V voices, B banks, C channels."""

    shared: Ints
    desk: NDArray[Any]  # DESK [1]
    voices: NDArray[Any]  # VOICE [V]
    banks: NDArray[Any]  # BANK [B]
    primes: NDArray[Any]  # PRIME [MAX_PRIMES]
    levels: Doubles  # [V + 1, 4]: peak and rms of each voice, of the master's two sides
    master_sums: Doubles  # [5]: peaks, powers and frames of the meter's window
    tap_headers: Ints  # [V, words]
    taps: Floats  # [V, frames]
    order: Ints  # [MAX_VOICES]: room for the lanes of a new layout
    mono: Floats  # [2, hop]
    mix: Floats  # [hop, C]


class Mail(NamedTuple):
    """Commands on their way: from the ring to the queue and, carried out, to the log. Q places."""

    queue: NDArray[Any]  # COMMAND [Q], sorted by frame, first come first among equals
    waiting: NDArray[Any]  # COMMAND [Q], for the next line of the quantum or the bar
    inbox: NDArray[Any]  # COMMAND [I]
    order: Ints  # [I]: room for the places in the inbox of what is to be queued, by frame
    commands_header: Ints
    commands: NDArray[Any]
    log_header: Ints
    log: NDArray[Any]


class Outlet(NamedTuple):
    """Where frames at the device's rate come from, and live go to."""

    table: Floats  # the resampler's
    table_state: Ints
    history: Floats
    out: Floats  # [.., C] of one hop
    ring_header: Ints
    ring: Floats
    tap_header: Ints
    tap: Floats


# How a function is compiled decides how long a first start takes. Numba compiles each one with all
# that it calls, so what is large is called by address. `inner` is for what compiled code alone
# calls: no second function that unpacks Python's arguments, and, since nothing here allocates, no
# counting of references. `merged` is compiled as a part of its one caller.
inner = njit(
    nogil=True,
    _nrt=False,
    error_model="numpy",
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
)
merged = njit(nogil=True, inline="always")
