"""How the drummer plays beside people: prints the figures of docs/drummer.md, or writes them there.

    .venv/bin/python -m benchmarks.drummer --corpus ../shared/corpus [--write docs/drummer.md]

For each held-back groove the drummer plays as many bars, asked for its style, tempo and mean
density; for comparison other people play too: grooves of the train split, of the same style.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.live_latency import header
from ghostnote.inference.drummer import Drummer, DrummerSettings
from ghostnote.inference.drummer_file import DRUMMER_PATH, DrummerFile, load_drummer
from ghostnote.kernels.spec import ROLES
from ghostnote.training.drummer_data import (
    Take,
    densities,
    density_measure,
    read_takes,
    style_labels,
)
from ghostnote.training.drummer_figures import (
    LAGS,
    PHRASE,
    Bar,
    StyleJudge,
    copies,
    distances,
    endurance,
    repetition,
    strokes_per_bar,
    wasserstein,
)

MARKS = ("<!-- figures -->", "<!-- end of figures -->")
SEEDS = 3
LONG_BARS, BLOCK = 2000, 250
LONG_STYLES = ("rock", "funk", "jazz", "latin", "hiphop")
DENSITIES = (0.1, 0.3, 0.5, 0.7, 0.9)
FILL_ROLES = (ROLES.index("snare"), ROLES.index("tom"))
PIECE = 16  # bars from which a style is told

Takes = Sequence[Sequence[Bar]]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="The drummer beside people.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--drummer", type=Path, default=DRUMMER_PATH)
    parser.add_argument("--write", type=Path, help="The page between whose marks the figures go.")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    told = measure(load_drummer(given.drummer), given.corpus)
    if given.json:
        print(json.dumps(told))
        return
    text = f"{header('benchmarks.drummer')}\n\n{page(told)}"
    if not given.write:
        print(text)
        return
    before, _, rest = given.write.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    given.write.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}")


def measure(file: DrummerFile, corpus: Path) -> dict[str, Any]:
    """Returns all figures."""
    train, held = read_takes(corpus, "train"), read_takes(corpus, "validation")
    scale = density_measure(train)
    people = [take for take in train if take.counts.all() and not take.fills.all()]
    asked = [take for take in held if take.counts.all() and not take.fills.all()]
    wanted, known = [_bars(take) for take in asked], [_bars(take) for take in train]
    chance = np.random.default_rng(1)
    others = [[_bars(_alike(chance, take, people)) for take in asked] for _ in range(SEEDS)]
    began = time.process_time()
    played = [
        [
            _play(file, _settings(file, take, float(densities(take, scale).mean()), seed), take)
            for take in asked
        ]
        for seed in range(1, SEEDS + 1)
    ]
    spent = time.process_time() - began
    bars = sum(len(take) for takes in played for take in takes)
    far = {
        "drummer": [distances(takes, wanted) for takes in played],
        "people": [distances(takes, wanted) for takes in others],
    }
    told: dict[str, Any] = {
        "held_back": {"takes": len(asked), "bars": sum(map(len, wanted))},
        "ms_per_bar": 1000 * spent / bars,
        **{who: _mean(found) for who, found in far.items()},
        "range": {
            what: {
                who: [f(one[what] for one in found) for f in (min, max)]
                for who, found in far.items()
            }
            for what in ("velocity", "offset", "strokes_per_bar", "role_per_bar", "places_kl")
        },
        "copies": {
            "drummer": [float(np.mean([copies(t, known, n) for t in played])) for n in (1, PHRASE)],
            "held back": [copies(wanted, known, n) for n in (1, PHRASE)],
        },
        "facts": dict(file.facts),
    }
    told["repetition"] = _repetition(played, wanted, others)
    told["styles"] = _styles(file, people, asked)
    told["obeys"] = _obeys(file)
    told["endurance"] = {style: _endure(file, style) for style in LONG_STYLES}
    return told


def _bars(take: Take) -> list[Bar]:
    return [take.bar(number) for number in range(take.bars)]


def _settings(file: DrummerFile, take: Take, density: float, seed: int) -> DrummerSettings:
    known = [label for label in style_labels(take.style) if label in file.spec.labels]
    return DrummerSettings(style=(known or ["any"])[-1], density=density, seed=seed)


def _play(file: DrummerFile, settings: DrummerSettings, take: Take) -> list[Bar]:
    drummer, bars = Drummer(file, settings), []
    for number in range(take.bars):
        steps, drummer.memory = drummer.play(number, take.bpm)
        bars.append(steps)
    return bars


def _alike(chance: np.random.Generator, take: Take, people: Sequence[Take]) -> Take:
    """Returns bars of other people's takes of a style, as many as a take has."""
    for label in (take.style, take.style.partition("/")[0], ""):
        near = [other for other in people if other.style == label or not label]
        near = near or [o for o in people if o.style.partition("/")[0] == label]
        if near:
            break
    weights = np.array([other.bars for other in near], np.float64)
    other = near[int(chance.choice(len(near), p=weights / weights.sum()))]
    first = int(chance.integers(0, max(1, other.bars - take.bars + 1))) * 16
    strokes = other.strokes[first : first + 16 * take.bars]
    bars = len(strokes) // 16
    flags = np.zeros(bars, np.bool_)
    return Take(other.name, other.style, other.bpm, strokes, flags, ~flags)


