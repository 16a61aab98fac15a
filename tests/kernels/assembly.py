"""Machine code of the kernel's vector loops for processors that need not be at hand.

The vector code is written by the kernel itself, optimised as Numba does (-O3), and put out for a
processor by LLVM's name for it.
"""

import re
from collections import Counter
from typing import Any, NamedTuple
from unittest import mock

from llvmlite import binding, ir

from ghostnote.kernels import target
from ghostnote.kernels.lanes import I64

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"


class Processor(NamedTuple):
    """A processor, and which dot product `target.dot_product` would choose there."""

    triple: str
    cpu: str
    dot: str


class Loop(NamedTuple):
    """An innermost loop: how often it has each instruction, and its accesses of the stack.

    Loads from the stack alone (constants that the registers do not hold) cost little.
    """

    instructions: Counter[str]
    stack: list[str]

    @property
    def stores(self) -> list[str]:
        """What the loop stores on the stack."""
        return [one for one in self.stack if one.startswith("st") or one.endswith("(%rsp)")]

    def count(self, *names: str) -> int:
        """Returns how many instructions begin with one of some names."""
        return sum(n for name, n in self.instructions.items() if name.startswith(names))


def assembly(vector_code: Any, constants: list[int | None], at: Processor) -> str:
    """Returns the assembly of a `lanes.vector_code` function that takes whole numbers only.

    `constants` holds what each argument is; None: it is not known while compiling.
    """
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    module = ir.Module()
    unknown = sum(value is None for value in constants)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * unknown), "probe")
    builder = ir.IRBuilder(function.append_basic_block())
    given = iter(function.args)
    arguments = [next(given) if value is None else ir.Constant(I64, value) for value in constants]
    _, write = vector_code._defn(None)
    with mock.patch.object(target, "dot_product", lambda: at.dot):
        write(mock.Mock(), builder, None, arguments)
    builder.ret_void()
    machine = binding.Target.from_triple(at.triple).create_target_machine(cpu=at.cpu, opt=3)
    optimised = binding.parse_assembly(str(module))
    optimised.triple = at.triple
    options = binding.create_pipeline_tuning_options(speed_level=3)
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(optimised, passes)
    return str(machine.emit_assembly(optimised))


def loops(code: str) -> list[Loop]:
    """Returns the innermost loops of some assembly: blocks that end in a jump to their beginning."""
    found: list[Loop] = []
    label, body = "", list[str]()
    for line in code.splitlines():
        plain = re.split(r"//|##?", line)[0].rstrip()
        if begins := re.match(r"(\.?L\w+):", plain):
            label, body = begins.group(1), list[str]()
        elif plain.startswith("\t") and not plain.lstrip().startswith("."):
            body.append(plain.strip())
            if re.fullmatch(rf"(j\w+|b\.\w+|[ct]bn?z)\s.*{re.escape(label) or 'none'}", body[-1]):
                stack = [one for one in body if "%rsp" in one or "[sp" in one]
                found.append(Loop(Counter(one.split()[0] for one in body), stack))
    return found


def calls(code: str) -> list[str]:
    """Returns the calls in some assembly."""
    return re.findall(r"^\t(?:callq?|bl|blr)\s.*$", code, re.MULTILINE)
