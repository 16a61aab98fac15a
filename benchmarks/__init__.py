"""Programs that measure: each is run by `python -m benchmarks.NAME` from the repository's root."""

from ghostnote.cli.compile_cache import use_compile_cache

use_compile_cache()  # before any of them imports numba, which may not reuse another version's code
