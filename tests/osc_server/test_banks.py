"""The numbers of banks and of places for primed streams: none is used again at once."""

import numpy as np
import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.state import State
from ghostnote.osc_server.banks import next_free
from ghostnote.osc_server.desk import MAX_PRIMES
from ghostnote.osc_server.engine import Engine, EngineOptions
from tests.osc_server.steady_model import steady_model

HOP = 24


def test_the_next_number_is_the_first_free_one_after_the_last() -> None:
    assert next_free(-1, 4, ()) == 0
    assert next_free(1, 4, {2}) == 3
    assert next_free(3, 4, {0, 1}) == 2
    assert next_free(2, 4, {0, 1, 3}) == 2
    assert next_free(0, 4, range(4)) is None


def test_a_place_or_bank_that_is_just_free_is_not_the_next() -> None:
    """Their lines in the session log come before the commands', perhaps two of them at once."""
    packed = steady_model(128)
    player = Engine(packed, EngineOptions(24000))
    places: list[int] = []
    banks: list[int] = []
    for _ in range(MAX_PRIMES + 3):
        player.prime(0, State(packed), note=places.append)
        player.render(player.frame + HOP)
    assert places == [k % MAX_PRIMES for k in range(MAX_PRIMES + 3)]
    for k in range(50):
        player.load(steady_model(20 + k), 0, note=banks.append)
        player.render(player.frame + 40 * HOP)
    assert (np.diff(banks) != 0).all()
    assert len(set(banks[:30])) == 30


def test_too_many_models_are_refused() -> None:
    player = Engine(steady_model(128), EngineOptions(24000, max_voices=1))
    with pytest.raises(GhostnoteError, match="too many models"):
        for k in range(10):
            player.load(steady_model(20 + k), 0)
