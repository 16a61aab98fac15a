"""WAV files that are valid at every moment while they grow.

Written here and not by libsndfile because a recording must survive a full disk and a kill -9 (data
first, then the sizes in the header, in place), must not stop at 4 GiB (RF64 then), and must be the
same bytes for the same sound (libsndfile puts the time of day into float files).

Threads: one at a time.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

SUBTYPES = {"FLOAT": 4, "PCM_24": 3}  # bytes per sample
_LARGEST_RIFF = 0xFFFF_FFFF
_DS64 = struct.Struct("<4sIQQQI")  # id, size, riff, data, frames, table length


class WavWriter:
    """A growing WAV file, `subtype` one of SUBTYPES.

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
    ) -> None:
        if subtype not in SUBTYPES:
            raise ValueError(f"WAV subtype {subtype}: must be one of {', '.join(SUBTYPES)}")
        self.path, self.samplerate, self.channels, self.subtype = (
            path,
            samplerate,
            channels,
            subtype,
        )
        self.frames = 0
        self._frame_bytes = SUBTYPES[subtype] * channels
        self._file = path.open("xb" if exclusive else "wb", buffering=0)
        try:
            self._head_bytes = len(self._header())
            self._write_whole(self._header())
        except OSError:
            self._file.close()
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
        header = self._header()
        self._file.seek(0)
        self._write_whole(header)
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Cut off half a frame, if a full disk left one, and finish the header."""
        if self._file.closed:
            return
        try:
            end = self._head_bytes + self.frames * self._frame_bytes
            self._file.truncate(end)
            self.sync()
            if self.frames * self._frame_bytes % 2:
                self._write_whole(b"\0")  # chunks have even lengths
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

    def _write_whole(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) :]

    def _header(self) -> bytes:
        """RIFF, a placeholder for RF64's long sizes, fmt, fact, and the beginning of data."""
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
        rest = len(fmt) + 12 + 8 + data + data % 2
        riff = 4 + _DS64.size + rest
        long = riff > _LARGEST_RIFF
        fact = struct.pack("<4sII", b"fact", 4, min(self.frames, _LARGEST_RIFF))
        begin = struct.pack("<4sI", b"data", _LARGEST_RIFF if long else data)
        if long:
            head = struct.pack("<4sI4s", b"RF64", _LARGEST_RIFF, b"WAVE")
            sizes = _DS64.pack(b"ds64", _DS64.size - 8, riff, data, self.frames, 0)
        else:
            head = struct.pack("<4sI4s", b"RIFF", riff, b"WAVE")
            sizes = _DS64.pack(b"JUNK", _DS64.size - 8, 0, 0, 0, 0)
        return head + sizes + fmt + fact + begin


def _as_float(block: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(block, "<f4").tobytes()


def _as_pcm24(block: NDArray[np.float32]) -> bytes:
    """Round to 24 bits; beyond full scale is clipped, not-a-number is silence."""
    scaled = np.nan_to_num(block.astype(np.float64) * 2**23, nan=0.0, posinf=2**23, neginf=-(2**23))
    whole = np.rint(scaled).clip(-(2**23), 2**23 - 1).astype("<i4")
    return whole.reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
