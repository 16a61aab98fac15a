"""The protocol's addresses of the drummers.

Plain values; any thread.
"""

from __future__ import annotations

from typing import Final

from ghostnote.inference.drummer import MAX_FILL, MAX_HUMANISE, DrummerSettings

from .encode import Value
from .endpoint import Argument, Endpoint
from .table_parts import one, trigger

_ROOT: Final = "/ghost/voice/{V}/drummer"
_USUAL: Final = DrummerSettings()


def _one(name: str, meaning: str, argument: Argument, example: Value) -> Endpoint:
    return one(f"{_ROOT}/{name}", meaning, argument, example)


DRUMMERS: Final = (
    trigger(
        f"{_ROOT}/start",
        "Let the voice's drummer play while the transport runs, from the next bar on. What it is "
        "asked for below acts from the next bar on too.",
    ),
    trigger(f"{_ROOT}/stop", "Let the drummer play no more."),
    _one(
        "playing",
        "Whether the drummer plays: what start and stop set.",
        Argument("playing", "T", "above 0.5 is on", default=False),
        True,
    ),
    _one(
        "style",
        "What the drummer plays.",
        Argument(
            "style",
            "s",
            "one of /ghost/drummer/styles, a mixture (funk:2,jazz:1), or any",
            default=_USUAL.style,
        ),
        "funk",
    ),
    _one(
        "density",
        "How busy it plays.",
        Argument(
            "density",
            "f",
            "the share of people's bars that are sparser",
            low=0,
            high=1,
            default=_USUAL.density,
        ),
        0.6,
    ),
    _one(
        "swing",
        "How late every second sixteenth is, besides the style's own feel.",
        Argument(
            "swing",
            "f",
            "1: half a sixteenth; 0.67: as triplets",
            low=0,
            high=1,
            default=_USUAL.swing,
        ),
        0.5,
    ),
    _one(
        "humanise",
        "How far timing and velocities are from the grid.",
        Argument(
            "humanise",
            "f",
            "0: on it, as a written pattern; 1: as people play",
            low=0,
            high=MAX_HUMANISE,
            default=_USUAL.humanise,
        ),
        0.8,
    ),
    _one(
        "fill",
        "Every how many bars a fill is played, as the last of them.",
        Argument(
            "bars",
            "i",
            "0: none but what the style brings",
            unit="bars",
            low=0,
            high=MAX_FILL,
            default=_USUAL.fill,
        ),
        4,
    ),
    _one(
        "seed",
        "The seed of what it plays: the same seed and settings play the same from /ghost/play on.",
        Argument("seed", "h", "", low=0, high=2**63 - 1, default=_USUAL.seed),
        7,
    ),
    trigger(
        "/ghost/drummer/styles",
        "Ask for the styles that drummers know.",
        reply="/done /ghost/drummer/styles s style...",
    ),
)
