"""Likeness: how near what a model plays lies to real drums, as clouds of points, and as kits.

A point is a patch of the log-mel spectrogram at a hit or on a grid of 100 ms, at the model's own
sample rate. The Fréchet distance of two clouds taken for Gaussians (Heusel et al. 2017, arXiv
1706.08500; for audio Kilgour et al. 2018, arXiv 1812.08466) needs a scale: that of two disjoint
halves of the real ones. Another judge, trained on rendered drums, names the kit of each hit.

NumPy, and scikit-learn in training; no state, any thread.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ghostnote.inference.midi import Hit

from .mel import band_edges, levels

FLOATS = npt.NDArray[np.float32]
DOUBLES = npt.NDArray[np.float64]
AUDIO = npt.NDArray[np.float32]

STEP_SECONDS = 0.01
WINDOW_SECONDS = 0.03
PER_OCTAVE = 3.0
LOOKS = (-2, 0, 1, 2, 4, 8, 14, 20)  # frames around a point
GRID = 10  # frames from one point of the grid to the next
AXES = 32  # of the clouds: principal ones of the real
QUIETEST_DB = -65.0  # of a third of an octave: what is softer is nothing beside drums
NOTHING = 1e-6  # a distance that is none but for rounding
KIT_AXES = 64
KIT_HIDDEN = (96,)
KIT_EPOCHS = 30
KIT_PENALTY = 3e-3


def patches(audio: AUDIO, samplerate: int, seconds: Sequence[float]) -> FLOATS:
    """Return what sounds around times, in units of 30 dB, float32 [n, D]."""
    padded = _padded(audio, samplerate)
    at = _frames(seconds, samplerate, len(padded) - _MARGIN)
    return _cut(padded, np.array(at, np.int64))


def cloud(audio: AUDIO, samplerate: int, hits: Sequence[Hit]) -> FLOATS:
    """Return the points of a piece, float32 [n, D]: at its hits, and on the grid."""
    padded = _padded(audio, samplerate)
    count = len(padded) - _MARGIN
    at = _frames([t for t, _, _ in hits], samplerate, count)
    return _cut(padded, np.array([*at, *range(0, count, GRID)], np.int64))


_MARGIN = LOOKS[-1] - LOOKS[0]


def _padded(audio: AUDIO, samplerate: int) -> FLOATS:
    edges = band_edges(samplerate, PER_OCTAVE)
    found = levels(audio, samplerate, edges, STEP_SECONDS, WINDOW_SECONDS)
    found = np.maximum(found, QUIETEST_DB)
    return np.pad((found + 60.0) / 30.0, ((-LOOKS[0], LOOKS[-1]), (0, 0)), mode="edge")


def _frames(seconds: Sequence[float], samplerate: int, count: int) -> list[int]:
    """Return which of so many frames are nearest to times; a step is a whole number of samples."""
    step = round(STEP_SECONDS * samplerate) / samplerate
    return [min(max(round(t / step), 0), count - 1) for t in seconds]


def _cut(padded: FLOATS, at: npt.NDArray[np.int64]) -> FLOATS:
    return np.concatenate([padded[at + look - LOOKS[0]] for look in LOOKS], axis=1)


def frechet_distance(one: DOUBLES, other: DOUBLES) -> float:
    """Return the Fréchet distance of two clouds [n, D], [m, D] taken for Gaussians.

    >>> cloud = np.random.default_rng(0).standard_normal((1000, 2))
    >>> round(frechet_distance(cloud, cloud + [3.0, 4.0]), 6)
    25.0
    """
    apart = one.mean(axis=0) - other.mean(axis=0)
    spread, other_spread = np.cov(one.T), np.cov(other.T)
    # The trace of the root of a product is the sum of the roots of its eigenvalues, all real.
    roots = np.sqrt(np.maximum(np.linalg.eigvals(spread @ other_spread).real, 0.0))
    return float(apart @ apart + np.trace(spread) + np.trace(other_spread) - 2.0 * roots.sum())


@dataclass(frozen=True)
class Distances:
    """Fréchet distances: of the generated to the real, and of two halves of the real."""

    generated: float
    real: float

    @property
    def ratio(self) -> float | None:
        """The first by the second: 1 is as near as real grooves are to one another."""
        return self.generated / self.real if self.real > NOTHING else None


def distances(real: Sequence[FLOATS], generated: Sequence[FLOATS]) -> Distances | None:
    """Return the distances between halves A and B of clouds [n, D].

    Parameters
    ----------
    real, generated : two clouds each
        Of half A and half B, which share no piece.

    Returns None where a half has too few points for a covariance. Generated A is compared with
    real B and the other way round, as real A with real B: other pieces in all cases.
    """
    if min(len(half) for half in (*real, *generated)) <= AXES:
        return None
    both = np.concatenate(real).astype(np.float64)
    mean = both.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(both.T))
    axes = axes[:, -AXES:]
    a, b = ((half - mean) @ axes for half in real)
    x, y = ((half - mean) @ axes for half in generated)
    crossed = 0.5 * (frechet_distance(x, b) + frechet_distance(y, a))
    return Distances(crossed, frechet_distance(a, b))


@dataclass(frozen=True)
class KitJudge:
    """Names the kit of hits: a small network over patches and roles."""

    kits: tuple[str, ...]
    roles: tuple[str, ...]
    mean: FLOATS
    layers: tuple[tuple[FLOATS, FLOATS], ...]

    def name(self, seen: FLOATS, roles: Sequence[str]) -> list[str]:
        """Return the kit of each hit, given its patch [n, D] and its role."""
        value = np.concatenate([seen, one_hot(roles, self.roles)], axis=1) - self.mean
        for weight, bias in self.layers[:-1]:
            value = np.maximum(value @ weight + bias, 0.0)
        weight, bias = self.layers[-1]
        scores = value @ weight + bias
        if scores.shape[1] == 1:  # scikit-learn tells two classes by one number
            return [self.kits[int(score > 0.0)] for score in scores[:, 0]]
        return [self.kits[int(best)] for best in scores.argmax(axis=1)]


def one_hot(roles: Sequence[str], known: Sequence[str]) -> FLOATS:
    """Return roles as rows with a single 1, float32 [n, known]."""
    found = np.zeros((len(roles), len(known)), np.float32)
    found[np.arange(len(roles)), [known.index(role) for role in roles]] = 1.0
    return found


def train_kit_judge(
    seen: FLOATS, roles: Sequence[str], kits: Sequence[str], known: Sequence[str], seed: int = 1
) -> KitJudge:
    """Return a judge trained on patches [n, D] of hits of roles and kits.

    Parameters
    ----------
    known : sequence of str
        All roles.
    """
    # Slow to import and needed for nothing else; one thread, for the same sums each time.
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    names = tuple(sorted(set(kits)))
    every = np.concatenate([seen, one_hot(roles, known)], axis=1)
    mean = every.mean(axis=0)
    every = every - mean
    with threadpool_limits(1):
        power, axes = np.linalg.eigh((every.T @ every) / np.float32(len(every)))
        kept = slice(-1, -min(KIT_AXES, len(power)) - 1, -1)
        axes = (axes[:, kept] / np.sqrt(np.maximum(power[kept], 0.0) + 0.05)).astype(np.float32)
        network = MLPClassifier(
            KIT_HIDDEN, alpha=KIT_PENALTY, random_state=seed, max_iter=KIT_EPOCHS
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "not converged": the epochs are counted on purpose
            network.fit(every @ axes, [names.index(kit) for kit in kits])
    weights = [axes @ network.coefs_[0], *network.coefs_[1:]]
    layers = tuple(
        (np.asarray(w, np.float32), np.asarray(b, np.float32))
        for w, b in zip(weights, network.intercepts_, strict=True)
    )
    return KitJudge(names, tuple(known), mean, layers)
