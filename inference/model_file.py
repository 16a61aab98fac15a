"""Model files: one .onnx that holds the graph, the weights and what there is to know about them.

Reading one is safe: everything is checked before it is believed, and a file that will be refused
takes little more memory than its own size. `graph.py` writes the graph, `docs/model-file.md`
describes it. A `ModelFile` is immutable and may be shared between threads.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import HALVES, check_weights, weight_shapes

from .graph import METADATA_KEY, build_graph, build_model
from .manifest import write_whole
from .structure import structure_bytes

FORMAT = 1
MAX_BYTES = 64 * 1024 * 1024
MAX_JSON = 1024 * 1024
MAX_STRUCTURE = 512 * 1024  # twice what the largest graph takes; parsed it may be 80 times as much
DEFAULT = "kit"
"""The bundled model that plays where none is named."""

MODELS = Path(__file__).parent / "models"
DRUMMER = "drummer"
"""The name beside them of what gives triggers and no sound (`drummer_file.py`)."""

FLOATS = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ModelFile:
    """A model as read from its file.

    Attributes
    ----------
    path : Path
    size : int
        Bytes of the file.
    sha256 : str
        Of the file, in hexadecimal: names the model in manifests.
    spec : ModelSpec
    weights : dict of read-only float32 arrays
        By the names and shapes of `kernels.weights.weight_shapes`.
    provenance : dict
        Name, sources, licences, training facts; shown by `ghostnote models show`.
    proof : dict
        What the model must play; see `proof.py`. Empty if the file has none.
    """

    path: Path
    size: int
    sha256: str
    spec: ModelSpec
    weights: Mapping[str, FLOATS]
    provenance: Mapping[str, Any]
    proof: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The model's own name, or that of its file."""
        name = self.provenance.get("name")
        return name if isinstance(name, str) and name else self.path.stem


def load_model(path: Path) -> ModelFile:
    """Read and check a model file.

    Raises
    ------
    GhostnoteError
        If it cannot be read, is too large, or is anything but a whole ghostnote model; the
        message names the field and what was expected.
    """
    try:
        data, model = read_onnx(path)
        about = _metadata(model)
        spec = ModelSpec.from_json(about["spec"])
        weights = read_weights(model, weight_shapes(spec))
        check_graph(model, build_graph(spec))
        check_weights(spec, weights)
    except GhostnoteError as error:
        raise _refusal(path, str(error)) from None
    return ModelFile(
        path=path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        spec=spec,
        weights=weights,
        provenance=about["provenance"],
        proof=about["proof"],
    )


def save_model(
    path: Path,
    spec: ModelSpec,
    weights: Mapping[str, FLOATS],
    provenance: Mapping[str, Any],
    proof: Mapping[str, Any],
) -> None:
    """Write a model file beside its old version, then rename it into place.

    Raises
    ------
    GhostnoteError
        If the weights do not fit the spec, or the file would be too large to be loaded again.
    """
    about = {"format": FORMAT, "spec": spec.to_json(), "provenance": provenance, "proof": proof}
    data = build_model(spec, weights, about).SerializeToString(deterministic=True)
    if len(data) > MAX_BYTES:
        raise GhostnoteError(f"model {path}: {len(data)} bytes; at most {MAX_BYTES} can be loaded")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)


def bundled_models() -> dict[str, Path]:
    """Return the models that come with ghostnote: path by name, the default first."""
    found = {path.stem: path for path in sorted(MODELS.glob("*.onnx"))}
    found.pop(DRUMMER, None)
    return {name: found[name] for name in sorted(found, key=lambda n: (n != DEFAULT, n))}


def find_model(name_or_path: str | None = None, roots: Sequence[Path] | None = None) -> Path:
    """Return the path of a model by the name of a bundled one or by that of a file.

    Parameters
    ----------
    name_or_path : str or None
        None is the bundled default.
    roots : sequence of Path or None
        Folders that the file must be in, links followed; a relative path is looked up in each.
        The ending ".onnx" may be left off.
        None: any file will do, for a name that the person at the command line typed.

    Raises
    ------
    GhostnoteError
        If there is no such model, or it lies outside the roots.
    """
    bundled = bundled_models()
    name = DEFAULT if name_or_path is None else name_or_path
    if name in bundled:
        return bundled[name]
    hint = f"bundled models are {', '.join(bundled) or 'none'}"
    if name_or_path is None:
        raise GhostnoteError(f"the bundled model {DEFAULT!r} is missing; reinstall ghostnote")
    try:
        for candidate in (name, f"{name}.onnx"):
            if roots is None:
                if Path(candidate).is_file():
                    return Path(candidate)
                continue
            for root in roots:
                # A path that is absolute replaces the root here, and is then checked against it.
                path = (root / candidate).resolve()
                if path.is_file() and path.is_relative_to(root.resolve()):
                    return path
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, links in a circle
        pass
    where = "" if roots is None else " in the folders given at start"
    raise GhostnoteError(f"model {_shown(name)}: no such file{where}; {hint}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")


def _refusal(path: Path, what: str) -> GhostnoteError:
    return GhostnoteError(f"model {path}: {what}")


