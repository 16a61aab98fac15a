"""A prepared dataset: FLAC clips and one JSON that tells each clip's split, kit and exact hits.

    DIR/dataset.json   {"format": 2, "samplerate", "hop", "roles", "kits", "chokes", "clips": [...],
                        "sources": [...], "skipped": [...]}
    DIR/clips/*.flac   mono, 16 bit, at `samplerate`

A clip is {"file", "frames", "split", "kits": {name: weight}, "hits": [[hop, role, velocity], ...]}.
The index is written last: a folder without one is no dataset, whatever clips it holds.
Single-threaded; reading is safe in several processes.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from ghostnote.kernels import levels
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec

FORMAT = 2
INDEX = "dataset.json"
SPLITS = ("train", "validation")
SILENCE_PEAK = 10.0 ** (-60.0 / 20.0)
"""Audio whose peak is lower (-60 dBFS) counts as silent."""


@dataclass
class Clip:
    """One stretch of audio and what was asked for in it.

    `kits` are the weights of the kits that play it together; none for texture alone. Hits are
    (hop, role number, velocity).
    """

    file: str
    frames: int
    split: str
    kits: dict[str, float]
    hits: list[tuple[int, int, float]]


@dataclass
class Dataset:
    """What `dataset.json` says; `root` is its folder."""

    root: Path
    samplerate: int
    hop: int
    roles: tuple[str, ...] = ()
    kits: tuple[str, ...] = ()
    chokes: tuple[tuple[str, str], ...] = ()
    clips: list[Clip] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def split(self, name: str) -> list[Clip]:
        """Return the clips of a split ("train" or "validation")."""
        return [clip for clip in self.clips if clip.split == name]

    def seconds(self, split: str) -> float:
        """Return the duration of a split in seconds."""
        return sum(clip.frames for clip in self.split(split)) / self.samplerate

    def hits_per_role(self, split: str) -> dict[str, int]:
        """Return how often each role is hit in a split; empty where no hits are known."""
        counts = dict.fromkeys(self.roles, 0)
        for clip in self.split(split):
            for _, role, _ in clip.hits:
                counts[self.roles[role]] += 1
        return counts

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

    def levels(self, clip: Clip, spec: ModelSpec) -> npt.NDArray[np.int64]:
        """Return a clip in the levels of a model, int64 [frames]."""
        return levels.of_sound(spec, self.audio(clip))

    def begin(self) -> None:
        """Make the folder ready for `add`; what an unfinished preparation left is removed.

        Raises
        ------
        GhostnoteError
            If the folder holds anything else: a dataset is never overwritten or mixed.
        """
        if (self.root / INDEX).exists():
            raise GhostnoteError(f"dataset {self.root}: exists already; delete it or name another")
        clips = self.root / "clips"
        if self.root.exists():
            foreign = {path.name for path in self.root.iterdir()} - {"clips", INDEX + ".part"}
            if foreign or any(path.suffix != ".flac" for path in clips.glob("*")):
                raise GhostnoteError(f"dataset {self.root}: is not empty; name a new folder")
            shutil.rmtree(clips, ignore_errors=True)
        clips.mkdir(parents=True)

    def add(self, audio: npt.NDArray[np.float32], clip: Clip) -> None:
        """Write a clip's audio, float32 [frames], into `clips/` and list the clip."""
        # Encoded in memory, as libsndfile does not tell a full disk from other failures.
        encoded = io.BytesIO()
        soundfile.write(encoded, audio, self.samplerate, subtype="PCM_16", format="FLAC")
        (self.root / "clips" / clip.file).write_bytes(encoded.getvalue())
        self.clips.append(clip)

    def save(self) -> None:
        """Write the index; from here on the folder is a dataset."""
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
        part = self.root / (INDEX + ".part")
        part.write_text(json.dumps(index, separators=(",", ":")))
        part.replace(self.root / INDEX)

    def fingerprint(self) -> str:
        """Return 16 hex digits that change with the clips that a training would draw."""
        content = [self.samplerate, self.hop, [vars(clip) for clip in self.clips]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def load_dataset(root: Path) -> Dataset:
    """Read a prepared dataset.

    Raises
    ------
    GhostnoteError
        If there is none, it was made by another version, or it is damaged.
    """
    path = root / INDEX
    try:
        index = json.loads(path.read_text())
    except OSError:
        raise GhostnoteError(
            f"no dataset in {root}: make one with `ghostnote data prepare --out {root}`"
        ) from None
    except ValueError as error:
        raise GhostnoteError(f"dataset {path}: not valid JSON ({error})") from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise GhostnoteError(f"dataset {path}: made by another version; prepare it again")
    try:
        roles, kits = tuple(index["roles"]), tuple(index["kits"])
        return Dataset(
            root=root,
            samplerate=int(index["samplerate"]),
            hop=int(index["hop"]),
            roles=roles,
            kits=kits,
            chokes=tuple((by, what) for by, what in index["chokes"]),
            clips=[_read_clip(clip, len(roles), kits) for clip in index["clips"]],
            sources=index["sources"],
            skipped=index["skipped"],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise GhostnoteError(f"dataset {path}: damaged ({error!r}); prepare it again") from None


def _read_clip(entry: dict[str, Any], roles: int, kits: tuple[str, ...]) -> Clip:
    hits = [(int(hop), int(role), float(velocity)) for hop, role, velocity in entry["hits"]]
    weights = {str(kit): float(weight) for kit, weight in entry["kits"].items()}
    clip = Clip(entry["file"], int(entry["frames"]), entry["split"], weights, hits)
    if clip.split not in SPLITS or clip.frames < 1 or not set(weights) <= set(kits):
        raise ValueError(f"clip {clip.file!r} names an unknown split or kit, or has no frames")
    if Path(clip.file).name != clip.file:
        raise ValueError(f"clip {clip.file!r} lies outside the dataset")
    if any(not 0 < weight <= 1 for weight in weights.values()):
        raise ValueError(f"clip {clip.file!r} holds an impossible weight of a kit")
    if any(not (0 <= role < roles and hop >= 0 and 0 < v <= 1) for hop, role, v in hits):
        raise ValueError(f"clip {clip.file!r} holds an impossible hit")
    return clip
