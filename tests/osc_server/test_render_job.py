"""Rendering at a client's wish: the command's own bits, in a process that ends when it should."""

import json
import os
import queue
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mido
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.cli.main import main
from ghostnote.inference.manifest import read_manifest
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server import render_job
from ghostnote.osc_server.render_job import MAX_WAITING, RenderJobs
from ghostnote.osc_server.render_request import MAX_JSON, Folders, read_order, read_request
from tests.inference.loop_models import loop_model

LONG = {"model": "tiny", "bars": 1, "bpm": 240, "count": 1000, "seed": 5, "pattern": "half-time"}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    found = Folders(tmp_path / "models", tmp_path / "primes", tmp_path / "recordings")
    for folder in (found.models, found.grooves, found.out):
        folder.mkdir()
    loop_model(found.models)
    return found


class Client:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.shares: dict[int, list[float]] = {}
        self.told = 0
        self.ends: queue.Queue[tuple[int, str, str]] = queue.Queue()

    def progress(self, job: int, share: float) -> None:
        self.shares.setdefault(job, []).append(share)
        self.told += 1

    def ended(self, job: int, manifest: str, failure: str) -> None:
        self.ends.put((job, manifest, failure))

    def ask(self, jobs: RenderJobs, **request: Any) -> int:
        return jobs.submit(json.dumps(request), self.progress, self.ended)

    def wait_for_work(self, job: int) -> None:
        """Until the job's process has told something."""
        deadline = time.monotonic() + 60
        while len(self.shares.get(job, [])) < 2:
            assert time.monotonic() < deadline and self.ends.empty(), "it did not begin"
            time.sleep(0.01)


