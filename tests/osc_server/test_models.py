"""Models over OSC: loading, and what is told of them."""

from __future__ import annotations

import pytest

from ghostnote.osc_server.commands import FRAME_NOW, Command, Op
from tests.osc_server.recorder import KITS, RATE, ROLES, Client, RecordingControl


def test_sync_waits_for_slow_work(client: Client, control: RecordingControl) -> None:
    control.loading.clear()
    assert client.say("/ghost/model/load", "default") == []
    assert client.say("/ghost/sync", 7) == []
    assert client.say("/ghost/tempo", 90.0) == []  # nothing waits for the worker
    assert control.commands == [Command(Op.TEMPO, value=90.0)]
    control.loading.set()
    client.dispatcher.stop()
    assert client.take() == [
        ("/done", "/ghost/model/load", "default", *KITS, 2047, RATE),
        ("/ghost/synced", 7),
    ]


def test_loading_brings_new_kits(client: Client, control: RecordingControl) -> None:
    client.say("/ghost/voice/1/kit", "tape")
    client.say("/ghost/voice/2/kit", "vinyl")
    client.say("/ghost/model/load", "other")
    client.dispatcher.stop()
    assert client.take() == [("/done", "/ghost/model/load", "other", "tape", "new", 2047, RATE)]
    assert client.say("/ghost/get", "/ghost/voice/?/kit") == [
        ("/ghost/voice/1/kit", "tape"),
        ("/ghost/voice/2/kit", "tape"),
    ]
    assert control.batches[-1] == (
        FRAME_NOW,
        [Command(Op.WEIGHT, voice, kit, float(kit == 0)) for voice in (0, 1) for kit in (0, 1)],
    )
    assert client.say("/ghost/voice/1/kit", "new") == []
    assert client.say("/ghost/voice/1/weights/2", 1.0)[0][0] == "/fail"


def test_loading_one_voice(client: Client, control: RecordingControl) -> None:
    client.say("/ghost/model/load", "other", 2)
    client.dispatcher.stop()
    assert control.kit_names[:2] == [KITS, ("tape", "new")]


def test_model_queries(client: Client) -> None:
    client.say("/ghost/model/list")
    client.say("/ghost/model/info", "other")
    client.say("/ghost/model/info", "none")
    client.dispatcher.stop()
    assert client.take() == [
        ("/done", "/ghost/model/list", "default", "other"),
        ("/done", "/ghost/model/info", "other", RATE, 2047, 3, *ROLES, 2, "tape", "new"),
        ("/fail", "/ghost/model/info", "no model 'none'"),
    ]


def test_more_models_than_a_packet_can_name_are_refused(
    client: Client, control: RecordingControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "models", lambda: ("x" * 100,) * 700)
    ((fail, _, reason),) = client.slow("/ghost/model/list")
    assert fail == "/fail"
    assert str(reason).startswith("too long for one packet: 700 models; ")
