"""WAV files that are valid at every moment while they grow, with tempo and markers for DAWs.

Written here and not by libsndfile because a recording must survive a full disk and a kill -9 (data
first, then the sizes in the header, in place), must not stop at 4 GiB (RF64 then), and must be the
same bytes for the same sound (libsndfile puts the time of day into float files).

The tempo is an `acid` chunk of fixed size before the data, true at every moment. Markers are a
`cue ` chunk with `adtl` labels behind the data, written by `close`: a file that was never closed
lacks them, and is valid.

Threads: one at a time.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

SUBTYPES = {"FLOAT": 4, "PCM_24": 3}  # bytes per sample
MAX_MARKERS = (
    1000  # libsndfile looks at 64 KB of chunks, with names of up to 24 bytes about so many
)
MAX_LABEL = 200  # bytes

_LARGEST_RIFF = 0xFFFF_FFFF
_IN_DS64 = 0xFFFF_FFFF  # what a short size says when the long one counts
_DS64 = struct.Struct("<4sIQQQI")  # id, size, riff, data, frames, table length
_ACID = struct.Struct("<4sIIHHfIHHf")  # id, size, flags, note, ?, ?, beats, meter 4/4 reversed, bpm
_ACID_STRETCH, _ACID_LONG = 0x04, 0x08  # a loop that follows the tempo; a take played from disk
_CUE = struct.Struct("<II4sIII")  # id, place, chunk, its start, block's start, frame


class Tempo(NamedTuple):
    """What the tempo chunk tells: `bpm` beats a minute, and whether the file is a loop."""

    bpm: float
    beats_per_bar: int = 4
    loop: bool = False


class Marker(NamedTuple):
    """A named place in a file."""

    frame: int
    label: str


class WavWriter:
    """A growing WAV file, `subtype` one of SUBTYPES, with a tempo chunk if `tempo` is given.

    `exclusive` refuses a path that exists (FileExistsError). Every method but `close` may raise
    OSError; the file then holds the whole frames written so far, `frames` of them, and `close`
    still works.
    """

    def __init__(
        self,
        path: Path,
        samplerate: int,
        channels: int,
        subtype: str = "FLOAT",
        *,
        exclusive: bool = False,
        tempo: Tempo | None = None,
    ) -> None:
        if subtype not in SUBTYPES:
            raise ValueError(f"WAV subtype {subtype}: must be one of {', '.join(SUBTYPES)}")
        self.path, self.samplerate, self.channels, self.subtype, self.tempo = (
            path,
            samplerate,
            channels,
            subtype,
            tempo,
        )
        self.frames = 0
        self._frame_bytes = SUBTYPES[subtype] * channels
        self._file = path.open("xb" if exclusive else "wb", buffering=0)
        try:
            self._head_bytes = len(self._header())
            self._write_whole(self._header())
        except OSError:
            self._file.close()
            if exclusive:  # it is ours, and empty
                path.unlink(missing_ok=True)
            raise

    def write(self, block: NDArray[np.float32]) -> None:
        """Append `block` [n, channels], full scale ±1; the header is told by `sync`."""
        if block.ndim != 2 or block.shape[1] != self.channels:
            raise ValueError(f"block of shape {block.shape}: must be [n, {self.channels}]")
        encoded = _as_pcm24(block) if self.subtype == "PCM_24" else _as_float(block)
        try:
            self._write_whole(encoded)
        finally:
            size = os.fstat(self._file.fileno()).st_size - self._head_bytes
            self.frames = size // self._frame_bytes

    def cut(self, frames: int) -> None:
        """Keep only the first `frames` frames; for the end, as `close` does the cutting."""
        self.frames = max(0, min(self.frames, frames))

    def sync(self) -> None:
        """Make the header tell of all frames written so far."""
        end = self._end
        if (end - self._head_bytes) % 2:  # chunks have even lengths; what follows replaces this
            self._file.seek(end)
            self._write_whole(b"\0")
        self._write_header()
        self._file.seek(end)

    def close(self, markers: Sequence[Marker] = ()) -> None:
        """Finish the file, with the first MAX_MARKERS of `markers` that lie within it.

        Half a frame, if a full disk left one, is cut off; what it has no room for is left out.
        """
        if self._file.closed:
            return
        try:
            self._file.truncate(self._end)
            self.sync()
            self._append(_marker_chunks([one for one in markers if one.frame < self.frames]))
        except OSError:
            pass  # the header of the last sync stands, and is true
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _end(self) -> int:
        """Where the data end."""
        return self._head_bytes + self.frames * self._frame_bytes

    def _append(self, chunks: bytes) -> None:
        """Put chunks behind the data, then tell of them; a full disk leaves none of them."""
        if not chunks:
            return
        place = self._file.seek(0, os.SEEK_END)
        try:
            self._write_whole(chunks)
        except OSError:
            self._file.truncate(place)
            raise
        self._write_header(len(chunks))

    def _write_header(self, behind: int = 0) -> None:
        header = self._header(behind)
        self._file.seek(0)
        self._write_whole(header)

    def _write_whole(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) :]

    def _header(self, behind: int = 0) -> bytes:
        """RIFF, a placeholder for RF64's long sizes, fmt, fact, tempo, and the beginning of data.

        `behind` is the number of bytes in chunks behind the data.
        """
        data = self.frames * self._frame_bytes
        code = 1 if self.subtype == "PCM_24" else 3
        fmt = struct.pack(
            "<4sIHHIIHHH",
            b"fmt ",
            18,
            code,
            self.channels,
            self.samplerate,
            self.samplerate * self._frame_bytes,
            self._frame_bytes,
            8 * SUBTYPES[self.subtype],
            0,
        )
        tempo = self._acid(self.tempo) if self.tempo else b""
        rest = len(fmt) + 12 + len(tempo) + 8 + data + data % 2 + behind
        riff = 4 + _DS64.size + rest
        long = riff > _LARGEST_RIFF
        fact = struct.pack("<4sII", b"fact", 4, min(self.frames, _IN_DS64))
        begin = struct.pack("<4sI", b"data", _IN_DS64 if long else data)
        if long:
            head = struct.pack("<4sI4s", b"RF64", _IN_DS64, b"WAVE")
            sizes = _DS64.pack(b"ds64", _DS64.size - 8, riff, data, self.frames, 0)
        else:
            head = struct.pack("<4sI4s", b"RIFF", riff, b"WAVE")
            sizes = _DS64.pack(b"JUNK", _DS64.size - 8, 0, 0, 0, 0)
        return head + sizes + fmt + fact + tempo + begin

    def _acid(self, tempo: Tempo) -> bytes:
        beats = min(round(self.frames / self.samplerate * tempo.bpm / 60.0), 0xFFFF_FFFF)
        flags = _ACID_STRETCH if tempo.loop else _ACID_LONG
        meter = (4, tempo.beats_per_bar)
        return _ACID.pack(b"acid", _ACID.size - 8, flags, 60, 0x8000, 0.0, beats, *meter, tempo.bpm)


def _marker_chunks(markers: Sequence[Marker]) -> bytes:
    """Cue points and their names; nothing for no markers."""
    kept = sorted(one for one in markers if 0 <= one.frame <= 0xFFFF_FFFF)[:MAX_MARKERS]
    if not kept:
        return b""
    points, labels = [], []
    for number, (frame, label) in enumerate(kept, start=1):
        points.append(_CUE.pack(number, frame, b"data", 0, 0, frame))
        whole = label.replace("\0", " ").encode("utf-8", "replace")[:MAX_LABEL]
        text = whole.decode("utf-8", "ignore").encode() + b"\0"
        head = struct.pack("<4sII", b"labl", 4 + len(text), number)
        labels.append(head + text + b"\0" * (len(text) % 2))
    cue = struct.pack("<4sII", b"cue ", 4 + _CUE.size * len(kept), len(kept)) + b"".join(points)
    adtl = b"adtl" + b"".join(labels)
    return cue + struct.pack("<4sI", b"LIST", len(adtl)) + adtl


def _as_float(block: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(block, "<f4").tobytes()


def _as_pcm24(block: NDArray[np.float32]) -> bytes:
    """Round to 24 bits; beyond full scale is clipped, not-a-number is silence."""
    scaled = np.nan_to_num(block.astype(np.float64) * 2**23, nan=0.0, posinf=2**23, neginf=-(2**23))
    whole = np.rint(scaled).clip(-(2**23), 2**23 - 1).astype("<i4")
    return whole.reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
