"""`ghostnote eval`: how well a model plays what it is asked for, beside the rendered truth.

Grooves of a split of the corpus are cut to some seconds and asked of every kit that the model
knows: once of the kit itself (the truth, rendered as for training) and once of the model. Both
are heard by the ears of `ears.py`, trained on real one-shots, and judged by `scores.py`; how near
the model lies to real drums is for `likeness.py`, what is left between hits for `noise.py`.
Because grooves leave few pauses, every role of every kit is also asked alone, loud and soft, out
of silence. A model that takes no triggers is judged by `texture.py`.

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

from ghostnote.inference.generator import Hit as Trigger
from ghostnote.inference.generator import Lanes, Take
from ghostnote.inference.midi import Hit
from ghostnote.inference.model_file import ModelFile
from ghostnote.inference.onnx_stream import Controls
from ghostnote.kernels import levels as amplitudes
from ghostnote.kernels.body import sound_of
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import DEFAULT_PRECISION, Packed, pack
from ghostnote.kernels.spec import DEFAULT_TEMPERATURE, ModelSpec
from ghostnote.kernels.state import State

from . import likeness, low_tones, noise
from .ears import hearing_rate, to_hearing_rate
from .ears_training import get_ears
from .endurance import endure
from .grooves import drill
from .hearing import KitHearing
from .kits import Kit, load_kit
from .likelihood import nats
from .pieces import ALONE, Piece, alone, choose_pieces
from .scores import Tally, judge

AUDIO = npt.NDArray[np.float32]
FLOATS = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]

MAX_LANES = 8  # pieces that are played side by side: weights are read once for all
SCORED_PIECES = 6  # on which the ears are scored with kits of the validation split
JUDGE_PIECES, JUDGE_SECONDS = 5, 15.0  # of grooves and of drills, per kit, to know kits by
JUDGE_GAIN_DB = 2.0


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
    endurance, endurance_minutes : int
        Runs that are listened to for so long; 0: none.
    threads : int
        0: one per core.
    cache : Path or None
        Folder for trained ears; None: they are trained each time.
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
    endurance: int = 0
    endurance_minutes: int = 10
    cache: Path | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("grooves", 1, 10_000),
            ("seconds", 1.0, 600.0),
            ("bits_seconds", 0.0, 600.0),
            ("temperature", 0.01, 10.0),
            ("top_k", 0, 1_000_000),
            ("seed", 0, 2**63 - 1),
            ("threads", 0, 1024),
            ("endurance", 0, 1000),
            ("endurance_minutes", 1, 1000),
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


@dataclass(frozen=True)
class Measured:
    """What was found of a piece: its counts, and the clouds of the truth and of the model."""

    tally: Tally
    clouds: tuple[FLOATS, FLOATS]


def evaluate(
    model: ModelFile, corpus: Path, options: EvalOptions, progress: Progress | None = None
) -> dict[str, Any]:
    """Return what `ghostnote eval --json` prints; `docs/sound.md` explains the keys.

    Raises
    ------
    GhostnoteError
        If the corpus has no groove of the split or no kit of the model that can be read, or no
        kit that the ears could learn from.
    """
    spec, packed = model.spec, pack(model.spec, model.weights, options.precision)
    kits, missing = find_kits(model, options.kits or corpus)
    pieces, skipped = options.pieces(corpus)
    plan = [(kit, piece) for kit in kits for piece in (*pieces, alone(kit))]
    bench = _Bench(model, packed, corpus, options, kits, pieces, progress)
    found: dict[int, Measured] = {}
    groups = _groups(plan, spec.samplerate)

    def measure(number: int) -> list[Measured]:
        return bench.measure([(*plan[i], i) for i in groups[number]])

    for number, part in enumerate(_in_threads(measure, len(groups), options.threads)):
        found |= dict(zip(groups[number], part, strict=True))
        if progress:
            progress("playing and listening, pieces", len(found), len(plan))
    tallies = [found[i].tally for i in range(len(plan))]
    per_kit = {}
    for kit in kits:
        own = [(p, t) for (k, p), t in zip(plan, tallies, strict=True) if k is kit]
        per_kit[kit.name] = _score(own)
    result = {
        **about(model, corpus, options),
        "grooves": [piece.name for piece in pieces],
        "kits_missing": missing,
        "skipped": skipped,
        "ears": bench.ears.told,
        **_score([(p, t) for (_, p), t in zip(plan, tallies, strict=True)]),
        **_likeness([found[i].clouds for i in range(len(plan))], len(pieces)),
        "per_kit": per_kit,
    }
    if options.endurance:
        result["endurance"] = run_endurance(packed, pieces, options, progress)
    return result


def about(model: ModelFile, corpus: Path, options: EvalOptions) -> dict[str, Any]:
    """Return the keys that say what was measured and how."""
    return {
        "model": model.name,
        "model_sha256": model.sha256,
        "samplerate": model.spec.samplerate,
        "corpus": str(corpus),
        "split": options.split,
        "weights": options.precision,
        "temperature": options.temperature,
        "top_k": options.top_k,
        "seed": options.seed,
        "bits_seconds": options.bits_seconds,
    }


def run_endurance(
    packed: Packed, pieces: Sequence[Piece], options: EvalOptions, progress: Progress | None
) -> dict[str, Any]:
    """Return the runs that `options` asks for, as `endure` does."""
    take = Take(options.seed, 0, None, options.temperature, options.top_k)
    return endure(
        packed,
        options.endurance,
        options.endurance_minutes,
        pieces,
        take,
        options.threads,
        progress,
    )


class _Bench:
    """All judges of one model, and how they measure pieces; shared between threads."""

    def __init__(
        self,
        model: ModelFile,
        packed: Packed,
        corpus: Path,
        options: EvalOptions,
        kits: Sequence[Kit],
        pieces: Sequence[Piece],
        progress: Progress | None,
    ) -> None:
        self.packed, self.options = packed, options
        spec, source = model.spec, options.kits or corpus
        rate, names = hearing_rate(spec.samplerate), [kit.name for kit in kits]
        corpora = [corpus] if options.kits is None else [corpus, options.kits]
        few = pieces[:SCORED_PIECES]
        self.ears = get_ears(corpora, rate, spec.roles, names, few, options.cache, progress)
        heard = kits
        if rate != spec.samplerate:
            heard = [load_kit(source, name, rate, spec.roles) for name in names]
        self.hearings = {kit.name: KitHearing(kit, self.ears) for kit in heard}
        self.kit_judge = train_kit_judge(kits, corpora, spec) if len(kits) > 1 else None

    def measure(self, items: Sequence[tuple[Kit, Piece, int]]) -> list[Measured]:
        """Return what is found of pieces of one length, with their streams."""
        return [
            self._judge(kit, piece, played)
            for (kit, piece, _), played in zip(
                items, play_all(self.packed, items, self.options), strict=True
            )
        ]

    def _judge(self, kit: Kit, piece: Piece, played: Played) -> Measured:
        spec, hits = self.packed.spec, played.hits
        both = (played.truth, played.generated)
        heard = [to_hearing_rate(audio, spec.samplerate) for audio in both]
        tally = judge(hits, heard[0], heard[1], self.hearings[kit.name])
        tally.quiet = noise.quiet_places(hits, *both, spec.samplerate)
        tally.tails = noise.tails(hits, *both, spec.samplerate)
        tally.low = [low_tones.low_products(*both, spec.samplerate)]
        if self.kit_judge and hits:
            roles, times = [role for _, role, _ in hits], [t for t, _, _ in hits]
            right = [
                self.kit_judge.name(likeness.patches(x, spec.samplerate, times), roles).count(
                    kit.name
                )
                for x in both
            ]
            tally.kits_asked, tally.truth_kits_right, tally.kits_right = len(hits), *right
        if piece.name != ALONE and self.options.bits_seconds > 0:
            frames = int(self.options.bits_seconds * spec.samplerate)
            weights = kit_weights(spec, kit.name)
            tally.bits, tally.bits_samples = bits(self.packed, weights, hits, both[0][:frames])
        truth, generated = (likeness.cloud(x, spec.samplerate, hits) for x in both)
        return Measured(tally, (truth, generated))


def train_kit_judge(
    kits: Sequence[Kit], corpora: Sequence[Path], spec: ModelSpec
) -> likeness.KitJudge:
    """Return a judge that knows the kits from rendered grooves of the train split and drills."""
    rng = np.random.default_rng(1)
    grooves: list[Piece] = []
    for corpus in corpora:
        try:
            grooves, _ = choose_pieces(corpus, "train", JUDGE_PIECES, JUDGE_SECONDS, 1)
            break
        except GhostnoteError:
            continue  # drills alone will do
    seen, roles, names = [], [], []
    for kit in kits:
        drills = [drill(rng, JUDGE_SECONDS, tuple(kit.layers)) for _ in range(JUDGE_PIECES)]
        for hits in (*drills, *(piece.hits for piece in grooves)):
            struck = _on_grid(hits, kit, spec)
            audio = kit.render(struck, round(JUDGE_SECONDS * spec.samplerate), spec.chokes)
            gain = 10.0 ** (rng.uniform(-JUDGE_GAIN_DB, JUDGE_GAIN_DB) / 20.0)
            times = [frame / spec.samplerate for frame, _, _ in struck]
            seen.append(likeness.patches(audio * np.float32(gain), spec.samplerate, times))
            roles += [role for _, role, _ in struck]
            names += [kit.name] * len(struck)
    return likeness.train_kit_judge(np.concatenate(seen), roles, names, spec.roles)


def _likeness(clouds: Sequence[tuple[FLOATS, FLOATS]], grooves: int) -> dict[str, Any]:
    """Return how far the generated lies from the real; half B is every second square of a
    board of kits and grooves: both halves hold all kits and grooves, but never the same one.

    `clouds` are those of the plan: for each kit the grooves, then the lone hits.
    """
    halves: list[tuple[list[FLOATS], list[FLOATS]]] = [([], []), ([], [])]
    for number, (truth, generated) in enumerate(clouds):
        kit, groove = divmod(number, grooves + 1)
        if groove < grooves:
            halves[(kit + groove) % 2][0].append(truth)
            halves[(kit + groove) % 2][1].append(generated)
    if not all(real for real, _ in halves):
        return {"frechet_ratio": None, "frechet": None, "frechet_real": None}
    real = [np.concatenate(half) for half, _ in halves]
    made = [np.concatenate(half) for _, half in halves]
    found = likeness.distances(real, made)
    return {
        "frechet_ratio": found.ratio if found else None,
        "frechet": found.generated if found else None,
        "frechet_real": found.real if found else None,
    }


def _groups(plan: Sequence[tuple[Kit, Piece]], samplerate: int) -> list[list[int]]:
    """Return numbers of pieces that are played side by side: of one length, a few at a time."""
    by_length: dict[int, list[int]] = {}
    for number, (_, piece) in enumerate(plan):
        by_length.setdefault(round(piece.seconds * samplerate), []).append(number)
    return [
        same[i : i + MAX_LANES]
        for same in by_length.values()
        for i in range(0, len(same), MAX_LANES)
    ]


def _score(measured: Sequence[tuple[Piece, Tally]]) -> dict[str, Any]:
    """Return the scores of grooves, with the pauses of the lone hits and what was heard of them."""
    grooves, lone = Tally(), Tally()
    for piece, tally in measured:
        (lone if piece.name == ALONE else grooves).add(tally)
    grooves.quiet += lone.quiet
    grooves.tails += lone.tails
    keys = ("recall", "truth_recall", "asked")
    heard = {role: {key: count.score()[key] for key in keys} for role, count in lone.roles.items()}
    return {**grooves.score(), "alone": heard}


def _in_threads(
    measure: Callable[[int], list[Measured]], count: int, threads: int
) -> Iterator[list[Measured]]:
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
    return play_all(packed, [(kit, piece, stream)], options)[0]


def play_all(
    packed: Packed, items: Sequence[tuple[Kit, Piece, int]], options: EvalOptions
) -> list[Played]:
    """Return pieces of one length, each with its stream, as `play` does: the same samples."""
    spec = packed.spec
    frames = round(items[0][1].seconds * spec.samplerate)
    lanes = Lanes(
        packed,
        [
            Take(
                options.seed,
                stream,
                kit_weights(spec, kit.name),
                options.temperature,
                options.top_k,
            )
            for kit, _, stream in items
        ],
    )
    struck = [_on_grid(piece.hits, kit, spec) for kit, piece, _ in items]
    for lane, hits in enumerate(struck):
        lanes.add([Trigger(*hit) for hit in hits], lane)
    made = lanes.play(frames)
    return [
        Played(
            tuple((frame / spec.samplerate, role, v) for frame, role, v in hits),
            kit.render(hits, frames, spec.chokes),
            made[lane],
        )
        for lane, ((kit, _, _), hits) in enumerate(zip(items, struck, strict=True))
    ]


def _on_grid(hits: Sequence[Hit], kit: Kit, spec: ModelSpec) -> list[tuple[int, str, float]]:
    """Return the hits that a kit has, at the hop boundary after each, in frames."""
    return [
        (math.ceil(t * spec.samplerate / spec.hop) * spec.hop, role, v)
        for t, role, v in hits
        if role in kit.layers and v > 0.0
    ]


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
    struck = [(round(t * spec.samplerate), spec.roles.index(role), v) for t, role, v in hits]
    if spec.body:
        by_hop = [(frame // spec.hop, role, v) for frame, role, v in struck]
        asked = Controls.of_hits(spec, by_hop, -(-len(audio) // spec.hop), kit)
        body = sound_of(spec, packed.source, asked.ages, asked.velocities, asked.kits)
        audio = audio - body[: len(audio)]
    levels = amplitudes.of_sound(spec, audio)
    total, at = 0.0, 0
    for frame, role, velocity in [*struck, (len(levels), -1, 0.0)]:
        while at < min(frame, len(levels)):
            piece = levels[at : min(frame, len(levels), at + spec.samplerate)]
            total += float(nats(spec, state.teacher_force(piece), piece).sum()) / math.log(2.0)
            at += len(piece)
        if role >= 0:
            state.hit(role, velocity)
    return total, len(levels)
