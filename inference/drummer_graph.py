"""The drummer's network as an ONNX graph with explicit state: one call plays one sixteenth.

What was played in the last sixteenths and the layers' past go in and come out. Uniform numbers are
an input, so that any runtime draws the same strokes from the same seed but at a near tie.
`training/drummer_net.py` is the same network for whole takes. Pure functions; any thread.

Inputs: "controls" [K]; "uniforms" [E, 3], of each stroke's role, velocity, offset; "forced" int64
[E, 3], what is played instead (-1: what is drawn); "rows" [64, FEATURES], the last sixteenths, the
oldest first; "past" [R, C], the inputs of the layers, `dilation` rows of each. Outputs: "strokes"
int64 [E, 3] (role NO_ROLE: none), "nats" [E, 3], how unlikely each choice was, "rows_out",
"past_out".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ghostnote.kernels.errors import GhostnoteError

from .drummer_spec import LAGS, DrummerSpec, weight_shapes
from .drummer_steps import FEATURES, MAX_STROKES, NO_ROLE, OFFSETS, VELOCITIES
from .graph import IR_VERSION, METADATA_KEY, OPSET, PRODUCER, Nodes

ROWS = max(LAGS)
IMPOSSIBLE = -1e9
_BINS = {"role": NO_ROLE + 1, "loud": VELOCITIES, "late": OFFSETS}


def build_drummer(
    spec: DrummerSpec, weights: Mapping[str, npt.NDArray[np.float32]], metadata: Mapping[str, Any]
) -> onnx.ModelProto:
    """Return a drummer's whole file: graph, weights, and JSON metadata.

    Raises
    ------
    GhostnoteError
        If the weights do not fit the spec.
    """
    model = build_drummer_graph(spec)
    for name, shape in weight_shapes(spec).items():
        array = np.ascontiguousarray(weights[name], "<f4")
        if array.shape != shape or not np.isfinite(array).all():
            raise GhostnoteError(f"drummer: weight {name} is no finite array {list(shape)}")
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    text = json.dumps(metadata, separators=(",", ":"), allow_nan=False)
    helper.set_model_props(model, {METADATA_KEY: text})
    return model


def build_drummer_graph(spec: DrummerSpec) -> onnx.ModelProto:
    """Return a drummer's graph without its weights and metadata; the same bytes every time."""
    return helper.make_model(
        _graph(spec),
        producer_name=PRODUCER,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def past_rows(spec: DrummerSpec) -> int:
    """Return the number of rows of `past`."""
    return sum(spec.dilations)


def _graph(spec: DrummerSpec) -> onnx.GraphProto:
    n = Nodes("step.")
    asked = n.add("Unsqueeze", "controls", n.ints([0]))
    newest = n.add("Gather", "rows", n.ints([ROWS - lag for lag in (1, *LAGS)]), axis=0)
    newest = n.add("Reshape", newest, n.ints([1, -1]))
    x = _dense(n, "start", n.add("Concat", newest, asked, axis=1))
    pasts = n.split("past", list(spec.dilations))
    total, kept = "", []
    for i, dilation in enumerate(spec.dilations):
        before = n.add("Gather", pasts[i], n.ints([0]), axis=0)
        both = _dense(n, f"past.{i}", n.add("Concat", before, x, axis=1))
        both = n.add("Gemm", asked, f"control.{i}.weight", both, transB=1)
        a, b = n.split(both, [spec.channels] * 2, 1)
        z = n.add("Mul", n.add("Tanh", a), n.add("Sigmoid", b))
        residual, skip = n.split(_dense(n, f"out.{i}", z), [spec.channels] * 2, 1)
        row = x
        if dilation > 1:
            later = n.add("Slice", pasts[i], n.ints([1]), n.ints([dilation]), n.ints([0]))
            row = n.add("Concat", later, row, axis=0)
        kept.append(row)
        x = n.add("Add", x, residual)
        total = n.add("Add", total, skip) if total else skip
    n.add("Concat", *kept, axis=0, out="past_out")
    known = n.add("Concat", n.add("Relu", total), asked, axis=1)
    for name in _BINS:
        said = _dense(n, f"from_past.{name}", known)
        n.add("Identity", said, out=f"said.{name}")
    # A loop that ends with the last stroke: most sixteenths have one or none.
    cells, _, strokes, nats = n.many(
        "Loop",
        [n.ints(MAX_STROKES), n.truth(True), n.floats(np.zeros((NO_ROLE, 3))), n.ints([-1, -1])],
        ["cells.end", "last.end", "strokes.some", "nats.some"],
        body=_stroke_graph(),
    )
    first, last, axis = n.ints([0]), n.ints([MAX_STROKES]), n.ints([0])
    none = np.tile(np.array([NO_ROLE, 0, 0]), (MAX_STROKES, 1))
    whole = n.add("Concat", strokes, n.ints(none), axis=0)
    n.add("Slice", whole, first, last, axis, out="strokes")
    whole = n.add("Concat", nats, n.floats(np.zeros((MAX_STROKES, 3))), axis=0)
    n.add("Slice", whole, first, last, axis, out="nats")
    row = n.add("Reshape", cells, n.ints([1, FEATURES]))
    later = n.add("Slice", "rows", n.ints([1]), n.ints([ROWS]), n.ints([0]))
    n.add("Concat", later, row, axis=0, out="rows_out")
    state: dict[str, tuple[int, ...]] = {
        "rows": (ROWS, FEATURES),
        "past": (past_rows(spec), spec.channels),
    }
    floats, ints = TensorProto.FLOAT, TensorProto.INT64
    return helper.make_graph(
        n.nodes,
        "drummer",
        [
            helper.make_tensor_value_info("controls", floats, (spec.controls,)),
            helper.make_tensor_value_info("uniforms", floats, (MAX_STROKES, 3)),
            helper.make_tensor_value_info("forced", ints, (MAX_STROKES, 3)),
            *(helper.make_tensor_value_info(k, floats, v) for k, v in state.items()),
        ],
        [
            helper.make_tensor_value_info("strokes", ints, (MAX_STROKES, 3)),
            helper.make_tensor_value_info("nats", floats, (MAX_STROKES, 3)),
            *(helper.make_tensor_value_info(f"{k}_out", floats, v) for k, v in state.items()),
        ],
    )


def _dense(n: Nodes, layer: str, x: str) -> str:
    """Add a layer [1, to] of an input [1, from]: of rows, for which runtimes pack the weights."""
    return n.add("Gemm", x, f"{layer}.weight", f"{layer}.bias", transB=1)


def _stroke_graph() -> onnx.GraphProto:
    """Return the loop's body: one stroke, the role first; NO_ROLE ends the loop."""
    n = Nodes("stroke.")
    uniforms = n.add("Gather", "uniforms", "turn", axis=0)
    forces = n.add("Gather", "forced", "turn", axis=0)
    roles = n.ints(np.arange(NO_ROLE + 1))
    last_role, last_late = n.split("last", [1, 1])
    none = n.add("Less", last_role, n.ints([0]))
    shown = n.add("Where", none, n.ints([NO_ROLE]), last_role)
    one_of = n.add("Cast", n.add("Equal", roles, shown), to=TensorProto.FLOAT)
    flat = n.add("Reshape", "cells", n.ints([FEATURES]))
    known = n.add("Unsqueeze", n.add("Concat", flat, one_of, axis=0), n.ints([0]))
    uniform = dict(zip(_BINS, n.split(uniforms, [1, 1, 1]), strict=True))
    forced = dict(zip(_BINS, n.split(forces, [1, 1, 1]), strict=True))

    def choose(of: str, more: list[str], impossible: str) -> tuple[str, str]:
        """Return the bin [1] of a choice, drawn or forced, and its nats [1]."""
        hidden = n.add("Gemm", known, f"from_step.{of}.weight", f"said.{of}", transB=1)
        for part in more:
            hidden = n.add("Add", hidden, part)
        logits = n.add("Squeeze", _dense(n, f"head.{of}", n.add("Relu", hidden)), n.ints([0]))
        logits = n.add("Where", impossible, n.floats([IMPOSSIBLE]), logits)
        shares = n.add("CumSum", n.add("Softmax", logits), n.ints(0))
        whole = n.add("Gather", shares, n.ints([_BINS[of] - 1]))
        below = n.add("Less", shares, n.add("Mul", uniform[of], whole))
        count = n.add("ReduceSum", n.add("Cast", below, to=TensorProto.INT64), keepdims=1)
        drawn = n.add("Min", count, n.ints([_BINS[of] - 1]))
        given = n.add("GreaterOrEqual", forced[of], n.ints([0]))
        chosen = n.add("Where", given, forced[of], drawn)
        return chosen, n.add("Neg", n.add("Gather", n.add("LogSoftmax", logits), chosen))

    full = n.add("Equal", last_late, n.ints([OFFSETS - 1]))
    full = n.add("And", n.add("Equal", roles, last_role), full)
    role, role_nats = choose("role", [], n.add("Or", n.add("Less", roles, last_role), full))
    real = n.add("Less", role, n.ints([NO_ROLE]))
    one = n.add("Min", role, n.ints([NO_ROLE - 1]))

    def row(table: str, which: str) -> str:
        return n.add("Gather", table, which, axis=0)

    never = n.add("Less", n.ints([1]), n.ints([0]))
    loud, loud_nats = choose("loud", [row("loud_of_role.weight", one)], never)
    again = n.add("And", n.add("Equal", one, last_role), n.add("Not", none))
    soon = n.add("LessOrEqual", n.ints(np.arange(OFFSETS)), last_late)
    late, late_nats = choose(
        "late",
        [row("late_of_role.weight", one), row("late_of_loud.weight", loud)],
        n.add("And", soon, again),
    )
    nothing = n.ints([0])
    loud, late = (n.add("Where", real, value, nothing) for value in (loud, late))
    silent = n.floats([0.0])
    loud_nats, late_nats = (n.add("Where", real, value, silent) for value in (loud_nats, late_nats))
    # What the next stroke, and later sixteenths, know of this one.
    here = n.add("Equal", n.ints(np.arange(NO_ROLE)), role)
    here = n.add("Unsqueeze", here, n.ints([1]))
    level = n.add("Cast", n.add("Add", loud, n.ints([1])), to=TensorProto.FLOAT)
    level = n.add("Div", level, n.floats([VELOCITIES]))
    offset = n.add("Add", n.add("Cast", late, to=TensorProto.FLOAT), n.floats([0.5]))
    offset = n.add("Sub", n.add("Mul", offset, n.floats([2.0 / OFFSETS])), n.floats([1.0]))
    count = n.add("Slice", "cells", n.ints([0]), n.ints([1]), n.ints([1]))
    both = n.add("Reshape", n.add("Concat", level, offset, axis=0), n.ints([1, 2]))
    both = n.add("Expand", both, n.ints([NO_ROLE, 2]))
    struck = n.add("Concat", n.add("Add", count, n.floats([[1.0]])), both, axis=1)
    n.add("Where", here, struck, "cells", out="cells.next")
    n.add("Concat", role, late, axis=0, out="last.next")
    n.add("Squeeze", real, n.ints([0]), out="on.next")
    n.add("Concat", role, loud, late, axis=0, out="stroke")
    n.add("Concat", role_nats, loud_nats, late_nats, axis=0, out="unlikely")
    floats, ints = TensorProto.FLOAT, TensorProto.INT64
    info = helper.make_tensor_value_info
    return helper.make_graph(
        n.nodes,
        "stroke",
        [
            info("turn", ints, ()),
            info("on", TensorProto.BOOL, ()),
            info("cells", floats, (NO_ROLE, 3)),
            info("last", ints, (2,)),
        ],
        [
            info("on.next", TensorProto.BOOL, ()),
            info("cells.next", floats, (NO_ROLE, 3)),
            info("last.next", ints, (2,)),
            info("stroke", ints, (3,)),
            info("unlikely", floats, (3,)),
        ],
    )