def waves(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.wav")}


def test_the_bundled_model_gives_the_commands_bits(folders: Folders, tmp_path: Path) -> None:
    jobs, client = RenderJobs(folders), Client()
    try:
        job = client.ask(jobs, bars=1, bpm=240.0, count=2, seed=7, out="one/two")
        assert client.ends.get(timeout=300) == (job, str(folders.out / "one/two/manifest.json"), "")
    finally:
        jobs.close()
    shares = client.shares[job]
    assert shares[0] == 0.0 and shares[-1] == 1.0 and shares == sorted(shares)
    words = ["--bars", "1", "--bpm", "240", "--count", "2", "--seed", "7"]
    assert main(["render", *words, "--out", str(tmp_path / "same")]) == 0
    made = waves(folders.out / "one" / "two")
    assert len(made) == 2 and made == waves(tmp_path / "same")
    assert len(read_manifest(folders.out / "one" / "two" / "manifest.json")) == 2


def test_jobs_wait_for_one_another_and_progress_is_told_sparingly(folders: Folders) -> None:
    jobs, client = RenderJobs(folders), Client()
    began = time.monotonic()
    try:
        many = [client.ask(jobs, **{**LONG, "count": 150, "seed": seed}) for seed in (1, 1001)]
        for job in many:
            assert client.ends.get(timeout=120) == (
                job,
                str(folders.out / "renders/manifest.json"),
                "",
            )
    finally:
        jobs.close()
    assert many == [1, 2]
    assert len(waves(folders.out / "renders")) == 300
    for shares in client.shares.values():
        assert shares == sorted(shares) and shares[-1] == 1.0
    # The first of each job comes at once, the last one as soon as it is true.
    assert client.told <= 10 * (time.monotonic() - began) + 4


@pytest.mark.skipif(sys.platform == "win32", reason="asks for a priority as Unix has it")
def test_cancelled_in_the_middle(folders: Folders) -> None:
    jobs, client = RenderJobs(folders), Client()
    try:
        first, second, third = (client.ask(jobs, **LONG, out=f"job{n}") for n in range(3))
        client.wait_for_work(first)
        assert jobs._running is not None and jobs._running.process is not None
        process = jobs._running.process
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(
            19, os.getpriority(os.PRIO_PROCESS, 0) + 10
        )
        jobs.cancel(second)
        jobs.cancel(first)
        number, manifest, failure = client.ends.get(timeout=60)
        assert (number, manifest) == (first, "")
        assert failure.startswith("cancelled; loops that were finished are listed in")
        assert process.returncode == 130
        assert client.ends.get(timeout=60) == (second, "", "cancelled before it began")
        assert client.shares[second] == [0.0] and not (folders.out / "job1").exists()
        client.wait_for_work(third)
        with pytest.raises(GhostnoteError, match="job 1: is not under way; there are 3"):
            jobs.cancel(first)
    finally:
        jobs.close()
    assert client.ends.get(timeout=1)[0] == third
    listed = folders.out / "job0" / "manifest.json"
    if waves(folders.out / "job0"):
        assert sorted(waves(folders.out / "job0")) == sorted(x.file for x in read_manifest(listed))
    assert not [*folders.out.rglob("*.part")]


def test_whoever_hears_of_an_end_finds_the_job_gone(folders: Folders) -> None:
    jobs, refusals = RenderJobs(folders), queue.Queue[str]()

    def ended(job: int, manifest: str, failure: str) -> None:
        try:
            jobs.cancel(job)
        except GhostnoteError as error:
            refusals.put(str(error))

    try:
        request = json.dumps({**LONG, "count": 1})
        jobs.submit(request, lambda *_: None, ended)
        assert refusals.get(timeout=60) == "job 1: is not under way; there are none"
    finally:
        jobs.close()


def test_at_the_end_nothing_goes_on(folders: Folders) -> None:
    jobs, client = RenderJobs(folders), Client()
    for _ in range(MAX_WAITING + 1):  # one of them runs, as soon as it is taken
        client.ask(jobs, **LONG)
        if client.shares.keys() == {1}:
            client.wait_for_work(1)
    with pytest.raises(GhostnoteError, match="8 jobs wait already"):
        client.ask(jobs, **LONG)
    assert jobs._running and jobs._running.process
    process = jobs._running.process
    jobs.close()
    assert process.returncode == 130
    assert client.ends.qsize() == MAX_WAITING + 1
    with pytest.raises(GhostnoteError, match="later"):
        client.ask(jobs, **LONG)
    jobs.close()


KILLED = """
import json, sys
from pathlib import Path
from ghostnote.osc_server.render_job import RenderJobs
from ghostnote.osc_server.render_request import Folders
root = Path(sys.argv[1])
jobs = RenderJobs(Folders(root / "models", root / "primes", root / "recordings"))
def progress(job, share):
    if share:
        print(jobs._running.process.pid, flush=True)
jobs.submit(sys.argv[2], progress, print)
input()
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_server_that_is_killed_leaves_no_process(folders: Folders, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), json.dumps(LONG)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as server:
        assert server.stdout
        rendering = Path("/proc") / server.stdout.readline().decode().strip()
        assert rendering.exists()
        server.kill()
    deadline = time.monotonic() + 30
    while rendering.exists() and "Z" not in (rendering / "stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.05)


def test_what_fails_later_is_told(folders: Folders) -> None:
    jobs, client = RenderJobs(folders), Client()
    try:
        (folders.out / "file").write_text("no folder")
        client.ask(jobs, **{**LONG, "count": 1}, out="file")
        number, manifest, failure = client.ends.get(timeout=60)
        assert (number, manifest) == (1, "") and "cannot be written" in failure
        assert not failure.startswith("ghostnote")
    finally:
        jobs.close()


def test_one_that_does_not_end_is_killed(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_job, "_GRACE_SECONDS", 0.2)
    deaf = (
        "import sys, time; print('{\"progress\": 0.5}', file=sys.stderr, flush=True)\n"
        "while True: time.sleep(60)"
    )
    monkeypatch.setattr(render_job, "_PROGRAM", deaf)
    jobs, client = RenderJobs(folders), Client()
    client.ask(jobs, **LONG)
    client.wait_for_work(1)
    assert jobs._running and jobs._running.process
    process = jobs._running.process
    jobs.close()
    assert process.poll() not in (None, 0)
    assert "cancelled" in client.ends.get(timeout=1)[2]


def test_patterns_and_grooves(folders: Folders) -> None:
    file = mido.MidiFile(ticks_per_beat=96)
    track = mido.MidiTrack([mido.Message("note_on", channel=9, note=36, velocity=100, time=0)])
    file.tracks.append(track)
    file.save(folders.grooves / "shuffle.mid")
    jobs, client = RenderJobs(folders), Client()
    same = {"model": "tiny", "bars": 1, "count": 1}
    try:
        steps = {"kick": "x...x...", "hat": "x.x.", "bpm": 200, "swing": 0.25}
        client.ask(jobs, **same, pattern=steps, kit="one:2,two:1", temperature=0.5, top_k=3)
        client.ask(jobs, **same, groove="shuffle.mid", samplerate=44100.0)
        client.ask(jobs, **same, kit="texture")
        client.ask(jobs, **same, drummer="style=funk,density=0.9")
        ends = [client.ends.get(timeout=60) for _ in range(4)]
    finally:
        jobs.close()
    assert [failure for _, _, failure in ends] == [""] * 4
    first, second, third, fourth = read_manifest(Path(ends[0][1]))
    assert (first.plan, first.bpm, first.kit) == ("pattern", 200.0, "one:2,two:1")
    assert (first.temperature, first.top_k, first.samplerate) == (0.5, 3, 8000)
    assert [beat for beat, role, _ in first.hits if role == "hat"][:3] == [0.0, 0.5, 1.0]
    assert (second.plan, second.samplerate, len(second.hits)) == ("shuffle", 44100, 1)
    assert (third.plan, third.hits) == ("free", ())
    assert fourth.plan == "drummer"
    assert len(fourth.hits) > 2


def refusal(folders: Folders, text: str) -> str:
    with pytest.raises(GhostnoteError) as caught:
        read_order(text, folders, "int8")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize(
    ("request_text", "reason"),
    [
        ("", "not JSON"), ("{", "not JSON"), ("[" * 100_000, "at most"), ("[" * 9999, "not JSON"),
        ('{"bpm": NaN}', "not JSON"), ("[]", "JSON object"), ("1", "JSON object"),
        ('{"bars": 0}', "bars: must be a whole"), ('{"bars": 1.5}', "bars: must be a whole"),
        ('{"bars": true}', "bars: must be"), ('{"bars": "4"}', "bars: must be"),
        ('{"bpm": 1e9}', "bpm: must be a number, 10 to 1000"), ('{"count": 1001}', "count"),
        ('{"seed": -1}', "seed"), ('{"seed": 9223372036854775807}', "seed"),
        ('{"samplerate": 7999}', "samplerate"), ('{"temperature": 0}', "temperature"),
        ('{"top_k": 1e99}', "top_k"), ('{"colour": 1}', "unknown key 'colour'; there are model"),
        ('{"--out": "a"}', "unknown key"), ('{"kit": ""}', "kit: must be a text"),
        ('{"kit": "a\\nb"}', "control"), ('{"kit": "none"}', "none"), ('{"kit": 3}', "kit"),
        ('{"model": "/etc/passwd"}', "no such file"), ('{"model": "../x"}', "no such file"),
        ('{"out": "/tmp/x"}', "relative"), ('{"out": "../x"}', "not allowed"),
        ('{"out": "link/x"}', "leads out"), ('{"out": "."}', "leads out"),
        ('{"groove": "../g.mid"}', "not allowed"), ('{"groove": "g.mid"}', "no such file"),
        ('{"groove": "bad.mid"}', "bad.mid"), ('{"pattern": "none"}', "must be one of demo"),
        ('{"pattern": "/etc/passwd"}', "must be one of"), ('{"pattern": 1}', "must be one of"),
        ('{"pattern": {}}', "no hit"), ('{"pattern": {"kick": "...."}}', "no hit"),
        ('{"pattern": {"kick": "x\\nbpm: 5"}}', "must be steps"),
        ('{"pattern": {"kick: x\\nsnare": "x"}}', "is no role"),
        ('{"pattern": {"cymbal": "x"}}', "no role is called 'cymbal'"),
        ('{"pattern": {"kick": "x", "bpm": 5}}', "pattern.txt, line 2: bpm must be"),
        ('{"pattern": "demo", "groove": "bad.mid"}', "not both"),
        ('{"pattern": "demo", "drummer": "fill=4"}', "not both"),
        ('{"drummer": "style=polka"}', "unknown style 'polka'"), ('{"drummer": "x"}', "none of"),
        ('{"drummer": "fill=4", "bars": 1024, "bpm": 10}', "1800 s"),
        ('{"bars": 1024, "bpm": 10}', "half an hour|1800 s"),
        ('{"bars": 200, "bpm": 30, "count": 20}', "8.9 hours of sound are asked for"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_one_line(
    folders: Folders, tmp_path: Path, request_text: str, reason: str
) -> None:
    (folders.out / "link").symlink_to(tmp_path)
    (folders.grooves / "bad.mid").write_text("MThd no music")
    told = refusal(folders, request_text)
    assert any(part in told for part in reason.split("|")), told
    assert [path.name for path in folders.out.iterdir()] == ["link"]


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)


@given(
    st.dictionaries(
        st.sampled_from(["bars", "bpm", "count", "seed", "kit", "pattern", "out", "samplerate"])
        | st.text(max_size=8),
        VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.text(max_size=5), VALUES),
    )
    | VALUES
)
def test_any_json_is_read_or_refused(request_value: Any) -> None:
    text = json.dumps(request_value)
    try:
        found = read_request(text)
    except GhostnoteError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(found, dict) and len(text) <= MAX_JSON
