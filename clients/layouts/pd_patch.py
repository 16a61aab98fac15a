"""Writes ghostnote.pd: vanilla Pd, no externals."""

from __future__ import annotations

import itertools

from . import surface


class Patch:
    """A patch that grows; `text()` is what the file holds."""

    def __init__(self, width: int, height: int) -> None:
        self._lines = [f"#N canvas 60 60 {width} {height} 12;"]
        self._wires: list[str] = []
        self._count = 0

    def add(self, kind: str, x: int, y: int, text: str) -> int:
        """Adds a box (`obj`, `msg`, `text`, `floatatom`) and returns its number."""
        # Pd sets these off in its files.
        for mark in (";", ",", "$"):
            text = text.replace(f" {mark}", f" \\{mark}")
        self._lines.append(f"#X {kind} {x} {y} {text};")
        self._count += 1
        return self._count - 1

    def wire(self, source: int, outlet: int, target: int, inlet: int = 0) -> None:
        """Connects an outlet with an inlet."""
        self._wires.append(f"#X connect {source} {outlet} {target} {inlet};")

    def chain(self, *boxes: int) -> None:
        """Connects the first outlet of each with the first inlet of the next."""
        for source, target in itertools.pairwise(boxes):
            self.wire(source, 0, target)

    def text(self) -> str:
        """Returns the contents of the file."""
        return "\n".join([*self._lines, *self._wires]) + "\n"


def _bang(label: str, name: str, size: int = 60) -> str:
    return f"bng {size} 250 50 0 empty {name} {label} 4 -8 0 12 #fcfcfc #404040 #000000"


def control() -> str:
    """The control patch."""
    patch = Patch(860, 620)
    patch.add(
        "text", 20, 8, "ghostnote: start 'ghostnote serve' \\, open this \\, click. Vanilla Pd."
    )
    _surface(patch)
    _connection(patch)
    return patch.text()


def _surface(patch: Patch) -> None:
    for k, role in enumerate(surface.ROLES):
        pad = patch.add("obj", 20 + 90 * k, 50, _bang(role, f"ghostnote-{role}"))
        hit = patch.add(
            "msg", 20 + 90 * k, 116, f" ; ghostnote {surface.TRIGGER} {role} {surface.VELOCITY}"
        )
        patch.wire(pad, 0, hit)
    for k, button in enumerate(surface.BUTTONS):
        click = patch.add(
            "obj", 20 + 90 * k, 190, _bang(button.name, f"ghostnote-{button.name}", 30)
        )
        patch.wire(click, 0, patch.add("msg", 20 + 90 * k, 226, f" ; ghostnote {button.address}"))
    hold = patch.add(
        "obj", 380, 190, "tgl 30 0 empty ghostnote-hold hold 4 -8 0 12 #fcfcfc #404040 #000000 0 1"
    )
    patch.wire(hold, 0, patch.add("msg", 380, 226, f" ; ghostnote {surface.HOLD} $1"))
    kit = patch.add(
        "obj",
        560,
        190,
        f"hradio 30 1 0 {surface.KITS} empty ghostnote-kit kit 4 -8 0 12 #fcfcfc #404040 #000000 0",
    )
    patch.wire(kit, 0, patch.add("msg", 560, 226, f" ; ghostnote {surface.KIT} $1"))
    tempo = surface.TEMPO
    number = patch.add(
        "obj",
        20,
        300,
        f"nbx 6 24 {tempo.low:g} {tempo.high:g} 0 0 empty ghostnote-tempo tempo 4 -8 0 12 "
        f"#fcfcfc #404040 #000000 {tempo.default:g} 256",
    )
    patch.wire(number, 0, patch.add("msg", 20, 332, f" ; ghostnote {tempo.address} $1"))
    for k, fader in enumerate(surface.FADERS):
        slider = patch.add(
            "obj",
            20,
            390 + 66 * k,
            f"hsl 240 18 {fader.low:g} {fader.high:g} 0 0 empty ghostnote-{fader.name} {fader.name} "
            "4 -8 0 12 #fcfcfc #404040 #000000 0 1",
        )
        sent = patch.add("msg", 20, 414 + 66 * k, f" ; ghostnote {fader.address} $1")
        patch.wire(slider, 0, sent)
    for k in range(surface.KITS):
        slider = patch.add(
            "obj",
            330 + 28 * k,
            300,
            f"vsl 20 120 0 1 0 0 empty ghostnote-weight-{k} {k} 4 -8 0 12 #fcfcfc #404040 #000000 0 1",
        )
        sent = patch.add("msg", 330, 430 + 24 * k, f" ; ghostnote {surface.WEIGHT}/{k} $1")
        patch.wire(slider, 0, sent)
    pair = patch.add("obj", 620, 400, "pack 0.5 0.5")
    held = patch.add("obj", 690, 370, "t b f")
    for k, axis in enumerate("xy"):
        slider = patch.add(
            "obj",
            620,
            300 + 34 * k,
            f"hsl 128 18 0 1 0 0 empty ghostnote-{axis} {axis} -12 9 0 12 #fcfcfc #404040 #000000 0 1",
        )
        patch.wire(slider, 0, held if k else pair)
    patch.wire(held, 0, pair)
    patch.wire(held, 1, pair, 1)
    patch.wire(pair, 0, patch.add("msg", 620, 430, f" ; ghostnote {surface.XY} $1 $2"))


