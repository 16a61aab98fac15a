"""Philox against the published vectors, and the uniform numbers made of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.kernels import rng
from ghostnote.kernels.spec import ModelSpec

# Random123's kat_vectors, "philox4x32 10": counter, key, result.
KNOWN = [
    (
        [0, 0, 0, 0],
        [0, 0],
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
    ),
    (
        [0xFFFFFFFF] * 4,
        [0xFFFFFFFF] * 2,
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
    ),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]
WORD = 2**32


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """The paper's rounds in whole numbers of any length."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], WORD)
        high1, low1 = divmod(0xCD9E8D57 * c[2], WORD)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % WORD, (k[1] + 0xBB67AE85) % WORD]
    return c


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_published_vectors(counter: list[int], key: list[int], result: list[int]) -> None:
    words = [np.uint64(word) for word in counter + key]
    assert [int(word) for word in rng.philox(*words)] == result
    assert plain_philox(counter, key) == result


NATURAL = st.integers(0, 2**63 - 1)


@given(NATURAL, NATURAL, NATURAL)
def test_a_number_is_a_function_of_all_64_bits_of_seed_stream_and_index(
    seed: int, stream: int, index: int
) -> None:
    counter = [index % WORD, index // WORD, stream % WORD, stream // WORD]
    word = plain_philox(counter, [seed % WORD, seed // WORD])[0]
    assert float(rng.uniform(seed, stream, index)) == max(word >> 8, 0.5) / 2**24
    second = plain_philox(counter, [seed % WORD, seed // WORD])[1]
    pair = [float(number) for number in rng.uniform_pair(seed, stream, index)]
    assert pair == [max(word >> 8, 0.5) / 2**24, max(second >> 8, 0.5) / 2**24]


def test_a_run_of_numbers_crosses_the_32_bit_edge_of_the_index() -> None:
    first = 2**32 - 3
    run = rng.uniforms(1, 2, first, 6)
    assert run.tolist() == [float(rng.uniform(1, 2, first + i)) for i in range(6)]
    assert len(set(run.tolist())) == 6


def test_a_mixture_draws_by_pairs_whose_first_are_the_numbers_of_all() -> None:
    softmax = ModelSpec(8000, 8, (1,))
    mixture = ModelSpec(8000, 8, (1,), levels=65536, mixtures=2)
    one = rng.uniforms_of(softmax, 4, 3, 100, 50)
    two = rng.uniforms_of(mixture, 4, 3, 100, 50)
    assert (one.shape, two.shape) == ((50,), (50, 2))
    assert (two[:, 0] == one).all() and (two[:, 1] != one).any()
    assert (one == rng.uniforms(4, 3, 100, 50)).all()


def test_numbers_are_uniform_on_zero_to_below_one() -> None:
    numbers = rng.uniforms(5, 0, 0, 200_000)
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0.0
    assert numbers.max() <= 1.0 - 2.0**-24
    shares = np.histogram(numbers, 64, (0.0, 1.0))[0] / len(numbers)
    # Six standard deviations of a share of 1/64.
    assert np.abs(shares - 1 / 64).max() < 6 * np.sqrt(63 / 64**2 / len(numbers))
    pairs = np.corrcoef(numbers[:-1], numbers[1:])[0, 1]
    assert abs(pairs) < 6 / np.sqrt(len(numbers))


def test_streams_and_seeds_are_unlike_one_another() -> None:
    runs = [rng.uniforms(seed, stream, 0, 1000) for seed in (0, 1) for stream in (0, 1)]
    for i, a in enumerate(runs):
        for b in runs[:i]:
            assert (a == b).sum() <= 1


def test_a_uniform_is_never_zero() -> None:
    """Bits of zero: with 0 itself the first level of all would be drawn, a full-scale click."""
    assert float(rng.uniform(0, 0, 14_883_995)) == 0.5 / 2**24
