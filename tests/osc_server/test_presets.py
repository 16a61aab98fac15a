"""Presets: kept, set again, mixed; damaged or unknown ones change nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ghostnote.osc_server.commands import Command, Op
from ghostnote.osc_server.presets import MAX_BYTES
from ghostnote.osc_server.worker import MAX_WAITING
from tests.osc_server.recorder import Client, RecordingControl
from tests.osc_server.waiting import until

Json = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the presets."""
    return tmp_path / "presets"


def change(client: Client) -> None:
    """Set something of everything."""
    for address, *values in (
        ("/ghost/tempo", 90.0),
        ("/ghost/quantum", 4.0),
        ("/ghost/master/gain", -6.0),
        ("/ghost/voice/1/gain", -12.0),
        ("/ghost/voice/1/weights", 1.0, 3.0, 0.0),
        ("/ghost/voice/1/seed", 2**40),
        ("/ghost/voice/2/mute", True),
        ("/ghost/voice/2/kit", "tape"),
        ("/ghost/pattern/1", "kick", "x...|X..."),
        ("/ghost/pattern/1/kick/length", 5),
        ("/ghost/pattern/2/hat/swing", 0.5),
        ("/ghost/pattern/2/hat/1", 1.0),
    ):
        assert client.say(address, *values) == []


def undo(client: Client) -> None:
    """Set all of it to something else."""
    for address, *values in (
        ("/ghost/tempo", 140.0),
        ("/ghost/quantum", 0.0),
        ("/ghost/master/gain", 3.0),
        ("/ghost/voice/*/gain", 1.0),
        ("/ghost/voice/*/kit", "vinyl"),
        ("/ghost/voice/*/seed", 1),
        ("/ghost/voice/*/mute", False),
        ("/ghost/pattern/*/clear",),
        ("/ghost/pattern/*/snare", "xxx"),
        ("/ghost/pattern/*/hat/swing", 1.0),
    ):
        assert client.say(address, *values) == []


def values(client: Client) -> dict[str, object]:
    return dict(client.dispatcher.session.values)


def test_save_and_load(client: Client) -> None:
    change(client)
    before = values(client)
    assert client.slow("/ghost/preset/save", "verse") == [("/done", "/ghost/preset/save", "verse")]
    undo(client)
    assert values(client) != before
    assert client.slow("/ghost/preset/load", "verse") == [("/done", "/ghost/preset/load", "verse")]
    assert values(client) == before


def test_load_tells_the_engine_and_the_followers(client: Client, control: RecordingControl) -> None:
    change(client)
    client.slow("/ghost/preset/save", "verse")
    undo(client)
    client.say("/ghost/notify", 1)
    control.batches.clear()
    client.slow("/ghost/preset/load", "verse")
    assert Command(Op.TEMPO, value=90.0) in control.commands
    assert Command(Op.MUTE, 1, value=1.0) in control.commands
    assert Command(Op.PATTERN_LENGTH, 0, 0, 5) in control.commands
    assert Command(Op.PATTERN_LENGTH, 0, 1, 0) in control.commands  # the snare is cleared
    client.dispatcher.tick()
    told = client.take()  # the one who loads does not know what is in it
    assert ("/ghost/voice/2/kit", "tape") in told


def test_loading_again_says_nothing_to_the_engine(
    client: Client, control: RecordingControl
) -> None:
    change(client)
    client.slow("/ghost/preset/save", "verse")
    control.batches.clear()
    client.slow("/ghost/preset/load", "verse")
    assert control.batches == []


def test_models_are_loaded_and_voices_made(client: Client, control: RecordingControl) -> None:
    client.slow("/ghost/model/load", "other", 2)
    client.slow("/ghost/voice/new", "other", 4)
    client.say("/ghost/voice/4/kit", "new")
    client.slow("/ghost/preset/save", "three")
    client.slow("/ghost/model/load", "default", 2)
    client.say("/ghost/voice/4/free")
    control.leaving.clear()
    client.slow("/ghost/voice/new", "default", 3)
    assert client.slow("/ghost/preset/load", "three") == [("/done", "/ghost/preset/load", "three")]
    assert control.model_names == ["default", "other", "default", "other"]
    assert client.value("/ghost/voice/4/kit") == ("new",)
    assert client.value("/ghost/voice/2/kit") == ("tape",)
    assert client.value("/ghost/voice/3/gain") == (0.0,)  # left as it is


def test_hold_and_the_transport_are_no_part_of_it(client: Client, root: Path) -> None:
    client.say("/ghost/voice/1/hold", 1)
    client.slow("/ghost/preset/save", "a")
    text = (root / "a.json").read_text()
    assert "hold" not in text
    assert "rolling" not in text
    assert "playing" not in text


