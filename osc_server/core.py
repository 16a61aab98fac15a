"""The compiled heart of the engine: one hop of all voices, and the loop that makes hop after hop.

Threads: everything here runs in the engine's one thread (or in the caller's, offline), holds no
GIL, allocates nothing and never waits for Python. Others reach it through rings only; the arrays
of `Core` belong to this thread but for `shared`, whose words anyone may read, STOP, which anyone
may set, and the rows of `slots` that are not in use, which are Python's.

Time is the frame: samples at the model's rate since the start. Commands, the sequencer and control
rows all act at hop boundaries, so the output depends on (frame, command) alone: not on block sizes,
ring sizes or scheduling. That is why a log replays to the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ghostnote.kernels import packing as p
from ghostnote.kernels.lanes import call_at, load_float, load_int, store_float
from ghostnote.kernels.spec import ROLES

from .commands import FRAME_NOW, MAX_STEPS, Op
from .native import (
    call_hit,
    load_acquire,
    monotonic_ns,
    sleep_us,
    store_int,
    store_release,
)
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
Floats = NDArray[np.float32]

# Words of `shared`; the engine's thread writes all but STOP. From IN_USE on there is one for each
# slot, which Python sets before the loop hears of the slot and the loop clears when it has left it.
STOP, FRAME, ACTIVE, LATE, DROPPED, BUSY_NS, PEAK_NS, QUEUED, UNLOGGED, IN_USE = range(10)

IDLE, PLAYING, STOPPING = range(3)

ONE = np.int64(1)  # not a plain number, of which Numba would compile another function

MAX_KITS = 64
ENVELOPE_HOPS = 10  # a voice falls silent over so many hops when it is stopped
SWAP_HOPS = 30  # two models cross over so many hops
TAIL_HOPS = 5  # a jump within a voice is levelled out over so many hops
MAX_TEMPO = 10_000.0  # bpm; a step every 1.5 ms
SMOOTHING = 0.2  # share of the way that a gain goes towards its target in a hop
STEPS_PER_BEAT = 4

DESK = np.dtype(
    [
        # constant while the engine lives
        ("hop", "i8"),
        ("rate", "i8"),
        ("target", "i8"),  # frames that the ring is kept filled to
        ("run", "i8"),  # addresses of the kernel's entries, which are so compiled once
        ("prewarm", "i8"),
        ("hit", "i8"),
        # the transport and the master
        ("rolling", "i8"),
        ("tempo", "f8"),
        ("beat", "f8"),
        ("step", "f8"),
        ("master", "f8"),
        ("master_target", "f8"),
    ]
)
VOICE = np.dtype(
    [
        ("state", "i8"),
        ("slot", "i8"),
        ("next_slot", "i8"),  # fading in; -1: none
        ("fade_left", "i8"),  # hops, as the next two
        ("glide_left", "i8"),
        ("tail_left", "i8"),
        ("seed", "i8"),
        ("top_k", "i8"),
        ("temperature", "f8"),
        ("glide_seconds", "f8"),
        ("envelope", "f8"),
        ("gain", "f8"),
        ("pan", "f8"),
        ("mute", "f8"),
        ("left", "f8"),
        ("right", "f8"),
        ("last", "f8"),  # sample
        ("tail", "f8"),
        ("weights", "f8", MAX_KITS),  # of the kits, now
        ("goals", "f8", MAX_KITS),  # where they glide to
        ("lengths", "i8", len(ROLES)),  # of the patterns
        ("steps", "f8", len(ROLES) * MAX_STEPS),  # their velocities
    ]
)
SLOT = np.dtype(
    [
        # addresses of a model and of a stream of it, and in these of the lane's own
        ("header", "i8"),
        ("weights", "i8"),
        ("ints", "i8"),
        ("floats", "i8"),
        ("lane", "i8"),
        ("settings", "i8"),
        ("kit_weights", "i8"),
        ("kits", "i8"),  # their number
        ("roles", "i8", len(ROLES)),  # each role's number in that model; -1: it has none
    ]
)

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


# How a function is compiled decides how long a first start takes. Numba compiles each one with all
# that it calls, so what is large is called by address. `_inner` is for what compiled code alone
# calls: no second function that unpacks Python's arguments, and, since nothing here allocates, no
# counting of references. `_merged` is compiled as a part of its one caller.
_inner = njit(
    nogil=True,
    _nrt=False,
    error_model="numpy",
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
)
_merged = njit(nogil=True, inline="always")

_call_run, _call_prewarm = call_at(8), call_at(4)


class Core(NamedTuple):
    """What sounds. V voices, S slots."""

    shared: Ints
    desk: NDArray[Any]  # DESK [1]
    voices: NDArray[Any]  # VOICE [V]
    slots: NDArray[Any]  # SLOT [S]
    mono: Floats  # [2, hop]
    mix: Floats  # [hop, 2]


class Mail(NamedTuple):
    """Commands on their way: from the ring to the queue and, carried out, to the log. Q places."""

    queue: NDArray[Any]  # COMMAND [Q], sorted by frame, first come first among equals
    inbox: NDArray[Any]  # COMMAND [..]
    commands_header: Ints
    commands: NDArray[Any]
    log_header: Ints
    log: NDArray[Any]


class Outlet(NamedTuple):
    """Where frames at the device's rate come from, and live go to."""

    table: Floats  # the resampler's
    table_state: Ints
    history: Floats
    out: Floats  # [.., 2] of one hop
    ring_header: Ints
    ring: Floats
    tap_header: Ints
    tap: Floats


