"""Training: it learns, it goes on where it stopped, and the number of threads changes nothing."""

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training import train as loop
from ghostnote.training.batched import Batched
from ghostnote.training.checkpoint import NAME, load_checkpoint
from ghostnote.training.config import TrainConfig
from ghostnote.training.dataset import Dataset
from ghostnote.training.muon import Muon
from ghostnote.training.train import LOG, Progress, train
from ghostnote.training.wavenet import WaveNet
from tests.training.small_corpus import config, tone_dataset

SIX = config(steps=6)


def tensors(run: Path) -> dict[str, Tensor]:
    return load_checkpoint(run).tensors


def assert_same(one: Path, other: Path) -> None:
    """Weights, moments and mean are equal to the last bit."""
    a, b = tensors(one), tensors(other)
    assert set(a) == set(b) and len({name.split(".")[0] for name in a}) == 4
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def train_in_parts(data: Path, run: Path, settings: TrainConfig, *stops: int, **more: Any) -> None:
    """A training that is stopped after each of the steps named and resumed."""
    for i, at in enumerate((*stops, settings.steps)):
        stop = threading.Event()

        def report(progress: Progress, at: int = at, stop: threading.Event = stop) -> None:
            if progress.step == at - 1:
                stop.set()  # the run ends after the step that comes next

        train(data, run, settings, resume=i > 0, stop=stop, report=report, **more)
        assert load_checkpoint(run).step == at