def test_what_lies_beside_a_preset_is_left_alone(
    client: Client, root: Path, tmp_path: Path
) -> None:
    root.mkdir()
    outside, beside = tmp_path / "outside", root / "b.json.part"
    for file in (outside, beside):
        file.write_text("kept")
    (root / "a.json.part").symlink_to(outside)
    for name in ("a", "b"):
        assert client.slow("/ghost/preset/save", name)[0][0] == "/done"
        assert client.slow("/ghost/preset/save", name)[0][0] == "/done"
    assert outside.read_text() == beside.read_text() == "kept"
    assert (root / "a.json.part").is_symlink()
    assert len([*root.iterdir()]) == 4


def test_list_and_delete(client: Client, root: Path) -> None:
    assert client.slow("/ghost/preset/list") == [("/done", "/ghost/preset/list")]
    for name in ("b", "live/a", "A ü"):
        assert client.slow("/ghost/preset/save", name)[0][0] == "/done"
    (root / "junk.txt").touch()
    (root / "c.json.part").touch()
    assert client.slow("/ghost/preset/list") == [
        ("/done", "/ghost/preset/list", "A ü", "b", "live/a")
    ]
    assert client.slow("/ghost/preset/delete", "b") == [("/done", "/ghost/preset/delete", "b")]
    assert client.slow("/ghost/preset/delete", "b") == [
        ("/fail", "/ghost/preset/delete", "no preset 'b'")
    ]


@pytest.mark.parametrize("word", ["save", "load", "delete"])
@pytest.mark.parametrize("name", ["", "../x", "/etc/x", "a/../../x", "C:\\x", "x\ny", "n" * 300])
def test_names_stay_in_the_folder(word: str, name: str, client: Client, tmp_path: Path) -> None:
    ((fail, address, reason),) = client.slow(f"/ghost/preset/{word}", name)
    assert (fail, address) == ("/fail", f"/ghost/preset/{word}")
    assert "file name" in str(reason)
    assert not list(tmp_path.rglob("*x*"))


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_links_out_of_the_folder_are_refused(client: Client, root: Path, tmp_path: Path) -> None:
    root.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    (root / "link.json").symlink_to(tmp_path / "secret.json")
    (root / "out").symlink_to(tmp_path)
    for name in ("link", "out/secret"):
        for word in ("load", "save", "delete"):
            assert "leads out" in str(client.slow(f"/ghost/preset/{word}", name)[0][2])
    assert (tmp_path / "secret.json").read_text() == "{}"


def good(root: Path) -> Json:
    data: Json = json.loads((root / "good.json").read_text())
    return data


def put(data: Json, voice: str, name: str, value: object) -> Json:
    data["voices"][voice]["settings"][name] = value
    return data


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda _: "", "damaged"),
        (lambda _: "[" * 100_000, "damaged"),
        (lambda data: json.dumps(data)[:-5], "damaged"),
        (lambda _: "[]", "version"),
        (lambda data: json.dumps({**data, "ghostnote_preset": 99}), "version"),
        (lambda data: json.dumps({**data, "voices": 3}), "damaged"),
        (lambda data: json.dumps({**data, "voices": {"0": data["voices"]["1"]}}), "damaged"),
        (lambda data: json.dumps({**data, "voices": {"1e3": data["voices"]["1"]}}), "damaged"),
        (lambda data: json.dumps({**data, "voices": {"5": data["voices"]["1"]}}), "voice 5"),
        (lambda data: json.dumps({**data, "settings": {"tempo": 0}}), "tempo: 0 is not within"),
        (lambda data: json.dumps({**data, "settings": {"tempo": float("nan")}}), "tempo: nan"),
        (lambda data: json.dumps({**data, "settings": {"tempo": None}}), "damaged"),
        (lambda data: json.dumps({**data, "settings": {"tempo": 2**70}}), "damaged"),
        (lambda data: json.dumps({**data, "settings": {"quit": 1}}), "no such parameter"),
        (lambda data: json.dumps({**data, "settings": {"voice/*/gain": 1}}), "no such parameter"),
        (lambda data: json.dumps(put(data, "1", "gain", "loud")), "voice 1 gain"),
        (lambda data: json.dumps(put(data, "1", "free", 1)), "voice 1 free"),
        (lambda data: json.dumps(put(data, "2", "weights", [1.0])), "1 for 3 kits"),
        (lambda data: json.dumps(put(data, "2", "out", 3)), "there are 2 (--outputs"),
        (lambda data: json.dumps(put(data, "2", "pattern/kick", "xyz")), "'y' at position 2"),
        (lambda data: json.dumps(put(data, "2", "pattern/gong", "x")), "no such parameter"),
        (lambda data: json.dumps(put(data, "2", "pattern/kick", "x\0")), "damaged"),
        (lambda data: json.dumps(put(data, "2", "gain", [[1]])), "damaged"),
        (lambda data: " " * (MAX_BYTES + 1) + json.dumps(data), "larger than"),
        (
            lambda data: json.dumps({**data, "voices": {"1": {"model": "gone", "settings": {}}}}),
            "no model 'gone'",
        ),
    ],
)
def test_a_damaged_preset_changes_nothing(
    damage: Any, word: str, client: Client, control: RecordingControl, root: Path
) -> None:
    change(client)
    client.slow("/ghost/preset/save", "good")
    (root / "bad.json").write_text(damage(good(root)))
    undo(client)
    before = values(client)
    control.batches.clear()
    ((fail, address, reason),) = client.slow("/ghost/preset/load", "bad")
    assert (fail, address) == ("/fail", "/ghost/preset/load")
    assert word in str(reason)
    assert "\n" not in str(reason)
    assert values(client) == before
    assert control.batches == []


