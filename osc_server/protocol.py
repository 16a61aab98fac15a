"""The OSC protocol as one table: every address with its types, ranges, units and meaning.

From it come the dispatcher, the reference page (`python -m ghostnote.osc_server.protocol >
docs/osc.md`) and the tests. Importing it does nothing but make the table; any thread may read it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final

from ghostnote.kernels.spec import DEFAULT_TEMPERATURE

from .clients import LEASE_SECONDS, MAX_CLIENTS, MAX_HZ
from .commands import MAX_STEPS, Op
from .encode import Value

PROTOCOL_VERSION: Final = 1
"""Grows when an address changes its meaning; new addresses leave it."""

DEFAULT_VELOCITY: Final = 0.8
SILENT_DB: Final = -90.0
"""Gains at or below it are silence."""
MAX_AHEAD_SECONDS: Final = 60.0
"""Timetags further ahead are refused: the sender's clock is wrong, or its arithmetic."""


class Access(Enum):
    """What a message to an address does."""

    SET = "set"  # a parameter: has a value, which /ghost/get tells and /ghost/notify follows
    TRIGGER = "trigger"  # happens; a single argument 0 (a button's release) is ignored
    COMMAND = "command"  # does something with its arguments, or answers
    QUERY = "query"  # a value that can only be read


@dataclass(frozen=True)
class Argument:
    """One argument: its name, its type tag, and what it may be.

    Parameters
    ----------
    tag : str
        i, h, f, d, T (bool), s, or si: a name or its number. Numbers of any type are taken for
        each other.
    low, high : float
        The range of a number, both ends included.
    default : value or None
        Of a parameter: what it is at the start. Of an optional argument: what its absence means.
    optional, many : bool
        May be left out; may come any number of times (the last argument only).
    """

    name: str
    tag: str
    meaning: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    default: Value | None = None
    optional: bool = False
    many: bool = False


@dataclass(frozen=True)
class Endpoint:
    """One address.

    Parameters
    ----------
    address : str
        Template: {V} voice from 1, {ROLE} role name, {KIT} kit name or number from 0.
    example : tuple
        Arguments that it takes.
    reply : str
        What goes back to the sender, besides `/fail`.
    op : Op or None
        The engine command that it becomes, where that is a plain one.
    exact : bool
        Never matched by an address pattern.
    """

    address: str
    access: Access
    meaning: str
    arguments: tuple[Argument, ...] = ()
    example: tuple[Value, ...] = ()
    reply: str = ""
    op: Op | None = None
    exact: bool = False

    @cached_property
    def fewest(self) -> int:
        """How many arguments it takes at least."""
        return sum(not argument.optional for argument in self.arguments)

    @cached_property
    def most(self) -> float:
        """How many arguments it takes at most."""
        repeats = self.arguments and self.arguments[-1].many
        return math.inf if repeats else len(self.arguments)


BUTTON: Final = Argument(
    "on", "f", "0 is ignored, as the release of a button", default=1, optional=True
)
_VELOCITY = Argument(
    "velocity",
    "f",
    "how hard; 0 is ignored",
    low=0,
    high=1,
    default=DEFAULT_VELOCITY,
    optional=True,
)
_ROLE = Argument("role", "s", "a drum role of the model, such as kick")
_STEPS = Argument(
    "steps",
    "s",
    f"one character a sixteenth: x normal, X accent, o ghost, 1-9 ninths, . - or space rest, "
    f"| ignored; at most {MAX_STEPS} steps; empty clears",
    default="",
)
_MODEL = Argument("name", "s", "a name of /ghost/model/list")
_STATE_REPLY = "/ghost/voice/V/state s"


def _gain(of: str, address: str, op: Op) -> Endpoint:
    decibels = Argument(
        "gain", "f", f"{SILENT_DB:g} and below is silence", unit="dB", high=12, default=0.0
    )
    return Endpoint(address, Access.SET, f"Level of {of}.", (decibels,), (-6.0,), op=op)


def _trigger(address: str, meaning: str, op: Op | None = None, reply: str = "") -> Endpoint:
    return Endpoint(address, Access.TRIGGER, meaning, (BUTTON,), reply=reply, op=op)


def _one(address: str, meaning: str, argument: Argument, example: Value, op: Op) -> Endpoint:
    return Endpoint(address, Access.SET, meaning, (argument,), (example,), op=op)


