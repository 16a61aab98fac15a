"""Endurance: does a model play for ten minutes as it played in the first?

Each run is a stream of its own; all runs play side by side in lanes. A model with roles plays one
minute of grooves over and over, so what changes from minute to minute is the model's own doing; a
model without roles plays its texture. Of every minute six things are measured, and a run passes if
all minutes stay in the band of its first, and none is silent, off centre or noise.

`endure` works in threads of its own; no result depends on their number.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.inference.generator import Hit as Trigger
from ghostnote.inference.generator import Lanes, Take
from ghostnote.kernels.packing import Packed

from .ears import (
    HIGHEST_HZ,
    STEP_SECONDS,
    candidates,
    hearing_rate,
    to_hearing_rate,
)
from .mel import band_edges, levels
from .noise import LOWEST_HZ, SILENT, decibels
from .pieces import Piece

AUDIO = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]

MINUTE = 60.0
ONSET_PER_OCTAVE = 0.5  # bands so broad that noise does not rise in them by chance
ONSET_RISE_DB = 9.0  # a stroke, not the shimmer of a tail
LEVEL_BAND_DB = 3.0
ENTROPY_BAND = 0.1
ONSET_BAND, ONSET_SLACK = 0.25, 10.0  # share of the first minute's onsets, and so many a minute
SILENCE_SLACK = 2.0  # s longer than the first minute's longest silence
LONGEST_SILENCE = 10.0  # s, in any minute
MOST_DC = 0.01
FLATTEST_DB = -4.0  # white noise has about -2.5
FLATNESS_BAND_DB = 4.0
FRAME_SECONDS = 0.05


@dataclass(frozen=True)
class Minute:
    """One minute of a run.

    `level_db`: RMS in dBFS; `entropy`: of the spectrum where it sounds, 0 (one tone) to 1 (white);
    `onsets` per minute; `dc`: mean sample; `silence_s`: longest stretch under -60 dBFS;
    `flatness_db`: spectral flatness where it sounds.
    """

    level_db: float
    entropy: float
    onsets: float
    dc: float
    silence_s: float
    flatness_db: float


def measure_minute(audio: AUDIO, samplerate: int) -> Minute:
    """Return the six figures of a stretch of sound, at most some minutes long."""
    size = round(FRAME_SECONDS * samplerate)
    frames = audio[: len(audio) // size * size].reshape(-1, size).astype(np.float64)
    energy = np.square(frames).mean(axis=1)
    sounding = frames[energy >= SILENT]
    entropy, flatness = 0.0, 0.0
    if len(sounding):
        power = np.square(np.abs(np.fft.rfft(sounding * np.hanning(size)))) + 1e-12
        hertz = np.fft.rfftfreq(size, 1.0 / samplerate)
        power = power[:, (hertz >= LOWEST_HZ) & (hertz <= min(HIGHEST_HZ, 0.46 * samplerate))]
        share = power / power.sum(axis=1, keepdims=True)
        entropy = float(-(share * np.log(share)).sum(axis=1).mean() / np.log(share.shape[1]))
        flatness = float(
            10.0 * (np.log10(power).mean(axis=1) - np.log10(power.mean(axis=1))).mean()
        )
    heard, rate = to_hearing_rate(audio, samplerate), hearing_rate(samplerate)
    edges = band_edges(rate, ONSET_PER_OCTAVE, HIGHEST_HZ)
    found = levels(heard, rate, edges, STEP_SECONDS, FRAME_SECONDS)
    return Minute(
        decibels(float(energy.mean())) if len(energy) else -120.0,
        entropy,
        len(candidates(found, ONSET_RISE_DB)) * MINUTE * samplerate / max(len(audio), 1),
        float(audio.mean(dtype=np.float64)),
        _longest(energy < SILENT) * FRAME_SECONDS,
        flatness,
    )


def _longest(silent: npt.NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True."""
    ends = np.flatnonzero(np.diff(np.concatenate([[0], silent.astype(np.int8), [0]])))
    return int((ends[1::2] - ends[::2]).max(initial=0))


