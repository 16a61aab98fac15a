"""The networks that WaveNet programs are measured with, as specs to fill with random weights.

What the names mean: IBAB is the default of github.com/ibab/tensorflow-wavenet; NV-S, NV-M and
NV-L are the sizes of NVIDIA/nv-wavenet's speed table; DV-40 is the largest of Deep Voice (Arik et
al. 2017, arXiv 1702.07825); VH-default is vincentherrmann/pytorch-wavenet's; R9-mulaw and R9-MoL are
r9y9/wavenet_vocoder's, without its local conditioning. All are unconditional here: conditioning is
held for a hop and costs next to nothing a sample. Immutable; any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .spec import LEVELS_16, ModelSpec

SAMPLERATE = 16000
HOP = 16

NV_WAVENET_V100 = 42_830.0
"""Samples/s of one stream of NV-M on a V100, the best published (NVIDIA/nv-wavenet issue 18)."""


def _spec(
    cycles: int,
    last: int,
    residual: int,
    skip: int,
    head: int,
    *,
    taps: int = 2,
    width: int = 2,
    mixtures: int = 0,
) -> ModelSpec:
    """Return `cycles` times the dilations 1, 2, 4, ... 2^last; gates as wide as residuals."""
    return ModelSpec(
        SAMPLERATE,
        HOP,
        tuple(2**i for i in range(last + 1)) * cycles,
        filter_width=width,
        residual=residual,
        gate=residual,
        skip=skip,
        head=head,
        levels=LEVELS_16 if mixtures else 256,
        mixtures=mixtures,
        input_taps=taps,
    )


CONFIGS: Mapping[str, ModelSpec] = MappingProxyType(
    {
        "IBAB": _spec(5, 9, 32, 512, 512),
        "NV-S": _spec(2, 9, 32, 128, 256),
        "NV-M": _spec(2, 9, 64, 128, 256),
        "NV-L": _spec(2, 9, 64, 256, 256),
        "DV-40": _spec(4, 9, 64, 256, 256),
        "VH-default": _spec(4, 9, 32, 256, 256, taps=1),
        "R9-mulaw": _spec(3, 9, 128, 128, 128, taps=1, width=3),
        "R9-MoL": _spec(4, 5, 128, 128, 128, taps=1, width=3, mixtures=10),
    }
)