@_inner
def take_commands(core: Core, mail: Mail) -> None:
    """Move what has arrived from the ring to its place in the queue."""
    queue, inbox, shared = mail.queue, mail.inbox, core.shared
    while True:
        count = records_pop(mail.commands_header, mail.commands, inbox)
        if count == 0:
            return
        for i in range(count):
            op, frame = inbox[i].op, inbox[i].frame
            if frame == FRAME_NOW:
                frame = shared[FRAME]
                if op == OP_CLEAR:
                    # Here, in the order of arrival: what is scheduled after it stays.
                    forget_scheduled(shared, queue)
                    inbox[i].index = 1
            held = shared[QUEUED]
            if held == queue.shape[0]:
                shared[DROPPED] += 1
                if op == OP_MODEL:
                    leave_slot(core, inbox[i].index)
                continue
            place = held
            while place > 0 and queue[place - 1].frame > frame:
                queue[place] = queue[place - 1]
                place -= 1
            queue[place] = inbox[i]
            queue[place].frame = frame
            shared[QUEUED] = held + 1


@_inner
def forget_scheduled(shared: Ints, queue: NDArray[Any]) -> None:
    """Drop from the queue what is due after this hop."""
    while shared[QUEUED] > 0 and queue[shared[QUEUED] - 1].frame > shared[FRAME]:
        shared[QUEUED] -= 1


@_inner
def run_due_commands(core: Core, mail: Mail) -> None:
    """Carry out all commands due at or before this hop, in order, and log them."""
    queue, inbox, shared = mail.queue, mail.inbox, core.shared
    frame = shared[FRAME]
    done = 0
    while done < shared[QUEUED] and queue[done].frame <= frame:
        command = queue[done]
        # A command is late when the hop in which it should have acted is over.
        if command.frame <= frame - core.desk[0].hop:
            shared[LATE] += 1
        command.frame = frame
        if command.op != OP_CLEAR:
            run_command(core, command.op, command.voice, command.index, command.value)
        elif command.index == 0:
            forget_scheduled(shared, queue)
        inbox[0] = command
        if not records_push(mail.log_header, mail.log, inbox, ONE):
            shared[UNLOGGED] += 1
        done += 1
    if done:
        left = shared[QUEUED] - done
        for i in range(left):
            queue[i] = queue[done + i]
        shared[QUEUED] = left


