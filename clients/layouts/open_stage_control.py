"""Writes the session of Open Stage Control. Not opened in it by its makers."""

from __future__ import annotations

from typing import Any

from . import surface

TARGET = f"{surface.HOST}:{surface.PORT}"


def _widget(
    kind: str, name: str, x: float, y: float, w: float, h: float, **more: Any
) -> dict[str, Any]:
    return {
        "type": kind,
        "id": name,
        "label": name,
        "left": x,
        "top": y,
        "width": w,
        "height": h,
        "target": TARGET,
        **more,
    }


def session() -> dict[str, Any]:
    """Returns the contents of the session file."""
    widgets: list[dict[str, Any]] = []
    for k, role in enumerate(surface.ROLES):
        widgets.append(
            _widget(
                "button", role, 10 + 210 * (k % 5), 10 + 130 * (k // 5), 200, 120,
                mode="push", on=surface.VELOCITY, off=0, address=surface.TRIGGER, preArgs=[role],
                typeTags="sf",
            )
        )  # fmt: skip
    for k, button in enumerate(surface.BUTTONS):
        widgets.append(
            _widget(
                "button", button.name, 10 + 130 * k, 280, 120, 60,
                mode="push", on=1, off=0, address=button.address, typeTags="i",
            )
        )  # fmt: skip
    widgets.append(
        _widget(
            "button", "hold", 530, 280, 120, 60,
            mode="toggle", on=1, off=0, address=surface.HOLD, typeTags="i",
        )
    )  # fmt: skip
    for k, fader in enumerate((surface.TEMPO, *surface.FADERS)):
        widgets.append(
            _widget(
                "fader", fader.name, 10 + 90 * k, 360, 80, 300,
                range={"min": fader.low, "max": fader.high}, default=fader.default,
                address=fader.address, typeTags="f", doubleTap=True,
            )
        )  # fmt: skip
    for k in range(surface.KITS):
        widgets.append(
            _widget(
                "fader", f"kit {k}", 390 + 54 * k, 360, 48, 300,
                range={"min": 0, "max": 1}, default=0, address=f"{surface.WEIGHT}/{k}",
                typeTags="f", doubleTap=True,
            )
        )  # fmt: skip
    widgets.append(
        _widget(
            "xy", "kits", 830, 280, 380, 380,
            rangeX={"min": 0, "max": 1}, rangeY={"min": 0, "max": 1}, default=[0.5, 0.5],
            address=surface.XY, typeTags="ff",
        )
    )  # fmt: skip
    root = {"type": "root", "id": "root", "widgets": widgets, "tabs": []}
    return {
        "createdWith": "Open Stage Control",
        "version": "1.26.2",
        "type": "session",
        "content": root,
    }
