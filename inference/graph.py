"""The streaming ONNX graph of a model: any ONNX runtime plays it with none of our code.

State is explicit: the level history and the past inputs of every layer go in and come out, so one
call advances a stream by as many samples as it is given uniform numbers. `docs/model-file.md`
describes inputs and outputs; `kernels/reference.py` says the same network plainly.

Runtimes spend their time on the overhead of nodes and on copying what a loop carries, not on
products. Hence the form: the conditioning runs once per call; a Loop takes BLOCK samples at a
time, for which layers with a dilation of BLOCK or more know their past beforehand, as one product;
a Scan inside it does what must be done sample by sample and carries the short layers' past only.

Pure functions; any thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ghostnote.kernels.packing import KNOT
from ghostnote.kernels.spec import LEAST_LOG_SCALE, LEVELS_16, ModelSpec
from ghostnote.kernels.weights import HALVES, Weights, check_weights, weight_shapes

OPSET = 17
IR_VERSION = 8
METADATA_KEY = "ghostnote"
PRODUCER = "ghostnote"

Kind = tuple[int, tuple[str | int, ...]]
"""Element type (of ONNX) and shape."""

BLOCK = 32
"""Samples per turn of the outer loop; dilations below it are carried sample by sample."""


def build_model(spec: ModelSpec, weights: Weights, metadata: Mapping[str, Any]) -> onnx.ModelProto:
    """Return a whole model file: the streaming graph, the weights and the JSON metadata.

    Parameters
    ----------
    spec : ModelSpec
    weights : dict of float32 arrays
        By the names and shapes of `weight_shapes`; those of `HALVES` are written as float16.
    metadata : dict
        JSON-ready; becomes `metadata_props["ghostnote"]`.

    Raises
    ------
    GhostnoteError
        If the weights do not fit the spec.
    """
    check_weights(spec, weights)
    model = build_graph(spec)
    for name in weight_shapes(spec):
        array = np.ascontiguousarray(weights[name], "<f2" if name in HALVES else "<f4")
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    text = json.dumps(metadata, separators=(",", ":"), allow_nan=False)
    helper.set_model_props(model, {METADATA_KEY: text})
    return model


def build_graph(spec: ModelSpec) -> onnx.ModelProto:
    """Return the model of a spec without its weights and metadata; the same bytes every time."""
    graph = _call_graph(spec)
    return helper.make_model(
        graph,
        producer_name=PRODUCER,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def graph_inputs(spec: ModelSpec) -> dict[str, Kind]:
    """Return the inputs of a spec's graph: element type (of ONNX) and shape by name.

    N samples and H hops are free in every call.
    """
    inputs: dict[str, Kind] = {
        "uniforms": (TensorProto.FLOAT, ("N", 2) if spec.mixtures else ("N",)),
        "forced": (TensorProto.INT64, ("N",)),
        "temperature": (TensorProto.FLOAT, ()),
        "top_k": (TensorProto.INT64, ()),
    }
    if spec.conditioning:
        inputs["hop_of"] = (TensorProto.INT64, ("N",))
    if spec.roles:
        inputs["ages"] = (TensorProto.INT64, ("H", len(spec.roles)))
        inputs["velocities"] = (TensorProto.FLOAT, ("H", len(spec.roles)))
    if spec.kits:
        inputs["kits"] = (TensorProto.FLOAT, ("H", len(spec.kits)))
    inputs["level_history"] = (TensorProto.INT64, (spec.input_taps,))
    inputs["past"] = (TensorProto.FLOAT, (past_rows(spec), spec.residual))
    return inputs


def graph_outputs(spec: ModelSpec) -> dict[str, Kind]:
    """Return the outputs of a spec's graph, as `graph_inputs` does."""
    outputs: dict[str, Kind] = {
        "levels": (TensorProto.INT64, ("N",)),
        "samples": (TensorProto.FLOAT, ("N",)),
        "logits": (TensorProto.FLOAT, ("N", spec.outputs)),
        "level_history_out": (TensorProto.INT64, (spec.input_taps,)),
        "past_out": (TensorProto.FLOAT, (past_rows(spec), spec.residual)),
    }
    if spec.body:
        outputs["body"] = (TensorProto.FLOAT, ("H", spec.body_knots, KNOT))
    if spec.transient:
        outputs["transients"] = (TensorProto.FLOAT, ("H", spec.hop))
    return outputs


