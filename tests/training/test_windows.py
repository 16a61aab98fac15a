"""Windows: the same control features as live, hits where the sound is, and the same draw twice."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ghostnote.inference.generator import Generator, Hit
from ghostnote.kernels import control, levels, packing
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.weights import random_weights
from ghostnote.training.dataset import Clip, Dataset
from ghostnote.training.window import Window
from ghostnote.training.windows import Windows, evenly
from tests.training.small_corpus import HOP, RATE, config

ROLES = ("kick", "hat", "open", "crash")
HOPS = 400
SETTINGS = config()


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two clips of noise with hits of every awkward kind; no sound belongs to them."""
    dataset = Dataset(tmp_path / "data", RATE, HOP, ROLES, ("dry", "wet"), (("hat", "open"),))
    dataset.begin()
    kick, hat, is_open, crash = range(4)
    hits = [
        (0, kick, 1.0),  # at the very start
        (3, is_open, 0.5),
        (9, hat, 0.25),  # chokes it
        (20, kick, 0.3),
        (20, kick, 0.6),  # twice in one hop: the later counts
        (31, is_open, 0.7),
        (31, hat, 0.8),  # in one hop: choked at once
        (40, hat, 0.9),
        (40, is_open, 0.4),  # the other way round: it sounds
        (90, crash, 1.0),
        (399, kick, 0.7),  # in the last hop
    ]
    rng = np.random.default_rng(1)
    both = {"dry": 0.25, "wet": 0.75}
    for i, (kits, some) in enumerate(((both, hits), ({"wet": 1.0}, hits[4:9]), ({}, []))):
        noise = rng.uniform(-0.5, 0.5, HOPS * HOP).astype(np.float32)
        dataset.add(noise, Clip(f"{i}.flac", len(noise), "train", kits, some))
    dataset.save()
    return dataset


@pytest.fixture
def windows(dataset: Dataset) -> Windows:
    return Windows(dataset, "train", SETTINGS.spec(dataset), 60)


def rows_of(window: Window) -> npt.NDArray[np.float32]:
    assert window.rows is not None
    return window.rows


def live_rows(windows: Windows, number: int) -> npt.NDArray[np.float32]:
    """The control rows of a clip, made hop by hop as the engine does while playing."""
    spec, clip = windows.spec, windows.clips[number]
    forgotten = spec.ages - 1
    ages = np.full(len(spec.roles), forgotten, np.int64)
    velocities = np.zeros(len(spec.roles), np.float32)
    kits = np.array([clip.kits.get(kit, 0.0) for kit in spec.kits], np.float32)
    chokes, table = control.choke_array(spec), control.age_table(spec)
    rows = np.empty((HOPS, spec.conditioning), np.float32)
    for hop in range(HOPS):
        for at, role, velocity in clip.hits:
            if at == hop:
                control.strike(ages, velocities, chokes, forgotten, role, velocity)
        control.control_row(ages, velocities, kits, table, rows[hop])
        control.grow_older(ages, forgotten)
    return rows


@pytest.mark.parametrize("start", [0, 1, 7, 38, 200])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_rows_equal_those_made_live(windows: Windows, number: int, start: int) -> None:
    window = windows.cut(number, start)
    silence = np.zeros((windows.lead_hops, windows.spec.conditioning), np.float32)
    for kit, weight in windows.clips[number].kits.items():
        silence[:, windows.spec.conditioning - 2 + windows.spec.kits.index(kit)] = weight
    whole = np.concatenate([silence, live_rows(windows, number)])
    expected = whole[start : start + windows.hops]
    np.testing.assert_array_equal(window.rows, expected)


@pytest.mark.parametrize("number", [0, 1])
def test_rows_equal_those_of_a_generator(windows: Windows, number: int) -> None:
    """The kernel leaves the row of the hop in the state of its stream, bit for bit the same."""
    spec, clip = windows.spec, windows.clips[number]
    packed = packing.pack(spec, random_weights(spec))
    generator = Generator(packed, kit=[clip.kits.get(kit, 0.0) for kit in spec.kits])
    generator.add([Hit(hop * HOP, spec.roles[role], v) for hop, role, v in clip.hits])
    at = int(packed.header[packing.S_CONTROL])
    expected = live_rows(windows, number)
    for hop in range(HOPS):
        generator.play(HOP)
        row = generator.state.floats[at : at + spec.conditioning]
        np.testing.assert_array_equal(row, expected[hop], err_msg=f"hop {hop}")


