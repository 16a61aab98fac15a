"""Backends: what can play a model here, why another cannot, and which is the faster.

Nothing that a GPU needs is imported before one is asked for: what is there is told by the driver's
library and by the packages' metadata. Any thread.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .errors import GhostnoteError, how_to_install
from .packing import DEFAULT_PRECISION, Packed
from .spec import ModelSpec
from .weights import Weights

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

PLAYING = ("cpu", "gpu")
"""What voices and loops can be played on; the others are measured only."""

GPU_PRECISIONS = ("fp32", "bf16")
GPU_DEFAULT = "fp32"
"""Of a GPU where none is asked for: it draws the levels that the CPU draws in fp32."""

CUDA_PROVIDER = "CUDAExecutionProvider"

GAIN = 1.25
"""Times the CPU's speed from which on a GPU is taken: below, nothing is won by leaving the CPU."""

ENOUGH = 2.0
"""Times real time from which on live voices stay on the CPU, however fast the GPU is."""

MEASURE_SECONDS = 0.2
FEW = 16
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


class Streams(Protocol):
    """Lanes of a model at work, on whatever: what playing needs of `state.State`."""

    @property
    def index(self) -> int:
        """Number of samples generated since the last reset."""

    def reset(self) -> None:
        """Start again from silence under the present kit."""

    def seed(self, seed: int, lane: int | None = None, stream: int | None = None) -> None:
        """Choose the random numbers."""

    def set_sampling(
        self,
        temperature: float = 1.0,
        top_k: int = 0,
        lane: int | None = None,
        attack: float | None = None,
    ) -> None:
        """Choose how levels are drawn."""

    def set_kit(self, weights: Sequence[float], lane: int | None = None) -> None:
        """Set the kit weights from the next hop boundary on."""

    def hit(self, role: int, velocity: float, lane: int | None = None) -> None:
        """Strike a role at the next hop boundary."""

    def generate(self, out: FLOATS, drawn: INTS | None = None) -> None:
        """Write the next samples into `out` float32 [n] or [lanes, n], their levels into `drawn`."""


class Checkable(Streams, Protocol):
    """Lanes that can be looked into: what is the same of `State` and `GpuState`."""

    def teacher_force(self, levels: INTS) -> FLOATS:
        """Feed `levels` int64 [n] or [lanes, n]; return what the network puts out, [.., n, O]."""

    def save(self) -> Any:
        """Take out a copy of the state."""

    def restore(self, snapshot: Any) -> None:
        """Put a state back that `save` took."""


class Choice(NamedTuple):
    """A backend, the precision of the weights on it, and the reason in a few words."""

    backend: str
    precision: str
    why: str


class Rates(NamedTuple):
    """Samples a second, summed over the streams, that were measured on each."""

    cpu: float
    gpu: float


def missing(backend: str) -> str:
    """Return what a backend lacks on this machine and what to do about it, or nothing."""
    if backend == "gpu":
        return _gpu_lacks()
    if backend == "onnx-cuda":
        return _onnx_cuda_lacks()
    return ""


def interpreted() -> bool:
    """Tell whether Triton's interpreter takes the place of a device, on the CPU, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _gpu_lacks() -> str:
    lacks = "" if interpreted() else cuda_lacks()
    install = how_to_install("gpu")
    if lacks:
        return f"{lacks}; it takes an NVIDIA card with its driver, then {install}"
    packages = [name for name in ("torch", "triton") if not _installed(name)]
    if packages:
        return f"{' and '.join(packages)} not installed: {install}"
    if not interpreted() and (build := version_of("torch")).endswith("+cpu"):
        return f"torch {build} is a build for the CPU: install one for CUDA ({install})"
    return ""


@functools.cache
def cuda_lacks() -> str:
    """Return why no CUDA device can be used here, or nothing if one can; asks the driver alone."""
    if sys.platform == "darwin":
        return "macOS has no CUDA"
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
        status, count = driver.cuInit(0), ctypes.c_int()
        if status == 0:
            status = driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return f"no CUDA device ({name}, of NVIDIA's driver, is not there)"
    if status == NO_DEVICE or (status == 0 and count.value == 0):
        return "no CUDA device (NVIDIA's driver finds none)"
    return f"no CUDA device (NVIDIA's driver fails with error {status})" if status else ""


def cuda_name() -> str:
    """Return the name of the first CUDA device, as its driver tells it, or nothing."""
    if cuda_lacks():
        return ""
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    name, device = ctypes.create_string_buffer(256), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, len(name), device)
    return name.value.decode(errors="replace")


def _onnx_cuda_lacks() -> str:
    import onnxruntime  # here, as it takes a while to load

    if CUDA_PROVIDER in onnxruntime.get_available_providers():
        return ""
    python = f"{sys.executable} -m pip"
    return (
        f"onnxruntime {onnxruntime.__version__} is a build without CUDA; swap it: "
        f"{python} uninstall onnxruntime, then {python} install onnxruntime-gpu"
    )


def _installed(package: str) -> bool:
    """Tell whether a package is there, by its metadata if it has such: nothing of it is run."""
    return bool(version_of(package)) or importlib.util.find_spec(package) is not None


def version_of(package: str) -> str:
    """Return an installed package's version, or nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def check_there(backend: str) -> None:
    """Refuse a backend that cannot play here.

    Raises
    ------
    GhostnoteError
        Telling what it lacks and what to do.
    """
    lacks = missing(backend)
    if lacks:
        raise GhostnoteError(f"--backend {backend}: {lacks}")


