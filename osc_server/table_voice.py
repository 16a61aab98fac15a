"""The protocol's addresses of voices: their life, their chance, their kits, their place in the mix.

Plain values; any thread.
"""

from __future__ import annotations

from typing import Final

from ghostnote.kernels.spec import DEFAULT_TEMPERATURE

from .commands import Op
from .endpoint import Access, Argument, Endpoint
from .table_parts import STATE_REPLY, gain, one, switch, trigger

MAX_PAIRS: Final = 32
"""Pairs of outputs that the protocol can number."""

LIFE: Final = (
    Endpoint(
        "/ghost/voice/new",
        Access.COMMAND,
        "Make one more voice, with every parameter at its default.",
        (
            Argument(
                "model",
                "s",
                "a name of /ghost/model/list; empty: the server's own",
                default="",
                optional=True,
            ),
            Argument("id", "i", "number wanted; none: the lowest free", low=1, optional=True),
        ),
        ("kit", 3),
        "/done /ghost/voice/new i id",
    ),
    trigger(
        "/ghost/voice/{V}/free",
        "Fade the voice out and end it; its addresses go at once, and what waits for a timetag.",
        Op.VOICE_FREE,
        STATE_REPLY,
    ),
    trigger("/ghost/voice/{V}/play", "Start the voice.", Op.VOICE_PLAY, STATE_REPLY),
    trigger("/ghost/voice/{V}/stop", "Fade the voice out.", Op.VOICE_STOP, STATE_REPLY),
    trigger(
        "/ghost/voice/{V}/reset",
        "Return the voice to silence and to its seed, at once.",
        Op.VOICE_RESET,
        STATE_REPLY,
    ),
    trigger(
        "/ghost/voice/{V}/rewind",
        "Return the voice to its seed, at the next quantum of a rolling transport.",
        Op.VOICE_REWIND,
        STATE_REPLY,
    ),
    switch(
        "/ghost/voice/{V}/hold",
        "Repeat the last bar as a loop, from the next bar line on.",
        "hold",
        Op.HOLD,
    ),
    Endpoint(
        "/ghost/voice/{V}/state",
        Access.QUERY,
        "What the voice does: idle, playing, holding or starved. `free` is told when it goes.",
        reply=STATE_REPLY,
    ),
    Endpoint(
        "/ghost/voice/{V}/model",
        Access.QUERY,
        "The model that the voice plays; told to followers when it changes.",
        reply="/ghost/voice/V/model s",
    ),
    Endpoint(
        "/ghost/voice/{V}/prime",
        Access.COMMAND,
        "Let the voice go on from the end of a sound file, as if it had just played that.",
        (Argument("path", "s", "below the folder for primes"),),
        ("break.wav",),
        "/done /ghost/voice/V/prime s path",
    ),
)

SAMPLING: Final = (
    one(
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
    one(
        "/ghost/voice/{V}/temperature",
        "How freely the model chooses; the first 10 ms of each hit at 1 at least, or hits go missing.",
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
    one(
        "/ghost/voice/{V}/topk",
        "Choose among the k likeliest levels only.",
        Argument("k", "i", "0: among all", low=0, high=65536, default=0),
        64,
        Op.TOPK,
    ),
)

KITS: Final = (
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
        (1.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0),
    ),
    Endpoint(
        "/ghost/voice/{V}/weights/{KIT}",
        Access.SET,
        "Set one kit's share of the mix, as one fader of a mixer; the others keep theirs.",
        (Argument("weight", "f", "before scaling to sum 1", low=0, high=1000),),
        (0.5,),
    ),
    Endpoint(
        "/ghost/voice/{V}/morph",
        Access.COMMAND,
        "Play what lies between two kits.",
        (
            Argument("a", "si", "a kit: name, or number from 0"),
            Argument("b", "si", "another"),
            Argument("x", "f", "0: the first, 1: the second", low=0, high=1),
        ),
        (0, 1, 0.5),
    ),
    Endpoint(
        "/ghost/voice/{V}/xy",
        Access.COMMAND,
        "Mix the kits by a point of a square. They stand evenly on the circle of radius 0.5 about "
        "(0.5, 0.5), the first at the top, (0.5, 1), and on clockwise; each weighs the inverse of "
        "its squared distance, and on a kit's own point it plays pure.",
        (
            Argument("x", "f", "0 left, 1 right", low=0, high=1),
            Argument("y", "f", "0 bottom, 1 top", low=0, high=1),
        ),
        (0.5, 0.75),
    ),
    one(
        "/ghost/voice/{V}/glide",
        "How long a change of kit weights takes.",
        Argument("glide", "f", "0: at once", unit="s", low=0, high=60, default=0.05),
        0.25,
        Op.GLIDE,
    ),
)

MIX: Final = (
    gain("the voice", "/ghost/voice/{V}/gain", Op.GAIN),
    one(
        "/ghost/voice/{V}/pan",
        "Place of the voice between left and right.",
        Argument("pan", "f", "-1 left, 0 middle, 1 right", low=-1, high=1, default=0.0),
        -0.25,
        Op.PAN,
    ),
    switch("/ghost/voice/{V}/mute", "Silence the voice while it plays on.", "mute", Op.MUTE),
    switch(
        "/ghost/voice/{V}/solo",
        "Silence all voices that are not solo, while they play on.",
        "solo",
        Op.SOLO,
    ),
    one(
        "/ghost/voice/{V}/out",
        "The pair of outputs that the voice plays to.",
        Argument("pair", "i", "from 1 up to --outputs of serve", low=1, high=MAX_PAIRS, default=1),
        1,
        Op.OUT,
    ),
)

VOICES: Final = (*LIFE, *SAMPLING, *KITS, *MIX)
