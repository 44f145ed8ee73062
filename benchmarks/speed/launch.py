"""Starts the process of a side, and reports progress."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

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


def report(text: str) -> None:
    """Print progress to stderr."""
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)
