"""What is asked of a model when it is judged: pieces of grooves, and every role alone.

Pure functions of their arguments and the corpus; any thread.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ghostnote.inference.midi import Hit, read_groove
from ghostnote.kernels.errors import GhostnoteError

from .grooves import crop, level_velocities
from .kits import Kit

ALONE = "(alone)"  # no file is called so
LEAD_SECONDS = 0.1  # of silence before the first hit of a piece
END_SECONDS = 0.1  # without new hits, so that the last can still be heard
ALONE_SECONDS = 1.2
ALONE_VELOCITIES = (0.9, 0.4)


@dataclass(frozen=True)
class Piece:
    """A stretch of hits (seconds, role, velocity): `name` is its groove's, or `ALONE`."""

    name: str
    seconds: float
    hits: tuple[Hit, ...]


def choose_pieces(
    corpus: Path, split: str, count: int, seconds: float, seed: int
) -> tuple[list[Piece], list[dict[str, str]]]:
    """Return pieces of grooves spread evenly over a split, the same for the same seed.

    Grooves that are long enough are preferred. Each piece begins `LEAD_SECONDS` before one of
    the groove's hits; velocities are levelled as in training. Unreadable grooves come back as
    the second value, with the reason.

    Raises
    ------
    GhostnoteError
        If the corpus's list cannot be read or no groove of the split can be.
    """
    table = corpus / "grooves" / "info.csv"
    try:
        with table.open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if r["split"] == split]
        long = [r["path"] for r in rows if float(r["seconds"]) >= seconds]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise GhostnoteError(f"corpus {corpus}: cannot read grooves/info.csv ({error})") from None
    paths = long if len(long) >= count else [r["path"] for r in rows]
    rng = np.random.default_rng(seed)
    wanted = min(count, len(paths))
    shift = rng.random()
    pieces, skipped = [], []
    for i in range(wanted):
        path = paths[int((i + shift) * len(paths) / wanted)]
        try:
            hits = level_velocities(read_groove(corpus / path).in_seconds)
        except GhostnoteError as error:
            skipped.append({"file": path, "reason": str(error)})
            continue
        latest = hits[-1][0] - seconds
        starts = [t for t, _, _ in hits if t <= latest] or [hits[0][0]]
        start = starts[int(rng.integers(len(starts)))] - LEAD_SECONDS
        piece = crop(hits, start, seconds - END_SECONDS)
        pieces.append(Piece(Path(path).stem, seconds, tuple(piece)))
    if not pieces:
        why = skipped[0]["reason"] if skipped else "it lists none"
        raise GhostnoteError(f"corpus {corpus}: no groove of split {split!r}: {why}")
    return pieces, skipped


def alone(kit: Kit) -> Piece:
    """Return the piece that asks every role of a kit alone, loud and soft."""
    asked = [(role, velocity) for velocity in ALONE_VELOCITIES for role in kit.layers]
    hits = [(LEAD_SECONDS + i * ALONE_SECONDS, *one) for i, one in enumerate(asked)]
    return Piece(ALONE, LEAD_SECONDS + len(hits) * ALONE_SECONDS, tuple(hits))
