"""Memory of the process: an allocator that keeps what it gets, and the peak used."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE = 32 * 2**20
"""The largest threshold glibc takes: blocks above it come from the system and go back, so that they cannot litter the
heap."""
KERNELS = 128
"""Matrix products whose compiled kernels stay in memory. There is one for every shape, some megabytes each, and hardly
two trees have the same shapes: torch's 1,024 are gigabytes after some dozens of updates. A pass needs a few dozens."""


def set_up_memory() -> None:
    """Bound what torch's kernels keep, and tell glibc not to give freed memory back to the system. To be called before
    the first matrix product.

    Training on a CPU frees and takes the same hundreds of megabytes at every step; without this the page faults alone
    cost about a seventh of the time. Does nothing on other C libraries.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        for option, value in ((M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1)):
            library.mallopt(option, value)


def start_peak() -> None:
    """Drop what is garbage, give freed memory back and begin to measure the peak anew, where the system can (Linux)."""
    gc.collect()  # models and optimisers hold each other in circles
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mb() -> float:
    """Most memory this process has used since `start_peak` (on Linux; elsewhere since it began), in MB."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
