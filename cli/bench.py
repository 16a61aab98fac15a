"""`ghostnote bench`: samples per second, beside other engines and beside what the machine allows."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ghostnote.inference.model_file import (
    ModelFile,
    bundled_models,
    find_model,
    load_model,
)
from ghostnote.inference.proof import check_proof
from ghostnote.kernels.backends import missing
from ghostnote.kernels.bench import (
    BANDWIDTH_SIZES,
    bound,
    bytes_read,
    dot_peak,
    dot_product,
    fma_peak,
    kernel_work,
    measure,
    read_bandwidth,
    weight_bytes,
)
from ghostnote.kernels.configs import CONFIGS
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.kernels.parity import check_lanes, check_outputs
from ghostnote.kernels.products import PRECISIONS
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import MAX_LANES
from ghostnote.kernels.weights import Weights, random_weights

from . import gpu_bench, rivals
from .machine import cpu_name, jit_target
from .progress import progress_bar

BACKENDS = ("cpu", "gpu", "onnx", "onnx-cuda", "torch", "inductor")

PROVED = {"cpu": "numba", "gpu": "gpu", "onnx": "onnx", "onnx-cuda": "onnx-cuda"}
"""The name in `check_proof` of each backend that can replay a model file's proof."""

CALL_SIZES = (1, 64)
"""Samples that onnxruntime is asked for at a time."""

QUIET = 0.97
"""Share of its cores that the measuring must have had for its figures to be worth telling."""

Key = tuple[str, str, int, int, int]
"""Of a row: backend, precision, streams, threads, samples a call (0: any)."""


@dataclass(frozen=True)
class Network:
    """What is measured: a configuration with random weights, or a model file."""

    name: str
    spec: ModelSpec
    weights: Weights
    file: ModelFile | None = None


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    backends: list[str]
    precisions: list[str]
    streams: list[int]
    threads: list[int]
    seconds: float


@dataclass
class Watch:
    """How much of its cores the measured work had: others may have taken a part."""

    had: float = 0.0
    wanted: float = 0.0
    bandwidths: dict[int, float] = field(default_factory=dict)

    def over(self, work: Callable[[], int], threads: int = 1) -> Callable[[], int]:
        """Return the work, watched."""

        def run() -> int:
            began, busy = time.perf_counter(), time.process_time()
            amount = work()
            self.had += time.process_time() - busy
            self.wanted += threads * (time.perf_counter() - began)
            return amount

        return run

    def bandwidth(self, size: int) -> float:
        """Return the read bandwidth at a size in bytes, measured once in a run."""
        if size not in self.bandwidths:
            self.bandwidths[size] = read_bandwidth(size)
        return self.bandwidths[size]


