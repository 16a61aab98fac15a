"""Commands on their way: from the ring to the queue or to the line that they wait for.

Threads: all of it is compiled and runs in the engine's thread, between hops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .commands import FRAME_NOW, MAX_ROLES, TICKS, Op
from .desk import (
    ARRIVED,
    DROPPED,
    FRAME,
    PRIMES,
    QUEUED,
    WAITING,
    ZERO,
    Core,
    Mail,
    inner,
)
from .native import store_release
from .ring import records_pop

VOICE_PLAY, VOICE_STOP, VOICE_REWIND = int(Op.VOICE_PLAY), int(Op.VOICE_STOP), int(Op.VOICE_REWIND)
VOICE_NEW, OP_MODEL, OP_PRIME = int(Op.VOICE_NEW), int(Op.MODEL), int(Op.PRIME)
OP_SEED, OP_WEIGHT, OP_HOLD = int(Op.SEED), int(Op.WEIGHT), int(Op.HOLD)
OP_LENGTH, OP_STEP = int(Op.PATTERN_LENGTH), int(Op.PATTERN_STEP)
OP_CHANCE, OP_SWING = int(Op.PATTERN_PROBABILITY), int(Op.PATTERN_SWING)
OP_TEMPO, OP_PLAY, OP_ROLL, OP_STOP = int(Op.TEMPO), int(Op.PLAY), int(Op.ROLL), int(Op.STOP)
OP_BEAT, OP_QUANTUM, OP_SIGNATURE = int(Op.BEAT), int(Op.QUANTUM), int(Op.SIGNATURE)
OP_MASTER_GAIN, OP_LIMITER = int(Op.MASTER_GAIN), int(Op.LIMITER)
OP_CLEAR = int(Op.CLEAR_SCHED)
OP_STRIKE, OP_STRIKE_CLEAR = int(Op.STRIKE), int(Op.STRIKE_CLEAR)


@inner
def take_commands(core: Core, mail: Mail) -> None:
    """Move what has arrived from the ring to its place in the queue, or let it wait for the beat."""
    queue, waiting, inbox, order = mail.queue, mail.waiting, mail.inbox, mail.order
    shared = core.shared
    forget_freed(core, mail)
    while True:
        count = records_pop(mail.commands_header, mail.commands, inbox)
        if count == 0:
            return
        kept = ZERO
        for i in range(count):
            op = np.int64(inbox[i].op)
            if op == OP_STRIKE:
                if shared[WAITING] < waiting.shape[0]:
                    waiting[shared[WAITING]] = inbox[i]
                    shared[WAITING] += 1
                else:
                    shared[DROPPED] += 1
                continue
            if op == OP_STRIKE_CLEAR:
                forget_strikes(core, waiting, np.int64(inbox[i].voice), inbox[i].value)
                continue
            if inbox[i].frame == FRAME_NOW:
                inbox[i].frame = shared[FRAME]
                if line_to_wait_for(core, op) > 0.0 and shared[WAITING] < waiting.shape[0]:
                    waiting[shared[WAITING]] = inbox[i]
                    shared[WAITING] += 1
                    continue
                if op == OP_CLEAR:
                    # Here, in the order of arrival: what is scheduled after it stays.
                    enqueue(core, mail, kept)
                    kept = ZERO
                    forget_scheduled(core, queue)
                    inbox[i].index = 1
            if shared[QUEUED] + kept == queue.shape[0]:
                shared[DROPPED] += 1
                give_back(core, op, inbox[i].index)
                continue
            place = kept
            while place > 0 and inbox[order[place - 1]].frame > inbox[i].frame:
                order[place] = order[place - 1]
                place -= 1
            order[place] = i
            kept += 1
        enqueue(core, mail, kept)


@inner
def enqueue(core: Core, mail: Mail, count: int) -> None:
    """Merge the first `count` of the inbox's `order` into the queue, which has room for them.

    From the end, so that each is moved once: a burst costs its length and the queue's, not both
    multiplied.
    """
    queue, inbox, order = mail.queue, mail.inbox, mail.order
    held = core.shared[QUEUED]
    old, new, place = held - 1, count - 1, held + count - 1
    while new >= 0:
        if old >= 0 and queue[old].frame > inbox[order[new]].frame:
            queue[place] = queue[old]
            old -= 1
        else:
            queue[place] = inbox[order[new]]
            new -= 1
        place -= 1
    core.shared[QUEUED] = held + count


@inner
def line_to_wait_for(core: Core, op: int) -> float:
    """Return the beats between the lines on which a command acts that was not given a time; or 0."""
    desk = core.desk[0]
    if desk.rolling == 0:
        return 0.0
    if op == OP_HOLD:
        return float(desk.signature)
    if op in (
        VOICE_PLAY,
        VOICE_STOP,
        VOICE_REWIND,
        OP_SEED,
        OP_WEIGHT,
        OP_LENGTH,
        OP_STEP,
        OP_CHANCE,
        OP_SWING,
    ):
        return float(desk.quantum)
    return 0.0


@inner
def strike_beat(index: int) -> float:
    """Return the beat at which a strike is due."""
    return (index // MAX_ROLES) / TICKS


@inner
def forget_strikes(core: Core, waiting: NDArray[Any], number: int, beat: float) -> None:
    """Drop a voice's strikes from `beat` on."""
    kept = ZERO
    for i in range(core.shared[WAITING]):
        mine = waiting[i].op == OP_STRIKE and waiting[i].voice == number
        if not mine or strike_beat(waiting[i].index) < beat:
            waiting[kept] = waiting[i]
            kept += 1
    core.shared[WAITING] = kept


