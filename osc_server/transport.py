"""The transport: beats, bar lines, and the patterns that are struck in a hop.

Threads: all of it is compiled and runs in the engine's thread. Beats are counted in float64. A hop
meets what lies in the half-open span [begin, end) of them, up to the beat at which the hop begins;
its end is exactly the next one's begin: what lies on a line is met once, however the tempo moves,
and never before its time.
"""

from __future__ import annotations

import numpy as np

from ghostnote.kernels.rng import uniform

from .commands import MAX_STEPS
from .desk import BAR_COUNT, BARS, FRAME, MAX_BARS, Core, inner
from .native import store_release
from .voice import hit_voice

STEPS_PER_BEAT = 4
MAX_TEMPO = 10_000.0  # bpm; a step every 1.5 ms
NEXT_TO_NOTHING = 1e-9  # beats; what lies at the hop's very beginning belongs to it
JUMP_BEATS = 0.1  # errors up to it are caught up by playing faster or slower
CATCH_UP = 0.1  # by so much at most, as a share
CHANCE_STREAM = 1 << 40  # the streams of the random numbers of patterns begin here


@inner
def jump_to(core: Core, beat: float) -> None:
    """Let the transport stand at `beat`; what lies there is still to be met."""
    desk = core.desk[0]
    desk.beat, desk.met, desk.slew = beat, beat, 0.0


@inner
def place_beat(core: Core, beat: float) -> None:
    """Let the transport stand at `beat` now: smoothly where it nearly does, else at once."""
    desk = core.desk[0]
    error = beat - desk.beat  # many small ones that add up are a large one
    if desk.rolling == 0 or abs(error) > JUMP_BEATS:
        jump_to(core, beat)
    else:
        desk.slew = error


@inner
def span(core: Core) -> tuple[float, float]:
    """Return the beats that this hop meets, from the first to before the second."""
    desk = core.desk[0]
    begin, desk.met = desk.met, desk.beat + NEXT_TO_NOTHING
    return begin, desk.met


@inner
def roll(core: Core) -> None:
    """Move the transport on by one hop."""
    desk = core.desk[0]
    beats = desk.tempo / 60.0 * desk.hop / desk.rate
    caught = min(CATCH_UP * beats, max(-CATCH_UP * beats, desk.slew))
    desk.slew -= caught
    desk.beat += beats + caught


@inner
def line_within(begin: float, end: float, every: float) -> float:
    """Return the first multiple of `every` within [begin, end), else -1."""
    if every <= 0.0:
        return -1.0
    count = np.ceil(begin / every)
    if count * every < begin:
        count += 1.0
    return count * every if begin <= count * every < end else -1.0


@inner
def note_bars(core: Core, begin: float, end: float) -> None:
    """Remember the bar line in this hop, if there is one: patterns strike at the hop's frame."""
    line = line_within(begin, end, core.desk[0].signature)
    if line >= 0.0:
        shared, count = core.shared, core.shared[BAR_COUNT]
        at = BARS + 2 * (count % MAX_BARS)
        shared[at] = shared[FRAME]
        shared[at + 1] = round(line / core.desk[0].signature)
        store_release(shared, BAR_COUNT, count + 1)


@inner
def strike_patterns(core: Core, begin: float, end: float) -> None:
    """Strike the steps whose time lies in this hop; a step is a sixteenth."""
    first, last = begin * STEPS_PER_BEAT, end * STEPS_PER_BEAT
    for number in range(core.voices.shape[0]):
        voice = core.voices[number]
        if voice.exists == 0:
            continue
        for role in range(voice.lengths.shape[0]):
            if voice.lengths[role] > 0:
                for step in range(int(np.floor(first)), int(np.floor(last)) + 1):
                    late = 0.5 * voice.swings[role] if step % 2 == 1 else 0.0
                    if step >= 0 and first <= step + late < last:
                        strike_step(core, number, role, step)


@inner
def strike_step(core: Core, number: int, role: int, step: int) -> None:
    """Strike one step of a role's pattern, if chance will have it."""
    voice = core.voices[number]
    velocity = voice.steps[role * MAX_STEPS + step % voice.lengths[role]]
    if velocity > 0.0:
        chance = voice.chances[role]
        stream = CHANCE_STREAM + number * MAX_STEPS + role
        if chance >= 1.0 or uniform(voice.seed, stream, step) < chance:
            hit_voice(core, number, role, velocity)