def bench(
    config: Annotated[
        str | None,
        typer.Option(
            help=f"Of {', '.join(CONFIGS)} and the bundled models, with commas; or all.",
            show_default="kit, if no --model is given",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Bundled model or .onnx file; may be repeated.", show_default=False),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Of fp32, bf16 and int8 (CPU only), with commas: how the kernel holds weights."
        ),
    ] = "fp32,bf16,int8",
    streams: Annotated[
        str,
        typer.Option(
            help=f"Streams that the kernel plays at a time, with commas, 1 to {MAX_LANES}; on the GPU "
            f"alone to {gpu_bench.MAX_STREAMS}."
        ),
    ] = "1",
    threads: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="Measure several streams on so many threads too, besides on one."
        ),
    ] = 1,
    backend: Annotated[
        str,
        typer.Option(
            help="Of cpu and gpu (our kernels), onnx and onnx-cuda (onnxruntime), torch (eager) and "
            "inductor (torch's AOTInductor, which compiles for minutes, once), with commas."
        ),
    ] = "cpu,onnx",
    seconds: Annotated[
        float, typer.Option(min=0.05, help="Seconds to measure each of them for.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """Measures samples a second on this machine; let nothing else run meanwhile.

    Configurations are networks of the literature with random weights. Everything is first checked
    against the float64 reference, a model file against its proof too: what plays something else
    gets no figure, and the exit status is 1. Streams are summed; other engines play one. The GPU's
    bound is what the card multiplies in large matrices, measured in the same run.

    Example: ghostnote bench --config NV-M,kit --streams 1,16 --threads 2 --json
    """
    backends = _words("--backend", backend, BACKENDS)
    wanted = Wanted(
        _present(backends),
        _words("--precision", precision, PRECISIONS),
        _counts(streams, gpu_bench.MAX_STREAMS if backends == ["gpu"] else MAX_LANES),
        sorted({1, threads}),
        seconds,
    )
    if "gpu" in wanted.backends:
        gpu_bench.precisions(wanted.precisions)  # refused now, not after minutes
    networks = _networks(config, model or [])
    if "inductor" in wanted.backends:
        rivals.compile_all([(one.spec, one.weights) for one in networks])
    watch = Watch()
    results = []
    with progress_bar() as progress:
        progress("machine", 0, len(networks))
        machine = _machine()
        if {"gpu", "onnx-cuda"} & {*wanted.backends} and not missing("gpu"):
            machine["gpu"] = gpu_bench.peaks()
        for done, one in enumerate(networks):
            progress(one.name, done, len(networks))
            results += _results(one, wanted, machine, watch)
    machine["core_share"] = watch.had / watch.wanted if watch.wanted else 1.0
    report = {"machine": machine, "results": results}
    if machine["core_share"] < QUIET:
        print(
            f"ghostnote bench: other programs took {1 - machine['core_share']:.0%} of the time; "
            "end them and measure again, these figures are too low",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)


def _words(option: str, text: str, known: Sequence[str]) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in known:
            raise typer.BadParameter(f"{option}: {word!r} is none of {', '.join(known)}")
    return list(dict.fromkeys(words))


def _counts(text: str, most: int) -> list[int]:
    try:
        counts = [int(word) for word in text.split(",")]
    except ValueError:
        counts = [0]
    if not all(1 <= count <= most for count in counts):
        raise typer.BadParameter(f"--streams: expected numbers from 1 to {most}, found {text!r}")
    return list(dict.fromkeys(counts))


def _present(backends: list[str]) -> list[str]:
    """Returns the backends that can run here; of each other one a line says what it lacks.

    If none can, that line is all there is.
    """
    lacking = {name: rivals.missing(name) for name in backends}
    if all(lacking.values()):
        raise GhostnoteError("; ".join(f"--backend {name}: {lacking[name]}" for name in backends))
    for name, what in lacking.items():
        if what:
            print(f"ghostnote bench: without {name}: {what}", file=sys.stderr)
    return [name for name in backends if not lacking[name]]


def _networks(config: str | None, models: list[str]) -> list[Network]:
    names = (
        [] if config is None else _words("--config", config, ["all", *CONFIGS, *bundled_models()])
    )
    if "all" in names:
        names = [*CONFIGS, *bundled_models()]
    chosen = [
        Network(name, CONFIGS[name], random_weights(CONFIGS[name]))
        for name in names
        if name in CONFIGS
    ]
    paths: list[str | None] = [*(name for name in names if name not in CONFIGS), *models]
    for path in paths or [None] * (not chosen):
        found = load_model(find_model(path))
        chosen.append(Network(found.name, found.spec, found.weights, found))
    return chosen


def _machine() -> dict[str, Any]:
    jit, vectors = jit_target()
    return {
        "cpu": cpu_name(),
        "jit": jit,
        "vectors": vectors,
        "fma_gmac_per_s": fma_peak(),
        "int8_gmac_per_s": dot_peak(),
        "int8_instruction": dot_product(),
        "bandwidth_gb_per_s": {
            name: read_bandwidth(size) for name, size in BANDWIDTH_SIZES.items()
        },
    }


def _results(
    one: Network, wanted: Wanted, machine: Mapping[str, Any], watch: Watch
) -> list[dict[str, Any]]:
    """Checks one network on every backend, then measures them all in turns."""
    work: dict[Key, Callable[[], int]] = {}
    if one.file:
        check_proof(one.file, [PROVED[name] for name in wanted.backends if name in PROVED])
    if "cpu" in wanted.backends:
        work |= _kernel(one, wanted, watch)
    if "gpu" in wanted.backends:
        work |= _gpu(one, wanted)
    work |= _rivals(one, wanted, watch)
    rates = measure(work, wanted.seconds)
    return [_row(one, key, rates, machine, watch) for key in work]


def _kernel(one: Network, wanted: Wanted, watch: Watch) -> dict[Key, Callable[[], int]]:
    work: dict[Key, Callable[[], int]] = {}
    for precision in wanted.precisions:
        packed = pack(one.spec, one.weights, precision)
        try:
            check_outputs(packed, one.weights)
            for streams in wanted.streams:
                check_lanes(packed, streams)
        except GhostnoteError as error:
            raise GhostnoteError(f"{one.name}: {error}") from None
        for streams in wanted.streams:
            for threads in sorted({min(threads, streams) for threads in wanted.threads}):
                run = kernel_work(packed, streams, threads)
                work["cpu", precision, streams, threads, 0] = watch.over(run, threads)
    return work


def _gpu(one: Network, wanted: Wanted) -> dict[Key, Callable[[], int]]:
    """Returns the works of the GPU; nobody watches over its cores, which are its own."""
    work: dict[Key, Callable[[], int]] = {}
    truth = gpu_bench.Truth(one.spec, one.weights)
    for precision in gpu_bench.precisions(wanted.precisions):
        for streams in wanted.streams:
            network = one.spec, one.weights, precision, streams
            try:
                gpu_bench.check(*network, truth)
                work["gpu", precision, streams, 1, 0] = gpu_bench.work(*network)
            except GhostnoteError as error:
                raise GhostnoteError(f"{one.name}: {error}") from None
    return work


def _rivals(one: Network, wanted: Wanted, watch: Watch) -> dict[Key, Callable[[], int]]:
    others = [name for name in wanted.backends if name not in ("cpu", "gpu")]
    if not others:
        return {}
    start = rivals.Start.of(one.spec, one.weights)
    expected = start.expected(rivals.checked_levels(one.spec))
    work: dict[Key, Callable[[], int]] = {}
    for (name, size), make in rivals.makers(start, others, CALL_SIZES).items():
        rivals.check(f"{one.name}: {name}, {size} a call", start, make, expected)
        run = rivals.work(one.spec, make())
        work[name, "fp32", 1, 1, size] = run if name == "onnx-cuda" else watch.over(run)
    return work


def _row(
    one: Network,
    key: Key,
    rates: Mapping[Key, float],
    machine: Mapping[str, Any],
    watch: Watch,
) -> dict[str, Any]:
    backend, precision, streams, threads, size = key
    rate, spec = rates[key], one.spec
    size_in_bytes = weight_bytes(spec, precision)
    if backend in ("gpu", "onnx-cuda"):
        # A tile of streams shares the reading of weights: products are the bound.
        card = machine.get("gpu", {})
        bandwidth, peak = card.get("bandwidth_gb_per_s"), card.get(f"{precision}_gmac_per_s")
        most = peak * 1e9 / spec.macs_per_sample if peak else None
    else:
        peak = machine["int8_gmac_per_s" if precision == "int8" else "fma_gmac_per_s"]
        bandwidth = watch.bandwidth(size_in_bytes)
        most = bound(spec, precision, streams, threads, peak, bandwidth)
    # Only our kernel makes products for several samples at once; of the others it is not known.
    read = bytes_read(spec, precision) if backend == "cpu" else size_in_bytes
    row = {
        "config": one.name,
        "backend": backend,
        "precision": precision,
        "streams": streams,
        "threads": threads,
        "samples_per_s": rate,
        "realtime_16k": rate / 16000,
        "realtime_48k": rate / 48000,
        "realtime": rate / spec.samplerate,
        "mac_per_sample": spec.macs_per_sample,
        "bytes_per_sample": size_in_bytes / (streams / threads),
        "bytes_read_per_sample": read / (streams / threads),
        "bandwidth_gb_per_s": bandwidth,
        "gmac_per_s": rate * spec.macs_per_sample / 1e9,
        "bound_samples_per_s": most,
        "fraction_of_bound": rate / most if most else None,
        "parity": "ok",
    }
    # Another engine would play streams one after the other on each core.
    for name, rival, call in (
        ("ratio_onnxruntime", "onnx", 64),
        ("ratio_onnxruntime_1", "onnx", 1),
        ("ratio_onnxruntime_cuda", "onnx-cuda", 64),
        ("ratio_torch", "torch", 0),
        ("ratio_inductor", "inductor", 0),
    ):
        found = [r for k, r in rates.items() if k[0] == rival and k[4] == (call or k[4])]
        row[name] = rate / (found[0] * threads) if found else None
    if size:
        row["samples_per_call"] = size
    if one.file:
        row["model_sha256"] = one.file.sha256
    return row


def _show(report: dict[str, Any]) -> None:
    machine, results = report["machine"], report["results"]
    console = Console()
    console.print(f"{machine['cpu']} ({machine['jit']}: {', '.join(machine['vectors'])})")
    reads = ", ".join(f"{name} {gb:.0f}" for name, gb in machine["bandwidth_gb_per_s"].items())
    console.print(
        f"one core: {machine['fma_gmac_per_s']:.1f} GMAC/s in fp32 and bf16, "
        f"{machine['int8_gmac_per_s']:.1f} in int8 ({machine['int8_instruction']}); "
        f"reads GB/s: {reads}"
    )
    if gpu := machine.get("gpu"):
        console.print(
            f"{gpu['name']}: {gpu['fp32_gmac_per_s']:,.0f} GMAC/s in fp32, "
            f"{gpu['bf16_gmac_per_s']:,.0f} in bf16; copies {gpu['bandwidth_gb_per_s']:,.0f} GB/s"
        )
    ratios = {
        "x onnx": "ratio_onnxruntime",
        "x onnx, 1": "ratio_onnxruntime_1",
        "x onnx-cuda": "ratio_onnxruntime_cuda",
        "x torch": "ratio_torch",
        "x inductor": "ratio_inductor",
    }
    shown = {heading: key for heading, key in ratios.items() if any(row[key] for row in results)}
    table = Table(box=box.SIMPLE)
    for heading in ("network", "engine"):
        table.add_column(heading, no_wrap=True)
    for heading in ("streams", "threads", "samples/s", "x 16k", "x 48k", "of bound", *shown):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results:
        table.add_row(
            row["config"],
            _engine(row),
            str(row["streams"]),
            str(row["threads"]),
            f"{row['samples_per_s']:,.0f}",
            f"{row['realtime_16k']:.2f}",
            f"{row['realtime_48k']:.2f}",
            "" if row["fraction_of_bound"] is None else f"{row['fraction_of_bound']:.0%}",
            *(f"{row[key]:.2f}" if row[key] else "" for key in shown.values()),
        )
    # Cut figures are worth nothing: a narrow terminal breaks the lines instead.
    whole = console.measure(table, options=console.options.update(max_width=1000))
    console.width = max(console.width, whole.maximum)
    console.print(table)


def _engine(row: Mapping[str, Any]) -> str:
    if row["backend"] in ("cpu", "gpu"):
        return f"{'kernel' if row['backend'] == 'cpu' else 'GPU'} {row['precision']}"
    name = {"onnx": "onnxruntime", "onnx-cuda": "onnxruntime CUDA", "inductor": "AOTInductor"}.get(
        row["backend"], row["backend"]
    )
    return f"{name}, {row['samples_per_call']} a call"
