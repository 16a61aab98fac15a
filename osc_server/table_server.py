"""The protocol's addresses of the server, of models, presets and rendering.

Plain values; any thread.
"""

from __future__ import annotations

from typing import Final

from .clients import LEASE_SECONDS, MAX_BEATS, MAX_CLIENTS, MAX_HZ, MAX_METER_HZ
from .commands import Op
from .endpoint import Access, Argument, Endpoint
from .table_parts import BUTTON, MODEL, VOICE, trigger

_LEASE = f"A lease lasts {LEASE_SECONDS:g} s: send 1 again before."
_ON = Argument("on", "i", "1 follow or renew, 0 leave", low=0, high=1)
_PRESET = Argument("name", "s", "of a preset; folders may be in it, as in live/verse")

SERVER: Final = (
    trigger("/ghost/status", "Ask how the server is.", reply="/ghost/status.reply"),
    trigger("/ghost/version", "Ask what the server is.", reply="/ghost/version.reply"),
    trigger(
        "/ghost/state",
        "Ask for everything that the server is set to, and which voices play, as one JSON text.",
        reply="/ghost/state.reply s json",
    ),
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
        f"address that sets it, never to the client that set it. {_LEASE}",
        (
            _ON,
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
        "/ghost/notify/meters",
        Access.COMMAND,
        f"Follow (1) or leave (0) the meters: `/ghost/meter` of every voice and "
        f"`/ghost/master/meter`. {_LEASE}",
        (
            _ON,
            Argument(
                "hz",
                "f",
                "so many times a second",
                unit="Hz",
                low=0.1,
                high=MAX_METER_HZ,
                default=20.0,
                optional=True,
            ),
        ),
        (1, 30.0),
        "/done /ghost/notify/meters",
    ),
    Endpoint(
        "/ghost/notify/beat",
        Access.COMMAND,
        f"Follow (1) or leave (0) the transport's beat: `/ghost/beat` while it rolls. {_LEASE}",
        (
            _ON,
            Argument(
                "per_beat",
                "i",
                "so many times a beat",
                low=1,
                high=MAX_BEATS,
                default=1,
                optional=True,
            ),
        ),
        (1, 4),
        "/done /ghost/notify/beat",
    ),
    Endpoint(
        "/ghost/error",
        Access.COMMAND,
        "Tell this client of refusals and of late bundles (1), as at first, or not (0).",
        (Argument("on", "i", "1: /fail and /ghost/late come; 0: they do not", low=0, high=1),),
        (1,),
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
    trigger("/ghost/clearSched", "Forget everything scheduled by timetags.", Op.CLEAR_SCHED),
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
    trigger(
        "/ghost/model/list",
        "Ask for the models that can be loaded.",
        reply="/done /ghost/model/list s name...",
    ),
    Endpoint(
        "/ghost/model/load",
        Access.COMMAND,
        "Load a model and crossfade to it.",
        (MODEL, VOICE),
        ("kit",),
        "/done /ghost/model/load s name s kit... i receptive i samplerate",
    ),
    Endpoint(
        "/ghost/model/info",
        Access.COMMAND,
        "Ask what a model is.",
        (MODEL,),
        ("kit",),
        "/done /ghost/model/info s name i samplerate i receptive i roles s role... i kits s kit...",
    ),
)

PRESETS: Final = (
    trigger(
        "/ghost/preset/list",
        "Ask for the presets that there are.",
        reply="/done /ghost/preset/list s name...",
    ),
    Endpoint(
        "/ghost/preset/save",
        Access.COMMAND,
        "Keep all parameters of all voices (models, kits, patterns, mix, tempo) under a name; one "
        "that exists is replaced.",
        (_PRESET,),
        ("verse",),
        "/done /ghost/preset/save s name",
    ),
    Endpoint(
        "/ghost/preset/load",
        Access.COMMAND,
        "Set all that a preset holds; voices that it has and the server has not are made, others "
        "are left as they are. What plays or is stopped stays so.",
        (_PRESET,),
        ("verse",),
        "/done /ghost/preset/load s name",
    ),
    Endpoint(
        "/ghost/preset/morph",
        Access.COMMAND,
        "Set what lies between two presets: numbers are mixed, the rest changes in the middle. A "
        "voice that only one of them has takes that one's. Of a quick succession only the last "
        "is done and answered.",
        (
            Argument("a", "s", "a preset"),
            Argument("b", "s", "another"),
            Argument("x", "f", "0: the first, 1: the second", low=0, high=1),
        ),
        ("verse", "chorus", 0.5),
        "/done /ghost/preset/morph s a s b f x",
    ),
    Endpoint(
        "/ghost/preset/delete",
        Access.COMMAND,
        "Forget a preset.",
        (_PRESET,),
        ("verse",),
        "/done /ghost/preset/delete s name",
    ),
)

RENDER: Final = (
    Endpoint(
        "/ghost/render",
        Access.COMMAND,
        "Render loops to files, faster than they would play, as `ghostnote render` does. "
        "`/ghost/render/progress` tells how far it is.",
        (
            Argument(
                "json",
                "s",
                "an object of what to render: model, kit, bars, bpm, count, seed, out, ...",
            ),
        ),
        ('{"bars": 1, "bpm": 120, "count": 2}',),
        "/done /ghost/render i job s manifest",
    ),
    Endpoint(
        "/ghost/render/cancel",
        Access.COMMAND,
        "End a job of rendering; what it has written is kept.",
        (Argument("job", "i", "of /ghost/render/progress", low=1),),
        (1,),
        "/done /ghost/render/cancel i job",
    ),
)