def faults(minutes: Sequence[Minute]) -> list[str]:
    """Return what is wrong with a run, one line a minute and figure; nothing if it passes."""
    first, found = minutes[0], []
    slack = max(ONSET_BAND * first.onsets, ONSET_SLACK)
    for number, now in enumerate(minutes, 1):
        for what, value, low, high in (
            ("level", now.level_db, first.level_db - LEVEL_BAND_DB, first.level_db + LEVEL_BAND_DB),
            ("entropy", now.entropy, first.entropy - ENTROPY_BAND, first.entropy + ENTROPY_BAND),
            ("onsets", now.onsets, first.onsets - slack, first.onsets + slack),
            ("mean", now.dc, -MOST_DC, MOST_DC),
            ("silence", now.silence_s, 0.0, min(first.silence_s + SILENCE_SLACK, LONGEST_SILENCE)),
            (
                "flatness",
                now.flatness_db,
                -99.0,
                min(first.flatness_db + FLATNESS_BAND_DB, FLATTEST_DB),
            ),
        ):
            if not low <= value <= high:
                found.append(f"minute {number}: {what} {value:.3g} not in {low:.3g} to {high:.3g}")
    return found


def minute_of(pieces: Sequence[Piece], order: Sequence[int]) -> list[tuple[float, str, float]]:
    """Return a minute of hits (s, role, velocity): pieces one after the other."""
    hits: list[tuple[float, str, float]] = []
    start, turn = 0.0, 0
    while start < MINUTE:
        piece = pieces[order[turn % len(order)]]
        hits += [(start + t, role, v) for t, role, v in piece.hits if start + t < MINUTE]
        start, turn = start + piece.seconds, turn + 1
    return hits


def endure(
    packed: Packed,
    runs: int,
    minutes: int,
    pieces: Sequence[Piece],
    take: Take,
    threads: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return what `runs` runs of so many minutes did, and how many passed.

    Parameters
    ----------
    pieces : sequence of Piece
        What a model with roles plays; not used for one without.
    take : Take
        How to draw. Run n has stream `take.stream` + n, kit n (of all, in turn) and its own order
        of pieces.
    """
    spec = packed.spec
    cores = threads or os.cpu_count() or 1
    groups = [list(range(i, runs, cores)) for i in range(min(cores, runs))]
    ticks, stop = [0], threading.Event()

    def play(group: list[int]) -> dict[int, list[Minute]]:
        weights = [[float(n % len(spec.kits) == i) for i in range(len(spec.kits))] for n in group]
        lanes = Lanes(
            packed,
            [
                take._replace(stream=take.stream + n, kit=kit if spec.kits else None)
                for n, kit in zip(group, weights, strict=True)
            ],
        )
        found: dict[int, list[Minute]] = {n: [] for n in group}
        for minute in range(minutes):
            if spec.roles:
                for lane, n in enumerate(group):
                    order = np.random.default_rng([take.seed, n]).permutation(len(pieces)).tolist()
                    hits = [hit for hit in minute_of(pieces, order) if hit[1] in spec.roles]
                    start = minute * MINUTE
                    lanes.add(
                        [Trigger(round((start + t) * spec.samplerate), r, v) for t, r, v in hits],
                        lane,
                    )
            parts = []
            for _ in range(round(MINUTE)):
                if stop.is_set():
                    return {}
                parts.append(lanes.play(spec.samplerate))
                ticks[0] += len(group)
                if progress:
                    progress("endurance, seconds", ticks[0], runs * minutes * round(MINUTE))
            sound = np.concatenate(parts, axis=1)
            for lane, n in enumerate(group):
                found[n].append(measure_minute(sound[lane], spec.samplerate))
        return found

    def play_or_stop(group: list[int]) -> dict[int, list[Minute]]:
        try:
            return play(group)
        except BaseException:
            stop.set()
            raise

    measured: dict[int, list[Minute]] = {}
    pool = ThreadPoolExecutor(len(groups))
    try:
        for part in pool.map(play_or_stop, groups):
            measured |= part
    finally:
        stop.set()  # who is interrupted does not wait until all have played their minutes
        pool.shutdown(cancel_futures=True)
    listed = []
    for n in range(runs):
        why = faults(measured[n])
        listed.append(
            {
                "stream": take.stream + n,
                "kit": spec.kits[n % len(spec.kits)] if spec.kits else None,
                "passed": not why,
                "why": why,
                "minutes": [asdict(minute) for minute in measured[n]],
            }
        )
    return {
        "kind": "groove" if spec.roles else "texture",
        "minutes": minutes,
        "passed": sum(run["passed"] for run in listed),
        "of": runs,
        "runs": listed,
    }