SERVER: Final = (
    _trigger("/ghost/status", "Ask how the server is.", reply="/ghost/status.reply"),
    _trigger("/ghost/version", "Ask what the server is.", reply="/ghost/version.reply"),
    Endpoint(
        "/ghost/sync",
        Access.COMMAND,
        "Ask to be told when all earlier slow work (loading, recording) is done.",
        (Argument("id", "i", "comes back in the answer"),),
        (7,),
        "/ghost/synced i id",
    ),
    Endpoint(
        "/ghost/notify",
        Access.COMMAND,
        f"Follow (1) or leave (0) the changes of all parameters and states. Each comes on the "
        f"address that sets it, never to the client that set it. A lease lasts "
        f"{LEASE_SECONDS:g} s: send 1 again before.",
        (
            Argument("on", "i", "1 follow or renew, 0 leave", low=0, high=1),
            Argument(
                "id",
                "i",
                "number wanted; none: one is given",
                low=1,
                high=MAX_CLIENTS,
                optional=True,
            ),
            Argument(
                "hz",
                "f",
                "at most so many updates a second",
                unit="Hz",
                low=0.1,
                high=MAX_HZ,
                default=30.0,
                optional=True,
            ),
        ),
        (1,),
        "/done /ghost/notify i id i max_clients",
    ),
    Endpoint(
        "/ghost/dumpOSC",
        Access.COMMAND,
        "Write what arrives to the server's log.",
        (Argument("mode", "i", "0 off, 1 as text, 2 as hex, 3 both", low=0, high=3),),
        (0,),
    ),
    Endpoint(
        "/ghost/get",
        Access.COMMAND,
        "Ask for values; each comes on its own address. Patterns ask for many at once.",
        (Argument("address", "s", "of a parameter or state"),),
        ("/ghost/voice/*/gain",),
        "the address with its value",
    ),
    _trigger("/ghost/clearSched", "Forget everything scheduled by timetags.", Op.CLEAR_SCHED),
    Endpoint(
        "/ghost/quit",
        Access.TRIGGER,
        "End the server. Taken only from this machine, and never by a pattern.",
        (BUTTON,),
        reply="/done /ghost/quit",
        exact=True,
    ),
)

MODELS: Final = (
    _trigger(
        "/ghost/model/list",
        "Ask for the models that can be loaded.",
        reply="/done /ghost/model/list s name...",
    ),
    Endpoint(
        "/ghost/model/load",
        Access.COMMAND,
        "Load a model and crossfade to it.",
        (_MODEL, Argument("voice", "i", "from 1; none: all", low=1, optional=True)),
        ("default",),
        "/done /ghost/model/load s name s kit... i receptive i samplerate",
    ),
    Endpoint(
        "/ghost/model/info",
        Access.COMMAND,
        "Ask what a model is.",
        (_MODEL,),
        ("default",),
        "/done /ghost/model/info s name i samplerate i receptive i roles s role... i kits s kit...",
    ),
)

VOICE: Final = (
    _trigger("/ghost/voice/{V}/play", "Start the voice.", Op.VOICE_PLAY, _STATE_REPLY),
    _trigger("/ghost/voice/{V}/stop", "Fade the voice out.", Op.VOICE_STOP, _STATE_REPLY),
    _trigger(
        "/ghost/voice/{V}/reset",
        "Return the voice to silence and to its seed.",
        Op.VOICE_RESET,
        _STATE_REPLY,
    ),
    Endpoint(
        "/ghost/voice/{V}/state",
        Access.QUERY,
        "What the voice does: idle, priming, playing or starved.",
        reply=_STATE_REPLY,
    ),
    _one(
        "/ghost/voice/{V}/seed",
        "The number that the voice's chance begins from.",
        Argument(
            "seed",
            "h",
            "the same seed and events give the same samples",
            low=0,
            high=2**63 - 1,
            default=0,
        ),
        42,
        Op.SEED,
    ),
    _one(
        "/ghost/voice/{V}/temperature",
        "How freely the model chooses.",
        Argument(
            "temperature",
            "f",
            "below 1 tamer, above 1 wilder",
            low=0.05,
            high=4,
            default=DEFAULT_TEMPERATURE,
        ),
        0.8,
        Op.TEMPERATURE,
    ),
    _one(
        "/ghost/voice/{V}/topk",
        "Choose among the k likeliest levels only.",
        Argument("k", "i", "0: among all", low=0, high=65536, default=0),
        64,
        Op.TOPK,
    ),
    Endpoint(
        "/ghost/voice/{V}/kit",
        Access.SET,
        "Play one kit of the model, pure. Reads as an empty name while kits are mixed.",
        (Argument("kit", "si", "name, or number from 0", default=0),),
        (0,),
    ),
    Endpoint(
        "/ghost/voice/{V}/weights",
        Access.SET,
        "Mix the kits of the model: one number each, scaled to sum 1; all 0 plays the bare texture.",
        (Argument("weight", "f", "of each kit in turn", low=0, high=1000, many=True),),
        (1.0, 0.5),
    ),
    Endpoint(
        "/ghost/voice/{V}/weights/{KIT}",
        Access.SET,
        "Set one kit's share of the mix, as one fader of a mixer; the others keep theirs.",
        (Argument("weight", "f", "before scaling to sum 1", low=0, high=1000),),
        (0.5,),
    ),
    _one(
        "/ghost/voice/{V}/glide",
        "How long a change of kit weights takes.",
        Argument("glide", "f", "0: at once", unit="s", low=0, high=60, default=0.05),
        0.25,
        Op.GLIDE,
    ),
    _gain("the voice", "/ghost/voice/{V}/gain", Op.GAIN),
    _one(
        "/ghost/voice/{V}/pan",
        "Place of the voice between left and right.",
        Argument("pan", "f", "-1 left, 0 middle, 1 right", low=-1, high=1, default=0.0),
        -0.25,
        Op.PAN,
    ),
    _one(
        "/ghost/voice/{V}/mute",
        "Silence the voice while it plays on.",
        Argument("mute", "T", "above 0.5 is on", default=False),
        True,
        Op.MUTE,
    ),
)

