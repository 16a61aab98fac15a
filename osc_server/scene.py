"""A scene: all that voices and the rest of the server are set to, as presets and the state hold it.

Threads: `capture` needs the session's lock. `check` and `put` are for the worker's thread (or the
one that starts the server), without the lock. The rest is pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from ghostnote.inference.patterns import parse_steps
from ghostnote.kernels.errors import GhostnoteError

from .arguments import convert
from .encode import Value
from .endpoint import Access, Endpoint
from .handlers_voice import add_voice, adopt_kits
from .handling import Setting, apply_patiently, message
from .peer import Silence
from .routes import Routes
from .session import Session
from .table_parts import SILENT_DB

Settings: TypeAlias = dict[str, tuple[Value, ...]]
"""Values by address, without /ghost/ and the voice's number: gain, pattern/kick/length."""

SHARED: Final = ("tempo", "quantum", "signature", "master/gain", "master/limiter")
"""What a preset holds besides the voices."""
SERVER: Final = (*SHARED, "sync/source", "sync/offset", "record/format")
"""What the state holds besides the voices."""

MAX_SETTINGS: Final = 256
_LEFT_OUT: Final = frozenset(
    {
        "/ghost/voice/{V}/kit",  # told by the weights
        "/ghost/voice/{V}/weights/{KIT}",
        "/ghost/voice/{V}/hold",  # of one bar, which is gone
    }
)
_DRUMMER_PLAYS: Final = "/ghost/voice/{V}/drummer/playing"


@dataclass(frozen=True)
class VoiceScene:
    """What one voice is set to; what is not told of its patterns is as at the start.

    `playing` is None where a scene does not tell whether the voice plays or is stopped, as in a
    preset: to play and to stop belongs to the player, and a preset may be set in a performance.
    """

    model: str
    settings: Settings = field(default_factory=dict)
    playing: bool | None = None


@dataclass(frozen=True)
class Scene:
    """What a server is set to; voices count from 0."""

    shared: Settings = field(default_factory=dict)
    voices: dict[int, VoiceScene] = field(default_factory=dict)


def capture(session: Session, shared: tuple[str, ...], *, playing: bool = False) -> Scene:
    """Return what everything is set to now, of what has no voice only `shared`.

    `playing` has it tell, too, which voices and drummers play.
    """
    own: dict[int, Settings] = {voice: {} for voice in session.voices}
    for voice, settings in own.items():
        for route in session.routes.of_voice(voice):
            endpoint, value = route.endpoint, session.values.get(route.name)
            if endpoint.access is not Access.SET or endpoint.address in _LEFT_OUT or value is None:
                continue
            if endpoint.address == _DRUMMER_PLAYS and not playing:
                continue
            if endpoint.address == "/ghost/voice/{V}/weights":
                value = tuple(session.levels[voice])
            name = _name(route.name)
            if not name.startswith("pattern/") or value != (endpoint.arguments[0].default,):
                settings[name] = _finite(value)
    values = {name: session.values.get(f"/ghost/{name}") for name in shared}
    return Scene(
        {name: _finite(value) for name, value in values.items() if value is not None},
        {
            voice: VoiceScene(
                session.control.voice_model(voice),
                settings,
                _plays(session, voice) if playing else None,
            )
            for voice, settings in sorted(own.items())
        },
    )


def _plays(session: Session, voice: int) -> bool:
    """Tell whether a voice is not stopped; one that the engine has yet to make will play."""
    control = session.control
    return control.voice_state(voice) != "idle" or not control.exists(voice)


def as_json(scene: Scene) -> dict[str, Any]:
    """Return a scene as JSON values; voices count from 1 there."""
    return {
        "settings": _json(scene.shared),
        "voices": {
            str(number + 1): {
                "model": voice.model,
                "settings": _json(voice.settings),
                **({} if voice.playing is None else {"playing": voice.playing}),
            }
            for number, voice in scene.voices.items()
        },
    }


def from_json(data: Any) -> Scene:
    """Return the scene that JSON values tell; what they mean is not looked at yet.

    Raises
    ------
    GhostnoteError
        If they are no scene.
    """
    try:
        voices = {
            int(number) - 1: VoiceScene(
                _text(voice["model"]), _settings(voice["settings"]), _playing(voice.get("playing"))
            )
            for number, voice in data["voices"].items()
            if len(number) < 4
        }
        if min(voices, default=0) < 0 or len(voices) != len(data["voices"]):
            raise ValueError("voices")
        return Scene(_settings(data["settings"]), voices)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise GhostnoteError("is damaged") from None


