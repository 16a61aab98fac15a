"""The compiled heart of the engine: commands, one hop of everything, hop after hop.

Threads: everything here runs in the engine's one thread (or in the caller's, offline), holds no
GIL, allocates nothing and never waits for Python. Others reach it through rings only (`desk.py`
tells what they may read).

Time is the frame: samples at the model's rate since the start. Commands, the transport and control
rows all act at hop boundaries, so the output depends on (frame, command) alone: not on block sizes,
ring sizes or scheduling. That is why a log replays to the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ghostnote.kernels.lanes import load_int

from .bank import play_banks
from .commands import MAX_ROLES, MAX_STEPS, Op
from .desk import (
    ACTIVE,
    BUSY_NS,
    FRAME,
    IDLE,
    LATE,
    MAX_KITS,
    ONE,
    PEAK_NS,
    QUEUED,
    STOP,
    UNLOGGED,
    WAITING,
    ZERO,
    Core,
    Floats,
    Mail,
    Outlet,
    inner,
)
from .master import limit, publish_levels, set_level
from .native import load_acquire, monotonic_ns, sleep_us, store_release
from .resample import resample
from .ring import (
    RUNNING,
    STAMP_COUNT,
    STAMP_NS,
    STAMP_SLOTS,
    STAMPS,
    records_push,
    ring_fill,
    ring_set_state,
    ring_write,
    tap_write,
)
from .schedule import (
    OP_BEAT,
    OP_CHANCE,
    OP_CLEAR,
    OP_HOLD,
    OP_LENGTH,
    OP_LIMITER,
    OP_MASTER_GAIN,
    OP_MODEL,
    OP_PLAY,
    OP_PRIME,
    OP_QUANTUM,
    OP_ROLL,
    OP_SEED,
    OP_SIGNATURE,
    OP_STEP,
    OP_STOP,
    OP_STRIKE,
    OP_SWING,
    OP_TEMPO,
    OP_WEIGHT,
    VOICE_NEW,
    VOICE_PLAY,
    VOICE_REWIND,
    VOICE_STOP,
    forget_scheduled,
    give_back,
    line_to_wait_for,
    strike_beat,
    take_commands,
)
from .transport import (
    MAX_TEMPO,
    jump_to,
    line_within,
    note_bars,
    place_beat,
    roll,
    span,
    strike_patterns,
)
from .voice import (
    add_voice,
    change_model,
    configure_voice,
    end_hop,
    free_voice,
    glide_kit,
    hit_voice,
    hold_voice,
    make_voice,
    move_voice,
    play_voice,
    prime_voice,
    reset_voice,
    stop_voice,
    write_tap,
)

TRIG, VOICE_RESET, VOICE_FREE = int(Op.TRIG), int(Op.VOICE_RESET), int(Op.VOICE_FREE)
OP_TEMPERATURE, OP_TOPK, OP_GLIDE = int(Op.TEMPERATURE), int(Op.TOPK), int(Op.GLIDE)
OP_GAIN, OP_PAN, OP_MUTE = int(Op.GAIN), int(Op.PAN), int(Op.MUTE)
OP_SOLO, OP_OUT = int(Op.SOLO), int(Op.OUT)

LOST_NS = 50_000_000  # a burst so late begins a new count
LATE_STRIKE = 0.125  # beats; one that is later is none


@inner
def is_bank(core: Core, index: int) -> bool:
    """Return whether a bank of that number was ever made."""
    return bool(0 <= index < core.banks.shape[0] and core.banks[index].header != 0)


@inner
def run_due_commands(core: Core, mail: Mail) -> None:
    """Carry out all commands due at or before this hop, in order, and log them."""
    queue, shared, desk = mail.queue, core.shared, core.desk[0]
    frame = shared[FRAME]
    done = ZERO
    while done < shared[QUEUED] and queue[done].frame <= frame:
        command = queue[done]
        # A command is late when the hop in which it should have acted is over.
        if command.frame <= frame - desk.hop:
            shared[LATE] += 1
        if command.op == OP_BEAT and desk.rolling == 1:
            # The beat is that of the command's frame; this hop begins a little after.
            command.value += (frame - command.frame) / desk.rate * desk.tempo / 60.0
        command.frame = frame
        if command.op != OP_CLEAR:
            run_command(core, command)
        elif command.index == 0:
            forget_scheduled(core, queue)
        note(core, mail, queue, done)
        done += 1
    if done:
        left = shared[QUEUED] - done
        for i in range(left):
            queue[i] = queue[done + i]
        shared[QUEUED] = left


@inner
def note(core: Core, mail: Mail, commands: Floats, at: int) -> None:
    """Write a command that has been carried out to the log, but for an engine's first voices."""
    mail.inbox[0] = commands[at]
    if commands[at].op == VOICE_NEW and commands[at].value < 0.0:
        return
    if not records_push(mail.log_header, mail.log, mail.inbox, ONE):
        core.shared[UNLOGGED] += 1


