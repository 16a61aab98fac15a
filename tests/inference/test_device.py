"""Rendering on a GPU, with Triton's interpreter as the device: the samples of the CPU, lost or not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostnote.cli.main import main
from ghostnote.inference import proof
from ghostnote.inference.device import Device
from ghostnote.inference.generator import Hit, Lanes, Take
from ghostnote.inference.model_file import load_model, save_model
from ghostnote.inference.spread import Spread
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import random_weights
from tests.kernels.models import same_bits

pytest.importorskip("triton", reason="Triton is made for Linux only")

SPEC = ModelSpec(
    8000, 8, (2,), residual=8, gate=9, skip=10, head=11, levels=33, input_taps=2,
    roles=("kick", "snare"), kits=("one", "two"), ages=6, age_features=4, cond_hidden=(5,),
)  # fmt: skip
WEIGHTS = random_weights(SPEC, 3)


def test_lanes_on_a_gpu_play_what_they_play_on_the_cpu() -> None:
    takes = [Take(7, 0, [0.0, 1.0], 0.8), Take(7, 3, None, 1.0, 5), Take(2**40)]
    told: list[str] = []

    def lanes(device: Device | None) -> Lanes:
        found = Lanes(pack(SPEC, WEIGHTS, "fp32"), takes, device)
        found.add([Hit(0, "kick", 1.0), Hit(9, "snare", 0.5)], 0)
        found.add([Hit(10, "kick", 0.7)], 2)
        return found

    on_gpu = lanes(Device(SPEC, WEIGHTS, "fp32", told.append))
    found = on_gpu.play(29)
    assert same_bits(found, lanes(None).play(29))
    assert told == [] and not isinstance(on_gpu.state, Spread)


def test_a_proof_is_replayed_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SAMPLES", 8), ("FORCED", 2), ("FORCED_AT", (0, 1))):
        monkeypatch.setattr(proof, name, value)
    path = tmp_path / "m.onnx"
    save_model(path, SPEC, WEIGHTS, {"name": "tiny"}, proof.make_proof(SPEC, WEIGHTS).to_json())
    model = load_model(path)
    assert proof.check_proof(model, ["gpu"])["gpu"].samples == 8
    weights = {**WEIGHTS, "head1_bias": np.roll(WEIGHTS["head1_bias"], 1) + np.float32(1.0)}
    with pytest.raises(GhostnoteError, match="proof: gpu gives logit"):
        proof.check_proof(replace(model, weights=weights), ["gpu"])


def test_a_render_goes_on_where_its_gpu_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ghostnote.kernels.gpu_state import GpuState

    model = tmp_path / "m.onnx"
    save_model(model, SPEC, WEIGHTS, {"name": "tiny"}, {})
    words = ["render", "--model", str(model), "--bars", "1", "--bpm", "960", "--count", "2"]
    words += ["--pattern", "electro", "--precision", "fp32", "--out"]
    assert main([*words, str(tmp_path / "cpu")]) == 0
    capsys.readouterr()
    launch, launched = GpuState._launch, 0

    def lost(self: GpuState, count: int, *rest: Any) -> Any:
        nonlocal launched
        launched += 1
        if launched > 3:
            self.rings.fill_(float("nan"))
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nSearch for")
        return launch(self, min(count, 16), *rest)

    monkeypatch.setattr(GpuState, "_launch", lost)
    monkeypatch.setattr("ghostnote.kernels.gpu_state.MOST", 16)
    assert main([*words, str(tmp_path / "gpu"), "--backend", "gpu"]) == 0
    assert launched == 4
    told = capsys.readouterr().err.splitlines()
    (line,) = (line for line in told if "GPU" in line)
    assert line == (
        "ghostnote render: the GPU is lost (CUDA error: an illegal memory access was encountered); "
        "the CPU goes on from the same sample"
    )
    loops = json.loads((tmp_path / "gpu" / "manifest.json").read_text())["loops"]
    assert {(loop["backend"], loop["precision"]) for loop in loops} == {("gpu", "fp32")}
    sounds = {path.name: path.read_bytes() for path in (tmp_path / "cpu").glob("*.wav")}
    assert len(sounds) == 2
    assert sounds == {path.name: path.read_bytes() for path in (tmp_path / "gpu").glob("*.wav")}
