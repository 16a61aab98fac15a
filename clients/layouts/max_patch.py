"""Writes .maxpat files: a control patch, and the bridge that goes into a Max for Live device.

Not opened in Max by their makers: there is no Max on the machines that build ghostnote.
"""

from __future__ import annotations

from typing import Any

from . import surface

NOT_OPENED = (
    "Made by clients/layouts. It was never opened in Max by its makers: tell us what is wrong."
)

# Inlets, and the types of the outlets, by the first word of an object's text.
_OBJECTS: dict[str, tuple[int, list[str]]] = {
    "prepend": (1, [""]),
    "pak": (2, [""]),
    "pack": (2, [""]),
    "/": (2, ["float"]),
    "node.script": (1, ["", ""]),
    "udpsend": (1, []),
    "midiin": (1, ["int"]),
    "midiout": (1, []),
    "midiparse": (1, ["", "", "", "int", "int", "", "int", ""]),
    "stripnote": (2, ["int", "int"]),
    "change": (1, ["", "int", "int"]),
    "metro": (2, ["bang"]),
    "transport": (2, ["int", "int", "float", "float", "float", "", "int", "float", ""]),
    "sel": (1, ["bang", "bang", ""]),
    "live.thisdevice": (1, ["bang", "int", "int"]),
}

# The same for boxes of other classes.
_CLASSES: dict[str, tuple[int, list[str]]] = {
    "comment": (1, []),
    "message": (2, [""]),
    "textbutton": (1, ["", "", "int"]),
    "flonum": (1, ["", "bang"]),
    "number": (1, ["", "bang"]),
    "umenu": (1, ["int", "", ""]),
    "pictslider": (2, ["int", "int"]),
    "toggle": (1, ["int"]),
}


class Patch:
    """A patcher that grows; `whole()` is what the file holds."""

    def __init__(self, width: float, height: float) -> None:
        self._rect = [80.0, 80.0, width, height]
        self._boxes: list[dict[str, Any]] = []
        self._lines: list[dict[str, Any]] = []

    def box(self, kind: str, x: float, y: float, w: float, h: float = 22.0, **more: Any) -> str:
        """Adds a box and returns its id."""
        name = f"obj-{len(self._boxes) + 1}"
        inlets, outlets = _CLASSES[kind] if kind != "newobj" else more.pop("arity")
        box = {
            "id": name,
            "maxclass": kind,
            "numinlets": inlets,
            "numoutlets": len(outlets),
            "patching_rect": [x, y, w, h],
            **({"outlettype": outlets} if outlets else {}),
            **more,
        }
        self._boxes.append({"box": box})
        return name

    def new(self, text: str, x: float, y: float, w: float = 150.0, **more: Any) -> str:
        """Adds an object box."""
        first, *rest = text.split()
        arity: tuple[int, list[str]]
        if first == "route":
            arity = (len(rest) + 1, [""] * (len(rest) + 1))
        elif first == "unpack":
            arity = (1, ["float" if "." in argument else "int" for argument in rest])
        else:
            arity = _OBJECTS[first]
        return self.box("newobj", x, y, w, text=text, arity=arity, **more)

    def message(self, text: str, x: float, y: float, w: float = 150.0) -> str:
        """Adds a message box."""
        return self.box("message", x, y, w, text=text)

    def say(self, text: str, x: float, y: float, w: float = 300.0) -> None:
        """Adds a comment."""
        self.box("comment", x, y, w, text=text)

    def wire(self, source: str, outlet: int, target: str, inlet: int = 0) -> None:
        """Connects an outlet with an inlet."""
        line = {"source": [source, outlet], "destination": [target, inlet]}
        self._lines.append({"patchline": line})

    def whole(self) -> dict[str, Any]:
        """Returns the contents of the file."""
        return {
            "patcher": {
                "fileversion": 1,
                "appversion": {
                    "major": 8,
                    "minor": 5,
                    "revision": 0,
                    "architecture": "x64",
                    "modernui": 1,
                },
                "classnamespace": "box",
                "rect": self._rect,
                "default_fontsize": 12.0,
                "default_fontname": "Arial",
                "boxes": self._boxes,
                "lines": self._lines,
                "dependency_cache": [],
                "autosave": 0,
            }
        }