def test_unknown_preset(client: Client) -> None:
    for word, more in (("load", ()), ("morph", ("b", 0.5))):
        assert client.slow(f"/ghost/preset/{word}", "a", *more) == [
            (
                "/fail",
                f"/ghost/preset/{word}",
                "no preset 'a'; /ghost/preset/list tells those there are",
            )
        ]


def two(client: Client) -> None:
    """Save presets a and b, which differ."""
    client.say("/ghost/tempo", 100.0)
    client.say("/ghost/voice/1/gain", -20.0)
    client.say("/ghost/voice/1/kit", "dusty")
    client.say("/ghost/voice/1/temperature", 1.0)
    client.say("/ghost/pattern/1", "kick", "x...")
    client.slow("/ghost/preset/save", "a")
    client.say("/ghost/tempo", 140.0)
    client.say("/ghost/voice/1/gain", 0.0)
    client.say("/ghost/voice/1/kit", "tape")
    client.say("/ghost/voice/1/temperature", 0.5)
    client.say("/ghost/voice/1/seed", 9)
    client.say("/ghost/quantum", 4.0)
    client.say("/ghost/pattern/1", "kick", "xxxx")
    client.say("/ghost/pattern/1/kick/swing", 1.0)
    client.slow("/ghost/preset/save", "b")


