"""Starts the process of a side, and reports progress."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

BENCHMARKS = Path(__file__).resolve().parent.parent


class RunFailedError(Exception):
    """The process of a side failed; the message is the last line of its stderr."""


def call(python: str, module: str, *arguments: str) -> str:
    """Run `python -m module` with the benchmark's modules on its path; returns its stdout.

    Raises:
        RunFailedError: the process failed.
    """
    path = os.pathsep.join([str(BENCHMARKS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [python, "-m", module, *arguments], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{module} exited with status {done.returncode}"]
        raise RunFailedError(lines[-1][:300])
    return done.stdout


def run_job(python: str, module: str, job: DataclassInstance, scratch: Path) -> dict[str, Any]:
    """Run a side in a process of its own; returns the fields of its outcome. A `folder` of the job that is not set
    becomes a new folder in `scratch`, which is removed afterwards.

    Raises:
        RunFailedError: the process failed.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        fields = asdict(job)
        if fields.get("folder") == "":
            fields["folder"] = str(Path(folder) / "run")
        job_file, result = Path(folder) / "job.json", Path(folder) / "result.json"
        job_file.write_text(json.dumps(fields), encoding="utf-8")
        call(python, module, str(job_file), str(result))
        outcome: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return outcome


def header(device: str) -> dict[str, Any]:
    """Date and description of the machine, measured in a process of its own."""
    machine = json.loads(call(sys.executable, "speed.machine", device))
    report(f"{machine}")
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine}


def peak_line(machine: dict[str, Any]) -> str:
    """The machine's matrix peak as text."""
    bf16, fp32 = machine["peak_flops"] / 1e9, machine["peak_flops_fp32"] / 1e9
    return f"matrix peak {bf16:,.1f} GFLOP/s in bf16, {fp32:,.1f} in fp32"


def installed(interpreters: dict[str, str]) -> dict[str, str]:
    """The interpreters of the sides, without that of TRL if TRL is not installed for it, which is reported."""
    found = dict(interpreters)
    if "trl" in found and subprocess.run([found["trl"], "-c", "import trl, datasets"], capture_output=True).returncode:
        report(f"TRL is skipped: not found by {found.pop('trl')}; `pip install 'tltrain[trl]'`, or use --trl-python")
    return found


def report(text: str) -> None:
    """Print progress to stderr."""
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)
