"""A voice: one generating stream with its mix, from its beginning to its end, hop by hop.

Threads: all of it is compiled and runs in the engine's thread. A voice that is idle has no lane
and costs nothing; its place in its random numbers is kept. What is heard never steps: beginnings,
ends, swaps of model, resets, loops and moves between outputs are faded or levelled out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ghostnote.kernels.lanes import load_float

from .bank import (
    configure_lane,
    hit_lane,
    join,
    lane_index,
    leave,
    silence_lane,
    store_kit,
    take_stream,
    use_bank,
)
from .desk import FRAME, IDLE, LESS, ONE, PLAYING, STOPPING, ZERO, Core, inner, merged
from .native import store_release
from .ring import WRITE
from .watch import expect_sound, listen

ENVELOPE_HOPS = 10  # a voice falls silent over so many hops when it is stopped
SWAP_HOPS = 30  # two models cross over so many hops
TAIL_HOPS = 5  # a jump within a voice is levelled out over so many hops
HOLD_HOPS = 10  # a loop is faded in and out over so many hops
SMOOTHING = 0.2  # share of the way that a gain goes towards its target in a hop


@inner
def make_voice(core: Core, number: int, bank: int) -> None:
    """Let a voice begin to exist, with the settings of a new one, and play."""
    voice = core.voices[number]
    voice.exists, voice.leaving, voice.ended, voice.state = 1, 0, 0, IDLE
    voice.bank, voice.lane, voice.next_bank, voice.next_lane = bank, -1, -1, -1
    use_bank(core, bank, ONE)
    voice.fade_left = voice.glide_left = voice.tail_left = voice.pair_left = 0
    voice.index = voice.top_k = voice.pair = voice.next_pair = voice.old_pair = 0
    voice.seed = core.desk[0].seed
    voice.born = core.shared[FRAME]
    voice.ended_before = core.tap_headers[number, WRITE]
    voice.temperature = voice.gain = voice.left = voice.right = 1.0
    voice.pan = voice.mute = voice.solo = voice.envelope = voice.last = voice.tail = 0.0
    voice.glide_seconds = 0.05
    voice.hold = 0
    voice.hold_mix = voice.peak = voice.power = 0.0
    voice.watch_hops = voice.watch_hits = voice.since_hit = voice.reprimes = 0
    for role in range(voice.lengths.shape[0]):
        voice.lengths[role] = 0
        voice.chances[role] = 1.0
        voice.swings[role] = 0.0
    store_release(core.tap_headers[number], WRITE, core.shared[FRAME])
    pure_kit(core, voice, bank)
    play_voice(core, number)


@inner
def play_voice(core: Core, number: int) -> None:
    """Let a voice sound; from idle it begins at silence, so there is nothing to fade in."""
    voice = core.voices[number]
    if voice.exists == 0 or voice.leaving == 1:
        return
    if voice.state == IDLE:
        voice.envelope = 1.0
        voice.lane = join(core, number, voice.bank)
        silence_lane(core, number, voice.bank, voice.lane, voice.index)
    voice.state = PLAYING


@inner
def stop_voice(core: Core, number: int) -> None:
    """Let a voice fall silent."""
    if core.voices[number].state == PLAYING:
        core.voices[number].state = STOPPING


@inner
def free_voice(core: Core, number: int) -> None:
    """Let a voice fall silent and cease to exist."""
    voice = core.voices[number]
    if voice.exists == 1:
        voice.leaving = 1
        if voice.state == IDLE:
            end_voice(core, number)
        else:
            voice.state = STOPPING


@inner
def end_voice(core: Core, number: int) -> None:
    """Let an idle voice cease to exist."""
    voice = core.voices[number]
    use_bank(core, voice.bank, LESS)
    voice.exists, voice.leaving, voice.ended = 0, 0, 1
    for i in range(4):
        core.levels[number, i] = 0.0


@inner
def rest_voice(core: Core, number: int) -> None:
    """Let a voice that has faded out be idle: its lane goes, its place in chance is kept."""
    voice = core.voices[number]
    if voice.next_bank >= 0:
        settle_on(core, number, ONE)
    voice.index = lane_index(core, voice.bank, voice.lane)
    leave(core, voice.bank, voice.lane)
    voice.lane = -1
    voice.state, voice.tail_left, voice.pair_left, voice.hold = IDLE, 0, 0, 0
    voice.envelope = voice.last = voice.hold_mix = 0.0
    voice.pair = voice.next_pair
    for i in range(4):
        core.levels[number, i] = 0.0
    if voice.leaving == 1:
        end_voice(core, number)


@inner
def reset_voice(core: Core, number: int, index: int) -> None:
    """Return a voice to silence, at sample `index` of its random numbers."""
    voice = core.voices[number]
    voice.index = index
    if voice.lane < 0:
        return
    if voice.next_bank >= 0:
        settle_on(core, number, ONE)
    silence_lane(core, number, voice.bank, voice.lane, index)
    voice.tail_left = TAIL_HOPS


@inner
def prime_voice(core: Core, number: int, place: int) -> None:
    """Let a voice go on from a stream that has heard something; one of another model is refused."""
    voice, primed = core.voices[number], core.primes[place]
    if voice.next_bank >= 0 and core.banks[voice.next_bank].header == primed.header:
        settle_on(core, number, ONE)  # it is the model that is still fading in that has heard it
    if voice.lane >= 0 and core.banks[voice.bank].header == primed.header:
        if voice.next_bank >= 0:
            settle_on(core, number, ZERO)
        take_stream(core, number, voice.bank, voice.lane, primed.ints, primed.floats, ZERO)
        voice.tail_left = TAIL_HOPS


@inner
def change_model(core: Core, number: int, bank: int) -> None:
    """Let a voice cross over to another bank; an idle one takes it at once.

    The bank that it plays already is only brought back to silence and to its first kit.
    """
    voice = core.voices[number]
    if voice.next_bank >= 0 and voice.next_bank != bank:
        # Only two sound at a time: of those in the present fade the fainter gives way.
        settle_on(core, number, ONE if 2 * voice.fade_left <= SWAP_HOPS else ZERO)
        voice.tail_left = TAIL_HOPS
    pure_kit(core, voice, bank)
    voice.index = 0
    if voice.next_bank == bank:
        silence_lane(core, number, bank, voice.next_lane, ZERO)
        voice.tail_left = TAIL_HOPS
    elif voice.bank == bank:
        reset_voice(core, number, ZERO)
    else:
        use_bank(core, bank, ONE)
        if voice.lane < 0:
            use_bank(core, voice.bank, LESS)
            voice.bank = bank
        else:
            voice.next_bank, voice.fade_left = bank, SWAP_HOPS
            voice.next_lane = join(core, number, bank)
            silence_lane(core, number, bank, voice.next_lane, ZERO)


@inner
def pure_kit(core: Core, voice: Any, bank: int) -> None:
    """Give a voice the first kit of a bank's model, at once."""
    for kit in range(core.banks[bank].kits):
        voice.weights[kit] = voice.goals[kit] = 1.0 if kit == 0 else 0.0
    voice.glide_left = 0


