"""`make gpu`: its searches, its table, nv-wavenet's tool beside it, and a run in the interpreter."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec
from ghostnote.training import batched

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # as `python -m benchmarks.gpu` finds it
try:
    from benchmarks import gpu, gpu_rows, nv_wavenet
    from benchmarks.gpu_rows import Rate, largest, training, training_spec
    from benchmarks.gpu_table import BEGIN, END, NOT_YET, TARGETS, Row, read, table, write, written
finally:
    sys.path.remove(str(ROOT))

PAGE = f"# Benchmarks\n\nbefore\n{BEGIN}\n\n{table({})}\n\n{END}\nafter\n"
ROWS = list(TARGETS)
SHALLOW = replace(training_spec(16, 8000), dilations=(1, 2, 4))
ONE, MANY = ROWS[0], ROWS[3]


@pytest.mark.parametrize("most", [0, 1, 63, 64, 65, 777, 2000, 4095, 4096, 9999])
def test_the_largest_count_is_found_in_few_tries(most: int) -> None:
    tried: list[int] = []

    def fits(count: int) -> bool:
        tried.append(count)
        return count <= most

    found = largest(fits, 64, 4096)
    assert len(tried) <= 12 and len(set(tried)) == len(tried)
    assert found <= min(most, 4096)
    assert min(most, 4096) - found <= 0.04 * most


def test_a_row_that_was_measured_stays_until_it_is_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    assert path.read_text().count(NOT_YET) == len(TARGETS) and read(PAGE) == {}
    first = Row("90,000 (bf16), 80,000 (fp32)", "card A, 2026-01-01, abc")
    write(path, {ONE: first})
    write(path, {MANY: Row("512", "card B, 2026-02-02, def")})
    assert read(path.read_text()) == {ONE: first, MANY: Row("512", "card B, 2026-02-02, def")}
    write(path, {ONE: Row("91,000", "card B, 2026-02-02, def")})
    page = path.read_text()
    assert read(page)[ONE].measured == "91,000" and "card A" not in page
    assert page.startswith("# Benchmarks\n\nbefore\n") and page.endswith(f"{END}\nafter\n")
    assert page.count(NOT_YET) == len(TARGETS) - 2
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(GhostnoteError, match="the page lacks the lines"):
        written("# Benchmarks\n", {})


def test_the_page_of_this_repository_has_the_table() -> None:
    page = gpu.PAGE.read_text()
    assert [line for line in page.splitlines() if line.startswith("| one stream of NV-M")]
    assert written(page, {}) == page


def test_what_fails_is_told_and_leaves_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)

    def fails(error: Exception) -> Any:
        def part() -> dict[str, str]:
            raise error

        return part

    parts = {
        "one": fails(GhostnoteError("parity: outputs differ")),
        "peak": fails(AssertionError("Torch not compiled with CUDA enabled")),
        "live": fails(subprocess.TimeoutExpired("serve", 30)),
        "many": lambda: {MANY: "512"},
    }
    assert gpu.run(parts, "card, today", path) == ["one", "peak", "live"]
    assert read(path.read_text()) == {MANY: Row("512", "card, today")}
    told = capsys.readouterr().err
    assert "one: no figure: parity: outputs differ\n" in told
    assert "peak: no figure: AssertionError('Torch not" in told


def test_each_part_has_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One fails, one never ends; the others are measured, all under the commit of the beginning."""
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\necho "$COMMIT: $*"\n'
        'case "$*" in *"only ibab") exit 1;; *"only many") exec sleep 100;; esac\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("COMMIT", "abc")
    monkeypatch.setattr("ghostnote.kernels.backends.missing", lambda name: "")
    monkeypatch.setattr("ghostnote.kernels.backends.interpreted", lambda: False)
    monkeypatch.setattr(gpu, "PART_SECONDS", 2.0)
    words = ["--only", "one,ibab,many,live", "--live-seconds", "0"]
    with pytest.raises(SystemExit, match="without figures: ibab, many"):
        gpu.main(words)
    told, troubles = capfd.readouterr()
    run = f"abc: -m benchmarks.gpu {' '.join(words)} --only "
    assert told.splitlines() == [run + name for name in ("one", "ibab", "many", "live")]
    assert "many: no figure: not done within 2 s" in troubles


