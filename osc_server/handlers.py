"""What each address does: the handlers of all subjects in one table.

Handlers are for those addresses that are more than one engine command; the others need only the op
of their endpoint. Threads: as `handling` says.
"""

from __future__ import annotations

from typing import Final

from . import (
    handlers_drummer,
    handlers_file,
    handlers_kit,
    handlers_pattern,
    handlers_preset,
    handlers_server,
    handlers_time,
    handlers_voice,
)
from .handling import Handler

SPECIAL: Final[dict[str, Handler]] = {
    **handlers_server.HANDLERS,
    **handlers_voice.HANDLERS,
    **handlers_kit.HANDLERS,
    **handlers_pattern.HANDLERS,
    **handlers_drummer.HANDLERS,
    **handlers_time.HANDLERS,
    **handlers_file.HANDLERS,
    **handlers_preset.HANDLERS,
}
