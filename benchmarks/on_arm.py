"""The whole kernel on AArch64, played by an emulator: the same bits as here?

Takes the LLVM code that Numba made of the kernel, lets LLVM make AArch64 code of it, once with plain
NEON and once with its dot product of bytes (sdot), links it to `on_arm.c`, and compares what it plays
and puts out with this processor, for each head, precision and some numbers of lanes. Needs an
emulator and a C compiler for AArch64 with a linker; from the root of the repository:

    apt-get install qemu-user-static; .venv/bin/pip install ziglang
    .venv/bin/python -m benchmarks.on_arm

It says nothing of speed. tests/kernels/test_assembly.py looks at the instructions.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import binding, ir

from ghostnote.kernels import cpu, lanes, products, rng, target
from ghostnote.kernels import packing as p
from ghostnote.kernels.products import PRECISIONS, add_product
from ghostnote.kernels.spec import ModelSpec
from ghostnote.kernels.state import State
from tests.kernels.fingerprint import HEADS, weights

TRIPLE = "aarch64-unknown-linux-musl"
PROCESSORS = {"generic": "generic", "sdot": "neoverse-n1"}  # by the dot product
DOT = "kernel_dot"
ENTRIES = {
    "run": (cpu.run, cpu._RUN),
    "prewarm": (cpu.prewarm, cpu._PREWARM),
    "hit": (cpu.hit, cpu._HIT),
    "step": (cpu.step, cpu._STEP),
    "add_product": (add_product, cpu._PRODUCT),
}


def capture(dot: str) -> dict[str, tuple[str, str]]:
    """Return the LLVM code of each entry and the name of its C function, compiled for plain x86.

    AArch64's own instruction cannot be in it yet: for "sdot" it calls a function `DOT` instead.
    """
    from numba.core import cgutils, codegen

    def call_dot(code: lanes.Lanes, total: Any, x: Any, w: Any) -> Any:
        kind = ir.FunctionType(lanes.INTS, [lanes.INTS, products.WORDS, products.WORDS])
        function = cgutils.get_or_insert_function(code.builder.module, kind, DOT)
        return code.builder.call(function, [total, x, w])

    target.dot_product, target.vector_bits = lambda: "generic", lambda: 128  # type: ignore[assignment]
    if dot == "sdot":
        binding.add_symbol(DOT, 16)  # never called here
        products.dot_bytes = call_dot
    made: dict[str, str] = {}
    library = codegen.JITCodeLibrary
    finalise = library._finalize_specific

    def keep(self: Any) -> None:
        made[self.name] = str(self._final_module)
        finalise(self)

    library._finalize_specific = keep
    found = {}
    for name, (function, signature) in ENTRIES.items():
        function.compile(signature)
        compiled = function.overloads[signature.args]
        found[name] = made[compiled.library.name], compiled.fndesc.llvm_cfunc_wrapper_name
    return found


def object_code(name: str, code: str, c_name: str, dot: str) -> bytes:
    """Return an entry compiled for AArch64 as an object file."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(TRIPLE).create_target_machine(
        cpu=PROCESSORS[dot], opt=3, reloc="static", codemodel="small"
    )
    layout = str(machine.target_data)
    code = re.sub("target datalayout = .*", f'target datalayout = "{layout}"', code)
    code = re.sub("target triple = .*", f'target triple = "{TRIPLE}"', code)
    # Of reference counts, of which the kernel has none.
    module = binding.parse_assembly(code.replace("llvm.x86.atomic.sub.cc.i64", "absent_atomic_sub"))
    if f"@{DOT}" in code:
        side = ir.Module()
        kind = ir.FunctionType(lanes.INTS, [lanes.INTS, products.WORDS, products.WORDS])
        function = ir.Function(side, kind, DOT)
        function.attributes.add("alwaysinline")
        builder = ir.IRBuilder(function.append_basic_block())
        builder.ret(products._dot_arm(lanes.Lanes(builder), *function.args))
        one = binding.parse_assembly(str(side))
        one.triple, one.data_layout = TRIPLE, layout
        module.link_in(one)
    options = binding.create_pipeline_tuning_options(speed_level=3)
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    for function in module.functions:
        if not function.is_declaration and function.name != c_name:
            function.linkage = "internal"
    module.get_function(c_name).name = f"kernel_{name}"
    if name == "add_product":
        assert ("sdot" in machine.emit_assembly(module)) == (dot == "sdot")
    return bytes(machine.emit_object(module))


