"""`ghostnote doctor`: what this machine has and lacks for playing, and what to do about it."""

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from ghostnote.inference.model_file import ModelFile, find_model, load_model
from ghostnote.inference.proof import check_proof
from ghostnote.inference.render import side_by_side, side_by_side_on_gpu
from ghostnote.kernels.backends import (
    cuda_name,
    interpreted,
    is_loss,
    missing,
    version_of,
    why_lost,
)
from ghostnote.kernels.bench import kernel_work, measure
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import DEFAULT_PRECISION, pack
from ghostnote.osc_server.audio import choose_sink, list_devices
from ghostnote.osc_server.sink import SinkError, SinkOptions
from ghostnote.osc_server.udp import RECEIVE_BUFFER, UdpServer

from .backend import choice_of
from .compile_cache import VARIABLE
from .conflicts import onnxruntime_conflict
from .machine import cpu_name, jit_target

OK, NOTE, PROBLEM = "ok", "note", "problem"

PORT = 9770
ENOUGH = 1.5
"""Times real time under which one voice leaves too little room for the rest of the machine."""

SPEED_SECONDS = 1.0
LOOPS = 64  # side by side, for which it is told what would make them
QUIET = 0.9  # share of the core from which on a measurement counts
PRIORITY = 3  # what the engine asks for
GPU_SECONDS = 20.0  # for nvidia-smi, which waits for ever where a driver hangs

_PACKAGES = ("numpy", "numba", "llvmlite", "onnx", "onnxruntime", "sounddevice", "python-osc")
_OPTIONAL = ("JACK-Client", "torch", "triton", "python-rtmidi", "aalink")


class Finding(NamedTuple):
    """One line of the report; `todo` says what to do and is empty where there is nothing."""

    check: str
    state: str  # OK; NOTE: worth knowing, all needed works; PROBLEM: something needed does not
    text: str
    todo: str = ""


