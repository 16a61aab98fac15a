"""The compiled heart of the engine: one hop of all voices, and the loop that makes hop after hop.

Threads: everything here runs in the engine's one thread (or in the caller's, offline), holds no
GIL, allocates nothing and never waits for Python. Others reach it through rings only; the arrays
of `Core` belong to this thread but for `shared`, whose words anyone may read, STOP, which anyone
may set, and the rows of `slots` that are not IN_USE, which are Python's.

Time is the frame: samples at the model's rate since the start. Commands, the sequencer and control
rows all act at hop boundaries, so the output depends on (frame, command) alone: not on block sizes,
ring sizes or scheduling. That is why a log replays to the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import carray, njit
from numpy.typing import NDArray

from ghostnote.kernels import cpu
from ghostnote.kernels import packing as p

from .commands import FRAME_NOW, MAX_STEPS, Op
from .native import as_pointer, load_acquire, monotonic_ns, sleep_us, store_release
from .resample import resample
from .ring import (
    RUNNING,
    records_pop,
    records_push,
    ring_fill,
    ring_set_state,
    ring_write,
    tap_write,
)

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

# Words of `shared`; the engine's thread writes all but STOP.
STOP, FRAME, ACTIVE, LATE, DROPPED, BUSY_NS, PEAK_NS, QUEUED, UNLOGGED = range(9)
SHARED_WORDS = 16

# `sizes`, constant while the engine lives.
HOP, RATE, VOICES, ROLES, TARGET = range(5)

# `clock`: the transport and the master. RUN is 0 or 1.
RUN, TEMPO, BEAT, STEP, MASTER, MASTER_TARGET = range(6)

# Columns of `voice_ints` and `voice_floats`.
STATE, SLOT, NEXT_SLOT, FADE_LEFT, SEED, TOP_K, GLIDE_LEFT, TAIL_LEFT = range(8)
VOICE_INTS = 8
(ENVELOPE, GAIN, PAN, MUTE, LEFT, RIGHT, TEMPERATURE, GLIDE_SECONDS, LAST, TAIL) = range(10)
VOICE_FLOATS = 16

IDLE, PLAYING, STOPPING = range(3)

# Columns of `slots`: where a model and a stream of it lie; IN_USE, which Python sets before the loop
# hears of the slot and the loop clears when it has left it; each role's number in that model.
(HEADER_AT, HEADER_LEN, WEIGHTS_AT, WEIGHTS_LEN, INTS_AT, INTS_LEN, FLOATS_AT, FLOATS_LEN) = range(
    8
)
IN_USE, ROLE_MAP = 8, 9

MAX_KITS = 64
ENVELOPE_HOPS = 10  # a voice falls silent over so many hops when it is stopped
SWAP_HOPS = 30  # two models cross over so many hops
TAIL_HOPS = 5  # a jump within a voice is levelled out over so many hops
MAX_TEMPO = 10_000.0  # bpm; a step every 1.5 ms
SMOOTHING = 0.2  # share of the way that a gain goes towards its target in a hop
STEPS_PER_BEAT = 4

TRIG, VOICE_PLAY, VOICE_STOP, VOICE_RESET = (
    int(Op.TRIG),
    int(Op.VOICE_PLAY),
    int(Op.VOICE_STOP),
    int(Op.VOICE_RESET),
)
OP_SEED, OP_TEMPERATURE, OP_TOPK = int(Op.SEED), int(Op.TEMPERATURE), int(Op.TOPK)
OP_WEIGHT, OP_GLIDE = int(Op.WEIGHT), int(Op.GLIDE)
OP_GAIN, OP_PAN, OP_MUTE = int(Op.GAIN), int(Op.PAN), int(Op.MUTE)
OP_LENGTH, OP_STEP = int(Op.PATTERN_LENGTH), int(Op.PATTERN_STEP)
OP_TEMPO, OP_PLAY, OP_STOP = int(Op.TEMPO), int(Op.PLAY), int(Op.STOP)
OP_MASTER_GAIN, OP_CLEAR, OP_MODEL = int(Op.MASTER_GAIN), int(Op.CLEAR_SCHED), int(Op.MODEL)


# How a function is compiled decides how long a first start takes: Numba compiles each one with all
# that it calls, and adds a second one that unpacks `Core`, 25 arrays, for Python. `_inner` leaves
# that out: for what compiled code alone calls. `_merged` is compiled as a part of its caller: for
# what has one caller or is small. Integer arguments of one width save a second copy of the callee.
_inner = njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
_merged = njit(cache=True, nogil=True, inline="always")


class Core(NamedTuple):
    """All that the loop works on. V voices, R roles, Q queue places, S slots."""

    sizes: Ints
    shared: Ints
    clock: Doubles
    voice_ints: Ints  # [V, VOICE_INTS]
    voice_floats: Doubles  # [V, VOICE_FLOATS]
    kits: Doubles  # [V, 2, MAX_KITS]: the weights now, and where they glide to
    steps: Doubles  # [V, R, MAX_STEPS] velocities
    lengths: Ints  # [V, R]
    slots: Ints  # [S, ROLE_MAP + R]
    queue: NDArray[Any]  # COMMAND [Q], sorted by frame, first come first among equals
    inbox: NDArray[Any]  # COMMAND [..]
    told: NDArray[Any]  # COMMAND [1]
    commands_header: Ints
    commands: NDArray[Any]
    log_header: Ints
    log: NDArray[Any]
    table: Floats  # the resampler's
    table_state: Ints
    history: Floats
    mono: Floats  # [2, hop]
    mix: Floats  # [hop, 2]
    out: Floats  # [.., 2] frames at the device's rate


@_inner
def take_commands(core: Core) -> None:
    """Move what has arrived from the ring to its place in the queue."""
    queue, shared = core.queue, core.shared
    while True:
        count = records_pop(core.commands_header, core.commands, core.inbox)
        if count == 0:
            return
        for i in range(count):
            op, frame = core.inbox[i].op, core.inbox[i].frame
            if frame == FRAME_NOW:
                frame = shared[FRAME]
                if op == OP_CLEAR:
                    # Here, in the order of arrival: what is scheduled after it stays.
                    forget_scheduled(core)
                    core.inbox[i].index = 1
            held = shared[QUEUED]
            if held == queue.shape[0]:
                shared[DROPPED] += 1
                if op == OP_MODEL:
                    leave_slot(core, core.inbox[i].index)
                continue
            place = held
            while place > 0 and queue[place - 1].frame > frame:
                queue[place] = queue[place - 1]
                place -= 1
            queue[place] = core.inbox[i]
            queue[place].frame = frame
            shared[QUEUED] = held + 1


@_inner
def forget_scheduled(core: Core) -> None:
    """Drop from the queue what is due after this hop."""
    shared = core.shared
    while shared[QUEUED] > 0 and core.queue[shared[QUEUED] - 1].frame > shared[FRAME]:
        shared[QUEUED] -= 1


@_inner
def run_due_commands(core: Core) -> None:
    """Carry out all commands due at or before this hop, in order, and log them."""
    queue, shared = core.queue, core.shared
    frame = shared[FRAME]
    done = 0
    while done < shared[QUEUED] and queue[done].frame <= frame:
        # A command is late when the hop in which it should have acted is over.
        if queue[done].frame <= frame - core.sizes[HOP]:
            shared[LATE] += 1
        core.told[0] = queue[done]
        core.told[0].frame = frame
        if queue[done].op != OP_CLEAR:
            run_command(core, queue[done])
        elif queue[done].index == 0:
            forget_scheduled(core)
        if not records_push(core.log_header, core.log, core.told, core.told.shape[0]):
            shared[UNLOGGED] += 1
        done += 1
    if done:
        left = shared[QUEUED] - done
        for i in range(left):
            queue[i] = queue[done + i]
        shared[QUEUED] = left


@_inner
def stream(core: Core, slot: int) -> Any:
    """Return the header, weights, ints and floats of a slot's stream."""
    row = core.slots[slot]
    return (
        carray(as_pointer(np.uintp(row[HEADER_AT])), (row[HEADER_LEN],), np.int64),
        carray(as_pointer(np.uintp(row[WEIGHTS_AT])), (row[WEIGHTS_LEN],), np.float32),
        carray(as_pointer(np.uintp(row[INTS_AT])), (row[INTS_LEN],), np.int64),
        carray(as_pointer(np.uintp(row[FLOATS_AT])), (row[FLOATS_LEN],), np.float32),
    )


