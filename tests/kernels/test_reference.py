"""The reference itself, against the network written for a whole sequence at once."""

from dataclasses import replace

import numpy as np
import pytest

from ghostnote.kernels.reference import (
    Reference,
    choose,
    cumulative,
    draw,
    levels_off,
    margin,
    position,
)
from ghostnote.kernels.spec import LEAST_LOG_SCALE, ModelSpec
from ghostnote.kernels.weights import Weights, random_weights
from tests.kernels.models import DOUBLES, INTS, SPECS, model

MIXTURE = ModelSpec(
    24000, 10, (4, 1, 2), residual=7, gate=5, skip=9, head=6, levels=65536, mixtures=4,
    input_taps=3, kits=("one",), cond_hidden=(5,),
)  # fmt: skip
TWO = replace(MIXTURE, mixtures=2)


def whole_sequence(spec: ModelSpec, weights: Weights, levels: INTS, control: DOUBLES) -> DOUBLES:
    """Returns the outputs [n, O] after each of `levels` [n]; before the first there was nothing.

    Convolutions over the whole sequence, as a training program would write them, under one
    control row.
    """
    w = {key: array.astype(np.float64) for key, array in weights.items()}

    def late(x: DOUBLES, by: int) -> DOUBLES:
        return np.concatenate([np.zeros((by, x.shape[1])), x])[: len(x)]

    taps = spec.input_taps
    x = np.zeros((len(levels), spec.residual))
    for tap in range(taps):
        if spec.mixtures:
            embedded = np.outer((levels - 32768) / 32768, w["input_weight"][tap])
        else:
            embedded = np.eye(spec.levels)[levels] @ w["input_weight"][tap]
        x += late(embedded, taps - 1 - tap)
    x += w.get("input_bias", 0.0)
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


@pytest.mark.parametrize("name", [*SPECS, "mixture"])
def test_step_by_step_is_the_convolution_of_the_whole(name: str) -> None:
    if name == "mixture":
        spec, weights = MIXTURE, random_weights(MIXTURE, 2)
    else:
        spec, weights, *_ = model(name)
    random = np.random.default_rng(1)
    control = random.standard_normal(spec.conditioning)
    levels = random.integers(0, spec.levels, 60)
    reference = Reference(spec, weights)
    state = reference.start(control)
    found = np.stack([reference.step(state, int(level)) for level in levels])
    # A receptive field of silence before the levels stands for the start; nothing older counts.
    lead = np.full(spec.receptive_field, spec.silence, np.int64)
    expected = whole_sequence(spec, weights, np.concatenate([lead, levels]), control)[len(lead) :]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["odd, width 3, out of order", "one layer, roles only"])
def test_the_receptive_field_is_as_long_as_the_spec_says(name: str) -> None:
    spec, weights, *_ = model(name)
    field = spec.receptive_field
    levels = np.random.default_rng(2).integers(0, spec.levels, field + 1)
    control = np.zeros(spec.conditioning)

    def last(changed: int) -> DOUBLES:
        other = levels.copy()
        other[changed] = (other[changed] + spec.levels // 2) % spec.levels
        return np.asarray(whole_sequence(spec, weights, other, control)[-1])

    now = whole_sequence(spec, weights, levels, control)[-1]
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


def outputs(shares: list[float], means: list[float], scales: list[float]) -> DOUBLES:
    return np.concatenate([np.log(shares), means, np.log(scales)])


def test_a_mixture_draws_a_component_then_its_logistic() -> None:
    two = outputs([1.0, 3.0], [-0.5, 0.25], [1e-3, 1e-2])
    assert draw(TWO, two, (0.2, 0.5)) == 32768 - 16384  # the median is the mean
    assert draw(TWO, two, (0.3, 0.5)) == 32768 + 8192
    # Three quarters of a logistic lie below mean + scale * log 3.
    assert position(two, 1, 0.75) == pytest.approx(32768 * (1.25 + 1e-2 * np.log(3.0)))
    # The temperature sharpens the choice and narrows the component.
    assert draw(TWO, two, (0.2, 0.5), temperature=0.5) == 32768 + 8192
    assert position(two, 1, 0.75, 0.5) == pytest.approx(32768 * (1.25 + 5e-3 * np.log(3.0)))
    # top_k counts components.
    assert draw(TWO, two, (0.01, 0.5), top_k=1) == 32768 + 8192


def test_a_mixture_stays_inside_sixteen_bits_and_is_never_narrower_than_its_least() -> None:
    wide = outputs([1.0, 1.0], [1.5, -1.5], [0.1, 0.1])
    assert draw(TWO, wide, (0.4, 0.9)) == 65535
    assert draw(TWO, wide, (0.6, 0.1)) == 0
    point = np.array([0.0, 1e-4, -80.0])
    found = position(point, 0, 0.9) - 32768 * (1.0 + 1e-4)
    assert found == pytest.approx(32768 * np.exp(LEAST_LOG_SCALE) * np.log(9.0), rel=1e-6)


def test_the_shares_of_levels_drawn_are_those_of_the_distribution() -> None:
    three = outputs([0.2, 0.5, 0.3], [-0.3, 0.0, 0.4], [0.05, 0.002, 0.1])
    random = np.random.default_rng(3)
    drawn = [
        draw(replace(MIXTURE, mixtures=3), three, random.uniform(size=2)) for _ in range(20000)
    ]
    edges = np.array([-0.5, -0.2, -0.003, 0.002, 0.1, 0.5])
    shares, means, scales = np.exp(three[:3]), three[3:6], np.exp(three[6:])
    below = (shares / (1.0 + np.exp((means - edges[:, None]) / scales))).sum(axis=1)
    found = [np.mean(np.array(drawn) < 32768 * (1.0 + edge)) for edge in edges]
    np.testing.assert_allclose(found, below, atol=4 * 0.5 / np.sqrt(20000))


def test_how_far_a_draw_is_from_a_level() -> None:
    two = outputs([1.0, 3.0], [0.25 / 32768, 0.5], [1e-3, 1e-3])
    assert levels_off(two, 32768, (0.1, 0.5), 1e-4) == 0.0
    assert levels_off(two, 32769, (0.1, 0.5), 1e-4) == pytest.approx(0.25)
    assert levels_off(two, 32767, (0.1, 0.5), 1e-4) == pytest.approx(0.75)
    # Near the edge between the components the draw may be of either.
    for u0 in (0.24995, 0.25005):
        assert levels_off(two, 32768, (u0, 0.5), 1e-4) == 0.0
        assert levels_off(two, 32768 + 16384, (u0, 0.5), 1e-4) == 0.0
        assert levels_off(two, 32768 + 8192, (u0, 0.5), 1e-4) == 8191.25
    assert levels_off(two, 32768 + 16384, (0.2, 0.5), 1e-4) > 16000
    assert not levels_off(np.full(6, np.nan), 5, (0.2, 0.5), 1e-4) < 1.0