def read_onnx(path: Path) -> tuple[bytes, onnx.ModelProto]:
    """Return the bytes of a file and what they tell, refused by their size before they are read.

    Raises
    ------
    GhostnoteError
        If it cannot be read, or is no ONNX file of a size that ghostnote exports; the message does
        not name the file.
    """
    data, model = _read(path), onnx.ModelProto()
    try:
        if structure_bytes(data, MAX_STRUCTURE) > MAX_STRUCTURE:
            raise GhostnoteError(
                f"over {MAX_STRUCTURE} bytes besides weights and metadata: no export of ghostnote"
            )
        model.ParseFromString(data)
    except (DecodeError, ValueError):
        raise GhostnoteError("not an ONNX file, or cut short; export or copy it again") from None
    return data, model


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise GhostnoteError("is no file")  # opening a pipe could wait for ever
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise GhostnoteError("the file is empty")
            if size > MAX_BYTES:
                raise GhostnoteError(f"{size} bytes; a model file has at most {MAX_BYTES}")
            return file.read(MAX_BYTES)  # not more, should it be growing
    except OSError as error:
        raise GhostnoteError(f"cannot be read: {error.strerror or error}") from None


def read_metadata(model: onnx.ModelProto) -> dict[str, Any]:
    """Return the JSON object that a file holds about itself.

    Raises
    ------
    GhostnoteError
        If there is none, more than one, or too much of it.
    """
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if len(texts) != 1:
        raise GhostnoteError(
            f"metadata {METADATA_KEY!r}: expected once, found {len(texts)} times; "
            "not a model that ghostnote exported"
        )
    if len(texts[0]) > MAX_JSON:
        raise GhostnoteError(f"metadata: {len(texts[0])} characters, expected at most {MAX_JSON}")
    try:
        about = json.loads(texts[0], parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise GhostnoteError(f"metadata: expected JSON ({_shown(str(error))})") from None
    if not isinstance(about, dict):
        raise GhostnoteError(f"metadata: expected an object, found {type(about).__name__}")
    return about


def _metadata(model: onnx.ModelProto) -> dict[str, Any]:
    """Return the checked JSON object that a model's file holds about itself."""
    about = read_metadata(model)
    found = about.get("format")
    if found != FORMAT or isinstance(found, bool):
        raise GhostnoteError(
            f"metadata field 'format': expected {FORMAT}, found {_shown(str(found))}; "
            "made by another version of ghostnote"
        )
    for field in ("spec", "provenance", "proof"):
        if not isinstance(about.get(field), dict):
            kind = type(about.get(field)).__name__
            raise GhostnoteError(f"metadata field {field!r}: expected an object, found {kind}")
    return about


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def read_weights(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, FLOATS]:
    """Return the initializers as float32 arrays, each checked before; most share the file's bytes.

    Raises
    ------
    GhostnoteError
        For one that has not the name, kind and size of one of `shapes`, or whose data lie elsewhere.
    """
    weights: dict[str, FLOATS] = {}
    for tensor in model.graph.initializer:
        name = tensor.name
        if name not in shapes:
            raise GhostnoteError(f"initializer {_shown(name)}: no such weight in this spec")
        if name in weights:
            raise GhostnoteError(f"initializer {name!r}: there twice")
        if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
            raise GhostnoteError(f"initializer {name!r}: data outside the file is not read")
        wanted = onnx.TensorProto.FLOAT16 if name in HALVES else onnx.TensorProto.FLOAT
        if tensor.data_type != wanted:
            expected, kind = _kind_name(wanted), _shown(_kind_name(tensor.data_type))
            raise GhostnoteError(f"initializer {name!r}: expected {expected}, found {kind}")
        if tuple(tensor.dims) != shapes[name]:
            raise GhostnoteError(
                f"initializer {name!r}: expected shape {list(shapes[name])}, "
                f"found {list(tensor.dims)[:8]}"
            )
        size = (2 if name in HALVES else 4) * math.prod(shapes[name])
        if len(tensor.raw_data) != size:
            raise GhostnoteError(
                f"initializer {name!r}: expected {size} bytes of raw_data, "
                f"found {len(tensor.raw_data)}"
            )
        array = np.frombuffer(tensor.raw_data, "<f2" if name in HALVES else "<f4")
        array = array.astype("<f4", copy=False).reshape(shapes[name])
        array.flags.writeable = False
        weights[name] = array
    return weights


def _kind_name(data_type: int) -> str:
    names: dict[int, str] = {n: name for name, n in onnx.TensorProto.DataType.items()}
    return names.get(data_type, str(data_type))


def check_graph(model: onnx.ModelProto, expected: onnx.ModelProto) -> None:
    """Refuse any graph but the one that this version writes for the spec; empties `model`.

    The graph is a function of the spec alone, so all of it is compared, byte by byte: no operator,
    function, sub-graph or input of another make can pass. The kernels do not run the graph; this
    makes sure that a runtime which does plays what they play.

    Raises
    ------
    GhostnoteError
    """
    del model.graph.initializer[:]
    del model.metadata_props[:]
    ours, theirs = (m.SerializeToString(deterministic=True) for m in (expected, model))
    if ours != theirs:
        raise GhostnoteError(f"graph: {_difference(model, expected)}")


def _difference(found: onnx.ModelProto, expected: onnx.ModelProto) -> str:
    """Return in one line where a graph is not as expected."""
    for what, wanted, given in (
        ("inputs", expected.graph.input, found.graph.input),
        ("outputs", expected.graph.output, found.graph.output),
    ):
        names = [value.name for value in wanted]
        if names != [value.name for value in given]:
            return f"expected the {what} {', '.join(names)}"
    if found.functions:
        return "expected no functions of its own"
    known = {node.op_type for node in expected.graph.node}
    for node in found.graph.node:
        if node.domain or node.op_type not in known:
            operator = _shown(f"{node.domain}.{node.op_type}".lstrip("."))
            return f"operator {operator} is none that ghostnote exports"
    return "expected the graph that ghostnote writes for this spec; export the model again"
