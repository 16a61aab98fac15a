"""`ghostnote eval` as a person and as a program use it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostnote.cli import eval as cli_eval
from ghostnote.cli.main import main
from ghostnote.inference.model_file import save_model
from ghostnote.kernels.weights import random_weights
from tests.training import tiny_drums
from tests.training.tiny_drums import spec, weights, write_corpus


@pytest.fixture(scope="module", autouse=True)
def few_lessons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ears learn from little in these tests, and are kept elsewhere than a person's."""
    folder = tmp_path_factory.mktemp("cache")
    with tiny_drums.few_lessons(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_eval, "user_cache", lambda: folder)
        yield


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("eval")
    path = folder / "tiny.onnx"
    save_model(path, spec(), weights(spec()), {"name": "tiny"}, {})
    corpus = write_corpus(folder / "corpus")
    options = ["--grooves", "1", "--seconds", "1", "--bits-seconds", "0.2", "--threads", "1"]
    return ["eval", "--model", str(path), "--corpus", str(corpus), *options]


def test_json_is_all_that_goes_to_stdout(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*asked, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["model"] == "tiny" and result["split"] == "validation"
    assert result["weights"] == "int8"
    assert set(result["roles"]) == {"kick", "snare", "hat"}


def test_precision_is_heard_in_the_bits(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "random.onnx"
    save_model(model, spec(), random_weights(spec(), 3), {"name": "random"}, {})
    bits = {}
    for precision in ("fp32", "bf16", "int8"):
        assert main([*asked, "--model", str(model), "--json", "--precision", precision]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["weights"] == precision
        bits[precision] = result["bits_per_sample"]
    assert len(set(bits.values())) == 3
    assert max(bits.values()) == pytest.approx(min(bits.values()), rel=0.01)


def test_markdown_and_pictures(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*asked, "--markdown", "--pictures", str(tmp_path / "pictures")]) == 0
    assert "| all kits | " in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert written == {f"{kit}.{kind}" for kit in ("first", "second") for kind in ("png", "flac")}


def test_tables_on_a_terminal(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "Kits" in out and "Roles, all kits" in out and "second" in out


def test_misuse_and_failure_are_one_line(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*asked, "--json", "--markdown"]) == 2
    assert main([*asked, "--split", "test"]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert "either --json or --markdown" in error[0]
    assert "no groove of split 'test'" in error[-1]


def test_a_texture_is_measured_and_shown_on_a_page(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = spec(kits=(), roles=())
    save_model(tmp_path / "texture.onnx", of, weights(of), {"name": "texture"}, {})
    texture = [*asked, "--model", str(tmp_path / "texture.onnx"), "--page", str(tmp_path / "page")]
    assert main([*texture, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["roles"] == {} and result["bits_per_sample"] == pytest.approx(8.0)
    assert result["took_seconds"] > 0.0
    assert (tmp_path / "page" / "index.html").exists()
    assert main(texture) == 0
    assert "Targets" in capsys.readouterr().out