def test_a_machine_without_git_tells_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMMIT", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpu._commit() == "unknown commit"


def test_streams_are_searched_and_only_what_is_right_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A card that makes 16 M samples a second, has room for 4,000 streams, and is right or not."""
    right, checks = True, []

    def rate(config: str, precision: str, streams: int, seconds: float = 1.0) -> Rate:
        if streams > 4000:
            raise GhostnoteError("the GPU fails with out of memory")
        return Rate(precision, streams, 16e6)

    def check(
        spec: ModelSpec, weights: Any, precision: str, streams: int, truth: Any, opened: Any
    ) -> None:
        checks.append((precision, streams, len(truth.given[0]), len(truth.expected[0])))
        if not right:
            raise GhostnoteError("parity: lane 3")

    monkeypatch.setattr(gpu_rows, "rate", rate)
    monkeypatch.setattr("ghostnote.cli.gpu_bench.check", check)
    small = ModelSpec(16000, 16, (1, 512), residual=8, gate=8, skip=8, head=8)
    monkeypatch.setattr(gpu_rows, "CONFIGS", {"NV-M": small, "R9-mulaw": small})
    monkeypatch.setattr(gpu, "CONFIGS", {"R9-mulaw": small})
    told = gpu.streams()
    found = int(told.split()[0].replace(",", ""))
    assert 960 < found <= 1000 and "16.00 M samples/s" in told
    whole = small.receptive_field + 32
    short = min(whole, gpu_rows.SHORT)
    assert checks == [("bf16", 256, whole, whole), ("bf16", found, short, short)]
    told = gpu.share_of_peak(peak=16e6 * small.macs_per_sample * 5)
    assert told == "20.0 % (1,024 streams, 16.00 M samples/s)"
    right = False
    with pytest.raises(GhostnoteError, match="parity"):
        gpu.streams()


def test_the_fastest_kernel_of_one_stream_is_told_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speeds = {("bf16", True): 9e4, ("bf16", False): 2e4, ("fp32", False): 5e4}

    def alone(config: str, precision: str, spread: bool) -> Rate:
        if (precision, spread) not in speeds:
            raise GhostnoteError("1 streams of this model cannot be spread")
        return Rate(precision, 1, speeds[precision, spread], spread)

    monkeypatch.setattr(gpu_rows, "one_alone", alone)
    told = "90,000 (bf16, spread), 50,000 (fp32, tile), 20,000 (bf16, tile)"
    assert gpu.one_stream("NV-M") == told
    assert "NV-M, fp32, spread: 1 streams of this model" in capsys.readouterr().err
    speeds.clear()
    with pytest.raises(GhostnoteError, match="cannot be spread"):
        gpu.one_stream("NV-M")


def test_a_stream_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(python))

    def says(text: str) -> None:
        python.write_text(f"#!/bin/sh\n{text}\n")
        python.chmod(0o755)

    says('echo "$@" > "$0.told"; echo warming up; echo 91234.5')
    assert gpu_rows.one_alone("NV-M", "bf16", True) == Rate("bf16", 1, 91234.5, True)
    told = (tmp_path / "python.told").read_text()
    assert told == "-m benchmarks.gpu_rows NV-M bf16 1\n"
    says("exec sleep 100")
    with pytest.raises(GhostnoteError, match=r"does not end within 0\.2 s"):
        gpu_rows.one_alone("NV-M", "bf16", True, limit=0.2)
    says("echo parity: apart >&2; exit 1")
    with pytest.raises(GhostnoteError, match=r"^parity: apart$"):
        gpu_rows.one_alone("NV-M", "fp32", False)


def test_a_run_in_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same calls as on a card, with a network of the smallest size."""
    small = ModelSpec(16000, 16, (1, 2), residual=16, gate=16, skip=16, head=16, levels=16)
    monkeypatch.setattr(gpu_rows, "CONFIGS", {"small": small})
    monkeypatch.setattr("ghostnote.kernels.bench.PIECE_MACS", 1)
    monkeypatch.setattr("ghostnote.kernels.bench.ROUNDS", 1)
    monkeypatch.setattr("ghostnote.kernels.parity.BEYOND", 4)
    monkeypatch.setattr("ghostnote.cli.gpu_bench.DRAWN", 4)
    found = gpu_rows.checked(gpu_rows.rate("small", "fp32", 1, seconds=0.0), "small")
    assert found.streams == 1 and found.samples_per_s > 0


