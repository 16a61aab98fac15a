"""The records that tell the engine what to do.

Plain values; any thread. OSC counts voices from 1, records from 0.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ghostnote.inference.patterns import MAX_STEPS

__all__ = [
    "COMMAND",
    "FRAME_NOW",
    "MAX_ROLES",
    "MAX_STEPS",
    "ROOM_STRIKES",
    "TICKS",
    "WAITING",
    "Command",
    "Op",
    "strike_index",
    "strikes_fit",
]

MAX_ROLES = 16
TICKS = 1 << 20
"""Parts of a beat in which the beat of a strike is told."""

WAITING = 8192
"""Commands that may wait for a line or a beat."""
ROOM_STRIKES = WAITING // 2

FRAME_NOW = -1
"""The frame of a command that is due at once."""

COMMAND = np.dtype(
    [("frame", "i8"), ("op", "i4"), ("voice", "i4"), ("index", "i8"), ("value", "f8")]
)
"""One command in the ring, 32 bytes; `frame` counts at the model's rate since the engine began."""


class Op(IntEnum):
    """What a command does, with the fields it reads."""

    TRIG = 0  # voice, index = role, value = velocity in (0, 1]
    VOICE_PLAY = 1  # voice
    VOICE_STOP = 2  # voice
    VOICE_RESET = 3  # voice
    SEED = 4  # voice, index = seed
    TEMPERATURE = 5  # voice, value
    TOPK = 6  # voice, index; 0 = all
    WEIGHT = 7  # voice, index = kit, value
    GLIDE = 8  # voice, value = seconds
    GAIN = 9  # voice, value linear
    PAN = 10  # voice, value -1 to 1
    MUTE = 11  # voice, value 0 or 1
    PATTERN_LENGTH = 12  # voice, index = role, value = steps; 0 clears
    PATTERN_STEP = 13  # voice, index = role * MAX_STEPS + step, value = velocity
    TEMPO = 14  # value = bpm
    PLAY = 15  # transport, from beat 0
    STOP = 16  # transport
    MASTER_GAIN = 17  # value linear
    CLEAR_SCHED = 18
    MODEL = 19  # voice, index = bank
    VOICE_NEW = 20  # voice, index = bank
    VOICE_FREE = 21  # voice
    VOICE_REWIND = 22  # voice
    HOLD = 23  # voice, value 0 or 1
    SOLO = 24  # voice, value 0 or 1
    OUT = 25  # voice, index = pair of outputs, from 0
    PATTERN_PROBABILITY = 26  # voice, index = role, value 0 to 1
    PATTERN_SWING = 27  # voice, index = role, value 0 to 1
    QUANTUM = 28  # value = beats; 0: nothing waits
    BEAT = 29  # value = the transport's beat at this command's frame
    LIMITER = 30  # value 0 or 1
    PRIME = 31  # voice, index = place of a primed stream
    ROLL = 32  # transport, from where it stands
    SIGNATURE = 33  # value = beats in a bar
    STRIKE = 34  # voice, index = strike_index(role, beat), value = velocity; logged as TRIG
    STRIKE_CLEAR = 35  # voice, value = beat from which on strikes are forgotten; not logged


class Command(NamedTuple):
    """One thing for the engine to do; `voice` counts from 0."""

    op: Op
    voice: int = 0
    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which no one needs
    value: float = 0.0


def strike_index(role: int, beat: float) -> int:
    """Return what tells a strike's role and its beat, 0 or later."""
    return role + MAX_ROLES * round(beat * TICKS)


def strikes_fit(batch: npt.NDArray[Any], waiting: int) -> bool:
    """Tell whether the strikes among commands [n] have room beside so many that wait.

    They have half of it, so that what clients tell still waits for its line; those in place of
    others, which still wait, have a fourth more, or what is full could not be changed.
    """
    ops = batch["op"]
    strikes = int((ops == Op.STRIKE).sum())
    most = ROOM_STRIKES + WAITING // 4 * int((ops == Op.STRIKE_CLEAR).any())
    return not strikes or waiting + strikes <= most
