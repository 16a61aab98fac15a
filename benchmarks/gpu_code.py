"""What Triton's compiler makes of the GPU's kernels for Hopper: registers, spills, tensor cores.

Compiles without a GPU, for sm_90, and reads the machine code with the tools that come with Triton;
from the root of the repository, on Linux:

    .venv/bin/python -m benchmarks.gpu_code --config kit,NV-M --streams 1,9000

It says nothing of speed. "in loop" counts spilled registers that are loaded in the loop over layers
(the innermost loops that multiply), where it would cost.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

os.environ["TRITON_INTERPRET"] = "0"  # before Triton is imported

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ghostnote.kernels import gpu, gpu_spread
from ghostnote.kernels.configs import CONFIGS
from ghostnote.kernels.gpu_model import Options, Shape, options_of, shape_of, spread_of
from ghostnote.kernels.spec import ModelSpec

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
SMS = 132
"""Multiprocessors of an H100 SXM and of an H200."""

_TYPES = {
    "places": "*i32", "history": "*i32", "top_ks": "*i32", "forced": "*i32", "chance": "*i64",
    "words": "*i64", "index": "i64", "bias_hop": "i64", "bias_layer": "i64", "bias_lane": "i64",
    "program": "i32", "count": "i32", "hop": "i32", "streams": "i32", "lanes": "i32",
}  # fmt: skip
_ODD = ("program", "index", "count", "hop", "streams")  # all others are multiples of 16


class Code(NamedTuple):
    """What was found: registers a thread, bytes of stack and shared memory, counts of instructions."""

    registers: int
    stack: int
    shared: int
    hmma: int
    wgmma: int
    spills_in_loop: int
    barriers_in_loop: int
    instructions: int


def compiled(kernel: Any, constants: dict[str, Any], options: Options, precision: str) -> Code:
    """Return what becomes of a kernel with some constants."""
    signature, attributes = {}, {}
    for number, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name] = "constexpr"
            continue
        own = name in ("matrices", "rings")
        signature[name] = _TYPES.get(name, f"*{precision}" if own else "*fp32")
        if name not in _ODD:
            attributes[number,] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    target = GPUTarget("cuda", 90, 32)
    made = triton.compile(
        source, target=target, options={**options._asdict(), "enable_fp_fusion": True}
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.check_output([TOOLS / tool, option, file.name], text=True)
            for tool, option in (("cuobjdump", "-res-usage"), ("nvdisasm", "-c"))
        )
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, usage
    inner = [loop for loop in innermost_loops(code) if "MMA" in loop]
    return Code(
        int(found[1]),
        int(found[2]),
        made.metadata.shared,
        len(re.findall(r"\bHMMA", code)),
        len(re.findall(r"\bHGMMA", code)),
        sum(loop.count("LDL") for loop in inner),
        max((loop.count("BAR.SYNC") for loop in inner), default=0),
        code.count(";"),
    )


def innermost_loops(code: str) -> list[str]:
    """Return the text of each loop of machine code that has no loop within."""
    lines = code.split("\n")
    labels = {line.strip().rstrip(":"): i for i, line in enumerate(lines) if line.startswith(".L_")}
    loops = []
    for end, line in enumerate(lines):
        jump = re.search(r"BRA.*`\((\.L_\w+)\)", line)
        if jump and labels.get(jump[1], end) < end:
            loops.append((labels[jump[1]], end))
    return [
        "\n".join(lines[first:last])
        for first, last in loops
        if not any(
            first < one and other < last for one, other in loops if (one, other) != (first, last)
        )
    ]


def tile_code(spec: ModelSpec, precision: str, streams: int) -> tuple[Shape, Options, Code]:
    """Return how the tile kernel is compiled for so many streams, and what becomes of it."""
    shape = shape_of(spec, precision, streams, wide=precision == "fp32", programs=SMS)
    shape = shape._replace(one_bias=not spec.conditioning)
    options = options_of(shape, precision)
    constants = {"s": shape, "FORCED": False, "TOP_K": False}
    return shape, options, compiled(gpu.play, constants, options, precision)


def spread_code(
    spec: ModelSpec, precision: str, forced: bool = False
) -> tuple[Shape, Options, Code] | None:
    """Return the same of the spread kernel, None of a model that it cannot play.

    `forced`: where levels are given rather than drawn.
    """
    shape = shape_of(spec, precision, 1, wide=precision == "fp32", programs=SMS)
    spread = spread_of(shape, precision, SMS)
    if spread is None:
        return None
    constants = {"s": spread.shape, "G": spread.group, "FORCED": forced, "TOP_K": False}
    options = Options(8, 1)
    return spread.shape, options, compiled(gpu_spread.play_spread, constants, options, precision)


def _spec(name: str) -> ModelSpec:
    if name in CONFIGS:
        return CONFIGS[name]
    from ghostnote.inference.model_file import find_model, load_model

    return load_model(find_model(name)).spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="kit,NV-M,IBAB,R9-mulaw")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--streams", default="1,9000")
    arguments = parser.parse_args()
    print(f"Triton {triton.__version__}, sm_90")
    print("| model | kernel | tile | warps, stages |", " | ".join(Code._fields), "|")
    print("| --- " * (4 + len(Code._fields)) + "|")
    for name in arguments.config.split(","):
        spec = _spec(name)
        for precision in arguments.precision.split(","):
            rows = {
                f"tile, {streams} streams": tile_code(spec, precision, int(streams))
                for streams in arguments.streams.split(",")
            }
            if spread := spread_code(spec, precision):
                rows["spread"] = spread
            for kernel, (shape, options, code) in rows.items():
                numbers = " | ".join(str(value) for value in code)
                how = f"{options.num_warps}, {options.num_stages}"
                print(f"| {name} {precision} | {kernel} | {shape.tile} | {how} | {numbers} |")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
