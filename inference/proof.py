"""The proof in a model file: what it must play, checked wherever it is loaded.

A proof names a seed and hits, the levels that the float64 reference played for them, and logits
that it gave for a fixed sequence of levels. An engine that gives other logits, or draws another
level where the draw was not a near tie, does not play this model. Pure functions; any thread.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ghostnote.kernels import mulaw, rng
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.kernels.reference import Reference, choose, cumulative, margin
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import Weights

from .model_file import ModelFile
from .onnx_stream import Controls, OnnxStream

INTS = npt.NDArray[np.int64]
DOUBLES = npt.NDArray[np.float64]

SAMPLES = 960
FORCED = 96
FORCED_AT = (0, 1, 31, 63, 95)

SAMPLES_MAX, FORCED_MAX = 65536, 4096  # in a file that may come from anywhere

NEAR_TIE = 1e-4
"""Share of the total by which a draw may miss the edge of its level in float32 and differ."""

LOGIT_ABSOLUTE, LOGIT_RELATIVE = 1e-3, 1e-3
"""Error allowed of a float32 engine's logits; met with room by all of ours."""


@dataclass(frozen=True)
class Proof:
    """What is asked and what must come.

    Attributes
    ----------
    seed, stream : int
    temperature : float
    kit : list of float
        Kit weights, also of the silence before the start.
    hits : list of (hop, role number, velocity)
    levels : list of int
        The levels played, from the first sample on.
    forced_levels : list of int
        Levels fed in place of those drawn, under the same hits.
    forced_at : list of int
        Positions in `forced_levels` whose predicted logits are in `forced_logits`.
    forced_logits : list of list of float
    """

    seed: int
    stream: int
    temperature: float
    kit: list[float]
    hits: list[tuple[int, int, float]]
    levels: list[int]
    forced_levels: list[int]
    forced_at: list[int]
    forced_logits: list[list[float]]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], spec: ModelSpec) -> Proof:
        """Build a proof from `to_json`'s form, which may come from anywhere.

        Raises
        ------
        GhostnoteError
            If a field is missing or impossible for the spec; the message names it.
        """
        levels = spec.levels
        at = _numbers(values, "forced_at", int, 0, FORCED_MAX - 1, FORCED_MAX)
        forced = _numbers(values, "forced_levels", int, 0, levels - 1, FORCED_MAX)
        if any(position >= len(forced) for position in at):
            raise GhostnoteError("proof field 'forced_at': beyond the end of 'forced_levels'")
        logits = values.get("forced_logits")
        if not isinstance(logits, list) or len(logits) != len(at):
            raise GhostnoteError(f"proof field 'forced_logits': expected {len(at)} rows")
        rows = [
            _numbers({"forced_logits": row}, "forced_logits", float, -1e6, 1e6, levels, levels)
            for row in logits
        ]
        hits = values.get("hits")
        if not isinstance(hits, list) or len(hits) > SAMPLES_MAX:
            raise GhostnoteError("proof field 'hits': expected a list of [hop, role, velocity]")
        return cls(
            seed=_number(values, "seed", int, 0, 2**63 - 1),
            stream=_number(values, "stream", int, 0, 2**31 - 1),
            temperature=_number(values, "temperature", float, 0.01, 10.0),
            kit=_numbers(values, "kit", float, -10.0, 10.0, len(spec.kits), len(spec.kits)),
            hits=[_hit(hit, spec) for hit in hits],
            levels=_numbers(values, "levels", int, 0, levels - 1, SAMPLES_MAX),
            forced_levels=forced,
            forced_at=at,
            forced_logits=rows,
        )

    def controls(self, spec: ModelSpec) -> Controls:
        """Return the controls of all hops that the proof reaches into."""
        hops = max(len(self.levels), len(self.forced_levels)) // spec.hop + 1
        return Controls.of_hits(spec, self.hits, hops, self.kit)


class Agreement(NamedTuple):
    """How well an engine kept to a proof.

    Attributes
    ----------
    samples : int
        Levels compared.
    near_ties : int
        Draws that differed at a near tie.
    logit_error : float
        The largest difference of a logit.
    """

    samples: int
    near_ties: int
    logit_error: float


class Replay(NamedTuple):
    """What an engine does with a proof.

    Attributes
    ----------
    free : int64 [n] or None
        Levels played freely; None where that is what `guided` shows already.
    guided : [n, Q]
        Logits predicted while the proof's levels were fed.
    forced : [m, Q]
        Logits predicted while `forced_levels` were fed.
    """

    free: INTS | None
    guided: npt.NDArray[np.floating[Any]]
    forced: npt.NDArray[np.floating[Any]]


