"""For which processor Numba compiles: how wide its vectors are and which integer dot product it has.

None of this changes a result: integer sums are exact, and floats are summed in the order that the
source gives. It only chooses between instructions. Any thread.
"""

from __future__ import annotations

import functools

from llvmlite import binding, ir
from numba.core import config


@functools.cache
def features() -> frozenset[str]:
    """Return the processor features that are known by name; a foreign target tells few."""
    if config.CPU_NAME or config.CPU_FEATURES is not None:
        asked = (config.CPU_FEATURES or "").split(",")
        return frozenset(name[1:] for name in asked if name.startswith("+"))
    found: dict[str, bool] = binding.get_host_cpu_features()
    return frozenset(name for name, there in found.items() if there)


@functools.cache
def vector_bits() -> int:
    """Return the bits of the widest registers that integers of 16 bits can be added in.

    Found by looking at what LLVM makes of such an addition, which no list of names would tell for
    every target that a user may name.
    """
    module = ir.Module()
    vector = ir.VectorType(ir.IntType(16), 32)
    pointer = vector.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer] * 2), "probe")
    builder = ir.IRBuilder(function.append_basic_block())
    first, second = function.args
    builder.store(builder.add(builder.load(first), builder.load(second)), first)
    builder.ret_void()
    code = _assembly(str(module))
    return 512 if "zmm" in code else 256 if "ymm" in code else 128


@functools.cache
def dot_product() -> str:
    """Return how four products of bytes are summed here: an instruction's name, or "generic"."""
    known, bits = features(), vector_bits()
    if "avx512vnni" in known and bits == 512:
        return "vpdpbusd.512"
    if bits == 512:
        return "vpmaddubsw.512"
    if bits == 256:
        there = "avxvnni" in known or {"avx512vnni", "avx512vl"} <= known
        return "vpdpbusd.256" if there else "vpmaddubsw.256"
    return "sdot" if "dotprod" in known else "generic"


def _assembly(source: str) -> str:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=config.CPU_NAME or binding.get_host_cpu_name(),
        features=config.CPU_FEATURES
        if config.CPU_FEATURES is not None
        else ("" if config.CPU_NAME else binding.get_host_cpu_features().flatten()),
    )
    return str(machine.emit_assembly(binding.parse_assembly(source)))
