"""The proof in a model file: what it must play, checked wherever it is loaded.

A proof names a seed and hits, the levels that the float64 reference played for them, and logits
that it gave for a fixed sequence of levels. An engine that gives other logits, or draws another
level where the draw was not a near tie, does not play this model.

What a mixture puts out for a sample stands where a softmax has its logits. Its draws are rounded to
16 bit, so that float32 alone moves one in some dozens over an edge, after which the engine hears
another past: an engine that plays a mixture freely is put back onto the proof's past at each hop.
Pure functions; any thread.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ghostnote.kernels import levels as amplitudes
from ghostnote.kernels import rng
from ghostnote.kernels.backends import CUDA_PROVIDER, Checkable, open_gpu
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.kernels.reference import (
    Reference,
    draw,
)
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import Weights

from .model_file import ModelFile
from .onnx_stream import CPU_PROVIDER, Controls, OnnxStream
from .tolerance import NEAR_SHARE, missed, output_name, tolerance

INTS = npt.NDArray[np.int64]
DOUBLES = npt.NDArray[np.float64]

SAMPLES = 960
FORCED = 96
FORCED_AT = (0, 1, 31, 63, 95)

SAMPLES_MAX, FORCED_MAX = 65536, 4096  # in a file that may come from anywhere


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
        For a mixture all that it puts out: logits, means and log-scales.
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
            _numbers(
                {"forced_logits": row},
                "forced_logits",
                float,
                -1e6,
                1e6,
                spec.outputs,
                spec.outputs,
            )
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
        Levels played freely, for a mixture from the proof's own past at each hop; None where that
        is what `guided` shows already.
    guided : [n, O]
        Outputs predicted while the proof's levels were fed.
    forced : [m, O]
        Outputs predicted while `forced_levels` were fed.
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
        forced_levels=amplitudes.encode(spec, tone).tolist(),
        forced_at=list(FORCED_AT),
        forced_logits=[],
    )
    stream = _ReferenceStream(spec, weights, asked)
    levels, _ = stream.play([-1] * SAMPLES)
    _, logits = stream.play(asked.forced_levels)
    # Six digits are a tenth of a percent of what is tolerated, and half the size of all.
    digits = 9 if spec.mixtures else 6
    rows = [[float(f"{x:.{digits}g}") for x in logits[at]] for at in FORCED_AT]
    return replace(asked, levels=levels, forced_logits=rows)


def check_proof(model: ModelFile, engines: Sequence[str] = ("numba",)) -> dict[str, Agreement]:
    """Replay a model's proof on the named engines, of `ENGINES` or `ON_DEVICES`.

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
        replays = {**ENGINES, **ON_DEVICES}
        return {
            name: judge(name, replays[name](model, proof), proof, model.spec) for name in engines
        }
    except GhostnoteError as error:
        raise GhostnoteError(f"model {model.path}: {error}") from None


def judge(engine: str, replay: Replay, proof: Proof, spec: ModelSpec) -> Agreement:
    """Compare what an engine did with what the proof says.

    Raises
    ------
    GhostnoteError
        If it does not play the model; the message tells the position and by how much.
    """
    wanted = np.array(proof.forced_logits).reshape(len(proof.forced_at), -1)
    found = np.asarray(replay.forced, np.float64)[proof.forced_at].reshape(wanted.shape)
    error = np.abs(found - wanted)
    wrong = ~(error <= tolerance(spec, wanted))  # written so that NaN counts as wrong
    if wrong.any():
        row, at = (int(i) for i in np.argwhere(wrong)[0])
        raise GhostnoteError(
            f"proof: {engine} gives {output_name(spec, at, found[row, at])} at forced "
            f"position {proof.forced_at[row]}, expected {wanted[row, at]:.6g}"
        )
    uniforms = rng.uniforms_of(spec, proof.seed, proof.stream, 0, len(proof.levels))
    ties = set()
    for at, (level, u) in enumerate(zip(proof.levels, uniforms, strict=True)):
        outputs = np.asarray(replay.guided[at], np.float64)
        if not np.isfinite(outputs).all():
            raise GhostnoteError(f"proof: {engine} gives logits at sample {at} that are no numbers")
        drawn = draw(spec, outputs, u, proof.temperature)
        if drawn != level:
            near, by = missed(spec, outputs, level, u, proof.temperature)
            if not near:
                raise GhostnoteError(
                    f"proof: {engine} draws level {drawn} at sample {at}, expected {level}; "
                    f"by {by}, so no near tie"
                )
            ties.add(at)
    _refuse_many(engine, len(ties), len(proof.levels))
    if replay.free is not None:
        step = spec.hop if spec.mixtures else max(len(proof.levels), 1)
        parted, compared = set(), 0
        for first in range(0, len(proof.levels), step):
            last = min(first + step, len(proof.levels))
            apart = _part(engine, replay, proof, spec, first, last)
            compared += (last if apart is None else apart + 1) - first
            if apart is not None:
                parted.add(apart)
        _refuse_many(engine, len(parted), compared)
        ties |= parted
    return Agreement(len(proof.levels), len(ties), float(error.max(initial=0.0)))