def make_proof(spec: ModelSpec, weights: Weights, seed: int = 1) -> Proof:
    """Return the proof of a model: two hits, or free texture where it has no roles.

    Takes the reference a few seconds for a model of twenty layers.
    """
    half = SAMPLES // spec.hop // 2
    # A decaying tone from full scale, so that loud levels and silence are both fed.
    t = np.arange(FORCED)
    tone = np.exp(-t / 16.0) * np.cos(t)
    asked = Proof(
        seed=seed,
        stream=0,
        temperature=1.0,
        kit=[1.0, *[0.0] * (len(spec.kits) - 1)] if spec.kits else [],
        hits=[(0, 0, 1.0), (half, 1 % len(spec.roles), 0.625)] if spec.roles else [],
        levels=[spec.silence] * SAMPLES,
        forced_levels=mulaw.encode(tone, spec.levels).tolist(),
        forced_at=list(FORCED_AT),
        forced_logits=[],
    )
    stream = _ReferenceStream(spec, weights, asked)
    levels, _ = stream.play([-1] * SAMPLES)
    _, logits = stream.play(asked.forced_levels)
    # Six digits are a tenth of a percent of what is tolerated, and half the size of all.
    rows = [[float(f"{x:.6g}") for x in logits[at]] for at in FORCED_AT]
    return replace(asked, levels=levels, forced_logits=rows)


def check_proof(model: ModelFile, engines: Sequence[str] = ("numba",)) -> dict[str, Agreement]:
    """Replay a model's proof on the named engines, of `ENGINES`.

    Returns
    -------
    How well each kept to it, by name.

    Raises
    ------
    GhostnoteError
        If the file has no usable proof, or an engine does not play the model; the message tells
        the position and by how much.
    """
    if not model.proof:
        raise GhostnoteError(f"model {model.path}: has no proof to replay; export it again")
    try:
        proof = Proof.from_json(model.proof, model.spec)
        return {name: judge(name, ENGINES[name](model, proof), proof) for name in engines}
    except GhostnoteError as error:
        raise GhostnoteError(f"model {model.path}: {error}") from None


def judge(engine: str, replay: Replay, proof: Proof) -> Agreement:
    """Compare what an engine did with what the proof says.

    Raises
    ------
    GhostnoteError
        If it does not play the model; the message tells the position and by how much.
    """
    wanted = np.array(proof.forced_logits).reshape(len(proof.forced_at), -1)
    found = np.asarray(replay.forced, np.float64)[proof.forced_at].reshape(wanted.shape)
    error = np.abs(found - wanted)
    # Written so that NaN counts as wrong.
    wrong = ~(error <= LOGIT_ABSOLUTE + LOGIT_RELATIVE * np.abs(wanted))
    if wrong.any():
        row, level = (int(i) for i in np.argwhere(wrong)[0])
        raise GhostnoteError(
            f"proof: {engine} gives logit {found[row, level]:.6g} of level {level} at forced "
            f"position {proof.forced_at[row]}, expected {wanted[row, level]:.6g}"
        )
    ties = set()
    uniforms = rng.uniforms(proof.seed, proof.stream, 0, len(proof.levels))
    for at, (level, u) in enumerate(zip(proof.levels, uniforms, strict=True)):
        running = cumulative(np.asarray(replay.guided[at], np.float64), proof.temperature)
        drawn = choose(running, float(u))
        if drawn != level:
            missed = margin(running, float(u))
            if not missed <= NEAR_TIE:
                raise GhostnoteError(
                    f"proof: {engine} draws level {drawn} at sample {at}, expected {level}; "
                    f"by {missed:.2g} of the total, so no near tie"
                )
            ties.add(at)
    if replay.free is not None:
        _judge_free(engine, replay, proof, uniforms, ties)
    return Agreement(len(proof.levels), len(ties), float(error.max(initial=0.0)))


def _judge_free(
    engine: str, replay: Replay, proof: Proof, uniforms: npt.NDArray[np.float32], ties: set[int]
) -> None:
    """Compare what an engine played freely, up to where a near tie first led it elsewhere."""
    assert replay.free is not None
    apart = np.nonzero(replay.free != np.array(proof.levels, np.int64))[0]
    if not len(apart):
        return
    at = int(apart[0])
    running = cumulative(np.asarray(replay.guided[at], np.float64), proof.temperature)
    missed = margin(running, float(uniforms[at]))
    if not missed <= NEAR_TIE:
        raise GhostnoteError(
            f"proof: {engine} plays level {int(replay.free[at])} at sample {at}, expected "
            f"{proof.levels[at]}; by {missed:.2g} of the total, so no near tie"
        )
    ties.add(at)


