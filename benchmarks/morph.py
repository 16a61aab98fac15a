"""Mixtures of kits, measured: is 0.5/0.5 one drum between the two, and does a glide click?

    .venv/bin/python -m benchmarks.morph MODEL [--corpus CORPUS] [--pairs 10] [--seeds 4] [--json]

MODEL is a bundled model's name or a file. Every role of a pair of kits is asked alone out of silence,
of either kit and of both at 0.5/0.5, some seeds each; then hits every 250 ms while the weights glide
from one kit to the other within a second, hop by hop as the server does, and back in the silence
after them. With a corpus that holds the kits' one-shots all is measured on these too: blended as
`ghostnote data prepare --blend-minutes` blends them, and cross-faded. How it is measured is told in
training/morphing.py.
"""

import argparse
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.live_latency import header
from ghostnote.inference.generator import Hit, Lanes, Take
from ghostnote.inference.model_file import ModelFile, find_model, load_model
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import DEFAULT_PRECISION, Packed, pack
from ghostnote.kernels.spec import DEFAULT_TEMPERATURE, ModelSpec
from ghostnote.training import morphing
from ghostnote.training.evaluate import find_kits
from ghostnote.training.kits import Kit
from ghostnote.training.prepare import render_together

AUDIO = npt.NDArray[np.float32]
Weights = tuple[float, ...]

VELOCITY = 0.8
LEAD, SHOT = 0.02, 0.14  # s of silence before a lone hit; of all of it
COPY_SECONDS = 0.02
LANES = 16  # lone hits that are played side by side
PATTERN = ("kick", "hat", "snare", "open", "tom", "hat")
FIRST_HIT, EVERY, HITS = 0.1, 0.25, 8
GLIDES = ((0.5, 1.5), (2.6, 3.6))  # from the first kit to the second, and back
TAILS, SILENCE = (GLIDES[0],), (GLIDES[1],)
SECONDS = 3.7


