"""Banks: the streams of one model as lanes of one state, where voices come and go.

Threads: all of it is compiled and runs in the engine's thread, between hops. A voice has at most
one lane in a bank.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ghostnote.kernels import packing as p
from ghostnote.kernels.lanes import call_at, load_int, store_float
from ghostnote.kernels.spec import LEAST_ATTACK

from .desk import Core, inner
from .native import call_hit, store_int, store_release

_call_run, _call_prewarm, _call_move = call_at(8), call_at(4), call_at(7)


@inner
def lane_ints(core: Core, bank: int, lane: int) -> int:
    """Return the address of a lane's ints."""
    at = core.banks[bank]
    return int(at.ints[at.which] + 8 * (at.lanes_at + lane * at.lane_ints))


@inner
def lane_settings(core: Core, bank: int, lane: int) -> int:
    """Return the address of a lane's settings."""
    at = core.banks[bank]
    return int(at.floats[at.which] + 4 * (at.count * at.settings + lane * at.settings_size))


@inner
def play_banks(core: Core) -> None:
    """Generate one hop of every lane."""
    hop = core.desk[0].hop
    for bank in range(core.banks.shape[0]):
        at = core.banks[bank]
        if at.count > 0:
            ints, floats = at.ints[at.which], at.floats[at.which]
            _call_run(at.run, at.header, at.weights, ints, floats, hop, at.out, at.box, 0)


@inner
def lay_out(core: Core, bank: int, count: int) -> None:
    """Lay a bank's lanes out anew: lane i is what lane `core.order[i]` was."""
    at, other = core.banks[bank], 1 - core.banks[bank].which
    order = np.int64(core.order.ctypes.data)
    ints, floats = at.ints[at.which], at.floats[at.which]
    _call_move(
        core.desk[0].relay, at.header, at.ints[other], at.floats[other], ints, floats, count, order
    )
    at.which, at.count = other, count


@inner
def join(core: Core, number: int, bank: int) -> int:
    """Give a voice a new last lane, still to be filled by `silence_lane`; returns it."""
    at = core.banks[bank]
    lane = at.count
    for i in range(lane):
        core.order[i] = i
    core.order[lane] = -1
    lay_out(core, bank, lane + 1)
    at.members[lane] = number
    return int(lane)


@inner
def leave(core: Core, bank: int, lane: int) -> None:
    """Take a lane out; those behind it move up."""
    at = core.banks[bank]
    left = at.count - 1
    for i in range(left):
        core.order[i] = i if i < lane else i + 1
    lay_out(core, bank, left)
    for i in range(lane, left):
        at.members[i] = at.members[i + 1]
        voice = core.voices[at.members[i]]
        if voice.bank == bank and voice.lane == i + 1:
            voice.lane = i
        elif voice.next_bank == bank and voice.next_lane == i + 1:
            voice.next_lane = i


@inner
def silence_lane(core: Core, number: int, bank: int, lane: int, index: int) -> None:
    """Bring a voice's lane to silence under its kit, at sample `index` of its random numbers."""
    desk, at, voice = core.desk[0], core.banks[bank], core.voices[number]
    kit_weights = at.fresh_floats + 4 * (at.settings + at.kit_weights)
    for kit in range(at.kits):
        store_float(kit_weights + 4 * kit, np.float32(voice.weights[kit]))
    _call_prewarm(desk.prewarm, at.header, at.weights, at.fresh_ints, at.fresh_floats)
    take_stream(core, number, bank, lane, at.fresh_ints, at.fresh_floats, index)


@inner
def take_stream(
    core: Core, number: int, bank: int, lane: int, ints: int, floats: int, index: int
) -> None:
    """Let a voice's lane go on from a state of one lane, with the voice's own chance and kit."""
    desk, at, voice = core.desk[0], core.banks[bank], core.voices[number]
    _call_move(
        desk.copy_lane, at.header, at.ints[at.which], at.floats[at.which], lane, ints, floats, 0
    )
    mine = lane_ints(core, bank, lane)
    store_int(mine + 8 * p.L_STREAM, number)
    store_int(mine + 8 * p.L_OFFSET, index - load_int(at.ints[at.which] + 8 * p.I_INDEX))
    configure_lane(core, number, bank, lane)
    store_kit(core, bank, lane, voice)


@inner
def lane_index(core: Core, bank: int, lane: int) -> int:
    """Return at which sample of its random numbers a lane stands."""
    at = core.banks[bank]
    offset = load_int(lane_ints(core, bank, lane) + 8 * p.L_OFFSET)
    return int(load_int(at.ints[at.which] + 8 * p.I_INDEX) + offset)


@inner
def configure_lane(core: Core, number: int, bank: int, lane: int) -> None:
    """Give a voice's seed and sampling to its lane."""
    voice, mine = core.voices[number], lane_ints(core, bank, lane)
    store_int(mine + 8 * p.L_SEED, voice.seed)
    store_int(mine + 8 * p.L_TOP_K, voice.top_k)
    at = lane_settings(core, bank, lane)
    store_float(at + 4 * p.T_TEMPERATURE, np.float32(voice.temperature))
    store_float(at + 4 * p.T_ATTACK, np.float32(max(voice.temperature, LEAST_ATTACK)))


@inner
def store_kit(core: Core, bank: int, lane: int, voice: Any) -> None:
    """Give a voice's kit weights of now to its lane."""
    at = core.banks[bank]
    to = lane_settings(core, bank, lane) + 4 * at.kit_weights
    for kit in range(at.kits):
        store_float(to + 4 * kit, np.float32(voice.weights[kit]))


@inner
def hit_lane(core: Core, bank: int, lane: int, role: int, velocity: float) -> None:
    """Strike a role in a lane, where the bank's model has that role."""
    at = core.banks[bank]
    if at.roles[role] >= 0:
        ints, floats = at.ints[at.which], at.floats[at.which]
        call_hit(core.desk[0].hit, at.header, ints, floats, lane, at.roles[role], velocity)


@inner
def use_bank(core: Core, bank: int, more: int) -> None:
    """Count a voice that plays a bank (1), or does so no longer (-1)."""
    users = core.desk[0].users + bank
    store_release(core.shared, users, core.shared[users] + more)
