"""Backends: what is there and why not, and which one is chosen, with no GPU at hand."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ghostnote.kernels import backends
from ghostnote.kernels.backends import Choice, Rates
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.state import State
from tests.kernels.models import model


class Driver:
    """NVIDIA's driver as ctypes sees it."""

    def __init__(self, status: int = 0, devices: int = 1) -> None:
        self.status, self.devices = status, devices

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.devices
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = b"NVIDIA H200"
        return 0


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Asks the driver anew in each test, and no interpreter stands in."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    backends.cuda_lacks.cache_clear()
    yield
    backends.cuda_lacks.cache_clear()


def has(monkeypatch: pytest.MonkeyPatch, driver: Driver | None, torch: str = "2.11.0") -> None:
    """Gives the machine a driver, or none, and torch and Triton, or none where `torch` is empty."""

    def load(name: str) -> Driver:
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(backends, "version_of", lambda name: torch)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("driver", "torch", "lacks"),
    [
        (Driver(), "2.11.0", ""),
        (Driver(), "2.11.0+cu128", ""),
        (
            None,
            "2.11.0",
            "no CUDA device (libcuda.so.1, of NVIDIA's driver, is not there); it takes",
        ),
        (Driver(status=100), "2.11.0", "no CUDA device (NVIDIA's driver finds none)"),
        (Driver(devices=0), "2.11.0", "no CUDA device (NVIDIA's driver finds none)"),
        (Driver(status=803), "2.11.0", "NVIDIA's driver fails with error 803"),
        (Driver(), "", "torch and triton not installed: in ghostnote's folder"),
        (Driver(), "2.13.0+cpu", "torch 2.13.0+cpu is a build for the CPU: install one for CUDA"),
    ],
)
def test_what_the_gpu_lacks(
    driver: Driver | None, torch: str, lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    has(monkeypatch, driver, torch)
    found = backends.missing("gpu")
    assert found.startswith(lacks) if lacks.startswith("no CUDA device (l") else lacks in found
    assert bool(found) == bool(lacks)
    assert "\n" not in found
    if lacks:
        assert "-m pip install -e '.[gpu]'" in found
        with pytest.raises(GhostnoteError, match="--backend gpu: "):
            backends.check_there("gpu")
    assert backends.cuda_name() == ("" if "no CUDA device" in found else "NVIDIA H200")


def test_a_package_without_metadata_is_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, Driver(), "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert backends.missing("gpu") == ""


def test_the_interpreter_stands_in_for_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, None, "2.13.0+cpu")
    assert backends.missing("gpu")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert backends.missing("gpu") == ""
    found = backends.choose("auto", None, lambda *_: Choice("gpu", "fp32", "never asked"))
    assert found == Choice("cpu", "int8", "Triton's interpreter is no device")


def test_others_lack_nothing_or_say_what() -> None:
    assert backends.missing("cpu") == backends.missing("onnx") == ""
    import onnxruntime

    lacks = backends.missing("onnx-cuda")
    if backends.CUDA_PROVIDER in onnxruntime.get_available_providers():
        assert lacks == ""
    else:
        assert f"onnxruntime {onnxruntime.__version__} is a build without CUDA" in lacks
        assert lacks.endswith("install onnxruntime-gpu")


class OfTriton(Exception):
    """As triton.runtime.errors.OutOfResources is: no RuntimeError."""


OfTriton.__module__ = "triton.runtime.errors"


@pytest.mark.parametrize(
    ("error", "loss"),
    [
        (RuntimeError("CUDA out of memory"), True),  # torch's are of this kind
        (MemoryError(), True),
        (OfTriton("shared memory"), True),
        (ImportError("libtorch_cuda.so: undefined symbol"), True),
        (OSError("libcudart.so.13: cannot open shared object file"), True),
        (subprocess.CalledProcessError(1, "gcc"), True),  # of Triton: no Python.h, say
        (AssertionError("Torch not compiled with CUDA enabled"), True),
        (AssertionError("a defect"), False),
        (GhostnoteError("ours"), False),
        (KeyError("a defect"), False),
    ],
)
def test_what_is_a_loss(error: Exception, loss: bool) -> None:
    assert backends.is_loss(error) == loss


