"""Description of the machine: `python -m speed.machine DEVICE [SIZE ...]` prints it as JSON, with its peak speeds."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

SIZES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192)}
ROUNDS = 15
MOST_SECONDS = 10
"""About the longest that a size may take."""


def matrix_peak(device: str, dtype: torch.dtype = torch.bfloat16, sizes: Sequence[int] = ()) -> float:
    """Peak floating-point operations per second of square matrix products: the fastest round of the best size, of
    `SIZES` unless there are others.

    On a device that is too slow for the dtype, a CPU without bf16 instructions, the smallest size alone is measured.
    """
    rates: list[float] = []
    for size in sizes or SIZES[device]:
        rates.append(_rate(size, device, dtype))
        if 2 * (2 * size) ** 3 * ROUNDS / rates[-1] > MOST_SECONDS:
            break
    return max(rates)


def _rate(size: int, device: str, dtype: torch.dtype) -> float:
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    slowest = _seconds(left, right, device)
    best = float("inf")
    for _ in range(ROUNDS if slowest * ROUNDS < MOST_SECONDS else 1):
        best = min(best, _seconds(left, right, device))
    return 2 * size**3 / best


def _seconds(left: torch.Tensor, right: torch.Tensor, device: str) -> float:
    _wait(device)
    started = time.perf_counter()
    left @ right
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def describe(device: str, sizes: Sequence[int] = ()) -> dict[str, Any]:
    """Name of the processor or GPU, number of threads and processors, load average, and peak FLOP/s."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "peak_flops": matrix_peak(device, torch.bfloat16, sizes),
        "peak_flops_fp32": matrix_peak(device, torch.float32, sizes),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    print(json.dumps(describe(sys.argv[1], [int(size) for size in sys.argv[2:]])))