def test_inputs_are_targets_one_sample_earlier(dataset: Dataset, windows: Windows) -> None:
    found = dataset.levels(dataset.clips[0], windows.spec)
    lead = windows.lead_hops * HOP
    first = windows.cut(0, 0)
    assert (first.targets[:lead] == windows.spec.silence).all()
    np.testing.assert_array_equal(first.targets[lead:], found[: len(first.targets) - lead])
    later = windows.cut(0, windows.lead_hops + 5)
    np.testing.assert_array_equal(later.targets, found[5 * HOP :][: len(later.targets)])
    assert later.inputs[0] == found[5 * HOP - 1]
    for window in (first, later):
        np.testing.assert_array_equal(window.inputs[1:], window.targets[:-1])
        assert len(rows_of(window)) * HOP == len(window.targets)
        assert window.context == lead >= windows.spec.receptive_field


def test_dropped_control_is_the_row_of_texture(windows: Windows) -> None:
    assert not rows_of(windows.cut(0, 0, dropped=True)).any()
    rng = np.random.default_rng(0)
    dropped = [not rows_of(windows.draw(rng, drop_control=0.3)).any() for _ in range(200)]
    unconditioned = 1 / 3 * 0.7 + 0.3  # one clip of three has neither hits nor kit
    assert abs(np.mean(dropped) - unconditioned) < 0.12


def test_a_draw_depends_on_its_numbers_alone(windows: Windows) -> None:
    def draw(seed: int) -> Window:
        rng = np.random.default_rng([1, seed])
        return windows.draw(
            rng, 0.7, 0.2, input_noise=2.0, clean=0.3, onset_weight=5.0, silence_weight=2.0
        )

    windows.draw(np.random.default_rng(9))
    starts = set()
    for seed in range(20):
        one, two = draw(seed), draw(seed)
        np.testing.assert_array_equal(one.inputs, two.inputs)
        np.testing.assert_array_equal(one.targets, two.targets)
        np.testing.assert_array_equal(one.rows, two.rows)
        np.testing.assert_array_equal(one.weights, two.weights)
        starts.add(one.targets[:50].tobytes())
    assert len(starts) > 10


def test_windows_near_hits_hold_one(windows: Windows) -> None:
    """A hit of age 0 after the context: what counts in the loss, not merely what is heard."""
    spec, rng = windows.spec, np.random.default_rng(3)
    fresh = [1 + 2 * spec.age_features * role for role in range(len(spec.roles))]
    for _ in range(50):
        window = windows.draw(rng, near_hits=1.0)
        if rows_of(window)[:, : -len(spec.kits)].any() or rows_of(window)[:, -2:].any():
            body = rows_of(window)[windows.lead_hops :]
            assert (body[:, fresh] == 1.0).any()


def test_noise_touches_the_inputs_alone(windows: Windows) -> None:
    noised = 0
    for seed in range(20):
        plain = windows.draw(np.random.default_rng(seed), 0.5, 0.0)
        noisy = windows.draw(np.random.default_rng(seed), 0.5, 0.0, input_noise=3.0)
        np.testing.assert_array_equal(noisy.targets, plain.targets)
        np.testing.assert_array_equal(noisy.rows, plain.rows)
        off = noisy.inputs - plain.inputs
        assert np.abs(off).max() < 20
        noised += int(off.any())
        for spoilt in ({"input_noise": 3.0}, {"drift": 0.5}):
            clean = windows.draw(np.random.default_rng(seed), 0.5, 0.0, clean=1.0, **spoilt)
            np.testing.assert_array_equal(clean.inputs, plain.inputs)
    assert noised > 15  # a window may draw next to none


def test_after_a_past_that_has_drifted_the_targets_lead_back(windows: Windows) -> None:
    spec, off = windows.spec, []
    for seed in range(20):
        plain = windows.draw(np.random.default_rng(seed), 0.5, 0.0)
        there = windows.draw(np.random.default_rng(seed), 0.5, 0.0, drift=0.5)
        np.testing.assert_array_equal(there.rows, plain.rows)
        pairs = ((there.inputs, plain.inputs), (there.targets, plain.targets))
        off.append([(levels.decode(spec, a) - levels.decode(spec, b)).std() for a, b in pairs])
    inputs, targets = np.mean(off, axis=0)
    # The rate is 8 kHz: in a tenth of a millisecond, 0.8 samples, to 1/e.
    assert inputs > 0.01 and targets == pytest.approx(np.exp(-1.0 / 0.8) * inputs, rel=0.15)


def test_a_hit_counts_more_while_it_is_fresh(windows: Windows) -> None:
    found = 0
    for seed in range(20):
        window = windows.draw(np.random.default_rng(seed), 0.8, 0.0, onset_weight=4.0)
        by_hop = window.weights.reshape(-1, HOP)
        assert (by_hop == by_hop[:, :1]).all() and by_hop.min() >= 1.0 and by_hop.max() <= 5.0
        fresh = rows_of(window)[:, [1 + 2 * windows.spec.age_features * r for r in range(4)]] == 1
        assert (by_hop[fresh.any(axis=1)] == 5.0).all()
        found += int(fresh.any())
    assert found > 5
    assert (windows.cut(0, 0).weights == 1.0).all()


