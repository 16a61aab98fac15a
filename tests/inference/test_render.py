"""Rendered loops: their length, their hits, their seam, and the same bits again."""

import json
import resource
import shutil
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from ghostnote.inference import render as render_module
from ghostnote.inference.device import Device
from ghostnote.inference.generator import Generator
from ghostnote.inference.loop_audio import Timeline, make_loops, timeline_of
from ghostnote.inference.loops import LoopPlan, built_in_pattern, plan_pattern
from ghostnote.inference.manifest import MANIFEST, Loop, read_entries, read_manifest
from ghostnote.inference.midi import Hit
from ghostnote.inference.model_file import ModelFile
from ghostnote.inference.render import RenderOptions, remake_loops, render_loops
from ghostnote.kernels.backends import GPU_PRECISIONS
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.kernels.products import PRECISIONS
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.weights import Weights
from tests.inference.devices import Breaking
from tests.inference.loop_models import SPEC, loop_model

AUDIO = npt.NDArray[np.float64]
BPM = 97.3
KICK: Hit = (0.0, "kick", 1.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return loop_model(tmp_path_factory.mktemp("model"))


def plan(*hits: Hit, bars: int = 1, bpm: float = BPM) -> LoopPlan:
    return LoopPlan("test", bars, bpm, hits)


def render(model: ModelFile, hits: Sequence[Hit], out: Path, **options: object) -> AUDIO:
    """Renders one loop, and returns its samples as read from the file."""
    (loop,) = render_loops(model, plan(*hits), RenderOptions(out, 1, **options))  # type: ignore[arg-type]
    audio, rate = soundfile.read(out / loop.file)
    assert rate == loop.samplerate
    return np.asarray(audio)


def bits(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.wav")}


@pytest.mark.parametrize(
    ("bars", "bpm", "samplerate"),
    [(1, 97.3, 44100), (2, 97.3, None), (1, 120.0, 48000), (3, 731.7, 11025), (1, 1000, 8001)],
)
def test_frames_are_exact(
    model: ModelFile, tmp_path: Path, bars: int, bpm: float, samplerate: int | None
) -> None:
    options = RenderOptions(tmp_path, 1, samplerate=samplerate)
    (loop,) = render_loops(model, plan(KICK, bars=bars, bpm=bpm), options)
    rate = samplerate or SPEC.samplerate
    info = soundfile.info(tmp_path / loop.file)
    assert (info.format, info.subtype, info.channels) == ("WAV", "PCM_24", 1)
    assert (info.frames, info.samplerate) == (round(bars * 4 * 60 / bpm * rate), rate)
    assert (loop.frames, loop.samplerate) == (info.frames, rate)


@pytest.mark.parametrize("beat", [0.25, 1.0, 2.7])
def test_a_hit_is_on_its_beat(model: ModelFile, tmp_path: Path, beat: float) -> None:
    """With a hit more the same random numbers give another sound, from that hit on."""
    without = render(model, [KICK], tmp_path / "without")
    with_it = render(model, [KICK, (beat, "snare", 1.0)], tmp_path / "with")
    first = int(np.flatnonzero(without != with_it)[0])
    asked = beat * 60.0 / BPM * SPEC.samplerate
    assert -0.5 <= first - asked < SPEC.hop + 0.5


def test_a_first_hit_is_in_the_first_frame(model: ModelFile, tmp_path: Path) -> None:
    silent = render(model, [], tmp_path / "silent")
    struck = render(model, [KICK], tmp_path / "struck")
    assert np.flatnonzero(silent != struck)[0] < 3  # two samples may be drawn the same


def test_a_hit_is_on_its_beat_at_another_rate(model: ModelFile, tmp_path: Path) -> None:
    # A random network speaks up only at temperature 1.
    without = render(model, [KICK], tmp_path / "without", samplerate=44100, temperature=1.0)
    with_it = render(
        model, [KICK, (2.5, "snare", 1.0)], tmp_path / "with", samplerate=44100, temperature=1.0
    )
    difference = np.abs(without - with_it)
    at = round(2.5 * 60.0 / BPM * 44100)
    # The resampler's filter rings 20 ms before: 160 samples of the model.
    assert difference[: at - round(0.02 * 44100)].max() < 1e-4
    assert difference[at - 40 : at + 40].max() > 0.1


def test_another_rate_shifts_nothing(model: ModelFile, tmp_path: Path) -> None:
    own = render(model, [KICK], tmp_path / "own")
    twice = render(model, [KICK], tmp_path / "twice", samplerate=2 * SPEC.samplerate)
    middle = own[100:-100]
    matches = [
        float(np.dot(middle, twice[200 + shift :: 2][: len(middle)])) for shift in range(-4, 5)
    ]
    assert int(np.argmax(matches)) == 4


def test_tails_ring_into_the_start(model: ModelFile, tmp_path: Path) -> None:
    """A late hit of the last beat is heard at the start, as long as the model remembers it."""
    seconds = SPEC.ages * SPEC.hop / SPEC.samplerate
    late = 4.0 - 0.5 * seconds * BPM / 60.0
    gone = 4.0 - 1.5 * seconds * BPM / 60.0
    without = render(model, [], tmp_path / "without")
    remembered = render(model, [(late, "kick", 1.0)], tmp_path / "late")
    forgotten = render(model, [(gone, "kick", 1.0)], tmp_path / "gone")
    tail = round(0.4 * seconds * SPEC.samplerate)
    assert (without[:tail] != remembered[:tail]).mean() > 0.2
    assert (without[:tail] == forgotten[:tail]).all()


def test_a_loop_shorter_than_a_tail(tmp_path: Path) -> None:
    """Passes enough go before, and only as far back as a hit is the last of its role."""
    long = replace(SPEC, ages=4000)  # 4 s
    recipe = Loop(
        "a.wav", 0, 8000, 1, 240.0, "one", 1, "", "", 1.0, 0, "p",
        ((0.0, "kick", 1.0), (2.0, "hat", 1.0), (3.0, "hat", 1.0)), "",
    )  # fmt: skip
    timeline = timeline_of(long, replace(recipe, frames=8000))
    starts = [(hit.sample - timeline.start, hit.role) for hit in timeline.hits]
    assert starts == [
        (-8000, "kick"), (-4000, "hat"), (-2000, "hat"), (0, "kick"), (4000, "hat"), (6000, "hat"),
    ]  # fmt: skip
    alone = timeline_of(long, replace(recipe, frames=8000, hits=(), bpm=30.0))
    assert alone.hits == []
    assert alone.start == 4000  # the shortest lead-in


def test_the_end_runs_into_the_start(model: ModelFile) -> None:
    packed = pack(model.spec, model.weights)
    loop_plan = plan(KICK, (3.5, "snare", 1.0))
    loop = Loop(
        "a.wav", loop_plan.frames(8000), 8000, 1, BPM, "one", 5, "", "", 1.0, 0, "p",
        loop_plan.hits, "",
    )  # fmt: skip
    timeline = timeline_of(model.spec, loop)
    (audio,) = make_loops(packed, [loop], [timeline], lambda samples: None)
    generator = Generator(packed, 5, kit=(1.0, 0.0))
    generator.add(timeline.hits)
    played = generator.play(timeline.total)
    assert audio[-1] == played[timeline.start - 1]
    assert (audio[:-80] == played[timeline.start :][: loop.frames - 80]).all()
    assert audio[-79] == pytest.approx(played[timeline.start + loop.frames - 79], abs=2e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cores", [1, 2, 5])
def test_the_bits_depend_on_the_seed_alone(
    model: ModelFile,
    tmp_path: Path,
    precision: str,
    cores: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever is made at once: one loop, some on several threads, lanes side by side."""
    monkeypatch.setattr(render_module, "cores", lambda: cores)
    loop_plan = plan_pattern(built_in_pattern("electro"), 1).only(model.spec.roles)[0]
    takes = {}
    for streams in (1, 3, 7, None):
        out = tmp_path / str(streams)
        options = RenderOptions(out, 7, seed=7, streams=streams, precision=precision)
        render_loops(model, loop_plan, options)
        takes[streams] = bits(out)
        assert read_manifest(out / MANIFEST) == read_manifest(tmp_path / "1" / MANIFEST)
    assert len(set(takes[1].values())) == 7  # every seed is another take
    assert all(take == takes[1] for take in takes.values())
    options = RenderOptions(tmp_path / "again", 1, seed=9, precision=precision)
    render_loops(model, loop_plan, options)
    name = "one_electro_120bpm_9.wav"
    assert bits(tmp_path / "again")[name] == takes[1][name]


def test_loops_are_made_side_by_side(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of lanes, alike in size, as many as all threads have to do; never more than asked."""
    packed, other = (pack(model.spec, model.weights, precision) for precision in ("int8", "fp32"))
    (loop,) = render_loops(model, plan(KICK), RenderOptions(tmp_path, 1))
    job = render_module._Job(packed, None, loop, Timeline([], 1000, 0))

    def sizes(count: int, streams: int | None, cores: int) -> list[int]:
        monkeypatch.setattr(render_module, "cores", lambda: cores)
        groups, threads = render_module._groups([job] * count, streams)
        assert sorted(i for group in groups for i in group) == list(range(count))
        assert threads <= cores
        assert threads * max(map(len, groups)) <= (streams or cores * render_module.MAX_LANES)
        return [len(group) for group in groups]

    assert sizes(8, None, 2) == [4, 4]
    assert sizes(8, 1, 2) == [1] * 8
    assert sizes(8, 2, 2) == [1] * 8
    assert sizes(8, 6, 2) == [2, 2, 2, 2]
    assert sizes(1, None, 4) == [1]
    assert sizes(3, None, 4) == [1, 1, 1]
    assert sizes(100, None, 2) == [12, 13] * 4
    assert sizes(40, None, 1) == [13, 13, 14]
    on_gpu = job._replace(device=Device(model.spec, model.weights, "fp32", print))
    monkeypatch.setattr(render_module, "cores", lambda: 2)
    assert render_module._groups([on_gpu] * 3000, None) == (
        [[*range(1000)], [*range(1000, 2000)], [*range(2000, 3000)]],
        1,
    )
    long = job._replace(timeline=Timeline([], 20_000_000, 0))
    groups, _ = render_module._groups([long, job, job._replace(packed=other)], None)
    assert sorted(groups) == [[0], [1], [2]]  # little memory, and models apart


def test_what_the_resampler_makes_of_them_is_counted_too(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of half an hour at 96 kHz there are 173 million samples more: not one on each of 16 cores."""
    (loop,) = render_loops(model, plan(KICK), RenderOptions(tmp_path, 1))
    packed = pack(model.spec, model.weights, "int8")

    def grouped(minutes: float, samplerate: int, cores: int) -> tuple[int, int]:
        """Returns the largest group of sixteen loops, and the number of threads."""
        monkeypatch.setattr(render_module, "cores", lambda: cores)
        timeline = Timeline([], round(minutes * 60 * SPEC.samplerate), 0)
        job = render_module._Job(packed, None, replace(loop, samplerate=samplerate), timeline)
        groups, threads = render_module._groups([job] * 16, None)
        return max(map(len, groups)), threads

    assert grouped(8, SPEC.samplerate, 2) == (8, 2)
    assert grouped(8, 96_000, 2) == (1, 2)
    assert grouped(30, SPEC.samplerate, 16) == (1, 16)
    assert grouped(30, 96_000, 16) == (1, 2)


def test_loops_of_several_lengths_and_settings_side_by_side(
    model: ModelFile, tmp_path: Path
) -> None:
    settings: list[tuple[float, dict[str, object]]] = [
        (240.0, {}),
        (97.3, {"kit": "two"}),
        (480.0, {"temperature": 0.8}),
    ]
    made = []
    for i, (bpm, more) in enumerate(settings):
        options = RenderOptions(tmp_path / "alone", 2, seed=i, **more)  # type: ignore[arg-type]
        made += render_loops(model, plan(KICK, bpm=bpm), options)
    assert remake_loops([model], made[::-1], tmp_path / "together") == []
    assert bits(tmp_path / "together") == bits(tmp_path / "alone")


def test_precision_is_heard_told_and_kept(model: ModelFile, tmp_path: Path) -> None:
    takes, loops = [], []
    for precision in PRECISIONS:
        options = RenderOptions(tmp_path, 1, precision=precision)
        (loop,) = render_loops(model, plan(KICK), options)
        assert loop.precision == precision
        loops.append(loop)
        takes.append((tmp_path / loop.file).read_bytes())
    assert len(set(takes)) == len({loop.file for loop in loops}) == 3
    assert RenderOptions(tmp_path).precision == "int8"
    assert read_manifest(tmp_path / MANIFEST) == loops
    assert remake_loops([model], loops, tmp_path / "again") == []
    assert bits(tmp_path / "again") == bits(tmp_path)
    # What an int8 loop was made with is not what fp32 gives.
    assert remake_loops([model], [replace(loops[2], precision="fp32")], tmp_path / "other")


def test_kit_temperature_and_top_k_are_heard(model: ModelFile, tmp_path: Path) -> None:
    several: list[dict[str, object]] = [
        {},
        {"kit": "two"},
        {"kit": "one:1,two:1"},
        {"kit": "texture"},
        {"temperature": 0.5},
        {"top_k": 3},
    ]
    takes = [render(model, [KICK], tmp_path / str(i), **more) for i, more in enumerate(several)]
    assert len({take.tobytes() for take in takes}) == len(takes)
    assert (render(model, [KICK], tmp_path / "x", kit="one:7") == takes[0]).all()


def test_the_manifest_tells_all(model: ModelFile, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    options = RenderOptions(out, 2, 41, "two:2,one:1", 11025, 0.8, 20)
    loops = render_loops(model, plan(KICK, (1.0, "hat", 0.3)), options)
    assert read_manifest(out / MANIFEST) == loops
    first = json.loads((out / MANIFEST).read_text())["loops"][0]
    del first["sha256"], first["ghostnote"]
    assert first == {
        "file": "two-2-one-1_test_97.3bpm_41.wav",
        "frames": round(4 * 60 / 97.3 * 11025),
        "samplerate": 11025,
        "bars": 1,
        "bpm": 97.3,
        "kit": "two:2,one:1",
        "seed": 41,
        "model_sha256": model.sha256,
        "model": "tiny",
        "temperature": 0.8,
        "top_k": 20,
        "plan": "test",
        "hits": [[0.0, "kick", 1.0], [1.0, "hat", 0.3]],
        "precision": "int8",
        "backend": "cpu",
    }
    assert [loop.seed for loop in loops] == [41, 42]


def test_a_folder_may_be_added_to(model: ModelFile, tmp_path: Path) -> None:
    (tmp_path / "one_test_97.3bpm_2.wav").write_bytes(b"somebody's own")
    render_loops(model, plan(KICK), RenderOptions(tmp_path, 2))
    render_loops(model, plan(KICK), RenderOptions(tmp_path, 1))  # the same once more
    render_loops(model, plan(KICK), RenderOptions(tmp_path, 1, temperature=0.5))
    names = ["one_test_97.3bpm_1.wav", "one_test_97.3bpm_2-2.wav", "one_test_97.3bpm_1-2.wav"]
    assert [loop.file for loop in read_manifest(tmp_path / MANIFEST)] == names
    assert (tmp_path / "one_test_97.3bpm_2.wav").read_bytes() == b"somebody's own"


def test_again_from_the_manifest(model: ModelFile, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    options = RenderOptions(first, 3, samplerate=44100, temperature=0.7, top_k=30, kit="two")
    loops = render_loops(model, plan(KICK, (1.5, "open", 0.4)), options)
    assert remake_loops([model], loops, again) == []
    assert bits(again) == bits(first)
    assert read_manifest(again / MANIFEST) == loops


def test_remaking_beside_the_manifest_keeps_what_others_added(
    model: ModelFile, tmp_path: Path
) -> None:
    (loop, _) = render_loops(model, plan(KICK), RenderOptions(tmp_path, 2))
    entries = read_entries(tmp_path / MANIFEST)
    entries[0]["stars"] = 5
    (tmp_path / MANIFEST).write_text(json.dumps({"loops": entries}))
    before = bits(tmp_path)
    (tmp_path / loop.file).unlink()
    assert remake_loops([model], [loop], tmp_path) == []
    assert bits(tmp_path) == before
    assert read_entries(tmp_path / MANIFEST) == entries


def test_other_bits_are_told_and_replace_nothing(model: ModelFile, tmp_path: Path) -> None:
    (loop,) = render_loops(model, plan(KICK), RenderOptions(tmp_path, 1))
    before = bits(tmp_path)
    other = replace(loop, sha256="00" * 32)
    assert remake_loops([model], [other], tmp_path) == [loop]
    assert bits(tmp_path) == before
    assert remake_loops([model], [other], tmp_path / "new") == [loop]
    assert bits(tmp_path / "new") == before
    assert read_manifest(tmp_path / "new" / MANIFEST) == [loop]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_sha256": "00" * 32}, "tiny of sha256 0000.*--model"),
        ({"frames": 7}, "frames are 7"),
        ({"bars": 2}, "frames are"),
        ({"bpm": 5.0}, "bpm must be"),
        ({"samplerate": 10}, "samplerate must be"),
        ({"seed": -1}, "seed must be"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"kit": "three"}, "no such kit"),
        ({"hits": ((0.0, "gong", 1.0),)}, "no role 'gong'"),
    ],
)
def test_impossible_recipes(
    model: ModelFile, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    (loop,) = render_loops(model, plan(KICK), RenderOptions(tmp_path / "first", 1))
    with pytest.raises(GhostnoteError, match=reason):
        remake_loops([model], [replace(loop, **change)], tmp_path / "again")  # type: ignore[arg-type]
    assert bits(tmp_path / "again") == {}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"count": 0}, "count must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**63 - 1}, "seed must be"),
        ({"streams": -1}, "streams must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"top_k": -1}, "top_k must be"),
        ({"precision": "int4"}, "precision must be one of fp32, bf16, int8"),
        ({"backend": "auto"}, "backend must be one of cpu, gpu"),
        ({"samplerate": 1}, "samplerate must be"),
        ({"kit": "three"}, "no such kit; it has one, two, texture"),
    ],
)
def test_impossible_options(
    model: ModelFile, tmp_path: Path, options: dict[str, object], reason: str
) -> None:
    with pytest.raises(GhostnoteError, match=reason):
        render_loops(model, plan(KICK), RenderOptions(tmp_path / "out", **options))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_model_with_no_kits_and_no_roles(tmp_path: Path) -> None:
    bare = ModelSpec(8000, 8, (1, 2), residual=8, gate=8, skip=8, head=8, levels=64)
    loops = render_loops(loop_model(tmp_path, bare), plan(), RenderOptions(tmp_path / "out", 2))
    assert [loop.kit for loop in loops] == ["texture", "texture"]
    assert len(bits(tmp_path / "out")) == 2


def test_a_stop_leaves_whole_files(model: ModelFile, tmp_path: Path) -> None:
    stop = threading.Event()

    def stop_half_way(share: float) -> None:
        if share > 0.5:
            stop.set()

    options = RenderOptions(tmp_path, 8, streams=2)
    loops = render_loops(model, plan(KICK), options, stop_half_way, stop)
    assert 1 <= len(loops) < 8
    assert read_manifest(tmp_path / MANIFEST) == loops
    assert sorted(bits(tmp_path)) == sorted(loop.file for loop in loops)
    assert len(list(tmp_path.iterdir())) == len(loops) + 1
    assert remake_loops([model], loops, tmp_path) == []


def test_progress_grows_to_the_whole(model: ModelFile, tmp_path: Path) -> None:
    shares: list[float] = []
    render_loops(model, plan(KICK), RenderOptions(tmp_path, 3, streams=3), shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 10


def test_a_full_disk(model: ModelFile, tmp_path: Path) -> None:
    """Files of at most 100 kB can be written: the loops that need more fail, in one line."""
    loops = render_loops(model, plan(KICK), RenderOptions(tmp_path, 1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(GhostnoteError, match="cannot be written: File too large"):
            render_loops(model, plan(KICK, bars=4), RenderOptions(tmp_path, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_manifest(tmp_path / MANIFEST) == loops
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be(model: ModelFile, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GhostnoteError, match=r"file.*cannot be written"):
        render_loops(model, plan(KICK), RenderOptions(tmp_path / "file", 1))
    (tmp_path / MANIFEST).write_text("not ours")
    with pytest.raises(GhostnoteError, match="not JSON"):
        render_loops(model, plan(KICK), RenderOptions(tmp_path, 1))
    assert (tmp_path / MANIFEST).read_text() == "not ours"
    shutil.rmtree(tmp_path)


def test_a_gpu_that_is_lost_half_way_changes_no_bit(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop in hand goes on where it was, later ones begin on the CPU; it is told once."""
    monkeypatch.setattr(render_module, "MAX_GPU_LANES", 2)
    opened: list[Breaking] = []

    def device(spec: ModelSpec, weights: Weights, precision: str, streams: int) -> Breaking:
        opened.append(Breaking(pack(spec, weights, precision), streams, calls=10))
        return opened[-1]

    monkeypatch.setattr("ghostnote.inference.device.open_gpu", device)
    options = RenderOptions(tmp_path / "gpu", 3, precision="fp32", backend="gpu")
    told: list[str] = []
    loops = render_loops(model, plan(KICK), options, tell=told.append)
    assert told == ["the GPU is lost (CUDA error: no more); the CPU goes on from the same sample"]
    assert [streams.lanes for streams in opened] == [1]
    assert {loop.backend for loop in loops} == {"gpu"}
    render_loops(model, plan(KICK), RenderOptions(tmp_path / "cpu", 3, precision="fp32"))
    assert bits(tmp_path / "gpu") == bits(tmp_path / "cpu")
    again = tmp_path / "again"
    assert remake_loops([model], loops, again) == []
    assert len(opened) == 2
    assert {loop.backend for loop in read_manifest(again / MANIFEST)} == {"gpu"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_gpu_plays_in_its_own_precisions(precision: str, tmp_path: Path) -> None:
    refused = precision not in GPU_PRECISIONS
    with pytest.raises(GhostnoteError, match="not in int8") if refused else nullcontext():
        assert RenderOptions(tmp_path, 1, precision=precision, backend="gpu").backend == "gpu"


def test_a_manifest_that_tells_no_backend_means_the_cpu(model: ModelFile, tmp_path: Path) -> None:
    (loop,) = render_loops(model, plan(KICK), RenderOptions(tmp_path, 1))
    path = tmp_path / MANIFEST
    content = json.loads(path.read_text())
    assert content["loops"][0].pop("backend") == "cpu"
    path.write_text(json.dumps(content))
    assert read_manifest(path) == [loop]
    (again,) = render_loops(model, plan(KICK), RenderOptions(tmp_path, 1))
    assert again.file == loop.file
