"""The script in docs/: a model played by onnxruntime alone gives what the kernel gives."""

import ast
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels import levels as amplitudes
from ghostnote.kernels import rng
from ghostnote.kernels.packing import pack
from ghostnote.kernels.reference import cumulative, levels_off, margin
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State
from tests.inference.small_models import write_model

SCRIPT = Path(__file__).parents[2] / "docs" / "stream_with_onnxruntime.py"
SEED = 2**40 + 7
SECONDS = 4

SPECS = {
    "roles and kits": ModelSpec(
        1000, 10, (1, 2, 40), roles=("hat", "kick"), kits=("a", "b"), ages=30, age_features=4,
        cond_hidden=(6,), residual=8, gate=8, skip=8, head=8, levels=64, emphasis=0.7,
    ),
    "roles, width 3": ModelSpec(
        1000, 10, (3, 32), filter_width=3, roles=("kick",), ages=90, age_features=4,
        cond_hidden=(6,), residual=8, gate=8, skip=8, head=8, levels=64,
    ),
    "body": ModelSpec(
        1000, 10, (1, 8), roles=("kick",), ages=30, age_features=4, cond_hidden=(6,), residual=8,
        gate=8, skip=8, head=8, levels=64, emphasis=0.5, body=5, body_knots=2, body_ages=29,
        transient=3, transient_ages=11,
    ),
    "kits": ModelSpec(
        1000, 16, (1, 2), kits=("a",), cond_hidden=(6,), residual=8, gate=8, skip=8, head=8,
        levels=64,
    ),
    "unconditional": ModelSpec(1000, 16, (1, 2), residual=8, gate=8, skip=8, head=8, levels=64),
    "mixture": ModelSpec(
        1000, 10, (1, 40), roles=("kick",), ages=30, age_features=4, cond_hidden=(6,),
        residual=8, gate=8, skip=8, head=8, levels=65536, mixtures=4,
    ),
}  # fmt: skip


def in_hops(model: ModelFile, count: int) -> tuple[State, list[tuple[int, int]]]:
    """Returns a stream from the start, and the hops (first, last sample) of `count` samples."""
    state = State(pack(model.spec, model.weights), SEED)
    hop = model.spec.hop
    return state, [(at, min(at + hop, count)) for at in range(0, count, hop)]


def strike(state: State, model: ModelFile, sample: int) -> None:
    spec = model.spec
    beat = spec.samplerate // 2 // spec.hop
    if "kick" in spec.roles and sample // spec.hop % beat == 0:
        state.hit(spec.roles.index("kick"), 1.0)


def kernel_plays(model: ModelFile, count: int) -> npt.NDArray[np.float32]:
    state, hops = in_hops(model, count)
    out = np.full(count, np.nan, np.float32)
    for first, last in hops:
        strike(state, model, first)
        state.generate(out[first:last])
    return out


def assert_near_tie(model: ModelFile, samples: npt.NDArray[np.float32], at: int) -> None:
    """What the kernel draws at a sample is near what another would be, so that others may part."""
    spec = model.spec
    levels = amplitudes.of_sound(spec, samples)
    state, hops = in_hops(model, at + 1)
    logits = []
    for first, last in hops:
        strike(state, model, first)
        logits.append(state.teacher_force(levels[first:last]))
    outputs = np.concatenate(logits)[at].astype(np.float64)
    uniforms = rng.uniforms_of(spec, SEED, 0, at, 1)[0]
    if spec.mixtures:
        off = [levels_off(outputs, int(levels[at]) + by, uniforms, 1e-5) for by in (-1, 1)]
        assert min(off) < 0.1, f"parts at sample {at}"
    else:
        assert margin(cumulative(outputs), float(uniforms)) < 1e-5, f"parts at sample {at}"


@pytest.mark.parametrize("name", SPECS)
def test_it_plays_what_the_kernel_plays(name: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "a.onnx", SPECS[name])
    out = tmp_path / "a.wav"
    command = [sys.executable, str(SCRIPT), str(model.path), str(out), str(SEED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with wave.open(str(out)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 1000)
        found = np.frombuffer(file.readframes(10**6), "<i2")
    samples = kernel_plays(model, SECONDS * model.spec.samplerate)
    wanted = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    assert len(found) == len(wanted)
    assert len(set(wanted)) > 30
    rounding = 1 if model.spec.body else 0  # of the body, which 16 bit may round the other way
    apart = np.nonzero(np.abs(found.astype(int) - wanted) > rounding)[0]
    if len(apart):  # onnxruntime sums in another order: it may part at a near tie
        assert_near_tie(model, samples, int(apart[0]))


def test_it_needs_nothing_of_ours() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        assert not isinstance(node, ast.ImportFrom)
    assert imported == {"json", "sys", "wave", "numpy", "onnxruntime"}
