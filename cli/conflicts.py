"""Packages that break each other when both are installed."""

import sys
from importlib.metadata import PackageNotFoundError, version


def onnxruntime_conflict() -> str | None:
    """Returns one line about two onnxruntime wheels in this environment, or None if all is well.

    `onnxruntime` and `onnxruntime-gpu` unpack into the same folder: which one is imported is
    chance, and removing either leaves a broken rest. Installers cannot express that, so we look.
    """
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(found) < 2:
        return None
    return (
        "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
        f"`{sys.executable} -m pip uninstall onnxruntime onnxruntime-gpu`, then install only the one "
        "you want"
    )


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