@_merged
def run_command(core: Core, command: Any) -> None:
    """Carry out one command."""
    op, index, value = command.op, command.index, command.value
    if op == OP_TEMPO:
        core.clock[TEMPO] = min(value, MAX_TEMPO)
    elif op == OP_PLAY:
        core.clock[RUN], core.clock[BEAT], core.clock[STEP] = 1.0, 0.0, 0.0
    elif op == OP_STOP:
        core.clock[RUN] = 0.0
    elif op == OP_MASTER_GAIN:
        core.clock[MASTER_TARGET] = value
    elif 0 <= command.voice < core.sizes[VOICES]:
        run_voice_command(core, np.int64(command.voice), op, index, value)


@_inner
def run_voice_command(core: Core, voice: int, op: int, index: int, value: float) -> None:
    """Carry out one command of a voice; what makes no sense for its model does nothing."""
    ints, floats = core.voice_ints[voice], core.voice_floats[voice]
    if op == TRIG:
        hit_voice(core, voice, index, value)
    elif op == VOICE_PLAY:
        if ints[STATE] == IDLE:
            floats[ENVELOPE] = 1.0  # it stands at silence: there is nothing to fade in
        ints[STATE] = PLAYING
    elif op == VOICE_STOP:
        if ints[STATE] == PLAYING:
            ints[STATE] = STOPPING
    elif op == VOICE_RESET:
        if ints[NEXT_SLOT] >= 0:
            settle_on(core, voice, ints[NEXT_SLOT])
        silence_stream(core, ints[SLOT], 0)
        ints[TAIL_LEFT] = TAIL_HOPS
    elif op == OP_SEED:
        ints[SEED] = index
        configure_streams(core, voice)
    elif op == OP_TEMPERATURE:
        floats[TEMPERATURE] = value
        configure_streams(core, voice)
    elif op == OP_TOPK:
        ints[TOP_K] = index
        configure_streams(core, voice)
    elif op == OP_WEIGHT and 0 <= index < MAX_KITS:
        core.kits[voice, 1, index] = value
        hop_seconds = core.sizes[HOP] / core.sizes[RATE]
        ints[GLIDE_LEFT] = max(1, round(floats[GLIDE_SECONDS] / hop_seconds))
    elif op == OP_GLIDE:
        floats[GLIDE_SECONDS] = value
    elif op == OP_GAIN:
        floats[GAIN] = value
    elif op == OP_PAN:
        floats[PAN] = value
    elif op == OP_MUTE:
        floats[MUTE] = value
    elif op == OP_LENGTH and 0 <= index < core.sizes[ROLES]:
        core.lengths[voice, index] = int(max(0.0, min(float(MAX_STEPS), value)))
    elif op == OP_STEP and 0 <= index < core.sizes[ROLES] * MAX_STEPS:
        core.steps[voice, index // MAX_STEPS, index % MAX_STEPS] = value
    elif op == OP_MODEL and 0 <= index < core.slots.shape[0]:
        change_model(core, voice, index)


@_inner
def change_model(core: Core, voice: int, slot: int) -> None:
    """Let a voice cross over to a slot's stream; a silent one takes it at once."""
    ints = core.voice_ints[voice]
    if ints[STATE] == IDLE:
        leave_slot(core, ints[SLOT])
        ints[SLOT] = slot
    else:
        if ints[NEXT_SLOT] >= 0:
            # Only two sound at a time: of those in the present fade the fainter gives way.
            louder = SLOT if 2 * ints[FADE_LEFT] > SWAP_HOPS else NEXT_SLOT
            settle_on(core, voice, ints[louder])
            ints[TAIL_LEFT] = TAIL_HOPS
        ints[NEXT_SLOT], ints[FADE_LEFT] = slot, SWAP_HOPS
    adopt_kit(core, voice, slot)
    configure_streams(core, voice)


@_inner
def settle_on(core: Core, voice: int, slot: int) -> None:
    """End a voice's crossfade with one of its two slots; the other is left."""
    ints = core.voice_ints[voice]
    leave_slot(core, ints[SLOT] if slot == ints[NEXT_SLOT] else ints[NEXT_SLOT])
    ints[SLOT], ints[NEXT_SLOT] = slot, -1


@_inner
def leave_slot(core: Core, slot: int) -> None:
    """Give a slot back to Python, which may then free its memory."""
    store_release(core.slots[slot], IN_USE, 0)


@_inner
def hit_voice(core: Core, voice: int, role: int, velocity: float) -> None:
    """Strike a role in the stream of a playing voice, and in the one that is fading in."""
    ints = core.voice_ints[voice]
    if ints[STATE] != PLAYING or not 0 <= role < core.sizes[ROLES]:
        return
    for column in (SLOT, NEXT_SLOT):
        slot = ints[column]
        if slot >= 0 and core.slots[slot, ROLE_MAP + role] >= 0:
            header, _, stream_ints, stream_floats = stream(core, slot)
            number = core.slots[slot, ROLE_MAP + role]
            cpu.hit(header, stream_ints, stream_floats, number, velocity)


@njit(cache=True, nogil=True)
def configure_streams(core: Core, voice: int) -> None:
    """Give a voice's seed and sampling to its streams."""
    ints, floats = core.voice_ints[voice], core.voice_floats[voice]
    for column in (SLOT, NEXT_SLOT):
        if ints[column] >= 0:
            header, _, stream_ints, stream_floats = stream(core, ints[column])
            stream_ints[p.I_SEED] = ints[SEED]
            stream_ints[p.I_TOP_K] = ints[TOP_K]
            stream_floats[header[p.S_TEMPERATURE]] = floats[TEMPERATURE]


@njit(cache=True, nogil=True)
def adopt_kit(core: Core, voice: int, slot: int) -> None:
    """Take the kit weights that a slot's stream was made with for the voice's."""
    header, _, _, stream_floats = stream(core, slot)
    for kit in range(header[p.KITS]):
        core.kits[voice, 0, kit] = stream_floats[header[p.S_KIT] + kit]
        core.kits[voice, 1, kit] = stream_floats[header[p.S_KIT] + kit]
    core.voice_ints[voice, GLIDE_LEFT] = 0


@_merged
def silence_stream(core: Core, slot: int, index: int) -> None:
    """Bring a stream back to silence at sample `index` of its random numbers."""
    header, weights, stream_ints, stream_floats = stream(core, slot)
    cpu.prewarm(header, weights, stream_ints, stream_floats)
    stream_ints[p.I_INDEX] = index


@_inner
def advance_transport(core: Core) -> None:
    """Strike the steps of the patterns that fall into this hop; a step is a sixteenth."""
    clock = core.clock
    if clock[RUN] == 0.0:
        return
    while clock[BEAT] * STEPS_PER_BEAT >= clock[STEP]:
        step = int(clock[STEP])
        for voice in range(core.sizes[VOICES]):
            for role in range(core.sizes[ROLES]):
                length = core.lengths[voice, role]
                if length > 0:
                    velocity = core.steps[voice, role, step % length]
                    if velocity > 0.0:
                        hit_voice(core, voice, role, velocity)
        clock[STEP] += 1.0
    clock[BEAT] += clock[TEMPO] / 60.0 * core.sizes[HOP] / core.sizes[RATE]


@_merged
def glide_kit(core: Core, voice: int) -> None:
    """Move a voice's kit weights one hop towards their target and hand them to its stream."""
    ints, kits = core.voice_ints[voice], core.kits[voice]
    header, _, _, stream_floats = stream(
        core, ints[SLOT] if ints[NEXT_SLOT] < 0 else ints[NEXT_SLOT]
    )
    left = ints[GLIDE_LEFT]
    for kit in range(header[p.KITS]):
        if left > 0:
            kits[0, kit] += (kits[1, kit] - kits[0, kit]) / left
        stream_floats[header[p.S_KIT] + kit] = kits[0, kit]
    ints[GLIDE_LEFT] = max(0, left - 1)


@_inner
def add_voice(core: Core, voice: int) -> None:
    """Generate one hop of a voice and add it to the mix."""
    ints, floats, mono = core.voice_ints[voice], core.voice_floats[voice], core.mono
    hop = core.sizes[HOP]
    glide_kit(core, voice)
    header, weights, stream_ints, stream_floats = stream(core, ints[SLOT])
    cpu.generate(header, weights, stream_ints, stream_floats, mono[0])
    if ints[NEXT_SLOT] >= 0:
        header, weights, stream_ints, stream_floats = stream(core, ints[NEXT_SLOT])
        cpu.generate(header, weights, stream_ints, stream_floats, mono[1])
        for i in range(hop):
            old = np.float32((ints[FADE_LEFT] - (i + 1.0) / hop) / SWAP_HOPS)
            mono[0, i] = mono[0, i] * old + mono[1, i] * (np.float32(1.0) - old)
        ints[FADE_LEFT] -= 1
        if ints[FADE_LEFT] == 0:
            settle_on(core, voice, ints[NEXT_SLOT])
    level_out(core, voice)
    before = floats[ENVELOPE]
    goal = 1.0 if ints[STATE] == PLAYING else 0.0
    step = 1.0 / ENVELOPE_HOPS
    after = min(goal, before + step) if goal > before else max(goal, before - step)
    # Constant power, unity in the middle; square roots are exact on every machine.
    level = floats[GAIN] * (1.0 - floats[MUTE])
    left, right = floats[LEFT], floats[RIGHT]
    new_left = left + (level * np.sqrt(1.0 - floats[PAN]) - left) * SMOOTHING
    new_right = right + (level * np.sqrt(1.0 + floats[PAN]) - right) * SMOOTHING
    for i in range(hop):
        part = (i + 1.0) / hop
        gain = before + (after - before) * part
        core.mix[i, 0] += mono[0, i] * np.float32(gain * (left + (new_left - left) * part))
        core.mix[i, 1] += mono[0, i] * np.float32(gain * (right + (new_right - right) * part))
    floats[LEFT], floats[RIGHT], floats[ENVELOPE] = new_left, new_right, after
    if ints[STATE] == STOPPING and after <= 1e-9:
        ints[STATE], ints[TAIL_LEFT] = IDLE, 0
        floats[ENVELOPE] = floats[LAST] = 0.0
        if ints[NEXT_SLOT] >= 0:
            settle_on(core, voice, ints[NEXT_SLOT])
        silence_stream(core, ints[SLOT], stream(core, ints[SLOT])[2][p.I_INDEX])


@_inner
def level_out(core: Core, voice: int) -> None:
    """Continue from a voice's last sample where its stream has jumped (a reset, a third model).

    What the jump amounts to is added to `mono` and taken back over TAIL_HOPS: no click, and the
    new stream itself is heard from its first sample on.
    """
    ints, floats, mono = core.voice_ints[voice], core.voice_floats[voice], core.mono
    hop = core.sizes[HOP]
    left = ints[TAIL_LEFT]
    if left == TAIL_HOPS:
        floats[TAIL] = floats[LAST] - mono[0, 0]
    if left > 0:
        for i in range(hop):
            mono[0, i] += np.float32(floats[TAIL] * ((left - i / hop) / TAIL_HOPS))
        ints[TAIL_LEFT] = left - 1
    floats[LAST] = mono[0, hop - 1]


@_merged
def make_hop(core: Core) -> int:
    """Make the next hop: its frames at the device's rate are in `core.out`; return how many."""
    shared, clock, mix = core.shared, core.clock, core.mix
    hop = core.sizes[HOP]
    take_commands(core)
    run_due_commands(core)
    advance_transport(core)
    mix[:] = np.float32(0.0)
    active = 0
    for voice in range(core.sizes[VOICES]):
        if core.voice_ints[voice, STATE] != IDLE:
            active += 1
            add_voice(core, voice)
    before = clock[MASTER]
    after = before + (clock[MASTER_TARGET] - before) * SMOOTHING
    for i in range(hop):
        gain = np.float32(before + (after - before) * ((i + 1.0) / hop))
        mix[i, 0] *= gain
        mix[i, 1] *= gain
    clock[MASTER] = after
    shared[ACTIVE] = active
    store_release(shared, FRAME, shared[FRAME] + hop)
    return int(resample(core.table, core.table_state, core.history, mix, hop, core.out))


@njit(cache=True, nogil=True, no_cfunc_wrapper=True)
def run(
    core: Core,
    live: bool,
    ring_header: Ints,
    ring: Floats,
    tap_header: Ints,
    tap: Floats,
    out: Floats,
    until: int,
) -> int:
    """Make hop after hop: live until STOP is set, else until frame `until`.

    Live they go to the ring, which is kept filled to its target, and to the tap; else to `out`
    [n, 2], which must have room for all. Returns the number of frames written to `out`.
    One function for both, so that all it is made of is compiled once.
    """
    shared, target = core.shared, core.sizes[TARGET]
    done = 0
    while (load_acquire(shared, STOP) == 0) if live else (shared[FRAME] < until):
        if live and ring_fill(ring_header) + core.out.shape[0] > target:
            ring_set_state(ring_header, RUNNING)
            sleep_us(200)
            continue
        began = monotonic_ns()
        count = make_hop(core)
        if live:
            ring_write(ring_header, ring, core.out, count)
            tap_write(tap_header, tap, core.out, count)
        else:
            for i in range(count):
                out[done + i, 0] = core.out[i, 0]
                out[done + i, 1] = core.out[i, 1]
            done += count
        spent = monotonic_ns() - began
        shared[BUSY_NS] += spent
        shared[PEAK_NS] = max(shared[PEAK_NS], spent)
    return done
