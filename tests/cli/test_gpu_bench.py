"""The GPU's part of `ghostnote bench`, in Triton's interpreter: parity first, and no figure without."""

import json
from typing import Any

import numpy as np
import pytest

from ghostnote.cli import bench, gpu_bench
from ghostnote.cli.main import main
from ghostnote.kernels import backends, parity
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import Weights, random_weights

TINY = ModelSpec(16000, 2, (2,), residual=16, gate=16, skip=16, head=16, levels=16)
WEIGHTS = random_weights(TINY, 2)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CONFIGS", {"tiny": TINY})
    monkeypatch.setattr("ghostnote.kernels.bench.PIECE_MACS", 1)
    monkeypatch.setattr(gpu_bench, "PEAK_SECONDS", 0.0)
    monkeypatch.setattr(gpu_bench, "DRAWN", 4)
    monkeypatch.setattr(parity, "BEYOND", 4)


def on_cpu(monkeypatch: pytest.MonkeyPatch, change: str = "") -> None:
    """Lets the CPU play the part of the GPU, one weight changed if named."""

    def opened(spec: ModelSpec, weights: Weights, precision: str, streams: int) -> State:
        found = {k: np.roll(v, 1, axis=-1) if k == change else v for k, v in weights.items()}
        return State(pack(spec, found, precision), streams=streams)

    monkeypatch.setattr(gpu_bench, "open_gpu", opened)


def test_figures_of_the_gpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton", reason="Triton is made for Linux only")
    monkeypatch.setattr(
        bench, "measure", lambda work, seconds: {key: run() * 100.0 for key, run in work.items()}
    )
    words = ["bench", "--config", "tiny", "--backend", "gpu", "--streams", "2", "--json"]
    assert main([*words, "--precision", "fp32,bf16,int8"]) == 0
    told = json.loads(capsys.readouterr().out)
    card = told["machine"]["gpu"]
    assert card.keys() == {"name", "fp32_gmac_per_s", "bf16_gmac_per_s", "bandwidth_gb_per_s"}
    rows = told["results"]
    assert [(r["backend"], r["precision"], r["streams"]) for r in rows] == [
        ("gpu", "fp32", 2),
        ("gpu", "bf16", 2),
    ]
    for row in rows:
        assert row["parity"] == "ok" and row["samples_per_s"] == 2 * TINY.hop * 100.0
        peak = card[f"{row['precision']}_gmac_per_s"]
        share = row["samples_per_s"] * TINY.macs_per_sample / 1e9 / peak
        assert row["fraction_of_bound"] == pytest.approx(share)


def test_more_streams_than_the_cpu_has_lanes(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench._counts("1,4096", gpu_bench.MAX_STREAMS) == [1, 4096]
    words = ["bench", "--config", "tiny", "--streams", "4096"]
    assert main([*words, "--backend", "cpu,gpu"]) == 2
    assert "numbers from 1 to 1024" in capsys.readouterr().err


@pytest.mark.parametrize("streams", [1, 2, 5])
def test_the_same_network_passes(streams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu(monkeypatch)
    gpu_bench.check(TINY, WEIGHTS, "fp32", streams)
    gpu_bench.check(TINY, WEIGHTS, "bf16", streams)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("change", ["filter_weight", "residual_bias", "head1_bias", "skip_weight"])
def test_another_network_is_found(
    change: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec(16000, 2, (2, 1), residual=16, gate=16, skip=16, head=16, levels=16)
    on_cpu(monkeypatch, change)
    with pytest.raises(GhostnoteError, match=f"the GPU in {precision}: outputs of lane 0 of 3"):
        gpu_bench.check(spec, random_weights(spec, 2), precision, 3)


def test_a_lane_that_plays_another_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Muddled(State):
        """Takes what its last lane puts out from the lane before."""

        def teacher_force(self, levels: Any) -> Any:
            found = super().teacher_force(levels)
            found[-1] = found[-2]
            return found

    def opened(spec: ModelSpec, weights: Weights, precision: str, streams: int) -> State:
        return Muddled(pack(spec, weights, precision), streams=streams)

    monkeypatch.setattr(gpu_bench, "open_gpu", opened)
    with pytest.raises(GhostnoteError, match="outputs of lane 5 of 6 differ"):
        gpu_bench.check(TINY, WEIGHTS, "fp32", 6)


def test_a_draw_of_other_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unlucky(State):
        """Draws by the numbers of another seed."""

        def seed(self, seed: int, lane: int | None = None, stream: int | None = None) -> None:
            super().seed(seed + 1, lane, stream)

    monkeypatch.setattr(gpu_bench, "DRAWN", 96)
    monkeypatch.setattr(
        gpu_bench, "open_gpu", lambda spec, w, precision, streams: Unlucky(pack(spec, w, precision))
    )
    with pytest.raises(GhostnoteError, match="lane 0 of 1 draws level"):
        gpu_bench.check(TINY, WEIGHTS, "fp32", 1)


def test_a_gpu_that_fails_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory.\nTried to")

    monkeypatch.setattr(backends, "missing", lambda name: "")
    monkeypatch.setattr(gpu_bench, "peaks", dict)
    monkeypatch.setattr(gpu_bench, "open_gpu", lost)
    assert main(["bench", "--config", "tiny", "--backend", "gpu", "--precision", "fp32"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    line = "ghostnote: tiny: the GPU fails with 1 streams in fp32: CUDA out of memory."
    assert told.err.splitlines()[-1] == line


def test_no_figure_where_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ghostnote.cli.rivals.lacks_here", lambda name: "no CUDA device; buy one")
    assert main(["bench", "--config", "tiny", "--backend", "gpu"]) == 1
    assert capsys.readouterr().err == "ghostnote: --backend gpu: no CUDA device; buy one\n"


def test_int8_alone_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_bench, "peaks", dict)
    assert main(["bench", "--config", "tiny", "--backend", "gpu", "--precision", "int8"]) == 1
    assert "plays in fp32 or bf16, not in int8" in capsys.readouterr().err


def test_a_card_that_fails_at_once_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError("CUDA error: no kernel image is available\nSearch for")

    monkeypatch.setattr(gpu_bench, "_peaks", fail)
    with pytest.raises(GhostnoteError, match=r"^the GPU fails with large matrices: .* available$"):
        gpu_bench.peaks()
