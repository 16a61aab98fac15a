"""Training the ears of `ghostnote eval` on real drums, and telling how well they hear real ones.

Candidates of rendered lessons (`ears_lessons.py`), each labelled with the roles that begin there,
train a small network of scikit-learn. Its weights are kept as plain arrays: in the cache folder
that is given, under a fingerprint of all that they come from. Single-threaded, about a minute on
one core at 24 kHz; the same corpus gives the same ears.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostnote.inference.midi import Hit

from .ears import TOLERANCE_SECONDS, Ears, load_ears, look
from .ears_lessons import ANY, Teachers, find_teachers, kit_splits, lessons, load_kits
from .hearing import KitHearing
from .pieces import Piece
from .scores import Tally, judge

FLOATS = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]

SEED = 1
PAIRS = 330  # of lessons: 165 minutes
PAIRS_PER_KIT = 20  # ... fewer where there are few kits
HELD_BACK = 8  # every so manieth pair sets the thresholds
LABEL_LATE = 0.002  # s that a candidate comes after the hit that makes it
COMPONENTS = 160  # of what is seen; more are noise
SHRINK = 0.3
HIDDEN = (256, 64)
BATCH = 256
COURSE = ((1.5e-3, 7), (4e-4, 3), (1e-4, 3))  # rates and epochs
PENALTY = 1e-3
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
KEPT = 8  # ears in the cache: under a megabyte each
SHOT_LEAD, SHOT_SECONDS = 0.1, 1.0


def get_ears(
    corpora: Sequence[Path],
    rate: int,
    roles: Sequence[str],
    favoured: Sequence[str],
    pieces: Sequence[Piece],
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Ears:
    """Return ears for kits at a hearing rate, from the cache if they were trained before.

    Parameters
    ----------
    corpora : sequence of Path
        The first with kits of the train split teaches.
    rate : int
        Hearing rate in Hz.
    roles, favoured : sequence of str
        What to tell apart; kits that are heard twice as often as the others.
    pieces : sequence of Piece
        On which to tell how well kits of the validation split are heard: by unknown authors.
    cache : Path or None
        Folder; None: trained anew each time.
    """
    taught = [c for c in corpora if "train" in kit_splits(c).values()]
    source = (taught or [c for c in corpora if kit_splits(c)] or list(corpora))[0]
    path = cache / f"ears-{fingerprint(source, rate, roles, favoured)}.npz" if cache else None
    ears = load_ears(path) if path else None
    if ears is None:
        ears = train_ears(find_teachers(corpora, rate, roles, SEED), roles, favoured, progress)
        if path:
            _keep(ears, path)
    scored = score_ears(ears, source, pieces)
    return replace(ears, told={"source": str(source), **ears.told, **scored})


def _keep(ears: Ears, path: Path) -> None:
    """Write ears into the cache, and forget all but the last few; a full disk costs no result."""
    with contextlib.suppress(OSError):
        ears.save(path)
        kept = sorted(path.parent.glob("ears-*.npz"), key=lambda old: old.stat().st_mtime)
        for old in kept[:-KEPT]:
            old.unlink(missing_ok=True)


def fingerprint(corpus: Path, rate: int, roles: Sequence[str], favoured: Sequence[str]) -> str:
    """Return 16 hexadecimal digits of all that the ears are made from, this code included."""
    digest = hashlib.sha256(repr((rate, tuple(roles), sorted(favoured))).encode())
    here = Path(__file__).parent
    code = (
        "mel",
        "ears",
        "audibility",
        "ears_lessons",
        "ears_training",
        "kits",
        "grooves",
        "pieces",
    )
    for path in (here / f"{name}.py" for name in code):
        digest.update(path.read_bytes())
    tables = [*sorted((corpus / "kits").glob("*.csv")), corpus / "manifest.csv"]
    for path in [*tables, corpus / "grooves" / "info.csv"]:
        digest.update(path.name.encode() + (path.read_bytes() if path.is_file() else b"none"))
    for path in sorted(p for p in (corpus / "oneshots").rglob("*") if p.is_file()):
        digest.update(path.relative_to(corpus).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def train_ears(
    teachers: Teachers,
    roles: Sequence[str],
    favoured: Sequence[str],
    progress: Progress | None = None,
) -> Ears:
    """Return ears trained on lessons of the teachers."""
    rate = teachers.kits[0].samplerate
    rng = np.random.default_rng(SEED)
    total = min(PAIRS, PAIRS_PER_KIT * len(teachers.kits) * 4 // 3)
    each = 2 if teachers.grooves else 1
    seen: list[npt.NDArray[np.float16]] = []
    labels: list[npt.NDArray[np.bool_]] = []
    unclear: list[npt.NDArray[np.bool_]] = []
    held: list[bool] = []
    for number, lesson in enumerate(lessons(teachers, favoured, total, rng)):
        times, found = look(lesson.audio, rate)
        seen.append(found.astype(np.float16))  # half the memory, finer than 0.1 dB
        labels.append(label(times, lesson.hits, roles))
        unclear.append(label(times, lesson.masked, roles))
        held += [number // each % HELD_BACK == HELD_BACK - 1] * len(times)
        if progress and number % 10 == 0:
            progress("ears: lessons", number // each, total)
    every, wanted, test = np.concatenate(seen), np.concatenate(labels), np.array(held)
    mean, layers = _fit(every[~test].astype(np.float32), wanted[~test], progress)
    ears = Ears(rate, tuple(roles), mean, layers, np.full(len(roles), 0.5, np.float32), {})
    likely, right = ears.likelihoods(every[test].astype(np.float32)), wanted[test]
    # What cannot be heard may be called or not: it counts neither way, as when a model is judged.
    counts = right | ~np.concatenate(unclear)[test]
    thresholds = [
        _best_threshold(likely[counts[:, i], i], right[counts[:, i], i]) for i in range(len(roles))
    ]
    told = {
        "kits": [kit.name for kit in teachers.kits],
        "kits_split": teachers.split,
        "hits": int(wanted.sum()),
    }
    return Ears(rate, tuple(roles), mean, layers, np.array(thresholds, np.float32), told)


def label(
    times: npt.NDArray[np.float64], hits: Sequence[Hit], roles: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Return which roles begin at candidates (s) [n]: each hit at the nearest, bool [n, roles]."""
    found = np.zeros((len(times), len(roles)), bool)
    for seconds, role, _ in hits:
        if len(times):
            nearest = int(np.argmin(np.abs(times - seconds - LABEL_LATE)))
            if abs(times[nearest] - seconds) <= TOLERANCE_SECONDS:
                found[nearest, roles.index(role)] = True
    return found


