"""The Pd patch in a real, headless Pd: its controls reach the server, answers reach the patch."""

import subprocess
from pathlib import Path

import pytest

from ghostnote.osc_server.commands import Op
from tests.clients.played import CLIENTS, Played, server
from tests.parts import missing, need

EXTERNALS = Path("/usr/lib/pd/extra/osc")

# Lines are (delay in ms, messages): what a hand would do, by the names of the controls.
HANDS = [
    (300, ["ghostnote-connect 127.0.0.1 PORT"]),
    (700, ["ghostnote-follow 1"]),
    (900, ["ghostnote-kick bang", "ghostnote-tempo 133", "ghostnote-kit 2"]),
    (1100, ["ghostnote-temperature 0.5", "ghostnote-weight-3 0.25", "ghostnote-x 0.25"]),
    (1300, ["ghostnote /ghost/trig gong", "ghostnote /ghost/version", "ghostnote-hold 1"]),
    (1500, ["ghostnote /ghost/voice/1/trig/snare 0.5", "ghostnote-play bang"]),
    (1600, ["ghostnote /ghost/pattern/1 hat x.x."]),
    (1900, ["ghostnote-stop bang", "ghostnote-hold 0"]),
    (2600, ["pd quit"]),
]


class Driver:
    """A patch that does things one after the other and prints what comes to a name."""

    def __init__(self) -> None:
        self.lines = ["#N canvas 0 0 400 400 12;", "#X obj 0 0 loadbang;"]
        self.wires: list[str] = []

    def add(self, box: str, source: int | None = 0) -> int:
        """Adds a box below another one."""
        self.lines.append(f"#X {box};")
        number = len(self.lines) - 2
        if source is not None:
            self.wires.append(f"#X connect {source} 0 {number} 0;")
        return number

    def write(self, path: Path) -> Path:
        """Writes the patch."""
        path.write_text("\n".join([*self.lines, *self.wires]) + "\n")
        return path


def pd(*patches: Path, path: Path | None = None) -> str:
    """Runs Pd without sound or window until a patch ends it; returns what it printed."""
    command = [need("pd"), "-nogui", "-noaudio", "-nomidi", "-stderr"]
    command += ["-path", str(path)] if path else []
    for patch in patches:
        command += ["-open", str(patch)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return ended.stderr.replace("\\", "")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Played, str]:
    """What was played by the hands above, and what Pd printed."""
    folder = tmp_path_factory.mktemp("pd")
    with server(folder) as played:
        driver = Driver()
        driver.add("obj 0 200 print REPLY", driver.add("obj 0 180 r ghostnote-reply", None))
        for delay, messages in HANDS:
            timer = driver.add(f"obj 0 40 del {delay}")
            text = " ".join(f"\\; {message}" for message in messages)
            driver.add(f"msg 0 60 {text.replace('PORT', str(played.port))}", timer)
        patch = driver.write(folder / "hands.pd")
        printed = pd(CLIENTS / "pd" / "ghostnote.pd", patch)
    return played, printed


def test_pd_knows_every_object(session: tuple[Played, str]) -> None:
    _, printed = session
    assert "couldn't create" not in printed
    assert "no method" not in printed
    assert "no such object" not in printed


def test_pads_and_messages_are_hits(session: tuple[Played, str]) -> None:
    played, _ = session
    assert [hit.role for hit in played.hits()] == ["kick", "snare"]
    assert [round(hit.velocity, 3) for hit in played.hits()] == [0.9, 0.5]


def test_controls_set_parameters(session: tuple[Played, str]) -> None:
    played, _ = session
    assert 133.0 in played.of(Op.TEMPO)
    assert any(abs(value - 0.5) < 1e-6 for value in played.of(Op.TEMPERATURE))
    assert any(0 < value < 1 for value in played.of(Op.WEIGHT))
    assert played.of(Op.HOLD)[-2:] == [1.0, 0.0]
    assert played.of(Op.PLAY)
    assert played.of(Op.STOP)
    assert played.of(Op.PATTERN_STEP)


def test_answers_are_heard(session: tuple[Played, str]) -> None:
    _, printed = session
    assert "REPLY: done /ghost/notify 1" in printed
    assert "REPLY: ghost version.reply ghostnote 0" in printed
    assert "ghostnote-refused: /ghost/trig unknown role 'gong'" in printed


def test_a_bundle_of_pd_osc_is_one_moment(tmp_path: Path) -> None:
    """Its clock is some tenths of a second off: late bundles are played at once, and told."""
    if not EXTERNALS.is_dir():
        missing(f"needs pd-osc, which is not at {EXTERNALS}")
    with server(tmp_path) as played:
        driver = Driver()
        driver.add("obj 0 200 print REPLY", driver.add("obj 0 180 r ghostnote-reply", None))
        connect = driver.add("obj 0 40 del 300")
        driver.add(f"msg 0 60 \\; ghostnote-connect 127.0.0.1 {played.port}", connect)
        for delay, ahead in ((900, 0), (1200, 900000)):
            timer = driver.add(f"obj 0 40 del {delay}")
            driver.add(f"msg 0 60 \\; ghostnote-bundle {ahead}", timer)
        quitting = driver.add("obj 0 40 del 2800")
        driver.add("msg 0 60 \\; pd quit", quitting)
        patch = driver.write(tmp_path / "bundle.pd")
        folder = CLIENTS / "pd"
        printed = pd(folder / "ghostnote.pd", folder / "ghostnote-bundle.pd", patch, path=EXTERNALS)
    assert "couldn't create" not in printed
    hits = played.hits()
    assert [hit.role for hit in hits] == ["kick", "crash"] * 2
    assert hits[0].seconds == hits[1].seconds
    assert hits[2].seconds == hits[3].seconds
    assert hits[2].seconds > hits[0].seconds
    assert ("REPLY: ghost late" in printed) == (played.late > 0)