def past_rows(spec: ModelSpec) -> int:
    """Return the number of rows of `past`: (k - 1) * dilation for each layer, first layer first."""
    return sum(_reaches(spec))


def _reaches(spec: ModelSpec) -> list[int]:
    return [(spec.filter_width - 1) * dilation for dilation in spec.dilations]


class Nodes:
    """A list of nodes that grows by calls which return the name of the node's output."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []

    def many(self, op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> list[str]:
        name = f"{self.prefix}{len(self.nodes)}.{op}"
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs

    def add(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        output = out or f"{self.prefix}{len(self.nodes)}"
        return self.many(op, list(inputs), [output], **attributes)[0]

    def split(self, value: str, sizes: list[int], axis: int = 0) -> list[str]:
        """Return the parts of `value`, of the given sizes along an axis."""
        if len(sizes) == 1:
            return [value]
        outputs = [f"{self.prefix}{len(self.nodes) + 1}.{i}" for i in range(len(sizes))]
        return self.many("Split", [value, self.ints(sizes)], outputs, axis=axis)

    def ints(self, values: Any) -> str:
        return self._constant(np.array(values, np.int64))

    def floats(self, values: Any) -> str:
        return self._constant(np.array(values, np.float32))

    def truth(self, value: bool) -> str:
        return self._constant(np.array(value))

    def _constant(self, array: Any) -> str:
        return self.add("Constant", value=numpy_helper.from_array(array))


def _state_kind(spec: ModelSpec, name: str, short: list[int]) -> Kind:
    """Return the kind of a state that a loop carries: "history", "short" or "long.<layer>"."""
    if name == "history":
        return TensorProto.INT64, (spec.input_taps,)
    reaches = _reaches(spec)
    rows = sum(reaches[i] for i in short) if name == "short" else reaches[int(name[5:])]
    return TensorProto.FLOAT, (rows, spec.residual)


def _values(
    described: Mapping[str, Kind],
) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in described.items()]


def _call_graph(spec: ModelSpec) -> onnx.GraphProto:
    """Return what one call does: the conditioning, then a Loop over blocks of samples."""
    n = Nodes("call.")
    layers, r, d = spec.layers, spec.residual, spec.gate
    taps = spec.filter_width - 1
    short = [i for i in range(layers) if spec.dilations[i] < BLOCK]
    long = [i for i in range(layers) if spec.dilations[i] >= BLOCK]
    order = short + long  # of everything that the Scan reads

    # Weights, cut to the form in which nodes take them; runtimes do this once, when loading.
    rows = n.add("Reshape", "filter_weight", n.ints([-1, r]))
    pieces = n.split(rows, ([2 * d] * taps + [d, d]) * layers)
    filters = [pieces[i * (taps + 2) : (i + 1) * (taps + 2)] for i in range(layers)]
    shared = {
        "skips": n.add(
            "Reshape", n.add("Transpose", "skip_weight", perm=[1, 0, 2]), n.ints([0, -1])
        ),
    }
    if not spec.mixtures:
        shared["embedding"] = n.add("Reshape", "input_weight", n.ints([-1, r]))
        offsets = [tap * spec.levels for tap in range(spec.input_taps)]
        shared["tap_offset"] = n.ints(offsets)
    residuals: list[str] = []
    if layers > 1:
        flat = n.add("Reshape", "residual_weight", n.ints([-1, d]))
        residuals = n.split(flat, [r] * (layers - 1))
    # Inside the Scan, a layer's input goes without the residual biases added so far: they are
    # added to what is stored, and their products to the gates' biases, both off the chain.
    none = n.floats(np.zeros((1, r)))
    offset = none
    if layers > 1:
        offset = n.add("Concat", none, n.add("CumSum", "residual_bias", n.ints(0)), axis=0)
    shared["offset"] = offset  # [L, R]
    newest = n.add("Gather", "filter_weight", n.ints(taps), axis=1)  # [L, 2D, R]
    column = n.add("Unsqueeze", offset, n.ints([2]))
    shift = n.add("Squeeze", n.add("MatMul", newest, column), n.ints([2]))
    bias = n.add("Reshape", n.add("Add", "filter_bias", shift), n.ints([1, -1]))  # [1, L*2D]
    if spec.conditioning:
        hidden = _features(spec, n)
        for i in range(len(spec.cond_hidden)):
            hidden = n.add("Gemm", hidden, f"cond_weight.{i}", f"cond_bias.{i}", transB=1)
            hidden = n.add("Relu", hidden)
        out = n.add("Reshape", "cond_out_weight", n.ints([-1, spec.cond_hidden[-1]]))
        bias = n.add("Gemm", hidden, out, bias, transB=1)  # [H, L*2D]
    if spec.body:
        asked = _asked_of_waves(spec, n)
        knots = _waves(spec, n, "body", asked, (spec.body_ages, spec.body, KNOT * spec.body_knots))
        n.add("Reshape", knots, n.ints([-1, spec.body_knots, KNOT]), out="body")
    if spec.transient:
        sizes = spec.transient_ages, spec.transient, spec.hop
        n.add("Identity", _waves(spec, n, "transient", asked, sizes), out="transients")
    if order != list(range(layers)):
        cube = n.add("Reshape", bias, n.ints([0, layers, 2 * d]))
        bias = n.add("Reshape", n.add("Gather", cube, n.ints(order), axis=1), n.ints([0, -1]))
    shared["bias"] = bias
    if short:
        shared["short_filters"] = _short_filters(spec, n, short)

    reaches = _reaches(spec)
    pasts = n.split("past", reaches)
    carried = {f"long.{i}": pasts[i] for i in long}
    if short:
        parts = [pasts[i] for i in short]
        carried["short"] = n.add("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
    carried["history"] = "level_history"
    count = n.add("Shape", "forced" if spec.mixtures else "uniforms")
    shared["count"] = count
    blocks = n.add("Div", n.add("Add", count, n.ints([BLOCK - 1])), n.ints([BLOCK]))
    blocks = n.add("Squeeze", blocks)
    body = _block_graph(spec, short, long, filters, residuals, shared, list(carried))
    outputs = n.many(
        "Loop",
        [blocks, "", *carried.values()],
        [*(f"{name}.last" for name in carried), "all_levels", "all_logits"],
        body=body,
    )
    after = dict(zip(carried, outputs, strict=False))
    short_after = n.split(after["short"], [reaches[i] for i in short]) if short else []
    ends = dict(zip(short, short_after, strict=True)) | {i: after[f"long.{i}"] for i in long}
    if layers > 1:
        n.add("Concat", *(ends[i] for i in range(layers)), axis=0, out="past_out")
    else:
        n.add("Identity", ends[0], out="past_out")
    n.add("Identity", after["history"], out="level_history_out")
    start, axis = n.ints([0]), n.ints([0])
    flat = n.add("Reshape", "all_levels", n.ints([-1]))
    n.add("Slice", flat, start, count, axis, out="levels")
    flat = n.add("Reshape", "all_logits", n.ints([-1, spec.outputs]))
    n.add("Slice", flat, start, count, axis, out="logits")
    if spec.mixtures:
        _samples(n, "levels", out="samples")
    else:
        n.add("Gather", "mulaw_table", "levels", out="samples")
    return helper.make_graph(
        n.nodes, "ghostnote", _values(graph_inputs(spec)), _values(graph_outputs(spec))
    )


def _features(spec: ModelSpec, n: Nodes) -> str:
    """Add the control features [H, C] of every hop, as `kernels/control.py` makes them."""
    parts = []
    if spec.roles:
        table = n.add("Gather", "age_table", "ages")  # [H, roles, F]
        velocity = n.add("Unsqueeze", "velocities", n.ints([2]))
        both = n.add("Concat", table, n.add("Mul", table, velocity), axis=2)
        parts.append(n.add("Reshape", both, n.ints([-1, 2 * spec.age_features * len(spec.roles)])))
    if spec.kits:
        parts.append("kits")
    return n.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def _asked_of_waves(spec: ModelSpec, n: Nodes) -> tuple[str, str]:
    """Add what the waves' gains are found by, [H, roles, 1, 2 kits + 1], and velocity [H, roles, 1]."""
    axis = n.ints([2])
    velocity = n.add("Unsqueeze", "velocities", axis)
    asked = velocity
    if spec.kits:
        every = n.ints([1, len(spec.roles), 1])
        each = n.add("Expand", n.add("Unsqueeze", "kits", n.ints([1])), every)
        asked = n.add("Concat", each, velocity, n.add("Mul", each, velocity), axis=2)
    return n.add("Unsqueeze", asked, axis), velocity


