"""`ghostnote models`: the models at hand, and the card of one."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ghostnote.inference.card import card
from ghostnote.inference.model_file import (
    DEFAULT,
    ModelFile,
    bundled_models,
    find_model,
    load_model,
)


def models(
    action: Annotated[
        str | None, typer.Argument(metavar="[show]", help="Nothing, to list; show, for a card.")
    ] = None,
    model: Annotated[
        str | None, typer.Argument(help="Bundled model or .onnx file; where not given, kit.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """Lists the bundled models, or shows what a model knows and where it comes from.

    Example: ghostnote models show kit
    """
    if action not in (None, "show"):
        raise typer.BadParameter(f"{action!r}: expected nothing, or show and a model")
    if action == "show":
        shown = load_model(find_model(model))
        print(json.dumps(details(shown), indent=2) if as_json else card(shown))
        return
    listed = {name: load_model(path) for name, path in bundled_models().items()}
    if as_json:
        print(json.dumps({"models": [summary(name, m) for name, m in listed.items()]}, indent=2))
        return
    for name, found in listed.items():
        spec = found.spec
        default = " (default)" if name == DEFAULT else ""
        kits = f"{len(spec.kits)} kits ({', '.join(spec.kits)})" if spec.kits else "no kits"
        print(f"{name}{default}: {spec.samplerate} Hz, {len(spec.roles)} roles, {kits}")
    if not listed:
        print("No models are bundled; name an .onnx file with --model.")


def summary(name: str, model: ModelFile) -> dict[str, Any]:
    """Returns what programs need to choose a model by."""
    spec = model.spec
    return {
        "name": name,
        "default": name == DEFAULT,
        "file": str(Path(model.path).resolve()),
        "bytes": model.size,
        "sha256": model.sha256,
        "samplerate": spec.samplerate,
        "hop": spec.hop,
        "roles": list(spec.roles),
        "kits": list(spec.kits),
    }


def details(model: ModelFile) -> dict[str, Any]:
    """Returns all that a model file tells but its weights and its proof."""
    return {
        **summary(model.name, model),
        "default": model.path.resolve() == bundled_models().get(DEFAULT, Path()).resolve(),
        "spec": model.spec.to_json(),
        "provenance": dict(model.provenance),
    }