def build(folder: Path, compiler: list[str], dot: str) -> Path:
    """Return the program that plays on AArch64."""
    captured = folder / "captured.json"
    # In a process of its own: what Numba compiles for is chosen once.
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(folder / f"cache-{dot}"),
    }
    command = [sys.executable, "-m", "benchmarks.on_arm", "--capture", dot, str(captured)]
    subprocess.run(command, env=environment, check=True)
    objects = []
    for name, (code, c_name) in json.loads(captured.read_text()).items():
        objects.append(folder / f"{name}.o")
        objects[-1].write_bytes(object_code(name, code, c_name, dot))
    program = folder / f"on_arm_{dot}"
    slots = {"LANES_AT": p.I_COUNT, "PRODUCT_AT": p.I_PRODUCT, "STEP_AT": p.I_STEP}
    defined = [f"-D{name}={value}" for name, value in slots.items()]
    source = Path(__file__).with_suffix(".c")
    subprocess.run(
        [*compiler, "-O1", "-static", *defined, source, *objects, "-lm", "-o", program], check=True
    )
    return program


def same_bits(spec: ModelSpec, precision: str, count: int, run: list[str], folder: Path) -> bool:
    """Play on both processors, with hits, kits, temperatures and top-k; then feed levels."""
    state = State(p.pack(spec, weights(spec), precision), 2**35 + 1, 3, count)
    for lane in range(count):
        state.set_sampling(0.9 + lane / 16, 200 if lane % 2 == 0 else 7, lane)
        state.set_kit([0.75, 0.5 - lane / 4], lane)
    h = state.packed.header
    floats = np.full_like(state.floats, np.nan)  # all but the settings is for the emulated to make
    kept = slice(count * h[p.S_SETTINGS], count * (h[p.S_SETTINGS] + h[p.SETTINGS]))
    floats[kept] = state.floats[kept]
    fed = rng.uniforms(1, 0, 0, count * 40).reshape(count, 40) * np.float32(spec.levels)
    fed = fed.astype(np.int64)
    arrays = {"header": h, "weights": state.packed.weights, "ints": state.ints, "floats": floats}
    for name, array in {**arrays, "fed": fed}.items():
        array.tofile(folder / name)
    state.reset()
    ops, outs = [], []
    for hop in range(6):
        state.hit(hop % 3, 0.625)
        ops += [f"hit {lane} {hop % 3} 0.625" for lane in range(count)]
        outs.append(np.zeros((count, 50), np.float32))
        state.generate(outs[-1])
        ops.append("run 50")
    outs.append(state.teacher_force(fed))
    ops.append(f"force 40 {spec.outputs}")
    (folder / "ops").write_text("\n".join(ops))
    subprocess.run([*run, str(folder)], check=True)
    here = np.concatenate([out.ravel() for out in outs]).view(np.uint32)
    there = np.fromfile(folder / "out", np.uint32)
    return here.shape == there.shape and bool((here == there).all())


def main() -> int:
    """Compare, or make the LLVM code for another process of this script."""
    zig = f"{sys.executable} -m ziglang cc -target aarch64-linux-musl"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emulator", default="qemu-aarch64-static -cpu max")
    parser.add_argument("--compiler", default=zig)
    parser.add_argument("--capture", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.capture:
        dot, path = options.capture
        Path(path).write_text(json.dumps(capture(dot)))
        return 0
    right = True
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for dot in PROCESSORS:
            program = build(folder, shlex.split(options.compiler), dot)
            run = [*shlex.split(options.emulator), str(program)]
            for head, spec in HEADS.items():
                for precision in PRECISIONS:
                    for count in (1, 3, 5):
                        same = same_bits(spec, precision, count, run, folder)
                        right = right and same
                        told = "the same bits" if same else "OTHER BITS"
                        print(f"{dot}, {head}, {precision}, {count} lanes: {told}")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
