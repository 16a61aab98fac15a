"""Control features: from a list of hits and step by step, against the definition."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostnote.kernels import control
from tests.kernels.models import SPECS, Hit, Model, model, plain_rows

THREE = model("odd, width 3, out of order")
HOPS = 60
HITS = st.lists(st.tuples(st.integers(0, HOPS - 1), st.integers(0, 2), st.floats(0.01, 1.0)))


def rows_of_list(it: Model, hops: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The rows [hops, C] as training and rendering make them, from the whole list."""
    spec = it.spec
    ages, velocities = control.ages_of_hits(
        np.array(it.hits, np.float64).reshape(-1, 3),
        hops,
        len(spec.roles),
        control.choke_array(spec),
        spec.ages - 1,
    )
    kits = np.tile(np.array(it.kit, np.float32), (hops, 1))
    return np.asarray(control.control_rows(ages, velocities, kits, it.weights["age_table"]))


@settings(max_examples=200)
@given(HITS)
def test_rows_of_a_list_of_hits_are_as_defined(hits: list[Hit]) -> None:
    it = THREE._replace(hits=sorted(hits, key=lambda hit: hit[0]))
    np.testing.assert_allclose(rows_of_list(it, HOPS), plain_rows(it, HOPS), rtol=1e-6, atol=1e-7)


@given(HITS)
def test_step_by_step_gives_the_same_bits(hits: list[Hit]) -> None:
    it = THREE._replace(hits=sorted(hits, key=lambda hit: hit[0]))
    spec, chokes, forgotten = it.spec, control.choke_array(it.spec), it.spec.ages - 1
    ages, velocities = np.full(3, forgotten), np.zeros(3, np.float32)
    row, kit = np.zeros(spec.conditioning, np.float32), np.array(it.kit, np.float32)
    expected = rows_of_list(it, HOPS)
    for hop in range(HOPS):
        for time, role, velocity in it.hits:
            if time == hop:
                control.strike(ages, velocities, chokes, forgotten, role, velocity)
        control.control_row(ages, velocities, kit, it.weights["age_table"], row)
        assert (row == expected[hop]).all()
        control.grow_older(ages, forgotten)


def test_hits_of_one_hop_take_effect_in_their_order() -> None:
    """The hat silences the open hat; struck after it, the open hat sounds all the same."""
    features = 2 * THREE.spec.age_features
    _, hat, opened = (slice(role * features, (role + 1) * features) for role in range(3))
    first = rows_of_list(THREE._replace(hits=[(2, 2, 0.5), (2, 1, 0.5)]), 5)
    last = rows_of_list(THREE._replace(hits=[(2, 1, 0.5), (2, 2, 0.5)]), 5)
    assert first[2, hat].any() and last[2, hat].any()
    assert not first[2:, opened].any()
    assert last[2:, opened].any()
    loudest_last = rows_of_list(THREE._replace(hits=[(2, 1, 0.2), (2, 1, 0.9)]), 5)
    assert loudest_last[2, hat].max() == 1.0
    assert loudest_last[2, hat][THREE.spec.age_features] == np.float32(0.9)


def test_an_old_hit_is_forgotten() -> None:
    ages = THREE.spec.ages
    rows = rows_of_list(THREE._replace(hits=[(0, 0, 1.0)], kit=[0.0, 0.0]), ages + 3)
    assert rows[ages - 2].any()
    assert not rows[ages - 1 :].any()


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.roles])
def test_age_table(name: str) -> None:
    spec = SPECS[name]
    table = control.age_table(spec)
    assert table.shape == (spec.ages, spec.age_features)
    assert table.dtype == np.float32
    assert (table[0, : min(4, spec.age_features)] == 1.0).all()
    assert (table >= -1.0).all() and (table <= 1.0).all()
    assert not table[-1].any()


def test_envelopes_fall_to_a_share_1_over_e_in_10_80_and_500_ms() -> None:
    spec = replace(SPECS["as bundled"], hop=24, samplerate=24000)  # a row is a millisecond
    table = control.age_table(replace(spec, ages=600))
    for column, milliseconds in enumerate((10, 80, 500)):
        assert table[milliseconds, column] == pytest.approx(np.exp(-1), rel=1e-6)


def test_triangles_name_each_age_between_two_octaves() -> None:
    spec = replace(SPECS["as bundled"], ages=4096)
    triangles = control.age_table(spec)[:4094, 3:]
    # At 0, 1, 3, 7, .. ms one of them is whole; everywhere two neighbours share 1.
    for column in range(triangles.shape[1]):
        assert triangles[2**column - 1, column] == pytest.approx(1.0)
    inside = triangles[: 2 ** (triangles.shape[1] - 1)]
    np.testing.assert_allclose(inside.sum(axis=1), 1.0, atol=1e-6)
    assert ((inside > 0).sum(axis=1) <= 2).all()


def test_waves_tell_where_a_low_tone_is() -> None:
    spec = replace(SPECS["as bundled"], ages=1000, age_features=27)
    table = control.age_table(replace(spec, hop=24, samplerate=24000))  # a row is a millisecond
    assert table.shape == (1000, 27)
    fade = np.exp(-np.arange(999) / 300.0)
    for octave in range(6):
        sine, cosine = table[:-1, 15 + 2 * octave : 17 + 2 * octave].T
        np.testing.assert_allclose(np.hypot(sine, cosine), fade, atol=1e-6)
        turns = np.unwrap(np.arctan2(sine, cosine))[-1] / (2 * np.pi)
        assert turns == pytest.approx(0.998 * 8 * 2**octave, rel=1e-3)
