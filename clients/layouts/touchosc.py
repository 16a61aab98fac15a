"""Writes the layout for TouchOSC: XML, packed by zlib. Not opened in TouchOSC by its makers.

The form is that of the layouts that TouchOSC's editor saves (`lexml` version 3, which newer
editors read). Host and port are set in TouchOSC itself, under connections.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterable

from . import surface

_SPACE = uuid.UUID("6d1a3ad8-0d8c-4ac5-9c2f-9a3f64a1f4a0")
WIDTH, HEIGHT = 1024, 768

Rect = tuple[int, int, int, int]


def _text(value: str) -> str:
    return f"<![CDATA[{value}]]>"


def _property(kind: str, key: str, value: str) -> str:
    return f"<property type='{kind}'><key>{_text(key)}</key><value>{value}</value></property>"


def _properties(name: str, frame: Rect, more: str = "", hue: float = 0.6) -> str:
    x, y, w, h = frame
    rectangle = f"<x>{x}</x><y>{y}</y><w>{w}</w><h>{h}</h>"
    colour = f"<r>{hue}</r><g>0.55</g><b>{1 - hue:.2f}</b><a>1</a>"
    return (
        "<properties>"
        + _property("s", "name", _text(name))
        + _property("r", "frame", rectangle)
        + _property("c", "color", colour)
        + more
        + "</properties>"
    )


def _value(key: str, default: str) -> str:
    return (
        f"<value><key>{_text(key)}</key><locked>0</locked><lockedDefaultCurrent>0"
        f"</lockedDefaultCurrent><default>{_text(default)}</default><defaultPull>0</defaultPull>"
        "</value>"
    )


def _partial(kind: str, conversion: str, value: str, low: float = 0, high: float = 1) -> str:
    return (
        f"<partial><type>{kind}</type><conversion>{conversion}</conversion>"
        f"<value>{_text(value)}</value><scaleMin>{low:g}</scaleMin><scaleMax>{high:g}</scaleMax>"
        "</partial>"
    )


def _message(address: str, arguments: Iterable[str], watched: str = "x") -> str:
    triggers = "".join(
        f"<trigger><var>{_text(value)}</var><condition>ANY</condition></trigger>"
        for value in watched
    )
    return (
        "<messages><osc><enabled>1</enabled><send>1</send><receive>1</receive>"
        "<feedback>0</feedback><connections>0000000001</connections>"
        f"<triggers>{triggers}</triggers>"
        f"<path>{_partial('CONSTANT', 'STRING', address)}</path>"
        f"<arguments>{''.join(arguments)}</arguments></osc></messages>"
    )


def _node(kind: str, name: str, properties: str, values: str = "", rest: str = "") -> str:
    identity = uuid.uuid5(_SPACE, f"{kind} {name}")
    held = f"<values>{values}</values>" if values else ""
    return f"<node ID='{identity}' type='{kind}'>{properties}{held}{rest}</node>"


def _label(name: str, frame: Rect) -> str:
    more = _property("b", "background", "0") + _property("b", "interactive", "0")
    shown = _value("text", name) + _value("touch", "false")
    return _node("LABEL", name, _properties(f"{name} name", frame, more), shown)


def _button(name: str, frame: Rect, message: str, toggle: bool = False) -> str:
    more = _property("i", "buttonType", "1" if toggle else "0")
    values = _value("x", "0") + _value("touch", "false")
    button = _node("BUTTON", name, _properties(name, frame, more, 0.9), values, message)
    return button + _label(name, frame)


def _fader(fader: surface.Fader, frame: Rect) -> str:
    x, y, w, h = frame
    share = (fader.default - fader.low) / (fader.high - fader.low)
    values = _value("x", f"{share:.4f}") + _value("touch", "false")
    scaled = _partial("VALUE", "FLOAT", "x", fader.low, fader.high)
    message = _message(fader.address, [scaled])
    control = _node("FADER", fader.name, _properties(fader.name, frame), values, message)
    return control + _label(fader.name, (x, y + h, w, 24))


def xml() -> str:
    """Returns the layout's XML."""
    children: list[str] = []
    for k, role in enumerate(surface.ROLES):
        frame = (8 + 112 * k, 8, 106, 160)
        velocity = _partial("VALUE", "FLOAT", "x", 0, surface.VELOCITY)
        hit = _message(surface.TRIGGER, [_partial("CONSTANT", "STRING", role), velocity])
        children.append(_button(role, frame, hit))
    pressed = [_partial("VALUE", "INTEGER", "x")]
    for k, button in enumerate(surface.BUTTONS):
        frame = (8 + 134 * k, 184, 126, 80)
        children.append(_button(button.name, frame, _message(button.address, pressed)))
    hold = _message(surface.HOLD, pressed)
    children.append(_button("hold", (544, 184, 126, 80), hold, toggle=True))
    for k, fader in enumerate((surface.TEMPO, *surface.FADERS)):
        children.append(_fader(fader, (8 + 84 * k, 284, 76, 440)))
    for k in range(surface.KITS):
        weight = surface.Fader(f"kit {k}", f"{surface.WEIGHT}/{k}", 0, 1, 0)
        children.append(_fader(weight, (352 + 41 * k, 284, 36, 440)))
    place = _message(
        surface.XY, [_partial("VALUE", "FLOAT", "x"), _partial("VALUE", "FLOAT", "y")], "xy"
    )
    values = _value("x", "0.5") + _value("y", "0.5") + _value("touch", "false")
    frame = (684, 284, 332, 440)
    children.append(_node("XY", "kits by place", _properties("kits", frame), values, place))
    inside = f"<children>{''.join(children)}</children>"
    root = _node(
        "GROUP",
        "root",
        _properties("ghostnote", (0, 0, WIDTH, HEIGHT)),
        _value("touch", "false"),
        inside,
    )
    return f"<?xml version='1.0' encoding='UTF-8'?><lexml version='3'>{root}</lexml>"


def packed() -> bytes:
    """Returns the contents of the .tosc file."""
    return zlib.compress(xml().encode(), 9)
