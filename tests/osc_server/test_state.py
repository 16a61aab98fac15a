"""The state file: written when something changes, resumed after a restart, damaged ones told."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from ghostnote.inference.manifest import part_of
from ghostnote.osc_server.commands import Command, Op
from ghostnote.osc_server.dispatch import Dispatcher
from ghostnote.osc_server.state import EVERY_SECONDS, StateFile, default_path, resume
from tests.osc_server.recorder import Client, Clock, RecordingControl


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the state is kept."""
    return tmp_path / "state" / "state-9770.json"


def written(client: Client, keeper: StateFile) -> None:
    """Let what the keeper has asked of the worker be done."""
    keeper.tick()
    client.slow("/ghost/sync", 1)


def again(path: Path, control: RecordingControl | None = None, source: str = "internal") -> Client:
    """Resume in a fresh server that has been started with a source of time; return its client."""
    control = control or RecordingControl()
    dispatcher = Dispatcher(control, presets=path.parent)
    dispatcher.start()
    control.batches.clear()
    control.follow(source)
    assert resume(dispatcher.session, path)
    client = Client(dispatcher)
    client.slow("/ghost/sync", 1)
    return client


def change(client: Client) -> None:
    """Set something of everything, and have voices 1 and 4."""
    client.say("/ghost/tempo", 93.5)
    client.say("/ghost/quantum", 4.0)
    client.say("/ghost/signature", 3)
    client.say("/ghost/master/gain", -3.0)
    client.say("/ghost/record/format", "24")
    client.say("/ghost/sync/offset", -7.0)
    client.slow("/ghost/voice/new", "other", 4)
    client.say("/ghost/voice/2/free")
    client.say("/ghost/voice/1/seed", 2**62)
    client.say("/ghost/voice/1/weights", 0.1, 0.2, 0.0)
    client.say("/ghost/voice/1/solo", True)
    client.say("/ghost/voice/4/kit", "new")
    client.say("/ghost/voice/4/out", 2)
    client.say("/ghost/pattern/4", "snare", "x.X.o5..")
    client.say("/ghost/pattern/4/snare/length", 7)
    client.say("/ghost/pattern/4/hat/probability", 0.5)


def test_a_restart_comes_back_as_it_was(
    client: Client, control: RecordingControl, path: Path
) -> None:
    keeper = StateFile(client.dispatcher.session, path)
    change(client)
    client.slow("/ghost/sync", 1)
    before = dict(client.dispatcher.session.values)
    keeper.close()
    fresh = RecordingControl()
    after = again(path, fresh)
    assert after.dispatcher.session.values == before
    assert after.dispatcher.session.voices == {0, 3}
    assert fresh.model_names[3] == "other"
    assert Command(Op.TEMPO, value=93.5) in fresh.commands
    assert Command(Op.SEED, 0, 2**62) in fresh.commands
    assert Command(Op.PATTERN_LENGTH, 3, 1, 7) in fresh.commands
    assert not any(command.op is Op.PLAY for command in fresh.commands)
    after.dispatcher.stop()


def test_what_rolled_is_played_from_the_first_beat(
    client: Client, control: RecordingControl, path: Path
) -> None:
    control.rolling, control.beat = True, 17.5
    StateFile(client.dispatcher.session, path).close()
    fresh = RecordingControl()
    after = again(path, fresh)
    assert fresh.commands[-1] == Command(Op.PLAY)
    after.dispatcher.stop()


def test_source_of_time_is_followed_again(
    client: Client, control: RecordingControl, path: Path
) -> None:
    client.slow("/ghost/sync/source", "jack")
    control.rolling = True
    StateFile(client.dispatcher.session, path).close()
    fresh = RecordingControl()
    after = again(path, fresh)
    assert fresh.followed == ["jack"]
    assert not any(command.op is Op.PLAY for command in fresh.commands)  # JACK says so itself
    assert after.value("/ghost/sync/source") == ("jack",)
    after.dispatcher.stop()


