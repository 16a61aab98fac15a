"""`python -m clients.layouts [FOLDER]`, from the repository's root: writes the made files anew."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from . import max_patch, open_stage_control, pd_patch, touchosc


def made() -> dict[str, bytes]:
    """Returns the contents of each made file, by its path below clients/."""

    def as_json(value: object) -> bytes:
        return (json.dumps(value, indent=1) + "\n").encode()

    return {
        "max/ghostnote.maxpat": as_json(max_patch.control()),
        "live/ghostnote-bridge.maxpat": as_json(max_patch.live_bridge()),
        "pd/ghostnote.pd": pd_patch.control().encode(),
        "open-stage-control/ghostnote.json": as_json(open_stage_control.session()),
        "touchosc/ghostnote.tosc": touchosc.packed(),
    }


def main() -> None:
    """Writes them below the folder named, or beside this one."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    for name, content in made().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