@inner
def settle_on(core: Core, number: int, newer: int) -> None:
    """End a voice's crossfade with the newer (1) or the older (0) of its two streams."""
    voice = core.voices[number]
    if newer == 1:
        leave(core, voice.bank, voice.lane)
        use_bank(core, voice.bank, LESS)
        voice.bank, voice.lane = voice.next_bank, voice.next_lane
    else:
        leave(core, voice.next_bank, voice.next_lane)
        use_bank(core, voice.next_bank, LESS)
    voice.next_bank = voice.next_lane = -1


@inner
def configure_voice(core: Core, number: int) -> None:
    """Give a voice's seed and sampling to its streams."""
    voice = core.voices[number]
    if voice.lane >= 0:
        configure_lane(core, number, voice.bank, voice.lane)
    if voice.next_bank >= 0:
        configure_lane(core, number, voice.next_bank, voice.next_lane)


@inner
def hit_voice(core: Core, number: int, role: int, velocity: float) -> None:
    """Strike a role in the stream of a playing voice, and in the one that is fading in."""
    voice = core.voices[number]
    if voice.state != PLAYING or not 0 <= role < voice.lengths.shape[0]:
        return
    expect_sound(voice, velocity)
    hit_lane(core, voice.bank, voice.lane, role, velocity)
    if voice.next_bank >= 0:
        hit_lane(core, voice.next_bank, voice.next_lane, role, velocity)


