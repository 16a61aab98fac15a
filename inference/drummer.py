"""The drummer: bars of strokes without end, as a person might play them.

It is the level above the WaveNet, as Jukebox's upper levels are above its lowest (arXiv
2005.00341): structure above, sound below. Bar `n` of a seed is the same every time, given the same
bars before it. One thread at a time; a `DrummerFile` may be shared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.rng import uniforms
from ghostnote.kernels.spec import ROLES

from .drummer_file import DrummerFile, DrummerState
from .drummer_spec import control_rows, parse_style
from .drummer_steps import (
    BAR_STEPS,
    FLOATS,
    MAX_STROKES,
    STEPS_PER_BEAT,
    Stroke,
    offset_of,
    velocity_of,
)
from .loops import BEATS_PER_BAR, DEFAULT_BPM, LoopPlan
from .midi import Hit

LETTERS = (0.35, 0.75, 1.0)
"""The velocities of a written pattern's o, x and X, at which a drummer plays that is not human."""
MAX_FILL = 64
MAX_HUMANISE = 2.0
MAX_STYLE = 200
STREAM = 1 << 41
"""The streams of a drummer's random numbers begin here, one for each voice."""
_NUMBERS = 5 * MAX_STROKES  # uniforms of a sixteenth


@dataclass(frozen=True)
class DrummerSettings:
    """What a drummer is asked for.

    Parameters
    ----------
    style : str
        As `parse_style` reads it.
    density : float
        0 to 1: so many of people's bars are sparser.
    swing : float
        How late every second sixteenth comes on top of the style's own feel: 1 is half a sixteenth.
    humanise : float
        1: time and velocity as played, 0: on the grid, at three velocities; 2: twice as loose.
    fill : int
        Every how many bars a fill is played; 0: none is asked for.
    seed : int

    Raises
    ------
    GhostnoteError
        If a value is impossible.
    """

    style: str = "rock"
    density: float = 0.5
    swing: float = 0.0
    humanise: float = 1.0
    fill: int = 8
    seed: int = 1

    def __post_init__(self) -> None:
        for name, value, high in (
            ("density", self.density, 1.0),
            ("swing", self.swing, 1.0),
            ("humanise", self.humanise, MAX_HUMANISE),
            ("fill", self.fill, MAX_FILL),
            ("seed", self.seed, 2**63 - 1),
        ):
            if not 0 <= value <= high:
                raise GhostnoteError(
                    f"drummer: {name} must be 0 to {high:g}, found {str(value)[:40]}"
                )
        if len(self.style) > MAX_STYLE:
            raise GhostnoteError(f"drummer: style of over {MAX_STYLE} characters")


def parse_settings(text: str, seed: int = 1) -> DrummerSettings:
    """Return the settings that a text like `style=funk,density=0.6` tells.

    >>> parse_settings("style=funk:2,jazz:1,fill=4").style
    'funk:2,jazz:1'

    Raises
    ------
    GhostnoteError
        For a name or value that cannot be.
    """
    given: dict[str, str] = {}
    last = ""
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals and last == "style":
            given["style"] += f",{part}"
            continue
        last = name.strip()
        known = DrummerSettings.__dataclass_fields__
        if not equals or last not in known or last in given:
            raise GhostnoteError(
                f"drummer: {part[:60]!r} is none of {'=..., '.join(known)}=..., each once"
            )
        given[last] = value.strip()
    settings = DrummerSettings(seed=seed)
    for name, value in given.items():
        kind = type(getattr(settings, name))
        try:
            settings = replace(settings, **{name: kind(value)})
        except ValueError:
            raise GhostnoteError(f"drummer: {name} is a number, not {value[:60]!r}") from None
    return settings


class Place(NamedTuple):
    """A stroke in a bar: its sixteenth, offset and velocity, and its role's number."""

    step: int
    offset: float
    role: int
    velocity: float


