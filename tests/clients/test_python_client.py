"""The Python client plays its groove in time."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.clients.played import CLIENTS, server

SCRIPT = CLIENTS / "python" / "ghostnote_client.py"
SIXTEENTH = 15 / 240


def test_it_plays_its_groove(tmp_path: Path) -> None:
    with server(tmp_path) as played:
        command = [sys.executable, str(SCRIPT), "--port", str(played.port), "--bpm", "240"]
        ended = subprocess.run(
            [*command, "--bars", "1"], capture_output=True, text=True, check=True, timeout=60
        )
    assert "/ghost/version.reply ghostnote 0 " in ended.stdout
    hits = played.hits()
    assert [hit.role for hit in hits[:2]] == ["kick", "hat"]
    assert len(hits) == 5 + 4 + 11
    assert {hit.role for hit in hits} == {"kick", "snare", "hat"}
    if played.late == 0 and played.lost < 0.01:  # a busy machine may have kept it waiting
        steps = (np.array([hit.seconds for hit in hits]) - hits[0].seconds) / SIXTEENTH
        assert np.abs(steps - np.round(steps)).max() < 0.1
        assert round(steps[-1]) == 14
