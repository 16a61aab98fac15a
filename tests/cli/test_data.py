"""`ghostnote data prepare`: both forms, what it tells, and Ctrl-C."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ghostnote.cli.data import skipped
from ghostnote.cli.main import main
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.training.dataset import load_dataset
from tests.training import small_corpus

RATE = 8000
GHOSTNOTE = Path(sys.executable).parent / "ghostnote"
SMALL = ["--samplerate", str(small_corpus.RATE), "--groove-minutes", "0.1"]
SMALL += ["--drill-minutes", "0.1", "--validation-minutes", "0.1", "--blend-minutes", "0"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "loops"
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE)
    soundfile.write(folder / "good.wav", noise, RATE)
    soundfile.write(folder / "silent.wav", 0 * noise, RATE)
    (folder / "text.wav").write_text("text")
    return folder


def words(text: str) -> str:
    """Text as printed to a narrow terminal, without its line ends and frames."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


def test_a_corpus(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    arguments = ["data", "prepare", "--corpus", str(corpus), "--kits", "dry, wet"]
    assert main([*arguments, "--out", str(out), *SMALL]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "skipped, too short to cut from (under 4 s): grooves/fill.mid"
    assert re.fullmatch(r"train: 1\.3 minutes in 4 clips; hits: \d+ kick, .*", shown[1])
    assert re.fullmatch(r"validation: 1\.3 minutes in 4 clips; hits: .*", shown[2])
    assert shown[3:] == ["kits: dry, wet", f"next: ghostnote train --data {out} --run RUN"]
    dataset = load_dataset(out)
    assert (dataset.samplerate, dataset.hop) == (8000, 8)  # a hop of one millisecond


def test_textures(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    arguments = ["data", "prepare", "--corpus", str(corpus), "--out", str(out), *SMALL]
    assert main([*arguments, "--texture", "room=dry + wet"]) == 0
    assert "kits: room sparse, room dense" in capsys.readouterr().out.splitlines()
    for wrong in ("room", "room=", "=dry"):
        assert main([*arguments, "--texture", wrong]) == 2
        assert "is not of the form LABEL=KIT+KIT" in words(capsys.readouterr().err)
    assert main([*arguments, "--texture", "room=dry", "--kits", "wet"]) == 2
    assert "either --kits or --texture" in words(capsys.readouterr().err)


def test_recordings(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    arguments = ["data", "prepare", "--recordings", str(recordings), "--out", str(out)]
    more = ["--licence", "CC-BY-4.0", "--author", "Ann", "--author", "Bob", "--samplerate", "16000"]
    assert main([*arguments, *more]) == 0
    shown = capsys.readouterr().out
    assert "skipped, is silent (peak under -60 dBFS): silent.wav\n" in shown
    assert re.search(r"skipped, cannot be read \(.*\): text\.wav\n", shown)
    assert "train: 0.0 minutes in 1 clip\n" in shown
    source = {"source": "loops", "licence": "CC-BY-4.0", "authors": ["Ann", "Bob"]}
    assert load_dataset(out).sources == [source]


def test_nothing_usable_is_one_line_and_status_1(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recordings / "good.wav").unlink()
    arguments = ["data", "prepare", "--recordings", str(recordings), "--out", str(tmp_path / "d")]
    assert main(arguments) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "nothing to train on; first reason: silent.wav" in shown


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "give either --corpus or --recordings"),
        (["--corpus", "C", "--recordings", "R"], "give either --corpus or --recordings"),
        (["--corpus", "C"], "say with either --kits or --texture which to use; C has none"),
        (["--recordings", "R", "--kits", "a"], "--kits goes with --corpus only"),
        (["--recordings", "R", "--drill-minutes", "1"], "--drill-minutes goes with --corpus only"),
        (["--corpus", "C", "--author", "me"], "--author goes with --recordings only"),
    ],
)
def test_misuse_is_told(capsys: pytest.CaptureFixture[str], more: list[str], told: str) -> None:
    assert main(["data", "prepare", "--out", "nowhere", *more]) == 2
    assert told in capsys.readouterr().err


def test_the_kits_of_a_corpus_are_named(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "--out", "nowhere", "--corpus", str(corpus)]) == 2
    assert f"{corpus} has dry, wet" in capsys.readouterr().err


def test_many_files_skipped_for_one_reason_are_one_line() -> None:
    files = [{"file": f"{i}.mid", "reason": "too short"} for i in range(300)]
    files.insert(1, {"file": "x.mid", "reason": "no drums"})
    assert skipped(files) == [
        "skipped, too short: 0.mid, 1.mid, 2.mid, 3.mid, 4.mid and 295 more",
        "skipped, no drums: x.mid",
    ]


def test_help_tells_units_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "--help"]) == 0
    shown = words(capsys.readouterr().out)
    for part in ("Of the model to be, in Hz. [default: 24000]", "in samples. [default: (1 ms)]"):
        assert part in shown


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_leaves_no_dataset_and_the_next_try_works(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    arguments = ["data", "prepare", "--corpus", str(corpus), "--kits", "dry", "--out", str(out)]
    endless = ["--samplerate", "8000", "--drill-minutes", "9000"]
    process = subprocess.Popen([GHOSTNOTE, *arguments, *endless], stderr=subprocess.PIPE)
    while len(list((out / "clips").glob("*"))) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in shown
    with pytest.raises(GhostnoteError, match="no dataset in"):
        load_dataset(out)
    assert main([*arguments, *SMALL]) == 0
    listed = {clip.file for clip in load_dataset(out).clips}
    assert {path.name for path in (out / "clips").iterdir()} == listed
