"""Messages about files: recordings, grabs, rendered loops."""

from __future__ import annotations

from tests.osc_server.recorder import Client, RecordingControl


def test_recording_of_a_voice_in_the_format_of_now(
    client: Client, control: RecordingControl
) -> None:
    client.say("/ghost/record/format", "24")
    assert client.slow("/ghost/record/start", "take.wav", 2) == [
        ("/done", "/ghost/record/start", "/recordings/take.wav")
    ]
    client.say("/ghost/record/format", "float")
    client.slow("/ghost/record/start", "all.wav")
    assert control.recorded == [("take.wav", 1, "24"), ("all.wav", None, "float")]
    assert client.slow("/ghost/record/start", "x.wav", 3) == [
        ("/fail", "/ghost/record/start", "unknown voice 3; there are 1, 2")
    ]


def test_a_button_ends_the_masters_recording(client: Client, control: RecordingControl) -> None:
    client.slow("/ghost/record/stop", 0)
    assert control.recorded == []
    client.slow("/ghost/record/stop", 1.0)
    client.slow("/ghost/record/stop")
    control.voices_recorded = {0}
    client.slow("/ghost/record/stop", 1)
    assert control.recorded == [("stop", None), ("stop", None), ("stop", 0)]


def test_grab(client: Client, control: RecordingControl) -> None:
    assert client.slow("/ghost/record/grab", 4) == [
        ("/done", "/ghost/record/grab", "/recordings/grab-1.wav", 96000)
    ]
    client.slow("/ghost/record/grab", 2.0, "break", 2)
    assert control.recorded == [(4.0, "", None, "float"), (2.0, "break", 1, "float")]
    for wrong in (0, -1, 65, float("nan")):
        assert client.slow("/ghost/record/grab", wrong)[0][0] == "/fail"


def test_render(client: Client, control: RecordingControl) -> None:
    assert client.slow("/ghost/render", '{"bars": 2}') == [
        ("/ghost/render/progress", 7, 0.0),
        ("/done", "/ghost/render", 7, "/renders/manifest.json"),
    ]
    assert control.rendering is not None
    request, progress, ended = control.rendering
    assert request == '{"bars": 2}'
    progress(7, 0.5)
    ended(7, "", "the disk is full")
    assert client.take() == [
        ("/ghost/render/progress", 7, 0.5),
        ("/fail", "/ghost/render", "job 7: the disk is full"),
    ]
    assert client.slow("/ghost/render/cancel", 7) == [("/done", "/ghost/render/cancel", 7)]
    assert control.cancelled == [7]
