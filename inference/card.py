"""A model's card: what it plays, where it comes from and what it cannot do, as Markdown.

A file may come from anywhere, and its card ends up on a terminal or a page: nothing in it is
believed to be of the right type, and no control character passes. Pure functions; any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ghostnote.kernels.high_pass import TOP
from ghostnote.kernels.spec import ModelSpec

from .model_file import ModelFile


def card(model: ModelFile) -> str:
    """Return the card of a model, Markdown of several lines without a last line end."""
    spec, about = model.spec, model.provenance
    training = _mapping(about.get("training"))
    lines = [f"# {_plain(model.name)}", ""]
    lines += _table(
        {
            "roles": ", ".join(spec.roles) or "none (texture only)",
            "kits": ", ".join(spec.kits) or "none",
            "samplerate": f"{spec.samplerate} Hz",
            "hop": f"{spec.hop} samples ({1000 * spec.hop / spec.samplerate:.3g} ms)",
            "layers": f"{spec.layers}, dilations {_dilations(spec.dilations)}",
            "channels": f"residual {spec.residual}, gate {spec.gate}, skip {spec.skip}, "
            f"head {spec.head}",
            "output": f"mixture of {spec.mixtures} logistics over 16 bit"
            if spec.mixtures
            else f"softmax over {spec.levels} mu-law levels",
            "pre-emphasis": f"{spec.emphasis:g}",
            "body": _body(spec),
            "filter width": str(spec.filter_width),
            "receptive field": f"{spec.receptive_field} samples "
            f"({1000 * spec.receptive_field / spec.samplerate:.3g} ms)",
            "multiply-accumulates": f"{spec.macs_per_sample} per sample",
            "file": f"{model.size} bytes, SHA-256 {model.sha256}",
        }
    )
    trained = {
        "steps": training.get("steps"),
        "hours": training.get("hours"),
        "audio heard (minutes)": training.get("minutes_heard"),
        "training material (minutes)": training.get("train_minutes"),
        "validation material (minutes)": training.get("validation_minutes"),
        "validation (bits per sample)": training.get("validation_bits"),
        "ghostnote": about.get("ghostnote"),
        "commit": about.get("commit"),
        "command": about.get("command"),
    }
    known = {what: _shown(value) for what, value in trained.items() if value is not None}
    if known:
        lines += ["", "## Training", "", *_table(known)]
    sources = about.get("sources")
    if isinstance(sources, list) and sources:
        lines += ["", "## Sources", "", "| source | licence | authors |", "|---|---|---|"]
        for entry in map(_mapping, sources[:1000]):
            cells = (entry.get(key, "") for key in ("source", "licence", "authors"))
            lines.append(f"| {' | '.join(_shown(cell) for cell in cells)} |")
    if about.get("notes"):
        lines += ["", "## Notes", "", *(_plain(line) for line in str(about["notes"]).splitlines())]
    return "\n".join(lines)


def _table(rows: Mapping[str, str]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows.items())]


def _dilations(dilations: tuple[int, ...]) -> str:
    """Return a dilation list, a repeated cycle once.

    >>> _dilations((1, 2, 4, 1, 2, 4)), _dilations((1, 2, 1))
    ('1 2 4 (2 times)', '1 2 1')
    """
    count = len(dilations)
    for length in range(1, count // 2 + 1):
        if count % length == 0 and dilations == dilations[:length] * (count // length):
            return f"{' '.join(map(str, dilations[:length]))} ({count // length} times)"
    return " ".join(map(str, dilations))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value[:100])
    if isinstance(value, float):
        return f"{value:.5g}"
    return _plain(str(value)).replace("|", "/")


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:2000])


def _body(spec: ModelSpec) -> str:
    if not spec.body:
        return "none"
    seconds = spec.body_ages * spec.hop / spec.samplerate
    hertz = TOP * spec.samplerate / spec.body_span
    told = f"{spec.body} waves of {1000 * seconds:g} ms for each role, below {hertz:g} Hz"
    if spec.transient:
        seconds = spec.transient_ages * spec.hop / spec.samplerate
        told += f"; transients: {spec.transient} of {1000 * seconds:g} ms"
    return told