class _ReferenceStream:
    """The reference under a proof's controls; every call of `play` starts from silence."""

    def __init__(self, spec: ModelSpec, weights: Weights, proof: Proof) -> None:
        self.spec, self.proof = spec, proof
        self.reference = Reference(spec, weights)
        self.rows = proof.controls(spec).rows(weights.get("age_table"))
        silent = Controls.of_hits(spec, [], 1, proof.kit).rows(weights.get("age_table"))
        self.start = self.reference.start(silent[0])

    def play(self, levels: Sequence[int]) -> tuple[list[int], DOUBLES]:
        """Feed levels, where -1 draws one; return the levels and the logits before each."""
        spec, proof = self.spec, self.proof
        state, level, played = copy.deepcopy(self.start), spec.silence, []
        logits = np.empty((len(levels), spec.levels))
        uniforms = rng.uniforms(proof.seed, proof.stream, 0, len(levels))
        for at, forced in enumerate(levels):
            if at % spec.hop == 0:
                self.reference.set_control(state, self.rows[at // spec.hop])
            logits[at] = self.reference.step(state, level)
            drawn = choose(cumulative(logits[at], proof.temperature), float(uniforms[at]))
            level = drawn if forced < 0 else forced
            played.append(level)
        return played, logits


def _replay_reference(model: ModelFile, proof: Proof) -> Replay:
    stream = _ReferenceStream(model.spec, model.weights, proof)
    return Replay(None, stream.play(proof.levels)[1], stream.play(proof.forced_levels)[1])


def _replay_numba(model: ModelFile, proof: Proof) -> Replay:
    spec = model.spec
    state = State(pack(spec, model.weights), proof.seed, proof.stream)
    state.set_sampling(proof.temperature)
    if spec.kits:
        state.set_kit(proof.kit)

    def by_hops(count: int, work: Callable[[int, int], None]) -> None:
        """Start anew and do the work of every hop after striking its hits."""
        state.reset()
        hits = sorted(proof.hits, key=lambda hit: hit[0])
        for first in range(0, count, spec.hop):
            while hits and hits[0][0] * spec.hop <= first:
                _, role, velocity = hits.pop(0)
                state.hit(role, velocity)
            work(first, min(first + spec.hop, count))

    def force(levels: Sequence[int]) -> npt.NDArray[np.float32]:
        fed = np.array(levels, np.int64)
        logits = np.full((len(fed), spec.levels), np.nan, np.float32)

        def work(first: int, last: int) -> None:
            logits[first:last] = state.teacher_force(fed[first:last])

        by_hops(len(fed), work)
        return logits

    samples = np.full(len(proof.levels), np.nan, np.float32)
    by_hops(len(samples), lambda first, last: state.generate(samples[first:last]))
    # The table rises from level to level, so each sample is found in it.
    free = np.searchsorted(model.weights["mulaw_table"], samples).astype(np.int64)
    return Replay(free, force(proof.levels), force(proof.forced_levels))


def _replay_onnx(model: ModelFile, proof: Proof) -> Replay:
    stream = OnnxStream(model.path, model.spec, proof.kit)
    controls = proof.controls(model.spec)

    def play(count: int, forced: Sequence[int] | None) -> tuple[INTS, npt.NDArray[np.float32]]:
        stream.reset(proof.kit)
        fed = None if forced is None else np.array(forced, np.int64)
        uniforms = rng.uniforms(proof.seed, proof.stream, 0, count)
        played = stream.process(uniforms, controls, fed, proof.temperature)
        return played.levels, played.logits

    free, _ = play(len(proof.levels), None)
    _, guided = play(len(proof.levels), proof.levels)
    _, logits = play(len(proof.forced_levels), proof.forced_levels)
    return Replay(free, guided, logits)


ENGINES: Mapping[str, Callable[[ModelFile, Proof], Replay]] = {
    "reference": _replay_reference,
    "numba": _replay_numba,
    "onnx": _replay_onnx,
}
"""What can replay a proof, by name."""


def _number(values: Mapping[str, Any], field: str, kind: type, low: float, high: float) -> Any:
    return _checked(values.get(field), field, kind, low, high)


def _numbers(
    values: Mapping[str, Any],
    field: str,
    kind: type,
    low: float,
    high: float,
    most: int,
    least: int = 0,
) -> list[Any]:
    found = values.get(field)
    if not isinstance(found, list) or not least <= len(found) <= most:
        count = f"{least}" if least == most else f"{least} to {most}"
        raise GhostnoteError(f"proof field {field!r}: expected a list of {count} numbers")
    return [_checked(value, field, kind, low, high) for value in found]


def _checked(value: object, field: str, kind: type, low: float, high: float) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (kind is float and isinstance(value, float))) or not low <= value <= high:  # type: ignore[operator]
        name = "whole number" if kind is int else "number"
        raise GhostnoteError(
            f"proof field {field!r}: expected a {name} from {low} to {high}, found {value!r:.80}"
        )
    return value


def _hit(values: object, spec: ModelSpec) -> tuple[int, int, float]:
    if not isinstance(values, list) or len(values) != 3 or not spec.roles:
        raise GhostnoteError(
            "proof field 'hits': expected [hop, role, velocity], roles in the spec"
        )
    return (
        _checked(values[0], "hits", int, 0, SAMPLES_MAX),
        _checked(values[1], "hits", int, 0, len(spec.roles) - 1),
        _checked(values[2], "hits", float, 0.0, 1.0),
    )