def test_silence_counts_more_once_it_has_lasted(tmp_path: Path) -> None:
    """10 ms of it, so that no zero crossing and no dense passage is taken for silence."""
    dataset = Dataset(tmp_path / "data", RATE, HOP)
    dataset.begin()
    audio = np.zeros(4000, np.float32)
    audio[1000] = audio[1060] = audio[3000] = 0.5
    dataset.add(audio, Clip("a.flac", 4000, "train", {}, []))
    windows = Windows(dataset, "train", SETTINGS.spec(dataset), 500)
    window = windows.draw(np.random.default_rng(0), silence_weight=3.0)
    weights = window.weights[window.context :]
    wait = RATE // 100
    loud = np.zeros(4000, bool)
    for at in (1000, 1060, 3000):
        loud[at : at + wait + 1] = True
    loud[: wait - window.context] = True  # before the window there might have been a sound
    np.testing.assert_array_equal(weights, np.where(loud, 1.0, 4.0))


def test_a_clip_shorter_than_a_window_is_used_whole(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "data", RATE, HOP)
    dataset.begin()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 501).astype(np.float32)
    dataset.add(noise, Clip("a.flac", 501, "train", {}, []))
    windows = Windows(dataset, "train", SETTINGS.spec(dataset), 5000)
    window = windows.draw(np.random.default_rng(0))
    assert len(window.targets) - window.context == 501 // HOP * HOP
    assert window.rows is None


def test_evenly_takes_different_windows_of_all_clips_each_time(dataset: Dataset) -> None:
    windows = Windows(dataset, "train", SETTINGS.spec(dataset), 60)
    chosen = evenly(windows, 12)
    again = evenly(windows, 12)
    assert len(chosen) == len({w.targets.tobytes() for w in chosen}) == 12
    for one, two in zip(chosen, again, strict=True):
        np.testing.assert_array_equal(one.inputs, two.inputs)
    # One window holds a whole clip: asking for more gives no clip twice.
    assert len(evenly(Windows(dataset, "train", SETTINGS.spec(dataset), HOPS), 12)) == 3


def test_nothing_to_learn_from_is_told(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "data", RATE, HOP)
    dataset.begin()
    dataset.add(np.full(8000, 1e-5, np.float32), Clip("a.flac", 8000, "train", {}, []))
    spec = SETTINGS.spec(dataset)
    with pytest.raises(GhostnoteError, match=r"every clip to train on is silent; prepare others"):
        Windows(dataset, "train", spec, 60)
    with pytest.raises(GhostnoteError, match="has no clips to validate on"):
        Windows(dataset, "validation", spec, 60)


HEADS = [{"levels": 256}, {"levels": 1024}, {"mixtures": 3}]


@pytest.mark.parametrize("head", HEADS)
def test_levels_lose_nothing_in_memory(dataset: Dataset, head: dict[str, int]) -> None:
    windows = Windows(dataset, "train", config(**head).spec(dataset), 60)
    expected = dataset.levels(dataset.clips[1], windows.spec)
    np.testing.assert_array_equal(windows.levels[1][windows.lead_hops * HOP :], expected)
    window = windows.cut(1, windows.lead_hops)
    np.testing.assert_array_equal(window.targets, expected[: len(window.targets)])
    assert window.targets.dtype == window.inputs.dtype == np.int64


def test_sixteen_bits_are_those_of_the_clip(dataset: Dataset) -> None:
    spec = config(mixtures=3).spec(dataset)
    heard = dataset.audio(dataset.clips[0]).astype(np.float64)
    np.testing.assert_array_equal(dataset.levels(dataset.clips[0], spec), heard * 32768 + 32768)


@pytest.mark.parametrize("head", HEADS)
def test_silence_is_as_quiet_for_any_head(tmp_path: Path, head: dict[str, int]) -> None:
    """Dither of one step of 16 bit is silence, sound of mu-law's first level is not."""
    dataset = Dataset(tmp_path / "data", RATE, HOP)
    dataset.begin()
    audio = np.random.default_rng(2).integers(-1, 2, 2000).astype(np.float32) / np.float32(32768)
    audio[1000:1010] = 4.0 / 32768
    dataset.add(audio, Clip("a.flac", 2000, "train", {}, []))
    windows = Windows(dataset, "train", config(**head).spec(dataset), 250)
    window = windows.draw(np.random.default_rng(0), silence_weight=3.0)
    loud = np.zeros(2000, bool)
    loud[1000 : 1010 + RATE // 100] = True
    loud[: RATE // 100 - window.context] = True
    np.testing.assert_array_equal(window.weights[window.context :], np.where(loud, 1.0, 4.0))
