"""`ghostnote eval` of a model that takes no triggers: is what it plays by itself like real drums?

The real ones are grooves of the split, rendered with kits of the corpus's train split (else with
any). The model plays as long, once with each of its labels. There is nothing to obey: bits, the
Fréchet distance, how busy, loud and noisy it is beside the real ones, and endurance are what is
measured. Single-threaded but for endurance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.inference.generator import Lanes, Take
from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.spec import ROLES

from . import evaluate as bench
from .ears_lessons import load_kits
from .endurance import MINUTE, Minute, measure_minute
from .kits import Kit
from .likeness import cloud, distances
from .noise import decibels
from .pieces import Piece
from .prepare import CHOKES

AUDIO = npt.NDArray[np.float32]
FLOATS = npt.NDArray[np.float32]

MOST_KITS = 6
SETTLE_SECONDS = 2.0  # of a stream before it counts: it begins in silence
LANES = 8
EXAMPLES = 3


def evaluate_texture(
    model: ModelFile,
    corpus: Path,
    options: bench.EvalOptions,
    progress: bench.Progress | None = None,
) -> dict[str, Any]:
    """Return what `ghostnote eval --json` prints for a model without roles.

    Raises
    ------
    GhostnoteError
        If the corpus has no groove of the split or no kit that can be read.
    """
    spec, packed = model.spec, pack(model.spec, model.weights, options.precision)
    kits = _real_kits(corpus, options, spec.samplerate)
    pieces, skipped = options.pieces(corpus)
    count, counted = len(pieces) * len(kits), [0.0, 0]
    labels: list[str | None] = list(spec.kits) or [None]

    def real() -> Iterator[AUDIO]:
        for number in range(count):
            piece, kit = pieces[number // len(kits)], kits[number % len(kits)]
            sound = _real(kit, piece, spec.samplerate)
            for place, more in enumerate(_bits(packed, sound, options)):
                counted[place] += more
            yield sound
            if progress:
                progress("real grooves", number + 1, count)

    truth = _listen(real(), len(kits), spec.samplerate)
    made: dict[str | None, _Heard] = {}
    for number, label in enumerate(labels):
        sounds = _play(packed, label, count, options, number * count)
        made[label] = _listen(sounds, len(kits), spec.samplerate)
        if progress:
            progress("playing", number + 1, len(labels))
    bits, samples = counted
    found = distances(
        [_cloud([half]) for half in truth.halves],
        [_cloud([heard.halves[of] for heard in made.values()]) for of in (0, 1)],
    )
    per_kit = {label or "(no label)": heard.figures for label, heard in made.items()}
    result = {
        **bench.about(model, corpus, options),
        "grooves": [piece.name for piece in pieces],
        "skipped": skipped,
        "kits_missing": [],
        "bits_per_sample": bits / samples if samples else None,
        "roles": {},
        "timing_ms_p95": None,
        "velocity_correlation": None,
        "floor_db": None,
        "truth_floor_db": None,
        "frechet_ratio": found.ratio if found else None,
        "frechet": found.generated if found else None,
        "frechet_real": found.real if found else None,
        "kit_accuracy": None,
        "truth_kit_accuracy": None,
        "seconds": round(sum(heard.seconds for heard in made.values()), 3),
        "real_kits": [kit.name for kit in kits],
        "truth": truth.figures,
        "per_kit": per_kit,
    }
    if options.endurance:
        result["endurance"] = bench.run_endurance(packed, pieces, options, progress)
    return result


def texture_examples(
    model: ModelFile,
    corpus: Path,
    options: bench.EvalOptions,
    progress: bench.Progress | None = None,
) -> Iterator[tuple[str, str, bench.Played]]:
    """Yield (label, title, what was played) of each label, beside real grooves."""
    packed = pack(model.spec, model.weights, options.precision)
    kits = _real_kits(corpus, options, model.spec.samplerate)
    pieces, _ = options.pieces(corpus)
    labels: list[str | None] = list(model.spec.kits) or [None] * EXAMPLES
    for number, label in enumerate(labels):
        kit, piece = kits[number % len(kits)], pieces[number % len(pieces)]
        real = _real(kit, piece, model.spec.samplerate)
        made = next(_play(packed, label, 1, options, number))
        title = f"{label or 'texture'} beside {kit.name}, groove {piece.name}"
        yield label or "texture", title, bench.Played((), real, made)
        if progress:
            progress("picture", number + 1, len(labels))


def _real_kits(corpus: Path, options: bench.EvalOptions, samplerate: int) -> Sequence[Kit]:
    source = options.kits or corpus
    found = load_kits(source, "train", samplerate, ROLES)
    found = found or load_kits(source, "validation", samplerate, ROLES)
    if not found:
        raise GhostnoteError(f"eval: no kit in {source} that could play real grooves")
    return found[:: -(-len(found) // MOST_KITS)]


def _real(kit: Kit, piece: Piece, samplerate: int) -> AUDIO:
    struck = [(round(t * samplerate), role, v) for t, role, v in piece.hits]
    return kit.render(struck, round(piece.seconds * samplerate), CHOKES)


def _play(
    packed: Packed, label: str | None, count: int, options: bench.EvalOptions, stream: int
) -> Iterator[AUDIO]:
    """Yield so many stretches of texture with a label, from streams from `stream` on."""
    spec = packed.spec
    kit = bench.kit_weights(spec, label) if label else None
    frames, settle = (round(s * spec.samplerate) for s in (options.seconds, SETTLE_SECONDS))
    for first in range(0, count, LANES):
        takes = [
            Take(options.seed, stream + n, kit, options.temperature, options.top_k)
            for n in range(first, min(first + LANES, count))
        ]
        yield from Lanes(packed, takes).play(settle + frames)[:, settle:]


def _bits(packed: Packed, sound: AUDIO, options: bench.EvalOptions) -> tuple[float, int]:
    """Return bits in sum and samples; of the labels the one that finds a piece likeliest counts."""
    spec = packed.spec
    frames = int(options.bits_seconds * spec.samplerate)
    if not frames:
        return 0.0, 0
    weights = [bench.kit_weights(spec, label) for label in spec.kits] or [[]]
    return min(bench.bits(packed, kit, (), sound[:frames]) for kit in weights)


@dataclass(frozen=True)
class _Heard:
    """What stays of sounds that were listened to, which themselves would fill the memory.

    `halves` are the points of two halves of pieces x kits, as squares of a board: both hold all
    pieces and kits. `figures` are those of a `Minute`.
    """

    halves: tuple[list[FLOATS], list[FLOATS]]
    figures: dict[str, float]
    seconds: float


def _listen(sounds: Iterable[AUDIO], kits: int, samplerate: int) -> _Heard:
    halves: tuple[list[FLOATS], list[FLOATS]] = ([], [])
    stretches: list[tuple[float, Minute]] = []
    parts: list[AUDIO] = []

    def measure() -> None:
        if parts:
            whole = np.concatenate(parts)
            stretches.append((len(whole) / samplerate, measure_minute(whole, samplerate)))
            parts.clear()

    for number, sound in enumerate(sounds):
        halves[sum(divmod(number, kits)) % 2].append(cloud(sound, samplerate, ()))
        parts.append(np.array(sound))  # a copy: lanes that were played together share memory
        if sum(map(len, parts)) >= MINUTE * samplerate:
            measure()
    measure()
    return _Heard(halves, _mean(stretches), sum(seconds for seconds, _ in stretches))


def _mean(stretches: Sequence[tuple[float, Minute]]) -> dict[str, float]:
    """Return the figures of stretches (s, figures) together."""
    whole = sum(seconds for seconds, _ in stretches)
    found = {
        name: sum(seconds * getattr(minute, name) for seconds, minute in stretches) / whole
        for name in ("entropy", "onsets", "dc", "flatness_db")
    }
    power = sum(seconds * 10.0 ** (one.level_db / 10.0) for seconds, one in stretches) / whole
    silence = max(minute.silence_s for _, minute in stretches)
    return asdict(Minute(level_db=decibels(power), silence_s=silence, **found))


def _cloud(halves: Sequence[Sequence[FLOATS]]) -> FLOATS:
    parts = [points for half in halves for points in half]
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