class Drummer:
    """Plays bar after bar.

    Parameters
    ----------
    file : DrummerFile
    settings : DrummerSettings
        May be changed between bars.
    stream : int
        Of the random numbers: drummers of one seed and different streams play differently.

    Attributes
    ----------
    memory : DrummerState, bool
        What it has played, and whether the last bar was a fill: may be kept and put back.

    Raises
    ------
    GhostnoteError
        If the settings' style is not known.
    """

    def __init__(self, file: DrummerFile, settings: DrummerSettings, stream: int = 0) -> None:
        self.file, self.stream = file, stream
        self.settings = settings
        parse_style(file.spec, settings.style)
        self.begin()

    def begin(self) -> None:
        """Forget what has been played."""
        self.memory: tuple[DrummerState, bool] = (self.file.begin(), False)

    def bar(self, number: int, bpm: float = DEFAULT_BPM, beats: int = BEATS_PER_BAR) -> list[Hit]:
        """Return the hits of bar `number`, from 0, in beats from its beginning and in their order.

        A stroke before the bar's first beat has a beat below 0. Bars of other than four beats are
        parts of, or end with parts of, bars of four, of which the drummer's world is made.
        """
        steps, memory = self.play(number, bpm, beats)
        self.memory = memory
        return as_hits(self.places(number, steps), self.settings.swing)

    def play(
        self, number: int, bpm: float, beats: int = BEATS_PER_BAR
    ) -> tuple[list[list[Stroke]], tuple[DrummerState, bool]]:
        """Return the strokes of the sixteenths of bar `number`, and the memory after it."""
        state, filled = self.memory
        settings, spec = self.settings, self.file.spec
        fill = settings.fill > 0 and number % settings.fill == settings.fill - 1
        style = parse_style(spec, settings.style)
        rows = control_rows(
            spec, style, settings.density, bpm, np.arange(beats * STEPS_PER_BEAT), fill, filled
        )
        played = []
        for at, row in enumerate(rows):
            drawn = self._uniforms(number, at)[:, :3]
            strokes, state = self.file.step(state, row, np.ascontiguousarray(drawn))
            played.append(strokes)
        return played, (state, fill)

    def places(self, number: int, steps: Sequence[Sequence[Stroke]]) -> list[Place]:
        """Return where in time and how loud the strokes of a bar are, made human as is asked."""
        found = []
        for at, strokes in enumerate(steps):
            within = self._uniforms(number, at)[:, 3:]
            for (role, loud, late), (a, b) in zip(strokes, within.tolist(), strict=False):
                found.append(Place(at, offset_of(late, b), role, velocity_of(loud, a)))
        if self.settings.humanise == 1.0:
            return found
        return humanised(found, self.settings.humanise)

    def _uniforms(self, number: int, step: int) -> FLOATS:
        """Return the uniforms of a sixteenth, float32 [MAX_STROKES, 5]."""
        # A bar has at most 64 sixteenths: as many beats as a signature has.
        first = (number * 4 * BAR_STEPS + step) * _NUMBERS
        drawn: FLOATS = uniforms(self.settings.seed, STREAM + self.stream, first, _NUMBERS)
        return drawn.reshape(MAX_STROKES, 5)


def humanised(places: Sequence[Place], amount: float) -> list[Place]:
    """Return strokes so far from the grid as `amount` says: 0 on it, 1 as they are.

    The grid of a beat is straight, or triplets where those fit much better; velocities go to or
    from those of `LETTERS` likewise. Of strokes of one role that fall together the louder stays.
    """
    kept: dict[tuple[int, int, float], Place] = {}
    for beat in sorted({place.step // STEPS_PER_BEAT for place in places}):
        mine = [place for place in places if place.step // STEPS_PER_BEAT == beat]
        triplets = _is_triplets(mine)
        for step, offset, role, velocity in mine:
            grid = _nearest_triplet(step, offset) if triplets else _nearest_half(offset)
            letter = min(LETTERS, key=lambda level: abs(level - velocity))
            late = min(0.5, max(-0.5, grid + amount * (offset - grid)))
            loud = min(1.0, max(0.01, letter + amount * (velocity - letter)))
            key = (step, role, round(late, 6))
            if key not in kept or kept[key].velocity < loud:
                kept[key] = Place(step, late, role, loud)
    return list(kept.values())


def as_hits(places: Sequence[Place], swing: float = 0.0) -> list[Hit]:
    """Return strokes as hits (beat in the bar, role, velocity) in order of time.

    Swing moves the second and fourth sixteenth of straight beats.
    """
    triplets = {
        beat: _is_triplets([place for place in places if place.step // STEPS_PER_BEAT == beat])
        for beat in {place.step // STEPS_PER_BEAT for place in places}
    }
    hits = []
    for step, offset, role, velocity in places:
        late = swing * 0.5 if step % 2 and not triplets[step // STEPS_PER_BEAT] else 0.0
        hits.append(((step + offset + late) / STEPS_PER_BEAT, ROLES[role], velocity))
    return sorted(hits, key=lambda hit: hit[0])


class DrummerPlans(NamedTuple):
    """Plans of loops of so many bars that a drummer plays, each with its own seed."""

    file: DrummerFile
    settings: DrummerSettings
    bars: int
    bpm: float | None = None

    def plan(self, number: int = 0) -> LoopPlan:
        """Return the plan of a loop, from 0; strokes before its beginning are on it.

        Raises
        ------
        GhostnoteError
            If the style is not known, or the loop would be too long.
        """
        plan = LoopPlan("drummer", self.bars, DEFAULT_BPM if self.bpm is None else self.bpm)
        settings = replace(self.settings, seed=self.settings.seed + number)
        drummer, hits = Drummer(self.file, settings), []
        end = self.bars * BEATS_PER_BAR
        for bar in range(self.bars):
            for beat, role, velocity in drummer.bar(bar, plan.bpm):
                at = max(0.0, bar * BEATS_PER_BAR + beat)
                if at < end:
                    hits.append((at, role, velocity))
        return replace(plan, hits=tuple(sorted(hits, key=lambda hit: hit[0])))


def _is_triplets(beat: Sequence[Place]) -> bool:
    """Tell whether the strokes of a beat lie on triplets rather than on sixteenths."""
    straight = sum(place.offset**2 for place in beat)
    triplet = sum((p.offset - _nearest_triplet(p.step, p.offset)) ** 2 for p in beat)
    return triplet < 0.4 * straight


def _nearest_triplet(step: int, offset: float) -> float:
    """Return the offset from its sixteenth of the sixteenth triplet that is nearest to a stroke."""
    within = step % STEPS_PER_BEAT
    nearest = math.floor((within + offset) * 1.5 + 0.5) / 1.5 - within
    return min(0.5, max(-0.5, nearest))


def _nearest_half(offset: float) -> float:
    """Return the nearest of the sixteenth and the thirty-second after or before it."""
    return 0.0 if abs(offset) < 0.35 else math.copysign(0.5, offset)
