"""Settings of a server that cannot be: one line that names the option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.options import ServerOptions


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"outputs": 0}, "--outputs 0: must be 1 to 32 pairs"),
        ({"outputs": 33}, "--outputs 33"),
        ({"resume": True}, "--state"),
        ({"sync": "sun"}, "--sync sun: must be one of internal, osc, jack, midi, link"),
        ({"midi": " "}, "--midi"),
        ({"ring": -1}, "--ring"),
        ({"port": 65535}, "--port"),
        ({"seconds": 0.0}, "--seconds"),
        ({"bind": "everywhere"}, "--bind"),
        ({"backend": "auto"}, "--backend auto: must be one of cpu, gpu"),
    ],
)
def test_refusals(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(GhostnoteError, match="--") as refusal:
        ServerOptions(**settings)
    assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"outputs": 8},
        {"resume": True, "state": Path("state.json")},
        {"sync": "jack"},
        {"backend": "gpu"},
        {"sync": "midi", "midi": "Launchpad"},
    ],
)
def test_what_can_be(settings: dict[str, Any]) -> None:
    assert ServerOptions(**settings).port == 9770


def test_open_to_network() -> None:
    assert not ServerOptions().open_to_network
    assert ServerOptions(bind="0.0.0.0").open_to_network
