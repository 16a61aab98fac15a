"""The OSC protocol as one table: every address with its types, ranges, units and meaning.

From it come the dispatcher, the OSCQuery tree, the reference page (`python -m
ghostnote.osc_server.protocol > docs/osc.md`) and the tests. The parts by subject are in
`table_*.py`. Importing it does nothing but make the table; any thread may read it.
"""

from __future__ import annotations

from typing import Final

from .endpoint import Endpoint
from .table_drummer import DRUMMERS
from .table_pattern import TRIGGERS
from .table_server import MODELS, PRESETS, RENDER, SERVER
from .table_time import MASTER, TIME
from .table_voice import VOICES

PROTOCOL_VERSION: Final = 1
"""Grows when an address changes its meaning; new addresses leave it."""

MAX_AHEAD_SECONDS: Final = 60.0
"""Timetags further ahead are refused: the sender's clock is wrong, or its arithmetic."""

GROUPS: Final = (
    ("Server", SERVER),
    ("Models", MODELS),
    ("Voices", VOICES),
    ("Triggers and patterns", TRIGGERS),
    ("Drummers", DRUMMERS),
    ("Time", TIME),
    ("Mix and recording", MASTER),
    ("Presets", PRESETS),
    ("Rendering", RENDER),
)

TABLE: Final[tuple[Endpoint, ...]] = tuple(e for _, group in GROUPS for e in group)

_STATUS = (
    "i voices i active f cpu_avg f cpu_peak i xruns i late i dropped d sr_nominal d sr_actual "
    "f latency_ms f fill"
)

REPLIES: Final = (
    ("/done", "s command ...", "A command that answers is done; its results follow."),
    (
        "/fail",
        "s command s reason",
        (
            "A message was refused, and nothing was changed by it; of an address pattern: some of "
            "its addresses refused it, and the first reason is told."
        ),
    ),
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
    ("/ghost/state.reply", "s json", "Everything that the server is set to."),
    ("/ghost/synced", "i id", "All slow work asked for before that /ghost/sync is done."),
    (
        "/ghost/meter",
        "i voice f peak f rms",
        "What a voice plays, linear, 1 being full scale; to followers of the meters.",
    ),
    (
        "/ghost/master/meter",
        "f peak_l f peak_r f rms_l f rms_r i clips",
        "What is heard, and how many samples were too loud since the start.",
    ),
    ("/ghost/beat", "d beat", "The transport has reached this beat; to followers of the beat."),
    ("/ghost/rolling", "T rolling", "The transport was started or stopped; to followers."),
    (
        "/ghost/tempo",
        "f tempo",
        "The source of time changed the tempo; to followers, as when a client does.",
    ),
    (
        "/ghost/sync/error",
        "f ms",
        "How far the beat is from what its source says; to followers, once a second at most.",
    ),
    (
        "/ghost/voice/V/reprimed",
        "s reason",
        "The voice had fallen into silence, dc or noise for no reason and was begun anew.",
    ),
    (
        "/ghost/sink",
        "s text",
        "The audio device was lost, came back, or takes larger blocks; to followers.",
    ),
    (
        "/ghost/backend",
        "s text",
        "The GPU was lost or came too late, and the CPU plays on; to followers.",
    ),
    ("/ghost/render/progress", "i job f done", "So much of a job, 0 to 1, is rendered."),
)
"""What the server sends besides parameters on their own addresses."""


if __name__ == "__main__":
    from .reference import page

    print(page(), end="")