@pytest.mark.parametrize("x", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_morph(x: float, client: Client) -> None:
    two(client)
    assert client.slow("/ghost/preset/morph", "a", "b", x) == [
        ("/done", "/ghost/preset/morph", "a", "b", x)
    ]
    near_b = x >= 0.5
    for address, expected in (
        ("/ghost/tempo", (100.0 + 40 * x,)),
        ("/ghost/voice/1/gain", (-20.0 + 20 * x,)),
        ("/ghost/voice/1/temperature", (1.0 - 0.5 * x,)),
        ("/ghost/voice/1/weights", (1.0 - x, 0.0, x)),
        ("/ghost/pattern/1/kick/swing", (x,)),
        ("/ghost/voice/1/seed", (9 if near_b else 0,)),
        ("/ghost/quantum", (4.0 if near_b else 0.0,)),
    ):
        assert client.value(address) == pytest.approx(expected), address
    assert client.value("/ghost/pattern/1/kick") == ("xxxx" if near_b else "x...",)


def test_morph_of_voices_that_only_one_has_and_of_models(
    client: Client, control: RecordingControl
) -> None:
    client.slow("/ghost/preset/save", "a")
    client.slow("/ghost/voice/new", "", 3)
    client.say("/ghost/voice/3/gain", -10.0)
    client.slow("/ghost/model/load", "other", 1)
    client.say("/ghost/voice/1/kit", "new")
    client.slow("/ghost/preset/save", "b")
    client.slow("/ghost/preset/morph", "a", "b", 0.25)
    assert client.value("/ghost/voice/3/gain") == (-10.0,)
    assert client.value("/ghost/voice/1/model") == ("default",)
    assert client.value("/ghost/voice/1/kit") == ("dusty",)
    client.slow("/ghost/preset/morph", "a", "b", 0.75)
    assert client.value("/ghost/voice/1/model") == ("other",)
    assert client.value("/ghost/voice/1/kit") == ("new",)


def test_only_the_last_of_a_fast_fader_is_done(client: Client, control: RecordingControl) -> None:
    two(client)
    control.loading.clear()
    client.say("/ghost/model/load", "default")  # the worker waits
    for step in range(50):
        client.say("/ghost/preset/morph", "a", "b", step / 100)
    control.loading.set()
    told = client.slow("/ghost/status")
    done = [answer for answer in told if answer[:2] == ("/done", "/ghost/preset/morph")]
    ((_, _, a, b, x),) = done
    assert (a, b) == ("a", "b")
    assert x == pytest.approx(0.49)


def test_a_fader_dragged_while_the_worker_is_busy_keeps_its_last_place(
    client: Client, control: RecordingControl
) -> None:
    two(client)
    other = Client(client.dispatcher, "client b")
    control.loading.clear()
    client.say("/ghost/model/load", "default")  # the worker waits
    for step in range(2 * MAX_WAITING):
        assert client.say("/ghost/preset/morph", "a", "b", step / 256) == []
    assert other.say("/ghost/preset/morph", "a", "b", 0.75) == []
    assert client.say("/ghost/record/stop") == []
    control.loading.set()
    told = client.slow("/ghost/status")
    assert "/ghost/record/stop" in [answer[1] for answer in told]
    assert "/ghost/preset/morph" not in [answer[1] for answer in told]
    assert other.take() == [("/done", "/ghost/preset/morph", "a", "b", 0.75)]
    assert client.value("/ghost/tempo") == (130.0,)


def test_a_morph_does_not_overtake_what_was_asked_for_before_it(
    client: Client, control: RecordingControl
) -> None:
    two(client)
    control.loading.clear()
    client.say("/ghost/model/load", "default")  # the worker waits
    client.say("/ghost/preset/morph", "a", "b", 0.25)
    client.say("/ghost/preset/load", "a")
    for x in (0.25, 0.5):
        client.say("/ghost/preset/morph", "a", "b", x)
    control.loading.set()
    done = [answer[1:] for answer in client.slow("/ghost/status") if answer[0] == "/done"]
    assert done[1:] == [
        ("/ghost/preset/morph", "a", "b", 0.25),
        ("/ghost/preset/load", "a"),
        ("/ghost/preset/morph", "a", "b", 0.5),
    ]
    assert client.value("/ghost/tempo") == (120.0,)


def test_a_morph_for_which_there_is_no_room_is_refused(
    client: Client, control: RecordingControl
) -> None:
    two(client)
    control.loading.clear()
    for _ in range(MAX_WAITING + 2):
        client.say("/ghost/model/load", "default")
    ((fail, *_),) = client.say("/ghost/preset/morph", "a", "b", 0.25)
    assert fail == "/fail"
    control.loading.set()
    until(lambda: client.say("/ghost/preset/morph", "a", "b", 0.5) == [], "room for it")
    assert client.slow("/ghost/status")[-1][:2] == ("/done", "/ghost/preset/morph")


def test_more_names_than_a_packet_holds_are_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were lost without a word: no datagram is so long."""
    names = [f"{n:03}" + "x" * 200 for n in range(500)]
    monkeypatch.setattr(client.dispatcher.session.presets, "names", lambda: names)
    reason = "too long for one packet: 500 presets; delete some, or give them shorter names"
    assert client.slow("/ghost/preset/list") == [("/fail", "/ghost/preset/list", reason)]
    del names[200:]
    ((done, _, *told),) = client.slow("/ghost/preset/list")
    assert (done, told) == ("/done", names)


def test_a_morph_follows_files_that_change(client: Client, root: Path) -> None:
    two(client)
    client.slow("/ghost/preset/morph", "a", "b", 0.5)
    data = json.loads((root / "a.json").read_text())
    data["settings"]["tempo"] = 20.0
    (root / "a.json").write_text(json.dumps(data))
    client.slow("/ghost/preset/morph", "a", "b", 0.0)
    assert client.value("/ghost/tempo") == (20.0,)


def test_what_cannot_be_written_is_told(client: Client, root: Path) -> None:
    root.write_text("a file where the folder should be")
    ((fail, _, reason),) = client.slow("/ghost/preset/save", "a")
    assert fail == "/fail"
    assert str(root) in str(reason)


def test_full_queue_is_waited_for(
    client: Client, control: RecordingControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    two(client)
    tries = []

    def sleep(seconds: float) -> None:
        tries.append(seconds)
        control.full = len(tries) < 3

    # Its own clock, not the module that all threads share.
    clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    monkeypatch.setattr("ghostnote.osc_server.handling.time", clock)
    control.full = True
    assert client.slow("/ghost/preset/load", "a") == [("/done", "/ghost/preset/load", "a")]
    assert len(tries) == 3
    assert client.value("/ghost/tempo") == (100.0,)