def _refuse_many(engine: str, ties: int, draws: int) -> None:
    if ties > max(NEAR_SHARE * draws, 5):
        raise GhostnoteError(
            f"proof: {engine} draws otherwise {ties} times in {draws}, each time by little; "
            "too often for near ties"
        )


def _part(
    engine: str, replay: Replay, proof: Proof, spec: ModelSpec, first: int, last: int
) -> int | None:
    """Return where, from `first` on, a near tie led an engine that played freely elsewhere."""
    assert replay.free is not None
    apart = np.nonzero(replay.free[first:last] != np.array(proof.levels[first:last], np.int64))[0]
    if not len(apart):
        return None
    at = first + int(apart[0])
    u = rng.uniforms_of(spec, proof.seed, proof.stream, at, 1)[0]
    played = int(replay.free[at])
    for level in (proof.levels[at], played):
        near, by = missed(spec, replay.guided[at], level, u, proof.temperature)
        if not near:
            raise GhostnoteError(
                f"proof: {engine} plays level {played} at sample {at}, expected "
                f"{proof.levels[at]}; by {by}, so no near tie"
            )
    return at


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
        logits = np.empty((len(levels), spec.outputs))
        uniforms = rng.uniforms_of(spec, proof.seed, proof.stream, 0, len(levels))
        for at, forced in enumerate(levels):
            if at % spec.hop == 0:
                self.reference.set_control(state, self.rows[at // spec.hop])
            logits[at] = self.reference.step(state, level)
            drawn = draw(spec, logits[at], uniforms[at], proof.temperature)
            level = drawn if forced < 0 else forced
            played.append(level)
        return played, logits


def _replay_reference(model: ModelFile, proof: Proof) -> Replay:
    stream = _ReferenceStream(model.spec, model.weights, proof)
    return Replay(None, stream.play(proof.levels)[1], stream.play(proof.forced_levels)[1])


def _replay_numba(model: ModelFile, proof: Proof) -> Replay:
    return _replay_state(model, proof, State(pack(model.spec, model.weights)))


def _replay_gpu(model: ModelFile, proof: Proof) -> Replay:
    return _replay_state(model, proof, open_gpu(model.spec, model.weights, "fp32", 1))


def _replay_state(model: ModelFile, proof: Proof, state: Checkable) -> Replay:
    spec = model.spec
    state.seed(proof.seed, None, proof.stream)
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
        logits = np.full((len(fed), spec.outputs), np.nan, np.float32)

        def work(first: int, last: int) -> None:
            logits[first:last] = state.teacher_force(fed[first:last])

        by_hops(len(fed), work)
        return logits

    samples = np.empty(len(proof.levels), np.float32)
    drawn = np.full(len(samples), -1, np.int64)
    past = np.array(proof.levels, np.int64)

    def play(first: int, last: int) -> None:
        if spec.mixtures:
            before = state.save()
        state.generate(samples[first:last], drawn[first:last])
        if spec.mixtures:
            state.restore(before)
            state.teacher_force(past[first:last])

    by_hops(len(samples), play)
    return Replay(drawn, force(proof.levels), force(proof.forced_levels))


def _replay_onnx(model: ModelFile, proof: Proof, provider: str = CPU_PROVIDER) -> Replay:
    spec = model.spec
    stream = OnnxStream(model.path, spec, proof.kit, provider=provider)
    controls = proof.controls(spec)

    def play(levels: Sequence[int], free: bool) -> tuple[INTS, npt.NDArray[np.float32]]:
        """Feed levels, or draw: all in one go, or each hop of a mixture from the proof's past."""
        stream.reset(proof.kit)
        fed = np.array(levels, np.int64)
        uniforms = rng.uniforms_of(spec, proof.seed, proof.stream, 0, len(fed))
        if not (free and spec.mixtures):
            played = stream.process(uniforms, controls, None if free else fed, proof.temperature)
            return played.levels, played.logits
        parts = []
        for hop, first in enumerate(range(0, len(fed), spec.hop)):
            hop_long = slice(first, first + spec.hop)
            inputs = uniforms[hop_long], controls.part(hop, hop + 1)
            before = stream.index, stream.history, stream.past  # what draws; the rest but sounds
            parts.append(stream.process(*inputs, None, proof.temperature).levels)
            stream.index, stream.history, stream.past = before
            stream.process(*inputs, fed[hop_long], proof.temperature)
        return np.concatenate(parts), np.empty((0, spec.outputs), np.float32)

    free, _ = play(proof.levels, True)
    _, guided = play(proof.levels, False)
    _, logits = play(proof.forced_levels, False)
    return Replay(free, guided, logits)


ENGINES: Mapping[str, Callable[[ModelFile, Proof], Replay]] = {
    "reference": _replay_reference,
    "numba": _replay_numba,
    "onnx": _replay_onnx,
}
"""What can replay a proof on every machine, by name."""

ON_DEVICES: Mapping[str, Callable[[ModelFile, Proof], Replay]] = {
    "gpu": _replay_gpu,
    "onnx-cuda": partial(_replay_onnx, provider=CUDA_PROVIDER),
}
"""What can where there is a device for it."""


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
