"""A seed plays the same bits on every processor."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite import binding

from tests.kernels.fingerprint import Fingerprint, fingerprint

# Changes only with the network's arithmetic itself; a change makes every saved seed sound other.
KNOWN = Fingerprint("8b3d3f6fee07b4d2", "7c7a189b89311fba")

# A processor as LLVM names it: the feature it needs here, its vectors, and whether it has fma.
TARGETS = {
    "x86-64": ("sse2", ["xmm"], False),  # each fma is a call of the C library
    "x86-64-v3": ("avx2", ["xmm", "ymm"], True),
    "x86-64-v4": ("avx512vl", ["xmm", "ymm", "zmm"], True),
}


def test_compiled_for_this_processor() -> None:
    assert fingerprint() == KNOWN


@pytest.mark.parametrize("target", TARGETS)
def test_compiled_for_another(target: str, tmp_path: Path) -> None:
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the targets are of the x86 family")
    feature, registers, fused = TARGETS[target]
    if not binding.get_host_cpu_features().get(feature):
        pytest.skip(f"this processor has no {feature} to run code for {target}")
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": target,
        "NUMBA_CPU_FEATURES": "",
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
    assert set(found["registers"]) <= set(registers)
    assert found["fused"] == fused
    assert Fingerprint(*found["played"]) == KNOWN