def mix(a: Scene, b: Scene, x: float, table: tuple[Endpoint, ...]) -> Scene:
    """Return what lies at `x`, 0 to 1, between two scenes.

    Numbers are mixed (levels in dB), kit weights where both play the same model; everything else
    is that of the nearer scene. A voice that only one of them has is as there.
    """
    endpoints = {endpoint.address: endpoint for endpoint in table}
    voices = {**a.voices, **b.voices}
    for number in a.voices.keys() & b.voices.keys():
        one, other = a.voices[number], b.voices[number]
        near = one if x < 0.5 else other
        mixed = _mix_settings(one.settings, other.settings, x, endpoints)
        if one.model != other.model and "weights" in near.settings:
            mixed["weights"] = near.settings["weights"]
        voices[number] = VoiceScene(near.model, mixed)
    return Scene(_mix_settings(a.shared, b.shared, x, endpoints), voices)


def check(session: Session, scene: Scene) -> None:
    """See that everything in `scene` can be set.

    Raises
    ------
    GhostnoteError
        That names what cannot.
    """
    control = session.control
    routes = Routes(session.table, control.roles)
    for name, values in scene.shared.items():
        _check_one(routes, f"/ghost/{name}", name, values)
    models = {voice.model for voice in scene.voices.values()}
    kits = {model: control.model_info(model).kits for model in models}
    for number, voice in scene.voices.items():
        if number >= control.max_voices:
            raise GhostnoteError(f"voice {number + 1}: there may be {control.max_voices} voices")
        routes.add_voice(number, kits[voice.model])
        for name, values in voice.settings.items():
            where = f"voice {number + 1} {name}"
            _check_one(routes, _address(number, name), where, values)
            if name == "weights" and len(values) != len(kits[voice.model]):
                raise GhostnoteError(f"{where}: {len(values)} for {len(kits[voice.model])} kits")
            if name == "out" and int(values[0]) > control.outputs:
                raise GhostnoteError(f"{where}: there are {control.outputs} (--outputs of serve)")
        routes.remove_voice(number)


def put(session: Session, scene: Scene, *, exactly: bool = False) -> None:
    """Set everything to `scene`, through the handlers of the messages that would do it.

    Voices that are not there are made, and play. `exactly` ends those that `scene` has not.

    Raises
    ------
    GhostnoteError
        If something cannot be set; of what `check` finds nothing has been changed then.
    """
    check(session, scene)
    control = session.control
    with session.lock:
        there = set(session.voices)
    swaps: dict[str, list[int]] = {}
    for number in sorted(there & scene.voices.keys()):
        model = scene.voices[number].model
        if control.voice_model(number) != model:
            swaps.setdefault(model, []).append(number)
    for model, numbers in swaps.items():
        control.load_model(model, numbers)
        adopt_kits(session, numbers)
    for number in sorted(scene.voices.keys() - there):
        add_voice(session, scene.voices[number].model, number)
    if exactly:
        for number in sorted(there - scene.voices.keys()):
            apply_patiently(session, [(f"/ghost/voice/{number + 1}/free", ())], Silence())
    apply_patiently(session, _news_of_server(session, scene), Silence())
    for number, voice in scene.voices.items():
        news = _news_of_voice(session, number, voice)
        if voice.playing is not None:
            news.append((f"/ghost/voice/{number + 1}/{'play' if voice.playing else 'stop'}", ()))
        apply_patiently(session, news, Silence())


def _news_of_server(session: Session, scene: Scene) -> list[Setting]:
    """Return what has to be set, besides the voices, for `scene`."""
    with session.lock:
        followed = session.control.owns_tempo()
        return [
            (f"/ghost/{name}", values)
            for name, values in scene.shared.items()
            if session.values.get(f"/ghost/{name}") != values and not (followed and name == "tempo")
        ]


def _news_of_voice(session: Session, number: int, voice: VoiceScene) -> list[Setting]:
    """Return what has to be set for one voice, the text of a pattern before its length."""
    with session.lock:
        now = capture(session, ()).voices.get(number)
    if now is None:
        return []  # freed meanwhile
    wanted = voice.settings
    news: list[Setting] = []
    for name in sorted(wanted.keys() | now.settings.keys()):
        before, after = now.settings.get(name), wanted.get(name)
        if after is None:
            after = _at_the_start(session, name)
        text = name.removesuffix("/length")
        if text != name and wanted.get(text) != now.settings.get(text):
            before = None  # the new text has set it
        if after is not None and after != before:
            news.append((_address(number, name), after))
    return news


