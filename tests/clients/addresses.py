"""Which addresses the server takes, as the table says, for texts that name addresses in any form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ghostnote.inference.model_file import find_model, load_model
from ghostnote.osc_server.protocol import REPLIES, TABLE

# `V`, and how REAPER, SuperCollider's format and OSC write a number that stands for any.
_VOICE = r"(?:\d+|V|@|%|\*)"
_ADDRESS = re.compile(r"/ghost(?:/[A-Za-z0-9_.@%*{}]+)+")


@cache
def _taken() -> re.Pattern[str]:
    spec = load_model(find_model(None)).spec
    fillings = {
        "{V}": _VOICE,
        "{ROLE}": "(?:ROLE|" + "|".join(spec.roles) + ")",
        "{KIT}": r"(?:KIT|\d+)",
        "{STEP}": r"(?:STEP|\d+)",
    }
    patterns = []
    for template in [endpoint.address for endpoint in TABLE] + [reply[0] for reply in REPLIES]:
        pattern = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
        for name, filling in fillings.items():
            pattern = pattern.replace(name, filling)
        patterns.append(pattern)
    return re.compile("|".join(patterns))


def is_taken(address: str) -> bool:
    """Whether the table has an endpoint, or a reply, for this address."""
    return bool(_taken().fullmatch(address))


def addresses(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """All (file's name, address) in a text."""
    for found in _ADDRESS.findall(text):
        yield path.name, found.rstrip(".")
