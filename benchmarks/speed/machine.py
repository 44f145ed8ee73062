"""Description of the machine: `python -m speed.machine DEVICE` prints it as JSON, with its peak speed in bf16."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

SIZES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192)}
ROUNDS = 15


def matrix_peak(device: str) -> float:
    """Peak floating-point operations per second of square bf16 matrix products: the fastest round of the best size."""
    return max(_rate(size, device) for size in SIZES[device])


def _rate(size: int, device: str) -> float:
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    left @ right
    best = float("inf")
    for _ in range(ROUNDS):
        _wait(device)
        started = time.perf_counter()
        left @ right
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def describe(device: str) -> dict[str, Any]:
    """Name of the processor or GPU, number of threads and processors, load average, and peak FLOP/s."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "peak_flops": matrix_peak(device),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    print(json.dumps(describe(sys.argv[1])))
