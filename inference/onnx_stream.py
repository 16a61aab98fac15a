"""A stream of a model file played by onnxruntime: a second opinion on the kernels, and a rival.

It runs the file's own graph. `docs/stream_with_onnxruntime.py` does the same without our code.
One thread at a time.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ghostnote.kernels import control
from ghostnote.kernels.backends import CUDA_PROVIDER
from ghostnote.kernels.body import with_body
from ghostnote.kernels.emphasis import deemphasise
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.high_pass import high_pass
from ghostnote.kernels.packing import KNOT
from ghostnote.kernels.spec import ModelSpec

from .graph import BLOCK, past_rows

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

PIECE = 32 * BLOCK
"""Samples of silence a call: what the graph puts out for each, up to 4 KB, is held meanwhile."""


CPU_PROVIDER = "CPUExecutionProvider"


def open_session(model: Path | bytes, provider: str = CPU_PROVIDER, threads: int = 1) -> Any:
    """Return an onnxruntime session of a model file, or of what it holds, on one provider.

    Asked for a provider that it cannot load, onnxruntime says little and takes the CPU's; its
    figures would be told as a GPU's.

    Raises
    ------
    GhostnoteError
        If the session fell back to another provider.
    """
    import onnxruntime  # here, as it takes a while to load and few need it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A model of one layer has no use for its residual weights, and would be told so.
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    with warnings.catch_warnings():
        if provider == CUDA_PROVIDER:
            warnings.simplefilter("ignore")  # of what the error below says
            if provider in onnxruntime.get_available_providers():
                # It looks for CUDA's libraries in NVIDIA's packages too, and prints what it misses.
                with contextlib.redirect_stdout(sys.stderr):
                    onnxruntime.preload_dlls()
        session = onnxruntime.InferenceSession(source, options, providers=[provider])
    taken = session.get_providers()
    if not taken or taken[0] != provider:
        raise GhostnoteError(
            f"onnxruntime {onnxruntime.__version__} fell back to {taken[0] if taken else 'nothing'}: "
            f"it could not load {provider} (install onnxruntime-gpu in place of onnxruntime, and the "
            "CUDA and cuDNN that it is built for)"
        )
    return session


@dataclass(frozen=True)
class Controls:
    """What is asked for in consecutive hops.

    Attributes
    ----------
    ages : int64 [H, roles]
        Hops since each role's last hit, at most `spec.ages - 1`: none, or too long ago.
    velocities : float32 [H, roles]
    kits : float32 [H, kits]
    """

    ages: INTS
    velocities: FLOATS
    kits: FLOATS

    @classmethod
    def of_hits(
        cls,
        spec: ModelSpec,
        hits: Sequence[tuple[int, int, float]],
        hops: int,
        kit: Sequence[float],
    ) -> Controls:
        """Return the controls of the first `hops` hops under hits (hop, role, velocity)."""
        ages, velocities = control.ages_of_hits(
            np.array(sorted(hits, key=lambda hit: hit[0]), np.float64).reshape(-1, 3),
            hops,
            len(spec.roles),
            control.choke_array(spec),
            max(spec.ages - 1, 0),
        )
        return cls(ages, velocities, np.tile(np.array(kit, np.float32), (hops, 1)))

    def rows(self, table: FLOATS | None) -> FLOATS:
        """Return the control features [H, C]; `table` is the model's age table."""
        table = np.zeros((1, 1), np.float32) if table is None else table
        rows: FLOATS = control.control_rows(self.ages, self.velocities, self.kits, table)
        return rows

    def part(self, first: int, last: int) -> Controls:
        """Return the hops from `first` up to, but not with, `last`."""
        return Controls(self.ages[first:last], self.velocities[first:last], self.kits[first:last])


class Played(NamedTuple):
    """What one call gave: levels int64 [n], the sound float32 [n], logits float32 [n, O]."""

    levels: INTS
    samples: FLOATS
    logits: FLOATS


