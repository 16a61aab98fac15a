"""Pre-emphasis: the same sound back, silence that is silent, and less hiss."""

from dataclasses import replace

import numpy as np

from ghostnote.kernels import levels
from ghostnote.kernels.emphasis import deemphasise, emphasised
from ghostnote.kernels.spec import ModelSpec

PLAIN = ModelSpec(48000, 48, (1,))
SPEC = replace(PLAIN, emphasis=0.85)
SIXTEEN = replace(SPEC, levels=65536, mixtures=1)
TIME = np.arange(4800) / 48000
DRUM = 0.7 * np.sin(2 * np.pi * 60.0 * TIME) * np.exp(-TIME / 0.03)


def test_the_sound_comes_back() -> None:
    np.testing.assert_array_equal(levels.to_sound(PLAIN, levels.of_sound(PLAIN, DRUM)),
                                  levels.decode(PLAIN, levels.encode(PLAIN, DRUM)))  # fmt: skip
    found = levels.to_sound(SIXTEEN, levels.of_sound(SIXTEEN, DRUM))
    # Each sample is off by half a level at most, and the filter adds these up.
    assert np.abs(found - DRUM).max() < 0.5 / 32768 / (1 - 0.85)


def test_it_is_the_filter_of_the_paper() -> None:
    e = emphasised(SPEC, DRUM)
    assert e[0] == DRUM[0]
    np.testing.assert_allclose(e[1:], DRUM[1:] - 0.85 * DRUM[:-1])


def test_pieces_and_streams_of_their_own() -> None:
    rows = np.random.default_rng(1).standard_normal((2, 99)).astype(np.float32)
    whole, before = rows.copy(), np.zeros(2, np.float32)
    deemphasise(SPEC, whole, before)
    assert (before == whole[:, -1]).all()
    parts, before = [], np.zeros(2, np.float32)
    for part in np.split(rows, [1, 40], axis=1):
        part = part.copy()
        deemphasise(SPEC, part, before)
        parts.append(part)
    assert (np.concatenate(parts, axis=1) == whole).all()


def test_silence_becomes_true_silence() -> None:
    rows = np.zeros((1, 300), np.float32)
    rows[0, 0] = 1.0
    deemphasise(SPEC, rows, np.zeros(1, np.float32))
    assert rows[0, 50] > 0.0
    assert (rows[0, 110:] == 0.0).all()  # 0.85 ** 103 is -145 dB


def test_there_is_less_hiss() -> None:
    """What 256 levels add to a low drum above 5 kHz is 10 dB softer."""

    def hiss(spec: ModelSpec) -> float:
        error = levels.to_sound(spec, levels.of_sound(spec, DRUM)) - DRUM
        power = np.abs(np.fft.rfft(error)) ** 2
        return float(power[np.fft.rfftfreq(len(DRUM), 1 / 48000) > 5000.0].sum())

    assert hiss(SPEC) < 0.1 * hiss(PLAIN)
