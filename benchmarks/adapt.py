"""Your own kit in minutes, measured: a model learns a kit that it never saw, and is judged.

    .venv/bin/python -m benchmarks.adapt --model kit --corpus CORPUS --kit menegass-acoustic \
        [--minutes 10] [--at 2 5] [--grooves 10] [--out FOLDER] [--json]

Prepares a dataset of that kit at the model's sample rate and hop, runs `ghostnote train --from` for
the minutes, and exports on the way (--at) and at the end; what is there in FOLDER (runs/adapt-MODEL-KIT)
is not made again, and a training that stopped goes on. The learning rate falls at the end of the plan:
what is exported on the way is not what a plan of so many minutes would give. Before it, the model
plays the kit as the mean of its own kits, where the training begins, and as the one that is nearest.

Told of each: the share of hits that a judge, trained on rendered drums of the model's kits and the
new one, names as the new kit; what `ghostnote eval` says of the new kit alone, with ears that were
taught this kit too, as they should know what they are asked for; and how far the lone hits' log-mel
spectra lie from the one-shots'. The truth is the kit's own one-shots, rendered.
"""

import argparse
import csv
import json
import subprocess
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.live_latency import header
from benchmarks.search import GHOSTNOTE
from ghostnote.cli.compile_cache import user_cache
from ghostnote.cli.errors import INTERRUPTED
from ghostnote.inference.model_file import ModelFile, find_model, load_model
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import pack
from ghostnote.training import likeness
from ghostnote.training.adapt import gain_inputs
from ghostnote.training.checkpoint import NAME, load_checkpoint
from ghostnote.training.ears_lessons import kit_splits
from ghostnote.training.evaluate import (
    EvalOptions,
    Played,
    evaluate,
    find_kits,
    play_all,
    train_kit_judge,
)
from ghostnote.training.kits import Kit, load_kit
from ghostnote.training.mel import band_edges, levels
from ghostnote.training.pieces import alone

FLOATS = npt.NDArray[np.float32]
AUDIO = npt.NDArray[np.float32]

ROLES = ("kick", "snare", "hat")
TAKES = 3  # of the lone hits
SHOT_SECONDS = 0.5
LATE_MINUTES = 0.5  # that a sitting may take longer than asked: its last step and validation
PER_OCTAVE = 6.0
STEP, WINDOW = 0.01, 0.03
QUIETEST_DB = -70.0  # of a band: what is softer in both is not compared


