"""`ghostnote eval`: how well a model plays what it is asked for, beside the rendered truth.

Grooves of a split of the corpus are cut to some seconds and asked of every kit that the model
knows: once of the kit itself (the truth, rendered as for training) and once of the model. Both
are heard by the detector of `onsets.py` and judged by `scores.py`. Because grooves leave few
pauses, every role of every kit is also asked alone, loud and soft, out of silence.

Needs no torch. `evaluate` works in threads of its own, one per core; each piece has a stream
(of random numbers) of its own, so the result does not depend on their number.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.inference.generator import Generator
from ghostnote.inference.generator import Hit as Trigger
from ghostnote.inference.midi import Hit
from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels import levels as amplitudes
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import DEFAULT_PRECISION, Packed, pack
from ghostnote.kernels.spec import DEFAULT_TEMPERATURE, ModelSpec
from ghostnote.kernels.state import State

from .hearing import KitHearing
from .kits import Kit, load_kit
from .likelihood import nats
from .pieces import ALONE, Piece, alone, choose_pieces
from .scores import Tally, judge

AUDIO = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EvalOptions:
    """What to measure.

    Parameters
    ----------
    split : str
        Of the corpus's grooves: "train", "validation" or "test".
    kits : Path or None
        A corpus whose kits are used instead of those of the corpus of the grooves.
    grooves : int
        How many, evenly chosen over the split by `seed`.
    seconds, bits_seconds : float
        Length of each groove's piece, and of its beginning on which bits/sample are measured.
    temperature, top_k, seed
        How the model draws its samples.
    threads : int
        0: one per core.
    precision : str
        In which the model's weights are held, one of `PRECISIONS`.
    """

    split: str = "validation"
    kits: Path | None = None
    grooves: int = 20
    seconds: float = 8.0
    bits_seconds: float = 4.0
    temperature: float = DEFAULT_TEMPERATURE
    top_k: int = 0
    seed: int = 1
    threads: int = 0
    precision: str = DEFAULT_PRECISION

    def __post_init__(self) -> None:
        for name, low, high in (
            ("grooves", 1, 10_000),
            ("seconds", 1.0, 600.0),
            ("bits_seconds", 0.0, 600.0),
            ("temperature", 0.01, 10.0),
            ("top_k", 0, 1_000_000),
            ("seed", 0, 2**63 - 1),
            ("threads", 0, 1024),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise GhostnoteError(f"eval: {name} must be {low} to {high}, found {value}")

    def pieces(self, corpus: Path) -> tuple[list[Piece], list[dict[str, str]]]:
        """Return the pieces of grooves to ask, and the grooves that were skipped."""
        return choose_pieces(corpus, self.split, self.grooves, self.seconds, self.seed)


@dataclass(frozen=True)
class Played:
    """A piece as a kit and as the model play it: hits on the hop grid, audio float32 [frames]."""

    hits: tuple[Hit, ...]
    truth: AUDIO
    generated: AUDIO


def evaluate(
    model: ModelFile, corpus: Path, options: EvalOptions, progress: Progress | None = None
) -> dict[str, Any]:
    """Return what `ghostnote eval --json` prints; `docs/sound.md` explains the keys.

    Raises
    ------
    GhostnoteError
        If the model takes no triggers, or the corpus has no groove of the split or no kit of
        the model that can be read.
    """
    spec, packed = model.spec, pack(model.spec, model.weights, options.precision)
    kits, missing = find_kits(model, options.kits or corpus)
    pieces, skipped = options.pieces(corpus)
    plan = [(kit, piece) for kit in kits for piece in (*pieces, alone(kit))]
    hearings = {kit.name: KitHearing(kit) for kit in kits}

    def measure(number: int) -> Tally:
        kit, piece = plan[number]
        played = play(packed, kit, piece, options, stream=number)
        tally = judge(played.hits, played.truth, played.generated, hearings[kit.name])
        if piece.name != ALONE and options.bits_seconds > 0:
            frames = int(options.bits_seconds * spec.samplerate)
            weights = kit_weights(spec, kit.name)
            tally.bits, tally.bits_samples = bits(
                packed, weights, played.hits, played.truth[:frames]
            )
        return tally

    tallies = []
    for done, tally in enumerate(_in_threads(measure, len(plan), options.threads)):
        tallies.append(tally)
        if progress:
            progress(f"{plan[done][0].name} {plan[done][1].name}", done + 1, len(plan))
    per_kit = {}
    for kit in kits:
        own = [(p, t) for (k, p), t in zip(plan, tallies, strict=True) if k is kit]
        per_kit[kit.name] = _score(own)
    return {
        "model": model.name,
        "model_sha256": model.sha256,
        "corpus": str(corpus),
        "split": options.split,
        "weights": options.precision,
        "temperature": options.temperature,
        "top_k": options.top_k,
        "seed": options.seed,
        "bits_seconds": options.bits_seconds,
        "grooves": [piece.name for piece in pieces],
        "kits_missing": missing,
        "skipped": skipped,
        **_score([(p, t) for (_, p), t in zip(plan, tallies, strict=True)]),
        "per_kit": per_kit,
    }


def _score(measured: Sequence[tuple[Piece, Tally]]) -> dict[str, Any]:
    """Return the scores of grooves, with the pauses of the lone hits and what was heard of them."""
    grooves, lone = Tally(), Tally()
    for piece, tally in measured:
        (lone if piece.name == ALONE else grooves).add(tally)
    grooves.quiet += lone.quiet
    keys = ("recall", "truth_recall", "asked")
    heard = {role: {key: count.score()[key] for key in keys} for role, count in lone.roles.items()}
    return {**grooves.score(), "alone": heard}


def _in_threads(measure: Callable[[int], Tally], count: int, threads: int) -> Iterator[Tally]:
    """Yield `measure` of 0 to count - 1, in order; leaving early cancels what has not begun."""
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)
    try:
        yield from pool.map(measure, range(count))
    finally:
        pool.shutdown(cancel_futures=True)


def find_kits(model: ModelFile, corpus: Path) -> tuple[list[Kit], list[dict[str, str]]]:
    """Return the model's kits that can be read from a corpus, and the others with the reason."""
    spec = model.spec
    if not spec.roles or not spec.kits:
        raise GhostnoteError(
            f"eval: model {model.name!r} takes no triggers or has no kits, so nothing can be asked "
            "of it; name a model that does"
        )
    kits, missing = [], []
    for name in spec.kits:
        try:
            kits.append(load_kit(corpus, name, spec.samplerate, spec.roles))
        except GhostnoteError as error:
            missing.append({"kit": name, "reason": str(error)})
    if not kits:
        raise GhostnoteError(
            f"eval: none of the model's kits ({', '.join(spec.kits)}) is in {corpus}: name the "
            f"corpus that has them with --kits; first reason: {missing[0]['reason']}"
        )
    return kits, missing


