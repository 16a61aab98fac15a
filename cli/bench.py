"""`ghostnote bench`: samples per second, beside onnxruntime and beside what the machine allows."""

import json
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ghostnote.inference.graph import past_rows
from ghostnote.inference.model_file import ModelFile, find_model, load_model
from ghostnote.inference.onnx_stream import OnnxStream
from ghostnote.inference.proof import check_proof
from ghostnote.kernels.bench import (
    BANDWIDTH_SIZES,
    bound,
    bytes_per_sample,
    fma_peak,
    kernel_work,
    measure,
    read_bandwidth,
)
from ghostnote.kernels.packing import pack

from .machine import cpu_name, jit_target

# The name of each backend's engine in `check_proof`.
BACKENDS = {"cpu": "numba", "onnx": "onnx"}

CALL_SIZES = (1, 64, 512)
"""Samples that onnxruntime is asked for at a time."""

CALL_SIZE = 64
"""Of these, the one that the ratio is told against."""

QUIET = 0.97
"""Share of the core that the measuring must have had for its figures to be worth telling."""


def bench(
    model: Annotated[
        list[str] | None,
        typer.Option(help="Bundled model or .onnx file; may be repeated.", show_default="kit"),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.05, help="Seconds to measure each of them for.")
    ] = 2.0,
    backend: Annotated[
        str, typer.Option(help="Of cpu (our kernel) and onnx (onnxruntime), with commas.")
    ] = "cpu,onnx",
    streams: Annotated[
        str, typer.Option(help="Streams played at a time, numbers with commas, 1 to 64.")
    ] = "1",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """Measures a model's speed on one core of this machine; let nothing else run meanwhile.

    A model is first checked on every backend against its proof, which the float64 reference
    made: what plays something else gets no figure, and the exit status is 1.

    Example: ghostnote bench --streams 1,4 --json
    """
    backends = _words("--backend", backend, list(BACKENDS))
    counts = _counts(streams)
    names: list[str | None] = [*model] if model else [None]
    loaded = [load_model(find_model(name)) for name in names]
    for one in loaded:
        check_proof(one, [BACKENDS[name] for name in backends])
    began, busy = time.perf_counter(), time.thread_time()
    machine = _machine()
    results = [
        row
        for one in loaded
        for count in counts
        for row in _results(one, backends, count, seconds, machine["fma_gmac_per_s"])
    ]
    machine["core_share"] = (time.thread_time() - busy) / (time.perf_counter() - began)
    report = {"machine": machine, "results": results}
    if machine["core_share"] < QUIET:
        print(
            f"ghostnote bench: other programs took {1 - machine['core_share']:.0%} of the core; "
            "end them and measure again, these figures are too low",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)


def _words(option: str, text: str, known: list[str]) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in known:
            raise typer.BadParameter(f"{option}: {word!r} is none of {', '.join(known)}")
    return list(dict.fromkeys(words))


def _counts(text: str) -> list[int]:
    try:
        counts = [int(word) for word in text.split(",")]
    except ValueError:
        counts = [0]
    if not all(1 <= count <= 64 for count in counts):
        raise typer.BadParameter(f"--streams: expected numbers from 1 to 64, found {text!r}")
    return counts


def _machine() -> dict[str, Any]:
    jit, vectors = jit_target()
    return {
        "cpu": cpu_name(),
        "jit": jit,
        "vectors": vectors,
        "fma_gmac_per_s": fma_peak(),
        "bandwidth_gb_per_s": {
            name: read_bandwidth(size) for name, size in BANDWIDTH_SIZES.items()
        },
    }


