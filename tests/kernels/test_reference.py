"""The reference itself, against the network written for a whole sequence at once."""

import numpy as np
import pytest

from ghostnote.kernels.reference import Reference, choose, cumulative, margin
from tests.kernels.models import DOUBLES, INTS, SPECS, model


def whole_sequence(name: str, levels: INTS, control: DOUBLES) -> DOUBLES:
    """Returns the logits [n, Q] after each of `levels` [n]; before the first there was nothing.

    Convolutions over the whole sequence, as a training program would write them, under one
    control row.
    """
    spec, weights, *_ = model(name)
    w = {key: array.astype(np.float64) for key, array in weights.items()}

    def late(x: DOUBLES, by: int) -> DOUBLES:
        return np.concatenate([np.zeros((by, x.shape[1])), x])[: len(x)]

    hot = np.eye(spec.levels)[levels]  # [n, Q]
    taps = spec.input_taps
    x = np.zeros((len(levels), spec.residual))
    for tap in range(taps):
        x += late(hot @ w["input_weight"][tap], taps - 1 - tap)
    hidden = control
    for i in range(len(spec.cond_hidden)):
        hidden = np.maximum(hidden @ w[f"cond_weight.{i}"].T + w[f"cond_bias.{i}"], 0.0)
    skips = np.tile(w["skip_bias"], (len(levels), 1))
    for layer, dilation in enumerate(spec.dilations):
        a = w["filter_bias"][layer] + np.zeros((len(levels), 2 * spec.gate))
        if spec.conditioning:
            a += hidden @ w["cond_out_weight"][layer].T
        for tap in range(spec.filter_width):
            by = (spec.filter_width - 1 - tap) * dilation
            a += late(x, by) @ w["filter_weight"][layer, tap].T
        z = np.tanh(a[:, : spec.gate]) * (0.5 + 0.5 * np.tanh(a[:, spec.gate :] / 2))
        skips += z @ w["skip_weight"][layer].T
        if layer + 1 < spec.layers:
            x = x + z @ w["residual_weight"][layer].T + w["residual_bias"][layer]
    head = np.maximum(np.maximum(skips, 0.0) @ w["head0_weight"].T + w["head0_bias"], 0.0)
    return np.asarray(head @ w["head1_weight"].T + w["head1_bias"])


@pytest.mark.parametrize("name", SPECS)
def test_step_by_step_is_the_convolution_of_the_whole(name: str) -> None:
    spec, weights, *_ = model(name)
    draw = np.random.default_rng(1)
    control = draw.standard_normal(spec.conditioning)
    levels = draw.integers(0, spec.levels, 60)
    reference = Reference(spec, weights)
    state = reference.start(control)
    found = np.stack([reference.step(state, int(level)) for level in levels])
    # A receptive field of silence before the levels stands for the start; nothing older counts.
    lead = np.full(spec.receptive_field, spec.silence, np.int64)
    expected = whole_sequence(name, np.concatenate([lead, levels]), control)[len(lead) :]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["odd, width 3, out of order", "one layer, roles only"])
def test_the_receptive_field_is_as_long_as_the_spec_says(name: str) -> None:
    spec, *_ = model(name)
    field = spec.receptive_field
    draw = np.random.default_rng(2)
    levels = draw.integers(0, spec.levels, field + 1)
    control = np.zeros(spec.conditioning)

    def last(changed: int) -> DOUBLES:
        other = levels.copy()
        other[changed] = (other[changed] + spec.levels // 2) % spec.levels
        return np.asarray(whole_sequence(name, other, control)[-1])

    now = whole_sequence(name, levels, control)[-1]
    assert (last(0) == now).all()
    assert (last(1) != now).any()


def test_no_control_is_a_control_row_of_zeros() -> None:
    spec, weights, *_ = model("odd, width 3, out of order")
    reference = Reference(spec, weights)
    none, zeros = reference.start(), reference.start(np.zeros(spec.conditioning))
    assert (reference.step(none, 3) == reference.step(zeros, 3)).all()


def test_inverse_cdf_in_index_order() -> None:
    cdf = cumulative(np.log([1.0, 2.0, 1.0]))
    drawn = [choose(cdf, u) for u in (0.0, 0.2499, 0.25, 0.7499, 0.75, 0.9999)]
    assert drawn == [0, 0, 1, 1, 2, 2]


def test_a_number_that_rounding_pushes_past_the_end_draws_the_last_level_with_weight() -> None:
    assert choose(np.array([0.0, 0.5, 1.0, 1.0]), 1.0) == 2


def test_temperature_and_top_k() -> None:
    logits = np.log([1.0, 2.0, 4.0])
    np.testing.assert_allclose(cumulative(logits, 0.5) * 16, [1, 5, 21])
    np.testing.assert_allclose(cumulative(logits, 1.0, 2) * 4, [0, 2, 6])
    # Levels that tie for the last place all take part.
    np.testing.assert_allclose(cumulative(np.zeros(3), 1.0, 1), [1, 2, 3])


def test_margin_is_the_distance_to_the_nearest_edge_as_a_share() -> None:
    assert margin(np.array([1.0, 3.0, 4.0]), 0.7) == pytest.approx(0.05)