def test_training_is_measured_on_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostnote.kernels.bench.ROUNDS", 1)
    trained = training(SHALLOW, windows=2, seconds=0.0, hops=4, device="cpu")
    assert trained.samples_per_s > 0 and trained.pieces == 1 and not trained.compiled
    bundled = training_spec(32, 24000)
    assert bundled.macs_per_sample == pytest.approx(183_296, rel=0.01)


def test_a_device_that_learns_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = batched.batched_losses

    def wrong(*arguments: Any) -> Any:
        losses = plain(*arguments)
        return losses + 0.2 * (losses - losses.detach()) if arguments[2] == "bf16" else losses

    monkeypatch.setattr(batched, "batched_losses", wrong)
    with pytest.raises(GhostnoteError, match=r"parity: training in bf16 on cpu: .* off by 0\.2"):
        training(SHALLOW, windows=1, device="cpu")


TOOL = """#!/bin/sh
echo "R: 64"
echo "$@" >> "$0.calls"
echo "Sample rate: 42.500000 kHz"
"""


def test_nv_wavenet_is_built_aside_run_and_parsed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "nv_wavenet_perf.cu").write_text(TOOL)
    (source / "Makefile").write_text(
        "ARCH=sm_70\nnv_wavenet_perf: nv_wavenet_perf.cu\n"
        "\t@test $(ARCH) = sm_90\n\t@cp nv_wavenet_perf.cu $@ && chmod +x $@\n"
    )
    rates = nv_wavenet.measure(source, "NV-M", "sm_90")
    assert [(one.streams, one.samples_per_s) for one in rates] == [(1, 42500.0), (64, 2720000.0)]
    assert {path.name for path in source.iterdir()} == {"Makefile", "nv_wavenet_perf.cu"}
    assert nv_wavenet.build(source, "sm_90") == ""
    nv_wavenet.run(source / "nv_wavenet_perf", "NV-M", 64)
    calls = (source / "nv_wavenet_perf.calls").read_text()
    assert calls == "-l 20 -r 64 -s 128 -a 256 -d 512 -p 16 -m 3 -b 64 -n 2048\n"
    # Its buffers are counted in an int.
    for streams, samples in nv_wavenet.SAMPLES.items():
        assert samples * 20 * streams * 2 * 64 * 4 < 2**31


def test_nv_wavenet_that_does_not_build_is_told(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "nv_wavenet_perf.cu").write_text("")
    (source / "Makefile").write_text(
        'nv_wavenet_perf:\n\t@echo "softmax.cuh(3): error: __shfl is gone" >&2; false\n'
    )
    rates = nv_wavenet.measure(source, "NV-M", "sm_90")
    assert [one.samples_per_s for one in rates] == [0.0, 0.0]
    assert rates[0].trouble == "does not build: softmax.cuh(3): error: __shfl is gone"
    assert nv_wavenet.parse("CUDA error\n") == 0.0


def test_without_a_card_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostnote.kernels.backends.missing", lambda name: "no CUDA device")
    with pytest.raises(SystemExit, match=r"benchmarks\.gpu: no CUDA device"):
        gpu.main([])