def _waves(
    spec: ModelSpec, n: Nodes, name: str, asked: tuple[str, str], sizes: tuple[int, int, int]
) -> str:
    """Add what waves of (ages, number, points of a hop) tell of hops [H, points] (`kernels/body.py`)."""
    row, velocity = asked
    ages, count, points = sizes
    axis = n.ints([2])
    first = n.add("Transpose", f"{name}_gain0_weight", perm=[0, 2, 1])
    hidden = n.add("Squeeze", n.add("MatMul", row, first), axis)
    hidden = n.add("Relu", n.add("Add", hidden, f"{name}_gain0_bias"))
    second = n.add("Transpose", f"{name}_gain1_weight", perm=[0, 2, 1])
    gains = n.add("MatMul", n.add("Unsqueeze", hidden, axis), second)  # [H, roles, 1, K]
    known = n.add("Cast", n.add("Less", "ages", n.ints(ages)), to=TensorProto.FLOAT)
    heard = n.add("Mul", velocity, n.add("Unsqueeze", known, axis))
    gains = n.add("Mul", gains, n.add("Unsqueeze", heard, axis))
    # One row of waves for a role and an age: [roles * ages, K * points].
    table = n.add("Reshape", f"{name}_wave", n.ints([-1, count * points]))
    age = n.add("Min", "ages", n.ints(ages - 1))
    roles = len(spec.roles)
    place = n.add("Add", age, n.ints([[role * ages for role in range(roles)]]))
    waves = n.add("Cast", n.add("Gather", table, place), to=TensorProto.FLOAT)
    waves = n.add("Reshape", waves, n.ints([0, roles, count, points]))
    told = n.add("MatMul", gains, waves)  # [H, roles, 1, points]
    return n.add("ReduceSum", told, n.ints([1, 2]), keepdims=0)


