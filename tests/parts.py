"""Real programs that tests play with: found, or the test says why it cannot run."""

import os
import shutil
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skips the running test with `reason`; on CI (`CI=true`) fails it, as nothing may be missing.

    Must be called from a test or a fixture.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def need(program: str) -> str:
    """Returns the path of `program`; without it the test is skipped, or fails under `CI=true`."""
    path = shutil.which(program)
    if path is None:
        missing(f"needs the program {program}, which is not on the PATH (see CONTRIBUTING.md)")
    return path