def _at_the_start(session: Session, name: str) -> tuple[Value, ...] | None:
    """Return what a parameter of a pattern is where a scene tells nothing of it."""
    if not name.startswith("pattern/") or name.endswith("/length"):
        return None  # the text has set the length
    (endpoint,) = (one for one in session.table if one.address == _template(name))
    default = endpoint.arguments[0].default
    assert default is not None
    return (default,)


def _check_one(routes: Routes, address: str, where: str, values: tuple[Value, ...]) -> None:
    found = routes.find(address)
    if len(found) != 1 or found[0].endpoint.access is not Access.SET:
        raise GhostnoteError(f"{where}: there is no such parameter")
    try:
        convert(found[0].endpoint, message(found[0].name, values))
        if found[0].endpoint.address == "/ghost/pattern/{V}/{ROLE}":
            parse_steps(str(values[0]))
    except GhostnoteError as error:
        raise GhostnoteError(f"{where}: {error}") from None


def _mix_settings(
    a: Settings, b: Settings, x: float, endpoints: Mapping[str, Endpoint]
) -> Settings:
    """Return what lies between two sets of settings, those that only one has as there."""
    mixed = dict(a if x < 0.5 else b)
    for name in a.keys() | b.keys():
        endpoint = endpoints.get(_template(name))
        if endpoint is None or endpoint.arguments[0].tag != "f" or name == "quantum":
            continue
        default = endpoint.arguments[0].default
        fill = () if default is None else (default,)
        one, other = a.get(name, fill), b.get(name, fill)
        if name == "weights":
            one, other = _shares(one), _shares(other)
        if one and len(one) == len(other):
            numbers = cast("tuple[float, ...]", one), cast("tuple[float, ...]", other)
            pairs = zip(*numbers, strict=True)
            mixed[name] = tuple((1.0 - x) * first + x * second for first, second in pairs)
    return mixed


def _shares(levels: tuple[Value, ...]) -> tuple[float, ...]:
    numbers = cast("tuple[float, ...]", levels)
    total = sum(numbers)
    return tuple(number / total if total else 0.0 for number in numbers)


def _template(name: str) -> str:
    """Return the table's address of a setting, of a voice or not."""
    if name.startswith("pattern/"):
        _, _, rest = name.removeprefix("pattern/").partition("/")
        return "/ghost/pattern/{V}/{ROLE}" + (f"/{rest}" if rest else "")
    return f"/ghost/{name}" if name in SERVER else f"/ghost/voice/{{V}}/{name}"


def _name(address: str) -> str:
    """Return the name of a voice's setting: its address without /ghost/ and the number."""
    _, _, kind, _, rest = address.split("/", 4)
    return rest if kind == "voice" else f"pattern/{rest}"


def _address(voice: int, name: str) -> str:
    if name.startswith("pattern/"):
        return f"/ghost/pattern/{voice + 1}/{name.removeprefix('pattern/')}"
    return f"/ghost/voice/{voice + 1}/{name}"


def _finite(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Return values that JSON knows: silence is a level, too."""
    return tuple(SILENT_DB if isinstance(v, float) and not math.isfinite(v) else v for v in values)


def _json(settings: Settings) -> dict[str, Any]:
    return {name: v[0] if len(v) == 1 else list(v) for name, v in settings.items()}


def _settings(data: Any) -> Settings:
    """Return settings from JSON; raises ValueError for what cannot be one."""
    if not isinstance(data, dict) or len(data) > MAX_SETTINGS:
        raise ValueError("settings")
    found: Settings = {}
    for name, value in data.items():
        values = value if isinstance(value, list) else [value]
        if not 0 < len(values) <= MAX_SETTINGS:
            raise ValueError(name)
        for one in values:
            if not isinstance(one, bool | int | float | str) or (
                isinstance(one, int) and not (-(2**63) <= one < 2**63)
            ):
                raise ValueError(name)
            if isinstance(one, str):
                _text(one)
        found[name] = tuple(values)
    return found


def _playing(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise ValueError("playing")
    return value


def _text(value: Any) -> str:
    """Return a string that OSC can carry; raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > 1024 or "\0" in value:
        raise ValueError("text")
    value.encode()
    return value