def _short_filters(spec: ModelSpec, n: Nodes, short: list[int]) -> str:
    """Add the short layers' weights of past taps, [short, (k-1)*R, 2D]."""
    taps = spec.filter_width - 1
    chosen = n.add("Gather", "filter_weight", n.ints(short), axis=0)
    past = n.add("Slice", chosen, n.ints([0]), n.ints([taps]), n.ints([1]))  # [short, k-1, 2D, R]
    turned = n.add("Transpose", past, perm=[0, 1, 3, 2])
    return n.add("Reshape", turned, n.ints([len(short), taps * spec.residual, 2 * spec.gate]))


def _block_graph(
    spec: ModelSpec,
    short: list[int],
    long: list[int],
    filters: list[list[str]],
    residuals: list[str],
    shared: dict[str, str],
    carried: list[str],
) -> onnx.GraphProto:
    """Return the Loop's body: at most BLOCK samples, with the long layers' past known."""
    n = Nodes("block.")
    layers, d = spec.layers, spec.gate
    axis0 = n.ints([0])
    first = n.add("Reshape", n.add("Mul", "turn", n.ints(BLOCK)), n.ints([1]))
    last = n.add("Add", first, n.ints([BLOCK]))  # Slice clips it to the end
    uniforms = n.add("Slice", "uniforms", first, last, axis0)
    forced = n.add("Slice", "forced", first, last, axis0)
    size = n.add("Shape", forced if spec.mixtures else uniforms)
    if spec.conditioning:
        bias = n.add("Gather", shared["bias"], n.add("Slice", "hop_of", first, last, axis0))
    else:
        whole = n.add("Concat", size, n.ints([layers * 2 * d]), axis=0)
        bias = n.add("Expand", shared["bias"], whole)
    if long:
        head, *parts = n.split(bias, [len(short) * 2 * d] * bool(short) + [2 * d] * len(long), 1)
        if not short:
            parts, gates = [head, *parts], []
        else:
            gates = [head]
        for i, part in zip(long, parts, strict=True):
            for tap in range(spec.filter_width - 1):
                begin = n.ints([tap * spec.dilations[i]])
                past = n.add("Slice", f"long.{i}", begin, n.add("Add", begin, size), axis0)
                part = n.add("Gemm", past, filters[i][tap], part, transB=1)
            gates.append(part)
        bias = n.add("Concat", *gates, axis=1) if len(gates) > 1 else gates[0]
    bias = n.add("Reshape", bias, n.ints([0, layers * 2, d]))
    states = [name for name in carried if not name.startswith("long.")]
    scanned = n.many(
        "Scan",
        [*states, uniforms, forced, bias],
        [*(f"{name}.next" for name in states), "levels.some", "logits.some", "inputs.some"],
        body=_step_graph(spec, short, long, filters, residuals, shared, states),
        num_scan_inputs=3,
    )
    inputs = scanned[-1]  # [m, L, R]
    for i in long:
        new = n.add("Gather", inputs, n.ints(i), axis=1)
        grown = n.add("Concat", f"long.{i}", new, axis=0)
        end = n.ints([np.iinfo(np.int64).max])
        n.add("Slice", grown, size, end, axis0, out=f"long.{i}.next")
    # Every turn of a Loop must put out as much: the last block is filled up, and cut in the end.
    missing = n.add("Sub", n.ints([BLOCK]), size)
    zero = n.ints([0])
    n.add("Pad", "levels.some", n.add("Concat", zero, missing, axis=0), out="levels.block")
    margins = n.add("Concat", zero, zero, missing, zero, axis=0)
    n.add("Pad", "logits.some", margins, out="logits.block")
    n.add("Identity", "more", out="more.next")
    kinds = {name: _state_kind(spec, name, short) for name in carried}
    described = {"turn": (TensorProto.INT64, ()), "more": (TensorProto.BOOL, ()), **kinds}
    outputs: dict[str, Kind] = {
        "more.next": (TensorProto.BOOL, ()),
        **{f"{name}.next": kind for name, kind in kinds.items()},
        "levels.block": (TensorProto.INT64, (BLOCK,)),
        "logits.block": (TensorProto.FLOAT, (BLOCK, spec.outputs)),
    }
    return helper.make_graph(n.nodes, "block", _values(described), _values(outputs))


