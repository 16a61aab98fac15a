"""A prepared dataset: FLAC clips and one JSON that tells each clip's split, kit and exact hits.

    DIR/dataset.json   {"format": 1, "samplerate", "hop", "roles", "kits", "chokes", "clips": [...],
                        "sources": [...], "skipped": [...]}
    DIR/clips/*.flac   mono, 16 bit, at `samplerate`

A clip is {"file", "frames", "split", "kit" (name or ""), "hits": [[hop, role, velocity], ...]}.
Single-threaded; reading is safe in several processes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from ghostnote.kernels import mulaw
from ghostnote.kernels.errors import GhostnoteError

FORMAT = 1


@dataclass
class Clip:
    """One stretch of audio and what was asked for in it; hits are (hop, role number, velocity)."""

    file: str
    frames: int
    split: str
    kit: str
    hits: list[tuple[int, int, float]]


@dataclass
class Dataset:
    """What `dataset.json` says; `root` is its folder."""

    root: Path
    samplerate: int
    hop: int
    roles: tuple[str, ...]
    kits: tuple[str, ...]
    chokes: tuple[tuple[str, str], ...]
    clips: list[Clip] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def split(self, name: str) -> list[Clip]:
        """Return the clips of a split ("train" or "validation")."""
        return [clip for clip in self.clips if clip.split == name]

    def seconds(self, split: str) -> float:
        """Return the duration of a split in seconds."""
        return sum(clip.frames for clip in self.split(split)) / self.samplerate

    def audio(self, clip: Clip) -> npt.NDArray[np.float32]:
        """Return a clip's samples, float32 [frames].

        Raises
        ------
        GhostnoteError
            If the file is missing, damaged or not as long as the index says.
        """
        path = self.root / "clips" / clip.file
        try:
            samples, rate = soundfile.read(path, dtype="float32")
        except (OSError, soundfile.LibsndfileError) as error:
            raise GhostnoteError(f"dataset clip {path}: cannot be read: {error}") from None
        if rate != self.samplerate or samples.shape != (clip.frames,):
            raise GhostnoteError(f"dataset clip {path}: does not fit the index; prepare it again")
        return np.asarray(samples, np.float32)

    def levels(self, clip: Clip, levels: int) -> npt.NDArray[np.int16]:
        """Return a clip's mu-law levels, int16 [frames]."""
        return mulaw.encode(self.audio(clip), levels)

    def add(self, name: str, audio: npt.NDArray[np.float32], clip: Clip) -> None:
        """Write a clip's audio as `clips/<name>` and list the clip."""
        path = self.root / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, audio, self.samplerate, subtype="PCM_16", format="FLAC")
        self.clips.append(clip)

    def save(self) -> None:
        """Write the index beside its old version, then rename it into place."""
        index = {
            "format": FORMAT,
            "samplerate": self.samplerate,
            "hop": self.hop,
            "roles": self.roles,
            "kits": self.kits,
            "chokes": self.chokes,
            "clips": [vars(clip) for clip in self.clips],
            "sources": self.sources,
            "skipped": self.skipped,
        }
        self.root.mkdir(parents=True, exist_ok=True)
        part = self.root / "dataset.json.part"
        part.write_text(json.dumps(index, separators=(",", ":")))
        os.replace(part, self.root / "dataset.json")


def load_dataset(root: Path) -> Dataset:
    """Read a prepared dataset.

    Raises
    ------
    GhostnoteError
        If there is none, or it was made by another version.
    """
    path = root / "dataset.json"
    try:
        index = json.loads(path.read_text())
    except OSError:
        raise GhostnoteError(
            f"no dataset in {root}: run `ghostnote data prepare --out {root}` first"
        ) from None
    except ValueError as error:
        raise GhostnoteError(f"dataset {path}: not valid JSON ({error})") from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise GhostnoteError(f"dataset {path}: made by another version; prepare it again")
    try:
        return Dataset(
            root=root,
            samplerate=int(index["samplerate"]),
            hop=int(index["hop"]),
            roles=tuple(index["roles"]),
            kits=tuple(index["kits"]),
            chokes=tuple((by, what) for by, what in index["chokes"]),
            clips=[
                Clip(c["file"], c["frames"], c["split"], c["kit"], [tuple(h) for h in c["hits"]])
                for c in index["clips"]
            ],
            sources=index["sources"],
            skipped=index["skipped"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise GhostnoteError(f"dataset {path}: damaged ({error!r}); prepare it again") from None
