"""docs/osc.md, made from the table.

Pure functions; any thread.
"""

from __future__ import annotations

import math

from .arguments import signature
from .budget import MAX_ANSWERS, MAX_WORK, TOO_MUCH
from .encode import Value
from .endpoint import Argument, Endpoint
from .protocol import GROUPS, MAX_AHEAD_SECONDS, REPLIES
from .table_parts import BUTTON, SILENT_DB

_HEAD = f"""# OSC reference

Made from the tables in `osc_server/table_*.py` by
`python -m ghostnote.osc_server.protocol > docs/osc.md`. Do not edit.

- Send UDP to port 9770 of this machine. Answers come back to the port that you sent from.
- `V` is a voice, counted from 1, or a pattern: `/ghost/voice/*/gain`,
  `/ghost/voice/{{1,3}}/trig/kick`. `ROLE` is a drum role such as `kick`. `KIT` is a kit's name or
  its number, counted from 0. `STEP` is a step of a pattern, counted from 1. Address patterns
  (`? * [a-z] [!x] {{a,b}}`) work in every part of an address.
- Numbers of type i, h, f, d, T and F are taken for each other. A bool is a number above 0.5.
- A trigger with no argument happens; with the single argument 0 (a button released) it does not.
- A message that cannot be taken is answered with `/fail address reason`, and changes nothing. One
  that can is answered only where the table says so. Of an address pattern those addresses that
  can take the message do, and the first refusal of the others is told.
- One packet may mean {MAX_WORK} addresses (each step of a pattern counts as one), and be answered with
  {MAX_ANSWERS >> 10} kB. Messages beyond that are refused: `/fail address "{TOO_MUCH}"`.
- The messages of a bundle happen at its timetag, all at the same moment. One that cannot be taken
  does not stop the others. Late bundles are played at once and told by `/ghost/late`; timetags
  more than {MAX_AHEAD_SECONDS:g} s ahead are refused.
"""


def page() -> str:
    """Return the whole reference page as Markdown."""
    sections = [_HEAD]
    for title, endpoints in GROUPS:
        sections.append(f"## {title}\n\n" + "\n".join(map(_entry, endpoints)))
    rows = [f"| `{address}` | {args} | {meaning} |" for address, args, meaning in REPLIES]
    head = "## What the server sends\n\n| address | arguments | meaning |\n| --- | --- | --- |\n"
    sections.append(head + "\n".join(rows) + "\n")
    return "\n".join(sections)


def example(endpoint: Endpoint) -> str:
    """Return an address that `endpoint` answers to: voice 1, role kick, kit 0, step 5."""
    fields = {"{V}": "1", "{ROLE}": "kick", "{KIT}": "0", "{STEP}": "5"}
    address = endpoint.address
    for field, example_of_it in fields.items():
        address = address.replace(field, example_of_it)
    return address


def _entry(endpoint: Endpoint) -> str:
    address = endpoint.address.replace("{", "").replace("}", "")
    lines = [f"### `{' '.join(filter(None, (address, signature(endpoint))))}`", ""]
    lines += [f"{endpoint.meaning} ({endpoint.access.value})", ""]
    # That 0 is a button let go is said once, at the top.
    told = [argument for argument in endpoint.arguments if argument is not BUTTON]
    lines += [f"- `{argument.name}`: {_limits(argument)}" for argument in told]
    if endpoint.reply:
        lines.append(f"- answer: `{endpoint.reply}`")
    sent = " ".join([example(endpoint), *map(_shown, endpoint.example)])
    lines += [f"- example: `{sent}`", ""]
    return "\n".join(lines)


def _limits(argument: Argument) -> str:
    parts = [argument.meaning]
    if argument.values:
        parts.append(f"one of {', '.join(argument.values)}")
    unit = f" {argument.unit}" if argument.unit else ""
    if math.isfinite(argument.high):
        low = str(argument.low) if math.isfinite(argument.low) else f"below {SILENT_DB:g}"
        parts.append(f"{low} to {argument.high}{unit}")
    elif math.isfinite(argument.low):
        parts.append(f"{argument.low} or more")
    if argument.default is not None:
        parts.append(f"default {_shown(argument.default)}")
    return "; ".join(parts)


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    return f'"{value}"' if isinstance(value, str) else str(value)
