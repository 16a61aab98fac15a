"""Kits and mixtures as typed."""

import pytest

from ghostnote.inference.kit_mix import default_kit, parse_kit
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ModelSpec

SPEC = ModelSpec(8000, 8, (1,), kits=("jazz", "rock", "odd: name, 2"), cond_hidden=(4,))
NONE = ModelSpec(8000, 8, (1,))
NAMED = ModelSpec(8000, 8, (1,), kits=("texture",), cond_hidden=(4,))


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("rock", (0.0, 1.0, 0.0)),
        ("odd: name, 2", (0.0, 0.0, 1.0)),
        ("jazz:3, rock:1", (0.75, 0.25, 0.0)),
        ("jazz,rock", (0.5, 0.5, 0.0)),
        ("jazz:1,jazz:1", (1.0, 0.0, 0.0)),
        ("jazz:0", (0.0, 0.0, 0.0)),
        ("texture", (0.0, 0.0, 0.0)),
    ],
)
def test_weights(text: str, weights: tuple[float, ...]) -> None:
    assert parse_kit(SPEC, text) == weights


def test_a_kit_may_be_called_texture() -> None:
    assert parse_kit(NAMED, "texture") == (1.0,)


def test_default() -> None:
    assert parse_kit(SPEC, default_kit(SPEC)) == (1.0, 0.0, 0.0)
    assert parse_kit(NONE, default_kit(NONE)) == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("funk", "'funk': the model has no such kit; it has jazz, rock"),
        ("jazz:1,funk:1", "'funk'"),
        ("", "''"),
        ("jazz:", "weight"),
        ("jazz:-1", "weight"),
        ("jazz:nan", "weight"),
        ("jazz:1e9", "weight"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(GhostnoteError, match=reason):
        parse_kit(SPEC, text)
