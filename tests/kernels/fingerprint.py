"""What the kernel plays on this processor, as hashes: run by itself, prints them as JSON.

Weights and tables are made of whole numbers and halvings, so that every machine starts from the
same bits; all rounding is the kernel's own. Run by itself, it also tells what the compiler made.
"""

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ghostnote.kernels import cpu, rng, target
from ghostnote.kernels.moving import copy_lane, relay
from ghostnote.kernels.packing import pack
from ghostnote.kernels.products import PRECISIONS, add_product
from ghostnote.kernels.spec import LEVELS_16, ModelSpec
from ghostnote.kernels.state import State
from ghostnote.kernels.weights import weight_shapes

SOFTMAX = ModelSpec(
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
MIXTURE = replace(SOFTMAX, filter_width=2, residual=70, levels=LEVELS_16, mixtures=10)
HEADS = {"softmax": SOFTMAX, "mixture": MIXTURE}
LANES = (1, 5)
SAMPLES = 300


def weights(spec: ModelSpec) -> dict[str, npt.NDArray[np.float32]]:
    """Returns weights of a lively network, exact on every machine."""
    made = {}
    for stream, (name, shape) in enumerate(weight_shapes(spec).items()):
        numbers = rng.uniforms(0, stream, 0, int(np.prod(shape))).reshape(shape)
        scale = 4.0 if name == "input_weight" else 1.0 if "head" in name else 0.75
        made[name] = np.asarray((numbers - np.float32(0.5)) * np.float32(scale))
    if spec.mixtures:
        made["head1_bias"][2 * spec.mixtures :] -= np.float32(4.0)
    else:
        silence = spec.silence
        made["mulaw_table"] = ((np.arange(spec.levels) - silence) / silence).astype("f4")
    made["age_table"] = np.abs(made["age_table"])
    made["age_table"][-1] = 0.0
    return made


def fingerprint(spec: ModelSpec, precision: str, lanes: int) -> str:
    """Plays with hits, kits, temperatures and top-k, then feeds levels; hashes all that came out."""
    state = State(pack(spec, weights(spec), precision), 2**35 + 1, 3, lanes)
    for lane in range(lanes):
        state.set_sampling(0.9 + lane / 16, 200 if lane % 2 == 0 else 7, lane)
        state.set_kit([0.75, 0.5 - lane / 4], lane)
    played = []
    for first in range(0, SAMPLES, 50):
        state.hit(first // 50 % 3, 0.625)
        state.hit(first // 50 % 2, 0.25, first % lanes)
        played.append(np.zeros((lanes, 50), np.float32))
        state.generate(played[-1])
    whole = np.concatenate(played, axis=1)
    assert len(np.unique(whole)) > 30
    fed = rng.uniforms(1, 0, 0, lanes * 40).reshape(lanes, 40) * np.float32(spec.levels)
    outputs = state.teacher_force(fed.astype(np.int64))
    both = whole.astype("<f4").tobytes() + outputs.astype("<f4").tobytes()
    return hashlib.sha256(both).hexdigest()[:16]


def fingerprints() -> dict[str, str]:
    """Returns the hash of each head, precision and number of lanes."""
    return {
        f"{head}, {precision}, {lanes}": fingerprint(spec, precision, lanes)
        for head, spec in HEADS.items()
        for precision in PRECISIONS
        for lanes in LANES
    }


def symbols(code: str) -> list[str]:
    """Names what the instructions of some assembly refer to; bytes of a constant are none."""
    return sorted(set(re.findall(r"^\s+[a-z]\w*\s.*\$([A-Za-z]\w*)", code, re.MULTILINE)))


def compiled() -> dict[str, object]:
    """Tells what the compiler made of the entries, but for what Python and C call them through.

    Empty where they came from the cache.
    """
    bodies = []
    for entry in (cpu.run, cpu.prewarm, cpu.step, add_product, copy_lane, relay):
        for code in entry.inspect_asm().values():
            functions = re.split(
                r"^(?=[A-Za-z_]\S*:$)", code.split(".section\t.debug")[0], flags=re.MULTILINE
            )
            bodies += [
                body for body in functions
                if not re.match(r"_ZN7cpython|cfunc\.|\s*\.", body)
            ]  # fmt: skip
    code = "\n".join(bodies)
    return {
        "entries": len(
            re.findall(
                r"^_ZN\S*(?:3cpu3run|3cpu4step|7prewarm|11add_product|9copy_lane|5relay)\S*:",
                code,
                re.MULTILINE,
            )
        ),
        "registers": [name for name in ("xmm", "ymm", "zmm") if f"%{name}" in code],
        "products": [name for name in ("vpmaddubsw", "vpdpbusd", "vfmadd") if name in code],
        "dot": target.dot_product(),
        "symbols": symbols(code),
    }


if __name__ == "__main__":
    print(json.dumps({"played": fingerprints(), **compiled()}))