@_inner
def run_command(core: Core, op: int, number: int, index: int, value: float) -> None:
    """Carry out one command; what makes no sense for a voice's model does nothing."""
    desk = core.desk[0]
    if op == OP_TEMPO:
        desk.tempo = min(value, MAX_TEMPO)
    elif op == OP_PLAY:
        desk.rolling, desk.beat, desk.step = 1, 0.0, 0.0
    elif op == OP_STOP:
        desk.rolling = 0
    elif op == OP_MASTER_GAIN:
        desk.master_target = value
    if not 0 <= number < core.voices.shape[0]:
        return
    voice = core.voices[number]
    if op == TRIG:
        hit_voice(core, voice, index, value)
    elif op == VOICE_PLAY:
        if voice.state == IDLE:
            voice.envelope = 1.0  # it stands at silence: there is nothing to fade in
        voice.state = PLAYING
    elif op == VOICE_STOP:
        if voice.state == PLAYING:
            voice.state = STOPPING
    elif op == VOICE_RESET:
        if voice.next_slot >= 0:
            settle_on(core, voice, voice.next_slot)
        silence_stream(core, voice.slot, np.int64(0))
        voice.tail_left = TAIL_HOPS
    elif op == OP_SEED:
        voice.seed = index
        configure_streams(core, voice)
    elif op == OP_TEMPERATURE:
        voice.temperature = value
        configure_streams(core, voice)
    elif op == OP_TOPK:
        voice.top_k = index
        configure_streams(core, voice)
    elif op == OP_WEIGHT and 0 <= index < MAX_KITS:
        voice.goals[index] = value
        hop_seconds = desk.hop / desk.rate
        voice.glide_left = max(1, round(voice.glide_seconds / hop_seconds))
    elif op == OP_GLIDE:
        voice.glide_seconds = value
    elif op == OP_GAIN:
        voice.gain = value
    elif op == OP_PAN:
        voice.pan = value
    elif op == OP_MUTE:
        voice.mute = value
    elif op == OP_LENGTH and 0 <= index < voice.lengths.shape[0]:
        voice.lengths[index] = int(max(0.0, min(float(MAX_STEPS), value)))
    elif op == OP_STEP and 0 <= index < voice.steps.shape[0]:
        voice.steps[index] = value
    elif op == OP_MODEL and 0 <= index < core.slots.shape[0]:
        change_model(core, voice, index)


@_inner
def change_model(core: Core, voice: Any, slot: int) -> None:
    """Let a voice cross over to a slot's stream; a silent one takes it at once."""
    if voice.state == IDLE:
        leave_slot(core, voice.slot)
        voice.slot = slot
    else:
        if voice.next_slot >= 0:
            # Only two sound at a time: of those in the present fade the fainter gives way.
            louder = voice.slot if 2 * voice.fade_left > SWAP_HOPS else voice.next_slot
            settle_on(core, voice, louder)
            voice.tail_left = TAIL_HOPS
        voice.next_slot, voice.fade_left = slot, SWAP_HOPS
    # The weights that the stream was made with are the voice's from now on.
    at = core.slots[slot]
    for kit in range(at.kits):
        voice.weights[kit] = voice.goals[kit] = load_float(at.kit_weights + 4 * kit)
    voice.glide_left = 0
    configure_streams(core, voice)


@_inner
def settle_on(core: Core, voice: Any, slot: int) -> None:
    """End a voice's crossfade with one of its two slots; the other is left."""
    leave_slot(core, voice.slot if slot == voice.next_slot else voice.next_slot)
    voice.slot, voice.next_slot = slot, -1


@_inner
def leave_slot(core: Core, slot: int) -> None:
    """Give a slot back to Python, which may then free its memory."""
    store_release(core.shared, IN_USE + slot, 0)