def test_a_source_of_time_that_is_not_there_is_one_warning(
    client: Client, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client.say("/ghost/tempo", 90.0)
    StateFile(client.dispatcher.session, path).close()
    data = json.loads(path.read_text())
    data["settings"]["sync/source"] = "link"
    path.write_text(json.dumps(data))
    after = again(path)
    assert after.value("/ghost/tempo") == (90.0,)
    assert after.value("/ghost/sync/source") == ("internal",)
    assert caplog.messages == [
        "--resume: Ableton Link is not installed: pip install ghostnote[link]"
    ]
    after.dispatcher.stop()


def test_a_source_of_the_command_line_stays(client: Client, path: Path) -> None:
    StateFile(client.dispatcher.session, path).close()
    after = again(path, source="osc")
    assert after.dispatcher.session.control.following() == "osc"
    after.dispatcher.stop()


def test_file_is_written_now_and_then(client: Client, clock: Clock, path: Path) -> None:
    keeper = StateFile(client.dispatcher.session, path)
    written(client, keeper)
    assert not path.exists()
    clock.now += EVERY_SECONDS
    written(client, keeper)
    first = path.read_text()
    client.say("/ghost/tempo", 90.0)
    clock.now += EVERY_SECONDS / 2
    written(client, keeper)
    assert path.read_text() == first
    clock.now += EVERY_SECONDS / 2
    written(client, keeper)
    assert json.loads(path.read_text())["settings"]["tempo"] == 90.0
    mark = path.stat().st_mtime_ns
    clock.now += EVERY_SECONDS
    written(client, keeper)
    assert path.stat().st_mtime_ns == mark  # nothing has changed
    client.slow("/ghost/voice/new")
    keeper.close()
    assert list(json.loads(path.read_text())["voices"]) == ["1", "2", "3"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "no state of this version"),
        ('{"ghostnote_state": 2}', "no state of this version"),
        ('{"ghostnote_state": 1}', "damaged"),
        ('{"ghostnote_state": 1, "settings": {}, "voices": {}}', "damaged"),
        (
            '{"ghostnote_state": 1, "settings": {"tempo": 0}, "voices": {}, "transport": {}}',
            "tempo: 0 is not within 10 to 1000 bpm",
        ),
        (
            '{"ghostnote_state": 1, "settings": {}, "transport": {}, "voices": '
            + '{"1": {"model": "gone", "settings": {}}}}',
            "no model 'gone'",
        ),
        *(
            (
                '{"ghostnote_state": 1, "settings": {}, "transport": {}, "voices": {"1": '
                + f'{{"model": "default", "settings": {{"gain": {value}}}}}}}}}',
                word,
            )
            for value, word in (
                ("1e300", "voice 1 gain: "),
                ("1e999", "voice 1 gain: "),
                ("NaN", "voice 1 gain: "),
                ("9" * 5000, "damaged"),
                ("null", "damaged"),
                ("[]", "damaged"),
                ("[0, 0]", "voice 1 gain: "),
                ('"\\ud800"', "damaged"),
            )
        ),
        (
            '{"ghostnote_state": 1, "settings": {}, "transport": {}, "voices": '
            + '{"1": {"model": "default", "settings": {}, "playing": "yes"}}}',
            "damaged",
        ),
    ],
)
def test_a_damaged_file_is_one_warning_and_the_defaults(
    content: str,
    word: str,
    client: Client,
    control: RecordingControl,
    path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path.parent.mkdir()
    path.write_text(content)
    before = dict(client.dispatcher.session.values)
    assert not resume(client.dispatcher.session, path)
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert word in warning.getMessage()
    assert str(path) in warning.getMessage()
    assert "\n" not in warning.getMessage()
    assert client.dispatcher.session.values == before
    assert control.batches == []
    # What comes to stand there now does not take its place.
    aside = path.with_name("state-9770.json.refused")
    assert aside.name in warning.getMessage()
    StateFile(client.dispatcher.session, path).close()
    assert aside.read_text() == content
    assert json.loads(path.read_text())["ghostnote_state"] == 1


def test_no_refused_file_takes_anothers_place(client: Client, path: Path) -> None:
    path.parent.mkdir()
    for content in ("one", "two", "three"):
        path.write_text(content)
        assert not resume(client.dispatcher.session, path)
    kept = sorted(path.parent.iterdir())
    assert [file.read_text() for file in kept] == ["one", "two", "three"]
    assert [file.name for file in kept] == [
        f"state-9770.json.refused{number}" for number in ("", 1, 2)
    ]


def test_a_defect_of_ours_does_not_keep_the_server_from_starting(
    client: Client,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of a file that nobody thought of")

    StateFile(client.dispatcher.session, path).close()
    monkeypatch.setattr("ghostnote.osc_server.state.put", fail)
    assert not resume(client.dispatcher.session, path)
    (line,) = caplog.messages
    assert "ZeroDivisionError" in line and "refused" in line and "\n" not in line


def test_what_a_killed_server_left_half_written_is_removed(client: Client, path: Path) -> None:
    path.parent.mkdir()
    part_of(path).write_text("half")
    another = part_of(path.with_name("state-9771.json"))
    another.write_text("half")
    StateFile(client.dispatcher.session, path).close()
    assert sorted(path.parent.iterdir()) == sorted([path, another])


def test_what_was_stopped_stays_stopped(
    client: Client, control: RecordingControl, path: Path
) -> None:
    control.states[:2] = ["idle", "playing"]
    StateFile(client.dispatcher.session, path).close()
    voices = json.loads(path.read_text())["voices"]
    assert [voices[number]["playing"] for number in ("1", "2")] == [False, True]
    fresh = RecordingControl()
    after = again(path, fresh)
    assert Command(Op.VOICE_STOP, 0) in fresh.commands
    assert Command(Op.VOICE_PLAY, 1) in fresh.commands
    after.dispatcher.stop()


def test_a_file_that_does_not_tell_who_plays_stops_nobody(client: Client, path: Path) -> None:
    StateFile(client.dispatcher.session, path).close()
    data = json.loads(path.read_text())
    for voice in data["voices"].values():
        del voice["playing"]
    path.write_text(json.dumps(data))
    fresh = RecordingControl()
    after = again(path, fresh)
    assert not {Op.VOICE_STOP, Op.VOICE_PLAY} & {command.op for command in fresh.commands}
    after.dispatcher.stop()


def test_nothing_to_resume_is_no_warning(
    client: Client, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not resume(client.dispatcher.session, path)
    assert not caplog.records


def test_a_file_that_cannot_be_written_is_told_once(
    client: Client, clock: Clock, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.write_text("a file where the folder should be")
    keeper = StateFile(client.dispatcher.session, path)
    for tempo in (90.0, 91.0, 92.0):
        clock.now += EVERY_SECONDS
        client.say("/ghost/tempo", tempo)
        written(client, keeper)
    assert len(caplog.messages) == 1
    assert "--state" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="XDG is not of Windows")
def test_default_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert default_path(9770) == Path("/somewhere/ghostnote/state-9770.json")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/nobody")
    assert default_path(1) == Path("/home/nobody/.local/state/ghostnote/state-1.json")