def _fit(
    seen: FLOATS, wanted: npt.NDArray[np.bool_], progress: Progress | None
) -> tuple[FLOATS, tuple[tuple[FLOATS, FLOATS], ...]]:
    """Return the mean and the layers of a network that tells roles [n, R] from what is seen."""
    # Slow to import and needed for nothing else; one thread, for the same sums each time.
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "not converged": the epochs are counted on purpose
        mean = seen.mean(axis=0)
        seen -= mean
        scale = seen.std(axis=0) + np.float32(1e-3)
        seen /= scale
        power, axes = np.linalg.eigh((seen.T @ seen) / np.float32(len(seen)))
        kept = slice(-1, -min(COMPONENTS, len(power)) - 1, -1)
        axes = (axes[:, kept] / np.sqrt(power[kept] + SHRINK)).astype(np.float32)
        seen = seen @ axes
        network = MLPClassifier(
            HIDDEN, batch_size=BATCH, alpha=PENALTY, random_state=SEED, warm_start=True
        )
        for part, (rate, epochs) in enumerate(COURSE):
            if progress:
                progress("ears: training", part, len(COURSE))
            network.set_params(learning_rate_init=rate, max_iter=epochs)
            network.fit(seen, wanted)
    weights, biases = list(network.coefs_), list(network.intercepts_)
    weights[0] = (axes / scale[:, None]) @ weights[0]
    return mean, tuple(
        (np.asarray(w, np.float32), np.asarray(b, np.float32))
        for w, b in zip(weights, biases, strict=True)
    )


def _best_threshold(likely: FLOATS, wanted: npt.NDArray[np.bool_]) -> float:
    """Return from which likelihood on precision and recall (their F measure) are best."""
    best, found = -1.0, 0.5
    for threshold in sorted(THRESHOLDS, key=lambda value: abs(value - found)):
        heard = likely >= threshold
        score = 2.0 * (heard & wanted).sum() / max(heard.sum() + wanted.sum(), 1)
        if score > best:
            best, found = float(score), threshold
    return found


def score_ears(ears: Ears, corpus: Path, pieces: Sequence[Piece]) -> dict[str, Any]:
    """Return how well real drums of the validation split are heard, alone and in mixtures."""
    unknown = ears.told.get("kits_split") != ANY
    kits = load_kits(corpus, "validation", ears.rate, ears.roles) if unknown else []
    right = asked = 0
    tally = Tally()
    for kit in kits:
        for role, layers in kit.layers.items():
            for layer in layers:
                asked += 1
                right += _names(ears, layer.audio) == role
        hearing = KitHearing(kit, ears)
        for piece in pieces:
            hits = [hit for hit in piece.hits if hit[1] in kit.layers]
            struck = [(round(t * ears.rate), role, v) for t, role, v in hits]
            truth = kit.render(struck, round(piece.seconds * ears.rate))
            tally.add(judge(hits, truth, truth, hearing))
    keys = ("truth_precision", "truth_recall", "asked")
    roles = {role: count.score() for role, count in tally.roles.items()}
    return {
        "unknown_kits": [kit.name for kit in kits],
        "oneshots": {"asked": asked, "right": right},
        "mixtures": {
            role: {key.removeprefix("truth_"): score[key] for key in keys}
            for role, score in roles.items()
        },
    }


def _names(ears: Ears, shot: FLOATS) -> str | None:
    """Return what the ears call a single stroke."""
    lead = np.zeros(round(SHOT_LEAD * ears.rate), np.float32)
    times, seen = look(np.concatenate([lead, shot[: round(SHOT_SECONDS * ears.rate)]]), ears.rate)
    near = np.abs(times - SHOT_LEAD) <= 2.0 * TOLERANCE_SECONDS
    if not near.any():
        return None
    return ears.roles[int(ears.likelihoods(seen[near]).max(axis=0).argmax())]