class OnnxStream:
    """One stream; starts from silence, as every stream does.

    Parameters
    ----------
    model : Path or bytes
        A model file that `load_model` has accepted, or what it holds.
    spec : ModelSpec
        Of that file.
    kit : sequence of float
        Kit weights under which the silence before the start is run.
    threads : int
        Threads that onnxruntime may use inside one stream; more than 1 rarely helps.
    provider : str
        On what it runs the graph, as `open_session` takes it.

    Attributes
    ----------
    index : int
        Samples played since the start.
    history, past : arrays
        The graph's state, replaced by every call; with `index` it can be kept and put back.
    sound : float32 [1]
        The last sample given out, without its body, which a model with pre-emphasis needs too.
    knot, high : float32 [2]
        Where the body is at its last knot, and the past of the filter beside it.
    """

    def __init__(
        self,
        model: Path | bytes,
        spec: ModelSpec,
        kit: Sequence[float] = (),
        threads: int = 1,
        provider: str = CPU_PROVIDER,
    ) -> None:
        self.session: Any = open_session(model, provider, threads)
        self.spec = spec
        self._high_pass = high_pass(spec)
        self.reset(kit)

    def reset(self, kit: Sequence[float] = ()) -> None:
        """Start again after a receptive field of silence under the kit weights."""
        spec, field = self.spec, self.spec.receptive_field
        self.index = 0
        self.history = np.full(spec.input_taps, spec.silence, np.int64)
        self.sound = np.zeros(1, np.float32)
        self.knot, self.high = np.zeros(KNOT, np.float32), np.zeros(2, np.float32)
        self.past = np.zeros((past_rows(spec), spec.residual), np.float32)
        weights = [*kit] or [0.0] * len(spec.kits)
        piece = min(field, PIECE)
        silence = np.full(piece, spec.silence, np.int64)
        uniforms = np.full((piece, 2) if spec.mixtures else (piece,), 0.5, np.float32)
        controls = Controls.of_hits(spec, [], piece // spec.hop + 2, weights)  # the same in each
        while self.index < field:
            count = min(piece, field - self.index)
            self.process(uniforms[:count], controls, silence[:count])
        self.index = 0

    def process(
        self,
        uniforms: FLOATS,
        controls: Controls,
        forced: INTS | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
    ) -> Played:
        """Play as many samples as there are uniform numbers.

        Parameters
        ----------
        uniforms : float32 [n], or [n, 2] for a mixture
            As `rng.uniforms_of` makes them.
        controls : Controls
            Its first hop is the one in which the stream's present sample lies.
        forced : int64 [n], optional
            Levels to put out and feed back in place of those drawn; -1 draws.
        """
        count, spec = len(uniforms), self.spec
        hops = (self.index + np.arange(count)) // spec.hop - self.index // spec.hop
        feeds: dict[str, Any] = {
            "uniforms": uniforms,
            "forced": np.full(count, -1, np.int64) if forced is None else forced,
            "temperature": np.array(temperature, np.float32),
            "top_k": np.array(min(top_k, spec.choices), np.int64),
            "level_history": self.history,
            "past": self.past,
        }
        if spec.conditioning:
            feeds["hop_of"] = hops
        if spec.roles:
            feeds["ages"], feeds["velocities"] = controls.ages, controls.velocities
        if spec.kits:
            feeds["kits"] = controls.kits
        wanted = ["levels", "samples", "logits", "level_history_out", "past_out"]
        levels, samples, logits, self.history, self.past, *body = self.session.run(
            wanted + ["body"] * bool(spec.body) + ["transients"] * bool(spec.transient), feeds
        )
        deemphasise(spec, samples[None], self.sound)
        since = self.index % spec.hop
        for ends in body[:1]:
            # Knots of the hop that have been passed are left out, for they are told anew.
            span = spec.body_span
            passed, phase = divmod(since, span)
            knots = np.concatenate([self.knot[None], ends.reshape(-1, KNOT)[passed:]])
            with_body(samples, self._high_pass, self.high, knots, span, phase)
            self.knot = knots[(phase + count) // span]
        for transients in body[1:]:
            samples += transients.ravel()[since : since + count]
        self.index += count
        return Played(levels, samples, logits)
