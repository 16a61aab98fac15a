"""The result of `ghostnote eval` as tables: rows of text, and Markdown for the docs.

A cell "0.97 (0.99)" is the model's figure with the rendered truth's own in brackets. Pure
functions of the JSON that `evaluate` returns; any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CORE_ROLES = ("kick", "snare", "hat")

CORE_LEAST, OTHERS_LEAST = 0.95, 0.85
BELOW_TRUTH = 0.03  # that a core role's score may lie under the truth's
TIMING_MS, VELOCITY, FLOOR_DB, SILENT_DB, RATIO, KIT_SHARE = 3.0, 0.9, 3.0, -60.0, 2.0, 0.9


class Table(NamedTuple):
    """A title, the heads of the columns, and rows of as many cells."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(result: Mapping[str, Any]) -> tuple[Table, ...]:
    """Return the tables: kits and roles (of a model that takes triggers), targets, endurance."""
    parts = [_of_kits(result), _of_roles(result), _of_ears(result)] if result["roles"] else []
    parts.append(_of_targets(result))
    if "endurance" in result:
        parts.append(_of_endurance(result["endurance"]))
    return tuple(parts)


def markdown(result: Mapping[str, Any]) -> str:
    """Return the tables and how they came about, as Markdown.

    >>> table = Table("Kits", ("kit", "bits"), (("808", "2.5"),))
    >>> print(markdown_table(table))
    | kit | bits |
    | --- | --- |
    | 808 | 2.5 |
    """
    lines = [caption(result)]
    for table in tables(result):
        lines += ["", f"**{table.title}**", "", markdown_table(table)]
    return "\n".join(lines) + "\n"


def caption(result: Mapping[str, Any]) -> str:
    """Return in a sentence what was measured and how."""
    grooves, played = len(result["grooves"]), len(result["per_kit"])
    kits = len(result["real_kits"]) if "real_kits" in result else played
    # "seconds" counts each groove once per kit, those of textures once more per label.
    each = result["seconds"] / max(grooves * kits * (played if "real_kits" in result else 1), 1)
    asked = f"{grooves} grooves of {each:.0f} s x {kits} kits"
    if "real_kits" in result:
        asked += f", beside as long of each of {played} textures"
    return (
        f"Model `{result['model']}` (sha256 `{result['model_sha256'][:16]}`, "
        f"{result['samplerate']} Hz), split {result['split']}: {asked}, "
        f"temperature {result['temperature']:g}, "
        f"top-k {result['top_k'] or 'off'}, seed {result['seed']}, weights in "
        f"{result['weights']}."
        + (" In brackets: the same figure of the rendered truth." if result["roles"] else "")
    )