def control() -> dict[str, Any]:
    """The patch with everything on it."""
    patch = Patch(1010, 640)
    patch.say("ghostnote: start `ghostnote serve`, then click. " + NOT_OPENED, 20, 10, 900)
    # One socket sends and hears. Max's own udpsend sends from a port on which it hears nothing, and
    # the server answers to the port that asked.
    script = patch.new(
        "node.script ghostnote-osc.js @autostart 1",
        20,
        470,
        260,
        saved_object_attributes={"autostart": 1, "defer": 0, "watch": 0},
    )
    out = patch.new("prepend osc", 20, 430)
    patch.wire(out, 0, script)
    server = patch.message(f"connect {surface.HOST} {surface.PORT}", 300, 430, 190)
    patch.wire(server, 0, script)
    for k, role in enumerate(surface.ROLES):
        pad = patch.box("textbutton", 20 + 108 * k, 50, 100, 60, text=role)
        hit = patch.message(f"{surface.TRIGGER} {role} {surface.VELOCITY}", 20 + 108 * k, 120, 104)
        patch.wire(pad, 0, hit)
        patch.wire(hit, 0, out)
    for k, button in enumerate(surface.BUTTONS):
        click = patch.box("textbutton", 20 + 108 * k, 170, 100, 40, text=button.name)
        sent = patch.message(button.address, 20 + 108 * k, 220, 104)
        patch.wire(click, 0, sent)
        patch.wire(sent, 0, out)
    for k, fader in enumerate((surface.TEMPO, *surface.FADERS)):
        x = 20 + 216 * k
        patch.say(f"{fader.name} ({fader.low:g} to {fader.high:g})", x, 270, 200)
        number = patch.box(
            "flonum", x, 295, 80, minimum=fader.low, maximum=fader.high, parameter_enable=0
        )
        named = patch.new(f"prepend {fader.address}", x, 325, 205)
        patch.wire(number, 0, named)
        patch.wire(named, 0, out)
    items: list[str] = []
    for k in range(surface.KITS):
        items += [*([","] if k else []), "kit", str(k)]
    patch.say("kit", 470, 150)
    menu = patch.box("umenu", 470, 175, 100, items=items, parameter_enable=0)
    kit = patch.new(f"prepend {surface.KIT}", 470, 220)
    patch.wire(menu, 0, kit)
    patch.wire(kit, 0, out)
    patch.say("hold", 640, 150, 50)
    toggle = patch.box("toggle", 640, 175, 24, 24, parameter_enable=0)
    hold = patch.new(f"prepend {surface.HOLD}", 640, 220)
    patch.wire(toggle, 0, hold)
    patch.wire(hold, 0, out)
    patch.say("kits, mixed by place", 900, 150, 100)
    pad = patch.box("pictslider", 900, 175, 100, 100, parameter_enable=0)
    place = patch.new("pak 0.5 0.5", 900, 330, 100)
    for k in (0, 1):
        scaled = patch.new("/ 127.", 900 + 52 * k, 295, 48)
        patch.wire(pad, k, scaled)
        patch.wire(scaled, 0, place, k)
    xy = patch.new(f"prepend {surface.XY}", 880, 360, 120)
    patch.wire(place, 0, xy)
    patch.wire(xy, 0, out)
    _replies(patch, script)
    return patch.whole()


def _replies(patch: Patch, script: str) -> None:
    """Shows what the server sends."""
    routed = patch.new(
        "route /ghost/status.reply /fail /done /ghost/late /ghost/tempo", 20, 510, 420
    )
    patch.wire(script, 0, routed)
    fields = patch.new("unpack 0 0 0. 0. 0 0 0", 20, 545, 200)
    patch.wire(routed, 0, fields)
    for k, name in ((1, "voices playing"), (4, "xruns"), (5, "late bundles")):
        shown = patch.box("number", 20 + 70 * k, 580, 60, parameter_enable=0)
        patch.say(name, 20 + 70 * k, 605, 120)
        patch.wire(fields, k, shown)
    for k, name in ((1, "refused"), (2, "done"), (3, "late"), (4, "tempo of others"), (5, "else")):
        kept = patch.new("prepend set", 470, 380 + 40 * k, 75)
        shown = patch.message("", 650, 380 + 40 * k, 340)
        patch.say(name, 550, 380 + 40 * k, 100)
        patch.wire(routed, k, kept)
        patch.wire(kept, 0, shown)