def _step_graph(
    spec: ModelSpec,
    short: list[int],
    long: list[int],
    filters: list[list[str]],
    residuals: list[str],
    shared: dict[str, str],
    states: list[str],
) -> onnx.GraphProto:
    """Return the Scan's body: one sample."""
    n = Nodes("step.")
    r, d, taps = spec.residual, spec.gate, spec.filter_width - 1
    biases: dict[int, list[str]] = {}
    sizes = [2 * len(short)] * bool(short) + [1] * (2 * len(long))
    parts = n.split("bias.in", sizes)
    if short:
        starts = np.cumsum([0, *(taps * spec.dilations[i] for i in short)])
        reads = [
            [starts[place] + tap * spec.dilations[i] for tap in range(taps)]
            for place, i in enumerate(short)
        ]
        past = n.add("Gather", "short.in", n.ints(reads), axis=0)  # [short, k-1, R]
        if taps > 1:
            past = n.add("Reshape", past, n.ints([len(short), 1, taps * r]))
        products = n.add("MatMul", past, shared["short_filters"])
        products = n.add("Reshape", products, n.ints([2 * len(short), d]))
        gates = n.split(n.add("Add", products, parts.pop(0)), [1] * (2 * len(short)))
        biases |= {i: gates[2 * place : 2 * place + 2] for place, i in enumerate(short)}
    biases |= {i: parts[2 * place : 2 * place + 2] for place, i in enumerate(long)}

    if spec.mixtures:
        heard = n.add("Reshape", _samples(n, "history.in"), n.ints([1, -1]))
        x = n.add("Gemm", heard, "input_weight", "input_bias")  # [1, R]
    else:
        looked_up = n.add(
            "Gather", shared["embedding"], n.add("Add", "history.in", shared["tap_offset"])
        )
        x = n.add("ReduceSum", looked_up, n.ints([0]), keepdims=1)  # [1, R]
    inputs, gated = [], []
    for i in range(spec.layers):
        inputs.append(x)
        tanh = n.add("Tanh", n.add("Gemm", x, filters[i][-2], biases[i][0], transB=1))
        sigmoid = n.add("Sigmoid", n.add("Gemm", x, filters[i][-1], biases[i][1], transB=1))
        gated.append(n.add("Mul", tanh, sigmoid))
        if i + 1 < spec.layers:
            x = n.add("Gemm", gated[-1], residuals[i], x, transB=1)
    # Concat is there for one layer too, where it only renames.
    z = n.add("Concat", *gated, axis=1)
    hidden = n.add("Relu", n.add("Gemm", z, shared["skips"], "skip_bias", transB=1))
    hidden = n.add("Relu", n.add("Gemm", hidden, "head0_weight", "head0_bias", transB=1))
    logits = n.add("Gemm", hidden, "head1_weight", "head1_bias", transB=1)
    n.add("Reshape", logits, n.ints([-1]), out="logits.out")
    drawn = _draw_mixture(spec, n) if spec.mixtures else _draw(n, "logits.out", "uniform.in")
    level = n.add("Where", n.add("Less", "forced.in", n.ints(0)), drawn, "forced.in")
    n.add(
        "Concat",
        n.add("Slice", "history.in", n.ints([1]), n.ints([spec.input_taps]), n.ints([0])),
        level,
        axis=0,
        out="history.out",
    )
    n.add("Reshape", level, n.ints([]), out="level.out")
    stored = n.add("Add", n.add("Concat", *inputs, axis=0), shared["offset"], out="inputs.out")
    if short:
        # Each layer's past moves up by one row, and its input of now becomes the last one.
        rows = int(starts[-1])
        moves: list[int] = []
        for place, i in enumerate(short):
            moves += [*range(starts[place] + 1, starts[place + 1]), rows + i]
        n.add("Gather", n.add("Concat", "short.in", stored, axis=0), n.ints(moves), out="short.out")
    floats, ints = TensorProto.FLOAT, TensorProto.INT64
    kinds = {name: _state_kind(spec, name, short) for name in states}
    ins: dict[str, Kind] = {
        **{f"{name}.in": kind for name, kind in kinds.items()},
        "uniform.in": (floats, (2,) if spec.mixtures else ()),
        "forced.in": (ints, ()),
        "bias.in": (floats, (2 * spec.layers, d)),
    }
    outs: dict[str, Kind] = {
        **{f"{name}.out": kind for name, kind in kinds.items()},
        "level.out": (ints, ()),
        "logits.out": (floats, (spec.outputs,)),
        "inputs.out": (floats, (spec.layers, r)),
    }
    return helper.make_graph(n.nodes, "step", _values(ins), _values(outs))


