"""Lanes: a small vocabulary for writing LLVM vector code by hand, shared by all the kernel's loops.

A vector is 16 lanes whatever the machine: one register of AVX-512, two of AVX, four of NEON; LLVM
splits it. Lanes run across outputs or levels, never across a sum, and every rounding is written
out, so the bits do not depend on the width. Used while compiling only.

All memory is given as addresses (int64): compiled code here passes plain numbers, which costs less
than Numba's arrays, to call as well as to compile.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16

F32, I8, I16, I32, I64 = (
    ir.FloatType(),
    ir.IntType(8),
    ir.IntType(16),
    ir.IntType(32),
    ir.IntType(64),
)
FLOATS, INTS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
BYTES = ir.VectorType(I8, LANES)

# Adding 1.5 * 2^23 rounds a float32 to the nearest whole number, which then is its lowest bits.
ROUNDER = 12582912.0


class Lanes:
    """Writes vector code at the present place of an IR builder."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def floats(self, value: float) -> Any:
        """Return a vector of one float32 constant."""
        return ir.Constant(FLOATS, [value] * LANES)

    def ints(self, value: int) -> Any:
        """Return a vector of one int32 constant."""
        return ir.Constant(INTS, [value] * LANES)

    def offset(self, address: Any, count: Any, size: int = 1) -> Any:
        """Return address + count * size; `count` may be a number."""
        if isinstance(count, int):
            return self.builder.add(address, ir.Constant(I64, count * size)) if count else address
        return self.builder.add(address, self.builder.mul(count, ir.Constant(I64, size)))

    def load(self, address: Any, kind: Any = FLOATS) -> Any:
        """Load a value of some type from an address, aligned or not."""
        pointer = self.builder.inttoptr(address, kind.as_pointer())
        return self.builder.load(pointer, align=1)

    def store(self, address: Any, value: Any) -> None:
        """Store a value of any type at an address, aligned or not."""
        pointer = self.builder.inttoptr(address, value.type.as_pointer())
        self.builder.store(value, pointer, align=1)

    def prefetch(self, address: Any) -> None:
        """Ask for the cache line at an address, which is going to be read."""
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        name = "llvm.prefetch.p0"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        arguments = [ir.Constant(I32, value) for value in (0, 3, 1)]
        self.builder.call(function, [self.builder.inttoptr(address, I8.as_pointer()), *arguments])

    def spread(self, value: Any) -> Any:
        """Return a vector of one scalar."""
        vector = ir.VectorType(value.type, LANES)
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(INTS, [0] * LANES))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a * b + c, rounded once."""
        name = "llvm.fma.f32" if a.type == F32 else f"llvm.fma.v{LANES}f32"
        kind = ir.FunctionType(a.type, [a.type] * 3)
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, kind, name), [a, b, c]
        )

    def maximum(self, a: Any, b: Any) -> Any:
        """Return the greater of each lane; b where one is not a number."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def minimum(self, a: Any, b: Any) -> Any:
        """Return the lesser of each lane; b where one is not a number."""
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)

    def greatest(self, vector: Any) -> Any:
        """Return the greatest lane of a vector as a scalar; the order does not matter to it."""
        half = LANES // 2
        while half:
            order = [(i + half) % LANES for i in range(LANES)]
            other = self.builder.shuffle_vector(vector, vector, ir.Constant(INTS, order))
            vector = self.maximum(vector, other)
            half //= 2
        return self.builder.extract_element(vector, ir.Constant(I32, 0))

    def count(self, truths: Any) -> Any:
        """Return how many lanes of a comparison hold, as an int64."""
        bits = self.builder.bitcast(truths, ir.IntType(LANES))
        name = "llvm.ctpop.i64"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(I64, [I64]), name
        )
        return self.builder.call(function, [self.builder.zext(bits, I64)])

    def loop(
        self, count: Any, carried: Sequence[Any], body: Callable[[Any, list[Any]], Sequence[Any]]
    ) -> list[Any]:
        """Run carried = body(i, carried) for i = 0 to count - 1; return what is carried at last."""
        builder = self.builder
        before = builder.block
        inside = builder.append_basic_block("lanes.loop")
        after = builder.append_basic_block("lanes.end")
        zero = ir.Constant(I64, 0)
        builder.cbranch(builder.icmp_signed(">", count, zero), inside, after)
        builder.position_at_end(inside)
        i = builder.phi(I64)
        i.add_incoming(zero, before)
        phis = [builder.phi(value.type) for value in carried]
        for phi, value in zip(phis, carried, strict=True):
            phi.add_incoming(value, before)
        found = list(body(i, phis))
        end = builder.block
        onward = builder.add(i, ir.Constant(I64, 1))
        i.add_incoming(onward, end)
        for phi, value in zip(phis, found, strict=True):
            phi.add_incoming(value, end)
        builder.cbranch(builder.icmp_signed("<", onward, count), inside, after)
        builder.position_at_end(after)
        finals = [builder.phi(value.type) for value in carried]
        for final, first, value in zip(finals, carried, found, strict=True):
            final.add_incoming(first, before)
            final.add_incoming(value, end)
        return finals


def vector_code(arguments: str, result: Any = types.void) -> Callable[[Any], Any]:
    """Make a function that writes code with `Lanes` callable from compiled code.

    `arguments` names the types in order: i an int64 (addresses, counts), f a float32. The function
    gets a `Lanes` and the arguments, and returns its result's value.
    """
    kinds = [types.int64 if letter == "i" else types.float32 for letter in arguments]
    signature = result(*kinds)

    def generate(write: Any) -> Callable[..., Any]:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            found = write(Lanes(builder), *args)
            return context.get_dummy_value() if result is types.void else found

        def typed(typingctx: Any, *given: Any) -> Any:
            return signature, code

        # Numba asks for the names of the arguments, of which there are as many as kinds.
        names = ["typingctx", *(f"a{i}" for i in range(len(kinds)))]
        either = inspect.Parameter.POSITIONAL_OR_KEYWORD
        typed.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, either) for name in names]
        )
        return intrinsic(typed)  # type: ignore[no-any-return]

    return generate


@intrinsic
def as_pointer(typingctx: Any, address: Any) -> Any:
    """Return an address as a pointer, for `numba.carray`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], I8.as_pointer())

    return types.voidptr(types.int64), code


def call_at(count: int) -> Any:
    """Make the code that calls a C function of `count` int64 by its address, given first.

    What is called so is compiled once, and not once more within each of its callers.
    """

    @vector_code("i" * (count + 1))
    def call(code: Lanes, address: Any, *arguments: Any) -> None:
        kind = ir.FunctionType(ir.VoidType(), [I64] * count)
        code.builder.call(code.builder.inttoptr(address, kind.as_pointer()), arguments)

    return call


def address_of(function: Any, signature: Any) -> int:
    """Compile a Numba function, or read it from the cache; return its address as a C function."""
    function.compile(signature)
    compiled = function.overloads[signature.args]
    name = compiled.fndesc.llvm_cfunc_wrapper_name
    return int(compiled.library.get_pointer_to_function(name))


@vector_code("i", types.float32)
def load_float(code: Lanes, address: Any) -> Any:
    """Return the float32 at an address."""
    return code.load(address, F32)


@vector_code("if")
def store_float(code: Lanes, address: Any, value: Any) -> None:
    """Store a float32 at an address."""
    code.store(address, value)


@vector_code("i", types.int64)
def load_int(code: Lanes, address: Any) -> Any:
    """Return the int64 at an address."""
    return code.load(address, I64)
