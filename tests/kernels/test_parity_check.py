"""The check before a figure: the reference for whole sequences is the reference, faults are found."""

from dataclasses import replace

import numpy as np
import pytest

from ghostnote.kernels import parity
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed, pack
from ghostnote.kernels.reference import Reference
from ghostnote.kernels.state import State
from tests.kernels.models import INTS, model

# With roles, kits, mixtures, both filter widths; all small.
NAMES = ("odd, width 3, out of order", "as bundled", "mixture of 10", "smallest", "1024 levels")
PRECISIONS = ("fp32", "bf16", "int8")


def silent_row(name: str) -> np.ndarray | None:
    """Returns the control row of a stream that nothing has struck, under the first kit."""
    it = model(name)
    if not it.spec.conditioning:
        return None
    row = np.zeros(it.spec.conditioning)
    for role in range(len(it.spec.roles)):
        at = 2 * it.spec.age_features * role
        row[at : at + it.spec.age_features] = it.weights["age_table"][-1]
    if it.spec.kits:
        row[len(row) - len(it.spec.kits)] = 1.0
    return row


@pytest.mark.parametrize("name", NAMES)
def test_whole_sequences_are_the_reference_step_by_step(name: str) -> None:
    it = model(name)
    levels: INTS = np.random.default_rng(1).integers(0, it.spec.levels, 90)
    reference = Reference(it.spec, it.weights)
    state = reference.start(silent_row(name))
    history = [it.spec.silence, *levels[:-1]]
    expected = np.stack([reference.step(state, int(level)) for level in history])
    found = parity.outputs_of(it.spec, it.weights, levels)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_passes(name: str, precision: str) -> None:
    it = model(name, precision)
    parity.check_outputs(it.packed, it.weights)
    parity.check_lanes(it.packed, 5)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("fault", ["filter_weight", "residual_weight", "skip_weight", "head1_bias"])
def test_faults_of_the_weights_are_found(fault: str, precision: str) -> None:
    it = model("as bundled")
    wrong = dict(it.weights)
    wrong[fault] = np.roll(wrong[fault], 1, axis=-1)
    with pytest.raises(GhostnoteError, match=f"kernel in {precision} does not agree: outputs"):
        parity.check_outputs(pack(it.spec, wrong, precision), it.weights)


def test_a_dilation_that_is_one_off_is_found_in_every_precision() -> None:
    it = model("dilation 512")
    wrong = replace(it.spec, dilations=(*it.spec.dilations[:-1], 511))
    for precision in PRECISIONS:
        packed = pack(wrong, it.weights, precision)
        with pytest.raises(GhostnoteError, match="does not agree"):
            parity.check_outputs(
                Packed(it.spec, precision, packed.header, packed.weights, packed.source), it.weights
            )


def test_int8_that_rounds_otherwise_is_found() -> None:
    """Weights of 6 bits pass for int8 in no test but this one."""
    it = model("as bundled")
    coarse = dict(it.weights)
    for name in ("filter_weight", "skip_weight", "head0_weight", "head1_weight"):
        rows = np.abs(coarse[name]).max(axis=-1, keepdims=True) / 20.0
        coarse[name] = np.asarray(np.rint(coarse[name] / rows) * rows, np.float32)
    with pytest.raises(GhostnoteError, match="expected"):
        parity.check_outputs(pack(it.spec, coarse, "int8"), it.weights)


def test_lanes_that_part_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    it = model("1024 levels")

    class Wrong(State):
        """Lanes of which the last draws another stream."""

        def generate(self, out: np.ndarray, drawn: np.ndarray | None = None) -> None:
            if self.lanes > 1:
                self.seed(1, lane=self.lanes - 1)
            super().generate(out)

    monkeypatch.setattr(parity, "State", Wrong)
    with pytest.raises(GhostnoteError, match="lane 3 of 4 parts from the same stream alone"):
        parity.check_lanes(it.packed, 4)
