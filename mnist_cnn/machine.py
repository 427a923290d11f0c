"""How a command uses its machine: threads that spin briefly, memory that is kept. Figures: benchmarks/README.md."""

import ctypes
import os
from contextlib import suppress

_SPINS = "10000"  # 0.2 ms or so
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST, _KEPT = 32 * 2**20, 2**30  # bytes; glibc allows no larger threshold than the first


def prepare() -> None:
    """Tell OpenMP and malloc, before torch is imported.

    GNU OpenMP's threads spin for 15 ms where they wait: two trainings at once would spin for each other.
    glibc gives large blocks back to the system when they are freed, and each step would have its activations' pages
    mapped anew, in some processes and not in others.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    with suppress(OSError, AttributeError, TypeError):  # not glibc
        malloc = ctypes.CDLL(None)
        malloc.mallopt(_MMAP_THRESHOLD, _LARGEST)
        malloc.mallopt(_TRIM_THRESHOLD, _KEPT)
