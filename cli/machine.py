"""What this machine is, for `ghostnote doctor` and `ghostnote bench`."""

import platform
import subprocess
import sys
from pathlib import Path

# What makes a difference to the kernels, by LLVM's names, most capable first.
VECTORS = {
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "fma": "FMA",
    "sve": "SVE",
    "neon": "NEON",
}


def cpu_name() -> str:
    """Returns the processor's name as its system tells it."""
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        for line in lines:
            field, _, value = line.partition(":")
            if field.strip() == "model name" and value.strip():
                return value.strip()
    if sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False)
        if told.stdout.strip():
            return told.stdout.strip()
    return platform.processor() or platform.machine()


def jit_target() -> tuple[str, list[str]]:
    """Returns the processor that LLVM compiles for and which of VECTORS it uses there."""
    import llvmlite.binding

    features = llvmlite.binding.get_host_cpu_features()
    return llvmlite.binding.get_host_cpu_name(), [
        name for feature, name in VECTORS.items() if features.get(feature)
    ]
