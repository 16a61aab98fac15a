"""The inner loops as LLVM makes them for processors that are not here: vectors, and no stack.

A loop that keeps a sum on the stack, or calls the C library for each multiply-add, is right and slow;
no test of results would notice.
"""

import pytest

from ghostnote.kernels import activations, products
from ghostnote.kernels.products import BF16, FP32, INT8
from tests.kernels.assembly import ARM, X86, Loop, Processor, assembly, calls, loops

AVX2 = Processor(X86, "znver3", "vpmaddubsw.256")
WIDE = [Processor(X86, cpu, "vpdpbusd.512") for cpu in ("znver4", "sapphirerapids")]
NEON = [Processor(ARM, cpu, "sdot") for cpu in ("neoverse-n1", "apple-m1")]
EVERY = [AVX2, *WIDE, *NEON]

# (vectors, streams) of sums that a loop keeps, over (chains) parts of the sum.
ONE = {"_one_64": 4, "_one_48": 3, "_one_32": 4, "_one_16": 4}


def product_loop(tile: str, precision: int, at: Processor, one: bool) -> Loop:
    """Returns the loop of a tile that multiplies."""
    stride = 0 if one else None
    # precision, scales, offsets, row, row_bytes, count, x, x_stride, scale, scale_stride, y, ...
    constants = [int(precision), *[None] * 6, stride, None, stride, None, stride]
    code = assembly(getattr(products, tile), constants, at)
    assert not calls(code)
    multiply = ("vfmadd", "fmla", "vpdpbusd", "vpmaddubsw", "sdot")
    found = [loop for loop in loops(code) if loop.count(*multiply)]
    assert found
    return max(found, key=lambda loop: loop.count(*multiply))


def check(loop: Loop, precision: int, at: Processor, sums: int) -> None:
    """Checks that a loop has an instruction for each of its sums of 16, and nothing on the stack."""
    assert not loop.stack
    registers = {AVX2: 2}.get(at, 1 if at in WIDE else 4)  # that 16 sums take
    name = "fmla" if at in NEON else "vfmadd"
    if precision == INT8:
        name = at.dot.split(".")[0]
    multiplied = loop.count(name)
    assert multiplied % (sums * registers) == 0  # a multiple: unrolled
    # What is not a product or a load or a widening is next to nothing.
    moves = loop.count("mov", "vmovaps", "vmovdqa")
    assert moves <= multiplied // 4 + 2


@pytest.mark.parametrize("at", EVERY, ids=lambda at: at.cpu)
@pytest.mark.parametrize("precision", [FP32, BF16, INT8])
@pytest.mark.parametrize("tile", ONE)
def test_one_stream_multiplies_in_registers(tile: str, precision: int, at: Processor) -> None:
    check(product_loop(tile, precision, at, one=True), precision, at, ONE[tile])


@pytest.mark.parametrize("at", EVERY, ids=lambda at: at.cpu)
@pytest.mark.parametrize("precision", [FP32, BF16, INT8])
def test_many_streams_multiply_in_registers(precision: int, at: Processor) -> None:
    if at in WIDE:
        check(product_loop("_four_64", precision, at, one=False), precision, at, 16)
    tile = "_two_32" if precision == BF16 else "_four_16"
    check(product_loop(tile, precision, at, one=False), precision, at, 4)


@pytest.mark.parametrize("at", EVERY, ids=lambda at: at.cpu)
def test_four_bytes_a_lane_are_multiplied_by_few_instructions(at: Processor) -> None:
    loop = product_loop("_one_64", int(INT8), at, one=True)
    dots = loop.count(at.dot.split(".")[0])
    if at is AVX2:
        assert loop.count("vpmaddwd") == loop.count("vpaddd") == dots
    else:
        assert loop.count("vpmaddwd", "vpaddd", "mla", "mul") == 0


@pytest.mark.parametrize("at", EVERY, ids=lambda at: at.cpu)
@pytest.mark.parametrize("name", ["gate_floats", "gate_bytes", "quantise", "quantise_relu"])
def test_elementwise_functions_call_nothing_and_keep_to_registers(name: str, at: Processor) -> None:
    code = assembly(getattr(activations, name), [None] * 4, at)
    assert not calls(code)
    found = loops(code)
    assert found
    for loop in found:
        assert len(loop.stores) <= 3  # of some hundred instructions, for want of registers
        # As vectors: of one number at a time there is next to nothing.
        assert loop.count("vdivss", "vfmadd231ss", "vfmadd213ss", "vmulss", "vaddss") == 0
    if name.startswith("gate"):
        divisions = max(loop.count("vdivps", "fdiv") for loop in found)
        assert divisions >= {AVX2: 2}.get(at, 1 if at in WIDE else 4)