@inner
def run_waiting_commands(core: Core, mail: Mail, begin: float, end: float) -> None:
    """Carry out what has waited for a line or a beat within [begin, end), and log it."""
    waiting, shared = mail.waiting, core.shared
    kept = 0
    for i in range(shared[WAITING]):
        if waiting[i].op == OP_STRIKE:
            beat = strike_beat(waiting[i].index)
            if core.desk[0].rolling == 0 or beat >= end:
                waiting[kept] = waiting[i]
                kept += 1
                continue
            if beat < begin - LATE_STRIKE:
                continue
            # A replay has no beats to wait for: it is told of the hit in the hop where it fell.
            waiting[i].op, waiting[i].index = TRIG, waiting[i].index % MAX_ROLES
        every = line_to_wait_for(core, np.int64(waiting[i].op))
        if every > 0.0 and line_within(begin, end, every) < 0.0:
            waiting[kept] = waiting[i]
            kept += 1
        else:
            waiting[i].frame = shared[FRAME]
            command = waiting[i]
            run_command(core, command)
            note(core, mail, waiting, i)
    shared[WAITING] = kept


@inner
def run_command(core: Core, command: Any) -> None:
    """Carry out one command; what makes no sense for a voice's model does nothing."""
    desk, index, value = core.desk[0], command.index, command.value
    # All whole numbers are of one type, or Numba would compile what takes them once for each.
    op, number = np.int64(command.op), np.int64(command.voice)
    if op == OP_TEMPO:
        desk.tempo = min(max(value, 1.0), MAX_TEMPO)
    elif op == OP_PLAY:
        desk.rolling = 1
        jump_to(core, 0.0)
    elif op == OP_ROLL:
        desk.rolling = 1
    elif op == OP_STOP:
        desk.rolling = 0
    elif op == OP_BEAT:
        place_beat(core, value)
    elif op == OP_QUANTUM:
        desk.quantum = max(0.0, value)
    elif op == OP_SIGNATURE:
        desk.signature = max(1.0, value)
    elif op == OP_MASTER_GAIN:
        desk.master_target = value
    elif op == OP_LIMITER:
        desk.limiter = value
    elif 0 <= number < core.voices.shape[0]:
        if op == VOICE_NEW:
            if core.voices[number].exists == 0 and is_bank(core, index):
                make_voice(core, number, index)
        elif core.voices[number].exists == 1:
            run_voice_command(core, op, number, index, value)
    give_back(core, op, index)


@inner
def run_voice_command(core: Core, op: int, number: int, index: int, value: float) -> None:
    """Carry out a command of one voice that exists."""
    voice = core.voices[number]
    if op == TRIG:
        hit_voice(core, number, index, value)
    elif op == VOICE_PLAY:
        play_voice(core, number)
    elif op == VOICE_STOP:
        stop_voice(core, number)
    elif op in (VOICE_RESET, VOICE_REWIND):
        reset_voice(core, number, ZERO)
    elif op == VOICE_FREE:
        free_voice(core, number)
    elif op == OP_SEED:
        voice.seed = index
        configure_voice(core, number)
    elif op == OP_TEMPERATURE:
        voice.temperature = value
        configure_voice(core, number)
    elif op == OP_TOPK:
        voice.top_k = index
        configure_voice(core, number)
    elif op == OP_WEIGHT and 0 <= index < MAX_KITS:
        voice.goals[index] = value
        hop_seconds = core.desk[0].hop / core.desk[0].rate
        voice.glide_left = max(1, round(voice.glide_seconds / hop_seconds))
    elif op == OP_GLIDE:
        voice.glide_seconds = value
    elif op == OP_GAIN:
        voice.gain = value
    elif op == OP_PAN:
        voice.pan = value
    elif op == OP_MUTE:
        voice.mute = value
    elif op == OP_SOLO:
        voice.solo = value
    elif op == OP_OUT:
        move_voice(core, number, index)
    elif op == OP_HOLD:
        hold_voice(core, number, value > 0.5)
    elif op == OP_LENGTH and 0 <= index < voice.lengths.shape[0]:
        voice.lengths[index] = int(max(0.0, min(float(MAX_STEPS), value)))
    elif op == OP_STEP and 0 <= index < voice.steps.shape[0]:
        voice.steps[index] = value
    elif op == OP_CHANCE and 0 <= index < voice.chances.shape[0]:
        voice.chances[index] = value
    elif op == OP_SWING and 0 <= index < voice.swings.shape[0]:
        voice.swings[index] = min(1.0, max(0.0, value))
    elif op == OP_MODEL and is_bank(core, index):
        change_model(core, number, index)
    elif op == OP_PRIME and 0 <= index < core.primes.shape[0]:
        prime_voice(core, number, index)