def live_bridge() -> dict[str, Any]:
    """Notes and the clock of Live, for a Max MIDI Effect.

    It asks nothing, so plain udpsend does, with the least delay.
    """
    patch = Patch(1010, 520)
    patch.say(
        "ghostnote bridge: paste into an empty Max MIDI Effect, save it there. " + NOT_OPENED,
        20,
        10,
        900,
    )
    out = patch.new(f"udpsend {surface.HOST} {surface.PORT}", 20, 480, 200)
    notes = patch.new("midiin", 20, 40, 60)
    through = patch.new("midiout", 120, 70, 60)
    parsed = patch.new("midiparse", 20, 70, 90)
    patch.wire(notes, 0, through)
    patch.wire(notes, 0, parsed)
    parts = patch.new("unpack 0 0", 20, 100, 80)
    struck = patch.new("stripnote", 20, 130, 80)
    pair = patch.new("pack 0 0", 20, 160, 80)
    patch.wire(parsed, 0, parts)
    for k in (1, 0):
        patch.wire(parts, k, struck, k)
        patch.wire(struck, k, pair, k)
    numbers = {note: role for role, notes in surface.NOTES.items() for note in notes}
    routed = patch.new("route " + " ".join(map(str, numbers)), 20, 200, 960)
    patch.wire(pair, 0, routed)
    for k, role in enumerate(surface.NOTES):
        scaled = patch.new("/ 127.", 20 + 106 * k, 250, 60)
        hit = patch.message(f"{surface.TRIGGER} {role} $1", 20 + 106 * k, 280, 102)
        patch.wire(scaled, 0, hit)
        patch.wire(hit, 0, out)
        for outlet, number in enumerate(numbers):
            if numbers[number] == role:
                patch.wire(routed, outlet, scaled)
    _clock(patch, out)
    return patch.whole()


def _clock(patch: Patch, out: str) -> None:
    """Tempo when it changes, beat on every quarter, start and stop."""
    patch.say("Live's clock: tempo, beat on every quarter, start and stop", 400, 40, 400)
    ready = patch.new("live.thisdevice", 400, 65, 110)
    source = patch.message("/ghost/sync/source osc", 530, 65, 160)
    patch.wire(ready, 0, source)
    patch.wire(source, 0, out)
    # A metro in note values is bound to Live's transport and runs only while that does.
    quarter = patch.new("metro 4n @active 1 @quantize 4n", 400, 95, 200)
    look = patch.new("metro 50 @active 1", 620, 95, 130)
    clock = patch.new("transport", 400, 130, 300)
    state = patch.new("transport", 720, 130, 260)
    patch.wire(quarter, 0, clock)
    patch.wire(look, 0, state)
    beats = patch.new("/ 480.", 400, 320, 60)
    beat = patch.new("prepend /ghost/beat", 400, 360, 130)
    patch.wire(clock, 7, beats)  # ticks since the start, 480 a quarter
    patch.wire(beats, 0, beat)
    patch.wire(beat, 0, out)
    new_tempo = patch.new("change 0.", 560, 320, 70)
    tempo = patch.new("prepend /ghost/tempo", 560, 360, 140)
    patch.wire(state, 4, new_tempo)
    patch.wire(new_tempo, 0, tempo)
    patch.wire(tempo, 0, out)
    new_state = patch.new("change", 720, 320, 60)
    which = patch.new("sel 1 0", 720, 360, 70)
    play = patch.message("/ghost/continue", 720, 400, 100)
    stop = patch.message("/ghost/stop", 830, 400, 100)
    patch.wire(state, 6, new_state)
    patch.wire(new_state, 0, which)
    patch.wire(which, 0, play)
    patch.wire(which, 1, stop)
    patch.wire(play, 0, out)
    patch.wire(stop, 0, out)
