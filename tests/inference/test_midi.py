"""Grooves from MIDI files: times, channels, and files that are none."""

import csv
import os
import resource
import struct
from pathlib import Path

import mido
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostnote.inference.midi import MAX_BYTES, Groove, read_groove
from ghostnote.kernels.errors import GhostnoteError
from tests.parts import corpus


def note(ticks: int, number: int, velocity: int = 127, channel: int = 9) -> mido.Message:
    return mido.Message("note_on", time=ticks, note=number, velocity=velocity, channel=channel)


def tempo(ticks: int, bpm: float) -> mido.MetaMessage:
    return mido.MetaMessage("set_tempo", time=ticks, tempo=mido.bpm2tempo(bpm))


def write(path: Path, *tracks: list[mido.Message], kind: int = 1, division: int = 480) -> Path:
    file = mido.MidiFile(type=kind, ticks_per_beat=division)
    file.tracks.extend(mido.MidiTrack(track) for track in tracks)
    file.save(path)
    return path


def test_beats_and_seconds_through_a_change_of_tempo(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mid",
        [tempo(0, 120), tempo(960, 60)],
        [note(0, 36), note(960, 38, 64), note(480, 42)],
    )
    groove = read_groove(path)
    assert groove.name == "a"
    assert groove.in_beats == ((0.0, "kick", 1.0), (2.0, "snare", 64 / 127), (3.0, "hat", 1.0))
    assert [hit[0] for hit in groove.in_seconds] == pytest.approx([0.0, 1.0, 2.0])
    assert groove.bpm == 120.0


def test_the_tempo_is_the_one_that_was_meant(tmp_path: Path) -> None:
    """MIDI holds whole microseconds per beat, which 97.3 bpm is not."""
    assert read_groove(write(tmp_path / "a.mid", [tempo(0, 97.3), note(0, 36)])).bpm == 97.3


def test_tracks_are_merged_in_order_of_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mid", [note(480, 36)], [note(0, 38), note(960, 38)])
    assert [(beat, role) for beat, role, _ in read_groove(path).in_beats] == [
        (0.0, "snare"),
        (1.0, "kick"),
        (2.0, "snare"),
    ]


def test_a_note_off_is_no_hit(tmp_path: Path) -> None:
    off = mido.Message("note_off", note=36, channel=9)
    path = write(tmp_path / "a.mid", [note(0, 36), note(10, 36, 0), off, note(10, 3)])
    assert len(read_groove(path).in_beats) == 1


def test_beside_drums_other_channels_are_other_instruments(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mid", [note(0, 36), note(0, 38, channel=0)])
    assert [role for _, role, _ in read_groove(path).in_beats] == ["kick"]


def test_a_drum_clip_may_be_on_any_channel(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mid", [note(0, 36, channel=0), note(0, 38, channel=1)])
    assert [role for _, role, _ in read_groove(path).in_beats] == ["kick", "snare"]


@pytest.mark.parametrize(
    ("tracks", "options", "reason"),
    [
        ([[note(0, 3)]], {}, "no drum notes"),
        ([[]], {}, "no drum notes"),
        ([[note(0, 36)], [note(0, 36)]], {"kind": 2}, "type 2"),
        ([[note(0, 36)]], {"division": -7600}, "film frames"),
        ([[mido.MetaMessage("set_tempo", tempo=0), note(0, 36)]], {}, "tempo"),
    ],
)
def test_refused(
    tmp_path: Path, tracks: list[list[mido.Message]], options: dict[str, int], reason: str
) -> None:
    path = write(tmp_path / "a.mid", *tracks, **options)
    with pytest.raises(GhostnoteError, match=rf"a\.mid.*{reason}"):
        read_groove(path)


def test_a_key_that_is_none(tmp_path: Path) -> None:
    """mido has an error class of its own for this."""
    path = write(tmp_path / "a.mid", [mido.MetaMessage("key_signature", key="C"), note(0, 36)])
    path.write_bytes(path.read_bytes().replace(b"\xff\x59\x02\x00", b"\xff\x59\x02\x30"))
    with pytest.raises(GhostnoteError, match="48 sharps"):
        read_groove(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(GhostnoteError, match=r"none\.mid"):
        read_groove(tmp_path / "none.mid")
    with pytest.raises(GhostnoteError, match="MIDI"):
        read_groove(tmp_path)
    os.mkfifo(tmp_path / "pipe.mid")
    with pytest.raises(GhostnoteError, match=r"pipe\.mid: not a MIDI file .*no plain file"):
        read_groove(tmp_path / "pipe.mid")
    large = tmp_path / "large.mid"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(GhostnoteError, match="bytes"):
        read_groove(large)


@given(st.lists(st.tuples(st.integers(0, 70), st.integers(0, 255)), max_size=6), st.integers(0, 80))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], keep: int
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    key = mido.MetaMessage("key_signature", key="C")
    track = [tempo(0, 90), key, note(0, 36), note(480, 38), note(7, 42, 9)]
    path = write(folder / "a.mid", track)
    data = bytearray(path.read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    path.write_bytes(data[:keep] if keep < 40 else data)
    try:
        groove = read_groove(path)
    except GhostnoteError:
        return
    assert isinstance(groove, Groove)
    assert groove.in_beats


@pytest.mark.parametrize("over", [0, 1])
def test_a_file_full_of_other_events_takes_little_memory(tmp_path: Path, over: int) -> None:
    """Controllers of two bytes and a time: what mido makes most of."""
    events = b"\x00\xb9\x01\x00" + b"\x00\x01\x00" * ((MAX_BYTES - 30) // 3)
    track = b"\x00\x99\x24\x7f" + events
    head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(track))
    path = tmp_path / "full.mid"
    path.write_bytes((head + track).ljust(MAX_BYTES + over, b"\0"))
    if over:
        with pytest.raises(GhostnoteError, match="bytes"):
            read_groove(path)
        return
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(read_groove(path).in_beats) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 320 * 1024  # kB


def test_the_corpus_is_far_below_the_limit() -> None:
    sizes = [path.stat().st_size for path in (corpus() / "grooves").rglob("*.mid")]
    assert 4 * max(sizes) < MAX_BYTES


def test_a_human_drummer() -> None:
    root = corpus()
    with (root / "grooves" / "info.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    groove = read_groove(root / row["path"])
    assert groove.bpm == pytest.approx(float(row["bpm"]), abs=0.01)
    assert len(groove.in_beats) > 0.9 * int(row["n_notes"])
    for (beat, _, _), (seconds, _, _) in zip(groove.in_beats, groove.in_seconds, strict=True):
        assert beat == pytest.approx(seconds * groove.bpm / 60.0, abs=0.01)