@_inner
def hit_voice(core: Core, voice: Any, role: int, velocity: float) -> None:
    """Strike a role in the stream of a playing voice, and in the one that is fading in."""
    if voice.state != PLAYING or not 0 <= role < voice.lengths.shape[0]:
        return
    for slot in (voice.slot, voice.next_slot):
        if slot >= 0 and core.slots[slot].roles[role] >= 0:
            at = core.slots[slot]
            call_hit(core.desk[0].hit, at.header, at.ints, at.floats, 0, at.roles[role], velocity)


@_inner
def configure_streams(core: Core, voice: Any) -> None:
    """Give a voice's seed and sampling to its streams."""
    for slot in (voice.slot, voice.next_slot):
        if slot >= 0:
            at = core.slots[slot]
            store_int(at.lane + 8 * p.L_SEED, voice.seed)
            store_int(at.lane + 8 * p.L_TOP_K, voice.top_k)
            store_float(at.settings + 4 * p.T_TEMPERATURE, np.float32(voice.temperature))


@_inner
def play_stream(core: Core, slot: int, out: int) -> None:
    """Generate one hop of a slot's stream, at the address `out`."""
    desk, at = core.desk[0], core.slots[slot]
    _call_run(desk.run, at.header, at.weights, at.ints, at.floats, desk.hop, out, 0, 0)


@_inner
def silence_stream(core: Core, slot: int, index: int) -> None:
    """Bring a stream back to silence at sample `index` of its random numbers."""
    at = core.slots[slot]
    _call_prewarm(core.desk[0].prewarm, at.header, at.weights, at.ints, at.floats)
    store_int(at.ints + 8 * p.I_INDEX, index)


@_merged
def advance_transport(core: Core) -> None:
    """Strike the steps of the patterns that fall into this hop; a step is a sixteenth."""
    desk = core.desk[0]
    if desk.rolling == 0:
        return
    while desk.beat * STEPS_PER_BEAT >= desk.step:
        step = int(desk.step)
        for number in range(core.voices.shape[0]):
            voice = core.voices[number]
            for role in range(voice.lengths.shape[0]):
                length = voice.lengths[role]
                if length > 0:
                    velocity = voice.steps[role * MAX_STEPS + step % length]
                    if velocity > 0.0:
                        hit_voice(core, voice, role, velocity)
        desk.step += 1.0
    desk.beat += desk.tempo / 60.0 * desk.hop / desk.rate


@_merged
def glide_kit(core: Core, voice: Any) -> None:
    """Move a voice's kit weights one hop towards their target and hand them to its stream."""
    at = core.slots[voice.slot if voice.next_slot < 0 else voice.next_slot]
    left = voice.glide_left
    for kit in range(at.kits):
        if left > 0:
            voice.weights[kit] += (voice.goals[kit] - voice.weights[kit]) / left
        store_float(at.kit_weights + 4 * kit, np.float32(voice.weights[kit]))
    voice.glide_left = max(0, left - 1)


@_inner
def add_voice(core: Core, voice: Any) -> None:
    """Generate one hop of a voice and add it to the mix."""
    mono, mix, hop = core.mono, core.mix, core.desk[0].hop
    glide_kit(core, voice)
    out = np.int64(mono.ctypes.data)
    play_stream(core, voice.slot, out)
    if voice.next_slot >= 0:
        play_stream(core, voice.next_slot, out + 4 * hop)
        for i in range(hop):
            old = np.float32((voice.fade_left - (i + 1.0) / hop) / SWAP_HOPS)
            mono[0, i] = mono[0, i] * old + mono[1, i] * (np.float32(1.0) - old)
        voice.fade_left -= 1
        if voice.fade_left == 0:
            settle_on(core, voice, voice.next_slot)
    level_out(core, voice)
    before = voice.envelope
    goal = 1.0 if voice.state == PLAYING else 0.0
    step = 1.0 / ENVELOPE_HOPS
    after = min(goal, before + step) if goal > before else max(goal, before - step)
    # Constant power, unity in the middle; square roots are exact on every machine.
    level = voice.gain * (1.0 - voice.mute)
    left, right = voice.left, voice.right
    new_left = left + (level * np.sqrt(1.0 - voice.pan) - left) * SMOOTHING
    new_right = right + (level * np.sqrt(1.0 + voice.pan) - right) * SMOOTHING
    for i in range(hop):
        part = (i + 1.0) / hop
        gain = before + (after - before) * part
        mix[i, 0] += mono[0, i] * np.float32(gain * (left + (new_left - left) * part))
        mix[i, 1] += mono[0, i] * np.float32(gain * (right + (new_right - right) * part))
    voice.left, voice.right, voice.envelope = new_left, new_right, after
    if voice.state == STOPPING and after <= 1e-9:
        voice.state, voice.tail_left = IDLE, 0
        voice.envelope = voice.last = 0.0
        if voice.next_slot >= 0:
            settle_on(core, voice, voice.next_slot)
        index = load_int(core.slots[voice.slot].ints + 8 * p.I_INDEX)
        silence_stream(core, voice.slot, index)


