"""Input and results of a part, and its process: `python -m gpu.part JOB RESULT`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

PARTS = {
    "gradients": "gpu.gradients",
    "sft": "gpu.sft",
    "trl": "gpu.trl",
    "decoding": "gpu.decoding",
    "ppo": "gpu.ppo",
}
"""Module of each kind of part, which has a function `run(job) -> list[Row]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The input of a part, passed as JSON."""

    part: str
    """A key of `PARTS`."""
    model: str
    """Name of the shape, see `gpu.shapes`."""
    folder: str
    """Folder with the configurations of the models and the tokenizer, see `gpu.shapes.write_models`."""
    device: str
    dtype: str
    peak_flops: float
    """The device's matrix peak in this dtype, in floating-point operations per second."""
    tiny: bool
    """Small sizes, to try every line on a CPU."""
    rank: int | None = None
    """Rank of the adapters; None: all weights are trained."""
    compile: bool = False
    """Whether norms and feed-forward networks are compiled."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    setting: str
    """What was measured: the workload, the trainer, the dtype."""
    figures: dict[str, float]
    """Numbers by name, see `gpu.table.FORMATS`."""
    holds: bool | None = None
    """Whether an expectation holds; None: there is none."""
    remarks: list[str] = field(default_factory=list)


def wait(device: str) -> None:
    """Wait until the device has done all of its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(device: str, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a function takes on the device, and its result."""
    wait(device)
    started = time.perf_counter()
    result = work()
    wait(device)
    return time.perf_counter() - started, result


def main() -> None:
    """Read the job file, run the part and write its rows."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.manual_seed(job.seed)
    rows: list[Row] = import_module(PARTS[job.part]).run(job)
    Path(sys.argv[2]).write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")


if __name__ == "__main__":
    main()
