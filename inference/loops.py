"""Loop plans: which hits a loop of so many bars holds, from a pattern or from a groove.

Pure functions but for `read_pattern` and `choose_plan`; any thread. The form of pattern files:
docs/rendering.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ghostnote.kernels.errors import GhostnoteError

from .midi import MAX_HITS, Groove, Hit, read_groove
from .patterns import parse_steps

BEATS_PER_BAR = 4
MAX_BARS = 1024
MAX_SECONDS = 1800.0
LOWEST_BPM, HIGHEST_BPM = 10.0, 1000.0  # as /ghost/tempo takes
DEFAULT_BPM = 120.0
MAX_PATTERN_BYTES = 64 * 1024

BUILT_IN: dict[str, dict[str, str]] = {
    "demo": {
        "kick": "X..o..x...x..o..|X..o..x...x.x...",
        "snare": "....X.o..o..X..o|....X..o.o..X.oo",
        "hat": "x.xox.x.x.xox.x.|x.xox.x.x.xox...",
        "open": "................|..............x.",
        "rim": "..........x.....|................",
    },
    "four-on-the-floor": {
        "kick": "X...X...X...X...",
        "clap": "....x.......x...",
        "hat": "x..ox..ox..ox..o",
        "open": "..x...x...x...x.",
    },
    "break": {
        "kick": "X.x.......xx....|X.x.......xx....",
        "snare": "....X..o.o..X..o|....X..o.o....X.",
        "ride": "x.x.x.x.x.x.x.x.|x.x.x.x.x.......",
        "crash": "................|..........x.....",
    },
    "half-time": {
        "kick": "X.....x...x.....|X..x......x...x.",
        "snare": "........X.......|........X.....oo",
        "hat": "x.o.x.o.x.o.x.o.|x.o.x.o.x.ooxooo",
    },
    "electro": {
        "kick": "X.....x...x.....|X..x..x...x...x.",
        "snare": "....X.......X...",
        "clap": "....x.......x..o",
        "hat": "xoxoxoxoxoxoxoxo",
        "tom": "................|...........x.x.x",
    },
}
"""The patterns that come with ghostnote: steps of each role, four a beat, by name."""

DEFAULT_PATTERN = "demo"

# A groove cut after its last bar holds the early downbeat of the next one, and its first bar holds
# that downbeat once more: two strokes nearer than this at the seam were one when it was played.
SEAM_BEATS = 1.0 / 12.0
# A groove whose first stroke comes this little before a bar begins with that bar.
EARLY_BEATS = 0.25

# Settings of a pattern file: lowest, highest, whole.
_SETTINGS = {
    "bpm": (LOWEST_BPM, HIGHEST_BPM, False),
    "steps_per_beat": (1, 24, True),
    "swing": (0.0, 0.75, False),
}


@dataclass(frozen=True)
class LoopPlan:
    """What a loop is asked to play: bars of four beats, a tempo, and hits.

    Parameters
    ----------
    name : str
        Of the pattern or groove, for file names.
    bars : int
    bpm : float
        Beats (quarter notes) per minute.
    hits : tuple of (beat, role, velocity)
        In order of time; beats count from the start of the loop, velocity is above 0, up to 1.

    Raises
    ------
    GhostnoteError
        If a value is impossible or the loop would be longer than half an hour, or hold more hits
        than its manifest can list.
    """

    name: str
    bars: int
    bpm: float
    hits: tuple[Hit, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.bars <= MAX_BARS:
            raise GhostnoteError(f"bars must be 1 to {MAX_BARS}, found {self.bars}")
        if not LOWEST_BPM <= self.bpm <= HIGHEST_BPM:
            raise GhostnoteError(
                f"bpm must be {LOWEST_BPM:g} to {HIGHEST_BPM:g}, found {self.bpm:g}"
            )
        if self.seconds > MAX_SECONDS:
            raise GhostnoteError(
                f"{self.bars} bars at {self.bpm:g} bpm are {self.seconds:.0f} s; "
                f"a loop has at most {MAX_SECONDS:.0f} s"
            )
        _check_hits(self.name, self.bars, len(self.hits))
        last = 0.0
        for beat, role, velocity in self.hits:
            if not last <= beat < self.bars * BEATS_PER_BAR:
                raise GhostnoteError(f"hit of {role}: beat {beat:g} is out of order or of the loop")
            if not 0.0 < velocity <= 1.0:
                raise GhostnoteError(
                    f"hit of {role}: velocity must be above 0, up to 1: {velocity}"
                )
            last = beat

    @property
    def seconds(self) -> float:
        """Length of the loop."""
        return self.bars * BEATS_PER_BAR * 60.0 / self.bpm

    def frames(self, samplerate: int) -> int:
        """Return the length in frames at a sample rate in Hz (1000 to 384000), to the nearest."""
        if not 1000 <= samplerate <= 384000:
            raise GhostnoteError(f"samplerate must be 1000 to 384000, found {samplerate}")
        return round(self.bars * BEATS_PER_BAR * 60 / self.bpm * samplerate)

    def only(self, roles: Sequence[str]) -> tuple[LoopPlan, dict[str, int]]:
        """Return the plan with the hits of `roles` only, and how many of each other it lost."""
        kept = tuple(hit for hit in self.hits if hit[1] in roles)
        lost: dict[str, int] = {}
        for _, role, _ in self.hits:
            if role not in roles:
                lost[role] = lost.get(role, 0) + 1
        return replace(self, hits=kept), lost


@dataclass(frozen=True)
class Pattern:
    """Steps of each role; a role whose steps end begins again, whatever the others do.

    Attributes
    ----------
    name : str
    steps : dict of role to velocities
        0 is a rest.
    bpm : float or None
        The tempo it is meant for, if it names one.
    steps_per_beat : int
    swing : float
        How late every other step comes, in steps: 0 is straight, 1/3 is a triplet's shuffle.
    """

    name: str
    steps: Mapping[str, tuple[float, ...]]
    bpm: float | None = None
    steps_per_beat: int = 4
    swing: float = 0.0


def built_in_pattern(name: str) -> Pattern:
    """Return a pattern of `BUILT_IN` by its name, which must be one."""
    return Pattern(name, {role: parse_steps(text) for role, text in BUILT_IN[name].items()})


def choose_plan(
    roles: Sequence[str],
    groove: Path | None,
    pattern: str | None,
    bars: int,
    bpm: float | None,
    texture: bool = False,
) -> tuple[LoopPlan, dict[str, int]]:
    """Return what a model with `roles` is to play, and how many hits of which roles it lacks.

    `pattern` is the name of a built-in one or a file's path. With nothing named it is
    DEFAULT_PATTERN, or no hits at all for a texture. Raises GhostnoteError as all readers here do,
    and if no hit is left.
    """
    if groove is not None:
        plan = plan_groove(read_groove(groove), bars, bpm)
    elif pattern is not None and pattern not in BUILT_IN:
        return plan_pattern(read_pattern(Path(pattern), roles), bars, bpm), {}
    elif pattern is None and (texture or not roles):
        return LoopPlan("free", bars, DEFAULT_BPM if bpm is None else bpm), {}
    else:
        plan = plan_pattern(built_in_pattern(pattern or DEFAULT_PATTERN), bars, bpm)
    plan, lost = plan.only(roles)
    if not plan.hits:
        known = ", ".join(roles) or "none"
        raise GhostnoteError(f"{plan.name}: no hit in it for this model, whose roles are {known}")
    return plan, lost


def plan_pattern(pattern: Pattern, bars: int, bpm: float | None = None) -> LoopPlan:
    """Return the plan of a pattern repeated over `bars`.

    `bpm` None is the pattern's own tempo, or DEFAULT_BPM. Raises GhostnoteError as LoopPlan does.
    """
    plan = LoopPlan(pattern.name, bars, pattern.bpm or DEFAULT_BPM if bpm is None else bpm)
    steps = bars * BEATS_PER_BAR * pattern.steps_per_beat
    lines = {role: line for role, line in pattern.steps.items() if any(line)}
    # Before there is a list of them: it might fill the memory.
    _check_hits(pattern.name, bars, sum(_hits_in(line, steps) for line in lines.values()))
    hits: list[Hit] = []
    for role, velocities in lines.items():
        for step in range(steps):
            velocity = velocities[step % len(velocities)]
            if velocity > 0.0:
                late = pattern.swing if step % 2 else 0.0
                hits.append(((step + late) / pattern.steps_per_beat, role, velocity))
    return replace(plan, hits=_in_order(hits))


def plan_groove(groove: Groove, bars: int, bpm: float | None = None) -> LoopPlan:
    """Return the plan of a groove's first `bars`; a shorter groove is repeated bar for bar.

    Empty bars before the first hit are left out. Bars have four beats, whatever the metre. `bpm`
    None is the groove's own tempo. Raises GhostnoteError as LoopPlan does.
    """
    plan = LoopPlan(groove.name, bars, groove.bpm if bpm is None else bpm)
    first, last = groove.in_beats[0][0], groove.in_beats[-1][0]
    start = math.floor((first + EARLY_BEATS) / BEATS_PER_BAR) * BEATS_PER_BAR
    own_bars = max(1, math.ceil((last - start) / BEATS_PER_BAR))
    if last - start == own_bars * BEATS_PER_BAR:
        own_bars += 1  # the last hit begins a bar
    length = min(own_bars, bars) * BEATS_PER_BAR
    once = [(max(beat - start, 0.0), role, velocity) for beat, role, velocity in groove.in_beats]
    # Of hits at one time one is kept already here, so that what is counted is what there will be.
    once = _without_doubled_seam(_in_order([hit for hit in once if hit[0] < length]), length)
    passes, rest = divmod(bars * BEATS_PER_BAR, length)
    in_rest = sum(1 for beat, _, _ in once if beat < rest)
    _check_hits(groove.name, bars, passes * len(once) + in_rest)
    passes += rest > 0
    hits = [(beat + i * length, role, v) for i in range(passes) for beat, role, v in once]
    hits = [hit for hit in hits if hit[0] < bars * BEATS_PER_BAR]
    return replace(plan, hits=_in_order(_without_doubled_seam(hits, bars * BEATS_PER_BAR)))


def _hits_in(line: Sequence[float], steps: int) -> int:
    """Return how many of so many steps are hits, where a line of them begins again and again."""
    passes, rest = divmod(steps, len(line))
    return passes * sum(v > 0.0 for v in line) + sum(v > 0.0 for v in line[:rest])


def _check_hits(name: str, bars: int, count: int) -> None:
    if count > MAX_HITS:
        raise GhostnoteError(
            f"{name}: {count} hits in {bars} bars; a loop has at most {MAX_HITS}: ask for fewer bars"
        )


def _in_order(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """Return hits in order of time; of hits of one role at one time the loudest is kept."""
    loudest: dict[tuple[float, str], float] = {}
    for beat, role, velocity in hits:
        loudest[beat, role] = max(velocity, loudest.get((beat, role), 0.0))
    merged = [(beat, role, velocity) for (beat, role), velocity in loudest.items()]
    return tuple(sorted(merged, key=lambda hit: hit[0]))


def _without_doubled_seam(hits: Sequence[Hit], length: int) -> list[Hit]:
    first: dict[str, float] = {}
    for beat, role, _ in hits:
        first.setdefault(role, beat)
    return [hit for hit in hits if hit[0] <= first[hit[1]] + length - SEAM_BEATS]


def read_pattern(path: Path, roles: Sequence[str]) -> Pattern:
    """Return the pattern in a text file, whose roles must be among `roles`.

    Raises
    ------
    GhostnoteError
        If it cannot be read or says anything else than a pattern does; names file and line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PATTERN_BYTES + 1)
    except OSError as error:
        raise GhostnoteError(f"pattern {path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_PATTERN_BYTES:
        raise GhostnoteError(f"pattern {path}: over {MAX_PATTERN_BYTES} bytes; is it a pattern?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise GhostnoteError(f"pattern {path}: not text (UTF-8)") from None
    steps: dict[str, tuple[float, ...]] = {}
    settings: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.split("#")[0].strip()
        if content:
            try:
                _read_line(content, roles, steps, settings)
            except GhostnoteError as error:
                raise GhostnoteError(f"pattern {path}, line {number}: {error}") from None
    if not any(any(velocities) for velocities in steps.values()):
        raise GhostnoteError(f"pattern {path}: no hit in it; write lines such as `kick: x...x...`")
    return Pattern(
        path.stem,
        steps,
        settings.get("bpm"),
        int(settings.get("steps_per_beat", 4)),
        settings.get("swing", 0.0),
    )


def _read_line(
    content: str,
    roles: Sequence[str],
    steps: dict[str, tuple[float, ...]],
    settings: dict[str, float],
) -> None:
    """Take one line into `steps` or `settings`."""
    name, colon, value = content.partition(":")
    name, value = name.strip(), value.strip()
    if not colon:
        raise GhostnoteError(f"expected `role: steps`, found {_shown(content)}")
    if name in steps or name in settings:
        raise GhostnoteError(f"{name} is there twice")
    if name in _SETTINGS:
        low, high, whole = _SETTINGS[name]
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high or (whole and number != int(number)):
            kind = "a whole number" if whole else "a number"
            raise GhostnoteError(f"{name} must be {kind}, {low:g} to {high:g}: {_shown(value)}")
        settings[name] = number
    elif name in roles:
        if " " in value or "\t" in value:
            # Over OSC a space is a rest; in a file it is more likely meant to part the beats.
            raise GhostnoteError("a space among the steps; `.` is a rest, `|` parts groups")
        steps[name] = parse_steps(value)
    else:
        known = ", ".join(roles) or "none"
        raise GhostnoteError(f"no role is called {_shown(name)}; the model's roles are {known}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")
