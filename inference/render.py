"""Rendering: loops as WAV files, several at once, and the manifest from which to make them again.

Threads: one thread calls `render_loops` or `remake_loops`, which hands groups of loops to worker
threads, one for each core (the kernel does not hold the GIL), or one for a GPU; a group's loops are
lanes of one state. `progress` and `tell` are called from the workers, one at a time; `stop` may be
set from any thread. No result depends on the number of threads or on the grouping.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from ghostnote.kernels.backends import PLAYING, check_precision
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import DEFAULT_PRECISION, S_FLOATS, Packed, pack
from ghostnote.kernels.products import PRECISIONS
from ghostnote.kernels.spec import DEFAULT_TEMPERATURE

from .device import Device
from .kit_mix import default_kit, parse_kit
from .loop_audio import Timeline, make_loops, timeline_of, wav_blocks
from .loops import LoopPlan
from .manifest import MANIFEST, UNTOLD, Loop, check_room, part_of, read_entries, write_manifest
from .model_file import ModelFile
from .spread import cores

Progress = Callable[[float], None]
"""Told the share of the work that is done, 0 to 1."""

Tell = Callable[[str], None]
"""Told in one line that a GPU was lost and the CPU goes on."""

MAX_COUNT = 100_000
MAX_STREAMS = 1024
MAX_LANES = 16
"""Loops of a group: from here on more share little, and their states fill the caches."""

MAX_GPU_LANES = 1024
"""Loops of a group on a GPU: as many as a state of the CPU may hold lanes."""

MAX_NUMBERS = 32_000_000
"""Numbers (samples and states) that a group of more than one loop may hold in memory: 128 MB."""

MOST_NUMBERS = 16 * MAX_NUMBERS
"""Those of all threads together: 2 GB, or one loop, be it larger."""

SAVE_SECONDS = 5.0
"""How often the manifest is written meanwhile, for the case that the process is killed."""


class _Stopped(Exception):
    """A worker was told to stop."""


@dataclass(frozen=True)
class RenderOptions:
    """How to render a plan.

    Parameters
    ----------
    out : Path
        Folder for the WAV files and their manifest; made if it is not there.
    count : int
        Number of loops.
    seed : int
        Of the first loop; each next one has the next number.
    kit : str or None
        As `kit_mix.parse_kit` reads it; None is the model's first.
    samplerate : int or None
        Of the files, in Hz; None is the model's own.
    temperature : float
        Below 1 tamer, above 1 wilder.
    top_k : int
        Draw among the k likeliest levels only; 0 is all.
    streams : int or None
        Loops made at once; None is what is fastest.
    precision : str
        In which the model's weights are held, one of `PRECISIONS`.
    backend : str
        On what the samples are made, one of `PLAYING`; "gpu" plays in `GPU_PRECISIONS`.

    Raises
    ------
    GhostnoteError
        If a value is impossible.
    """

    out: Path
    count: int = 8
    seed: int = 1
    kit: str | None = None
    samplerate: int | None = None
    temperature: float = DEFAULT_TEMPERATURE
    top_k: int = 0
    streams: int | None = None
    precision: str = DEFAULT_PRECISION
    backend: str = "cpu"

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("count", self.count, 1, MAX_COUNT),
            ("seed", self.seed, 0, 2**63 - self.count),
            ("streams", self.streams or 1, 1, MAX_STREAMS),
            ("temperature", self.temperature, 0.01, 10.0),
            ("top_k", self.top_k, 0, 65536),
        ):
            if not low <= value <= high:
                raise GhostnoteError(f"{name} must be {low} to {high}, found {value}")
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise GhostnoteError(f"precision must be one of {known}, found {self.precision!r}")
        if self.backend not in PLAYING:
            known = ", ".join(PLAYING)
            raise GhostnoteError(f"backend must be one of {known}, found {self.backend!r}")
        if self.backend == "gpu":
            check_precision(self.precision)


def render_loops(
    model: ModelFile,
    plan: LoopPlan,
    options: RenderOptions,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    tell: Tell | None = None,
    each: Callable[[int], LoopPlan] | None = None,
) -> list[Loop]:
    """Render loops of a plan into WAV files (mono, 24 bit), and list them in the manifest there.

    `each` returns the plan of a loop by its seed, where they have other hits than `plan` and all
    else alike.

    A manifest that is there already is added to; a file is replaced only by one of the same recipe.
    When `stop` is set, or on Ctrl-C, loops that are finished are listed, and the others leave
    nothing behind. When a GPU is lost, the CPU goes on with the loops in hand and those to come.

    Returns the finished loops in order of their seeds.

    Raises
    ------
    GhostnoteError
        If the model has not the kit or a role of the plan, or a file cannot be written, or the
        manifest would be too large.
    """
    kit = options.kit or default_kit(model.spec)
    parse_kit(model.spec, kit)
    recipe = Loop(
        file="",
        frames=plan.frames(options.samplerate or model.spec.samplerate),
        samplerate=options.samplerate or model.spec.samplerate,
        bars=plan.bars,
        bpm=float(plan.bpm),
        kit=kit,
        seed=options.seed,
        model_sha256=model.sha256,
        model=model.name,
        temperature=float(options.temperature),
        top_k=options.top_k,
        plan=plan.name,
        hits=plan.hits,
        ghostnote=version("ghostnote"),
        precision=options.precision,
        backend=options.backend,
    )
    listed = _listed(options.out)
    check_room(options.out / MANIFEST, recipe, options.count)
    loops = []
    for seed in range(options.seed, options.seed + options.count):
        hits = (each(seed) if each else plan).hits
        loop = replace(recipe, seed=seed, hits=hits)
        loops.append(replace(loop, file=_free_name(options.out, listed, loop)))
    packed = pack(model.spec, model.weights, options.precision)
    device = _device(model, options.precision, options.backend, tell)
    jobs = [_Job(packed, device, loop, timeline_of(model.spec, loop)) for loop in loops]
    return [made.loop for made in _run(jobs, options.out, options.streams, progress, stop)]


def remake_loops(
    models: Sequence[ModelFile],
    loops: Sequence[Loop],
    out: Path,
    streams: int | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    tell: Tell | None = None,
) -> list[Loop]:
    """Make loops of a manifest again, each with the model that has its hash, on its backend.

    Returns the loops that came out with other bits than the manifest tells (none, on the same
    version of everything); such a loop is written only where no file of its name is.

    Raises
    ------
    GhostnoteError
        If a model is missing, a recipe is impossible or a file cannot be written.
    """
    by_hash = {model.sha256: model for model in models}
    packed: dict[tuple[str, str, str], tuple[Packed, Device | None]] = {}
    jobs = []
    for loop in loops:
        if loop.model_sha256 not in by_hash:
            raise GhostnoteError(
                f"{loop.file}: made with the model {loop.model} of sha256 "
                f"{loop.model_sha256[:80]}; name that file with --model"
            )
        try:
            plan = LoopPlan(loop.plan, loop.bars, loop.bpm, loop.hits)
            if plan.frames(loop.samplerate) != loop.frames:
                raise GhostnoteError(
                    f"frames are {loop.frames}, but bars, bpm and samplerate make "
                    f"{plan.frames(loop.samplerate)}; the manifest was changed"
                )
        except GhostnoteError as error:
            raise GhostnoteError(f"{loop.file}: {error}") from None
        model = by_hash[loop.model_sha256]
        which = loop.model_sha256, loop.precision, loop.backend
        if which not in packed:
            packed[which] = (
                pack(model.spec, model.weights, loop.precision),
                _device(model, loop.precision, loop.backend, tell),
            )
        jobs.append(_Job(*packed[which], loop, timeline_of(model.spec, loop)))
    made = _run(jobs, out, streams, progress, stop)
    wanted = {loop.file: loop.sha256 for loop in loops}
    return [one.loop for one in made if one.loop.sha256 != wanted[one.loop.file]]


def _device(model: ModelFile, precision: str, backend: str, tell: Tell | None) -> Device | None:
    """Return the GPU for a model, if that is the backend."""
    if backend == "cpu":
        return None
    check_precision(precision)
    return Device(model.spec, model.weights, precision, tell or (lambda line: None))


class _Job(NamedTuple):
    packed: Packed
    device: Device | None  # one for all jobs of a model
    loop: Loop
    timeline: Timeline


class _Made(NamedTuple):
    loop: Loop  # with the hash of what was made
    written: bool


def side_by_side(count: int, streams: int | None = None) -> tuple[int, int]:
    """Return how many of `count` loops the CPU makes at once, and on how many threads."""
    at_once = min(streams or cores() * MAX_LANES, count)
    return at_once, min(at_once, cores())


def side_by_side_on_gpu(count: int, streams: int | None = None) -> int:
    """Return how many of `count` loops a GPU makes at once."""
    return min(streams or MAX_GPU_LANES, count)


def _groups(jobs: Sequence[_Job], streams: int | None) -> tuple[list[list[int]], int]:
    """Return numbers of jobs that are made side by side, and how many threads make them."""
    device = any(job.device for job in jobs)
    if device:
        at_once, workers = side_by_side_on_gpu(len(jobs), streams), 1
        widest, most = MAX_GPU_LANES, MOST_NUMBERS
    else:
        at_once, workers = side_by_side(len(jobs), streams)
        widest, most = MAX_LANES, MAX_NUMBERS
    # A group is brought to the rate of its files one loop after the other.
    largest = max(job.timeline.total + _resampled(job) for job in jobs)
    threads = max(1, min(at_once, workers, MOST_NUMBERS // largest))
    groups: list[list[int]] = []
    models = {id(job.packed): job.packed for job in jobs}
    for model in models.values():
        mine = [i for i, job in enumerate(jobs) if job.packed is model]
        mine.sort(key=lambda i: jobs[i].timeline.total)  # a group lasts as long as its longest
        each = jobs[mine[-1]].timeline.total + int(model.header[S_FLOATS])
        room = most - max(_resampled(jobs[i]) for i in mine)
        lanes = max(1, min(at_once // threads, widest, room // each))
        # So many groups that all threads have alike to do.
        count = min(len(mine), -(-len(mine) // (lanes * threads)) * threads)
        groups += [
            mine[i * len(mine) // count : (i + 1) * len(mine) // count] for i in range(count)
        ]
    return sorted(groups), threads


def _resampled(job: _Job) -> int:
    """Return how many samples a loop has at the rate of its file, if that is another."""
    rate = job.packed.spec.samplerate
    return 0 if job.loop.samplerate == rate else job.timeline.total * job.loop.samplerate // rate


def _make_files(
    jobs: Sequence[_Job],
    out: Path,
    tick: Callable[[int], None],
    done: Callable[[int, _Made], None],
) -> None:
    """Make the files of one group; `done` is told each with its place in the group."""
    tick(0)  # if there was a stop, before any work
    loops = [job.loop for job in jobs]
    timelines = [job.timeline for job in jobs]
    sounds = make_loops(jobs[0].packed, loops, timelines, tick, jobs[0].device)
    for number, (loop, sound) in enumerate(zip(loops, sounds, strict=True)):
        path, part = out / loop.file, part_of(out / loop.file)
        digest = hashlib.sha256()
        try:
            with part.open("xb") as file:
                for data in wav_blocks(sound, loop.samplerate):
                    digest.update(data)
                    file.write(data)
            made = replace(loop, sha256=digest.hexdigest(), ghostnote=version("ghostnote"))
            written = loop.sha256 in ("", made.sha256) or not path.exists()
            if written:
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        done(number, _Made(made, written))


def _run(
    jobs: Sequence[_Job],
    out: Path,
    streams: int | None,
    progress: Progress | None,
    stop: threading.Event | None,
) -> list[_Made]:
    """Make all files; return what was finished, in the order of the jobs."""
    stopped = stop or threading.Event()
    lock = threading.Lock()
    todo = sum(job.timeline.total for job in jobs)
    samples = 0

    def tick(more: int) -> None:
        nonlocal samples
        if stopped.is_set():
            raise _Stopped
        with lock:
            samples += more
            if progress:
                progress(samples / todo)

    made: dict[int, _Made] = {}
    listed = _listed(out)

    def save() -> None:
        with lock:
            finished = dict(made)
        new = [finished[i].loop for i in sorted(finished) if finished[i].written]
        entries = listed | {x.file: listed.get(x.file, {}) | x.to_json() for x in new}
        if new:
            write_manifest(out / MANIFEST, list(entries.values()))

    def make(group: list[int]) -> None:
        def done(number: int, file: _Made) -> None:
            with lock:
                made[group[number]] = file

        with contextlib.suppress(_Stopped):
            _make_files([jobs[i] for i in group], out, tick, done)

    try:
        out.mkdir(parents=True, exist_ok=True)
        groups, threads = _groups(jobs, streams)
        with ThreadPoolExecutor(threads, "ghostnote-render") as pool:
            futures = [pool.submit(make, group) for group in groups]
            try:
                left = set(futures)
                while left:
                    ended, left = wait(left, SAVE_SECONDS, FIRST_EXCEPTION)
                    for future in ended:
                        future.result()
                    save()
            finally:
                # Also after Ctrl-C or a full disk: what is finished by now is listed.
                stopped.set()
                wait(futures)
                save()
    except OSError as error:
        where = error.filename or out
        raise GhostnoteError(f"{where}: cannot be written: {error.strerror or error}") from None
    return [made[number] for number in sorted(made)]


def _listed(out: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of the manifest in a folder by file name; none if there is none."""
    path = out / MANIFEST
    return {entry["file"]: entry for entry in read_entries(path)} if path.exists() else {}


def _free_name(out: Path, listed: Mapping[str, dict[str, Any]], loop: Loop) -> str:
    """Return a file name that is free, or that of a file with the very recipe of `loop`."""
    base = f"{_plain(loop.kit)}_{_plain(loop.plan)}_{loop.bpm:g}bpm_{loop.seed}"
    recipe = {k: v for k, v in loop.to_json().items() if k not in ("file", "sha256")}
    recipe["hits"] = [list(hit) for hit in loop.hits]  # as JSON gives them back
    name, number = f"{base}.wav", 1
    while name in listed or (out / name).exists():
        old = UNTOLD | listed[name] if name in listed else {}
        if all(old.get(key) == value for key, value in recipe.items()):
            break
        number += 1
        name = f"{base}-{number}.wav"
    return name


def _plain(text: str) -> str:
    """Return a name with nothing in it that a file name had better not have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:60] or "loop"