def _mean(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the mean of figures, of the roles that all have."""
    if not isinstance(found[0], dict):
        return float(np.mean(found))  # type: ignore[return-value]
    keys = set.intersection(*(set(one) for one in found))
    return {key: _mean([one[key] for one in found]) for key in found[0] if key in keys}


def _repetition(played: Sequence[Takes], wanted: Takes, others: Sequence[Takes]) -> dict[str, Any]:
    real = repetition(wanted)
    told = {}
    for name, takes in (("drummer", played), ("people", others)):
        found = [repetition(one) for one in takes]
        told[name] = _mean([{k: one[k] for k in ("alike", "same", "new")} for one in found]) | {
            "distance": {
                lag: float(
                    np.mean([wasserstein(o["samples"][lag], real["samples"][lag]) for o in found])
                )
                for lag in LAGS
            }
        }
    told["held back"] = {key: real[key] for key in ("alike", "same", "new")}
    return told


def _styles(file: DrummerFile, people: Sequence[Take], asked: Sequence[Take]) -> dict[str, Any]:
    judge = StyleJudge([(take.style.partition("/")[0], _bars(take)) for take in people])
    styles = [style for style in file.spec.styles if style in judge.styles]
    pieces = [
        (take.style.partition("/")[0], _bars(take)[first : first + PIECE])
        for take in asked
        for first in range(0, take.bars - PIECE + 1, PIECE)
    ]
    played = [
        (style, _long(file, PIECE, style=style, seed=seed))
        for style in styles
        for seed in range(1, 7)
    ]
    return {
        "styles": len(styles),
        "pieces": len(pieces),
        "held back": float(np.mean([judge.style(bars) == style for style, bars in pieces])),
        "played": len(played),
        "drummer": float(np.mean([judge.style(bars) == style for style, bars in played])),
    }


def _long(file: DrummerFile, bars: int, **settings: Any) -> list[Bar]:
    drummer, found = Drummer(file, DrummerSettings(**settings)), []
    for number in range(bars):
        steps, drummer.memory = drummer.play(number, 110.0)
        found.append(steps)
    return found


def _obeys(file: DrummerFile) -> dict[str, Any]:
    busy = {
        density: {
            style: float(np.mean(strokes_per_bar([_long(file, 64, style=style, density=density)])))
            for style in LONG_STYLES
        }
        for density in DENSITIES
    }
    fills: dict[int, dict[str, float]] = {}
    for every in (4, 8):
        bars = [b for s in LONG_STYLES for b in _long(file, 64, style=s, fill=every)]
        counts = np.array(
            [sum(k[0] in FILL_ROLES for step in bar for k in step) for bar in bars], np.float64
        )
        last = np.arange(len(bars)) % every == every - 1
        fills[every] = {"fills": counts[last].mean(), "others": counts[~last].mean()}
    return {"density": busy, "fill": fills}


def _endure(file: DrummerFile, style: str) -> dict[str, Any]:
    drummer = Drummer(file, DrummerSettings(style=style, seed=5))

    def bar(number: int) -> Bar:
        steps, drummer.memory = drummer.play(number, 110.0)
        return steps

    return dict(endurance(bar, LONG_BARS, BLOCK))


def page(told: dict[str, Any]) -> str:
    """Returns the figures as Markdown."""
    drummer, people, facts = told["drummer"], told["people"], told["facts"]
    held = told["held_back"]
    bits = facts.get("validation_bits_per_bar", {})
    lines = [
        (
            f"{held['takes']} held-back grooves of {held['bars']} bars; drummer and people played "
            f"{SEEDS} times, {told['ms_per_bar']:.1f} ms of a core a bar. Held-back takes cost "
            f"the network {bits.get('all', 0):.1f} bits a bar (roles {bits.get('role', 0):.1f}, "
            f"velocities {bits.get('velocity', 0):.1f}, timing {bits.get('offset', 0):.1f})."
        ),
        "",
        "| distance to the held-back grooves (0: the same) | drummer | other people |",
        "| --- | ---: | ---: |",
    ]
    for key, words in (
        ("velocity", "velocity of a role, Wasserstein, MIDI steps of 127"),
        ("offset", "micro-timing of a role, Wasserstein, sixteenths"),
        ("strokes_per_bar", "strokes a bar, Wasserstein"),
        ("role_per_bar", "strokes a bar of a role, Wasserstein"),
        ("places_kl", "role and place in the bar, Kullback-Leibler, bits"),
    ):
        cells = []
        for who, figures in (("drummer", drummer), ("people", people)):
            low, high = told["range"][key][who]
            cells.append(f"{figures[key]:.3f} ({low:.3f} to {high:.3f})")
        lines.append(f"| {words} | {' | '.join(cells)} |")
    lines += [
        "",
        "| role | velocity: drummer | people | timing: drummer | people | a bar: drummer | people |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for role in ROLES:
        if role in drummer["roles"] and role in people["roles"]:
            pairs = [
                f"{who['roles'][role][what]:.3f}"
                for what in ("velocity", "offset", "per_bar")
                for who in (drummer, people)
            ]
            lines.append(f"| {role} | {' | '.join(pairs)} |")
    copied, again = told["copies"], told["repetition"]
    lines += [
        "",
        "| share that is, on the grid, a copy from the train split | drummer | held-back people |",
        "| --- | ---: | ---: |",
    ]
    for place, words in enumerate(("bars", f"stretches of {PHRASE} bars")):
        pair = [f"{100 * copied[who][place]:.1f} %" for who in ("drummer", "held back")]
        lines.append(f"| {words} | {' | '.join(pair)} |")
    lines += [
        "",
        (
            "| bars apart | alike: drummer | held back | other people | same: drummer | held back "
            "| other people | distance: drummer | other people |"
        ),
        "| ---: |" + " ---: |" * 8,
    ]
    for lag in LAGS:
        cells = [
            f"{again[who][what][lag]:.3f}"
            for what in ("alike", "same")
            for who in ("drummer", "held back", "people")
        ]
        cells += [f"{again[who]['distance'][lag]:.3f}" for who in ("drummer", "people")]
        lines.append(f"| {lag} | {' | '.join(cells)} |")
    new = ", ".join(f"{who} {again[who]['new']:.2f}" for who in ("drummer", "held back", "people"))
    styles, obeys = told["styles"], told["obeys"]
    lines += [
        "",
        f"Share of bars that are new in their take: {new}.",
        "",
        (
            f"Style told, among {styles['styles']}, by a naive Bayes of roles and places that "
            f"knows the train split, from {PIECE} bars: right for {styles['held back']:.2f} of "
            f"{styles['pieces']} held-back pieces, for {styles['drummer']:.2f} of "
            f"{styles['played']} of the drummer's."
        ),
        "",
        f"| density asked | {' | '.join(LONG_STYLES)} |",
        "| ---: |" + " ---: |" * len(LONG_STYLES),
    ]
    for density, counts in obeys["density"].items():
        lines.append(f"| {density} | {' | '.join(f'{c:.1f}' for c in counts.values())} |")
    lines += ["", "Strokes a bar over 64 bars. Strokes of snare and toms in bars that are to be"]
    lines[-1] += " fills, and in the others: " + "; ".join(
        f"every {every} bars {found['fills']:.1f} and {found['others']:.1f}"
        for every, found in obeys["fill"].items()
    )
    lines[-1] += "."
    lines += ["", f"| {LONG_BARS} bars of | strokes a bar by {BLOCK} bars | empty bars |"]
    lines.append("| --- | --- | ---: |")
    for style, found in told["endurance"].items():
        means = ", ".join(f"{mean:.1f}" for mean in found["strokes_per_bar"])
        lines.append(f"| {style} | {means} | {100 * np.mean(found['empty']):.2f} % |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