@dataclass
class Found:
    """What was found of mixtures, of one role or of all.

    `places` of those whose kits differ enough, `alike` and `silent`: how many others; `jumps` (dB) of
    mixed hits, how many are `doubled`, and `caught`: how many of the same with a copy 20 ms later.
    """

    places: list[morphing.Place] = field(default_factory=list)
    alike: int = 0
    silent: int = 0
    jumps: list[float] = field(default_factory=list)
    doubled: int = 0
    caught: int = 0

    def add(self, other: "Found") -> None:
        """Add what was found of others."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def told(self) -> dict[str, Any]:
        """Return the figures, None where nothing was there to be measured."""
        at, hits = [place.at for place in self.places], len(self.jumps)
        return {
            "told_apart": len(at),
            "alike": self.alike,
            "silent": self.silent,
            "between": float(np.mean([one.between for one in self.places])) if at else None,
            "strictly": float(np.mean([one.strictly for one in self.places])) if at else None,
            "position": float(np.median(at)) if at else None,
            "positions": np.quantile(at, (0.1, 0.9)).tolist() if at else None,
            "hits": hits,
            "doubled": self.doubled / hits if hits else None,
            "caught": self.caught / hits if hits else None,
            "jump_db": float(np.median(self.jumps)) if hits else None,
        }


@dataclass
class Listened:
    """What was heard of takes, in tails and in silence: seconds, clicks, largest steps."""

    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0])
    clicks: list[int] = field(default_factory=lambda: [0, 0])
    loudest_db: float | None = None
    steps: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def hear(self, played: AUDIO, steady: Sequence[AUDIO], rate: int) -> None:
        """Take in one take, beside others of the same hits under either kit alone."""
        times = [t for t, _, _ in pattern(("kick",))]
        for i, stretches in enumerate((TAILS, SILENCE)):
            found = morphing.clicks(played, steady, times, stretches, rate)
            self.clicks[i] += len(found)
            self.seconds[i] += float(
                morphing.between_hits(times, stretches, len(played), 1.0 / rate).sum() / rate
            )
            step = morphing.largest_step(played, times, stretches, rate)
            self.steps[i] = max(self.steps[i], step)
            for _, db in found:
                self.loudest_db = max(db, self.loudest_db or db)

    def told(self) -> dict[str, Any]:
        """Return the figures."""
        minutes = sum(self.seconds) / 60.0
        return {
            "seconds": [round(s, 1) for s in self.seconds],
            "clicks": self.clicks,
            "clicks_per_minute": sum(self.clicks) / minutes if minutes else None,
            "loudest_db": self.loudest_db,
            "steps_db": [20.0 * float(np.log10(max(step, 1e-6))) for step in self.steps],
        }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Mixtures of kits and glides between them.")
    parser.add_argument("model")
    parser.add_argument("--corpus", type=Path, help="where the kits' one-shots are")
    parser.add_argument("--pairs", type=int, default=10, help="at most so many pairs of kits")
    parser.add_argument("--seeds", type=int, default=4, help="takes of each hit, 2 or more")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    told = measure(load_model(find_model(given.model)), given.corpus, given.pairs, given.seeds)
    print(json.dumps(told) if given.json else f"{header('benchmarks.morph')}\n\n{page(told)}")


def measure(model: ModelFile, corpus: Path | None, most: int, seeds: int) -> dict[str, Any]:
    """Return all figures.

    Raises
    ------
    GhostnoteError
        If the model takes no triggers, fewer than two of its kits can be played, or there are
        fewer than two seeds to tell their spread by.
    """
    spec, packed = model.spec, pack(model.spec, model.weights, DEFAULT_PRECISION)
    if seeds < 2 or most < 1:
        raise GhostnoteError("morph: needs 2 seeds or more, and 1 pair of kits or more")
    if corpus:
        kits, missing = find_kits(model, corpus)
    else:
        kits, missing = [], []
    names = [kit.name for kit in kits] if corpus else list(spec.kits)
    if not spec.roles or len(names) < 2:
        raise GhostnoteError(f"morph: model {model.name!r} has no two kits that take triggers")
    by_name = {kit.name: kit for kit in kits}
    pairs = choose_pairs(names, most)
    plan = [(a, b, common(spec, by_name, a, b)) for a, b in pairs]
    made = _play_alone(packed, plan, seeds)
    found: dict[str, dict[str, Found]] = {who: defaultdict(Found) for who in ("model", "truth")}
    for a, b, roles in plan:
        mix = [weights(spec, a), weights(spec, b), weights(spec, a, b)]
        for role in roles:
            one, other, mixed = (made[mixture, role] for mixture in mix)
            found["model"][role].add(judge(one, other, mixed, spec.samplerate))
            if corpus:
                one, other, mixed = ([_rendered(by_name, spec, kits_, role)] for kits_ in mix)
                found["truth"][role].add(judge(one, other, mixed, spec.samplerate))
    heard = {who: Listened() for who in ("glide", "steady", "truth")}
    for a, b, roles in plan:
        _glide(packed, by_name, (a, b), [role for role in PATTERN if role in roles], seeds, heard)
    if not corpus:
        del found["truth"], heard["truth"]
    return {
        "model": model.name,
        "model_sha256": model.sha256,
        "samplerate": spec.samplerate,
        "pairs": pairs,
        "kits_missing": missing,
        "seeds": seeds,
        "roles": {who: {role: one.told() for role, one in of.items()} for who, of in found.items()},
        "all": {who: _sum(of.values()).told() for who, of in found.items()},
        "glides": {who: one.told() for who, one in heard.items()},
    }


def choose_pairs(names: Sequence[str], most: int) -> list[tuple[str, str]]:
    """Return at most so many pairs, evenly chosen among all.

    >>> choose_pairs(["a", "b", "c", "d"], 2)
    [('a', 'c'), ('b', 'd')]
    """
    pairs = list(itertools.combinations(names, 2))
    count = min(most, len(pairs))
    return [pairs[int((i + 0.5) * len(pairs) / count)] for i in range(count)]


def common(spec: ModelSpec, kits: Mapping[str, Kit], a: str, b: str) -> list[str]:
    """Return the roles that two kits have, as far as it is known."""
    return [
        role
        for role in spec.roles
        if not kits or (role in kits[a].layers and role in kits[b].layers)
    ]


def weights(spec: ModelSpec, *names: str) -> Weights:
    """Return the kit weights of kits in equal shares."""
    return tuple(names.count(kit) / len(names) for kit in spec.kits)


def judge(one: Sequence[AUDIO], other: Sequence[AUDIO], mixed: Sequence[AUDIO], rate: int) -> Found:
    """Return what is found of takes of a mixed hit beside those of two kits, silent takes left out.

    To tell how sure the count of doubled attacks is, every mixed hit is judged once more with a copy
    of itself, as loud, 20 ms later.
    """
    lead, late = round(LEAD * rate), round(COPY_SECONDS * rate)
    takes, centroids = [], []
    for every in (one, other, mixed):
        heard = [(x, c) for x in every if (c := morphing.centroid(x[lead:], rate)) is not None]
        takes.append([x for x, _ in heard])
        centroids.append([c for _, c in heard])
    if not all(takes):
        return Found(silent=1)
    place = morphing.place(*centroids)
    limit = morphing.attack_limit_db(takes[0], takes[1], rate)
    found = Found([place] if place else [], alike=int(place is None))
    for take in takes[2]:
        copied = take + np.pad(take, (late, 0))[: len(take)]
        jump, caught = (
            morphing.second_attack_db(x, takes[0], takes[1], rate) for x in (take, copied)
        )
        found.jumps.append(jump)
        found.doubled += jump > limit
        found.caught += caught > limit
    return found


def _sum(parts: Iterable[Found]) -> Found:
    whole = Found()
    for part in parts:
        whole.add(part)
    return whole


def _play_alone(
    packed: Packed, plan: Sequence[tuple[str, str, list[str]]], seeds: int
) -> dict[tuple[Weights, str], list[AUDIO]]:
    """Return takes of every role alone, for both kits of each pair and for their mixture."""
    spec = packed.spec
    wanted = dict.fromkeys(
        (weights(spec, *names), role)
        for a, b, roles in plan
        for names in ((a,), (b,), (a, b))
        for role in roles
    )
    asked = [(mixture, role, seed) for mixture, role in wanted for seed in range(seeds)]
    found: dict[tuple[Weights, str], list[AUDIO]] = defaultdict(list)
    at, frames = _on_grid(LEAD, spec), round(SHOT * spec.samplerate)
    for first in range(0, len(asked), LANES):
        group = asked[first : first + LANES]
        takes = [Take(1, seed, mixture, DEFAULT_TEMPERATURE) for mixture, _, seed in group]
        lanes = Lanes(packed, takes)
        for lane, (_, role, _) in enumerate(group):
            lanes.add([Hit(at, role, VELOCITY)], lane)
        for (mixture, role, _), audio in zip(group, lanes.play(frames), strict=True):
            found[mixture, role].append(audio)
    return found


def _rendered(kits: Mapping[str, Kit], spec: ModelSpec, mixture: Weights, role: str) -> AUDIO:
    parts = [(kits[name], w) for name, w in zip(spec.kits, mixture, strict=True) if w]
    hits = [(_on_grid(LEAD, spec), role, VELOCITY)]
    return render_together(parts, hits, round(SHOT * spec.samplerate))


def _on_grid(seconds: float, spec: ModelSpec) -> int:
    return round(seconds * spec.samplerate / spec.hop) * spec.hop


def pattern(roles: Sequence[str]) -> list[tuple[float, str, float]]:
    """Return hits (seconds, role, velocity) of roles in turn."""
    return [(FIRST_HIT + i * EVERY, roles[i % len(roles)], VELOCITY) for i in range(HITS)]


def shares(spec: ModelSpec) -> Iterator[tuple[int, float]]:
    """Yield (frame, share of the second kit) at every hop of the glides."""
    for (first, last), back in zip(GLIDES, (False, True), strict=True):
        hops = round((last - first) * spec.samplerate / spec.hop)
        for hop in range(hops):
            share = (hop + 1) / hops
            yield _on_grid(first, spec) + hop * spec.hop, 1.0 - share if back else share


def _glide(
    packed: Packed,
    kits: Mapping[str, Kit],
    pair: tuple[str, str],
    roles: Sequence[str],
    seeds: int,
    heard: Mapping[str, Listened],
) -> None:
    """Play a pattern under either kit and gliding between them, and listen."""
    spec, (a, b) = packed.spec, pair
    if not roles:
        return
    rate, frames = spec.samplerate, round(SECONDS * spec.samplerate)
    one, other = weights(spec, a), weights(spec, b)
    begin = [one] * seeds + [other] * seeds + [one] * seeds  # the last ones glide
    takes = [Take(2, i % seeds, kit, DEFAULT_TEMPERATURE) for i, kit in enumerate(begin)]
    lanes, gliding = Lanes(packed, takes), range(2 * seeds, 3 * seeds)
    hits = [(_on_grid(t, spec), role, velocity) for t, role, velocity in pattern(roles)]
    for lane in range(3 * seeds):
        lanes.add([Hit(*hit) for hit in hits], lane)
    parts, done = [], 0
    for frame, share in shares(spec):
        parts.append(lanes.play(frame - done))
        done = frame
        mixture = [(1.0 - share) * x + share * y for x, y in zip(one, other, strict=True)]
        for lane in gliding:
            lanes.state.set_kit(mixture, lane)
    parts.append(lanes.play(frames - done))
    made = np.concatenate(parts, axis=1)
    for lane, audio in enumerate(made):
        # As many others for all, and none drawn with the same chances.
        steady = [made[i] for i in range(2 * seeds) if i % seeds != lane % seeds]
        heard["glide" if lane in gliding else "steady"].hear(audio, steady, rate)
    if kits:
        whole = [render_together([(kits[name], 1.0)], hits, frames) for name in pair]
        share_of = np.zeros(frames)
        for frame, share in shares(spec):
            share_of[frame:] = share
        faded = ((1.0 - share_of) * whole[0] + share_of * whole[1]).astype(np.float32)
        heard["truth"].hear(faded, whole, rate)


def page(told: dict[str, Any]) -> str:
    """Return the tables and the summary as Markdown."""
    return "\n\n".join((_hit_table(told), _glide_table(told), summary(told)))


def _hit_table(told: dict[str, Any]) -> str:
    beside = " / of the one-shots" if "truth" in told["all"] else ""
    heads = (
        f"a hit at 0.5/0.5: of the model{beside}", "pairs told apart", "too alike (silent)", "between the two",
        "with no tolerance", "place, 0 the one, 1 the other: median (10 to 90 %)",
        "doubled attacks", "caught were all doubled", "jump after the attack, median dB",
    )  # fmt: skip
    keys = (
        "told_apart", "alike", "between", "strictly", "position", "doubled", "caught", "jump_db",
    )  # fmt: skip
    sides = [who for who in ("model", "truth") if who in told["roles"]]
    every = {role: [told["roles"][who][role] for who in sides] for role in told["roles"]["model"]}
    every["all"] = [told["all"][who] for who in sides]
    return _table(
        heads,
        [[role, *(" / ".join(_cell(key, one) for one in all_) for key in keys)]
         for role, all_ in every.items()],
    )  # fmt: skip


def _glide_table(told: dict[str, Any]) -> str:
    names = {"glide": "gliding", "steady": "one kit alone", "truth": "one-shots, cross-faded"}
    heads = (
        "hits every 250 ms, then silence", "seconds heard: tails, silence", "clicks in tails",
        "clicks in silence", "loudest click, dB over what is expected",
        "largest step of two samples, dBFS: tails, silence",
    )  # fmt: skip
    rows = []
    for who, one in told["glides"].items():
        loudest = one["loudest_db"]
        rows.append(
            [
                names[who],
                ", ".join(f"{s:.0f}" for s in one["seconds"]),
                *map(str, one["clicks"]),
                "none" if loudest is None else f"{loudest:.1f}",
                ", ".join(f"{db:.0f}" for db in one["steps_db"]),
            ]
        )
    return _table(heads, rows)


def summary(told: dict[str, Any]) -> str:
    """Return one line of what matters."""
    model, truth = told["all"]["model"], told["all"].get("truth")
    glide, steady = told["glides"]["glide"], told["glides"]["steady"]
    beside = [
        f" (one-shots: {_cell(key, truth)})" if truth else "" for key in ("between", "doubled")
    ]
    return (
        f"{len(told['pairs'])} pairs, {told['seeds']} seeds: {_cell('between', model)} of mixtures"
        f" lie between{beside[0]}, {_cell('doubled', model)} of their hits have a doubled attack{beside[1]};"
        f" clicks a minute: gliding {glide['clicks_per_minute'] or 0.0:.1f},"
        f" one kit alone {steady['clicks_per_minute'] or 0.0:.1f}."
    )


def _cell(key: str, one: dict[str, Any]) -> str:
    value = one[key]
    if value is None:
        return "-"
    if key == "position":
        low, high = one["positions"]
        return f"{value:.2f} ({low:.2f} to {high:.2f})"
    if key == "alike":
        return f"{value} ({one['silent']})" if one["silent"] else str(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.1f}" if key == "jump_db" else f"{value:.0%}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