@pytest.mark.parametrize("words", [["--only", "one,nothing"], ["--only", "nv-wavenet"]])
def test_parts_that_cannot_be_measured_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu.main(words)
    assert ended.value.code == 2


def test_a_folder_without_nv_wavenet_costs_its_own_row_only(tmp_path: Path) -> None:
    with pytest.raises(GhostnoteError, match=r"nowhere holds no nv_wavenet_perf\.cu"):
        gpu.other(tmp_path / "nowhere")


def test_every_part_writes_rows_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what measures replaced, each part gives rows that the table has, and all of them."""
    monkeypatch.setattr(gpu, "one_stream", lambda config: "1")
    monkeypatch.setattr(gpu, "streams", lambda: "1")
    monkeypatch.setattr(gpu, "share_of_peak", lambda peak: "1")
    monkeypatch.setattr(gpu, "other", lambda source: "1")
    trained = gpu_rows.Trained(2e7, 0.04, 32, True, 2)
    monkeypatch.setattr(gpu_rows, "training", lambda spec, windows: trained)
    lost = ("the GPU is given up, the CPU plays on: lost",)
    monkeypatch.setattr(gpu_rows, "live_voice", lambda s, sink: gpu_rows.Live(s, 0, 7.0, lost))
    (tmp_path / "nv_wavenet_perf.cu").write_text("")
    chosen = gpu._parser().parse_args(["--nvwavenet", str(tmp_path)])
    rows = {k: v for part in gpu._parts(chosen, 1.0).values() for k, v in part().items()}
    assert set(rows) == set(TARGETS)
    assert rows[ROWS[6]] == (
        "20,000,000, 4.0 % of the bf16 peak (32 windows a step in 2 pieces, compiled)"
    )
    assert rows[ROWS[5]] == (
        "0 underruns in 5 minutes, load 7 %; the GPU is given up, the CPU plays on: lost (sink null)"
    )


def test_make_gpu_says_what_it_needs(tmp_path: Path) -> None:
    """A Python that has no torch: one line, nothing installed, nothing run."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *torch*) exit 1;; esac\necho ran "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "-s", "gpu", f"PYTHON={python}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0 and done.stdout == ""
    assert "make gpu needs an NVIDIA card" in done.stderr and str(python) in done.stderr
    python.write_text('#!/bin/sh\ncase "$*" in *torch*) exit 0;; esac\necho "$PYTHONPATH" "$@"\n')
    ran = [
        subprocess.run(
            ["make", "-s", "gpu", f"PYTHON={python}", "NVWAVENET=/nv", f"ARGS={more}"],
            cwd=ROOT, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"},
        ).stdout.splitlines()
        for more in ("--sink jack", "--only one")
    ]  # fmt: skip
    files = sorted(path.name for path in (ROOT / "tests" / "kernels").glob("test_gpu*.py"))
    assert files[0] == "test_gpu.py", "whole networks first"
    assert ran[0][:-1] == [f"typings:. -m pytest -q tests/kernels/{name}" for name in files]
    assert ran[0][-1] == "typings:. -m benchmarks.gpu --nvwavenet /nv --sink jack"
    assert ran[1] == ["typings:. -m benchmarks.gpu --nvwavenet /nv --only one"]
    python.write_text(
        '#!/bin/sh\ncase "$*" in *torch*) exit 0;; *pytest*) exec sleep 100;; esac\necho "$@"\n'
    )
    hung = subprocess.run(
        ["make", "-s", "gpu", f"PYTHON={python}", "GPU_TESTS_SECONDS=0.1"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert hung.returncode != 0 and hung.stdout == "-m benchmarks.gpu\n"


def test_the_folders_are_the_package_where_nothing_is_installed() -> None:
    """What PYTHONPATH=typings gives, on a Python that isolates itself from this environment's own."""
    code = "import ghostnote.kernels.spec as s; print(s.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = ['typings']; {code}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(ROOT / "typings/ghostnote/kernels/spec.py")
