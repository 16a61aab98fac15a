"""The body: taught what hits tell of the low end, and taken out of what the WaveNet learns."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ghostnote.inference.generator import Generator, Hit
from ghostnote.inference.model_file import load_model
from ghostnote.kernels.body import add_curves, knots_of, sound_of
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.levels import to_sound
from ghostnote.kernels.packing import pack
from ghostnote.kernels.spec import ModelSpec
from ghostnote.training.adapt import config_from
from ghostnote.training.body import Body, at_knots, foretold, level_of, teach
from ghostnote.training.checkpoint import load_checkpoint
from ghostnote.training.config import TrainConfig
from ghostnote.training.dataset import Clip, Dataset
from ghostnote.training.export import export
from ghostnote.training.train import train
from ghostnote.training.windows import Windows, asked_of_clip
from tests.training.small_corpus import HOP, RATE, config, tone_dataset


@pytest.fixture(scope="module")
def booms(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Drums that boom, struck at random."""
    return drums(tmp_path_factory.mktemp("booms"), 0.0)


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same with a burst of noise at the beginning of each, always the same one of its drum."""
    return drums(tmp_path_factory.mktemp("clicks"), 0.5)


def drums(folder: Path, click: float) -> Dataset:
    """Return a dataset of low tones that begin with noise up to the highest frequencies."""
    dataset = Dataset(folder, RATE, HOP, ("kick", "tom"), ("boomy",))
    dataset.begin()
    rng = np.random.default_rng(1)
    t = np.arange(RATE // 2) / RATE
    noise = np.random.default_rng(2).uniform(-1.0, 1.0, (2, len(t))) * np.exp(-t / 0.015)
    for i, split in enumerate(("train", "train", "train", "validation")):
        sound = np.zeros(4 * RATE, np.float32)
        hits = []
        for hop in range(0, 3500, 500):
            at, role = (hop + int(rng.integers(100))) * HOP, int(rng.integers(2))
            boom = np.sin(2 * np.pi * (40.0, 90.0)[role] * t) * np.exp(-t / 0.1)
            velocity = float(rng.uniform(0.3, 1.0))
            sound[at : at + len(t)] += velocity * (0.9 * boom + click * noise[role])
            hits.append((at // HOP, role, velocity))
        dataset.add(sound, Clip(f"{i}.flac", len(sound), split, {"boomy": 1.0}, hits))
    dataset.save()
    return dataset


def settings(**changes: Any) -> TrainConfig:
    return replace(config(body=3, body_knots=2, body_ms=600.0, body_steps=300), **changes)


@pytest.fixture(scope="module")
def taught(booms: Dataset) -> Body:
    torch.manual_seed(2)
    body = Body(settings().spec(booms))
    told = teach(body, booms, 500, 1)
    assert told == foretold(body, booms) and [*told] == ["foretold"]
    assert 0.95 < told["foretold"] < 1.0  # of hits that it has never heard
    return body


def test_knots_lie_where_they_should() -> None:
    spec = ModelSpec(
        RATE, HOP, (1,), roles=("kick",), ages=9, age_features=1, cond_hidden=(1,), body=1,
        body_knots=2, body_ages=5,
    )  # fmt: skip
    t = np.arange(RATE) / RATE
    low, high = (0.5 * np.sin(2 * np.pi * hertz * t) for hertz in (100.0, 3000.0))
    values = at_knots(spec, (low + high).astype(np.float32))
    assert values.shape == (1000, 2)
    ends = (np.arange(2000) + 1) / 2000.0  # two in a hop of a millisecond, the second at its end
    wanted = 0.5 * np.sin(2 * np.pi * 100.0 * ends).reshape(1000, 2)
    np.testing.assert_allclose(values[50:949], wanted[50:949], atol=0.01)
    np.testing.assert_allclose(level_of(values)[100:900], 0.5 / np.sqrt(2.0), rtol=0.02)


def test_slopes_are_those_of_the_wave(taught: Body) -> None:
    """A wave that is a tone has the slope of a tone, but where it begins and ends."""
    spec = taught.spec
    body = Body(spec)
    count = spec.body_ages * spec.body_knots
    phase = 2 * np.pi * 0.1 * np.arange(count)  # of the knots' rate
    with torch.no_grad():
        body.low.value[:] = torch.from_numpy(np.sin(phase)).reshape(-1, 1, spec.body_knots)
    wave = body.weights()["body_wave"][0, :, 0].reshape(count, 2)
    middle = slice(100, count - 300)
    np.testing.assert_allclose(wave[middle, 0], np.sin(phase)[middle], atol=5e-4)  # half precision
    np.testing.assert_allclose(wave[middle, 1], 0.2 * np.pi * np.cos(phase)[middle], atol=0.01)
    assert wave[-1, 0] == 0.0 and abs(wave[-1, 1]) < 0.01  # it has faded


def test_the_curve_has_no_steps_and_silence_none_at_all(booms: Dataset, taught: Body) -> None:
    spec, clip = taught.spec, booms.clips[0]
    ages, velocities, kits = asked_of_clip(spec, clip, 4000)
    sound = sound_of(spec, taught.weights(), ages, velocities, kits)
    assert np.abs(sound).max() > 0.3
    bends = np.abs(np.diff(sound, 2, prepend=0.0, append=0.0)).reshape(-1, HOP)
    assert (
        bends[:, [0, -1]].max() < 1.5 * bends[:, 1:-1].max()
    )  # no more where hops meet than within
    forgotten = np.repeat((ages >= spec.body_ages).all(axis=1), HOP)
    inside = forgotten & np.roll(forgotten, HOP)  # the curve comes to rest in the first span
    assert inside.any() and not sound[inside].any()


def test_pieces_of_a_curve_are_the_whole(taught: Body, booms: Dataset) -> None:
    asked = asked_of_clip(taught.spec, booms.clips[0], 40)
    knots = knots_of(taught.spec, taught.weights(), *asked)
    span = HOP // taught.spec.body_knots
    whole = np.zeros(40 * HOP, np.float32)
    add_curves(whole, knots, span, 0)
    cut = np.zeros_like(whole)
    for first, last in ((0, 3), (3, span), (span, 2 * span + 1), (2 * span + 1, len(whole))):
        add_curves(cut[first:last], knots[first // span :], span, first % span)
    np.testing.assert_array_equal(cut, whole)


def test_the_wavenet_is_to_play_the_sound_less_its_body(booms: Dataset, taught: Body) -> None:
    windows = Windows(booms, "validation", taught.spec, 100, taught.weights())
    clip = booms.split("validation")[0]
    sound = booms.audio(clip)
    left = to_sound(taught.spec, windows.levels[0])[windows.lead_hops * HOP :]
    body = sound_of(taught.spec, taught.weights(), *asked_of_clip(taught.spec, clip, 4000))
    np.testing.assert_allclose(left + body, sound, atol=0.03)  # by mu-law
    assert np.square(left).sum() < 0.25 * np.square(sound).sum()


def test_a_model_that_has_one_plays_it(booms: Dataset, tmp_path: Path) -> None:
    """A WaveNet that has learnt nothing is made silent; what sounds is the body."""
    asked = settings(steps=1, learning_rate=0.0, silence_weight=0.0)
    facts = train(booms.root, tmp_path / "run", asked)
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert '"foretold"' in log and 0.9 < facts["foretold"] < 1.0
    model = export(tmp_path / "run", tmp_path / "model.onnx")
    assert model.spec.body == 3
    mute = np.zeros(model.spec.levels, np.float32)
    mute[model.spec.silence] = 100.0
    clip = booms.split("validation")[0]
    generator = Generator(
        pack(model.spec, {**model.weights, "head1_bias": mute}), kit=[1.0], top_k=1
    )
    generator.add([Hit(hop * HOP, model.spec.roles[role], v) for hop, role, v in clip.hits])
    played, sound = generator.play(clip.frames), booms.audio(clip)
    assert np.corrcoef(played, sound)[0, 1] > 0.9
    first = clip.hits[0][0] * HOP
    assert not played[:first].any()


def test_it_stays_as_it_is_when_a_run_goes_on(booms: Dataset, tmp_path: Path) -> None:
    asked = settings(steps=1, body_steps=20)
    train(booms.root, tmp_path / "run", asked)
    before = load_checkpoint(tmp_path / "run").part("body")
    train(booms.root, tmp_path / "run", replace(asked, steps=2), resume=True)
    after = load_checkpoint(tmp_path / "run").part("body")
    assert before.keys() == after.keys() and len(before) == 4
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_model_brings_its_body_along_or_gets_one(booms: Dataset, tmp_path: Path) -> None:
    train(booms.root, tmp_path / "plain", config(steps=2))
    plain = export(tmp_path / "plain", tmp_path / "plain.onnx")
    asked = {"steps": 1, "body": 2, "body_knots": 2, "body_ms": 50.0, "body_steps": 20}
    grown = config_from(plain, asked)
    train(booms.root, tmp_path / "grown", grown, base=plain)
    model = export(tmp_path / "grown", tmp_path / "grown.onnx")
    assert load_model(model.path).spec.body == 2
    same = config_from(model, {"steps": 1, "body_steps": 0})
    train(booms.root, tmp_path / "same", same, base=model)
    again = export(tmp_path / "same", tmp_path / "same.onnx")
    for name in ("body_wave", "body_gain0_weight", "body_gain0_bias", "body_gain1_weight"):
        np.testing.assert_allclose(again.weights[name], model.weights[name], atol=1e-5)
    with pytest.raises(GhostnoteError, match="--body cannot be given with --from"):
        config_from(model, {"body": 8})
    assert config_from(model, {}).body_steps == 1500


def test_it_can_be_stopped_and_a_dataset_may_hold_nothing_back(
    booms: Dataset, tmp_path: Path
) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(GhostnoteError, match="stopped before its first step"):
        train(booms.root, tmp_path / "run", settings(body_steps=10**6), stop=stop)
    train(booms.root, tmp_path / "run", settings(steps=1, body_steps=1))  # nothing is in its way
    alone = replace(booms, clips=booms.split("train"))
    assert not teach(Body(settings().spec(alone)), alone, 1, 1)


def test_what_cannot_be_taught_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GhostnoteError, match="a body that is new must be taught"):
        train(tone_dataset(tmp_path / "one").root, tmp_path / "run", settings(body_steps=0))
    with pytest.raises(GhostnoteError, match="no hits to tell it from"):
        train(tone_dataset(tmp_path / "tone").root, tmp_path / "run", settings())
    silent = Dataset(tmp_path / "silent", RATE, HOP, ("kick",), ("one",))
    silent.begin()
    silent.add(
        np.zeros(RATE, np.float32), Clip("0.flac", RATE, "train", {"one": 1.0}, [(0, 0, 1.0)])
    )
    silent.save()
    with pytest.raises(GhostnoteError, match="has no low end"):
        teach(Body(settings().spec(silent)), silent, 1, 1)


def test_transients_tell_what_the_body_leaves(booms: Dataset, clicks: Dataset) -> None:
    torch.manual_seed(2)
    spec = settings(transient=2, transient_ms=150.0).spec(clicks)
    assert (spec.transient, spec.transient_ages) == (2, 150 * RATE // (1000 * HOP))
    body = Body(spec)
    told = teach(body, clicks, 800, 1)
    assert 0.9 < told["foretold_transients"] < 1.0  # of hits that it has never heard
    clip = clicks.split("validation")[0]
    asked = asked_of_clip(spec, clip, clip.frames // HOP)
    both = sound_of(spec, body.weights(), *asked)
    alone = sound_of(replace(spec, transient=0, transient_ages=0), body.weights(), *asked)
    wanted = clicks.audio(clip)
    left, before = np.square(wanted - both).sum(), np.square(wanted - alone).sum()
    assert left < 0.2 * before
    silent = (asked[0] >= spec.body_ages).all(axis=1).repeat(HOP)
    assert silent.any() and not both[silent & np.roll(silent, HOP)].any()
    windows = Windows(clicks, "validation", spec, 100, body.weights())
    heard = to_sound(spec, windows.levels[0])[windows.lead_hops * HOP :]
    np.testing.assert_allclose(heard + both, wanted, atol=0.03)  # by mu-law


def test_a_model_with_a_body_may_get_transients(clicks: Dataset, tmp_path: Path) -> None:
    train(clicks.root, tmp_path / "low", settings(steps=1, body_steps=20))
    low = export(tmp_path / "low", tmp_path / "low.onnx")
    asked = {"steps": 1, "transient": 2, "transient_ms": 50.0}
    with pytest.raises(GhostnoteError, match="a body that is new must be taught"):
        grown = config_from(low, {**asked, "body_steps": 0})
        train(clicks.root, tmp_path / "grown", grown, base=low)
    train(clicks.root, tmp_path / "grown", config_from(low, {**asked, "body_steps": 20}), base=low)
    model = export(tmp_path / "grown", tmp_path / "grown.onnx")
    assert load_model(model.path).spec.transient == 2 and model.weights["transient_wave"].any()
    same = config_from(model, {"steps": 1, "body_steps": 0})
    train(clicks.root, tmp_path / "same", same, base=model)
    again = export(tmp_path / "same", tmp_path / "same.onnx")
    for name in model.weights:
        if name.startswith(("body", "transient")):
            np.testing.assert_allclose(again.weights[name], model.weights[name], atol=2e-3)