def _samples(n: Nodes, levels: str, out: str = "") -> str:
    """Add the amplitudes of levels of 16 bit."""
    centred = n.add("Cast", n.add("Sub", levels, n.ints(LEVELS_16 // 2)), to=TensorProto.FLOAT)
    return n.add("Div", centred, n.floats(LEVELS_16 // 2), out=out)


def _draw_mixture(spec: ModelSpec, n: Nodes) -> str:
    """Add the level drawn from a mixture of logistics, int64 [1], as the reference draws it."""
    logits, means, log_scales = n.split("logits.out", [spec.mixtures] * 3)
    first, second = n.split("uniform.in", [1, 1])
    component = _draw(n, logits, first)
    mean = n.add("Gather", means, component)
    log_scale = n.add("Max", n.add("Gather", log_scales, component), n.floats(LEAST_LOG_SCALE))
    scale = n.add("Mul", n.add("Exp", log_scale), "temperature")
    odds = n.add("Sub", n.add("Log", second), n.add("Log", n.add("Sub", n.floats(1.0), second)))
    x = n.add("Add", mean, n.add("Mul", scale, odds))
    half = n.floats(LEVELS_16 // 2)
    place = n.add("Add", n.add("Mul", x, half), n.floats(LEVELS_16 // 2 + 0.5))
    place = n.add("Clip", n.add("Floor", place), n.floats(0), n.floats(LEVELS_16 - 1))
    return n.add("Cast", place, to=TensorProto.INT64)


def _draw(n: Nodes, logits: str, uniform: str) -> str:
    """Add the choice of an index, int64 [1]: inverse CDF in index order, as the reference does.

    The product of a uniform number below 1 and the total rounds to less than the total, so some
    running sum always exceeds it.
    """
    largest, _ = n.many(
        "TopK",
        [logits, n.add("Reshape", "top_k", n.ints([1]))],
        ["top.values", "top.indices"],
    )
    floor = n.add("Gather", n.add("Concat", n.floats([-np.inf]), largest, axis=0), n.ints(-1))
    top = n.add("ReduceMax", logits, keepdims=0)
    scaled = n.add("Exp", n.add("Div", n.add("Sub", logits, top), "temperature"))
    scaled = n.add("Where", n.add("Less", logits, floor), n.floats(0.0), scaled)
    running = n.add("CumSum", scaled, n.ints(0))
    total = n.add("Gather", running, n.ints([-1]))
    above = n.add("Greater", running, n.add("Mul", total, uniform))
    return n.add("ArgMax", n.add("Cast", above, to=TensorProto.INT32), axis=0, keepdims=1)
