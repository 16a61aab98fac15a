"""The sound of one loop: exactly so many frames, whose end runs into their beginning.

A loop is one stream of a model. It begins earlier than what is kept, at the oldest hit of the pass
before that still sounds, so that tails ring into the start. The last 10 ms of what is kept are
faded into the last 10 ms before its start: what follows them there is the start itself, so the
seam is as smooth as any other place.

Pure functions; any thread.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soxr

from ghostnote.kernels.packing import Packed
from ghostnote.kernels.spec import ModelSpec

from .device import Device
from .generator import Hit, Lanes, Take
from .kit_mix import parse_kit
from .loops import BEATS_PER_BAR
from .manifest import Loop

FLOATS = npt.NDArray[np.float32]

LEAD_IN_SECONDS = 0.5
"""Shortest lead-in; a texture needs it to come to life."""

CROSSFADE_SECONDS = 0.01
BLOCK = 1 << 16  # frames of a file that are converted at once
MARGIN_SECONDS = 0.02  # beyond the end, for the resampler to see


class Timeline(NamedTuple):
    """A loop in samples of the model: what is generated, and where the loop lies in it."""

    hits: list[Hit]
    total: int  # samples to generate
    start: int  # first frame of the loop, at the rate of the file


def timeline_of(spec: ModelSpec, loop: Loop) -> Timeline:
    """Return what to generate for a loop."""
    per_beat = 60.0 / loop.bpm * spec.samplerate
    period = loop.bars * BEATS_PER_BAR * per_beat
    hits = [(beat * per_beat, role, velocity) for beat, role, velocity in loop.hits]
    forgotten = spec.ages * spec.hop  # samples after which the model knows nothing of a hit
    earlier = [
        (time - back * period, role, velocity)
        for back in range(math.ceil(forgotten / period), 0, -1)
        for time, role, velocity in hits
        if time - back * period > -forgotten
    ]
    last = {role: time for time, role, _ in earlier}
    reach = max((-time for time in last.values()), default=0.0)
    lead = max(reach, spec.receptive_field, LEAD_IN_SECONDS * spec.samplerate)
    lead = math.ceil(lead / spec.hop) * spec.hop  # a hit on the first beat starts at frame 0
    start = round(lead * loop.samplerate / spec.samplerate)
    total = math.ceil((start + loop.frames) * spec.samplerate / loop.samplerate)
    if loop.samplerate != spec.samplerate:
        total += math.ceil(MARGIN_SECONDS * spec.samplerate)
    placed = [Hit(lead + round(t), role, v) for t, role, v in (*earlier, *hits) if t >= -lead]
    return Timeline(placed, total, start)


def make_loops(
    packed: Packed,
    loops: Sequence[Loop],
    timelines: Sequence[Timeline],
    tick: Callable[[int], None],
    device: Device | None = None,
) -> Iterator[FLOATS]:
    """Return the samples of loops of one model, each float32 [frames], made side by side.

    They are made on the device if there is one, which then has the same model. `tick` is called with the number of samples generated since the last call; it may raise to stop.
    Raises GhostnoteError if the model has not the kit or a role.
    """
    spec = packed.spec
    takes = [
        Take(loop.seed, 0, parse_kit(spec, loop.kit), loop.temperature, loop.top_k)
        for loop in loops
    ]
    lanes = Lanes(packed, takes, device)
    for lane, timeline in enumerate(timelines):
        lanes.add(timeline.hits, lane)
    longest = max(timeline.total for timeline in timelines)
    audio = np.empty((len(loops), longest), np.float32)
    chunk = max(1, spec.samplerate // 10 // (1 if device else len(loops)))
    for at in range(0, longest, chunk):
        end = min(at + chunk, longest)
        audio[:, at:end] = lanes.play(end - at)
        tick(sum(max(0, min(end, timeline.total) - at) for timeline in timelines))
    for lane, (loop, timeline) in enumerate(zip(loops, timelines, strict=True)):
        yield _cut(audio[lane, : timeline.total], loop, timeline, spec.samplerate)


def _cut(audio: FLOATS, loop: Loop, timeline: Timeline, samplerate: int) -> FLOATS:
    """Return a loop at its own rate, cut out of what was generated and closed at the seam.

    `audio` is written to: a loop may be half an hour, of which there need be no copy.
    """
    if loop.samplerate != samplerate:
        audio = soxr.resample(audio, samplerate, loop.samplerate, quality="VHQ")
    end = timeline.start + loop.frames
    fade = min(round(CROSSFADE_SECONDS * loop.samplerate), loop.frames)
    rising = np.arange(1, fade + 1, dtype=np.float64) / fade
    rising = rising * rising * (3.0 - 2.0 * rising)  # no cosine: its bits differ between machines
    before_end = audio[end - fade : end].astype(np.float64)
    before_start = audio[timeline.start - fade : timeline.start].astype(np.float64)
    whole = audio[timeline.start : end]
    whole[loop.frames - fade :] = before_end * (1.0 - rising) + before_start * rising
    return whole


def wav_blocks(audio: FLOATS, samplerate: int) -> Iterator[bytes]:
    """Return the bytes of a mono WAV file of 24 bits, in pieces; beyond full scale is clipped.

    They are those that libsndfile writes. An odd number of bytes is followed by one more.
    """
    size = 3 * len(audio)
    yield struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + size + size % 2, b"WAVE"),
        *(b"fmt ", 16, 1, 1, samplerate, 3 * samplerate, 3, 24),
        *(b"data", size),
    )
    for at in range(0, len(audio), BLOCK):
        scaled = audio[at : at + BLOCK].astype(np.float64) * 2**23
        levels = np.rint(np.clip(scaled, -(2**23), 2**23 - 1)).astype("<i4")
        yield levels.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    yield bytes(size % 2)
