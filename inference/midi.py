"""Drum grooves from MIDI files, as lists of hits.

A hit is (time, role, velocity 0 to 1); its holder says whether time is in beats or in seconds.
Pure functions; any thread.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import mido

from ghostnote.kernels.errors import GhostnoteError

Hit = tuple[float, str, float]

MAX_HITS = 200_000
MAX_BYTES = 1024 * 1024
"""Of a file: mido makes 260 bytes of memory of one, and the longest take of a drummer has 160 kB."""

DRUM_CHANNEL = 9
"""Channel 10 for musicians: General MIDI's drums."""

ROLE_OF_NOTE = {
    **dict.fromkeys((35, 36), "kick"),
    **dict.fromkeys((38, 40), "snare"),
    37: "rim",
    39: "clap",
    **dict.fromkeys((41, 43, 45, 47, 48, 50, 58), "tom"),
    **dict.fromkeys((22, 42, 44), "hat"),
    **dict.fromkeys((26, 46), "open"),
    **dict.fromkeys((49, 52, 55, 57), "crash"),
    **dict.fromkeys((51, 53, 59), "ride"),
}
"""Role of each MIDI note (General MIDI percussion and the Roland TD-11's additions)."""

# All that mido raises for bytes that are no MIDI; found by feeding it thousands of damaged files.
_MIDO_ERRORS = (OSError, EOFError, ValueError, KeyError, IndexError, mido.KeySignatureError)


@dataclass(frozen=True)
class Groove:
    """What a drummer played.

    Attributes
    ----------
    name : str
        Of the file, without its ending.
    in_beats, in_seconds : tuple of hits
        The same hits in order of time, at least one. Beats (quarter notes) are what stays when a
        groove is played at another tempo; seconds follow every tempo change of the file.
    bpm : float
        The tempo at the first hit.
    """

    name: str
    in_beats: tuple[Hit, ...]
    in_seconds: tuple[Hit, ...]
    bpm: float


def read_groove(path: Path) -> Groove:
    """Return the drum hits of a MIDI file; notes with no role are left out.

    Where channel 10 holds notes, only they count: the same note numbers on another channel are
    another instrument. Else all channels do, as programs export single drum clips on any.

    Raises
    ------
    GhostnoteError
        If the file is not MIDI, counts no beats, or holds no drum note.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            raise _unreadable(path, "no plain file")
        if about.st_size > MAX_BYTES:
            raise GhostnoteError(
                f"groove {path}: over {MAX_BYTES} bytes; no drum groove is so long"
            )
        file = mido.MidiFile(path)
    except _MIDO_ERRORS as error:
        raise _unreadable(path, str(error) or type(error).__name__) from None
    if file.type == 2:
        raise _unreadable(path, "type 2, whose tracks share no time; export it as type 0 or 1")
    if file.ticks_per_beat <= 0:
        raise _unreadable(path, "it counts film frames instead of beats")
    found = _hits_by_channel(path, file)
    if DRUM_CHANNEL in found:
        found = {DRUM_CHANNEL: found[DRUM_CHANNEL]}
    timed = sorted((timed for channel in found.values() for timed in channel), key=lambda t: t[0])
    if not timed:
        raise GhostnoteError(f"groove {path}: no drum notes in it")
    return Groove(
        path.stem,
        tuple((beat, role, velocity) for beat, _, _, role, velocity in timed),
        tuple((seconds, role, velocity) for _, seconds, _, role, velocity in timed),
        timed[0][2],
    )


def _hits_by_channel(
    path: Path, file: mido.MidiFile
) -> dict[int, list[tuple[float, float, float, str, float]]]:
    """Return (beat, seconds, bpm there, role, velocity) of every drum note, by channel."""
    found: dict[int, list[tuple[float, float, float, str, float]]] = {}
    ticks, seconds, tempo, count = 0, 0.0, 500_000, 0  # MIDI's tempo: microseconds per beat
    for message in file.merged_track:
        ticks += message.time
        seconds += mido.tick2second(message.time, file.ticks_per_beat, tempo)
        if message.type == "set_tempo":
            if message.tempo < 1:
                raise _unreadable(path, "its tempo is without end")
            tempo = message.tempo
        elif message.type == "note_on" and message.velocity > 0 and message.note in ROLE_OF_NOTE:
            count += 1
            if count > MAX_HITS:
                raise GhostnoteError(f"groove {path}: over {MAX_HITS} hits")
            # Whole microseconds per beat make 97.3 bpm 97.30008: two decimals is what was meant.
            bpm = round(60e6 / tempo, 2)
            hit = (ticks / file.ticks_per_beat, seconds, bpm)
            role = ROLE_OF_NOTE[message.note]
            found.setdefault(message.channel, []).append((*hit, role, message.velocity / 127.0))
    return found


def _unreadable(path: Path, why: str) -> GhostnoteError:
    return GhostnoteError(f"groove {path}: not a MIDI file that can be read ({why})")
