"""A seed plays the same bits on every processor; and what the compiler makes of the kernel there."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from llvmlite import binding

from tests.kernels.fingerprint import fingerprints, symbols

# Changes only with the network's arithmetic itself; a change makes every saved seed sound other.
# To see them anew: .venv/bin/python -m tests.kernels.fingerprint
KNOWN = {
    "softmax, fp32, 1": "d6432353f82d413a",
    "softmax, fp32, 5": "f4423255313ab805",
    "softmax, bf16, 1": "71f01b4de00685de",
    "softmax, bf16, 5": "3576a290b7fc4b55",
    "softmax, int8, 1": "2ab2a1df9d2ce2b9",
    "softmax, int8, 5": "d07b1f05b1334bf9",
    "mixture, fp32, 1": "1d46aabc5047905b",
    "mixture, fp32, 5": "096114ca50c119b3",
    "mixture, bf16, 1": "92124dda5f33b941",
    "mixture, bf16, 5": "a3caeba12f09a57e",
    "mixture, int8, 1": "538bf30115d8598f",
    "mixture, int8, 5": "14fc34011fb60f13",
}

# What the kernel may refer to: nothing that allocates, nothing of Python's.
HARMLESS = {"NRT_MemInfo_call_dtor", "NRT_decref", "NRT_incref", "fmaf", "memset", "memcpy",
            "memmove", "numba_attempt_nocopy_reshape"}  # fmt: skip


class Target(NamedTuple):
    """A processor as LLVM names it, what it needs of this one, and what its code must show."""

    cpu: str
    features: str
    needs: str
    registers: list[str]
    products: list[str]  # with no vfmadd, each is a call of the C library
    dot: str


TARGETS = [
    Target("x86-64", "", "sse2", ["xmm"], [], "generic"),
    Target("x86-64-v3", "", "avx2", ["xmm", "ymm"], ["vpmaddubsw", "vfmadd"], "vpmaddubsw.256"),
    Target("x86-64-v3", "+avxvnni", "avxvnni", ["xmm", "ymm"], ["vpdpbusd", "vfmadd"],
           "vpdpbusd.256"),
    # The same instruction in AVX-512's encoding, where whole numbers have no wider registers.
    Target("x86-64-v3", "+avx512vl,+avx512vnni", "avx512vnni", ["xmm", "ymm", "zmm"],
           ["vpdpbusd", "vfmadd"], "vpdpbusd.256"),
    Target("x86-64-v4", "", "avx512vl", ["xmm", "ymm", "zmm"], ["vpmaddubsw", "vfmadd"],
           "vpmaddubsw.512"),
    Target("x86-64-v4", "+avx512vnni", "avx512vnni", ["xmm", "ymm", "zmm"],
           ["vpdpbusd", "vfmadd"], "vpdpbusd.512"),
]  # fmt: skip


def test_compiled_for_this_processor() -> None:
    assert fingerprints() == KNOWN


def test_no_two_are_the_same() -> None:
    assert len(set(KNOWN.values())) == 12


def test_bytes_of_a_constant_are_not_taken_for_a_symbol() -> None:
    code = """
_ZN3one:
\tmovabsq\t$NRT_Allocate, %rax
\tmovl\t$64, %ecx
\tcallq\t*%rax
\t.ascii\t"\\200\\004\\225$pE\\000"
\t.asciz\t"a $word"
.const.pickledata:
\t.quad\t0
"""
    assert symbols(code) == ["NRT_Allocate"]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu + target.features)
def test_compiled_for_another(target: Target, tmp_path: Path) -> None:
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the targets are of the x86 family")
    if not binding.get_host_cpu_features().get(target.needs):
        pytest.skip(f"this processor has no {target.needs} to run code for {target.cpu}")
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": target.cpu,
        "NUMBA_CPU_FEATURES": target.features,
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.fingerprint"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["entries"] == 6
    assert found["registers"] == target.registers
    assert found["products"] == target.products
    assert found["dot"] == target.dot
    assert set(found["symbols"]) <= HARMLESS
    assert found["played"] == KNOWN