@pytest.fixture(scope="module")
def whole(hits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps in one go; not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(hits.root, run, SIX, threads=2)
    return run


def test_a_mixture_resumed_is_the_same_run(hits: Dataset, tmp_path: Path) -> None:
    settings = config(steps=4, mixtures=3)
    train(hits.root, tmp_path / "whole", settings, threads=2)
    train_in_parts(hits.root, tmp_path / "parts", settings, 2)
    assert_same(tmp_path / "parts", tmp_path / "whole")
    assert load_checkpoint(tmp_path / "parts").spec.mixtures == 3


@pytest.mark.parametrize("stops", [(3,), (2, 4), (5,)])
def test_stopped_and_resumed_it_is_the_same_run(
    hits: Dataset, whole: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    train_in_parts(hits.root, tmp_path / "run", SIX, *stops)
    assert_same(tmp_path / "run", whole)
    one, other = load_checkpoint(tmp_path / "run").facts, load_checkpoint(whole).facts
    assert one["samples"] == other["samples"] and one["history"][-1] == other["history"][-1]


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_matter(hits: Dataset, whole: Path, tmp_path: Path, threads: int) -> None:
    train(hits.root, tmp_path / "run", SIX, threads=threads)
    assert_same(tmp_path / "run", whole)


def test_another_seed_is_another_run(hits: Dataset, whole: Path, tmp_path: Path) -> None:
    train(hits.root, tmp_path / "run", config(steps=6, seed=6))
    a, b = tensors(whole), tensors(tmp_path / "run")
    assert not torch.equal(a["weights.filter_weight"], b["weights.filter_weight"])


def test_facts_and_log_tell_of_the_run(hits: Dataset, tmp_path: Path) -> None:
    settings = config(steps=41)
    told: list[Progress] = []
    facts = train(hits.root, tmp_path / "run", settings, validate_every=20, report=told.append)
    assert [progress.step for progress in told] == list(range(1, 42))
    assert [progress.step for progress in told if progress.logged] == [20, 40]
    assert told[18].validation is None
    score = told[-1].validation
    assert score is not None and score == (41, facts["validation_bits"])
    assert [step for step, _ in facts["history"]] == [20, 40, 41]
    assert facts["steps"] == 41 and facts["seconds"] > 0
    assert facts["samples"] == 41 * settings.windows * settings.window_hops * hits.hop
    assert facts["train_minutes"] == pytest.approx(3 / 60, abs=0.01)
    assert facts["sources"] == hits.sources
    assert facts["dataset"] == hits.fingerprint()
    assert load_checkpoint(tmp_path / "run").facts == facts
    lines = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 20, 40, 40, 41]
    assert [set(line) for line in lines[:2]] == [
        {"step", "bits", "rate", "samples_per_s"},
        {"step", "validation_bits", "seconds"},
    ]
    assert all(math.isfinite(value) for line in lines for value in line.values())


def test_what_a_kill_undid_is_taken_out_of_the_log(hits: Dataset, tmp_path: Path) -> None:
    train_in_parts(hits.root, tmp_path / "run", config(steps=4), 2)
    log = tmp_path / "run" / LOG
    begun = log.read_text()
    log.write_text(begun + '{"step": 20, "bits": 1.0}\n{"step": 4')
    train(hits.root, tmp_path / "run", config(steps=5), resume=True)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == [2, 4, 5]


def test_validation_is_the_same_for_the_same_weights(hits: Dataset, tmp_path: Path) -> None:
    """With a rate of zero nothing is learnt, so every validation must give the same bits."""
    still = config(steps=4, learning_rate=0.0)
    facts = train(hits.root, tmp_path / "run", still, validate_every=1, threads=2)
    assert len({bits for _, bits in facts["history"]}) == 1


# A small network for long enough to learn a tone.
TONE: dict[str, Any] = {
    "residual": 16,
    "gate": 16,
    "skip": 32,
    "head": 32,
    "steps": 60,
    "window_hops": 100,
    "learning_rate": 0.01,
    "ema": 0.9,
}


def test_it_learns_a_tone(tmp_path: Path) -> None:
    """From the eight bits of knowing nothing to a sound that is nearly known.

    The held-back clip has another phase: learning the clip by heart would not do.
    """
    dataset = tone_dataset(tmp_path / "data")
    settings = config(**TONE)
    bits: list[float] = []
    facts = train(dataset.root, tmp_path / "run", settings, report=lambda p: bits.append(p.bits))
    assert bits[0] > 7.0
    assert facts["validation_bits"] < 4.0
    assert facts["history"][-1][1] == facts["validation_bits"]


@pytest.mark.parametrize(
    ("head", "first", "last"), [({"levels": 1024}, 9.0, 6.0), ({"mixtures": 5}, 15.0, 12.5)]
)
def test_other_heads_learn_a_tone(
    head: dict[str, int], first: float, last: float, tmp_path: Path
) -> None:
    """Bits per sample of 1024 levels and of 16 bit, of which there are more to know."""
    dataset = tone_dataset(tmp_path / "data")
    settings = config(**TONE, **head)
    bits: list[float] = []
    facts = train(dataset.root, tmp_path / "run", settings, report=lambda p: bits.append(p.bits))
    assert bits[0] > first
    assert facts["validation_bits"] < last


def test_a_run_is_not_overwritten_nor_resumed_as_another(
    hits: Dataset, whole: Path, tmp_path: Path
) -> None:
    before = (whole / NAME).read_bytes()
    other = tone_dataset(tmp_path / "data")
    for data, settings, resume, told in (
        (hits.root, SIX, False, "exists already; go on with --resume"),
        (hits.root, config(steps=9, seed=1), True, "only --steps and --minutes may"),
        (other.root, config(steps=9), True, "was begun on other data"),
        (hits.root, SIX, True, "has done its 6 steps; ask for more with --steps"),
        (tmp_path / "none", SIX, True, "no dataset in"),
    ):
        with pytest.raises(GhostnoteError, match=told):
            train(data, whole, settings, resume=resume)
    with pytest.raises(GhostnoteError, match="no checkpoint in"):
        train(hits.root, tmp_path / "fresh", SIX, resume=True)
    assert (whole / NAME).read_bytes() == before


def test_the_same_kits_with_other_clips_are_other_data(
    hits: Dataset, whole: Path, tmp_path: Path
) -> None:
    changed = Dataset(**{**vars(hits), "root": tmp_path / "data"})
    changed.begin()
    for clip in hits.clips[:-1]:
        name = Path("clips") / clip.file
        (changed.root / name).write_bytes((hits.root / name).read_bytes())
    changed.clips = hits.clips[:-1]
    changed.save()
    with pytest.raises(GhostnoteError, match="was begun on other data"):
        train(changed.root, whole, config(steps=9), resume=True)


def test_a_checkpoint_of_before_the_fingerprint_goes_on(hits: Dataset, tmp_path: Path) -> None:
    train_in_parts(hits.root, tmp_path / "run", config(steps=3), 2)
    path = tmp_path / "run" / NAME
    about = _metadata(path)
    del about["facts"]["dataset"]
    save_file(load_file(path), path, metadata={"ghostnote": json.dumps(about)})
    train(hits.root, tmp_path / "run", config(steps=4), resume=True)
    assert load_checkpoint(tmp_path / "run").facts["dataset"] == hits.fingerprint()


def test_a_loss_that_is_no_number_ends_it_and_spares_the_checkpoint(
    hits: Dataset, tmp_path: Path
) -> None:
    train_in_parts(hits.root, tmp_path / "run", config(steps=3), 2)
    path = tmp_path / "run" / NAME
    spoilt = load_file(path)
    spoilt["weights.head1_bias"][0] = math.nan
    save_file(spoilt, path, metadata={"ghostnote": json.dumps(_metadata(path))})
    before = path.read_bytes()
    with pytest.raises(GhostnoteError, match="no number any more at step 3; begin another run"):
        train(hits.root, tmp_path / "run", config(steps=9), resume=True, validate_every=1)
    assert path.read_bytes() == before


def test_a_run_that_cannot_be_written_is_told(hits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GhostnoteError, match=r"run .*file/run: cannot be written"):
        train(hits.root, tmp_path / "file" / "run", SIX)


def _metadata(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    about: dict[str, Any] = json.loads(header["__metadata__"]["ghostnote"])
    return about


# bf16, other devices, and plans by the clock.


def test_bf16_learns_the_same_for_any_number_of_threads(hits: Dataset, tmp_path: Path) -> None:
    train(hits.root, tmp_path / "one", SIX, precision="bf16", threads=1)
    train_in_parts(hits.root, tmp_path / "parts", SIX, 2, precision="bf16", threads=2)
    assert_same(tmp_path / "one", tmp_path / "parts")


def test_bf16_learns_a_tone(tmp_path: Path) -> None:
    dataset = tone_dataset(tmp_path / "data")
    facts = train(dataset.root, tmp_path / "run", config(**TONE), precision="bf16")
    assert facts["validation_bits"] < 4.0


def batched(model: WaveNet, *_: Any) -> Batched:
    """What computes on a GPU, on the CPU."""
    return Batched(model, torch.device("cpu"), "fp32", compiled=False)


@pytest.fixture
def as_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batched code and a fused Adam, as on a GPU, in fp32."""

    def fused(named: Any, **settings: Any) -> Muon:
        return Muon(named, **{**settings, "fused": True})

    monkeypatch.setattr(loop, "Muon", fused)
    monkeypatch.setattr(loop, "_computer", batched)


@pytest.mark.usefixtures("as_a_gpu")
def test_in_batches_it_is_the_same_run_but_for_rounding(
    hits: Dataset, whole: Path, tmp_path: Path
) -> None:
    """Weights, and the windows, which threads draw ahead; stopped and resumed to the last bit."""
    train(hits.root, tmp_path / "run", SIX)
    a, b = tensors(whole), tensors(tmp_path / "run")
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0.02, atol=2e-4)
    assert load_checkpoint(tmp_path / "run").facts["samples"] == 6 * 2 * 60 * hits.hop
    train_in_parts(hits.root, tmp_path / "parts", SIX, 2, 4)
    assert_same(tmp_path / "parts", tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert log[0] == {"step": 0, "device": "cpu", "precision": "fp32", "measured_peak": 0.0}


def test_a_run_goes_from_one_device_to_another_and_back(
    hits: Dataset, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    alone = loop._computer
    for steps, computer in ((2, alone), (4, batched), (6, alone)):
        monkeypatch.setattr(loop, "_computer", computer)
        stop = threading.Event()

        def report(progress: Progress, last: int = steps, stop: threading.Event = stop) -> None:
            if progress.step == last - 1:
                stop.set()

        train(hits.root, run, SIX, resume=steps > 2, stop=stop, report=report)
    a, b = tensors(whole), tensors(run)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0.02, atol=2e-4)


@pytest.mark.gpu
def test_a_run_goes_to_a_gpu_and_back(hits: Dataset, whole: Path, tmp_path: Path) -> None:
    """As the one before, with a device; in fp32, and then once more in what a GPU takes by itself."""
    run = tmp_path / "run"
    for sitting, device in enumerate(("cpu", "cuda", "cpu", "cuda", "cpu", "cuda")):
        stop = threading.Event()
        stop.set()  # after one step
        train(hits.root, run, SIX, resume=sitting > 0, stop=stop, device=device, precision="fp32")
    a, b = tensors(whole), tensors(run)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0.02, atol=2e-4)
    facts = train(hits.root, run, config(steps=8), resume=True, device="cuda")
    assert facts["steps"] == 8 and math.isfinite(facts["validation_bits"])


def test_a_run_planned_by_minutes_ends_by_the_clock(hits: Dataset, tmp_path: Path) -> None:
    settings = config(minutes=0.5 / 60.0, warmup=0)
    told: list[Progress] = []
    facts = train(hits.root, tmp_path / "run", settings, report=told.append)
    assert 0.5 <= facts["seconds"] < 20.0
    assert told[-1].step == facts["steps"] and told[-1].minutes == settings.minutes
    assert facts["history"][-1][0] == facts["steps"], "the end is validated"
    with pytest.raises(GhostnoteError, match="minutes; ask for more with --minutes"):
        train(hits.root, tmp_path / "run", settings, resume=True)
    more = config(minutes=1e4, warmup=0)
    train(hits.root, tmp_path / "run", more, resume=True, stop_after=0.0)
    assert load_checkpoint(tmp_path / "run").step == facts["steps"] + 1


def test_a_sitting_ends_after_its_minutes_as_if_stopped(hits: Dataset, tmp_path: Path) -> None:
    for sitting in range(3):
        train(hits.root, tmp_path / "run", SIX, resume=sitting > 0, stop_after=0.0)
        assert load_checkpoint(tmp_path / "run").step == sitting + 1


@pytest.mark.parametrize(
    ("device", "precision", "told"),
    [
        ("cuda", "auto", "torch finds no CUDA device here"),
        ("tpu", "auto", "--device must be one of auto, cpu, cuda, found 'tpu'"),
        ("cpu", "fp8", "--precision must be one of auto, fp32, bf16, found 'fp8'"),
    ],
)
def test_what_cannot_compute_is_refused(
    hits: Dataset,
    tmp_path: Path,
    device: str,
    precision: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(GhostnoteError, match=told):
        train(hits.root, tmp_path / "run", SIX, device=device, precision=precision)
    assert loop.find_device("auto").type == "cpu"