def _connection(patch: Patch) -> None:
    """What is sent to `ghostnote` goes out; what comes back goes to `ghostnote-reply`."""
    patch.add(
        "text", 900, 8, "anything sent to 'ghostnote' goes to the server: address \\, arguments"
    )
    heard = patch.add("obj", 900, 40, "r ghostnote")
    listed = patch.add("obj", 900, 66, "list prepend")
    twice = patch.add("obj", 900, 92, "t a a")
    arguments, address = (patch.add("obj", 900 + 130 * k, 118, "list split 1") for k in (0, 1))
    setting = patch.add("obj", 1030, 144, "list prepend set")
    set_it = patch.add("obj", 1030, 170, "list trim")
    formed = patch.add("obj", 900, 200, "oscformat")
    sending = patch.add("obj", 900, 226, "list prepend send")
    trimmed = patch.add("obj", 900, 252, "list trim")
    net = patch.add("obj", 900, 320, "netsend -u -b")
    patch.chain(heard, listed, twice, arguments)
    patch.wire(twice, 1, address)
    patch.chain(address, setting, set_it, formed, sending, trimmed, net)
    patch.wire(arguments, 1, formed)

    # Bytes that another object has made a packet of, such as pd-osc's packOSC.
    patch.wire(patch.add("obj", 1000, 290, "r ghostnote-raw"), 0, net)

    loaded = patch.add("obj", 1180, 40, "loadbang")
    patch.chain(
        loaded, patch.add("msg", 1180, 66, f" ; ghostnote-connect {surface.HOST} {surface.PORT}")
    )
    where = patch.add("obj", 1180, 120, "r ghostnote-connect")
    connect = patch.add("obj", 1180, 146, "list prepend connect")
    order = patch.add("obj", 1180, 172, "t a b")
    patch.chain(where, connect, order)
    leave = patch.add("msg", 1290, 200, "disconnect")
    patch.wire(order, 1, leave)
    patch.wire(leave, 0, net)
    named = patch.add("obj", 1230, 228, "list trim")
    patch.wire(order, 0, named)
    patch.wire(named, 0, net)
    # The lease of /ghost/notify lasts a minute. Off at first: oscparse of Pd 0.53 knows neither the
    # types T and F nor d, and complains of each that comes.
    follow = patch.add(
        "obj",
        470,
        190,
        "tgl 30 0 empty ghostnote-follow follow 4 -8 0 12 #fcfcfc #404040 #000000 0 1",
    )
    metro = patch.add("obj", 1180, 260, "metro 20000")
    patch.chain(follow, metro, patch.add("msg", 1180, 286, " ; ghostnote /ghost/notify 1"))

    parsed = patch.add("obj", 960, 350, "oscparse")
    patch.wire(net, 1, parsed)
    bare = patch.add("obj", 960, 376, "list trim")
    patch.chain(parsed, bare)
    patch.wire(bare, 0, patch.add("obj", 1060, 402, "s ghostnote-reply"))
    kinds = patch.add("obj", 960, 430, "route fail done ghost")
    patch.wire(bare, 0, kinds)
    patch.add("text", 20, 590, "refused:")
    for outlet, (place, name) in enumerate(((90, "refused"), (480, "done"))):
        shown = patch.add("msg", place, 590, "")
        keep = patch.add("obj", 960 + 200 * outlet, 490, "list prepend set")
        clean = patch.add("obj", 960 + 200 * outlet, 516, "list trim")
        patch.wire(kinds, outlet, keep)
        patch.chain(keep, clean, shown)
        if name == "refused":
            patch.wire(kinds, outlet, patch.add("obj", 960, 550, "print ghostnote-refused"))
    # What others set is shown, and not sent again.
    followed = patch.add("obj", 1300, 430, "route tempo")
    patch.wire(kinds, 2, followed)
    shown_tempo = patch.add("msg", 1300, 456, " ; ghostnote-tempo set $1")
    patch.wire(followed, 0, shown_tempo)
