"""Memory of the process: settings of the allocator, and the peak usage."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
MMAP_THRESHOLD = 32 * 2**20
"""The largest threshold, in bytes, that glibc accepts: larger blocks are mapped and unmapped individually, so that they
do not fragment the heap."""
CACHED_KERNELS = 128
"""Capacity of oneDNN's cache of compiled matrix products, which has an entry of some megabytes for every shape. Since
hardly two trees have the same shapes, torch's default of 1,024 takes gigabytes after some dozens of updates; a pass
needs a few dozen."""

CACHE_BYTES = 2**30
"""Most bytes of the keys and values of a batch's prompts on a CPU, and at least as many on a GPU."""
OWN_BYTES = 2**32
"""Most bytes of the keys and values of what a batch's replies do not share, on a CPU."""
CACHE_SHARE = 0.25
"""Share of a GPU's free memory for a batch's prompts, and as much again for what its replies do not share. The rest is
for logits and other states."""


def set_up_memory() -> None:
    """Limit torch's cache of compiled kernels, and keep glibc from returning freed memory to the system.

    Must be called before the first matrix product. Training on a CPU frees and allocates the same hundreds of megabytes
    at every step; by default the page faults alone take about a seventh of the time. Other C libraries are left
    unchanged.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(CACHED_KERNELS))
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        for option, value in ((M_MMAP_THRESHOLD, MMAP_THRESHOLD), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1)):
            library.mallopt(option, value)


def start_peak() -> None:
    """Collect garbage, return freed memory to the system and, on Linux, reset the peak of `peak_memory_mb`."""
    gc.collect()  # models and optimisers refer to each other in cycles
    reset_peak()


def reset_peak() -> None:
    """On Linux, return freed memory to the system and reset the peak of `peak_memory_mb`; without garbage collection,
    which takes a second in a large process."""
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mb() -> float:
    """Peak resident memory of this process in MB: since `start_peak` on Linux, elsewhere since the process started."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def cache_bytes(device: torch.device) -> int:
    """Most bytes of the keys and values of a batch's prompts on a device.

    On a GPU a power of two: the batches, on which rounding depends, should not change with every megabyte."""
    import torch

    if device.type != "cuda":
        return CACHE_BYTES
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # held by torch's allocator
    share = int((torch.cuda.mem_get_info(device)[0] + unused) * CACHE_SHARE)
    return max(CACHE_BYTES, 1 << (share.bit_length() - 1))


def own_bytes(device: torch.device) -> int:
    """Most bytes of the keys and values of what the replies of a batch do not share, on a device."""
    return cache_bytes(device) if device.type == "cuda" else OWN_BYTES
