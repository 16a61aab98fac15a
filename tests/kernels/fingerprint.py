"""What the kernel plays on this processor, as hashes: run by itself, prints them as JSON.

Weights and tables are made of whole numbers and halvings, so that every machine starts from the
same bits; all rounding is the kernel's own.
"""

import hashlib
import json
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ghostnote.kernels import cpu, rng
from ghostnote.kernels import packing as p
from ghostnote.kernels.packing import pack
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import weight_shapes

SPEC = ModelSpec(
    24000,
    24,
    (1, 8, 2, 16, 4, 3),
    filter_width=3,
    residual=20,
    gate=24,
    skip=72,
    head=40,
    roles=("kick", "hat", "open"),
    kits=("one", "two"),
    ages=12,
    age_features=5,
    cond_hidden=(12,),
    chokes=(("hat", "open"),),
)
SAMPLES = 500


class Fingerprint(NamedTuple):
    """Hashes of the samples, and of the logits of each."""

    samples: str
    logits: str


def weights() -> dict[str, npt.NDArray[np.float32]]:
    """Returns weights of a lively network, exact on every machine."""
    made = {}
    for stream, (name, shape) in enumerate(weight_shapes(SPEC).items()):
        numbers = rng.uniforms(0, stream, 0, int(np.prod(shape))).reshape(shape)
        scale = 4.0 if name == "input_weight" else 1.0 if "head" in name else 0.75
        made[name] = np.asarray((numbers - np.float32(0.5)) * np.float32(scale))
    made["mulaw_table"] = ((np.arange(SPEC.levels) - SPEC.silence) / SPEC.silence).astype("f4")
    made["age_table"] = np.abs(made["age_table"])
    made["age_table"][-1] = 0.0
    return made


def fingerprint() -> Fingerprint:
    """Plays SAMPLES samples with hits, a kit mixture, temperature and top-k; hashes them."""
    state = State(pack(SPEC, weights()), seed=2**35 + 1, stream=3)
    state.set_sampling(0.9, 200)
    state.set_kit([0.75, 0.5])
    at = state.packed.header[p.S_LOGITS]
    samples = np.zeros(SAMPLES, np.float32)
    logits = np.zeros((SAMPLES, SPEC.levels), np.float32)
    for i in range(SAMPLES):
        if i % 100 == 30:
            state.hit(i // 100 % 3, 0.625)
        state.generate(samples[i : i + 1])
        logits[i] = state.floats[at : at + SPEC.levels]
    return Fingerprint(
        hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest()[:16],
        hashlib.sha256(logits.astype("<f4").tobytes()).hexdigest()[:16],
    )


if __name__ == "__main__":
    played = fingerprint()
    code = "".join(cpu.generate.inspect_asm().values())  # empty where it came from the cache
    registers = [name for name in ("xmm", "ymm", "zmm") if name in code]
    print(json.dumps({"played": played, "registers": registers, "fused": "vfmadd" in code}))