def check_precision(precision: str) -> None:
    """Refuse a precision in which the GPU does not play."""
    if precision not in GPU_PRECISIONS:
        raise GhostnoteError(
            f"--backend gpu: plays in {' or '.join(GPU_PRECISIONS)}, not in {precision}"
        )


def open_gpu(spec: ModelSpec, weights: Weights, precision: str, streams: int) -> Checkable:
    """Return lanes of a model on the GPU; imports torch and Triton.

    Raises whatever these raise where they cannot be loaded, or the device is out of memory or lost
    (`is_loss`).
    """
    from .gpu_state import GpuState

    state: Checkable = GpuState(spec, weights, precision, streams=streams)
    return state


def is_loss(error: Exception) -> bool:
    """Tell whether an error of a state on a device means that it cannot go on there.

    Out of memory, an illegal address, a driver that was reset and a kernel that does not compile
    are all torch's or Triton's own; torch's are RuntimeErrors, some of Triton's plain Exceptions.
    Where one of them is installed by halves, a library cannot be loaded; Triton calls a C compiler,
    and keeps files; a torch without CUDA says so by a failed assertion.
    """
    known = RuntimeError | MemoryError | ImportError | OSError | subprocess.SubprocessError
    without = isinstance(error, AssertionError) and "not compiled with CUDA" in str(error)
    return isinstance(error, known) or without or type(error).__module__.startswith("triton")


def why_lost(error: Exception) -> str:
    """Return the first line of what a device said when it was lost."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


def streams_work(state: Streams, spec: ModelSpec, streams: int) -> Callable[[], int]:
    """Return a function that plays a piece of every lane and returns the samples made."""
    from .bench import PIECE_MACS  # here, as few measure

    # Few streams do little in a launch, whose own cost should not be seen.
    macs = PIECE_MACS if streams > FEW else 8 * PIECE_MACS
    hops = max(1, macs // (spec.macs_per_sample * spec.hop))
    out = np.empty((streams, hops * spec.hop), np.float32)

    def run() -> int:
        if spec.roles:
            state.hit(0, 1.0)  # sound, not silence
        state.generate(out if streams > 1 else out[0])
        return out.size

    return run


def rates(
    packed: Packed,
    weights: Weights,
    precision: str,
    streams: int,
    threads: int,
    on_gpu: int,
    enough: float = 0.0,
) -> Rates:
    """Measure how fast the CPU and the GPU play a model.

    Parameters
    ----------
    packed : Packed
        The model for the CPU, in the CPU's precision.
    precision : str
        In which the GPU holds the weights.
    streams, threads : int
        Played side by side on the CPU.
    on_gpu : int
        Streams that the GPU would play side by side.
    enough : float
        Samples a second with which the CPU is taken unasked: then the GPU is left alone, and
        its rate is 0. Where 0, both are measured.
    """
    from .bench import kernel_work, measure

    cpu = measure({"cpu": kernel_work(packed, streams, threads)}, MEASURE_SECONDS)["cpu"]
    if enough and cpu >= enough:
        return Rates(cpu, 0.0)
    state = open_gpu(packed.spec, weights, precision, on_gpu)
    work = streams_work(state, packed.spec, on_gpu)
    return Rates(cpu, measure({"gpu": work}, MEASURE_SECONDS)["gpu"])


def faster(found: Rates, precision: str, gpu_precision: str, needed: float = 0.0) -> Choice:
    """Choose by measured rates: the GPU from `GAIN` times the CPU's speed on.

    Parameters
    ----------
    precision, gpu_precision : str
        Of the weights on each.
    needed : float
        Samples a second that live voices need; a CPU with `ENOUGH` times that is taken. 0: offline.
    """
    cpu, gpu = found
    told = f"measured {cpu:,.0f} samples/s in {precision}"
    if needed and cpu >= ENOUGH * needed:
        return Choice("cpu", precision, f"{told}, {cpu / needed:.1f} x real time, so enough")
    told += f", the GPU {gpu:,.0f} in {gpu_precision}"
    if gpu >= GAIN * cpu:
        return Choice("gpu", gpu_precision, f"the CPU {told}")
    return Choice("cpu", precision, told)


def choose(asked: str, precision: str | None, measured: Callable[[str, str], Choice]) -> Choice:
    """Choose a backend, and the precision where none is asked for.

    Parameters
    ----------
    asked : str
        "auto", "cpu" or "gpu".
    measured : callable
        Chooses by `faster`; called with the CPU's precision and the GPU's, and only where a GPU
        is there that plays in that.

    Raises
    ------
    GhostnoteError
        If the GPU is asked for and cannot play here, or not in this precision.
    """
    ours, theirs = precision or DEFAULT_PRECISION, precision or GPU_DEFAULT
    if asked == "cpu":
        return Choice("cpu", ours, "asked for")
    if asked == "gpu":
        check_there("gpu")
        check_precision(theirs)
        return Choice("gpu", theirs, "asked for")
    if theirs not in GPU_PRECISIONS:
        return Choice("cpu", ours, f"the GPU does not play in {theirs}")
    lacks = "Triton's interpreter is no device" if interpreted() else missing("gpu")
    if lacks:
        return Choice("cpu", ours, lacks)
    try:
        return measured(ours, theirs)
    except Exception as error:
        if not is_loss(error):
            raise
        return Choice("cpu", ours, f"the GPU fails: {why_lost(error)}")
