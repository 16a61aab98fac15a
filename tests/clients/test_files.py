"""The files that no program here can open are at least what they should be, word by word."""

import itertools
import json
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from ghostnote.inference.model_file import find_model, load_model
from ghostnote.inference.patterns import MAX_STEPS
from ghostnote.osc_server.commands import Op
from tests.clients.addresses import addresses, is_taken
from tests.clients.played import CLIENTS, server

ROOT = CLIENTS.parent
MADE = (
    "max/ghostnote.maxpat",
    "live/ghostnote-bridge.maxpat",
    "pd/ghostnote.pd",
    "open-stage-control/ghostnote.json",
    "touchosc/ghostnote.tosc",
)
TOSC = CLIENTS / "touchosc" / "ghostnote.tosc"
REAPER = CLIENTS / "reaper" / "ghostnote.ReaperOSC"


def texts() -> list[tuple[Path, str]]:
    """Every file of clients/, and the page about them."""
    found = [(ROOT / "docs" / "daw.md", (ROOT / "docs" / "daw.md").read_text())]
    for path in sorted(CLIENTS.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            raw = path.read_bytes()
            found.append((path, (zlib.decompress(raw) if path == TOSC else raw).decode()))
    return found


def test_every_address_is_one_that_the_server_takes() -> None:
    named = {pair for path, text in texts() for pair in addresses(path, text)}
    assert len({name for name, _ in named}) >= 12
    assert len({address for _, address in named}) >= 40
    # Made in SuperCollider from two halves.
    named = {pair for pair in named if pair[1] != "/ghost/voice/%/%"}
    assert not {pair for pair in named if not is_taken(pair[1])}


def test_an_unknown_address_would_be_found() -> None:
    assert is_taken("/ghost/voice/*/weights/3")
    assert not is_taken("/ghost/voice/*/wieghts/3")
    assert not is_taken("/ghost/tempos")


def test_the_made_files_are_as_made(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clients.layouts", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    for name in MADE:
        made, kept = (tmp_path / name).read_bytes(), (CLIENTS / name).read_bytes()
        if name.endswith(".tosc"):  # zlib's versions differ in how they pack
            made, kept = zlib.decompress(made), zlib.decompress(kept)
        assert made == kept, f"{name}: run python -m clients.layouts"


def test_the_surface_has_the_models_roles_and_kits() -> None:
    spec = load_model(find_model(None)).spec
    menu = (CLIENTS / "pd" / "ghostnote.pd").read_text()
    for role in spec.roles:
        assert f"/ghost/trig {role} 0.9" in menu
    assert f"/ghost/voice/*/weights/{len(spec.kits) - 1} " in menu
    assert f"/ghost/voice/*/weights/{len(spec.kits)} " not in menu
    assert MAX_STEPS >= 16


@pytest.mark.parametrize("name", MADE[:2])
def test_a_max_patch_holds_together(name: str) -> None:
    patcher = json.loads((CLIENTS / name).read_text())["patcher"]
    boxes = {item["box"]["id"]: item["box"] for item in patcher["boxes"]}
    assert len(boxes) == len(patcher["boxes"])
    for box in boxes.values():
        assert len(box.get("outlettype", [])) == box["numoutlets"], box
        assert len(box["patching_rect"]) == 4
        assert box["maxclass"] != "newobj" or box["text"]
    wired = set()
    for item in patcher["lines"]:
        (source, outlet), (target, inlet) = (
            item["patchline"][end] for end in ("source", "destination")
        )
        assert 0 <= outlet < boxes[source]["numoutlets"], (boxes[source], outlet)
        assert 0 <= inlet < boxes[target]["numinlets"], (boxes[target], inlet)
        wired |= {source, target}
    loose = {box["text"] for key, box in boxes.items() if key not in wired and "text" in box}
    assert all(box["maxclass"] == "comment" for key, box in boxes.items() if key not in wired), (
        loose
    )
    assert "never opened in Max" in json.dumps(patcher)


def test_the_bridge_plays_the_general_midi_drums() -> None:
    patcher = json.loads((CLIENTS / MADE[1]).read_text())["patcher"]
    boxes = {item["box"]["id"]: item["box"] for item in patcher["boxes"]}
    lines = [item["patchline"] for item in patcher["lines"]]

    def after(box: str, outlet: int) -> str:
        ends = (line["destination"][0] for line in lines if line["source"] == [box, outlet])
        return str(next(ends))

    route = next(key for key, box in boxes.items() if box.get("text", "").startswith("route "))
    notes = boxes[route]["text"].split()[1:]
    for note, role in (
        ("36", "kick"),
        ("38", "snare"),
        ("42", "hat"),
        ("46", "open"),
        ("51", "ride"),
    ):
        scaled = after(route, notes.index(note))
        assert boxes[after(scaled, 0)]["text"] == f"/ghost/trig {role} $1"


def test_the_touchosc_layout_is_whole() -> None:
    root = ElementTree.fromstring(zlib.decompress(TOSC.read_bytes()))
    assert root.tag == "lexml"
    nodes = list(root.iter("node"))
    assert len({node.get("ID") for node in nodes}) == len(nodes)
    for node in nodes:
        frame = node.find("properties/property[key='frame']/value")
        assert frame is not None and [part.tag for part in frame] == ["x", "y", "w", "h"]
    values = {
        message.findtext("path/partial/value"): [
            part.findtext("value") for part in message.findall("arguments/partial")
        ]
        for message in root.iter("osc")
    }
    assert values["/ghost/tempo"] == ["x"]
    assert values["/ghost/voice/*/xy"] == ["x", "y"]


def test_open_stage_control_widgets_do_not_overlap() -> None:
    session: Any = json.loads((CLIENTS / MADE[3]).read_text())
    widgets = session["content"]["widgets"]
    assert len({widget["id"] for widget in widgets}) == len(widgets)
    for k, one in enumerate(widgets):
        for other in widgets[:k]:
            apart = (
                one["left"] >= other["left"] + other["width"]
                or other["left"] >= one["left"] + one["width"]
                or one["top"] >= other["top"] + other["height"]
                or other["top"] >= one["top"] + one["height"]
            )
            assert apart, (one["id"], other["id"])


def reaper_lines() -> list[tuple[str, str, str]]:
    """(action, flag, address) of each pattern, those in comments too."""
    found = []
    for line in REAPER.read_text().splitlines():
        words = line.lstrip("# ").split()
        for pattern in words[1:]:
            if pattern[1:].startswith("/ghost/") and words[0].replace("_", "").isupper():
                found.append((words[0], pattern[0], pattern[1:]))
    return found


def test_reaper_sends_what_the_server_takes(tmp_path: Path) -> None:
    lines = reaper_lines()
    assert {action for action, _, _ in lines} >= {"TEMPO", "PLAY", "STOP", "TRACK_VOLUME"}
    with server(tmp_path) as played:
        for _, flag, address in lines:
            assert flag in "nfbtrsi"
            value = {"f": -6.5 if "gain" in address else 97.25}.get(flag, 1.0)
            played.client.send(address.replace("@", "1"), value)
            if flag == "t":
                played.client.send(address, 0.0)
        played.client.synced()
        assert not [a for a in played.client.answers(0.2) if a[0] == "/fail"]
    assert 97.25 in played.of(Op.TEMPO)
    # Of 1 and 0 only the 1 counted.
    assert len(played.of(Op.PLAY)) == 1
    assert len(played.of(Op.STOP)) == 1


def test_the_packets_of_tidal_play_in_time(tmp_path: Path) -> None:
    """`ArgList [s, velocity, voice]` in one bundle an event, with `oLatency` to its timetag."""
    shape = (CLIENTS / "tidal" / "BootGhostnote.hs").read_text()
    assert [shape.index(f'("{name}"') for name in ("s", "velocity", "voice")] == sorted(
        shape.index(f'("{name}"') for name in ("s", "velocity", "voice")
    )
    with server(tmp_path) as played:
        begin = time.time() + 0.4
        for k, role in enumerate(["kick", "hat", "snare", "hat"]):
            message = OscMessageBuilder("/ghost/trig")
            for value, tag in ((role, "s"), (0.9, "f"), (1, "i")):
                message.add_arg(value, tag)
            bundle = OscBundleBuilder(begin + k / 8)  # type: ignore[arg-type]  # parts of seconds
            bundle.add_content(message.build())
            played.client.raw(bundle.build().dgram)
        time.sleep(1.2)
    hits = played.hits()
    assert [hit.role for hit in hits] == ["kick", "hat", "snare", "hat"]
    if not played.late:
        gaps = [b.seconds - a.seconds for a, b in itertools.pairwise(hits)]
        assert all(abs(gap - 1 / 8) < 0.01 for gap in gaps)
