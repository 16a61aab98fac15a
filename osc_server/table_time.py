"""The protocol's addresses of time, of the master and of recording.

Plain values; any thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from .commands import Op
from .endpoint import Access, Argument, Endpoint
from .table_parts import RECORDED, gain, one, switch, trigger

SYNC_SOURCES: Final = ("internal", "osc", "jack", "midi", "link")
RECORD_FORMATS: Final = ("float", "24")
SLOWEST_TEMPO: Final = 10.0
FASTEST_TEMPO: Final = 1000.0

TIME: Final = (
    one(
        "/ghost/tempo",
        "Beats per minute of the patterns.",
        Argument(
            "tempo",
            "f",
            "four steps a beat",
            unit="bpm",
            low=SLOWEST_TEMPO,
            high=FASTEST_TEMPO,
            default=120.0,
        ),
        128.0,
        Op.TEMPO,
    ),
    trigger("/ghost/tap", "Beat the tempo with two taps or more."),
    Endpoint(
        "/ghost/beat",
        Access.COMMAND,
        "Say at which beat the transport is, now or at the bundle's timetag: small differences "
        "are made up for gently. With the source osc, send it again and again: the jitter is taken out, "
        "and the tempo is measured. Comes back to those who follow it by /ghost/notify/beat.",
        (Argument("beat", "d", "from 0, as played", unit="beats", low=0, high=1e9),),
        (16.0,),
        op=Op.BEAT,
    ),
    trigger("/ghost/play", "Start the transport, from the first step.", Op.PLAY),
    trigger("/ghost/stop", "Stop the transport; voices ring on.", Op.STOP),
    trigger("/ghost/continue", "Start the transport where it stands.", Op.ROLL),
    Endpoint(
        "/ghost/rolling",
        Access.QUERY,
        "Whether the transport runs.",
        reply="/ghost/rolling T",
    ),
    one(
        "/ghost/quantum",
        "While the transport runs, starts, stops and rewinds of voices, seeds, kits, patterns and "
        "holds wait for the next multiple of it; those with a timetag do not.",
        Argument("quantum", "f", "0: at once", unit="beats", low=0, high=64, default=0.0),
        4.0,
        Op.QUANTUM,
    ),
    one(
        "/ghost/signature",
        "How many beats a bar has.",
        Argument("beats", "i", "of a bar", unit="beats", low=1, high=16, default=4),
        3,
        Op.SIGNATURE,
    ),
    one(
        "/ghost/sync/source",
        "Who says where the beat is. What another source than these messages says (beat, tempo, "
        "mostly play and stop) clients cannot say then.",
        Argument(
            "source",
            "s",
            "internal and osc: these messages; jack: its transport; midi: clock; link: Ableton "
            "Link",
            default="internal",
            values=SYNC_SOURCES,
        ),
        "internal",
    ),
    one(
        "/ghost/sync/offset",
        "Plays so much later than the source says (below 0: earlier).",
        Argument("offset", "f", "added", unit="ms", low=-1000, high=1000, default=0.0),
        -5.0,
    ),
)

MASTER: Final = (
    gain("everything", "/ghost/master/gain", Op.MASTER_GAIN),
    switch(
        "/ghost/master/limiter",
        "Keep the loudest peaks softly below full scale.",
        "limiter",
        Op.LIMITER,
        default=True,
    ),
    Endpoint(
        "/ghost/record/start",
        Access.COMMAND,
        "Record what is heard, or one voice, into a WAV file. If writing fails later, /fail tells.",
        (Argument("path", "s", "below the folder for recordings"), RECORDED),
        ("take1.wav",),
        "/done /ghost/record/start s path",
    ),
    Endpoint(
        "/ghost/record/stop",
        Access.TRIGGER,
        "End a recording. The number of a voice that is not recorded means the master, so that a "
        "button will do.",
        (replace(RECORDED, low=0),),
        (),
        "/done /ghost/record/stop s path i frames",
    ),
    Endpoint(
        "/ghost/record/grab",
        Access.COMMAND,
        "Keep the last bars that were heard as a WAV file: they are always remembered.",
        (
            Argument("bars", "f", "of the transport", unit="bars", low=0.25, high=64),
            Argument(
                "path",
                "s",
                "below the folder for recordings; empty: one is found",
                default="",
                optional=True,
            ),
            RECORDED,
        ),
        (4.0,),
        "/done /ghost/record/grab s path i frames",
    ),
    one(
        "/ghost/record/format",
        "How recordings are written from now on.",
        Argument("format", "s", "32-bit float or 24-bit", default="float", values=RECORD_FORMATS),
        "24",
    ),
)
