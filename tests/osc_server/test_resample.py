"""The resampler against soxr, against itself in pieces, and against its promises."""

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ghostnote.osc_server.resample import DELAY_SECONDS, Resampler

RATES = [(24000, 48000), (24000, 44100), (48000, 44100), (44100, 48000), (24000, 96000)]
Frames = NDArray[np.float32]


def resampled(x: Frames, rate_in: int, rate_out: int, cuts: list[int] | None = None) -> Frames:
    """Resample x [n, channels], in one block or in blocks of the lengths `cuts`, repeated."""
    blocks = cuts or [len(x)]
    stream = Resampler(rate_in, rate_out, max(blocks), x.shape[1])
    out = np.full((stream.max_out, x.shape[1]), np.nan, np.float32)
    pieces, place, turn = [], 0, 0
    while place < len(x):
        block = x[place : place + blocks[turn % len(blocks)]]
        pieces.append(out[: stream.process(block, out)].copy())
        place, turn = place + len(block), turn + 1
    return np.concatenate(pieces)


def tone(hz: float, rate: int, seconds: float) -> Frames:
    t = np.arange(round(rate * seconds)) / rate
    return np.stack([np.sin(2 * np.pi * hz * t), np.cos(2 * np.pi * hz * t)], 1).astype(np.float32)


def level_db(x: Frames, rate: int, hz: float) -> float:
    """Level of the sine at `hz` in the first channel, by a windowed projection, in dB of full."""
    window = np.hanning(len(x))
    wave = np.exp(-2j * np.pi * hz * np.arange(len(x)) / rate)
    amplitude = 2 * abs(np.sum(x[:, 0] * window * wave)) / window.sum()
    return float(20 * np.log10(amplitude + 1e-12))


@pytest.mark.parametrize(("rate_in", "rate_out"), [*RATES, (24000, 24000), (44100, 22050)])
@given(cuts=st.lists(st.integers(1, 70), min_size=1, max_size=8), seed=st.integers(0, 2**32 - 1))
def test_in_pieces_equals_whole_bit_for_bit(
    rate_in: int, rate_out: int, cuts: list[int], seed: int
) -> None:
    x = np.random.default_rng(seed).standard_normal((700, 2)).astype(np.float32)
    whole = resampled(x, rate_in, rate_out)
    np.testing.assert_array_equal(resampled(x, rate_in, rate_out, cuts), whole)
    assert len(whole) == -(-700 * rate_out // rate_in)


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_an_hour_gives_the_exact_number_of_frames(rate_in: int, rate_out: int) -> None:
    stream = Resampler(rate_in, rate_out, rate_in, 1)
    stream.history[:] = 0
    block = np.zeros((rate_in, 1), np.float32)
    out = np.zeros((stream.max_out, 1), np.float32)
    for _ in range(10):
        assert stream.process(block, out) == rate_out


def test_equal_rates_pass_bit_for_bit() -> None:
    x = np.random.default_rng(0).standard_normal((500, 2)).astype(np.float32)
    np.testing.assert_array_equal(resampled(x, 48000, 48000, [24]), x)
    assert Resampler(48000, 48000, 24).delay == 0


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_passband_agrees_with_soxr(rate_in: int, rate_out: int) -> None:
    """Noise below 40 % of the lower rate comes out as soxr's best gives it, but for the delay."""
    lower = min(rate_in, rate_out)
    rng = np.random.default_rng(3)
    spectrum = np.zeros(rate_in // 2 + 1, np.complex128)  # one second
    top = int(0.4 * lower)
    spectrum[50:top] = rng.standard_normal(top - 50) + 1j * rng.standard_normal(top - 50)
    x = np.fft.irfft(spectrum, rate_in)
    frames = np.stack([x, -x], 1).astype(np.float32) / np.float32(np.abs(x).max())

    stream = Resampler(rate_in, rate_out, len(frames))
    # Outputs lie `delay` inputs late; a whole second of the periodic noise, moved by as much, is
    # the same noise moved forward.
    moved = np.fft.irfft(
        np.fft.rfft(frames, axis=0)
        * np.exp(-2j * np.pi * np.arange(rate_in // 2 + 1) * stream.delay / rate_in)[:, None],
        rate_in,
        axis=0,
    )
    want = soxr.resample(moved, rate_in, rate_out, quality="VHQ")
    got = resampled(frames, rate_in, rate_out)
    middle = slice(rate_out // 4, rate_out // 2)  # away from both ends' transients
    error = got[middle] - want[middle]
    assert np.sqrt(np.mean(error**2)) < 1e-3 * np.sqrt(np.mean(want[middle] ** 2))


@pytest.mark.parametrize("hz", [100.0, 3000.0, 9000.0, 10500.0])
def test_levels_and_images_at_24_to_48(hz: float) -> None:
    out = resampled(tone(hz, 24000, 0.5), 24000, 48000)[4800:]
    assert abs(level_db(out, 48000, hz)) < 0.1
    assert level_db(out, 48000, 24000 - hz) < -75  # the image


@pytest.mark.parametrize("hz", [23500.0, 23900.0])
def test_what_would_fold_down_is_removed(hz: float) -> None:
    """48 -> 44.1 kHz: 23.5 kHz would be heard as 20.6 kHz. soxr removes it; so do we, less."""
    out = resampled(tone(hz, 48000, 0.5), 48000, 44100)[4410:]
    assert level_db(out, 44100, 44100 - hz) < -60


def test_delay_is_what_it_says_and_short() -> None:
    for rate_in, rate_out in RATES:
        stream = Resampler(rate_in, rate_out, 4800, 1)
        assert 0 < stream.delay <= DELAY_SECONDS * rate_in
        click = np.zeros((2000, 1), np.float32)
        click[500] = 1
        out = resampled(click, rate_in, rate_out)[:, 0]
        # The centre of gravity of the response is its delay.
        centre = np.sum(np.arange(len(out)) * out) / np.sum(out) * rate_in / rate_out
        assert centre == pytest.approx(500 + stream.delay, abs=0.01)


def test_save_restore_and_reset() -> None:
    x = np.random.default_rng(1).standard_normal((400, 2)).astype(np.float32)
    stream = Resampler(24000, 44100, 200)
    out = np.zeros((stream.max_out, 2), np.float32)
    first = out[: stream.process(x[:200], out)].copy()
    saved = stream.save()
    second = out[: stream.process(x[200:], out)].copy()
    stream.restore(saved)
    np.testing.assert_array_equal(out[: stream.process(x[200:], out)], second)
    stream.reset()
    np.testing.assert_array_equal(out[: stream.process(x[:200], out)], first)


@pytest.mark.parametrize(
    ("rate_in", "rate_out", "word"),
    [(0, 48000, "positive"), (24000, -1, "positive"), (24000, 44101, "too fine")],
)
def test_impossible_rates_are_refused(rate_in: int, rate_out: int, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Resampler(rate_in, rate_out, 24)