def main() -> None:
    """Adapts, measures and prints."""
    parser = argparse.ArgumentParser(description="Your own kit in minutes, measured.")
    parser.add_argument("--model", default="kit")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--kit", required=True, help="that the model never saw")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--at", type=float, nargs="*", default=[2.0, 5.0], help="minutes, exports")
    parser.add_argument("--grooves", type=int, default=10, help="of the validation split")
    parser.add_argument("--out", type=Path, help="where dataset, run and models are kept")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    told = measure(given)
    print(json.dumps(told) if given.json else f"{header('benchmarks.adapt')}\n\n{page(told)}")


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Return all figures; `given` are the options of the command line.

    Raises
    ------
    GhostnoteError
        If the model knows the kit or its authors' sounds, or the corpus lacks it.
    """
    model = load_model(find_model(given.model))
    spec = model.spec
    kit = load_kit(given.corpus, given.kit, spec.samplerate, spec.roles)
    refuse_known(model, kit, given.corpus / "manifest.csv")
    theirs, _ = find_kits(model, given.corpus)
    near = min(theirs, key=lambda other: shots_apart_db(kit, other))
    as_near = [float(name == near.name) for name in spec.kits]
    out = given.out or Path("runs") / f"adapt-{model.name}-{kit.name}"
    out.mkdir(parents=True, exist_ok=True)
    players = {
        "before, as the mean of its kits": with_kit(model, kit.name, np.ones(len(spec.kits))),
        f"before, as {near.name}": with_kit(model, kit.name, as_near),
    }
    for minutes in (*sorted(m for m in given.at if m < given.minutes), given.minutes):
        adapted = load_model(_adapt(given, model, out, minutes))
        players[f"after {minutes:g} min"] = adapted
    judge = train_kit_judge([*theirs, kit], [given.corpus], spec)
    taught = teaching(given.corpus, kit.name, out / "corpus")
    options = EvalOptions(grooves=given.grooves, cache=user_cache() / "ghostnote")
    rows = {name: _judge(player, kit, judge, taught, options) for name, player in players.items()}
    known = _judge(with_kit(model, near.name, as_near), near, judge, None, options)
    return {
        "model": model.name,
        "model_sha256": model.sha256,
        "samplerate": spec.samplerate,
        "kit": kit.name,
        "minutes": given.minutes,
        "steps": adapted.provenance["training"]["steps"],
        "nearest": near.name,
        "kits_of_model": list(spec.kits),
        "kits_kept": [name for name in spec.kits if name in adapted.spec.kits],
        "rows": rows,
        "its_own_kit": {"kit": near.name, **known},
    }


def refuse_known(model: ModelFile, kit: Kit, manifest: Path) -> None:
    """Refuse a kit that a model was trained on, as far as names and authors tell.

    Raises
    ------
    GhostnoteError
        If the model has a kit of that name, or sounds of a source and author that the kit has too.
    """
    if kit.name in model.spec.kits:
        raise GhostnoteError(f"adapt: model {model.name!r} knows kit {kit.name!r}; name another")
    try:
        with manifest.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["path"] in kit.files]
        ours = {(row["source"], _person(row["author"])) for row in rows}
    except (OSError, KeyError, csv.Error) as error:
        raise GhostnoteError(f"adapt: cannot read {manifest} ({error})") from None
    theirs = {
        (told["source"], _person(author))
        for told in model.provenance.get("sources", [])
        for author in told["authors"]
    }
    if seen := sorted(ours & theirs):
        source, author = seen[0]
        raise GhostnoteError(
            f"adapt: model {model.name!r} was trained on sounds by {author} from {source}, which "
            f"kit {kit.name!r} has too; name a kit that it never saw"
        )


def _person(author: str) -> str:
    """Return an author's name without the address of the sound."""
    return author.partition(" http")[0].strip()


