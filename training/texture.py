"""`ghostnote eval` of a model that takes no triggers: is what it plays by itself like real drums?

The real ones are grooves of the split, rendered with kits of the corpus's train split (else with
any). The model plays as long, once with each of its labels. There is nothing to obey: bits, the
Fréchet distance, how busy, loud and noisy it is beside the real ones, and endurance are what is
measured. Single-threaded but for endurance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
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
from .endurance import measure_minute
from .kits import Kit
from .likeness import cloud, distances
from .pieces import Piece
from .prepare import CHOKES

AUDIO = npt.NDArray[np.float32]

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
    real = [_real(kit, piece, spec.samplerate) for piece in pieces for kit in kits]
    labels: list[str | None] = list(spec.kits) or [None]
    made: dict[str | None, list[AUDIO]] = {}
    for number, label in enumerate(labels):
        made[label] = _play(packed, label, len(real), options, number * len(real))
        if progress:
            progress("playing", number + 1, len(labels))
    whole = [sound for sounds in made.values() for sound in sounds]
    bits, samples = _bits(packed, real, options, progress)
    found = distances(
        [_cloud(part, spec.samplerate) for part in _halves(real, len(kits))],
        [_cloud(part, spec.samplerate) for part in _halves(whole, len(kits))],
    )
    truth = asdict(measure_minute(np.concatenate(real), spec.samplerate))
    per_kit = {
        label or "(no label)": asdict(measure_minute(np.concatenate(sounds), spec.samplerate))
        for label, sounds in made.items()
    }
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
        "seconds": round(sum(len(sound) for sound in whole) / spec.samplerate, 3),
        "truth": truth,
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
        made = _play(packed, label, 1, options, number)[0]
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
) -> list[AUDIO]:
    """Return so many stretches of texture with a label, from streams from `stream` on."""
    spec = packed.spec
    kit = bench.kit_weights(spec, label) if label else None
    frames, settle = (round(s * spec.samplerate) for s in (options.seconds, SETTLE_SECONDS))
    made: list[AUDIO] = []
    for first in range(0, count, LANES):
        takes = [
            Take(options.seed, stream + n, kit, options.temperature, options.top_k)
            for n in range(first, min(first + LANES, count))
        ]
        made += list(Lanes(packed, takes).play(settle + frames)[:, settle:])
    return made


def _bits(
    packed: Packed,
    real: Sequence[AUDIO],
    options: bench.EvalOptions,
    progress: bench.Progress | None,
) -> tuple[float, int]:
    """Return bits in sum and samples; of the labels the one that finds a piece likeliest counts."""
    spec = packed.spec
    frames = int(options.bits_seconds * spec.samplerate)
    weights = [bench.kit_weights(spec, label) for label in spec.kits] or [[]]
    total, samples = 0.0, 0
    for number, sound in enumerate(real):
        if frames:
            found = [bench.bits(packed, kit, (), sound[:frames]) for kit in weights]
            total, samples = total + min(found)[0], samples + found[0][1]
        if progress:
            progress("bits", number + 1, len(real))
    return total, samples


def _halves(sounds: Sequence[AUDIO], kits: int) -> tuple[list[AUDIO], list[AUDIO]]:
    """Return halves of pieces x kits, as squares of a board: both hold all pieces and kits."""
    halves: tuple[list[AUDIO], list[AUDIO]] = ([], [])
    for number, sound in enumerate(sounds):
        halves[sum(divmod(number, kits)) % 2].append(sound)
    return halves


def _cloud(sounds: Sequence[AUDIO], samplerate: int) -> npt.NDArray[np.float32]:
    if not sounds:
        return np.zeros((0, 1), np.float32)
    return np.concatenate([cloud(sound, samplerate, ()) for sound in sounds])
