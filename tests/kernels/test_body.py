"""The body's curve and the filter beside it, by themselves; with models in test_parity.py."""

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.signal import butter, lfilter

from ghostnote.kernels.body import add_curves, with_body
from ghostnote.kernels.high_pass import high_pass
from ghostnote.kernels.spec import ModelSpec

HOP, HOPS = 24, 40
SPEC = ModelSpec(24000, HOP, (1,))  # its filter is that of one knot a hop
RNG = np.random.default_rng(1)
KNOTS = RNG.standard_normal((HOPS + 1, 2)).astype(np.float32)
NOISE = RNG.uniform(-1.0, 1.0, HOPS * HOP).astype(np.float32)


def test_the_curve_is_the_cubic_between_its_knots() -> None:
    sound = np.zeros(HOPS * HOP, np.float32)
    add_curves(sound, KNOTS, HOP, 0)
    spline = CubicHermiteSpline(np.arange(HOPS + 1), *KNOTS.T.astype(float))
    np.testing.assert_allclose(sound, spline(np.arange(len(sound)) / HOP), atol=1e-6)


def test_what_is_heard_of_the_wavenet_lies_above() -> None:
    sound = NOISE.copy()
    with_body(sound, high_pass(SPEC), np.zeros(2, np.float32), 0.0 * KNOTS, HOP, 0)
    wanted = lfilter(*butter(2, 400.0, "high", fs=24000.0), NOISE.astype(float))
    np.testing.assert_allclose(sound, wanted, atol=1e-5)


def test_pieces_are_the_whole() -> None:
    whole, kept = NOISE.copy(), np.zeros(2, np.float32)
    with_body(whole, high_pass(SPEC), kept, KNOTS, HOP, 0)
    parts, past = NOISE.copy(), np.zeros(2, np.float32)
    for first, last in ((0, 1), (1, HOP), (HOP, 3 * HOP + 5), (3 * HOP + 5, len(parts))):
        knots = KNOTS[first // HOP :]
        with_body(parts[first:last], high_pass(SPEC), past, knots, HOP, first % HOP)
    np.testing.assert_array_equal(parts, whole)
    np.testing.assert_array_equal(past, kept)


def test_silence_becomes_true_silence() -> None:
    kept, knots = np.zeros(2, np.float32), np.zeros((HOPS + 1, 2), np.float32)
    with_body(NOISE.copy(), high_pass(SPEC), kept, knots, HOP, 0)
    assert kept.all()
    for _ in range(3):
        silence = np.zeros(HOPS * HOP, np.float32)
        with_body(silence, high_pass(SPEC), kept, knots, HOP, 0)
    assert not silence[-100:].any() and not kept.any()