@inner
def advance_transport(core: Core, mail: Mail) -> None:
    """Move the transport by one hop, and do what is due on the way."""
    desk, begin, end = core.desk[0], -1.0, -1.0
    if desk.rolling == 1:
        begin, end = span(core)
        note_bars(core, begin, end)
    if core.shared[WAITING] > 0:
        run_waiting_commands(core, mail, begin, end)
    if desk.rolling == 1:
        strike_patterns(core, begin, end)


@inner
def make_hop(core: Core) -> None:
    """Let all voices play one hop: its frames at the model's rate are in `core.mix`.

    At its end the transport stands at the next hop: frame and beat move on together.
    """
    shared, mix, desk, voices = core.shared, core.mix, core.desk[0], core.voices
    hop = desk.hop
    for i in range(hop):
        for channel in range(mix.shape[1]):
            mix[i, channel] = np.float32(0.0)
    desk.solos = active = 0
    for number in range(voices.shape[0]):
        if voices[number].exists == 1:
            desk.solos += 1 if voices[number].solo > 0.5 else 0
            if voices[number].state != IDLE:
                active += 1
                glide_kit(core, number)
    play_banks(core)
    for number in range(voices.shape[0]):
        if voices[number].exists == 1:
            if voices[number].state != IDLE:
                add_voice(core, number)
            else:
                write_tap(core, number, ZERO)
    for number in range(voices.shape[0]):
        if voices[number].exists == 1 and voices[number].state != IDLE:
            end_hop(core, number)
    set_level(core)
    shared[ACTIVE] = active
    # Directly before the frame: who reads both from outside finds the beat of that frame.
    if desk.rolling == 1:
        roll(core)
    store_release(shared, FRAME, shared[FRAME] + hop)


@inner
def ring_room(core: Core, outlet: Outlet) -> int:
    """Return how many frames the ring may hold now.

    Where a sink takes its bursts steadily, as JACK does, the frames for the next one are made in
    the pace of the clock and not all at once after the last: a command that comes early in the
    period is then heard no later than one that comes at its end. What is always ahead is the same.
    """
    desk = core.desk[0]
    count = load_acquire(outlet.ring_header, STAMP_COUNT)
    if desk.burst == 0 or count == 0:
        return int(desk.target)
    if count != desk.bursts:
        stamp = ((count - 1) & (STAMP_SLOTS - 1)) * 3 + STAMP_NS
        note_burst(core, count, load_int(outlet.ring_header[STAMPS] + 8 * stamp))
    passed = (monotonic_ns() - desk.burst_ns) * desk.device_rate // 1_000_000_000
    return int(desk.target - desk.burst + max(0, min(desk.burst, passed)))


@inner
def note_burst(core: Core, count: int, now: int) -> None:
    """Learn when bursts are due: they come late by scheduling, and the next again on time."""
    desk = core.desk[0]
    due = desk.burst_ns + (count - desk.bursts) * desk.burst * 1_000_000_000 // desk.device_rate
    late = now - due
    if desk.bursts == 0 or late < 0 or late > LOST_NS:
        desk.burst_ns = now
    else:
        desk.burst_ns = due + late // 64
    desk.bursts = count


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy", no_cfunc_wrapper=True)
def run(core: Core, mail: Mail, outlet: Outlet, live: bool, frames: Floats, until: int) -> int:
    """Make hop after hop: live until STOP is set, else until frame `until`.

    Live they go to the ring, which is kept filled to its target, and to the tap; else to `frames`
    [n, C], which must have room for all. Returns the number of frames written to `frames`.
    One function for both, so that all it is made of is compiled once.
    """
    shared, out = core.shared, outlet.out
    done = 0
    take_commands(core, mail)
    run_due_commands(core, mail)
    while (load_acquire(shared, STOP) == 0) if live else (shared[FRAME] < until):
        over = ring_fill(outlet.ring_header) + out.shape[0] - ring_room(core, outlet) if live else 0
        if over > 0:
            ring_set_state(outlet.ring_header, RUNNING)
            sleep_us(max(20, min(200, over * 1_000_000 // core.desk[0].device_rate)))
            continue
        began = monotonic_ns()
        take_commands(core, mail)
        run_due_commands(core, mail)
        advance_transport(core, mail)
        make_hop(core)
        hop = core.desk[0].hop
        count = resample(outlet.table, outlet.table_state, outlet.history, core.mix, hop, out)
        limit(core, out, count)
        publish_levels(core)
        if live:
            ring_write(outlet.ring_header, outlet.ring, out, count)
        else:
            for i in range(count):
                for channel in range(out.shape[1]):
                    frames[done + i, channel] = out[i, channel]
            done += count
        tap_write(outlet.tap_header, outlet.tap, out, count)
        spent = monotonic_ns() - began
        shared[BUSY_NS] += spent
        shared[PEAK_NS] = max(shared[PEAK_NS], spent)
    return done
