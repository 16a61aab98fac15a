"""The manifest: what comes back, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ghostnote.inference import manifest
from ghostnote.inference.manifest import (
    Loop,
    check_room,
    part_of,
    read_entries,
    read_manifest,
    remove_stale_parts,
    write_manifest,
    write_whole,
)
from ghostnote.kernels.errors import GhostnoteError

LOOP = Loop(
    file="one_break_97.3bpm_1.wav",
    frames=108777,
    samplerate=44100,
    bars=1,
    bpm=97.3,
    kit="one",
    seed=2**62,
    model_sha256="ab" * 32,
    model="tiny",
    temperature=0.9,
    top_k=0,
    plan="break",
    hits=((0.0, "kick", 1.0), (1 / 3, "snare", 64 / 127)),
    ghostnote="0.1.0",
    sha256="cd" * 32,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.json", [LOOP.to_json()])
    assert read_manifest(tmp_path / "m.json") == [LOOP]


def test_other_keys_stay(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_manifest(path, [LOOP.to_json() | {"stars": 5}])
    assert read_manifest(path) == [LOOP]
    write_manifest(path, read_entries(path))
    assert read_entries(path)[0]["stars"] == 5


def test_before_precision_was_told_it_was_fp32(tmp_path: Path) -> None:
    entry = (replace(LOOP, precision="int8")).to_json()
    del entry["precision"]
    write_manifest(tmp_path / "m.json", [entry])
    (loop,) = read_manifest(tmp_path / "m.json")
    assert loop.precision == "fp32"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"file": "../a.wav"}, "no plain .wav file name"),
        ({"file": "a.txt"}, "no plain .wav file name"),
        ({"file": "C:a.wav"}, "no plain .wav file name"),
        ({"seed": "1"}, "'seed': expected a whole number"),
        ({"seed": True}, "'seed': expected a whole number"),
        ({"frames": 1.5}, "'frames': expected a whole number"),
        ({"bpm": None}, "'bpm': expected a number"),
        ({"bpm": 10**400}, "'bpm': expected a number"),
        ({"kit": 3}, "'kit': expected a text"),
        ({"precision": 8}, "'precision': expected a text"),
        ({"precision": "int4"}, "'precision': 'int4' is none of fp32, bf16, int8"),
        ({"backend": "tpu"}, "'backend': 'tpu' is none of cpu, gpu"),
        ({"hits": {}}, "'hits': expected a list"),
        ({"hits": [[0.0, "kick"]]}, "'hits': expected .beat, role, velocity."),
        ({"hits": [["0", "kick", 1.0]]}, "'hits': expected .beat, role, velocity."),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = tmp_path / "m.json"
    other = LOOP.to_json() | {"file": "other.wav"}
    path.write_text(json.dumps({"loops": [other, LOOP.to_json() | change]}))
    with pytest.raises(GhostnoteError, match=f"loop 2: field {reason}|loop 2: .*{reason}"):
        read_manifest(path)


@pytest.mark.parametrize("name", ["seed", "hits", "sha256"])
def test_missing_fields_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.json"
    entry = LOOP.to_json()
    del entry[name]
    path.write_text(json.dumps({"loops": [entry]}))
    with pytest.raises(GhostnoteError, match=f"loop 1: field '{name}' is missing"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"loops": [{"file": "a.wav", "bpm": NaN}]}', "not JSON"),
        ("[]", "a list 'loops'"),
        ('{"loops": 3}', "a list 'loops'"),
        ('{"loops": [3]}', "loop 1: field 'file'"),
        ('{"loops": [{"file": "a.wav"}, {"file": "a.wav"}]}', "loop 2: its file is there twice"),
    ],
)
def test_files_that_are_no_manifest(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(GhostnoteError, match=reason):
        read_entries(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(GhostnoteError, match="cannot be read"):
        read_manifest(tmp_path / "none.json")


def test_what_could_not_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.json"
    write_manifest(path, [LOOP.to_json()])
    size = path.stat().st_size
    monkeypatch.setattr(manifest, "MAX_BYTES", size)
    write_manifest(path, [LOOP.to_json()])
    other = replace(LOOP, file="other.wav").to_json()
    with pytest.raises(GhostnoteError, match=rf"would have [0-9]+ bytes, at most {size} "):
        write_manifest(path, [LOOP.to_json(), other])
    assert read_manifest(path) == [LOOP]
    monkeypatch.setattr(manifest, "MAX_BYTES", 5 * size)
    check_room(path, LOOP, 2)
    with pytest.raises(GhostnoteError, match="render fewer"):
        check_room(path, LOOP, 5)


def test_too_many_hits_are_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_manifest(tmp_path / "m.json", [LOOP.to_json()])
    monkeypatch.setattr(manifest, "MAX_HITS", 1)
    with pytest.raises(GhostnoteError, match="loop 1: field 'hits': 2 of them; at most 1"):
        read_manifest(tmp_path / "m.json")


def test_writing_fails_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "m.json"
    path.mkdir(parents=True)  # a folder is in the way
    with pytest.raises(OSError, match=r"m\.json"):
        write_whole(path, b"new")
    assert [p.name for p in path.parent.iterdir()] == ["m.json"]


def test_a_part_tells_whose_it_is_and_its_name_fits(tmp_path: Path) -> None:
    assert part_of(tmp_path / "state.json").name.startswith(".state.json.")
    assert part_of(tmp_path / "a") != part_of(tmp_path / "a")
    for name in ("x" * 255, "é" * 127, "x" * 232, "x" * 233):
        part = part_of(tmp_path / name)
        part.open("x").close()
        assert part.suffix == ".part" and part.name[1:].startswith(name[:100])


def test_parts_of_one_file_are_removed_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    part_of(path).write_text("half")
    part_of(path).symlink_to(path)
    part_of(path).mkdir()  # cannot be unlinked
    others = [
        part_of(tmp_path / "state.json.b"),
        part_of(tmp_path / "b.state.json"),
        tmp_path / ".state.json.mine.part",
        tmp_path / "state.json.0123456789abcdef.part",
        tmp_path / ".0123456789abcdef.part",
        path,
    ]
    for other in others:
        other.write_text("theirs")
    remove_stale_parts(path)
    assert {p for p in tmp_path.iterdir() if not p.is_dir()} == set(others)
    remove_stale_parts(tmp_path / "none" / "state.json")


def test_a_name_cut_short_keeps_its_parts(tmp_path: Path) -> None:
    part = part_of(tmp_path / ("x" * 250))
    part.touch()
    remove_stale_parts(tmp_path / ("x" * 249))
    assert part.exists()
