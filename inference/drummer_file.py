"""The drummer's file: one .onnx with graph, weights, and what there is to know about it.

`DrummerFile` is immutable but for onnxruntime's session, which several threads may run at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ghostnote.kernels.errors import GhostnoteError

from .drummer_graph import build_drummer, build_drummer_graph
from .drummer_spec import LAGS, DrummerSpec, weight_shapes
from .drummer_steps import FEATURES, MAX_STROKES, NO_ROLE, Stroke
from .manifest import write_whole
from .model_file import DRUMMER, MODELS, check_graph, read_metadata, read_onnx, read_weights

FORMAT = 1
FLOATS = npt.NDArray[np.float32]

DRUMMER_PATH = MODELS / f"{DRUMMER}.onnx"
"""The drummer that comes with ghostnote."""


class DrummerState(NamedTuple):
    """What a drummer remembers: never changed in place, so that keeping it is keeping a name."""

    rows: FLOATS
    past: FLOATS


@dataclass(frozen=True)
class DrummerFile:
    """A drummer as read from its file.

    Attributes
    ----------
    spec : DrummerSpec
    facts : dict
        What its training tells: sources, steps, figures.
    session
        onnxruntime's, of one thread.
    """

    spec: DrummerSpec
    facts: Mapping[str, Any]
    session: Any

    def begin(self) -> DrummerState:
        """Return the state of who has not played yet."""
        rows = np.zeros((max(LAGS), FEATURES), np.float32)
        past = np.zeros((sum(self.spec.dilations), self.spec.channels), np.float32)
        return DrummerState(rows, past)

    def step(
        self, state: DrummerState, controls: FLOATS, uniforms: FLOATS
    ) -> tuple[list[Stroke], DrummerState]:
        """Play one sixteenth: its strokes, and the state after it.

        Parameters
        ----------
        controls : float32 [K]
            A row of `control_rows`.
        uniforms : float32 [MAX_STROKES, 3]
        """
        forced = np.full((MAX_STROKES, 3), -1, np.int64)
        strokes, _, after = self.run(state, controls, uniforms, forced)
        return [
            (role, loud, late) for role, loud, late in strokes.tolist() if role < NO_ROLE
        ], after

    def run(
        self,
        state: DrummerState,
        controls: FLOATS,
        uniforms: FLOATS,
        forced: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[np.int64], FLOATS, DrummerState]:
        """Return strokes, nats and state after one sixteenth, as `drummer_graph` tells them."""
        strokes, nats, rows, past = self.session.run(
            ["strokes", "nats", "rows_out", "past_out"],
            {
                "controls": controls,
                "uniforms": uniforms,
                "forced": forced,
                "rows": state.rows,
                "past": state.past,
            },
        )
        return strokes, nats, DrummerState(rows, past)


@lru_cache(maxsize=1)
def read_spec(path: Path = DRUMMER_PATH) -> DrummerSpec:
    """Return the spec of a drummer's file, without what it takes to play it.

    Raises
    ------
    GhostnoteError
        As `load_drummer`.
    """
    return _checked(path)[1]


def load_drummer(path: Path = DRUMMER_PATH) -> DrummerFile:
    """Read a drummer's file.

    Raises
    ------
    GhostnoteError
        If it is missing, or no drummer of this version.
    """
    import onnxruntime  # here, as it takes a while to load and few need it

    data, spec, facts = _checked(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  (of onnxruntime: they are of no common kind)
        raise _refusal(path, error) from None
    return DrummerFile(spec, facts, session)


def _checked(path: Path) -> tuple[bytes, DrummerSpec, dict[str, Any]]:
    """Return a file's bytes, spec and facts: as safe as a model's, as onnxruntime runs its graph."""
    try:
        data, model = read_onnx(path)
        about = read_metadata(model)
        if about.get("drummer") != FORMAT:
            raise GhostnoteError("no drummer of this version of ghostnote")
        spec, facts = DrummerSpec.from_json(about.get("spec")), about.get("facts")
        if not isinstance(facts, dict):
            raise GhostnoteError("metadata field 'facts': expected an object")
        shapes = weight_shapes(spec)
        weights = read_weights(model, shapes)
        for name in shapes:
            if name not in weights:
                raise GhostnoteError(f"initializer {name!r}: missing")
            if not np.isfinite(weights[name]).all():
                raise GhostnoteError(f"initializer {name!r}: holds what is no number")
        check_graph(model, build_drummer_graph(spec))
    except GhostnoteError as error:
        raise _refusal(path, error) from None
    return data, spec, facts


def _refusal(path: Path, error: object) -> GhostnoteError:
    what = (str(error).splitlines() or [""])[0][:200]
    return GhostnoteError(f"drummer {path}: {what}; reinstall ghostnote, or train another")


def save_drummer(
    path: Path, spec: DrummerSpec, weights: Mapping[str, FLOATS], facts: Mapping[str, Any]
) -> None:
    """Write a drummer's file beside its old version, then rename it into place.

    Raises
    ------
    GhostnoteError
        If the weights do not fit the spec.
    """
    about = {"drummer": FORMAT, "spec": spec.to_json(), "facts": facts}
    data = build_drummer(spec, weights, about).SerializeToString(deterministic=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