@inner
def hold_voice(core: Core, number: int, on: bool) -> None:
    """Freeze what a voice played for the last bar as a loop, or let it go on.

    One that is idle has nothing to repeat: it would loop its silence when it is played again.
    """
    desk, voice = core.desk[0], core.voices[number]
    if voice.state == IDLE:
        return
    if on and voice.hold == 0 and voice.hold_mix == 0.0:
        bar = desk.signature * 60.0 / desk.tempo * desk.rate
        # Half of the tap: the loop is written there again and again, as what was heard.
        voice.hold_frames = int(max(2.0 * desk.hop, min(round(bar), core.taps.shape[1] // 2)))
    voice.hold = 1 if on else 0


@inner
def move_voice(core: Core, number: int, pair: int) -> None:
    """Lead a voice to another pair of outputs, once a move that is under way has ended."""
    voice = core.voices[number]
    if 0 <= pair < core.mix.shape[1] // 2:
        voice.next_pair = pair
        if voice.state == IDLE:
            voice.pair = pair


@merged
def glide_kit(core: Core, number: int) -> None:
    """Move a voice's kit weights one hop towards their target and hand them to its stream."""
    voice = core.voices[number]
    bank = voice.bank if voice.next_bank < 0 else voice.next_bank
    lane = voice.lane if voice.next_bank < 0 else voice.next_lane
    left = voice.glide_left
    if left > 0:
        for kit in range(core.banks[bank].kits):
            voice.weights[kit] += (voice.goals[kit] - voice.weights[kit]) / left
        voice.glide_left = left - 1
        store_kit(core, bank, lane, voice)


@inner
def hear_voice(core: Core, number: int) -> None:
    """Leave a voice's hop in `mono`, from the lanes that the banks have played."""
    mono, hop, voice = core.mono, core.desk[0].hop, core.voices[number]
    source = core.banks[voice.bank].out + 4 * hop * voice.lane
    for i in range(hop):
        mono[0, i] = load_float(source + 4 * i)
    if voice.next_bank >= 0:
        source = core.banks[voice.next_bank].out + 4 * hop * voice.next_lane
        for i in range(hop):
            old = np.float32((voice.fade_left - (i + 1.0) / hop) / SWAP_HOPS)
            mono[0, i] = mono[0, i] * old + load_float(source + 4 * i) * (np.float32(1.0) - old)
        voice.fade_left -= 1
    level_out(core, voice)


@merged
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


@inner
def loop_held(core: Core, number: int) -> None:
    """Play the last bar again instead of the stream, which goes on unheard.

    The tap holds what was heard, the loop's own fade-in and the voice's ends included: from one
    round to the next there is no seam.
    """
    voice, mono, hop = core.voices[number], core.mono, core.desk[0].hop
    taps, first = core.taps, core.shared[FRAME] - voice.hold_frames
    before = voice.hold_mix
    if voice.hold == 1:
        voice.hold_mix = min(1.0, before + 1.0 / HOLD_HOPS)
    else:
        voice.hold_mix = max(0.0, before - 1.0 / HOLD_HOPS)
        if voice.hold_mix < 1e-9:
            voice.hold_mix = 0.0
    for i in range(hop):
        share = np.float32(before + (voice.hold_mix - before) * ((i + 1.0) / hop))
        past = np.float32(0.0)
        if first + i >= voice.born:
            past = taps[number, (first + i) & (taps.shape[1] - 1)]
        mono[0, i] = mono[0, i] * (np.float32(1.0) - share) + past * share


@inner
def write_tap(core: Core, number: int, sounds: int) -> None:
    """Append a voice's hop to its tap, before gain and pan; silence where it does not sound (0)."""
    taps, hop, frame = core.taps, core.desk[0].hop, core.shared[FRAME]
    for i in range(hop):
        sample = core.mono[0, i] if sounds == 1 else np.float32(0.0)
        taps[number, (frame + i) & (taps.shape[1] - 1)] = sample
    store_release(core.tap_headers[number], WRITE, frame + hop)


@inner
def add_voice(core: Core, number: int) -> None:
    """Add one hop of a voice to the mix.

    No bank is laid out anew on the way, for the other voices' hops lie in the order of their lanes.
    """
    mono, hop, voice = core.mono, core.desk[0].hop, core.voices[number]
    hear_voice(core, number)
    reason = listen(core, voice)
    if reason > 0:
        voice.reprimes += 1
        voice.reprime_reason = reason
        faded = voice.next_bank >= 0 and voice.fade_left == 0
        bank = voice.next_bank if faded else voice.bank
        lane = voice.next_lane if faded else voice.lane
        silence_lane(core, number, bank, lane, lane_index(core, bank, lane))
        voice.tail_left = TAIL_HOPS
    if voice.hold == 1 or voice.hold_mix > 0.0:
        loop_held(core, number)
    fade_ends(core, voice)
    write_tap(core, number, ONE)
    if voice.pair_left == 0 and voice.next_pair != voice.pair:
        voice.old_pair, voice.pair, voice.pair_left = voice.pair, voice.next_pair, ENVELOPE_HOPS
    # Constant power, unity in the middle; square roots are exact on every machine.
    unheard = core.desk[0].solos > 0 and voice.solo == 0.0
    level = 0.0 if unheard else voice.gain * (1.0 - voice.mute)
    left, right = voice.left, voice.right
    new_left = left + (level * np.sqrt(1.0 - voice.pan) - left) * SMOOTHING
    new_right = right + (level * np.sqrt(1.0 + voice.pan) - right) * SMOOTHING
    peak, power = voice.peak, voice.power
    for i in range(hop):
        part = (i + 1.0) / hop
        to_left = mono[0, i] * np.float32(left + (new_left - left) * part)
        to_right = mono[0, i] * np.float32(right + (new_right - right) * part)
        place(core, voice, i, to_left, to_right)
        peak = max(peak, abs(to_left), abs(to_right))
        power += 0.5 * (to_left * to_left + to_right * to_right)
    voice.peak, voice.power = peak, power
    voice.pair_left = max(0, voice.pair_left - 1)
    voice.left, voice.right = new_left, new_right


@inner
def end_hop(core: Core, number: int) -> None:
    """Give up the lanes that a voice needs no longer, after all voices have been heard."""
    voice = core.voices[number]
    if voice.next_bank >= 0 and voice.fade_left == 0:
        settle_on(core, number, ONE)
    if voice.state == STOPPING and voice.envelope <= 1e-9:
        rest_voice(core, number)


@merged
def fade_ends(core: Core, voice: Any) -> None:
    """Fade `mono` out where the voice stops, and in where it is played again on the way."""
    mono, hop, before = core.mono, core.desk[0].hop, voice.envelope
    step = 1.0 / ENVELOPE_HOPS
    after = min(1.0, before + step) if voice.state == PLAYING else max(0.0, before - step)
    if before < 1.0 or after < 1.0:
        for i in range(hop):
            mono[0, i] *= np.float32(before + (after - before) * ((i + 1.0) / hop))
    voice.envelope = after


@merged
def place(core: Core, voice: Any, i: int, left: np.float32, right: np.float32) -> None:
    """Add a frame to the voice's outputs, and while it moves also to those that it leaves."""
    mix, at = core.mix, 2 * voice.pair
    if voice.pair_left > 0:
        hop = core.desk[0].hop
        old = np.float32((voice.pair_left - (i + 1.0) / hop) / ENVELOPE_HOPS)
        mix[i, 2 * voice.old_pair] += left * old
        mix[i, 2 * voice.old_pair + 1] += right * old
        left, right = left * (np.float32(1.0) - old), right * (np.float32(1.0) - old)
    mix[i, at] += left
    mix[i, at + 1] += right