def teaching(corpus: Path, kit: str, folder: Path) -> Path:
    """Return a folder that is a corpus whose kit counts as of the train split, so that ears learn it."""
    tables = folder / "kits"
    tables.mkdir(parents=True, exist_ok=True)
    for path in corpus.iterdir():
        here = folder / path.name
        if path.name != tables.name and not here.exists():
            here.symlink_to(path.resolve())
    for path in (corpus / tables.name).glob("*.csv"):
        (tables / path.name).write_bytes(path.read_bytes())
    splits = {**kit_splits(corpus), kit: "train"}
    lines = ["kit,split", *(f"{name},{split}" for name, split in splits.items())]
    (tables / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


def with_kit(model: ModelFile, name: str, shares: npt.ArrayLike) -> ModelFile:
    """Return a model that knows one kit, which sounds as a mixture of its own.

    With equal shares this is what `ghostnote train --from` begins with.
    """
    weights = dict(model.weights)
    known, share = np.asarray(weights["cond_weight.0"]), np.asarray(shares, np.float64)
    features, kits = np.split(known, [known.shape[1] - len(model.spec.kits)], axis=1)
    mixed = np.average(kits, axis=1, weights=share)
    weights["cond_weight.0"] = np.column_stack([features, mixed]).astype(np.float32)
    for waves in ("body_gain0_weight", "transient_gain0_weight"):
        if waves in weights:
            weights[waves] = gain_inputs(
                model.spec,
                np.asarray(weights[waves]),
                lambda kits: np.average(kits, axis=-1, weights=share)[..., None],
            )
    return replace(model, spec=replace(model.spec, kits=(name,)), weights=weights)


def sitting(spent: float, until: float, whole: float) -> list[str]:
    """Return what `ghostnote train` is to be told to go on from so many minutes to others.

    >>> sitting(1.5, 5.0, 10.0)
    ['--resume', '--stop-after', '3.5']
    """
    begun = ["--resume"] if spent else ["--minutes", f"{whole:g}"]
    return begun if until >= whole else [*begun, "--stop-after", f"{until - spent:g}"]


def _adapt(given: argparse.Namespace, model: ModelFile, out: Path, minutes: float) -> Path:
    """Return the model after so many minutes of the training, made if it is not there yet."""
    data, run = out / "data", out / f"run-{given.minutes:g}"
    made = out / f"after-{minutes:g}-of-{given.minutes:g}.onnx"
    if made.exists():
        return made
    spec = model.spec
    with (out / "log.txt").open("a") as log:

        def do(*asked: object) -> int:
            words = [*GHOSTNOTE, *map(str, asked)]
            return subprocess.run(words, stdout=log, stderr=log, check=False).returncode

        if not (data / "dataset.json").exists():
            rates = ("--samplerate", spec.samplerate, "--hop", spec.hop)
            _done(do("data", "prepare", "--corpus", given.corpus, "--kits", given.kit, *rates,
                     "--out", data), log.name)  # fmt: skip
        spent = _minutes(run, model)
        if spent > minutes + LATE_MINUTES and minutes < given.minutes:
            raise GhostnoteError(f"adapt: run {run} is past minute {minutes:g}; name another --out")
        if spent < minutes:
            asked = sitting(spent, minutes, given.minutes)
            begun = () if spent else ("--from", given.model)
            status = do("train", "--data", data, "--run", run, *begun, *asked)
            _done(0 if status == INTERRUPTED and minutes < given.minutes else status, log.name)
        _done(do("export", "--run", run, "--out", made), log.name)
    return made


def _minutes(run: Path, model: ModelFile) -> float:
    """Return how long a run has been trained, 0 where there is none."""
    if not (run / NAME).exists():
        return 0.0
    facts = load_checkpoint(run).facts
    if facts.get("from", {}).get("sha256") != model.sha256:
        raise GhostnoteError(f"adapt: run {run} began with another model; name another --out")
    return float(facts["seconds"]) / 60.0


def _done(status: int, log: str) -> None:
    if status:
        raise GhostnoteError(f"adapt: a step ended with status {status}; the end of {log} says why")


def _judge(
    player: ModelFile,
    kit: Kit,
    judge: likeness.KitJudge,
    corpus: Path | None,
    options: EvalOptions,
) -> dict[str, Any]:
    """Return the figures of a model that knows one kit; without a corpus those of lone hits only."""
    spec = player.spec
    packed = pack(spec, player.weights, options.precision)
    takes = play_all(packed, [(kit, alone(kit), stream) for stream in range(TAKES)], options)
    told: dict[str, Any] = {"apart_db": apart_db(takes, spec.samplerate)}
    heard = takes
    if corpus:
        pieces, _ = options.pieces(corpus)
        heard = takes + play_all(packed, [(kit, p, i) for i, p in enumerate(pieces)], options)
    told |= named(heard, kit.name, judge, spec.samplerate)
    if corpus:
        found = evaluate(player, corpus, options)
        told |= {"bits_per_sample": found["bits_per_sample"], "roles": found["roles"]}
    return told


def named(
    heard: Sequence[Played], kit: str, judge: likeness.KitJudge, samplerate: int
) -> dict[str, Any]:
    """Return the shares of hits named as a kit, of the model and of the truth, and as what else."""
    names: dict[str, list[str]] = defaultdict(list)
    for piece in heard:
        roles, times = [role for _, role, _ in piece.hits], [t for t, _, _ in piece.hits]
        for who, audio in (("generated", piece.generated), ("truth", piece.truth)):
            names[who] += judge.name(likeness.patches(audio, samplerate, times), roles)
    others = Counter(name for name in names["generated"] if name != kit).most_common(1)
    return {
        "named": names["generated"].count(kit) / len(names["generated"]),
        "truth_named": names["truth"].count(kit) / len(names["truth"]),
        "named_else": others[0][0] if others else None,
    }


def apart_db(takes: Sequence[Played], samplerate: int) -> dict[str, float]:
    """Return by how many dB the log-mel spectra of lone hits differ from the truth's, by role."""
    found: dict[str, list[float]] = defaultdict(list)
    for take in takes:
        for seconds, role, _ in take.hits:
            at = round(seconds * samplerate)
            piece = slice(at, at + round(SHOT_SECONDS * samplerate))
            found[role].append(
                spectra_apart_db(take.truth[piece], take.generated[piece], samplerate)
            )
    return {role: float(np.mean(of)) for role, of in found.items()}


def spectra_apart_db(one: AUDIO, other: AUDIO, samplerate: int) -> float:
    """Return the mean difference in dB of the bands in which either of two hits sounds."""
    edges = band_edges(samplerate, PER_OCTAVE)
    both = np.stack([levels(x, samplerate, edges, STEP, WINDOW) for x in (one, other)])
    both = np.maximum(both, QUIETEST_DB)
    sounding = both.max(axis=0) > QUIETEST_DB
    return float(np.abs(both[0] - both[1])[sounding].mean()) if sounding.any() else 0.0


def shots_apart_db(kit: Kit, other: Kit) -> float:
    """Return how far the one-shots of two kits differ, mean of the roles that both have."""
    frames = round(SHOT_SECONDS * kit.samplerate)
    found = []
    for role in kit.layers.keys() & other.layers.keys():
        one, two = (which.render([(0, role, 0.9)], frames) for which in (kit, other))
        found.append(spectra_apart_db(one, two, kit.samplerate))
    return float(np.mean(found)) if found else float("inf")


def page(told: Mapping[str, Any]) -> str:
    """Return the tables as Markdown."""
    rows, own = told["rows"], told["its_own_kit"]
    last = list(rows.values())[-1]
    heads = ["kit " + told["kit"], "hits named as it", "else mostly", "bits/sample"]
    heads += [f"{role}: precision / recall" for role in ROLES] + ["lone hits, dB off the one-shots"]
    table = [heads, ["---"] * len(heads)]
    for name, row in rows.items():
        cells = [name, f"{row['named']:.0%}", row["named_else"] or "-", _bits(row)]
        cells += [_roles(row, role, "") for role in ROLES]
        table.append([*cells, _mean(row)])
    truth = ["truth", f"{last['truth_named']:.0%}", "-", "-"]
    table.append([*truth, *(_roles(last, role, "truth_") for role in ROLES), "0"])
    by_role = [["lone hits, dB off the one-shots", *last["apart_db"]]]
    by_role.append(["---"] * len(by_role[0]))
    for name, row in rows.items():
        by_role.append([name, *(f"{row['apart_db'][role]:.1f}" for role in last["apart_db"])])
    kept = ", ".join(told["kits_kept"]) or "none"
    says = (
        f"Nearest of the model's kits: {told['nearest']}, of whose own lone hits (by {told['model']}) "
        f"{own['named']:.0%} are named as it (truth {own['truth_named']:.0%}), {_mean(own)} dB off its "
        f"one-shots. {told['steps']} steps. Kits of the model that the adapted one kept: {kept} of "
        f"{len(told['kits_of_model'])}."
    )
    return "\n\n".join((_table(table), _table(by_role), says))


def _roles(row: Mapping[str, Any], role: str, prefix: str) -> str:
    scores = row["roles"].get(role)
    if scores is None:
        return "-"
    both = (scores[prefix + "precision"], scores[prefix + "recall"])
    return " / ".join("-" if one is None else f"{one:.2f}" for one in both)


def _bits(row: Mapping[str, Any]) -> str:
    return "-" if row["bits_per_sample"] is None else f"{row['bits_per_sample']:.2f}"


def _mean(row: Mapping[str, Any]) -> str:
    return f"{np.mean(list(row['apart_db'].values())):.1f}"


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