@_merged
def level_out(core: Core, voice: Any) -> None:
    """Continue from a voice's last sample where its stream has jumped (a reset, a third model).

    What the jump amounts to is added to `mono` and taken back over TAIL_HOPS: no click, and the
    new stream itself is heard from its first sample on.
    """
    mono, hop = core.mono, core.desk[0].hop
    left = voice.tail_left
    if left == TAIL_HOPS:
        voice.tail = voice.last - mono[0, 0]
    if left > 0:
        for i in range(hop):
            mono[0, i] += np.float32(voice.tail * ((left - i / hop) / TAIL_HOPS))
        voice.tail_left = left - 1
    voice.last = mono[0, hop - 1]


@_inner
def make_hop(core: Core) -> None:
    """Let all voices play one hop: its frames at the model's rate are in `core.mix`."""
    shared, mix, desk = core.shared, core.mix, core.desk[0]
    hop = desk.hop
    advance_transport(core)
    for i in range(hop):
        mix[i, 0] = mix[i, 1] = np.float32(0.0)
    active = 0
    for number in range(core.voices.shape[0]):
        voice = core.voices[number]
        if voice.state != IDLE:
            active += 1
            add_voice(core, voice)
    before = desk.master
    after = before + (desk.master_target - before) * SMOOTHING
    for i in range(hop):
        gain = np.float32(before + (after - before) * ((i + 1.0) / hop))
        mix[i, 0] *= gain
        mix[i, 1] *= gain
    desk.master = after
    shared[ACTIVE] = active
    store_release(shared, FRAME, shared[FRAME] + hop)


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy", no_cfunc_wrapper=True)
def run(core: Core, mail: Mail, outlet: Outlet, live: bool, frames: Floats, until: int) -> int:
    """Make hop after hop: live until STOP is set, else until frame `until`.

    Live they go to the ring, which is kept filled to its target, and to the tap; else to `frames`
    [n, 2], which must have room for all. Returns the number of frames written to `frames`.
    One function for both, so that all it is made of is compiled once.
    """
    shared, out = core.shared, outlet.out
    done = 0
    while (load_acquire(shared, STOP) == 0) if live else (shared[FRAME] < until):
        if live and ring_fill(outlet.ring_header) + out.shape[0] > core.desk[0].target:
            ring_set_state(outlet.ring_header, RUNNING)
            sleep_us(200)
            continue
        began = monotonic_ns()
        take_commands(core, mail)
        run_due_commands(core, mail)
        make_hop(core)
        hop = core.desk[0].hop
        count = resample(outlet.table, outlet.table_state, outlet.history, core.mix, hop, out)
        if live:
            ring_write(outlet.ring_header, outlet.ring, out, count)
            tap_write(outlet.tap_header, outlet.tap, out, count)
        else:
            for i in range(count):
                frames[done + i, 0] = out[i, 0]
                frames[done + i, 1] = out[i, 1]
            done += count
        spent = monotonic_ns() - began
        shared[BUSY_NS] += spent
        shared[PEAK_NS] = max(shared[PEAK_NS], spent)
    return done
