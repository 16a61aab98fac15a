"""A stream of onnxruntime starts from the same silence however it is cut into calls."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ghostnote.inference.graph import build_model
from ghostnote.inference.onnx_stream import PIECE, Controls, OnnxStream, Played
from ghostnote.inference.proof import check_proof
from ghostnote.kernels.backends import CUDA_PROVIDER
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import random_weights
from tests.inference.small_models import MIXTURES, SPECS, write_model

FAR = (1, 2 * PIECE, 40, 401)
CASES = {
    "softmax": replace(SPECS["long"], dilations=FAR, hop=7),
    "mixture": replace(MIXTURES["mixture"], dilations=FAR),
    "a whole number of pieces": replace(
        SPECS["unconditional"], dilations=(2 * PIECE - 2,), input_taps=2
    ),
    "less than a piece": SPECS["long"],
}


class Counted(OnnxStream):
    """Notes how many samples each call plays."""

    def process(
        self,
        uniforms: npt.NDArray[np.float32],
        controls: Controls,
        forced: npt.NDArray[np.int64] | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
    ) -> Played:
        self.counts = [*getattr(self, "counts", []), len(uniforms)]
        return super().process(uniforms, controls, forced, temperature, top_k)


def silence(spec: ModelSpec, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    pairs = (count, 2) if spec.mixtures else (count,)
    return np.full(pairs, 0.5, np.float32), np.full(count, spec.silence, np.int64)


@pytest.mark.parametrize("name", CASES)
def test_the_silence_before_the_start_is_played_in_pieces(name: str) -> None:
    spec = CASES[name]
    kit = [0.5, -0.25, 1.0][: len(spec.kits)]
    model = build_model(spec, random_weights(spec, 2), {}).SerializeToString()
    stream = Counted(model, spec, kit)
    assert sum(stream.counts) == spec.receptive_field
    assert max(stream.counts) <= PIECE
    assert stream.index == 0

    found = stream.history, stream.past
    stream.history = np.full_like(stream.history, spec.silence)
    stream.past = np.zeros_like(stream.past)
    uniforms, forced = silence(spec, spec.receptive_field)
    hops = spec.receptive_field // spec.hop + 1
    stream.process(uniforms, Controls.of_hits(spec, [], hops, kit), forced)
    np.testing.assert_array_equal(found[0], stream.history)
    np.testing.assert_allclose(found[1], stream.past, 1e-5, 1e-6)
    assert np.abs(stream.past).max() > 0.1


def test_a_stream_on_cuda_that_fell_back_is_refused(tmp_path: Path) -> None:
    import onnxruntime

    if CUDA_PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    model = write_model(tmp_path / "m.onnx", SPECS["unconditional"])
    with pytest.raises(GhostnoteError, match="fell back to CPUExecutionProvider"):
        check_proof(model, ["onnx-cuda"])
