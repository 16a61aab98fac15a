"""What is on every control surface: one description for Max, Pd, TouchOSC and Open Stage Control.

The roles and kits are those of the bundled model. Surfaces speak to all voices (`*`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOST: Final = "127.0.0.1"
PORT: Final = 9770

ROLES: Final = ("kick", "snare", "rim", "clap", "tom", "hat", "open", "crash", "ride")
VELOCITY: Final = 0.9

KITS: Final = 8
"""How many kits a menu offers, by number: models differ in their kits' names."""

NOTES: Final = {
    "kick": (35, 36),
    "rim": (37,),
    "snare": (38, 40),
    "clap": (39,),
    "hat": (42, 44),
    "open": (46,),
    "tom": (41, 43, 45, 47, 48, 50),
    "crash": (49, 52, 55, 57),
    "ride": (51, 53, 59),
}
"""General MIDI drum notes of each role."""


@dataclass(frozen=True)
class Fader:
    """A parameter with one number."""

    name: str
    address: str
    low: float
    high: float
    default: float


@dataclass(frozen=True)
class Button:
    """Something that happens."""

    name: str
    address: str


TEMPO: Final = Fader("tempo", "/ghost/tempo", 60, 200, 120)

FADERS: Final = (
    Fader("temperature", "/ghost/voice/*/temperature", 0.05, 2.0, 0.85),
    Fader("glide", "/ghost/voice/*/glide", 0.0, 4.0, 0.05),
    Fader("gain", "/ghost/master/gain", -60.0, 6.0, 0.0),
)

BUTTONS: Final = (
    Button("play", "/ghost/play"),
    Button("stop", "/ghost/stop"),
    Button("tap", "/ghost/tap"),
    Button("rewind", "/ghost/voice/*/rewind"),
)

KIT: Final = "/ghost/voice/*/kit"
WEIGHT: Final = "/ghost/voice/*/weights"
XY: Final = "/ghost/voice/*/xy"
HOLD: Final = "/ghost/voice/*/hold"
TRIGGER: Final = "/ghost/trig"
