"""`ghostnote render` as it is typed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import mido
import pytest
import soundfile

from ghostnote.cli.main import main
from ghostnote.inference.manifest import MANIFEST, read_manifest
from tests.inference.loop_models import loop_model

PROGRAM = [
    sys.executable,
    "-c",
    "import sys; from ghostnote.cli.main import main; sys.exit(main())",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(loop_model(tmp_path_factory.mktemp("model")).path)


@pytest.fixture
def groove(tmp_path: Path) -> Path:
    """Two bars at 97.3 bpm: kicks, a snare and, once, a ride."""
    path = tmp_path / "shuffle.mid"
    file = mido.MidiFile(ticks_per_beat=96)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(97.3))])
    for ticks, note in ((0, 36), (96, 38), (96, 51), (192, 36)):
        track.append(mido.Message("note_on", channel=9, note=note, velocity=100, time=ticks))
    file.tracks.append(track)
    file.save(path)
    return path


def waves(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.wav")}


def test_built_in_pattern(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "loops"
    words = ["--model", model, "--bars", "1", "--bpm", "240", "--count", "2", "--out", str(out)]
    assert main(["render", *words, "--pattern", "half-time"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        str(out / "one_half-time_240bpm_1.wav"),
        str(out / "one_half-time_240bpm_2.wav"),
    ]
    assert told.err == ""
    assert {soundfile.info(path).frames for path in out.glob("*.wav")} == {8000}


def test_groove(
    model: str, groove: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "loops"
    words = ["--model", model, "--count", "1", "--out", str(out), "--json"]
    assert main(["render", *words, "--groove", str(groove), "--bars", "3"]) == 0
    told = capsys.readouterr()
    assert told.err == "shuffle: hits of roles that the model lacks left out: ride (2)\n"
    (loop,) = json.loads(told.out)["loops"]
    assert loop["file"] == "one_shuffle_97.3bpm_1.wav"
    assert loop["frames"] == round(3 * 4 * 60 / 97.3 * 8000)
    assert loop["precision"] == "int8"
    assert [[beat, role] for beat, role, _ in loop["hits"]] == [
        [0, "kick"], [1, "snare"], [4, "kick"], [8, "kick"], [9, "snare"],
    ]  # fmt: skip
    assert main(["render", *words, "--groove", str(groove), "--bpm", "240", "--bars", "1"]) == 0
    (loop,) = json.loads(capsys.readouterr().out)["loops"]
    assert (loop["bpm"], loop["frames"]) == (240.0, 8000)
    assert [[beat, role] for beat, role, _ in loop["hits"]] == [[0, "kick"], [1, "snare"]]


def test_again_in_another_process_without_the_pattern(model: str, tmp_path: Path) -> None:
    """The manifest alone gives the same bits; other files of it can be left out."""
    pattern = tmp_path / "mine.txt"
    pattern.write_text("bpm: 131.7\nswing: 0.3\nkick: X..x\nhat: xo|xo|x\n")
    first, again, one = tmp_path / "first", tmp_path / "again", tmp_path / "one"
    words = ["--model", model, "--bars", "1", "--count", "3", "--seed", "5", "--kit", "two:3,one"]
    words += ["--samplerate", "44100", "--temperature", "0.9", "--top-k", "40"]
    words += ["--precision", "bf16"]
    assert main(["render", *words, "--pattern", str(pattern), "--out", str(first)]) == 0
    assert len(waves(first)) == 3
    pattern.unlink()
    remake = [*PROGRAM, "render", "--manifest", str(first / MANIFEST), "--model", model]
    subprocess.run([*remake, "--out", str(again), "--streams", "1"], check=True)
    assert waves(again) == waves(first)
    name = "two-3-one_mine_131.7bpm_6"
    subprocess.run([*remake, "--out", str(one), "--only", name], check=True)
    assert waves(one) == {f"{name}.wav": waves(first)[f"{name}.wav"]}


def test_other_bits_are_a_failure(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", model, "--bars", "1", "--bpm", "480", "--count", "2", "--out"]
    assert main(["render", *words, str(tmp_path)]) == 0
    manifest = tmp_path / MANIFEST
    content = json.loads(manifest.read_text())
    content["loops"][1]["sha256"] = "00" * 32
    manifest.write_text(json.dumps(content))
    capsys.readouterr()
    before = waves(tmp_path)
    assert main(["render", "--model", model, "--manifest", str(manifest)]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [str(tmp_path / "one_demo_480bpm_1.wav")]
    assert "1 of 2 loops are not what they were (one_demo_480bpm_2.wav)" in told.err
    assert waves(tmp_path) == before


def test_the_drummer_plays_every_loop_otherwise_and_all_again(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", model, "--bars", "2", "--bpm", "240", "--count", "2", "--json", "--out"]
    for folder in ("one", "two"):
        drummer = ["--drummer", "style=funk,density=0.7"]
        assert main(["render", *words, str(tmp_path / folder), *drummer]) == 0
    loops = json.loads(capsys.readouterr().out.partition("\n{")[0])["loops"]
    assert loops[0]["file"] == "one_drummer_240bpm_1.wav"
    assert loops[0]["hits"] != loops[1]["hits"]
    assert {role for _, role, _ in loops[0]["hits"]} <= {"kick", "snare", "hat"}
    assert waves(tmp_path / "one") == waves(tmp_path / "two")


def test_texture_has_no_hits(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", model, "--bars", "1", "--bpm", "480", "--count", "1", "--json", "--out"]
    assert main(["render", *words, str(tmp_path), "--kit", "texture"]) == 0
    (loop,) = json.loads(capsys.readouterr().out)["loops"]
    assert (loop["kit"], loop["hits"]) == ("texture", [])


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["--bars", "1"], 2, "--out"),
        (["--out", "x", "--only", "a"], 2, "--only needs --manifest"),
        (["--out", "x", "--groove", "a.mid", "--pattern", "b"], 2, "not both"),
        (["--out", "x", "--drummer", "fill=4", "--pattern", "b"], 2, "not both"),
        (["--out", "x", "--drummer", "style=polka"], 1, "unknown style 'polka'"),
        (["--out", "x", "--drummer", "swing=2"], 1, "swing must be 0 to 1"),
        (["--manifest", "m.json", "--seed", "3"], 2, "--seed is told by the manifest"),
        (["--manifest", "m.json", "--precision", "fp32"], 2, "--precision is told by the manifest"),
        (["--out", "x", "--precision", "int4"], 2, "int4"),
        (["--out", "x", "--bars", "0"], 1, "bars must be 1 to"),
        (["--out", "x", "--bpm", "nan"], 1, "bpm must be 10 to"),
        (["--out", "x", "--kit", "funk"], 1, "'funk'"),
        (["--out", "x", "--groove", "none.mid"], 1, "none.mid"),
        (["--out", "x", "--pattern", "none.txt"], 1, "none.txt"),
        (["--manifest", "none.json"], 1, "none.json"),
    ],
)
def test_mistakes_are_told_in_one_line(
    model: str,
    words: list[str],
    status: int,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["render", "--model", model, *words]) == status
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_only_names_what_is_there(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", model, "--bars", "1", "--bpm", "480", "--count", "1", "--out"]
    assert main(["render", *words, str(tmp_path)]) == 0
    manifest = str(tmp_path / MANIFEST)
    assert main(["render", "--model", model, "--manifest", manifest, "--only", "a"]) == 1
    assert "lists no a.wav" in capsys.readouterr().err


def test_ctrl_c_leaves_whole_files_and_their_manifest(model: str, tmp_path: Path) -> None:
    words = ["--model", model, "--bars", "1", "--bpm", "240", "--count", "2000"]
    command = [*PROGRAM, "render", *words, "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while len(waves(tmp_path)) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, told = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert "stopped" in told.splitlines()[-1]
    loops = read_manifest(tmp_path / MANIFEST)
    assert 2 <= len(loops) < 2000
    assert sorted(waves(tmp_path)) == sorted(loop.file for loop in loops)
    assert {soundfile.info(path).frames for path in tmp_path.glob("*.wav")} == {8000}
    assert len(list(tmp_path.iterdir())) == len(loops) + 1


def test_a_program_is_told_the_progress_and_ends_it_by_ending_stdin(
    model: str, tmp_path: Path
) -> None:
    words = [
        "--model",
        model,
        "--bars",
        "1",
        "--bpm",
        "240",
        "--progress-json",
        "--pattern",
        "half-time",
    ]
    command = [*PROGRAM, "render", *words, "--out", str(tmp_path), "--count"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, "8"], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin and process.stderr
        lines = [json.loads(line) for line in process.stderr]
        assert process.wait() == 0
    shares = [line["progress"] for line in lines]
    assert shares == sorted(shares) and shares[0] >= 0.0 and shares[-1] == 1.0
    assert len(read_manifest(tmp_path / MANIFEST)) == 8

    with subprocess.Popen([*command, "9000"], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin and process.stderr
        while '"progress"' not in (first := process.stderr.readline().decode()):
            assert first, "it ended"
        process.stdin.close()
        last = process.stderr.read().decode().splitlines()[-1]
        assert process.wait() == 130
    assert last.startswith("stopped; loops that were finished are listed in")
    loops = read_manifest(tmp_path / MANIFEST)
    assert 8 <= len(loops) < 9000
    assert sorted(waves(tmp_path)) == sorted(loop.file for loop in loops)
