"""The table of configurations says what the programs of those names have."""

import pytest

from ghostnote.kernels.configs import CONFIGS

# MAC a sample in thousands and the receptive field, as published tables or sources have them, which
# count the last layer's residual product too; this one goes nowhere and is left out here.
PUBLISHED = {
    "IBAB": (1468, 5117),
    "NV-S": (283, 2048),
    "NV-M": (672, 2048),
    "NV-L": (868, 2048),
    "DV-40": (1606, 4094),
    "VH-default": (664, 4093),
    "R9-mulaw": (3981, 6139),
    "R9-MoL": (3166, 505),
}


def test_all_are_known() -> None:
    assert CONFIGS.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", CONFIGS)
def test_multiplications_and_receptive_field(name: str) -> None:
    spec = CONFIGS[name]
    thousands, field = PUBLISHED[name]
    last = spec.residual * spec.gate
    least, most = spec.macs_per_sample, spec.macs_per_sample + last
    assert least - 500 <= 1000 * thousands <= most + 500
    assert spec.receptive_field == field
    assert not spec.conditioning
