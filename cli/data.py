"""`ghostnote data prepare`: drums become training material."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ghostnote.training.dataset import SPLITS, Dataset
from ghostnote.training.prepare import GrooveOptions, prepare_grooves
from ghostnote.training.recordings import prepare_recordings

from .progress import progress_bar

FILES_PER_REASON = 5
_OF_CORPUS = (
    "kits",
    "texture",
    "groove_minutes",
    "drill_minutes",
    "blend_minutes",
    "validation_minutes",
    "seed",
)
_OF_RECORDINGS = ("licence", "author")


def prepare(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the dataset; new or empty.")],
    corpus: Annotated[
        Path | None, typer.Option(help="Render the grooves of this corpus with its kits.")
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(help="Cut the sound files of this folder; its sub-folders are the kits."),
    ] = None,
    kits: Annotated[
        str | None, typer.Option(help="With --corpus: its kits to use, separated by commas.")
    ] = None,
    texture: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL=KIT+KIT,...",
            help="With --corpus, in place of --kits: render textures, grooves of which no hit is"
            " told. The model's kits are then 'LABEL sparse' and 'LABEL dense'.",
        ),
    ] = None,
    samplerate: Annotated[int, typer.Option(help="Of the model to be, in Hz.")] = 24000,
    hop: Annotated[
        int | None,
        typer.Option(help="Grid of the triggers, in samples.", show_default="1 ms"),
    ] = None,
    groove_minutes: Annotated[
        float, typer.Option(help="With --corpus: minutes of grooves to render with each kit.")
    ] = GrooveOptions.groove_minutes,
    drill_minutes: Annotated[
        float,
        typer.Option(help="With --corpus: minutes of made-up exercises to render with each kit."),
    ] = GrooveOptions.drill_minutes,
    blend_minutes: Annotated[
        float,
        typer.Option(
            help="With --corpus: minutes to render with each kit and another one together, so that"
            " mixtures of kits are learnt."
        ),
    ] = GrooveOptions.blend_minutes,
    validation_minutes: Annotated[
        float,
        typer.Option(help="With --corpus: minutes of held-back grooves to render with each kit."),
    ] = GrooveOptions.validation_minutes,
    seed: Annotated[
        int, typer.Option(help="With --corpus: chooses the stretches of the grooves.")
    ] = GrooveOptions.seed,
    licence: Annotated[
        str, typer.Option(help="With --recordings: their licence, for the model card.")
    ] = "unknown",
    author: Annotated[
        list[str] | None,
        typer.Option(help="With --recordings: who made them; may be repeated."),
    ] = None,
) -> None:
    """Makes a dataset of a drum corpus (kits and MIDI grooves) or of a folder of recordings.

    Recordings may be wav, flac, ogg, mp3 or aiff of any sample rate, mono or stereo.

    Example: ghostnote data prepare --recordings loops --out data/mine
    """
    if (corpus is None) == (recordings is None):
        raise typer.BadParameter("give either --corpus or --recordings")
    hop = max(1, round(samplerate / 1000)) if hop is None else hop
    if recordings is not None:
        _refuse(context, "corpus", _OF_CORPUS)
        with progress_bar() as progress:
            dataset = prepare_recordings(
                recordings, out, samplerate, hop, licence, author or [], progress
            )
    elif corpus is not None:
        _refuse(context, "recordings", _OF_RECORDINGS)
        if (kits is None) == (texture is None):
            known = sorted(path.stem for path in (corpus / "kits").glob("*.csv"))
            names = ", ".join(name for name in known if name != "index")
            raise typer.BadParameter(
                f"say with either --kits or --texture which to use; {corpus} has {names or 'none'}"
            )
        labels = _labels(texture or "")
        options = GrooveOptions(
            _names(kits or "", ",") if kits is not None else tuple(kit for kit, _ in labels),
            samplerate,
            hop,
            groove_minutes,
            drill_minutes,
            blend_minutes,
            validation_minutes,
            seed,
            labels,
        )
        with progress_bar() as progress:
            dataset = prepare_grooves(corpus, out, options, progress)
    for line in [*skipped(dataset.skipped), *summary(dataset)]:
        print(line)


def _names(text: str, separator: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(separator) if name.strip())


def _labels(texture: str) -> tuple[tuple[str, str], ...]:
    """Returns (kit, label) of each kit in a text like "electronic=a+b,acoustic=c"."""
    labels = []
    for part in _names(texture, ","):
        label, equals, kits = part.partition("=")
        if not (label.strip() and equals and _names(kits, "+")):
            raise typer.BadParameter(f"--texture: {part!r} is not of the form LABEL=KIT+KIT")
        labels += [(kit, label.strip()) for kit in _names(kits, "+")]
    return tuple(labels)


def skipped(files: Sequence[dict[str, str]]) -> list[str]:
    """Returns lines that tell which files were skipped and why, a few names for each reason."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for entry in files:
        by_reason[entry["reason"]].append(entry["file"])
    lines = []
    for reason, names in by_reason.items():
        more = f" and {len(names) - FILES_PER_REASON} more" if len(names) > FILES_PER_REASON else ""
        lines.append(f"skipped, {reason}: {', '.join(names[:FILES_PER_REASON])}{more}")
    return lines


def summary(dataset: Dataset) -> list[str]:
    """Returns lines that tell what a dataset holds."""
    lines = []
    for split in SPLITS:
        clips = len(dataset.split(split))
        hits = ", ".join(f"{n} {role}" for role, n in dataset.hits_per_role(split).items() if n)
        lines.append(
            f"{split}: {dataset.seconds(split) / 60:.1f} minutes in {clips} clip{'s' * (clips != 1)}"
            + (f"; hits: {hits}" if hits else "")
        )
    lines.append(f"kits: {', '.join(dataset.kits) or 'none'}")
    lines.append(f"next: ghostnote train --data {dataset.root} --run RUN")
    return lines


def _refuse(context: typer.Context, form: str, names: Sequence[str]) -> None:
    """Refuse options of the other form, which would silently do nothing."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"--{name.replace('_', '-')} goes with --{form} only")