@inner
def give_back(core: Core, op: int, index: int) -> None:
    """Let Python have again what a command brought, whether it was carried out or not."""
    if op in (OP_MODEL, VOICE_NEW) and 0 <= index < core.banks.shape[0]:
        arrived = ARRIVED + index
        store_release(core.shared, arrived, core.shared[arrived] + 1)
    elif op == OP_PRIME and 0 <= index < core.primes.shape[0]:
        store_release(core.shared, PRIMES + index, 0)


@inner
def forget_scheduled(core: Core, queue: NDArray[Any]) -> None:
    """Drop from the queue what is due after this hop."""
    shared = core.shared
    while shared[QUEUED] > 0 and queue[shared[QUEUED] - 1].frame > shared[FRAME]:
        last = shared[QUEUED] - 1
        give_back(core, np.int64(queue[last].op), queue[last].index)
        shared[QUEUED] = last


@inner
def forget_freed(core: Core, mail: Mail) -> None:
    """Drop what voices were told that have ceased to exist: the next of a number is another."""
    shared, voices = core.shared, core.voices
    for number in range(voices.shape[0]):
        if voices[number].ended == 1:
            voices[number].ended = 0
            shared[QUEUED] = forget_voice(core, mail.queue, shared[QUEUED], np.int64(number))
            shared[WAITING] = forget_voice(core, mail.waiting, shared[WAITING], np.int64(number))


@inner
def forget_voice(core: Core, commands: NDArray[Any], count: int, number: int) -> int:
    """Drop a voice's commands, up to one that makes it anew, from `count`; returns how many stay."""
    kept, anew = ZERO, ZERO
    for i in range(count):
        op = np.int64(commands[i].op)
        its_own = commands[i].voice == number and is_of_a_voice(op)
        if its_own and op == VOICE_NEW:
            anew = np.int64(1)
        if its_own and anew == 0:
            give_back(core, op, commands[i].index)
        else:
            commands[kept] = commands[i]
            kept += 1
    return int(kept)


@inner
def is_of_a_voice(op: int) -> bool:
    """Return whether a command is one voice's, and not the transport's, the master's or the queue's."""
    return op not in (
        OP_TEMPO,
        OP_PLAY,
        OP_ROLL,
        OP_STOP,
        OP_BEAT,
        OP_QUANTUM,
        OP_SIGNATURE,
        OP_MASTER_GAIN,
        OP_LIMITER,
        OP_CLEAR,
    )