def _results(
    model: ModelFile, backends: list[str], streams: int, seconds: float, gmac_per_s: float
) -> list[dict[str, Any]]:
    """Measures one model with so many streams on each backend, in turns."""
    spec = model.spec
    work: dict[tuple[str, int], Callable[[], int]] = {}
    if "cpu" in backends:
        work["cpu", 0] = kernel_work(pack(spec, model.weights), streams)
    if "onnx" in backends:
        for size in CALL_SIZES:
            work["onnx", size] = _onnx_work(model, streams, size)
    rates = measure(work, seconds)
    bandwidth = read_bandwidth(bytes_per_sample(spec))
    most = bound(spec, gmac_per_s, bandwidth)
    rival = rates.get(("onnx", CALL_SIZE))
    rows = []
    for (backend, size), rate in rates.items():
        row = {
            "config": model.name,
            "backend": backend,
            "precision": "fp32",
            "streams": streams,
            "threads": 1,
            "samples_per_s": rate,
            "realtime_16k": rate / 16000,
            "realtime": rate / spec.samplerate,
            "mac_per_sample": spec.macs_per_sample,
            "bytes_per_sample": bytes_per_sample(spec),
            "bandwidth_gb_per_s": bandwidth,
            "fraction_of_bound": rate / most,
            "ratio_onnxruntime": rate / rival if rival else None,
            "parity": "ok",
            "model_sha256": model.sha256,
        }
        if size:
            row["samples_per_call"] = size
        rows.append(row)
    return rows


def _onnx_work(model: ModelFile, streams: int, size: int) -> Callable[[], int]:
    """Returns a function that makes onnxruntime play a piece of every stream, `size` at a time.

    The inputs stay what they are but for the state, so that little but onnxruntime is measured.
    """
    spec = model.spec
    session = OnnxStream(model.path, spec).session
    calls = max(1, CALL_SIZE // size)
    hops = (size - 1) // spec.hop + 1
    common: dict[str, Any] = {
        "uniforms": np.random.default_rng(1).random(size, np.float32),
        "forced": np.full(size, -1, np.int64),
        "temperature": np.array(1.0, np.float32),
        "top_k": np.array(0, np.int64),
    }
    if spec.conditioning:
        common["hop_of"] = np.arange(size) // spec.hop
    if spec.roles:
        common["ages"] = np.zeros((hops, len(spec.roles)), np.int64)
        common["velocities"] = np.ones((hops, len(spec.roles)), np.float32)
    if spec.kits:
        common["kits"] = np.eye(1, len(spec.kits), dtype=np.float32).repeat(hops, axis=0)
    states = [
        (
            np.full(spec.input_taps, spec.silence, np.int64),
            np.zeros((past_rows(spec), spec.residual), np.float32),
        )
        for _ in range(streams)
    ]

    def run() -> int:
        for i, (history, past) in enumerate(states):
            for _ in range(calls):
                feeds = {**common, "level_history": history, "past": past}
                _, history, past = session.run(["samples", "level_history_out", "past_out"], feeds)
            states[i] = (history, past)
        return streams * calls * size

    return run


def _show(report: dict[str, Any]) -> None:
    machine = report["machine"]
    console = Console()
    console.print(f"{machine['cpu']} ({machine['jit']}: {', '.join(machine['vectors'])}), one core")
    reads = ", ".join(f"{name} {gb:.0f}" for name, gb in machine["bandwidth_gb_per_s"].items())
    console.print(f"{machine['fma_gmac_per_s']:.1f} GMAC/s; reads GB/s: {reads}")
    table = Table(box=box.SIMPLE)
    for heading in ("model", "engine", "streams"):
        table.add_column(heading, no_wrap=True)
    for heading in ("samples/s", "x real time", "of bound", "x onnx"):
        table.add_column(heading, justify="right")
    for row in report["results"]:
        call = row.get("samples_per_call")
        ratio = row["ratio_onnxruntime"]
        table.add_row(
            row["config"],
            f"onnx, {call} a call" if call else f"kernel {row['precision']}",
            str(row["streams"]),
            f"{row['samples_per_s']:,.0f}",
            f"{row['realtime']:.2f}",
            f"{row['fraction_of_bound']:.0%}",
            f"{ratio:.2f}" if ratio else "",
        )
    console.print(table)
