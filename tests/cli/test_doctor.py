"""`ghostnote doctor`: what works is ok, what is missing is told with what to do about it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostnote.cli import backend as backend_module
from ghostnote.cli import doctor as doctor_module
from ghostnote.cli.main import main
from ghostnote.inference.model_file import ModelFile, save_model
from ghostnote.kernels import backends
from ghostnote.kernels.packing import pack
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import Weights
from tests.inference.small_models import write_model
from tests.parts import JackServer


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFile:
    """A model that runs many times faster than real time; the port is a free one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(doctor_module, "PORT", free.getsockname()[1])
    monkeypatch.setattr(doctor_module, "SPEED_SECONDS", 0.05)
    return write_model(tmp_path / "m.onnx")


def report(
    path: Path, capsys: pytest.CaptureFixture[str], status: int
) -> dict[str, list[dict[str, Any]]]:
    """Returns the findings of each check; the exit status must be as given."""
    assert main(["doctor", "--model", str(path), "--json"]) == status
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] == (status == 0)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in told["checks"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def test_a_machine_that_can_play(model: ModelFile, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(model.path, capsys, 0)
    assert {"versions", "packages", "processor", "compiled code", "sink"} <= found.keys()
    assert {"OSC port", "OSC buffer", "GPU", "model", "speed"} <= found.keys()
    assert found["OSC port"][0]["state"] == "ok"
    assert [f["state"] for f in found["proof"]] == ["ok", "ok"]
    assert [f["text"].split()[0] for f in found["proof"]] == ["numba", "onnx"]
    (backend,) = found["backend"]
    assert backend["state"] == "ok"
    assert backend["text"].startswith("serve plays one voice on the cpu in int8: ")


def test_the_lines_for_people(model: ModelFile, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model", str(model.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "note", "->") for line in lines), lines


def test_it_finds_jack_and_leaves_it(
    model: ModelFile, jackd: JackServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # the second finds no client of the first
        found = report(model.path, capsys, 0)
        assert found["sink"][0]["state"] == "ok"
        assert "jack" in found["sink"][0]["text"]
        outputs = [f["text"] for f in found["output"] if "--sink jack" in f["text"]]
        assert any(str(jackd.samplerate) in text for text in outputs), found["output"]
        assert not any("ghostnote" in text for text in outputs)


def test_a_port_that_is_taken_is_told(model: ModelFile, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", doctor_module.PORT))
        (finding,) = report(model.path, capsys, 0)["OSC port"]
    assert finding["state"] == "note"
    assert "--port" in finding["todo"]


def test_a_model_that_plays_something_else(
    model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = dict(model.weights)
    weights["head1_bias"] = np.roll(weights["head1_bias"], 1) + np.float32(1.0)
    bad = tmp_path / "bad.onnx"
    save_model(bad, model.spec, weights, model.provenance, model.proof)
    found = report(bad, capsys, 1)
    assert [f["state"] for f in found["proof"]] == ["problem"]
    assert found["speed"], "one check that fails does not end the others"


def test_a_model_that_is_none(
    model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    (finding,) = report(bad, capsys, 1)["model"]
    assert finding["state"] == "problem" and str(bad) in finding["text"]
    assert "--model" in finding["todo"]


def test_packages_that_are_missing_or_in_conflict(
    model: ModelFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "site" / "onnxruntime_gpu-1.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Name: onnxruntime-gpu\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(other.parent))
    monkeypatch.setattr(doctor_module, "_PACKAGES", ("numpy", "no-such-package"))
    found = report(model.path, capsys, 1)
    assert found["packages"][0]["todo"] == f"{sys.executable} -m pip install no-such-package"
    assert found["onnxruntime"][0]["state"] == "problem"
    assert "pip uninstall" in found["onnxruntime"][0]["todo"]


def test_a_driver_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(doctor_module, "GPU_SECONDS", 0.2)
    (finding,) = doctor_module._guarded("GPU", doctor_module.CHECKS["GPU"])
    assert (finding.check, finding.state) == ("GPU", "note")
    assert "nvidia-smi has not answered within 0.2 s" in finding.text


@pytest.mark.parametrize(
    ("times", "share", "state", "todo"),
    [
        (2.0, 1.0, "ok", ""),
        (1.2, 1.0, "note", "ring"),
        (0.5, 1.0, "problem", "smaller model"),
        (0.5, 0.4, "note", "other programs"),
        (0.5, 0.6, "problem", "smaller model"),  # too slow even with all of the core
    ],
)
def test_the_speed_is_judged(times: float, share: float, state: str, todo: str) -> None:
    finding = doctor_module.judge_speed(times, share)
    assert finding.state == state
    assert todo in finding.todo
    assert ("meanwhile" in finding.text) == (share < 0.9)


def test_it_needs_no_torch(model: ModelFile) -> None:
    code = (
        "import sys; from ghostnote.cli.main import main; "
        f"main(['doctor', '--model', {str(model.path)!r}]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a card whose GPU plays as the CPU does."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA H200, 143771 MiB\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    lacks(monkeypatch, "")
    monkeypatch.setattr(doctor_module, "LOOPS", 1000)

    def rates(*asked: Any) -> backends.Rates:
        assert asked[5] in (1, 1000), "what `render` makes at once on a GPU"
        return backends.Rates(1e5, 1e6)

    monkeypatch.setattr(backends, "rates", rates)
    monkeypatch.setattr(backend_module, "user_cache", lambda: tmp_path / "cache")

    def opened(spec: ModelSpec, weights: Weights, precision: str, streams: int) -> State:
        return State(pack(spec, weights, precision), streams=streams)

    monkeypatch.setattr("ghostnote.inference.proof.open_gpu", opened)


def lacks(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(doctor_module, "missing", lambda name: what)
    monkeypatch.setattr(backends, "missing", lambda name: what)


def found_by(check: str, model: ModelFile) -> list[doctor_module.Finding]:
    if check in doctor_module.CHECKS:
        return [*doctor_module.CHECKS[check]()]
    return [*doctor_module.MODEL_CHECKS[check](model)]


def test_a_card_is_told_with_what_plays_on_it(card: None, model: ModelFile) -> None:
    gpu, onnx = found_by("GPU", model)
    assert gpu.text.startswith("NVIDIA H200, 143771 MiB; torch ")
    assert gpu.text.endswith("--backend gpu plays on it") and gpu.state == "ok"
    assert "onnx-cuda can run" in onnx.text
    proofs = found_by("proof", model)[1:]
    assert [proof.text.split()[0] for proof in proofs] == ["numba", "onnx", "gpu"]
    voice, loops = (finding.text for finding in found_by("backend", model))
    assert voice.startswith("serve plays one voice on the cpu in int8: measured 100,000 samples/s")
    assert loops.startswith("render --backend auto makes 1000 loops on the gpu in fp32: ")


def test_a_card_is_found_by_its_driver_alone(
    card: None, model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor_module, "cuda_name", lambda: "NVIDIA H200")
    assert found_by("GPU", model)[0].text.startswith("NVIDIA H200; torch ")


def test_a_card_that_lacks_a_package_is_a_note(
    card: None, model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks(monkeypatch, "torch not installed: in ghostnote's folder, pip")
    gpu, onnx = found_by("GPU", model)
    assert (gpu.state, gpu.todo) == ("note", "torch not installed: in ghostnote's folder, pip")
    assert onnx.todo.startswith("torch not installed")
    (backend,) = found_by("backend", model)
    assert "cpu in int8: torch not installed" in backend.text


def test_a_card_that_fails_is_a_note(
    card: None, model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal address\nSearch for")

    monkeypatch.setattr("ghostnote.inference.proof.open_gpu", fail)
    failed = found_by("proof", model)[-1]
    assert failed.state == "note" and failed.todo == "play with --backend cpu"
    assert failed.text == "the GPU does not play it: CUDA error: an illegal address"