def kit_weights(spec: ModelSpec, name: str) -> list[float]:
    """Return the kit weights of one kit, unmixed."""
    return [float(kit == name) for kit in spec.kits]


def play(packed: Packed, kit: Kit, piece: Piece, options: EvalOptions, stream: int = 0) -> Played:
    """Return a piece as the kit renders it and as the model plays it, from the same hops."""
    spec = packed.spec
    frames = round(piece.seconds * spec.samplerate)
    on_grid = [
        (math.ceil(t * spec.samplerate / spec.hop) * spec.hop, role, v)
        for t, role, v in piece.hits
        if role in kit.layers and v > 0.0
    ]
    truth = kit.render(on_grid, frames, spec.chokes)
    generator = Generator(
        packed,
        options.seed,
        stream,
        kit_weights(spec, kit.name),
        options.temperature,
        options.top_k,
    )
    generator.add([Trigger(*hit) for hit in on_grid])
    hits = tuple((frame / spec.samplerate, role, v) for frame, role, v in on_grid)
    return Played(hits, truth, generator.play(frames))


def bits(
    packed: Packed, kit: Sequence[float], hits: Sequence[Hit], audio: AUDIO
) -> tuple[float, int]:
    """Return the bits in sum that the model spends on audio, teacher-forced, and its samples.

    Parameters
    ----------
    kit : sequence of float
        Kit weights.
    hits : sequence of (seconds, role, velocity)
        On the hop grid, in order of time.
    audio : float32 [frames]
    """
    spec = packed.spec
    state = State(packed)
    state.set_kit(kit)
    state.reset()
    levels = amplitudes.encode(spec, audio)
    struck = [(round(t * spec.samplerate), spec.roles.index(role), v) for t, role, v in hits]
    total, at = 0.0, 0
    for frame, role, velocity in [*struck, (len(levels), -1, 0.0)]:
        while at < min(frame, len(levels)):
            piece = levels[at : min(frame, len(levels), at + spec.samplerate)]
            total += float(nats(spec, state.teacher_force(piece), piece).sum()) / math.log(2.0)
            at += len(piece)
        if role >= 0:
            state.hit(role, velocity)
    return total, len(levels)
