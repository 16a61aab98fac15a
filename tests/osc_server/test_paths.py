"""No name that comes over OSC leads out of its folder."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.osc_server.paths import PathError, resolve_inside


@pytest.mark.parametrize("name", ["a.wav", "sub/a.wav", "sub\\a.wav", "..a", "a..b/c", "ä/日.wav"])
def test_names_below_the_root(tmp_path: Path, name: str) -> None:
    path = resolve_inside(tmp_path, name)
    assert path.is_relative_to(tmp_path.resolve())
    assert path.name == name.replace("\\", "/").rpartition("/")[2]


@pytest.mark.parametrize(
    "name",
    [
        "", "  ", ".", "./", "..", "../a", "a/../../b", "a/..", "..\\a", "/etc/passwd", "//host/a",
        "C:\\a", "C:a", "\\\\host\\a", "a\0b", "a\nb", "x" * 256, "a/" * 600 + "b", "\ud800",
    ],
)  # fmt: skip
def test_other_names_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(PathError) as refusal:
        resolve_inside(tmp_path, name)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


def test_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "not there yet")
    (root / "circle").symlink_to(root / "circle")
    (root / "inside").symlink_to(root)
    for name in ("folder/a.wav", "file", "circle", "circle/a", "inside"):
        with pytest.raises(PathError):
            resolve_inside(root, name)
    assert resolve_inside(root, "inside/a.wav") == root.resolve() / "a.wav"


@given(st.text(alphabet="ab./\\:\0~ü", max_size=12))
def test_whatever_the_name_the_path_is_inside(name: str) -> None:
    root = Path("/srv/recordings")
    try:
        path = resolve_inside(root, name)
    except PathError:
        return
    assert root in path.parents
