"""WAV files as others read them: a strict chunk reader, and libsndfile's tempo and cue points."""

import struct
from pathlib import Path
from typing import Any, NamedTuple

import soundfile

GET_CUE_COUNT, GET_CUE, GET_LOOP_INFO = 0x10CD, 0x10CE, 0x10E0  # SFC_... in sndfile.h
CUE_POINT = struct.Struct("<iIiiiI256s")
LOOP_INFO = struct.Struct("<hhiifi24x")


class Loop(NamedTuple):
    """What libsndfile makes of a tempo chunk."""

    numerator: int
    denominator: int
    mode: int
    beats: int
    bpm: float
    key: int


def chunks(path: Path) -> dict[str, bytes]:
    """Returns the chunks by their names; asserts that every size is what the standard wants."""
    whole = path.read_bytes()
    form, riff, wave = struct.unpack_from("<4sI4s", whole)
    assert wave == b"WAVE"
    found: dict[str, bytes] = {}
    end, place, long_data = 8 + riff, 12, 0
    if form == b"RF64":
        assert riff == 0xFFFFFFFF and whole[12:16] == b"ds64"
        long_riff, long_data, frames = struct.unpack_from("<QQQ", whole, 20)
        end = 8 + long_riff
    else:
        assert form == b"RIFF"
    assert end % 2 == 0
    assert end <= len(whole), "the header tells of more than there is"
    while place < end:
        name, size = struct.unpack_from("<4sI", whole, place)
        if name == b"data" and form == b"RF64":
            assert size == 0xFFFFFFFF
            size = long_data
        content = whole[place + 8 : place + 8 + size]
        assert len(content) == size and place + 8 + size <= end
        assert name.decode() not in found
        found[name.decode()] = content
        place += 8 + size + size % 2
    assert place == end
    align = struct.unpack_from("<H", found["fmt "], 12)[0]
    assert len(found["data"]) % align == 0
    assert struct.unpack("<I", found["fact"])[0] == len(found["data"]) // align
    if form == b"RF64":
        assert frames == len(found["data"]) // align
    return found


def labels(found: dict[str, bytes]) -> list[tuple[int, str]]:
    """Returns (frame, name) of each cue point, by our own reading."""
    if "cue " not in found:
        assert "LIST" not in found
        return []
    cue, adtl = found["cue "], found["LIST"]
    (count,) = struct.unpack_from("<I", cue)
    assert len(cue) == 4 + 24 * count
    places = {}
    for number in range(count):
        ident, order, chunk, start, block, frame = struct.unpack_from(
            "<II4sIII", cue, 4 + 24 * number
        )
        assert chunk == b"data" and (start, block) == (0, 0) and order == frame
        places[ident] = frame
    assert len(places) == count
    assert adtl[:4] == b"adtl"
    named, place = [], 4
    while place < len(adtl):
        name, size, ident = struct.unpack_from("<4sII", adtl, place)
        text = adtl[place + 12 : place + 8 + size]
        assert name == b"labl" and text[-1:] == b"\0" and b"\0" not in text[:-1]
        named.append((places.pop(ident), text[:-1].decode()))
        place += 8 + size + size % 2
    assert place == len(adtl) and not places
    return named


def libsndfile_cues(path: Path) -> list[tuple[int, str]]:
    """Returns (frame, name) of each cue point, as libsndfile reads them."""
    with soundfile.SoundFile(path) as file:
        count = soundfile._ffi.new("uint32_t *")
        if not _ask(file, GET_CUE_COUNT, count, 4):
            return []
        size = 4 + CUE_POINT.size * count[0]
        data = soundfile._ffi.new("char[]", size)
        assert _ask(file, GET_CUE, data, size)
        raw = bytes(soundfile._ffi.buffer(data))
    points = CUE_POINT.iter_unpack(raw[4:])
    return [(point[5], point[6].split(b"\0")[0].decode()) for point in points]


def libsndfile_loop(path: Path) -> Loop | None:
    """Returns the tempo chunk as libsndfile reads it."""
    with soundfile.SoundFile(path) as file:
        data = soundfile._ffi.new("char[]", LOOP_INFO.size)
        if not _ask(file, GET_LOOP_INFO, data, LOOP_INFO.size):
            return None
        return Loop(*LOOP_INFO.unpack(bytes(soundfile._ffi.buffer(data))))


def _ask(file: soundfile.SoundFile, command: int, data: Any, size: int) -> bool:
    return bool(soundfile._snd.sf_command(file._file, command, data, size))
