"""`ghostnote train` as a process: progress, resume, signals, and errors in one line."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from ghostnote.cli.main import main
from ghostnote.training.checkpoint import NAME, load_checkpoint
from ghostnote.training.config import TrainConfig
from ghostnote.training.train import LOG
from tests.training.small_corpus import tone_dataset

GHOSTNOTE = Path(sys.executable).parent / "ghostnote"
NETWORK = {"residual": 8, "gate": 8, "skip": 8, "head": 8, "cycles": 1, "cycle": 3}
SMALL = [f"--{name}={value}" for name, value in NETWORK.items()] + ["--window-hops=50"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tone_dataset(tmp_path / "data", seconds=0.5).root


def start(data: Path, run: Path, *more: str) -> subprocess.Popen[str]:
    arguments = ["train", "--data", str(data), "--run", str(run), "--threads", "1", *more]
    return subprocess.Popen(
        [GHOSTNOTE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not done():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def last_logged(run: Path) -> int:
    """The last step that is wholly written to the log."""
    path = run / LOG
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


def test_it_trains_tells_and_goes_on(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(data, run, *SMALL, "--steps=40", "--seed=7")
    out, err = process.communicate()
    assert process.returncode == 0, err
    told = r"step 20 of 40: \d\.\d{3} bits, [\d.]+ k samples/s\nstep 40 of 40: .* validation "
    assert re.match(told, err)
    assert re.match(r"trained for 0\.00 hours, \d\.\d{3} bits/sample on held-back clips\n", out)
    assert f"next: ghostnote export --run {run}" in out
    process = start(data, run, "--resume", "--steps=41")  # the flags come from the checkpoint
    assert process.wait() == 0
    process.communicate()
    checkpoint = load_checkpoint(run)
    assert checkpoint.step == 41
    assert checkpoint.config.seed == 7 and checkpoint.config.residual == 8


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_of_the_step_it_was_at(
    data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    process = start(data, run, *SMALL, "--steps=1000000", "--validate-every=1000000")
    wait_until(lambda: last_logged(run) >= 20, process)
    assert not (run / NAME).exists()
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    step = load_checkpoint(run).step
    assert step >= last_logged(run) >= 20
    assert f"stopped at step {step} of 1000000; go on with: ghostnote train" in out
    assert main(["train", "--data", str(data), "--run", str(run), "--resume", "--steps", "1"]) == 1
    resumed = ["--resume", "--steps", str(step + 1)]
    assert main(["train", "--data", str(data), "--run", str(run), *resumed]) == 0
    assert load_checkpoint(run).step == step + 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_kill_loses_only_the_steps_since_the_last_checkpoint(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(data, run, *SMALL, "--steps=1000000", "--validate-every=2")
    wait_until(lambda: last_logged(run) >= 20, process)
    process.kill()
    process.communicate()
    step = load_checkpoint(run).step
    assert step >= 18
    resumed = ["--resume", "--steps", str(step + 1)]
    assert main(["train", "--data", str(data), "--run", str(run), *resumed]) == 0
    lines = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    told = [line["step"] for line in lines if "validation_bits" in line]
    assert told == sorted(set(told)) and told[-1] == step + 1


def test_the_head_is_chosen_and_kept(data: Path, tmp_path: Path) -> None:
    for name, option in (("fine", "--levels=1024"), ("mixture", "--mixtures=3")):
        run = ["train", "--data", str(data), "--run", str(tmp_path / name)]
        assert main([*run, *SMALL, option, "--steps=1"]) == 0
        assert main([*run, "--resume", "--steps=2"]) == 0
    assert load_checkpoint(tmp_path / "fine").spec.outputs == 1024
    spec = load_checkpoint(tmp_path / "mixture").spec
    assert (spec.levels, spec.mixtures) == (65536, 3)


def test_a_training_by_the_clock_in_two_sittings(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["train", "--data", str(data), "--run", str(tmp_path / "run"), "--device=cpu"]
    assert main([*run, *SMALL, "--minutes=999", "--stop-after=0", "--precision=bf16"]) == 130
    told = r"stopped at step 1, minute \d\.\d of 999; go on with: ghostnote train .* --resume"
    assert re.search(told, capsys.readouterr().out)
    minutes = (load_checkpoint(tmp_path / "run").facts["seconds"] + 0.5) / 60.0
    assert main([*run, "--resume", f"--minutes={minutes}"]) == 0
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.config.minutes == minutes and checkpoint.facts["seconds"] >= 60.0 * minutes
    assert checkpoint.config.windows == TrainConfig.windows  # more on a GPU
    # --steps takes the clock's place.
    assert main([*run, "--resume", f"--steps={checkpoint.step + 1}"]) == 0
    assert load_checkpoint(tmp_path / "run").config.minutes == 0.0


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--data", "{none}", "--run", "{run}"], 1, "no dataset in"),
        (["--data", "{data}", "--run", "{run}", "--resume"], 1, "no checkpoint in"),
        (["--data", "{data}", "--run", "{run}", "--steps=2", "--minutes=2"], 2, "give one of them"),
        (["--data", "{data}", "--run", "{run}", "--minutes=0"], 2, "--minutes must be above 0"),
        (["--data", "{data}", "--run", "{run}", "--device=tpu"], 1, "--device must be one of auto"),
        (["--data", "{data}", "--run", "{run}", "--levels", "1"], 1, "levels must be 2 to 1024"),
        (["--data", "{data}", "--run", "{run}", "--mixtures", "99"], 1, "mixtures must be 0 to 32"),
        (
            ["--data", "{data}", "--run", "{run}", "--mixtures", "5", "--levels", "1024"],
            1,
            "give one of the two",
        ),
        (["--data", "{data}", "--run", "{run}", "--steps", "0"], 1, "steps must be 1 to"),
        (["--data", "{data}", "--run", "{run}", "--cond-hidden", "8,x"], 2, "whole numbers"),
        (["--data", "{data}"], 2, "--run"),
    ],
)
def test_errors_are_one_line(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    told: str,
) -> None:
    places = {"data": data, "none": tmp_path / "none", "run": tmp_path / "run"}
    assert main(["train", *(word.format(**places) for word in arguments)]) == status
    shown = capsys.readouterr().err
    assert told in shown and shown.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_every_setting_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    for field in fields(TrainConfig):
        assert f"--{field.name.replace('_', '-')} " in shown


def test_without_torch_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["torch"] = None  # as if it were not installed
from ghostnote.cli.main import main
sys.exit(main(["train", "--help"]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == (
        "ghostnote: this needs torch, which playing does not: in ghostnote's folder, "
        f"{sys.executable} -m pip install -e '.[train]'\n"
    )