def doctor(
    model: Annotated[
        str | None, typer.Option(help="Bundled model or .onnx file to try.", show_default="kit")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> int:
    """Tells what this machine has and lacks for playing, and what to do about it.

    Opens the sink that `ghostnote serve` would choose for a moment, replays the model's proof
    and measures its speed. The exit status is 1 if something needed does not work.
    """
    findings = []
    for finding in examine(model):
        findings.append(finding)
        if not as_json:
            print(f"{finding.state:<8}{finding.check}: {finding.text}", flush=True)
            if finding.todo:
                print(f"        -> {finding.todo}", flush=True)
    broken = any(finding.state == PROBLEM for finding in findings)
    if as_json:
        checks = [finding._asdict() for finding in findings]
        print(json.dumps({"ok": not broken, "checks": checks}, indent=2))
    return 1 if broken else 0


def examine(model: str | None = None) -> Iterator[Finding]:
    """Makes all findings, one check after the other; the slow ones come last."""
    for check, run in CHECKS.items():
        yield from _guarded(check, run)
    try:
        loaded = load_model(find_model(model))
    except GhostnoteError as error:
        yield Finding("model", PROBLEM, str(error), "give another with --model")
        return
    for check, run_model in MODEL_CHECKS.items():
        yield from _guarded(check, lambda run_model=run_model: run_model(loaded))  # type: ignore[misc]


def _guarded(check: str, run: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Makes the findings of one check; a check that fails is a finding, not the end."""
    try:
        yield from run()
    except (GhostnoteError, SinkError, OSError) as error:
        yield Finding(check, PROBLEM, str(error))


def _versions() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.release()} on {platform.machine()}"
    text = f"ghostnote {version('ghostnote')}, Python {platform.python_version()}, {system}"
    yield Finding("versions", OK, text)
    text = ", ".join(f"{name} {version_of(name) or 'missing'}" for name in _PACKAGES)
    missing = [name for name in _PACKAGES if not version_of(name)]
    # Whoever has swapped it for the GPU build lacks nothing.
    if version_of("onnxruntime-gpu") and "onnxruntime" in missing:
        missing.remove("onnxruntime")
    todo = f"{sys.executable} -m pip install {' '.join(missing)}" if missing else ""
    yield Finding("packages", PROBLEM if missing else OK, text, todo)
    extras = [f"{name} {version_of(name)}" for name in _OPTIONAL if version_of(name)]
    yield Finding("extras", OK, ", ".join(extras) or "none; playing needs none")


def _conflicts() -> Iterator[Finding]:
    conflict = onnxruntime_conflict()
    if conflict:
        what, _, todo = conflict.partition(": ")
        yield Finding("onnxruntime", PROBLEM, what, todo)


def _processor() -> Iterator[Finding]:
    name, vectors = jit_target()
    text = f"{cpu_name()}, {os.cpu_count()} cores; compiled for {name} with {', '.join(vectors)}"
    fast = {"AVX2", "FMA"} <= set(vectors) or "NEON" in vectors or "SVE" in vectors
    todo = "" if fast else "no AVX2 or NEON: it plays the same samples, but slowly"
    yield Finding("processor", OK if fast else NOTE, text, todo)


def _cache() -> Iterator[Finding]:
    folder = Path(os.environ.get(VARIABLE, ""))
    if not os.environ.get(VARIABLE):
        yield Finding("compiled code", NOTE, "kept where Numba puts it")
    elif os.access(folder, os.W_OK):
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        yield Finding("compiled code", OK, f"kept in {folder} ({size / 1e6:.1f} MB)")
    else:
        todo = f"every start compiles anew: make it writable, or set {VARIABLE} to another folder"
        yield Finding("compiled code", NOTE, f"{folder} cannot be written", todo)


def _devices() -> Iterator[Finding]:
    devices, problems = list_devices()
    for device in devices:
        default = ", default" if device.default else ""
        latency = f"{device.latency_seconds * 1e3:.1f} ms"
        yield Finding(
            "output",
            OK,
            f"--sink {device.sink} --device {device.device!r}: {device.name} ({device.host_api}, "
            f"{device.channels} channels, {device.samplerate} Hz, {latency}{default})",
        )
    for problem in problems:
        yield Finding("output", NOTE, problem)


def _sink() -> Iterator[Finding]:
    sink, why = choose_sink(SinkOptions())
    try:
        text, silent = sink.describe(), sink.name == "null"
    finally:
        sink.close()
    yield Finding("sink", NOTE if silent else OK, f"serve would play to {text}: {why}")


def _network() -> Iterator[Finding]:
    try:
        server = UdpServer(lambda datagram, peer: None, port=PORT)
    except GhostnoteError as error:
        todo = "a server that runs already has it; another needs --port"
        yield Finding("OSC port", NOTE, str(error), todo)
        server = UdpServer(lambda datagram, peer: None, port=0)
    else:
        yield Finding("OSC port", OK, f"UDP {PORT} is free")
    granted = server.receive_buffer
    server.stop()
    small = granted < RECEIVE_BUFFER
    todo = ""
    if small and sys.platform == "linux":
        todo = (
            f"for bursts of thousands of messages: sudo sysctl net.core.rmem_max={RECEIVE_BUFFER}"
        )
    text = f"{granted // 1024} KiB of messages may wait to be read"
    yield Finding("OSC buffer", NOTE if small else OK, text, todo)


def _priority() -> Iterator[Finding]:
    if sys.platform != "linux":
        return
    refused: list[OSError] = []

    def ask() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        except OSError as error:
            refused.append(error)

    thread = threading.Thread(target=ask)  # only this thread gets it, and ends
    thread.start()
    thread.join()
    if refused:
        todo = "a busy machine may stutter: put yourself into the group audio (or realtime), log in"
        yield Finding("priority", NOTE, "real-time priority is refused", f"{todo} again")
    else:
        yield Finding("priority", OK, "real-time priority is allowed")


def _gpu() -> Iterator[Finding]:
    program = shutil.which("nvidia-smi")
    found = ""
    if program:
        asked = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        try:
            told = subprocess.run(
                asked, capture_output=True, text=True, check=False, timeout=GPU_SECONDS
            )
        except subprocess.TimeoutExpired:
            text = f"{program} has not answered within {GPU_SECONDS:g} s; playing needs no GPU"
            yield Finding("GPU", NOTE, text)
            return
        found = "; ".join(told.stdout.split("\n")).strip("; ") if told.returncode == 0 else ""
    found = found or cuda_name()  # containers may have the driver without nvidia-smi
    if not found:
        yield Finding("GPU", OK, "none found; playing needs none")
        return
    lacks = missing("gpu")
    if lacks:
        yield Finding("GPU", NOTE, f"{found}; not played on", lacks)
    else:
        packages = f"torch {version_of('torch')}, Triton {version_of('triton')}"
        yield Finding("GPU", OK, f"{found}; {packages}: --backend gpu plays on it")
    lacks = missing("onnx-cuda")
    text = "bench --backend onnx-cuda " + ("needs CUDA's onnxruntime" if lacks else "can run")
    yield Finding("GPU", OK, text, lacks)


def _proof(model: ModelFile) -> Iterator[Finding]:
    spec = model.spec
    text = f"{model.name}: {spec.samplerate} Hz, {len(spec.roles)} roles, {len(spec.kits)} kits"
    yield Finding("model", OK, f"{text}, {model.size / 1e6:.1f} MB, {model.path}")
    for engine, kept in check_proof(model, ("numba", "onnx")).items():
        ties = f", {kept.near_ties} draws at a near tie" if kept.near_ties else ""
        yield Finding("proof", OK, f"{engine} plays its {kept.samples} samples{ties}")
    if not _has_gpu():
        return
    try:
        kept = check_proof(model, ("gpu",))["gpu"]
        yield Finding("proof", OK, f"gpu plays its {kept.samples} samples in fp32")
    except Exception as error:
        if not (isinstance(error, GhostnoteError) or is_loss(error)):
            raise
        todo = "play with --backend cpu"
        yield Finding("proof", NOTE, f"the GPU does not play it: {why_lost(error)}", todo)


def _has_gpu() -> bool:
    return not interpreted() and not missing("gpu")


def _backend(model: ModelFile) -> Iterator[Finding]:
    voice = choice_of("auto", None, lambda: model, 1, live=True, fresh=True)
    why = voice.why.partition(";")[0]
    text = f"serve plays one voice on the {voice.backend} in {voice.precision}: {why}"
    yield Finding("backend", OK, text)
    if _has_gpu():
        counts, on_gpu = side_by_side(LOOPS), side_by_side_on_gpu(LOOPS)
        loops = choice_of("auto", None, lambda: model, *counts, on_gpu=on_gpu, fresh=True)
        text = f"render --backend auto makes {LOOPS} loops on the {loops.backend} in "
        yield Finding("backend", OK, f"{text}{loops.precision}: {loops.why}")


def _speed(model: ModelFile) -> Iterator[Finding]:
    work = {"kernel": kernel_work(pack(model.spec, model.weights, DEFAULT_PRECISION))}
    measure(work, 0.0)  # compiles
    began, busy = time.perf_counter(), time.thread_time()
    times = measure(work, SPEED_SECONDS)["kernel"] / model.spec.samplerate
    yield judge_speed(times, (time.thread_time() - busy) / (time.perf_counter() - began))


def judge_speed(times: float, share: float) -> Finding:
    """Returns what `times` real time means, measured while we had a `share` of the core."""
    text = f"{times:.2f} x real time, one voice on one core, weights in {DEFAULT_PRECISION}"
    if share < QUIET:
        text += f", of which other programs took {1 - share:.0%} meanwhile"
    if times >= ENOUGH:
        return Finding("speed", OK, text)
    elif times >= 1.0:
        return Finding("speed", NOTE, text, "close to its limit: play with a ring of 1024 or more")
    elif share < QUIET and times / share >= 1.0:
        return Finding("speed", NOTE, text, "it may stutter: end other programs and look again")
    return Finding("speed", PROBLEM, text, "it would stutter: play a smaller model")


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "versions": _versions,
    "onnxruntime": _conflicts,
    "processor": _processor,
    "compiled code": _cache,
    "output": _devices,
    "sink": _sink,
    "OSC port": _network,
    "priority": _priority,
    "GPU": _gpu,
}

MODEL_CHECKS: dict[str, Callable[[ModelFile], Iterator[Finding]]] = {
    "proof": _proof,
    "speed": _speed,
    "backend": _backend,
}