def markdown_table(table: Table) -> str:
    """Return one table as Markdown, without its title."""
    rows: Sequence[Sequence[str]] = (table.heads, ["---"] * len(table.heads), *table.rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def targets(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the aims of the project, what was found, and whether it is met.

    Each has the keys "what", "target", "found" and "met" (None: not measured).
    """
    found = [
        _target(
            f"{role}, {figure}",
            f"{least:g} or more" + (f", {within:g} at most under the truth's" if core else ""),
            score[figure],
            (score[figure] or 0.0) >= least
            and (not core or score[figure] >= (score[f"truth_{figure}"] or 0.0) - within),
        )
        for role, score in result["roles"].items()
        if score["asked"]
        for core in [role in CORE_ROLES]
        for least, within in [(CORE_LEAST if core else OTHERS_LEAST, BELOW_TRUTH)]
        for figure in ("precision", "recall")
    ]
    timing, velocity, floor = (
        result.get(key) for key in ("timing_ms_p95", "velocity_correlation", "floor_db")
    )
    found.append(
        _target("timing, ms (95 %)", f"{TIMING_MS:g} or less", timing, (timing or 0) <= TIMING_MS)
    )
    found.append(
        _target("velocity correlation", f"{VELOCITY:g}", velocity, (velocity or 0) >= VELOCITY)
    )
    aim = max((result.get("truth_floor_db") or -120.0) + FLOOR_DB, SILENT_DB)
    found.append(
        _target("between hits, dBFS", f"{aim:.1f} or less", floor, (floor or -120.0) <= aim)
    )
    ratio = result.get("frechet_ratio")
    found.append(_target("Fréchet ratio", f"{RATIO:g} or less", ratio, (ratio or 0.0) <= RATIO))
    kit, truth = result.get("kit_accuracy"), result.get("truth_kit_accuracy")
    aim = KIT_SHARE * (truth or 0.0)
    found.append(_target("kit recognised", f"{aim:.2f} or more", kit, (kit or 0.0) >= aim))
    if "endurance" in result:
        runs = result["endurance"]
        share = f"{runs['of']} of {runs['of']}"
        found.append(
            _target("endurance, runs", share, float(runs["passed"]), runs["passed"] == runs["of"])
        )
    return found


def _target(what: str, target: str, found: float | None, met: bool) -> dict[str, Any]:
    return {"what": what, "target": target, "found": found, "met": None if found is None else met}


def _of_targets(result: Mapping[str, Any]) -> Table:
    said = {True: "yes", False: "no", None: "-"}
    rows = tuple(
        (one["what"], one["target"], _number(one["found"], 3), said[one["met"]])
        for one in targets(result)
        if one["found"] is not None
    )
    return Table("Targets", ("what", "target", "found", "met"), rows)


def _of_kits(result: Mapping[str, Any]) -> Table:
    heads = (
        "kit",
        "bits/sample",
        *(f"{role} heard" for role in CORE_ROLES),
        "false onsets/min",
        "timing p95, ms",
        "velocity correlation",
        "between hits, dBFS",
        "where the truth is silent, dBFS",
        "flatness of tails, dB",
        "low tones follow",
        "kit recognised",
    )
    scores = {**result["per_kit"], "all kits": result}
    return Table("Kits", heads, tuple(_kit_row(name, score) for name, score in scores.items()))


def _kit_row(name: str, score: Mapping[str, Any]) -> tuple[str, ...]:
    roles = score["roles"]
    return (
        name,
        _number(score["bits_per_sample"], 2),
        *(_pair(roles.get(role, {}), "recall", 2) for role in CORE_ROLES),
        _pair(score, "false_onsets_per_minute", 1),
        _pair(score, "timing_ms_p95", 2),
        _pair(score, "velocity_correlation", 2),
        _pair(score, "floor_db", 1),
        _number(score["hiss_db"], 1),
        _pair(score, "tail_flatness_db", 1),
        _number(score["low_correlation"], 2),
        _pair(score, "kit_accuracy", 2),
    )


def _of_roles(result: Mapping[str, Any]) -> Table:
    heads = ("role", "asked", "masked", "recall", "precision", "heard when alone")
    rows = tuple(
        (
            role,
            str(score["asked"]),
            str(score["masked"]),
            _pair(score, "recall", 2),
            _pair(score, "precision", 2),
            _pair(result["alone"].get(role, {}), "recall", 2),
        )
        for role, score in result["roles"].items()
    )
    return Table("Roles, all kits", heads, rows)


def _of_ears(result: Mapping[str, Any]) -> Table:
    """Return how well the ears hear real drums by authors that they never heard."""
    ears = result["ears"]
    rows = [
        (role, str(score["asked"]), _number(score["recall"], 2), _number(score["precision"], 2))
        for role, score in ears["mixtures"].items()
    ]
    shots = ears["oneshots"]
    title = (
        f"The ears on real drums unknown to them ({', '.join(ears['unknown_kits']) or 'none'}; "
        f"one-shots: {shots['right']} of {shots['asked']} right)"
    )
    return Table(title, ("role", "asked", "recall", "precision"), tuple(rows))


def _of_endurance(endurance: Mapping[str, Any]) -> Table:
    heads = ("run", "kit", "passed", "level, dBFS", "entropy", "onsets/min", "what failed")
    rows = tuple(
        (
            str(run["stream"]),
            run["kit"] or "-",
            "yes" if run["passed"] else "no",
            _range(run["minutes"], "level_db", 1),
            _range(run["minutes"], "entropy", 2),
            _range(run["minutes"], "onsets", 0),
            "; ".join(run["why"][:2]) + (" …" if len(run["why"]) > 2 else ""),
        )
        for run in endurance["runs"]
    )
    title = (
        f"Endurance, {endurance['kind']}: {endurance['passed']} of {endurance['of']} runs of "
        f"{endurance['minutes']} minutes passed"
    )
    return Table(title, heads, rows)


def _range(minutes: Sequence[Mapping[str, float]], key: str, places: int) -> str:
    values = [minute[key] for minute in minutes]
    return f"{min(values):.{places}f} to {max(values):.{places}f}"


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _pair(scores: Mapping[str, Any], key: str, places: int) -> str:
    truth = f"truth_{key}"
    if scores.get(key) is None and scores.get(truth) is None:
        return "-"
    return f"{_number(scores.get(key), places)} ({_number(scores.get(truth), places)})"