def test_the_first_line_of_a_loss_is_told() -> None:
    assert backends.why_lost(RuntimeError("CUDA error: x\nSearch for")) == "CUDA error: x"
    assert backends.why_lost(MemoryError()) == "MemoryError"
    assert len(backends.why_lost(RuntimeError("x" * 1000))) == 200


@pytest.mark.parametrize(
    ("rates", "needed", "backend", "words"),
    [
        (Rates(1000.0, 1200.0), 0.0, "cpu", "measured 1,000 samples/s in int8, the GPU 1,200 in"),
        (
            Rates(1000.0, 1250.0),
            0.0,
            "gpu",
            "the CPU measured 1,000 samples/s in int8, the GPU 1,250",
        ),
        (Rates(1000.0, 9000.0), 500.0, "cpu", "2.0 x real time, so enough"),
        (Rates(999.0, 9000.0), 500.0, "gpu", "9,000 in fp32"),
        (Rates(999.0, 0.0), 500.0, "cpu", "the GPU 0"),
    ],
)
def test_the_measured_rule(rates: Rates, needed: float, backend: str, words: str) -> None:
    found = backends.faster(rates, "int8", "fp32", needed)
    assert found.backend == backend
    assert found.precision == {"cpu": "int8", "gpu": "fp32"}[backend]
    assert words in found.why


def test_the_gpu_is_measured_where_it_is_there_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def measured(ours: str, theirs: str) -> Choice:
        asked.append((ours, theirs))
        return Choice("gpu", theirs, "fast")

    has(monkeypatch, None)
    assert backends.choose("auto", None, measured)[:2] == ("cpu", "int8")
    assert backends.choose("cpu", "bf16", measured)[:2] == ("cpu", "bf16")
    with pytest.raises(GhostnoteError, match="no CUDA device"):
        backends.choose("gpu", None, measured)
    assert asked == []
    backends.cuda_lacks.cache_clear()
    has(monkeypatch, Driver())
    assert backends.choose("auto", None, measured)[:2] == ("gpu", "fp32")
    assert backends.choose("auto", "bf16", measured)[:2] == ("gpu", "bf16")
    assert asked == [("int8", "fp32"), ("bf16", "bf16")]
    assert backends.choose("auto", "int8", measured) == Choice(
        "cpu", "int8", "the GPU does not play in int8"
    )
    assert backends.choose("gpu", None, measured)[:2] == ("gpu", "fp32")
    with pytest.raises(GhostnoteError, match="--backend gpu: plays in fp32 or bf16, not in int8"):
        backends.choose("gpu", "int8", measured)
    assert len(asked) == 2


def test_a_gpu_that_fails_while_it_is_measured_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(ours: str, theirs: str) -> Choice:
        raise error

    has(monkeypatch, Driver())
    error: Exception = RuntimeError("CUDA out of memory")
    found = backends.choose("auto", None, measured)
    assert found == Choice("cpu", "int8", "the GPU fails: CUDA out of memory")
    error = KeyError("ours")
    with pytest.raises(KeyError):
        backends.choose("auto", None, measured)


def test_rates_are_measured_on_both_or_the_cpu_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    it = model("odd, width 3, out of order")
    monkeypatch.setattr(backends, "MEASURE_SECONDS", 0.0)
    monkeypatch.setattr("ghostnote.kernels.bench.PIECE_MACS", 1)
    opened: list[int] = []

    def open_gpu(spec: Any, weights: Any, precision: str, streams: int) -> State:
        opened.append(streams)
        return State(it.packed, streams=streams)

    monkeypatch.setattr(backends, "open_gpu", open_gpu)
    found = backends.rates(it.packed, it.weights, "fp32", 3, 2, 5)
    assert found.cpu > 0 and found.gpu > 0 and opened == [5]
    found = backends.rates(it.packed, it.weights, "fp32", 3, 2, 5, enough=1.0)
    assert found.cpu > 0 and found.gpu == 0 and opened == [5]


def test_a_piece_of_work_is_every_lane() -> None:
    it = model("odd, width 3, out of order")
    state = State(it.packed, streams=2)
    run = backends.streams_work(state, it.spec, 2)
    assert run() == 2 * state.index
    assert np.isfinite(state.floats).all()
