"""What Numba code needs from below it: atomics, addresses, a clock and a sleep.

Everything here may be called from any thread, with or without the GIL, and allocates nothing.

The clock and the sleep are C functions called by name: their addresses are registered with LLVM
under our own names when this module is imported, and compiled code refers to the name alone. A
ctypes function pointer used as a global would be baked in as an address, and Numba then refuses
to keep the compiled code on disk; by name, `cache=True` works for every function that calls them
(the engine takes seconds to compile, so this matters at each start).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ghostnote.kernels.lanes import Lanes, vector_code

_CLOCK = "ghostnote_clock"
_SLEEP = "ghostnote_sleep"
_WINDOWS = sys.platform == "win32"
_MACOS = sys.platform == "darwin"

# The clock ids that Python's time.monotonic_ns reads: Linux CLOCK_MONOTONIC and, on macOS,
# CLOCK_UPTIME_RAW, which counts as mach_absolute_time does.
_CLOCK_ID = 8 if _MACOS else 1

_i32, _i64 = ir.IntType(32), ir.IntType(64)


def _register_symbols() -> None:
    """Tell LLVM where the operating system keeps its clock and its sleep."""
    if _WINDOWS:
        library = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined, unused-ignore]
        names = {_CLOCK: "QueryPerformanceCounter", _SLEEP: "Sleep"}
    else:
        library = ctypes.CDLL(None)
        clock = "clock_gettime_nsec_np" if _MACOS else "clock_gettime"
        names = {_CLOCK: clock, _SLEEP: "usleep"}
    for ours, theirs in names.items():
        address = ctypes.cast(getattr(library, theirs), ctypes.c_void_p).value
        llvmlite.binding.add_symbol(ours, address)


def _counter_frequency() -> int:
    """Ticks per second of QueryPerformanceCounter; fixed at boot."""
    frequency = ctypes.c_int64(1)
    if _WINDOWS:
        library = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined, unused-ignore]
        library.QueryPerformanceFrequency(ctypes.byref(frequency))
    return frequency.value


_register_symbols()
_FREQUENCY = _counter_frequency()


def _is_int64_vector(array: Any) -> bool:
    return isinstance(array, types.Array) and array.ndim == 1 and array.dtype == types.int64


def _element(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    view = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, view, [index])


@intrinsic
def load_acquire(typingctx: Any, array: Any, index: Any) -> Any:
    """Read `array[index]` (int64 vector); what its writer wrote before it is visible after."""
    if not _is_int64_vector(array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _element(context, builder, signature.args[0], *args)
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(array, types.intp), codegen


@intrinsic
def store_release(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write `array[index] = value` (int64 vector), after everything written before it."""
    if not _is_int64_vector(array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _element(context, builder, signature.args[0], *args[:2])
        builder.store_atomic(args[2], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@intrinsic
def fence_acquire(typingctx: Any) -> Any:
    """Keep the reads before this line from moving below the reads after it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("acquire")
        return context.get_dummy_value()

    return types.void(), codegen


def _pointer_to_int64(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _i64.as_pointer())


@intrinsic
def load_acquire_at(typingctx: Any, address: Any) -> Any:
    """`load_acquire` of the int64 at an address, for C callbacks that get only a pointer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer_to_int64(builder, args[0]), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def store_release_at(typingctx: Any, address: Any, value: Any) -> Any:
    """`store_release` to the int64 at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _pointer_to_int64(builder, args[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def as_address(typingctx: Any, pointer: Any) -> Any:
    """Turn a pointer given to a C callback into an integer address."""
    if pointer is not types.voidptr:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], _i64)

    return types.int64(types.voidptr), codegen


@intrinsic
def call_pointer_i32(typingctx: Any, function: Any, pointer: Any, number: Any) -> Any:
    """Call `void *function(void *, uint32_t)` by its address; all three and the result are ints."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        opaque = context.get_value_type(types.voidptr)
        kind = ir.FunctionType(opaque, [opaque, _i32])
        target = builder.inttoptr(args[0], kind.as_pointer())
        result = builder.call(target, [builder.inttoptr(args[1], opaque), args[2]])
        return builder.ptrtoint(result, _i64)

    return types.int64(types.int64, types.int64, types.uint32), codegen


@intrinsic
def call_hit(
    typingctx: Any,
    function: Any,
    header: Any,
    ints: Any,
    floats: Any,
    lane: Any,
    role: Any,
    velocity: Any,
) -> Any:
    """Call the kernel's `hit` by its address; all are int64 but the velocity, a double."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in args[1:]])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, types.float64), codegen


@vector_code("ii")
def store_int(code: Lanes, address: Any, value: Any) -> None:
    """Store an int64 at an address."""
    code.store(address, value)


def _external(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    kind = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, kind, name)


def _read_clock(builder: Any) -> Any:
    if _MACOS:
        return builder.call(_external(builder, _CLOCK, _i64, [_i32]), [_i32(_CLOCK_ID)])
    if _WINDOWS:
        ticks = cgutils.alloca_once(builder, _i64)
        builder.call(_external(builder, _CLOCK, _i32, [ticks.type]), [ticks])
        return builder.load(ticks)
    timespec = cgutils.alloca_once(builder, _i64, size=2)
    clock = _external(builder, _CLOCK, _i32, [_i32, timespec.type])
    builder.call(clock, [_i32(_CLOCK_ID), timespec])
    seconds = builder.load(timespec)
    nanoseconds = builder.load(builder.gep(timespec, [_i32(1)]))
    return builder.add(builder.mul(seconds, _i64(1_000_000_000)), nanoseconds)


@intrinsic
def _clock_ticks(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _read_clock(builder)

    return types.int64(), codegen


@intrinsic
def _sleep(typingctx: Any, units: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result = ir.VoidType() if _WINDOWS else _i32
        builder.call(_external(builder, _SLEEP, result, [_i32]), [args[0]])
        return context.get_dummy_value()

    return types.void(types.uint32), codegen


if _WINDOWS:

    @njit(cache=True, nogil=True)
    def monotonic_ns() -> int:
        """Read the monotonic clock in nanoseconds; from Python too, it is the server's clock.

        On Linux and macOS it is `time.monotonic_ns`. On Windows it counts as
        `time.perf_counter_ns` does, which is `time.monotonic_ns` from Python 3.13 on only:
        so take all times that meet each other from here.
        """
        ticks = _clock_ticks()
        whole = ticks // _FREQUENCY
        rest = (ticks - whole * _FREQUENCY) * 1_000_000_000 // _FREQUENCY
        return int(whole * 1_000_000_000 + rest)

    @njit(cache=True, nogil=True)
    def sleep_us(microseconds: int) -> None:
        """Sleep without the GIL for about this long; Windows knows whole milliseconds only."""
        _sleep(max(1, (microseconds + 500) // 1000))

else:

    @njit(cache=True, nogil=True)
    def monotonic_ns() -> int:
        """Read the monotonic clock in nanoseconds, the same one as `time.monotonic_ns`."""
        return int(_clock_ticks())

    @njit(cache=True, nogil=True)
    def sleep_us(microseconds: int) -> None:
        """Sleep without the GIL for at least this long; whole seconds are no limit."""
        left = microseconds
        while left > 0:
            _sleep(min(left, 999_999))  # POSIX lets usleep refuse a million
            left -= 999_999


@contextmanager
def fine_sleep() -> Iterator[None]:
    """Hold the system's timer at 1 ms for as long as audio runs; only Windows needs it.

    Without it `Sleep(1)` there lasts up to 15.6 ms, longer than the usual ring.
    """
    if not _WINDOWS:
        yield
        return
    library = ctypes.WinDLL("winmm")  # type: ignore[attr-defined, unused-ignore]
    library.timeBeginPeriod(1)
    try:
        yield
    finally:
        library.timeEndPeriod(1)
