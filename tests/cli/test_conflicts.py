"""Two onnxruntime wheels in one environment, as their metadata on the path would show them."""

import sys
from pathlib import Path

import pytest

from ghostnote.cli.conflicts import onnxruntime_conflict


def test_one_is_fine() -> None:
    assert onnxruntime_conflict() is None


def test_two_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    metadata = tmp_path / "onnxruntime_gpu-1.20.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.20.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert str(tmp_path) in sys.path
    line = onnxruntime_conflict()
    assert line is not None
    assert "\n" not in line
    assert "pip uninstall onnxruntime onnxruntime-gpu" in line