TRIGGERS: Final = (
    Endpoint(
        "/ghost/voice/{V}/trig/{ROLE}",
        Access.TRIGGER,
        "Hit a drum, now or at the bundle's timetag.",
        (_VELOCITY,),
        (0.8,),
        op=Op.TRIG,
    ),
    Endpoint(
        "/ghost/trig",
        Access.TRIGGER,
        "Hit a drum: the form for senders with fixed addresses.",
        (_ROLE, _VELOCITY, Argument("voice", "i", "from 1; none: all", low=1, optional=True)),
        ("kick", 0.8, 1),
    ),
    Endpoint(
        "/ghost/pattern/{V}",
        Access.COMMAND,
        "Give one role its steps; they play while the transport runs.",
        (_ROLE, _STEPS),
        ("kick", "x...x...x...x.o."),
    ),
    Endpoint(
        "/ghost/pattern/{V}/{ROLE}",
        Access.SET,
        "The same with the role in the address; this is where the steps are read.",
        (_STEPS,),
        ("x...x...x...x.o.",),
    ),
)

TIME: Final = (
    _one(
        "/ghost/tempo",
        "Beats per minute of the patterns.",
        Argument("tempo", "f", "four steps a beat", unit="bpm", low=10, high=1000, default=120.0),
        128.0,
        Op.TEMPO,
    ),
    _trigger("/ghost/play", "Start the transport, from the first step.", Op.PLAY),
    _trigger("/ghost/stop", "Stop the transport; voices ring on.", Op.STOP),
)

MIX: Final = (
    _gain("everything", "/ghost/master/gain", Op.MASTER_GAIN),
    Endpoint(
        "/ghost/record/start",
        Access.COMMAND,
        "Record what is heard into a WAV file. If writing fails later, /fail tells.",
        (Argument("path", "s", "below the folder for recordings"),),
        ("take1.wav",),
        "/done /ghost/record/start s path",
    ),
    _trigger(
        "/ghost/record/stop", "End the recording.", reply="/done /ghost/record/stop s path i frames"
    ),
)

GROUPS: Final = (
    ("Server", SERVER),
    ("Models", MODELS),
    ("Voices", VOICE),
    ("Triggers and patterns", TRIGGERS),
    ("Time", TIME),
    ("Mix and recording", MIX),
)

TABLE: Final[tuple[Endpoint, ...]] = tuple(e for _, group in GROUPS for e in group)

_STATUS = (
    "i voices i active f cpu_avg f cpu_peak i xruns i late i dropped d sr_nominal d sr_actual "
    "f latency_ms f fill"
)

REPLIES: Final = (
    ("/done", "s command ...", "A command that answers is done; its results follow."),
    ("/fail", "s command s reason", "A message was refused, and nothing was changed by it."),
    (
        "/ghost/late",
        "s address f seconds",
        "A bundle came so much too late for its timetag; it was played at once.",
    ),
    (
        "/ghost/status.reply",
        _STATUS,
        "cpu in percent of one core, rates in Hz, fill as a share of the ring's target.",
    ),
    (
        "/ghost/version.reply",
        "s name i major i minor i patch i protocol s commit",
        "protocol grows when an address changes its meaning.",
    ),
    ("/ghost/synced", "i id", "All slow work asked for before that /ghost/sync is done."),
)
"""What the server sends besides parameters on their own addresses."""


if __name__ == "__main__":
    from .reference import page

    print(page(), end="")
